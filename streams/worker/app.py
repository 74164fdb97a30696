"""Build the one Faust app of a worker: its engines, its agents, its pages. Nothing is made when this is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Semaphore
from typing import TYPE_CHECKING, Any, cast

import faust
from faust.types import TP

from agents.brain import Brain
from agents.clock import agent as clock_agent
from agents.debtor import agent as debtor_agent
from agents.learner import agent as learner_agent
from schemas.registry import DEBTOR_SOURCES
from streams.clock.live import LiveClock
from streams.engine.engine import Engine
from streams.engine.spec import AgentSpec
from streams.engine.transaction import Stage
from streams.kafka.topics import full_name
from streams.logs import logging_config
from streams.metrics import CONTENT_TYPE, Metrics
from streams.worker.membership import MemberConsumer, MemberTransport, NoTables, SliceApp

if TYPE_CHECKING:
    from streams.settings import Settings

Brains = Callable[[], Brain]
REGISTER: dict[str, Callable[[Any, Engine], object]] = {"debtor": debtor_agent.register, "learner": learner_agent.register}


@dataclass(frozen=True, slots=True)
class Wired:
    """A worker's app and what runs in it."""

    app: WorkerApp
    engines: tuple[Engine, ...]
    metrics: Metrics
    clock: LiveClock | None


class WorkerApp(SliceApp):
    """Its leader is whoever has the one partition of ``clock-single``: membership decides it, its transactional id fences it."""

    leader_tp: TP

    def is_leader(self) -> bool:
        return self.leader_tp in self.consumer.assignment()


def build_app(
    settings: Settings, *, debtor: Brains | None = None, learner: Brains | None = None, stage: Stage | None = None
) -> Wired:
    """A fresh app with everything wired. Tests bring their own brains, and a ``stage`` at which commits fail."""
    app = _app(settings)
    metrics = Metrics()
    # Where two transactions write to one partition of the small broker at once, its readers miss records (measured): 1 there.
    commits = Semaphore(settings.commits_in_flight)
    made = [spec for spec in specs(settings, debtor or _debtor, learner or _learner) if settings.agents in {"all", spec.name}]
    engines = tuple(Engine(app, spec, settings, metrics, commits, stage) for spec in made)
    for engine in engines:
        REGISTER[engine.spec.name](app, engine)
    clock = LiveClock(settings) if settings.clock == "leader" else None
    if clock is not None:
        clock_agent.register(app, clock.tick, settings.tick_seconds)
    _subscribe(app, engines)
    _pages(app, engines, metrics)
    return Wired(app, engines, metrics, clock)


def _debtor() -> Brain:
    from agents.debtor.brain import DebtorBrain

    return DebtorBrain()


def _learner() -> Brain:
    from agents.learner.brain import LearnerBrain
    from agents.learner.river_models import Challenger, Drift, LiveChallenger, LiveDrift

    # River takes a second to load: while the partition is taken over, not under the first label, when everybody's slices wait.
    LiveChallenger(Challenger())
    LiveDrift(Drift())
    return LearnerBrain()


def specs(settings: Settings, debtor: Brains, learner: Brains) -> tuple[AgentSpec, ...]:
    """The agents of a worker. The learner applies what arrives in a replay too: its brain waits for the end of each step."""
    replay = settings.mode == "replay"
    return (
        AgentSpec(
            name="debtor",
            sources=DEBTOR_SOURCES,
            clock="clock",
            state="debtor-state",
            partitions=settings.partitions,
            order="replay" if replay else "arrival",
            replay=replay,
            brain=debtor,
        ),
        AgentSpec(
            name="learner",
            sources=("training-examples",),
            clock="clock-single",
            state="learner-state",
            partitions=1,
            order="arrival",
            replay=replay,
            brain=learner,
            with_tick=not replay,  # models go out with ticks, and each slice writes the whole of one
            most=500,  # an example costs several times what an event does, and meanwhile the debtors of this worker wait
        ),
    )


def _app(settings: Settings) -> WorkerApp:
    broker, credentials = settings.for_faust()
    app = WorkerApp(
        # Workers that run the same agents are one group.
        full_name(settings.prefix, "worker" if settings.agents == "all" else f"{settings.agents}-worker"),
        broker=broker,
        broker_credentials=credentials,
        store="memory://",
        TableManager=NoTables,
        datadir=settings.data_dir,
        web_bind=settings.web_bind,
        web_port=settings.web_port,
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication,
        topic_allow_declare=False,  # topics are made from the registry, never by a worker
        topic_disable_leader=True,  # Faust's own election needs a topic per app; see WorkerApp
        # Above 0, or Faust takes a round-robin assignor that splits partitions of one number between workers.
        table_standby_replicas=1,
        stream_wait_empty=False,
        broker_session_timeout=settings.session_timeout_s,
        # The death of another is told with the answer to a heartbeat: so much later, at most, than the broker knows it.
        broker_heartbeat_interval=settings.session_timeout_s / 10,
        broker_request_timeout=max(60.0, settings.session_timeout_s),
        broker_rebalance_timeout=max(30.0, settings.session_timeout_s),
        consumer_auto_offset_reset="earliest",
        logging_config=logging_config(settings.log_format, settings.log_level),
        key_serializer="raw",
        value_serializer="raw",
    )
    app.leader_tp = TP(full_name(settings.prefix, "clock-single"), 0)
    app.transport = MemberTransport(app.conf.broker_consumer, app)
    return app


def _subscribe(app: WorkerApp, engines: tuple[Engine, ...]) -> None:
    topics = [app.topic(name, key_type=None, value_type=None) for engine in engines for name in engine.source_names()]

    def subscribe(_app: faust.App, **_: Any) -> None:
        for topic in topics:
            app.topics.add(topic)

    app.on_worker_init.connect(cast("Any", subscribe))


def _pages(app: WorkerApp, engines: tuple[Engine, ...], metrics: Metrics) -> None:
    @app.page("/health/live")
    async def live(view: Any, _request: Any) -> Any:
        return view.json({"live": True})

    @app.page("/health/ready")
    async def ready(view: Any, _request: Any) -> Any:
        started = cast("MemberConsumer", app.consumer).flow_active and not app.rebalancing
        partitions = {engine.spec.name: sorted(engine.tenures) for engine in engines}
        good = started and all(engine.ready for engine in engines)
        # A pause is no reason to restart a worker: it is told, and the worker stays ready.
        paused = {topic: numbers for engine in engines for topic, numbers in engine.paused.items()}
        return view.json({"ready": good, "partitions": partitions, "paused": paused}, status=200 if good else 503)

    @app.page("/metrics")
    async def measured(view: Any, _request: Any) -> Any:
        # aiohttp takes no parameters in this argument.
        return view.bytes(metrics.render(), content_type=CONTENT_TYPE.partition(";")[0])
