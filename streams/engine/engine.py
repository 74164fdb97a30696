"""One agent's engine in one worker: takes partitions over, gathers what arrives, and applies slice after slice.

Membership callbacks only take notes; taking over runs beside them, and what stays goes on. All decisions on what may be applied
are in ``plan``, all reading is in ``fetch``, what becomes of a slice in ``apply``, its writing in ``commit``; here is what holds
them together: tenures, tasks, and the rule that whatever fails ends the tenure.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock, Semaphore
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import structlog
from faust.types import TP
from pydantic import ValidationError

from schemas.events.clock import ContextSet, SourceResumed, Ticked
from schemas.events.envelope import Rejection
from schemas.registry import TOPICS
from streams.engine import restore
from streams.engine.apply import SliceProcessor
from streams.engine.fetcher import Arrival, Fetcher, Place
from streams.engine.partition_task import PartitionTask, begin
from streams.engine.rate_limiter import RateLimiter
from streams.engine.restore_process import RestoreProcesses
from streams.engine.slicing import GapError, Record, Rules, Slice
from streams.engine.spec import AgentSpec
from streams.engine.transaction import Stage
from streams.kafka.codec import decode
from streams.kafka.topics import full_name
from streams.metrics import Metrics
from streams.process.affinity import on_all_cores

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.worker.membership import SliceApp

log = structlog.get_logger()

RETAKE_DELAY_S = 3.0
RESTORES_AT_ONCE = 16
_BEGINNING = Lock()
"""One partition's rows are taken over at a time, while others are read: the first is ready when the last still reads."""


@lru_cache(maxsize=2)
def _context_of(value: bytes) -> ContextSet:
    """A context comes to every partition and agent with the same bytes, and holds the whole shared model: it is read once."""
    return ContextSet.model_validate_json(value)


@dataclass(eq=False, slots=True)
class SliceJob:
    """A slice on its way through the agent."""

    tenure: PartitionTask
    made: Slice
    begun: bool = False


class Engine:
    """See the module. ``commits`` limits those in flight per worker; tests raise in ``stage`` where a broker could fail."""

    def __init__(
        self, app: SliceApp, spec: AgentSpec, settings: Settings, metrics: Metrics, commits: Semaphore, stage: Stage | None = None
    ) -> None:
        self.app, self.spec, self.settings, self.metrics = app, spec, settings, metrics
        self.slices = app.channel(maxsize=0)
        self.tenures: dict[int, PartitionTask] = {}
        self.wanted: set[int] = set()
        self._names = {name: full_name(settings.prefix, name) for name in TOPICS}
        self._applier = SliceProcessor(spec, settings.prefix, self._names, metrics, commits, stage)
        self._short = {self._names[name]: name for name in spec.topics}
        self._kafka = settings.for_librdkafka()
        self._pool = ThreadPoolExecutor(spec.partitions + 4, thread_name_prefix=spec.name)
        self._fetcher: Fetcher | None = None
        self._generation: int | None = None
        self._losses: Counter[int] = Counter()
        self._taking: set[int] = set()
        self._restores = asyncio.Semaphore(RESTORES_AT_ONCE)
        self._readers = RestoreProcesses()
        self._waiting: dict[PartitionTask, None] = {}
        self._works: set[SliceJob] = set()
        self._pace = RateLimiter(settings.slices_per_second, self.concurrency)
        self._alarm: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        app.receivers.append(self)
        app.on_partitions_assigned.connect(cast("Any", self._assigned))
        app.on_before_shutdown.connect(cast("Any", self._finish))

    @property
    def concurrency(self) -> int:
        """Slices in flight at once: one is folded while others commit. What arrives meanwhile gathers."""
        return min(self.spec.partitions, self.settings.commits_in_flight + 1)

    @property
    def ready(self) -> bool:
        """Whether there was an assignment, and all of it is restored and running."""
        return self._generation is not None and not self._stopping and self.wanted == set(self.tenures)

    def source_names(self) -> list[str]:
        """The topics to subscribe to, with prefix."""
        return [self._names[name] for name in self.spec.topics]

    @property
    def paused(self) -> dict[str, list[int]]:
        """Topic -> its partitions that are paused because too much of them is broken (D10)."""
        found: dict[str, list[int]] = {}
        for number, tenure in sorted(self.tenures.items()):
            for topic in sorted(tenure.standing.paused):
                found.setdefault(topic, []).append(number)
        return found

    # -- membership

    async def _assigned(self, app: SliceApp, assigned: Iterable[TP], **_: Any) -> None:
        by_topic: dict[str, set[int]] = {name: set() for name in self._short}
        for tp in assigned:
            if tp.topic in by_topic:
                by_topic[tp.topic].add(tp.partition)
        if len({frozenset(numbers) for numbers in by_topic.values()}) > 1:
            # Its state would miss events: better no worker than a wrong one. Stop all, then start them with one topic list.
            raise RuntimeError(f"agent {self.spec.name}: its topics differ in partitions, the assignment is refused: {by_topic}")
        self.wanted = set(next(iter(by_topic.values())))
        self._let_go(app.consumer_generation_id)
        log.info("partitions.assigned", agent=self.spec.name, partitions=sorted(self.wanted), kept=sorted(self.tenures))
        for work in self._works:
            if not work.begun:
                self._spawn(self.slices.send(value=work))  # Faust clears the queues of its agents while it rebalances
        self._settle()

    def _let_go(self, generation: int) -> None:
        """End the tenures of partitions that went elsewhere; those that stay go on: their fence and positions still hold.

        If the group has had another generation between, somebody else may have had, and written, any of them: all begin anew.
        (The fence would tell, too, but only with the next commit.)
        """
        straight = self._generation is None or generation == self._generation + 1
        self._generation = generation
        for number in set(self.tenures) if not straight else set(self.tenures) - self.wanted:
            self._drop(self.tenures[number])
        for number in self._taking if not straight else self._taking - self.wanted:
            self._losses[number] += 1

    def _drop(self, tenure: PartitionTask) -> None:
        """End a tenure, if it still stands."""
        if self.tenures.get(tenure.partition) is tenure:
            del self.tenures[tenure.partition]
        self._waiting.pop(tenure, None)
        if self._fetcher is not None:
            self._fetcher.close(tenure)

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _settle(self) -> None:
        """Take over what is wanted and not held, each partition by itself."""
        if not self._stopping:
            for number in sorted(self.wanted - set(self.tenures) - self._taking):
                self._taking.add(number)
                self._spawn(self._take_over(number))

    async def _settle_later(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._settle()

    async def _take_over(self, number: int) -> None:
        """Fence, restore, start. A failure is tried again later, as long as the partition is wanted."""
        began, losses, delay_s = perf_counter(), self._losses[number], 0.0
        try:
            async with self._restores:
                tenure = await asyncio.get_running_loop().run_in_executor(self._pool, self._restored, number)
        except Exception as error:  # noqa: BLE001 - the broker may be away for a while; the partition stays wanted
            tell = log.info if self._stopping else log.warning
            tell("takeover.failed", agent=self.spec.name, partition=number, error=f"{type(error).__name__}: {error}"[:300])
            delay_s = RETAKE_DELAY_S
        else:
            if number in self.wanted and losses == self._losses[number] and not self._stopping:
                self._start(tenure)
                self.metrics.take_over.labels(self.spec.name).observe(perf_counter() - began)
                log.info("partition.restored", agent=self.spec.name, partition=number, positions=dict(tenure.standing.positions))
        self._taking.discard(number)
        if number in self.wanted and number not in self.tenures:
            self._spawn(self._settle_later(delay_s))

    def _start(self, tenure: PartitionTask) -> None:
        """Its rows are there and whoever had the partition is fenced: read on from its positions."""
        if self._fetcher is None:
            kafka = {**self._kafka, "fetch.wait.max.ms": str(self.settings.fetch_wait_ms)}
            self._fetcher = Fetcher(kafka, self._arrived, self._failed, asyncio.get_running_loop())
        self.tenures[tenure.partition] = tenure
        tenure.resting.update(tenure.gathering.paused)
        resting = [(self._names[topic], tenure.partition) for topic in tenure.resting]
        self._fetcher.open(tenure, self._places(tenure), self._short, resting)

    def _restored(self, number: int) -> PartitionTask:
        """In a thread of the pool, whose clients and processes may run on any core."""
        with on_all_cores():
            return self._restore(number)

    def _restore(self, number: int) -> PartitionTask:
        """Fence whoever had the partition, then read its rows back."""
        timeout_ms = int(1000 * (60.0 if self.spec.replay else self.settings.transaction_timeout_s))
        producer = restore.fenced_producer(self._kafka, f"{full_name(self.settings.prefix, self.spec.name)}-{number}", timeout_ms)
        spec, brain = self.spec, self.spec.brain()
        found = restore.read_state(self._kafka, self._names[spec.state], number, brain, self._readers)
        rules = Rules(
            order=spec.order,
            lazy=spec.replay,
            most=min(self.settings.max_slice, spec.most or self.settings.max_slice),
            held=self.settings.held_records,
            held_bytes=self.settings.held_bytes,
            with_tick=spec.with_tick,
        )
        with _BEGINNING:
            tenure = begin(number, brain, producer, found, spec.sources, spec.clock, rules)
        first = restore.offsets(self._kafka, [(name, number) for name in self.source_names()], first=True)
        for (name, _), offset in first.items():
            topic = self._short[name]
            if offset > tenure.standing.positions[topic]:
                # Retention took what nobody had read (or the topic is compacted): the log begins later than where we stand.
                log.warning("records.expired", agent=self.spec.name, topic=topic, partition=number, first=offset)
                tenure.move(topic, offset)
        return tenure

    def _places(self, tenure: PartitionTask) -> dict[Place, int]:
        positions = {**tenure.gathering.fetched, self.spec.clock: tenure.clock_fetched}
        return {(self._names[topic], tenure.partition): offset for topic, offset in positions.items()}

    # -- what the fetcher calls, in the event loop

    def _arrived(self, arrivals: list[Arrival]) -> None:
        """Take what was read. A gap ends the tenure: it begins again from its committed positions."""
        tenures: dict[PartitionTask, None] = {}
        for owner, topic, records, after, size in arrivals:
            tenure = cast("PartitionTask", owner)
            if self.tenures.get(tenure.partition) is not tenure:
                continue  # of a tenure that has ended
            try:
                if topic == self.spec.clock:
                    self._ticked(tenure, records, after)
                else:
                    tenure.gathering.arrived(topic, records, tenure.gathering.fetched[topic], after, size)
            except GapError as error:
                self._give_up(tenure, error, delay_s=0.0)
                continue
            tenures[tenure] = None
        for tenure in tenures:
            self._regulate(tenure)
            self._offer(tenure)

    def _failed(self, owner: object | None, error: Exception) -> None:
        """A tenure cannot be read on; without an owner nothing can, and the worker ends."""
        if owner is None:
            self._spawn(self.app.crash(error))
            return
        tenure = cast("PartitionTask", owner)
        if self.tenures.get(tenure.partition) is tenure:
            self._give_up(tenure, error)

    def _regulate(self, tenure: PartitionTask) -> None:
        """Stop fetching what enough is held of, and go on with what is wanted again."""
        if self._fetcher is None:
            return
        for topic in self.spec.sources:
            resting = topic in tenure.resting
            if tenure.gathering.wants(topic, resting=resting) is not resting:
                continue
            if resting:
                tenure.resting.discard(topic)
                self._fetcher.resume(tenure, (self._names[topic], tenure.partition))
            else:
                tenure.resting.add(topic)
                self._fetcher.pause(tenure, (self._names[topic], tenure.partition))

    def _ticked(self, tenure: PartitionTask, records: Sequence[Record], after: int) -> None:
        first = records[0].offset if records else after
        if first < tenure.clock_fetched:
            raise GapError(f"{self.spec.clock}: fetched from {first}, expected {tenure.clock_fetched}")
        tenure.clock_fetched = after
        for record in records:
            told = self._told(record)
            if isinstance(told, Ticked | ContextSet | SourceResumed):
                tenure.gathering.ticked(record.offset, told)
            else:
                log.error(
                    "clock.unreadable", agent=self.spec.name, partition=tenure.partition, offset=record.offset, reason=str(told)
                )

    def _told(self, record: Record) -> object:
        """The tick, context or resumption of a clock's record, or why it is none."""
        if record.value and ("ce_type", b"duewatch.context.set.v1") in (record.headers or ()):
            try:
                return _context_of(record.value)
            except ValidationError as error:
                return error
        event = decode(self.spec.clock, record.key, record.value, record.headers)
        return event if isinstance(event, Rejection) else event.data

    # -- handing out

    def _offer(self, tenure: PartitionTask) -> None:
        """Put an idle partition that may have something to apply at the end of the queue."""
        if not tenure.busy and (tenure.more or tenure.gathering.waits()):
            self._waiting.setdefault(tenure)
            self._dispatch()

    def _dispatch(self) -> None:
        """Send slices to the agent, as many as may be in flight and begin now; meanwhile what arrives for the others gathers.

        Who has waited longest comes first.
        """
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._works) < self.concurrency and not self._stopping:
            wait_s = self._pace.wait(loop.time())
            if wait_s > 0.0:
                if self._alarm is None:
                    self._alarm = loop.call_later(wait_s, self._ring)
                return
            tenure = next(iter(self._waiting))
            del self._waiting[tenure]
            made = tenure.gathering.take(more=tenure.more)
            if made is not None:
                self._pace.spend(loop.time())
                tenure.busy = True
                work = SliceJob(tenure, made)
                self._works.add(work)
                self._regulate(tenure)
                self._spawn(self.slices.send(value=work))

    def _ring(self) -> None:
        self._alarm = None
        self._dispatch()

    # -- applying

    async def apply(self, work: SliceJob) -> None:
        """Fold and commit one slice; called by the agent. A failed, fenced or unknown commit ends the tenure."""
        if work.begun:
            return  # sent again in a rebalance
        work.begun = True
        tenure = work.tenure
        try:
            if self._stopping or self.tenures.get(tenure.partition) is not tenure:
                return  # of an old tenure, or nothing may begin any more
            await asyncio.get_running_loop().run_in_executor(self._pool, self._applier.apply, tenure, work.made)
        except Exception as error:  # noqa: BLE001 - whatever it was, the partition begins again from what is committed
            if self.tenures.get(tenure.partition) is tenure:
                self._give_up(tenure, error)
            else:
                log.info("slice.overtaken", agent=self.spec.name, partition=tenure.partition, error=f"{error}"[:300])
        else:
            tenure.gathering.pause(tenure.standing.paused)
            tenure.busy = False
            if self.tenures.get(tenure.partition) is tenure:
                self._offer(tenure)
        finally:
            self._works.discard(work)
            self._dispatch()

    def measure(self) -> None:
        """Set the gauges; called every few seconds from the event loop."""
        self.metrics.held.labels(self.spec.name).set(sum(tenure.gathering.held() for tenure in self.tenures.values()))
        if self._fetcher is None:
            return
        places = {
            (self._names[topic], number): (topic, position)
            for number, tenure in self.tenures.items()
            for topic, position in tenure.standing.positions.items()
        }
        self.metrics.set_lags(
            self.spec.topics,
            {
                (places[place][0], place[1]): lag
                for place, lag in self._fetcher.lags({place: position for place, (_, position) in places.items()}).items()
            },
        )
        self.metrics.set_paused(self.spec.sources, self.paused)

    def _give_up(self, tenure: PartitionTask, error: Exception, delay_s: float = RETAKE_DELAY_S) -> None:
        """End the tenure. If the partition is still ours after the delay, it is taken over again.

        A worker that was fenced learns with a later heartbeat that it lost the partition; without the delay two workers would
        fence each other in turn.
        """
        self.metrics.retakes.labels(self.spec.name, type(error).__name__).inc()
        log.warning(
            "partition.dropped", agent=self.spec.name, partition=tenure.partition, error=f"{type(error).__name__}: {error}"[:300]
        )
        self._drop(tenure)
        if not self._stopping:
            self._spawn(self._settle_later(delay_s))

    # -- the end

    async def _finish(self, _app: SliceApp, **_: Any) -> None:
        """Before the shutdown: finish what is in flight, begin nothing."""
        self._stopping = True
        self._readers.end()
        for _attempt in range(1000):
            if not any(work.begun for work in self._works):
                break
            await asyncio.sleep(0.01)
        self.tenures.clear()
        if self._fetcher is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._fetcher.end)
        self._pool.shutdown(wait=False, cancel_futures=True)
