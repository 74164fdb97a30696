"""Recompute what a partition has applied, from the journal and the logs that it refers to: what its state must be.

The journal says in which slices records, ticks and contexts were applied, so the same brain gives the same rows and outputs, bit
for bit (streams/engine/README.md, "The journal makes it repeatable"). Only Kafka is read, read-committed, and nothing is written.
Audit, explain and the chaos tests compare with what comes out here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from agents.brain import Brain, FoldResult, Received
from schemas.events.clock import ContextSet, Ticked
from schemas.outputs.operations import Run, SliceCommitted
from streams.engine.agents import agent_specs
from streams.engine.apply import decode_runs
from streams.engine.fold import fold_slice
from streams.engine.spec import AgentSpec
from streams.engine.transaction import Rejected
from streams.errors import UsageError
from streams.kafka.log import Log, LogError, LoggedRecord
from streams.kafka.topics import full_name
from streams.recompute.clock_log import ClockLog

if TYPE_CHECKING:
    from streams.settings import Settings

SLICE_TYPE = ("ce_type", b"duewatch.slice.committed.v1")

RunRecords = Sequence[tuple[Run, Sequence[LoggedRecord]]]
"""The runs of a slice, each with its records."""


@dataclass(frozen=True, slots=True)
class RecomputedSlice:
    """One slice, recomputed. Its rows are in the brain once the next one is asked for.

    ``rejected``: what could not be decoded, then what the brain rejected. ``written_ms``: when the journal record was written, by
    the clock of the worker.
    """

    journal: SliceCommitted
    result: FoldResult
    rejected: Sequence[Rejected]
    received: Sequence[Received]
    tick: Ticked | None
    """The tick in force after the slice."""
    context: ContextSet
    written_ms: int

    @property
    def number(self) -> int:
        """The slice's number in its partition, from 1."""
        return self.journal.number


def recompute(
    settings: Settings,
    agent: str,
    partition: int,
    *,
    customers: Collection[str] | None = None,
    until: int | None = None,
    brain: Brain | None = None,
) -> Iterator[RecomputedSlice]:
    """Recompute the slices of one partition of an agent, from the first one to ``until`` or the journal's present end.

    ``customers``: apply only records with these keys; others are skipped before they are decoded. Live, a slice fires at most 500
    deadlines, so a debtor folded without the others may meet its deadline a slice earlier. ``brain``: instead of the agent's own.
    Raises LogError where the logs no longer hold what is needed, UsageError for an unknown agent, KafkaException.
    """
    spec = _spec(settings, agent)
    keys = None if customers is None else {customer.encode() for customer in customers}
    with PartitionLogs(settings, partition) as logs:
        fold = _JournalFold(spec, partition, brain or spec.brain(), keys, logs)
        last = 0
        for written_ms, entry in _journal_entries(logs, spec.name, partition):
            if entry.number != last + 1:
                raise _journal_gap(logs, entry, last)
            yield fold.recompute(entry, written_ms)
            last = entry.number
            if until is not None and last >= until:
                return
    if until is not None:
        raise LogError(f"the journal of {agent} {partition} ends with slice {last}, before {until}")


def apply_changes(rows: dict[str, bytes], changes: Mapping[str, bytes | None]) -> None:
    """Lay a slice's changes over the rows before it."""
    for key, value in changes.items():
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value


def _spec(settings: Settings, agent: str) -> AgentSpec:
    specs = {spec.name: spec for spec in agent_specs(settings)}
    if agent not in specs:
        raise UsageError(f"there is no agent {agent!r}: {', '.join(specs)}")
    return specs[agent]


def _journal_entries(logs: PartitionLogs, agent: str, partition: int) -> Iterator[tuple[int, SliceCommitted]]:
    """The agent's slices in the journal, with the time of each; an agent of one partition shares partition 0 with another."""
    while (record := logs["journal"].next_record()) is not None:
        if SLICE_TYPE in record.headers and record.value:
            entry = SliceCommitted.model_validate_json(record.value)
            if (entry.agent, entry.partition) == (agent, partition):
                yield record.timestamp, entry


def _journal_gap(logs: PartitionLogs, entry: SliceCommitted, last: int) -> LogError:
    label = logs["journal"].label
    if last == 0:
        first = logs["journal"].first_offset()
        return LogError(
            f"retention has deleted the first slices of {entry.agent} {entry.partition}: {label} begins at offset {first},"
            f" with slice {entry.number}. What was decided since then cannot be recomputed"
        )
    return LogError(f"{label}: slice {entry.number} of {entry.agent} follows slice {last}: the journal is damaged")


class _JournalFold:
    """The memory of a recomputation: the brain, and what is in force."""

    def __init__(self, spec: AgentSpec, partition: int, brain: Brain, keys: set[bytes] | None, logs: PartitionLogs) -> None:
        self._spec, self._partition, self._brain, self._keys, self._logs = spec, partition, brain, keys, logs
        self._clock = ClockLog(logs[spec.clock])
        self._context: ContextSet | None = None
        self._tick: Ticked | None = None
        self._paused: frozenset[str] = frozenset()
        self._previous: FoldResult | None = None

    def recompute(self, entry: SliceCommitted, written_ms: int) -> RecomputedSlice:
        """As the engine does it: decode, then fold with what was in force; kept when the next slice comes."""
        if self._previous is not None:
            self._brain.on_committed(self._previous)
        before = self._tick
        tick = None if entry.tick_offset is None else self._clock.tick_at(entry.tick_offset)
        self._tick = tick or before
        context = self._context_of(entry)
        runs = [(run, list(self._logs[run.topic].records(run.start, run.end))) for run in entry.runs]
        _check_count(self._logs, entry, runs)
        received, rejected = decode_runs(self._selected(runs), self._partition, self._spec.partitions)
        result = fold_slice(
            self._brain,
            received,
            context,
            before=before,
            tick=tick,
            replay=self._is_replay(entry),
            paused=self._paused,
            resumed=entry.resumed,
        )
        rejected += _rejected_by_brain(runs, result)
        self._previous, self._paused = result, frozenset(entry.paused)
        return RecomputedSlice(entry, result, rejected, received, self._tick, context, written_ms)

    def _context_of(self, entry: SliceCommitted) -> ContextSet:
        if self._context is None or self._context.version != entry.context_version:
            self._context = self._clock.context(entry.context_version)
        return self._context

    def _is_replay(self, entry: SliceCommitted) -> bool:
        """The learner applies records as they arrive also in a replay: there the ticks tell one from a live deployment."""
        if entry.order == "replay":
            return True
        return self._tick.step >= 0 if self._tick else self._clock.starts_a_replay()

    def _selected(self, runs: RunRecords) -> Iterator[tuple[str, Iterable[LoggedRecord]]]:
        """Topic and records of each run, without those of other customers than the ones asked for."""
        keys = self._keys
        for run, records in runs:
            yield run.topic, records if keys is None else [record for record in records if record.key in keys]


def _rejected_by_brain(runs: RunRecords, result: FoldResult) -> list[Rejected]:
    if not result.rejected:
        return []
    raw = {(run.topic, record.offset): record for run, records in runs for record in records}
    return [Rejected(received.topic, raw[received.topic, received.offset], reason) for received, reason in result.rejected]


def _check_count(logs: PartitionLogs, entry: SliceCommitted, runs: RunRecords) -> None:
    """A journal entry says of how many records the slice consisted: retention or compaction may have left fewer."""
    actual, expected = sum(len(records) for _, records in runs), entry.applied + entry.duplicates + entry.rejected
    if actual == expected:
        return
    for run in entry.runs:
        first = logs[run.topic].first_offset()
        if first > run.start:
            raise LogError(
                f"retention has deleted records that slice {entry.number} of {entry.agent} {entry.partition} applied:"
                f" {logs[run.topic].label} begins at offset {first}, and {run.start} is needed"
            )
    ranges = ", ".join(f"{logs[run.topic].label} [{run.start}, {run.end})" for run in entry.runs)
    raise LogError(
        f"slice {entry.number} of {entry.agent} {entry.partition} applied {expected} records, and {actual} are left in {ranges}."
        " A compacted topic loses records that were replaced since: `duewatch topics` shows which topics keep theirs too briefly"
    )


class PartitionLogs:
    """The topics of one partition, each read once from its start to its end. A context manager."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._settings, self._partition = settings, partition
        self._logs: dict[str, Log] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for log in self._logs.values():
            log.close()

    def __getitem__(self, topic: str) -> Log:
        if topic not in self._logs:
            self._logs[topic] = Log(self._settings, full_name(self._settings.prefix, topic), self._partition)
        return self._logs[topic]
