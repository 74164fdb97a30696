"""One agent's engine in one worker: takes partitions over, gathers what arrives, and applies slice after slice.

Membership callbacks only take notes; taking over runs beside them. All decisions on what may be applied are in ``plan``, all
writing is in ``commit``; here is what holds them together: tenures, tasks, and the rule that whatever fails ends the tenure.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock, Semaphore
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import structlog
from faust.types import TP
from pydantic import ValidationError

from agents.brain import Arrived, Brain, Folded
from agents.version import CODE_VERSION
from schemas.events.clock import ContextSet, Ticked
from schemas.events.envelope import Rejection
from schemas.registry import TOPICS
from streams.codec import decode
from streams.engine import restore
from streams.engine.commit import Origin, Rejected, Stage, commit, compose
from streams.engine.plan import GapError, Order, Record, Rules, Slice, continues
from streams.engine.tenure import Standing, Tenure, begin
from streams.metrics import Metrics
from streams.topics import full_name

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.transport import Fetched, SliceApp

log = structlog.get_logger()

RETAKE_DELAY_S = 3.0
FOLDS_IN_FLIGHT = 4
WAKES, ALL_WAKES = 500, 10**9
_FOLDING = Lock()
"""One thread folds at a time, while others commit: folding is Python's own work, and threads that wrestle for it only cost."""


@lru_cache(maxsize=2)
def _context_of(value: bytes) -> ContextSet:
    """A context comes to every partition and agent with the same bytes, and holds the whole shared model: it is read once."""
    return ContextSet.model_validate_json(value)


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What an agent is to the engine; topics without prefix."""

    name: str
    sources: tuple[str, ...]
    clock: str
    state: str
    partitions: int
    order: Order
    replay: bool
    """Of the deployment: an agent may apply what arrives in a replay, too, and tell its steps apart by itself."""
    brain: Callable[[], Brain]

    @property
    def topics(self) -> tuple[str, ...]:
        return (*self.sources, self.clock)


@dataclass(slots=True)
class Counts:
    """Since the worker started, for metrics and pages."""

    slices: int = 0
    events: int = 0
    duplicates: int = 0
    rejected: int = 0
    outputs: int = 0
    ticks: int = 0
    given_up: int = 0
    taken_over: int = 0


class Engine:
    """See the module. ``commits`` limits those in flight per worker; tests raise in ``stage`` where a broker could fail."""

    def __init__(
        self, app: SliceApp, spec: AgentSpec, settings: Settings, metrics: Metrics, commits: Semaphore, stage: Stage | None = None
    ) -> None:
        self.app, self.spec, self.settings, self.metrics = app, spec, settings, metrics
        self.slices = app.channel(maxsize=0)
        self.tenures: dict[int, Tenure] = {}
        self.wanted: set[int] = set()
        self.counts = Counts()
        self._stage = stage
        self._commits = commits
        self._names = {name: full_name(settings.prefix, name) for name in TOPICS}
        self._short = {self._names[name]: name for name in spec.topics}
        self._kafka = settings.for_librdkafka()
        self._pool = ThreadPoolExecutor(spec.partitions + 4, thread_name_prefix=spec.name)
        self._settling = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        app.receivers.append(self)
        app.on_partitions_assigned.connect(cast("Any", self._assigned))
        app.on_partitions_revoked.connect(cast("Any", self._revoked))
        app.on_before_shutdown.connect(cast("Any", self._finish))

    @property
    def concurrency(self) -> int:
        """Slices in flight at once: while some commit, others are folded."""
        return min(self.spec.partitions, max(FOLDS_IN_FLIGHT, self.settings.commits_in_flight))

    @property
    def ready(self) -> bool:
        """Whether all that was assigned is restored and running."""
        return not self._stopping and self.wanted == set(self.tenures)

    def source_names(self) -> list[str]:
        """The topics to subscribe to, with prefix."""
        return [self._names[name] for name in self.spec.topics]

    # -- membership

    async def _assigned(self, _app: SliceApp, assigned: Iterable[TP], **_: Any) -> None:
        by_topic: dict[str, set[int]] = {name: set() for name in self._short}
        for tp in assigned:
            if tp.topic in by_topic:
                by_topic[tp.topic].add(tp.partition)
        if len({frozenset(numbers) for numbers in by_topic.values()}) > 1:
            # Its state would miss events: better no worker than a wrong one. Stop all, then start them with one topic list.
            raise RuntimeError(f"agent {self.spec.name}: its topics differ in partitions, the assignment is refused: {by_topic}")
        self.wanted = set(next(iter(by_topic.values())))
        log.info("partitions.assigned", agent=self.spec.name, partitions=sorted(self.wanted))
        self._spawn(self._settle())

    async def _revoked(self, _app: SliceApp, revoked: Iterable[TP], **_: Any) -> None:
        for number in {tp.partition for tp in revoked if tp.topic in self._short}:
            self.wanted.discard(number)
            self.tenures.pop(number, None)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, delay_s: float = 0.0) -> None:
        """Take over what is wanted and not held."""
        await asyncio.sleep(delay_s)
        async with self._settling:
            if not self._stopping:
                await asyncio.gather(*(self._take_over(number) for number in sorted(self.wanted - set(self.tenures))))

    async def _take_over(self, number: int) -> None:
        """Fence, restore, seek, start. A failure is tried again later, as long as the partition is wanted."""
        began = perf_counter()
        try:
            tenure = await asyncio.get_running_loop().run_in_executor(self._pool, self._restore, number)
            async with self.app.fetching:
                if number in self.wanted and not self._stopping:
                    await self.app.consumer.seek_wait(self._places(tenure))
                if number in self.wanted and not self._stopping:
                    self.tenures[number] = tenure
                    self.counts.taken_over += 1
        except Exception as error:  # noqa: BLE001 - the broker may be away for a while; the partition stays wanted
            log.warning("takeover.failed", agent=self.spec.name, partition=number, error=f"{type(error).__name__}: {error}"[:300])
            self._spawn(self._settle(RETAKE_DELAY_S))
        else:
            self.metrics.take_over.labels(self.spec.name).observe(perf_counter() - began)
            log.info("partition.restored", agent=self.spec.name, partition=number, positions=dict(tenure.standing.positions))

    def _restore(self, number: int) -> Tenure:
        """In a thread: fence whoever had the partition, then read its rows back."""
        timeout_ms = int(1000 * (60.0 if self.spec.replay else self.settings.transaction_timeout_s))
        producer = restore.fenced_producer(self._kafka, f"{full_name(self.settings.prefix, self.spec.name)}-{number}", timeout_ms)
        rows = restore.read_rows(self._kafka, self._names[self.spec.state], number)
        spec = self.spec
        rules = Rules(spec.order, spec.replay, self.settings.max_slice)
        tenure = begin(number, spec.brain(), producer, rows, spec.sources, spec.clock, rules)
        first = restore.offsets(self._kafka, [(name, number) for name in self.source_names()], first=True)
        for (name, _), offset in first.items():
            topic = self._short[name]
            if offset > tenure.standing.positions[topic]:
                # Retention took what nobody had read (or the topic is compacted): the log begins later than where we stand.
                log.warning("records.expired", agent=self.spec.name, topic=topic, partition=number, first=offset)
                tenure.move(topic, offset)
        return tenure

    def _places(self, tenure: Tenure) -> dict[TP, int]:
        positions = {**tenure.gathering.fetched, self.spec.clock: tenure.clock_fetched}
        return {TP(self._names[topic], tenure.partition): offset for topic, offset in positions.items()}

    # -- what the transport calls

    def open_tps(self) -> set[TP]:
        """What to fetch now."""
        if self._stopping:
            return set()
        return {
            TP(self._names[topic], number)
            for number, tenure in self.tenures.items()
            for topic in self.spec.topics
            if topic == self.spec.clock or tenure.gathering.wants(topic)
        }

    def arrived(self, tp: TP, fetched: Fetched) -> None:
        """Take what was fetched for a tenure. A gap ends the tenure: it begins again from its committed positions."""
        tenure = self.tenures.get(tp.partition)
        topic = self._short.get(tp.topic)
        if tenure is None or topic is None:
            return  # another agent's, or not restored yet: it is fetched again after the seek
        try:
            if topic == self.spec.clock:
                self._ticked(tenure, fetched)
            else:
                tenure.gathering.arrived(topic, fetched.records, fetched.before, fetched.after)
        except GapError as error:
            self._give_up(tenure, error, delay_s=0.0)

    def _ticked(self, tenure: Tenure, fetched: Fetched) -> None:
        if fetched.before != tenure.clock_fetched:
            raise GapError(f"{self.spec.clock}: fetched from {fetched.before}, expected {tenure.clock_fetched}")
        tenure.clock_fetched = fetched.after
        for record in fetched.records:
            told = self._told(record)
            if isinstance(told, Ticked | ContextSet):
                tenure.gathering.ticked(record.offset, told)
            else:
                log.error(
                    "clock.unreadable", agent=self.spec.name, partition=tenure.partition, offset=record.offset, reason=str(told)
                )

    def _told(self, record: Record) -> object:
        """The tick or context of a clock's record, or why it is neither."""
        if record.value and ("ce_type", b"duewatch.context.set.v1") in record.headers:
            try:
                return _context_of(record.value)
            except ValidationError as error:
                return error
        event = decode(self.spec.clock, record.key, record.value, record.headers)
        return event if isinstance(event, Rejection) else event.data

    def lost(self, tps: Iterable[TP]) -> None:
        """Records were taken from the fetcher and belong to no tenure that stands: theirs begin again."""
        for number in {tp.partition for tp in tps if tp.topic in self._short}:
            self.tenures.pop(number, None)
        self._spawn(self._settle())

    def offer_all(self) -> None:
        for tenure in list(self.tenures.values()):
            self._offer(tenure)

    def _offer(self, tenure: Tenure) -> None:
        """If the partition is idle and something may be applied, send its next slice to the agent."""
        if tenure.busy or self._stopping or self.tenures.get(tenure.partition) is not tenure:
            return
        made = tenure.gathering.take(more=tenure.more)
        if made is not None:
            tenure.busy = True
            # In a task of its own: whoever offers may be cancelled (the fetcher, at the end) and would lose the slice half-way.
            self._spawn(self._deliver(tenure, made))

    async def _deliver(self, tenure: Tenure, made: Slice) -> None:
        await self.slices.send(value=(tenure, made))

    # -- applying

    async def apply(self, work: tuple[Tenure, Slice]) -> None:
        """Fold and commit one slice; called by the agent. A failed, fenced or unknown commit ends the tenure."""
        tenure, made = work
        if self.tenures.get(tenure.partition) is not tenure:
            return  # of an old tenure
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._work, tenure, made)
        except Exception as error:  # noqa: BLE001 - whatever it was, the partition begins again from what is committed
            self._give_up(tenure, error)
            return
        tenure.busy = False
        self._offer(tenure)

    def _work(self, tenure: Tenure, made: Slice) -> None:
        """In a thread: decode, fold, write, keep."""
        before = tenure.standing
        if not continues(made, before.positions):
            raise GapError(f"slice {made.ends(self.spec.clock)} does not begin at {before.positions}")
        after = self._after(tenure, made)
        if after.context is None:
            raise RuntimeError("a slice without a context was planned")
        with _FOLDING:
            arrived, rejected = self._decode(tenure.partition, made)
            folded = self._fold(tenure, made, after, arrived)
            rejected += self._rejected_by_brain(made, folded)
            messages = compose(self._origin(tenure.partition), made, after, before, folded, rejected)
        with self._commits, self.metrics.commit.labels(self.spec.name).time():
            commit(tenure.producer, messages, self._names, self._stage)
        tenure.brain.keep(folded)
        tenure.standing, tenure.more = after, folded.more
        self._count(made, folded, rejected)

    def _after(self, tenure: Tenure, made: Slice) -> Standing:
        before = tenure.standing
        return replace(
            before,
            positions={**before.positions, **made.ends(self.spec.clock)},
            applied=tenure.gathering.applied if made.tick else before.applied,
            number=before.number + 1,
            context=made.context or before.context,
            paused=frozenset(tenure.gathering.paused),
        )

    def _decode(self, partition: int, made: Slice) -> tuple[list[Arrived], list[Rejected]]:
        arrived: list[Arrived] = []
        rejected: list[Rejected] = []
        for run in made.runs:
            for record in run.records:
                event = decode(run.topic, record.key, record.value, record.headers, partition, self.spec.partitions)
                if isinstance(event, Rejection):
                    rejected.append(Rejected(run.topic, record, event))
                else:
                    key = None if record.key is None else record.key.decode(errors="replace")
                    arrived.append(Arrived(run.topic, partition, record.offset, key, event))
        return arrived, rejected

    def _fold(self, tenure: Tenure, made: Slice, after: Standing, arrived: list[Arrived]) -> Folded:
        assert after.context is not None  # noqa: S101 - for the type checker; checked above
        replay = self.spec.replay
        return tenure.brain.fold(
            arrived,
            after.applied.time if after.applied else None,
            after.context,
            replay=replay,
            step=made.tick.step if made.tick else -1,
            wakes=ALL_WAKES if replay else WAKES,
        )

    @staticmethod
    def _rejected_by_brain(made: Slice, folded: Folded) -> list[Rejected]:
        if not folded.rejected:
            return []
        raw: dict[tuple[str, int], Record] = {(run.topic, record.offset): record for run in made.runs for record in run.records}
        return [Rejected(one.topic, raw[one.topic, one.offset], reason) for one, reason in folded.rejected]

    def _origin(self, partition: int) -> Origin:
        spec = self.spec
        return Origin(spec.name, partition, spec.partitions, self.settings.prefix, spec.state, spec.order, CODE_VERSION)

    def _count(self, made: Slice, folded: Folded, rejected: list[Rejected]) -> None:
        counts, metrics = self.counts, self.metrics
        counts.slices += 1
        counts.events += sum(len(run.records) for run in made.runs)
        counts.ticks += made.tick is not None
        counts.duplicates += folded.duplicates
        counts.rejected += len(rejected)
        counts.outputs += len(folded.outputs)
        metrics.slices.labels(self.spec.name).inc()
        refused = Counter(one.topic for one in rejected)
        for run in made.runs:
            metrics.record(run.topic, "applied", len(run.records) - refused[run.topic])
            if refused[run.topic]:
                metrics.record(run.topic, "dead_letter", refused[run.topic])
        by_brain = len(folded.rejected)
        if rejected:
            metrics.dead_letters.labels("applied").inc(by_brain)
            metrics.dead_letters.labels("decoded").inc(len(rejected) - by_brain)

    def _give_up(self, tenure: Tenure, error: Exception, delay_s: float = RETAKE_DELAY_S) -> None:
        """End the tenure. If the partition is still ours after the delay, it is taken over again.

        A worker that was fenced learns with a later heartbeat that it lost the partition; without the delay two workers would
        fence each other in turn.
        """
        self.counts.given_up += 1
        self.metrics.retakes.labels(self.spec.name, type(error).__name__).inc()
        log.warning(
            "partition.dropped", agent=self.spec.name, partition=tenure.partition, error=f"{type(error).__name__}: {error}"[:300]
        )
        if self.tenures.get(tenure.partition) is tenure:
            del self.tenures[tenure.partition]
        if not self._stopping:
            self._spawn(self._settle(delay_s))

    # -- the end

    async def _finish(self, _app: SliceApp, **_: Any) -> None:
        """Before the shutdown: finish what is in flight, begin nothing."""
        self._stopping = True
        for _attempt in range(1000):
            if not any(tenure.busy for tenure in self.tenures.values()):
                break
            await asyncio.sleep(0.01)
        self.tenures.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)
