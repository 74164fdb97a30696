"""Apply one slice, in a thread: decode, fold, write in one transaction, and only then change the memory.

Whatever is raised here ends the slice's task (``ownership``): memory that was not committed is thrown away with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from threading import Lock, Semaphore
from time import time
from typing import TYPE_CHECKING, cast

import structlog

from agents.brain import FoldResult, Received
from agents.version import CODE_VERSION
from schemas.events.envelope import Rejection
from streams.engine.circuit_breaker import CircuitBreaker
from streams.engine.fold import fold_slice
from streams.engine.partition_task import Checkpoint, PartitionTask
from streams.engine.slicing import GapError, Slice, continues
from streams.engine.spec import AgentSpec
from streams.engine.transaction import Rejected, Stage, WriterId, commit, compose
from streams.kafka.codec import decode
from streams.kafka.record import KafkaRecord
from streams.metrics import Metrics

if TYPE_CHECKING:
    from streams.metrics import Outcome

log = structlog.get_logger()

_FOLDING = Lock()
"""One thread folds at a time, while others commit: folding is Python's own work, and threads that wrestle for it only cost."""


def decode_runs(
    runs: Iterable[tuple[str, Iterable[KafkaRecord]]], partition: int, partitions: int
) -> tuple[list[Received], list[Rejected]]:
    """The events of a slice's records, by topic in their order, and the records that are none: for engine and recomputation."""
    events: list[Received] = []
    rejected: list[Rejected] = []
    for topic, records in runs:
        for record in records:
            event = decode(topic, record.key, record.value, record.headers, partition, partitions)
            if isinstance(event, Rejection):
                rejected.append(Rejected(topic, record, event))
            else:
                events.append(Received(topic, partition, record.offset, event))
    return events, rejected


class SliceProcessor:
    """Applies the slices of one engine. ``names``: topic -> as the broker calls it, with ``prefix``.

    ``commits`` limits those in flight per worker; tests raise in ``stage`` where a broker could fail.
    """

    def __init__(
        self,
        spec: AgentSpec,
        prefix: str,
        names: Mapping[str, str],
        metrics: Metrics,
        commits: Semaphore,
        stage: Stage | None = None,
    ) -> None:
        self._spec, self._prefix, self._names = spec, prefix, names
        self._metrics, self._commits, self._stage = metrics, commits, stage

    def apply(self, task: PartitionTask, slice_: Slice) -> None:
        """When this returns the slice is committed, and the task stands behind it. Raises for whatever kept it from that."""
        before = task.checkpoint
        if not continues(slice_, before.positions):
            raise GapError(f"slice {slice_.ends(self._spec.clock)} does not begin at {before.positions}")
        after = self._after(task, slice_)
        if after.context is None:
            raise RuntimeError("a slice without a context was planned")
        with _FOLDING:
            runs = ((run.topic, run.records) for run in slice_.runs)
            events, rejected = decode_runs(runs, task.partition, self._spec.partitions)
            folded = self._fold(task, slice_, after, events)
            rejected += _rejected_by_brain(slice_, folded)
            after = _judge_sources(slice_, after, rejected)
            writes = compose(self._writer(task.partition), slice_, after, before, folded, rejected)
        with self._commits, self._metrics.commit.labels(self._spec.name).time():
            commit(task.producer, writes, self._names, self._stage)
        task.brain.on_committed(folded)
        task.checkpoint, task.more = after, folded.has_more
        self._measure(slice_, events, folded, rejected)
        self._log_pauses(task.partition, before, after)

    def _after(self, task: PartitionTask, slice_: Slice) -> Checkpoint:
        """Where the slice leads to; ``paused`` are the topics that it is folded without."""
        before = task.checkpoint
        return replace(
            before,
            positions={**before.positions, **slice_.ends(self._spec.clock)},
            tick=task.buffer.tick if slice_.tick else before.tick,
            number=before.number + 1,
            context=slice_.context or before.context,
            paused=before.paused - set(slice_.resumed),
        )

    def _fold(self, task: PartitionTask, slice_: Slice, after: Checkpoint, events: list[Received]) -> FoldResult:
        assert after.context is not None  # noqa: S101 - for the type checker; checked above
        return fold_slice(
            task.brain,
            events,
            after.context,
            before=task.checkpoint.tick,
            tick=slice_.tick,
            replay=self._spec.replay,
            paused=task.checkpoint.paused,
            resumed=slice_.resumed,
        )

    def _writer(self, partition: int) -> WriterId:
        spec = self._spec
        return WriterId(
            spec.name, partition, spec.partitions, self._prefix, spec.state, spec.order, CODE_VERSION, spec.row_format
        )

    # -- metrics and log

    def _measure(self, slice_: Slice, events: list[Received], folded: FoldResult, rejected: list[Rejected]) -> None:
        metrics = self._metrics
        metrics.slices.labels(self._spec.name).inc()
        rejections = Counter(entry.topic for entry in rejected)
        for run in slice_.runs:
            if run.records:
                duplicates = folded.duplicates_of.get(run.topic, 0)
                metrics.record(run.topic, "applied", len(run.records) - rejections[run.topic] - duplicates)
                for outcome, count in (("duplicate", duplicates), ("dead_letter", rejections[run.topic])):
                    if count:
                        metrics.record(run.topic, cast("Outcome", outcome), count)
        for failure in folded.failures:
            log.error("deadline.failed", agent=self._spec.name, error=failure)
        if folded.failures:
            metrics.dead_letters.labels("deadline").inc(len(folded.failures))
        if rejected:
            by_brain = len(folded.rejected)
            metrics.dead_letters.labels("applied").inc(by_brain)
            metrics.dead_letters.labels("decoded").inc(len(rejected) - by_brain)
        if not self._spec.replay:
            self._observe_ages(events)

    def _observe_ages(self, events: list[Received]) -> None:
        """How old the oldest event of each topic was when its slice was committed."""
        oldest: dict[str, datetime] = {}
        for received in events:
            recorded = received.event.recorded
            if received.topic not in oldest or recorded < oldest[received.topic]:
                oldest[received.topic] = recorded
        now = time()
        for topic, recorded in oldest.items():
            self._metrics.event_age.labels(topic).observe(max(0.0, now - recorded.timestamp()))

    def _log_pauses(self, partition: int, before: Checkpoint, after: Checkpoint) -> None:
        for topic in after.paused - before.paused:
            log.error(
                "source.paused",
                agent=self._spec.name,
                topic=topic,
                partition=partition,
                broken=after.breakers[topic].broken_count,
                judged=after.breakers[topic].count,
                fix=f"duewatch dead-letters resume {topic} {partition} --owner NAME",
            )
        for topic in before.paused - after.paused:
            log.info("source.resumed", agent=self._spec.name, topic=topic, partition=partition)


def _rejected_by_brain(slice_: Slice, folded: FoldResult) -> list[Rejected]:
    if not folded.rejected:
        return []
    raw: dict[tuple[str, int], KafkaRecord] = {
        (run.topic, record.offset): record for run in slice_.runs for record in run.records
    }
    return [Rejected(event.topic, raw[event.topic, event.offset], rejection) for event, rejection in folded.rejected]


def _judge_sources(slice_: Slice, after: Checkpoint, rejected: list[Rejected]) -> Checkpoint:
    """The checkpoint with the slice's records counted, and topics paused of which too many were broken."""
    breakers = {topic: breaker for topic, breaker in after.breakers.items() if topic not in slice_.resumed}
    broken: dict[str, set[int]] = {}
    for entry in rejected:
        broken.setdefault(entry.topic, set()).add(entry.record.offset)
    for run in slice_.runs:
        if run.records:
            breakers[run.topic] = breakers.get(run.topic, CircuitBreaker()).with_records(run.records, broken.get(run.topic, ()))
    tripped = {topic for topic in broken if breakers[topic].is_open}
    return replace(after, breakers=breakers, paused=after.paused | tripped)
