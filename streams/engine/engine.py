"""One agent's engine in one worker: gathers what arrives for its partitions, and applies slice after slice.

Which partitions are ours is decided in ``ownership``, what may be applied in ``slicing``; all reading is in ``fetcher``, what
becomes of a slice in ``apply``, its writing in ``transaction``. Here is what holds them together, and the rule that whatever
fails ends the task of its partition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from threading import Semaphore
from typing import TYPE_CHECKING, Any, cast

import structlog
from faust.types import TP
from pydantic import ValidationError

from schemas.events.clock import ContextSet, SourceResumed, Ticked
from schemas.events.envelope import Rejection
from schemas.registry import TOPICS
from streams.engine.apply import SliceProcessor
from streams.engine.context import UnreadableContextError, is_context
from streams.engine.fetcher import Arrival, Fetcher
from streams.engine.ownership import RETAKE_DELAY_S, Ownership
from streams.engine.partition_task import PartitionTask
from streams.engine.rate_limiter import RateLimiter
from streams.engine.slicing import GapError, Slice
from streams.engine.spec import AgentSpec, HostApp
from streams.engine.transaction import Stage
from streams.kafka.codec import decode
from streams.kafka.read import Place
from streams.kafka.record import KafkaRecord
from streams.kafka.topics import full_name
from streams.metrics import Metrics

if TYPE_CHECKING:
    from streams.settings import Settings

log = structlog.get_logger()


@lru_cache(maxsize=2)
def _context_of(value: bytes) -> ContextSet:
    """A context comes to every partition and agent with the same bytes, and holds the whole shared model: it is read once."""
    return ContextSet.model_validate_json(value)


@dataclass(eq=False, slots=True)
class SliceJob:
    """A slice on its way through the agent."""

    task: PartitionTask
    slice_: Slice
    is_running: bool = False


class Engine:
    """See the module. ``commits`` limits those in flight per worker; tests raise in ``stage`` where a broker could fail."""

    def __init__(
        self, app: HostApp, spec: AgentSpec, settings: Settings, metrics: Metrics, commits: Semaphore, stage: Stage | None = None
    ) -> None:
        self.app, self.spec, self.settings, self.metrics = app, spec, settings, metrics
        self.slices = app.channel(maxsize=0)
        self._names = {name: full_name(settings.prefix, name) for name in TOPICS}
        self._short = {self._names[name]: name for name in spec.topics}
        self._processor = SliceProcessor(spec, settings.prefix, self._names, metrics, commits, stage)
        self._pool = ThreadPoolExecutor(spec.partitions + 4, thread_name_prefix=spec.name)
        self._ownership = Ownership(
            spec,
            settings,
            metrics,
            self._names,
            self._pool,
            self._spawn,
            on_start=self._read_on,
            on_end=self._forget,
            on_refuse=app.shut_down,
        )
        self._fetcher: Fetcher | None = None
        self._idle: dict[PartitionTask, None] = {}
        """Tasks that may have something to apply; who has waited longest comes first."""
        self._jobs: dict[SliceJob, None] = {}
        """Slices that are in flight, in the order in which they began."""
        self._limiter = RateLimiter(settings.slices_per_second, self.concurrency)
        self._alarm: asyncio.TimerHandle | None = None
        self._background: set[asyncio.Task[None]] = set()
        app.receivers.append(self)
        app.on_partitions_assigned.connect(cast("Any", self._on_assigned))
        app.on_before_shutdown.connect(cast("Any", self._finish))

    @property
    def tasks(self) -> dict[int, PartitionTask]:
        """The partitions that are ours, restored and running, by their numbers."""
        return self._ownership.tasks

    @property
    def concurrency(self) -> int:
        """Slices in flight at once: one is folded while others commit. What arrives meanwhile gathers."""
        return min(self.spec.partitions, self.settings.commits_in_flight + 1)

    @property
    def ready(self) -> bool:
        """Whether there was an assignment, and all of it is restored and running."""
        return self._ownership.is_complete

    def source_names(self) -> list[str]:
        """The topics to subscribe to, with prefix."""
        return [self._names[name] for name in self.spec.topics]

    @property
    def paused(self) -> dict[str, list[int]]:
        """Topic -> its partitions that are paused because too much of them is broken."""
        paused: dict[str, list[int]] = {}
        for number, task in sorted(self.tasks.items()):
            for topic in sorted(task.checkpoint.paused):
                paused.setdefault(topic, []).append(number)
        return paused

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        running = asyncio.get_running_loop().create_task(coroutine)
        self._background.add(running)
        running.add_done_callback(self._background.discard)

    # -- partitions come and go

    async def _on_assigned(self, app: HostApp, assigned: Iterable[TP], **_: Any) -> None:
        by_topic: dict[str, set[int]] = {name: set() for name in self._short}
        for tp in assigned:
            if tp.topic in by_topic:
                by_topic[tp.topic].add(tp.partition)
        if len({frozenset(numbers) for numbers in by_topic.values()}) > 1:
            # Its state would miss events: better no worker than a wrong one. Stop all, then start them with one topic list.
            raise RuntimeError(f"agent {self.spec.name}: its topics differ in partitions, the assignment is refused: {by_topic}")
        partitions = set(next(iter(by_topic.values())))
        self._ownership.assign(partitions, app.consumer_generation_id)
        log.info("partitions.assigned", agent=self.spec.name, partitions=sorted(partitions), kept=sorted(self.tasks))
        for job in self._jobs:
            if not job.is_running:
                self._spawn(self.slices.send(value=job))  # Faust clears the queues of its agents while it rebalances
        self._ownership.settle()

    def _read_on(self, task: PartitionTask) -> None:
        """Its rows are there and whoever had the partition is fenced: read on from its positions."""
        if self._fetcher is None:
            kafka = {**self.settings.for_librdkafka(), "fetch.wait.max.ms": str(self.settings.fetch_wait_ms)}
            self._fetcher = Fetcher(kafka, self._on_arrivals, self._on_fetch_error, asyncio.get_running_loop())
        task.throttled.update(task.buffer.paused)
        paused = [(self._names[topic], task.partition) for topic in task.throttled]
        self._fetcher.open(task, self._places(task), self._short, paused)

    def _places(self, task: PartitionTask) -> dict[Place, int]:
        positions = {**task.buffer.fetched, self.spec.clock: task.clock_fetched}
        return {(self._names[topic], task.partition): offset for topic, offset in positions.items()}

    def _forget(self, task: PartitionTask) -> None:
        """The task has ended: nothing of it is read or handed out any more."""
        self._idle.pop(task, None)
        if self._fetcher is not None:
            self._fetcher.close(task)

    def _give_up(self, task: PartitionTask, error: Exception, delay_s: float = RETAKE_DELAY_S) -> None:
        """End the task: its partition begins again from what is committed, if it is still ours after the delay."""
        self.metrics.retakes.labels(self.spec.name, type(error).__name__).inc()
        log.warning(
            "partition.dropped", agent=self.spec.name, partition=task.partition, error=f"{type(error).__name__}: {error}"[:300]
        )
        self._ownership.retake(task, delay_s)

    # -- what the fetcher calls, in the event loop

    def _on_arrivals(self, arrivals: list[Arrival]) -> None:
        """Take what was read. A gap or an unreadable context ends the task: it begins again from its committed positions."""
        tasks: dict[PartitionTask, None] = {}
        for owner, topic, records, after, size in arrivals:
            task = cast("PartitionTask", owner)
            if not self._ownership.holds(task):
                continue  # of a task that has ended
            try:
                if topic == self.spec.clock:
                    self._add_ticks(task, records, after)
                else:
                    task.buffer.add_records(topic, records, task.buffer.fetched[topic], after, size)
            except GapError as error:
                self._give_up(task, error, delay_s=0.0)
                continue
            except UnreadableContextError as error:
                self._give_up(task, error)
                continue
            tasks[task] = None
        for task in tasks:
            self._regulate(task)
            self._offer(task)

    def _on_fetch_error(self, owner: object | None, error: Exception) -> None:
        """A task cannot be read on; without an owner nothing can, and the worker ends."""
        if owner is None:
            self._spawn(self.app.crash(error))
            return
        task = cast("PartitionTask", owner)
        if self._ownership.holds(task):
            self._give_up(task, error)

    def _regulate(self, task: PartitionTask) -> None:
        """Stop fetching what enough is held of, and go on with what is needed again."""
        if self._fetcher is None:
            return
        for topic in self.spec.sources:
            is_throttled = topic in task.throttled
            if task.buffer.wants_more(topic, throttled=is_throttled) is not is_throttled:
                continue
            if is_throttled:
                task.throttled.discard(topic)
                self._fetcher.resume(task, (self._names[topic], task.partition))
            else:
                task.throttled.add(topic)
                self._fetcher.pause(task, (self._names[topic], task.partition))

    def _add_ticks(self, task: PartitionTask, records: Sequence[KafkaRecord], after: int) -> None:
        """Take records of the clock: ticks, contexts and resumptions. Raises GapError, UnreadableContextError."""
        first = records[0].offset if records else after
        if first < task.clock_fetched:
            raise GapError(f"{self.spec.clock}: fetched from {first}, expected {task.clock_fetched}")
        task.clock_fetched = after
        for record in records:
            message = self._clock_message(record)
            if isinstance(message, Ticked | ContextSet | SourceResumed):
                task.buffer.add_tick(record.offset, message)
            elif is_context(record.headers or ()):
                place = f"offset {record.offset} of {self.spec.clock} {task.partition}"
                log.error(
                    "context.unreadable",
                    agent=self.spec.name,
                    partition=task.partition,
                    offset=record.offset,
                    reason=str(message),
                    fix="the partition stands still until a worker can read it: if a newer version wrote it, start that version",
                )
                raise UnreadableContextError(f"the context at {place}: {message}")
            else:
                log.error(
                    "clock.unreadable", agent=self.spec.name, partition=task.partition, offset=record.offset, reason=str(message)
                )

    def _clock_message(self, record: KafkaRecord) -> object:
        """The tick, context or resumption in a record of the clock, or why it is none."""
        if record.value and ("ce_type", b"duewatch.context.set.v1") in (record.headers or ()):
            with suppress(ValidationError):  # then ``decode`` words it
                return _context_of(record.value)
        event = decode(self.spec.clock, record.key, record.value, record.headers)
        return event.reason if isinstance(event, Rejection) else event.data

    # -- handing out

    def _offer(self, task: PartitionTask) -> None:
        """Put an idle partition that may have something to apply at the end of the queue."""
        if not task.busy and (task.more or task.buffer.has_work()):
            self._idle.setdefault(task)
            self._dispatch()

    def _dispatch(self) -> None:
        """Send slices to the agent, as many as may be in flight and begin now; meanwhile what arrives for the others gathers."""
        loop = asyncio.get_running_loop()
        while self._idle and len(self._jobs) < self.concurrency and not self._ownership.is_stopping:
            wait_s = self._limiter.wait_s(loop.time())
            if wait_s > 0.0:
                if self._alarm is None:
                    self._alarm = loop.call_later(wait_s, self._ring)
                return
            task = next(iter(self._idle))
            del self._idle[task]
            slice_ = task.buffer.next_slice(more=task.more)
            if slice_ is not None:
                self._limiter.acquire(loop.time())
                task.busy = True
                job = SliceJob(task, slice_)
                self._jobs[job] = None
                self._regulate(task)
                self._spawn(self.slices.send(value=job))

    def _ring(self) -> None:
        self._alarm = None
        self._dispatch()

    # -- applying

    async def apply(self, job: SliceJob) -> None:
        """Fold and commit one slice; called by the agent. A failed, fenced or unknown commit ends the task."""
        if job.is_running:
            return  # sent again in a rebalance
        job.is_running = True
        task = job.task
        try:
            if self._ownership.is_stopping or not self._ownership.holds(task):
                return  # of an old task, or nothing may begin any more
            await asyncio.get_running_loop().run_in_executor(self._pool, self._processor.apply, task, job.slice_)
        except Exception as error:  # noqa: BLE001 - whatever it was, the partition begins again from what is committed
            if self._ownership.holds(task):
                self._give_up(task, error)
            else:
                log.info("slice.overtaken", agent=self.spec.name, partition=task.partition, error=f"{error}"[:300])
        else:
            task.buffer.pause(task.checkpoint.paused)
            task.busy = False
            if self._ownership.holds(task):
                self._offer(task)
        finally:
            self._jobs.pop(job, None)
            self._dispatch()

    def measure(self) -> None:
        """Set the gauges; called every few seconds from the event loop."""
        self.metrics.held.labels(self.spec.name).set(sum(task.buffer.record_count() for task in self.tasks.values()))
        if self._fetcher is None:
            return
        positions: dict[Place, int] = {}
        keys: dict[Place, tuple[str, int]] = {}
        for number, task in self.tasks.items():
            for topic, position in task.checkpoint.positions.items():
                place = self._names[topic], number
                positions[place], keys[place] = position, (topic, number)
        lags = self._fetcher.lags(positions)
        self.metrics.set_lags(self.spec.topics, {keys[place]: lag for place, lag in lags.items()})
        self.metrics.set_paused(self.spec.sources, self.paused)

    # -- the end

    async def _finish(self, _app: HostApp, **_: Any) -> None:
        """Before the shutdown: finish what is in flight, begin nothing."""
        self._ownership.stop()
        for _attempt in range(1000):
            if not any(job.is_running for job in self._jobs):
                break
            await asyncio.sleep(0.01)
        self.tasks.clear()
        if self._fetcher is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._fetcher.end)
        self._pool.shutdown(wait=False, cancel_futures=True)
