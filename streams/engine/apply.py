"""Apply one slice, in a thread: decode, fold, write in one transaction, and only then keep.

Whatever is raised here ends the slice's tenure (``core``): memory that was not kept is thrown away with it.
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
from streams.engine.partition_task import Checkpoint, PartitionTask
from streams.engine.slicing import GapError, Record, Slice, continues
from streams.engine.spec import AgentSpec
from streams.engine.transaction import Rejected, Stage, WriterId, commit, compose
from streams.kafka.codec import decode
from streams.metrics import Metrics

if TYPE_CHECKING:
    from streams.metrics import Outcome

log = structlog.get_logger()

MAX_DEADLINES, ALL_DEADLINES = 500, 10**9
_FOLDING = Lock()
"""One thread folds at a time, while others commit: folding is Python's own work, and threads that wrestle for it only cost."""


def decoded(
    runs: Iterable[tuple[str, Iterable[Record]]], partition: int, partitions: int
) -> tuple[list[Received], list[Rejected]]:
    """What the records of a slice say, by topic in their order, and those that say nothing: for the engine and for a refold."""
    arrived: list[Received] = []
    rejected: list[Rejected] = []
    for topic, records in runs:
        for record in records:
            event = decode(topic, record.key, record.value, record.headers, partition, partitions)
            if isinstance(event, Rejection):
                rejected.append(Rejected(topic, record, event))
            else:
                arrived.append(Received(topic, partition, record.offset, event))
    return arrived, rejected


class SliceProcessor:
    """One engine's. ``names``: topic -> as the broker calls it, with ``prefix``. ``commits`` limits those in flight per worker;
    tests raise in ``stage`` where a broker could fail.
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

    def apply(self, tenure: PartitionTask, made: Slice) -> None:
        """The tenure stands behind the slice when this returns. Raises for whatever kept it from being committed."""
        before = tenure.standing
        if not continues(made, before.positions):
            raise GapError(f"slice {made.ends(self._spec.clock)} does not begin at {before.positions}")
        after = self._after(tenure, made)
        if after.context is None:
            raise RuntimeError("a slice without a context was planned")
        with _FOLDING:
            runs = ((run.topic, run.records) for run in made.runs)
            arrived, rejected = decoded(runs, tenure.partition, self._spec.partitions)
            folded = self._fold(tenure, made, after, arrived)
            rejected += _rejected_by_brain(made, folded)
            after = _judged(made, after, rejected)
            written = compose(self._origin(tenure.partition), made, after, before, folded, rejected)
        with self._commits, self._metrics.commit.labels(self._spec.name).time():
            commit(tenure.producer, written, self._names, self._stage)
        tenure.brain.on_committed(folded)
        tenure.standing, tenure.more = after, folded.has_more
        self._measure(made, arrived, folded, rejected)
        self._tell_of_pauses(tenure.partition, before, after)

    def _after(self, tenure: PartitionTask, made: Slice) -> Checkpoint:
        """Where the slice leads to; ``paused`` are the topics that it is folded without."""
        before = tenure.standing
        return replace(
            before,
            positions={**before.positions, **made.ends(self._spec.clock)},
            applied=tenure.gathering.applied if made.tick else before.applied,
            number=before.number + 1,
            context=made.context or before.context,
            paused=before.paused - set(made.resumed),
        )

    def _fold(self, tenure: PartitionTask, made: Slice, after: Checkpoint, arrived: list[Received]) -> FoldResult:
        assert after.context is not None  # noqa: S101 - for the type checker; checked above
        replay, before = self._spec.replay, tenure.standing.applied
        return tenure.brain.fold(
            arrived,
            after.applied.time if after.applied else None,
            after.context,
            replay=replay,
            step=made.tick.step if made.tick else -1,
            max_deadlines=ALL_DEADLINES if replay else MAX_DEADLINES,
            paused=after.paused,
            previous_tick=before.time if before else None,
        )

    def _origin(self, partition: int) -> WriterId:
        spec = self._spec
        return WriterId(spec.name, partition, spec.partitions, self._prefix, spec.state, spec.order, CODE_VERSION)

    # -- what is told of it

    def _measure(self, made: Slice, arrived: list[Received], folded: FoldResult, rejected: list[Rejected]) -> None:
        metrics = self._metrics
        metrics.slices.labels(self._spec.name).inc()
        refused = Counter(one.topic for one in rejected)
        for run in made.runs:
            if run.records:
                again = folded.duplicates_of.get(run.topic, 0)
                metrics.record(run.topic, "applied", len(run.records) - refused[run.topic] - again)
                for outcome, count in (("duplicate", again), ("dead_letter", refused[run.topic])):
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
            self._tell_ages(arrived)

    def _tell_ages(self, arrived: list[Received]) -> None:
        """How old the oldest event of each topic was when its slice was committed."""
        oldest: dict[str, datetime] = {}
        for one in arrived:
            recorded = one.event.recorded
            if one.topic not in oldest or recorded < oldest[one.topic]:
                oldest[one.topic] = recorded
        now = time()
        for topic, recorded in oldest.items():
            self._metrics.event_age.labels(topic).observe(max(0.0, now - recorded.timestamp()))

    def _tell_of_pauses(self, partition: int, before: Checkpoint, after: Checkpoint) -> None:
        for topic in after.paused - before.paused:
            log.error(
                "source.paused",
                agent=self._spec.name,
                topic=topic,
                partition=partition,
                broken=after.outcomes[topic].broken,
                judged=after.outcomes[topic].count,
                mend=f"duewatch dead-letters resume {topic} {partition} --owner NAME",
            )
        for topic in before.paused - after.paused:
            log.info("source.resumed", agent=self._spec.name, topic=topic, partition=partition)


def _rejected_by_brain(made: Slice, folded: FoldResult) -> list[Rejected]:
    if not folded.rejected:
        return []
    raw: dict[tuple[str, int], Record] = {(run.topic, record.offset): record for run in made.runs for record in run.records}
    return [Rejected(one.topic, raw[one.topic, one.offset], reason) for one, reason in folded.rejected]


def _judged(made: Slice, after: Checkpoint, rejected: list[Rejected]) -> Checkpoint:
    """The standing with the slice's records counted, and topics paused of which too many were broken (D10)."""
    outcomes = {topic: one for topic, one in after.outcomes.items() if topic not in made.resumed}
    broken: dict[str, set[int]] = {}
    for one in rejected:
        broken.setdefault(one.topic, set()).add(one.record.offset)
    for run in made.runs:
        if run.records:
            outcomes[run.topic] = outcomes.get(run.topic, CircuitBreaker()).after(run.records, broken.get(run.topic, ()))
    too_many = {topic for topic in broken if outcomes[topic].too_many}
    return replace(after, outcomes=outcomes, paused=after.paused | too_many)
