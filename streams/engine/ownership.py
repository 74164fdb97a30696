"""Which partitions of an agent are ours: take them over, give them up, take them over again.

Membership callbacks only note what is assigned; taking over runs beside them, each partition by itself, and partitions that stay
with us go on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaException

from streams.engine.partition_task import PartitionTask, new_task, read_checkpoint
from streams.engine.restore import read_state
from streams.engine.restore_process import RestoreProcesses
from streams.engine.row_format import NewerFormatError, require_known_rows
from streams.engine.slicing import Rules
from streams.engine.spec import AgentSpec
from streams.errors import UserError
from streams.kafka.producer import fenced_producer
from streams.kafka.read import offsets
from streams.kafka.topics import full_name
from streams.metrics import Metrics
from streams.process.affinity import on_all_cores

if TYPE_CHECKING:
    from streams.settings import Settings

log = structlog.get_logger()

RETAKE_DELAY_S = 3.0
MAX_RESTORES = 16
REPLAY_TRANSACTION_TIMEOUT_S = 60.0
_BEGINNING = Lock()
"""One partition's rows are taken over at a time, while others are read: the first is ready when the last still reads."""

Spawn = Callable[[Coroutine[Any, Any, Any]], None]


class Ownership:
    """The partitions of one agent in this worker. All methods are called in the event loop.

    ``on_start`` gets a task whose rows are restored and whose predecessor is fenced; ``on_end`` one that must not go on;
    ``on_refuse`` why this worker may not have a partition: it ends, so that Kafka gives the partition to a newer one.
    ``names``: topic -> as the broker calls it. ``pool`` runs what blocks, ``spawn`` starts a coroutine.
    """

    def __init__(
        self,
        spec: AgentSpec,
        settings: Settings,
        metrics: Metrics,
        names: Mapping[str, str],
        pool: Executor,
        spawn: Spawn,
        on_start: Callable[[PartitionTask], None],
        on_end: Callable[[PartitionTask], None],
        on_refuse: Callable[[UserError], None],
    ) -> None:
        self._spec, self._settings, self._metrics = spec, settings, metrics
        self._names, self._pool, self._spawn = names, pool, spawn
        self._on_start, self._on_end, self._on_refuse = on_start, on_end, on_refuse
        self.tasks: dict[int, PartitionTask] = {}
        self.assigned: set[int] = set()
        self.is_stopping = False
        self._generation: int | None = None
        self._losses: Counter[int] = Counter()
        self._taking: set[int] = set()
        self._restores = asyncio.Semaphore(MAX_RESTORES)
        self._processes = RestoreProcesses()

    @property
    def is_complete(self) -> bool:
        """Whether there was an assignment, and all of it is restored and running."""
        return self._generation is not None and not self.is_stopping and self.assigned == set(self.tasks)

    def holds(self, task: PartitionTask) -> bool:
        """Whether it is the present task of its partition: what is left of an old one has no effect any more."""
        return self.tasks.get(task.partition) is task

    def assign(self, partitions: set[int], generation: int) -> None:
        """Note an assignment: end the tasks of partitions that went elsewhere. ``settle`` takes over those that came.

        Those that stay go on: their fence and positions still hold. If the group has had another generation between, somebody
        else may have had, and written, any of them: all begin anew. (The fence would tell, too, but only with the next commit.)
        """
        self.assigned = partitions
        is_next = self._generation is None or generation == self._generation + 1
        self._generation = generation
        for number in set(self.tasks) - partitions if is_next else set(self.tasks):
            self.end(self.tasks[number])
        for number in self._taking - partitions if is_next else self._taking:
            self._losses[number] += 1

    def end(self, task: PartitionTask) -> None:
        """End a task, if it is not ended yet."""
        if self.holds(task):
            del self.tasks[task.partition]
        self._on_end(task)

    def retake(self, task: PartitionTask, delay_s: float = RETAKE_DELAY_S) -> None:
        """End a task; if the partition is still ours after the delay, it is taken over again.

        A worker that was fenced learns with a later heartbeat that it lost the partition; without the delay two workers would
        fence each other in turn.
        """
        self.end(task)
        if not self.is_stopping:
            self._spawn(self._settle_later(delay_s))

    def settle(self) -> None:
        """Take over what is assigned and not held, each partition by itself."""
        if not self.is_stopping:
            for number in sorted(self.assigned - set(self.tasks) - self._taking):
                self._taking.add(number)
                self._spawn(self._take_over(number))

    def stop(self) -> None:
        """Take nothing over any more; processes that restore are killed."""
        self.is_stopping = True
        self._processes.end()

    async def _settle_later(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self.settle()

    async def _take_over(self, number: int) -> None:
        """Fence, restore, start. A failure is tried again later, as long as the partition is assigned to us."""
        began, losses, delay_s = perf_counter(), self._losses[number], 0.0
        try:
            async with self._restores:
                task = await asyncio.get_running_loop().run_in_executor(self._pool, self._restore_anywhere, number)
        except NewerFormatError as error:
            log.error("partition.refused", agent=self._spec.name, partition=number, error=str(error))  # noqa: TRY400 - says it all
            self._on_refuse(error)
            delay_s = RETAKE_DELAY_S
        except Exception as error:  # noqa: BLE001 - the broker may be away for a while; the partition stays assigned
            report = log.info if self.is_stopping else log.warning
            report("takeover.failed", agent=self._spec.name, partition=number, error=f"{type(error).__name__}: {error}"[:300])
            delay_s = RETAKE_DELAY_S
        else:
            if number in self.assigned and losses == self._losses[number] and not self.is_stopping:
                self.tasks[number] = task
                self._on_start(task)
                self._metrics.take_over.labels(self._spec.name).observe(perf_counter() - began)
                positions = dict(task.checkpoint.positions)
                log.info("partition.restored", agent=self._spec.name, partition=number, positions=positions)
        self._taking.discard(number)
        if number in self.assigned and number not in self.tasks:
            self._spawn(self._settle_later(delay_s))

    def _restore_anywhere(self, number: int) -> PartitionTask:
        """In a thread of the pool, whose clients and processes may run on any core."""
        with on_all_cores():
            return self._restore(number)

    def _restore(self, number: int) -> PartitionTask:
        """Fence whoever had the partition, then read its rows back."""
        spec, settings, kafka = self._spec, self._settings, self._settings.for_librdkafka()
        timeout_s = REPLAY_TRANSACTION_TIMEOUT_S if spec.replay else settings.transaction_timeout_s
        producer = fenced_producer(kafka, f"{full_name(settings.prefix, spec.name)}-{number}", int(1000 * timeout_s))
        brain = spec.brain()
        try:
            restored = read_state(kafka, self._names[spec.state], number, brain, self._processes)
        except KafkaException:
            raise
        except Exception:
            # The rows of a newer version need not be readable: then that is what is wrong.
            require_known_rows(settings, [spec], number)
            raise
        checkpoint = read_checkpoint(restored.own, spec.row_format, f"{spec.name} {number}")
        rules = Rules(
            order=spec.order,
            lazy=spec.replay,
            max_slice=min(settings.max_slice, spec.max_slice or settings.max_slice),
            max_held=settings.held_records,
            max_held_bytes=settings.held_bytes,
            with_tick=spec.with_tick,
        )
        with _BEGINNING:
            task = new_task(number, brain, producer, restored, spec.sources, spec.clock, rules, checkpoint)
        topics = {self._names[topic]: topic for topic in spec.topics}
        first = offsets(kafka, [(name, number) for name in topics], first=True)
        for (name, _), offset in first.items():
            topic = topics[name]
            if offset > task.checkpoint.positions[topic]:
                # Retention took what nobody had read (or the topic is compacted): the log begins later than we are.
                log.warning("records.expired", agent=spec.name, topic=topic, partition=number, first=offset)
                task.skip_to(topic, offset)
        return task
