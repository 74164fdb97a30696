"""Build the one Faust app of a worker: its engines, its agents, its pages. Importing this module builds nothing."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Semaphore
from typing import TYPE_CHECKING, Any, cast

import faust
from faust.types import TP

from agents.agent import register
from agents.clock import agent as clock_agent
from agents.registry import single_agents
from streams.clock.live import LiveClock
from streams.engine.agents import Brains, worker_specs
from streams.engine.engine import Engine
from streams.engine.transaction import Stage
from streams.kafka.topics import full_name
from streams.logs import logging_config
from streams.metrics import CONTENT_TYPE, Metrics
from streams.worker.membership import MemberConsumer, MemberTransport, NoTables, SliceApp

if TYPE_CHECKING:
    from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class Wired:
    """A worker's app and what runs in it."""

    app: WorkerApp
    engines: tuple[Engine, ...]
    metrics: Metrics
    clock: LiveClock | None


class WorkerApp(SliceApp):
    """Its leader is whoever has the one partition of ``clock-single``: membership decides it, its transactional id fences it.

    Where the agents have workers of their own, several groups have that partition: then the first of its agents leads.
    """

    may_lead: bool
    leader_tp: TP

    def is_leader(self) -> bool:
        return self.may_lead and self.leader_tp in self.consumer.assignment()


def build_app(settings: Settings, *, brains: Brains | None = None, stage: Stage | None = None) -> Wired:
    """A fresh app with everything wired. Tests bring their own brains, by agent, and a ``stage`` at which commits fail."""
    app = _app(settings)
    metrics = Metrics()
    # Where two transactions write to one partition of the small broker at once, its readers miss records (measured): 1 there.
    commits = Semaphore(settings.commits_in_flight)
    engines = tuple(Engine(app, spec, settings, metrics, commits, stage) for spec in worker_specs(settings, brains))
    for engine in engines:
        register(app, engine.spec.name, engine)
    clock = LiveClock(settings) if settings.clock == "leader" else None
    if clock is not None:
        clock_agent.register(app, clock.tick, settings.tick_seconds)
    _subscribe(app, engines)
    _pages(app, engines, metrics)
    return Wired(app, engines, metrics, clock)


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
        # The death of another worker is known with the answer to a heartbeat: at most so much later than the broker knows it.
        broker_heartbeat_interval=settings.session_timeout_s / 10,
        broker_request_timeout=max(60.0, settings.session_timeout_s),
        broker_rebalance_timeout=max(30.0, settings.session_timeout_s),
        consumer_auto_offset_reset="earliest",
        logging_config=logging_config(settings.log_format, settings.log_level),
        key_serializer="raw",
        value_serializer="raw",
    )
    app.may_lead = settings.agents in {"all", single_agents()[0].name}
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
    async def live_page(view: Any, _request: Any) -> Any:
        return view.json({"live": True})

    @app.page("/health/ready")
    async def ready_page(view: Any, _request: Any) -> Any:
        started = cast("MemberConsumer", app.consumer).flow_active and not app.rebalancing
        partitions = {engine.spec.name: sorted(engine.tasks) for engine in engines}
        is_ready = started and all(engine.ready for engine in engines)
        # A pause is no reason to restart a worker: it is shown, and the worker stays ready.
        paused = {topic: numbers for engine in engines for topic, numbers in engine.paused.items()}
        return view.json({"ready": is_ready, "partitions": partitions, "paused": paused}, status=200 if is_ready else 503)

    @app.page("/metrics")
    async def metrics_page(view: Any, _request: Any) -> Any:
        # aiohttp takes no parameters in this argument.
        return view.bytes(metrics.render(), content_type=CONTENT_TYPE.partition(";")[0])
