"""The rows in a state topic and the published outputs against a fold of the journal, and the journal against itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agents.brain import FoldResult
from agents.debtor.keys import SEPARATOR, split_key
from agents.registry import AGENTS
from agents.version import CODE_VERSION
from schemas.outputs.operations import Run, SliceCommitted
from streams.audit.outputs import Outputs
from streams.engine.keys import is_engine_key
from streams.engine.partition_task import Checkpoint, read_checkpoint
from streams.kafka.read import read_rows
from streams.kafka.topics import full_name
from streams.recompute.difference import ABSENT, Difference, compare_fields, display, read_json
from streams.recompute.journal import RecomputedSlice, apply_changes, recompute
from streams.terminal.progress import Bar

if TYPE_CHECKING:
    from streams.clickhouse.query import ClickHouse
    from streams.settings import Settings


@dataclass(slots=True)
class PartitionAudit:
    """What the audit of one partition of an agent compared and what it found."""

    differences: list[Difference] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    """How many rows, events, outputs and so on were compared."""
    debtors_not_judged: Counter[str] = field(default_factory=Counter)
    """Debtors that differ and of whom nothing can be said, by the reason."""
    outputs_not_judged: Counter[str] = field(default_factory=Counter)
    """Outputs that are not compared, by the reason."""
    paused: frozenset[str] = frozenset()
    """Topics that this partition has paused."""


def audit_state(
    settings: Settings, agent: str, state_topic: str, partition: int, bar: Bar, clickhouse: ClickHouse | None = None
) -> PartitionAudit:
    """Compare the rows of one partition with the fold of its journal up to the slice that wrote them last.

    With ``clickhouse`` the outputs of the fold, too. Debtors on whom another version of the code has decided are not judged: what
    it came to need not follow from this one. Raises UserError where the log does not reach back, or the sink is behind.
    """
    holder = f"{agent} {partition}"
    outputs = None if clickhouse is None else Outputs(settings, clickhouse, agent, partition)
    stored = read_rows(settings.for_librdkafka(), full_name(settings.prefix, state_topic), partition)
    checkpoint = read_checkpoint(stored, AGENTS[agent].row_format, holder)
    if outputs is not None:
        outputs.wait(bar)
        bar.say(f"folding {holder}")
    rows: dict[str, bytes] = {}
    audit = PartitionAudit(paused=checkpoint.paused)
    run_ends: dict[str, int] = {}
    foreign = _ForeignCode(holder)
    for slice_ in recompute(settings, agent, partition, until=checkpoint.number) if checkpoint.number else ():
        apply_changes(rows, slice_.result.rows)
        audit.differences += _check_runs(run_ends, slice_.journal.runs, holder, slice_.number)
        events = slice_.journal.applied + slice_.journal.duplicates + slice_.journal.rejected
        audit.compared.update(slices=1, events=events, outputs=len(slice_.result.outputs))
        foreign.add(slice_)
        if not foreign.versions:  # what follows from rows of other code is not judged either
            audit.differences += _check_counts(holder, slice_.journal, slice_.result, len(slice_.rejected))
        if outputs is not None:
            audit.differences += outputs.compare(slice_.result.outputs, foreign.can_judge)
        bar.advance(events)
    if outputs is not None:
        _finish_outputs(audit, outputs, foreign)
    brain_rows = {key: value for key, value in stored.items() if not is_engine_key(key)}
    audit.compared["rows"] += len(brain_rows)
    certain, audit.debtors_not_judged = foreign.split(compare_rows(rows, brain_rows, holder))
    audit.differences += certain
    audit.differences += _check_positions(checkpoint, run_ends, holder)
    return audit


def _finish_outputs(audit: PartitionAudit, outputs: Outputs, foreign: _ForeignCode) -> None:
    audit.differences += outputs.finish(foreign.can_judge)
    audit.compared["outputs in ClickHouse"] += outputs.judged
    if outputs.not_judged:
        audit.outputs_not_judged[f"against ClickHouse: {foreign.reason}"] = outputs.not_judged


class _ForeignCode:
    """Debtors on whom another version of the code has decided: this version need not come to the same.

    ``holder``: the subject of rows that belong to no debtor.
    """

    def __init__(self, holder: str) -> None:
        self.versions: set[str] = set()
        self._holder = holder
        self._subjects: set[str] = set()

    @property
    def reason(self) -> str:
        """Why nothing can be said of these debtors, for people."""
        return f"version {', '.join(sorted(self.versions))} of the code decided on them, this is {CODE_VERSION}"

    def add(self, slice_: RecomputedSlice) -> None:
        """Note the debtors of a slice that another version of the code has applied."""
        if slice_.journal.code_version != CODE_VERSION:
            self.versions.add(slice_.journal.code_version)
            self._subjects.update(_split(key)[0] or self._holder for key in slice_.result.rows)
            self._subjects.update(received.event.customer_id or self._holder for received in slice_.received)

    def can_judge(self, subject: str) -> bool:
        """Whether only this version of the code has decided on a debtor so far."""
        return subject not in self._subjects

    def split(self, differences: Iterable[Difference]) -> tuple[list[Difference], Counter[str]]:
        """The differences that are certain, and how many debtors the others are about."""
        differences = list(differences)
        unclear = {difference.subject for difference in differences} & self._subjects
        counts = Counter({f"against the log: {self.reason}": len(unclear)} if unclear else {})
        return [difference for difference in differences if difference.subject not in unclear], counts


def _check_runs(run_ends: dict[str, int], runs: Iterable[Run], subject: str, number: int) -> Iterator[Difference]:
    """Each run begins where the one before ended: nothing was left out, nothing was applied twice."""
    for run in runs:
        expected = run_ends.get(run.topic, 0)
        if run.start != expected:
            yield Difference("journal", subject, f"slice {number}", f"{run.topic}.start", str(expected), str(run.start))
        run_ends[run.topic] = run.end


def _check_counts(holder: str, entry: SliceCommitted, result: FoldResult, rejected: int) -> Iterator[Difference]:
    """The figures in the journal against those of the fold."""
    expected = {
        "applied": result.applied,
        "duplicates": result.duplicates,
        "rejected": rejected,
        "outputs": len(result.outputs),
    }
    for name, count in expected.items():
        if getattr(entry, name) != count:
            yield Difference("journal", holder, f"slice {entry.number}", name, str(count), str(getattr(entry, name)))


def _check_positions(checkpoint: Checkpoint, run_ends: Mapping[str, int], subject: str) -> Iterator[Difference]:
    """The positions in the state against the last runs of the journal."""
    for topic, end in run_ends.items():
        if checkpoint.positions.get(topic) != end:
            yield Difference("journal", subject, "positions", topic, str(end), str(checkpoint.positions.get(topic, ABSENT)))


def _split(key: str) -> tuple[str, str]:
    """Debtor and row key; rows that belong to no debtor have none, such as the learner's."""
    return split_key(key) if SEPARATOR in key else ("", key)


def compare_rows(expected: Mapping[str, bytes], stored: Mapping[str, bytes], holder: str) -> Iterator[Difference]:
    """Each row of the fold against the row in the state topic, field by field. ``holder``: of rows that belong to no debtor."""
    for key in sorted(expected.keys() | stored.keys()):
        before, after = expected.get(key), stored.get(key)
        if before == after:
            continue
        customer, row_key = _split(key)
        fields = list(compare_fields(read_json(before), read_json(after)))
        # The same values in other bytes are a difference, too: nobody but us writes there.
        for name, value, actual in fields or [("bytes", repr(before), repr(after))]:
            yield Difference("state", customer or holder, row_key or "header", name, display(value), display(actual))
