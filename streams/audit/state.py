"""The rows in a state topic and what went out against a fold of the journal, and the journal against itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agents.brain import FoldResult
from agents.debtor.keys import SEPARATOR, split_key
from agents.version import CODE_VERSION
from schemas.outputs.operations import Run, SliceCommitted
from streams.audit.outputs import Outputs
from streams.engine.keys import is_engine_key
from streams.engine.partition_task import Checkpoint, read_standing
from streams.engine.restore import read_rows
from streams.kafka.topics import full_name
from streams.recompute.difference import ABSENT, Difference, compare_fields, read_json, shown
from streams.recompute.journal import RecomputedSlice, refold, take_rows
from streams.terminal.progress import Bar

if TYPE_CHECKING:
    from streams.clickhouse.query import ClickHouse
    from streams.settings import Settings


@dataclass(slots=True)
class Audited:
    """What the audit of a partition of an agent has found."""

    found: list[Difference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """What was looked at."""
    unclear: Counter[str] = field(default_factory=Counter)
    """Debtors that differ and of whom nothing can be said, by why."""
    outputs_unclear: Counter[str] = field(default_factory=Counter)
    """Outputs that are not judged, by why."""
    paused: frozenset[str] = frozenset()
    """Topics that are read no further for now (D10)."""


def audit_state(
    settings: Settings, agent: str, state_topic: str, partition: int, bar: Bar, clickhouse: ClickHouse | None = None
) -> Audited:
    """Compare the rows of one partition with the fold of its journal up to the slice that wrote them last.

    With ``clickhouse`` the outputs of the fold, too. Of what other code than this one has decided on nothing is said (D5). Raises
    UserError where the log does not reach back, or the sink is behind.
    """
    holder = f"{agent} {partition}"
    outputs = None if clickhouse is None else Outputs(settings, clickhouse, agent, partition)
    written = read_rows(settings.for_librdkafka(), full_name(settings.prefix, state_topic), partition)
    standing = read_standing(written)
    if outputs is not None:
        outputs.wait(bar)
        bar.say(f"folding {holder}")
    rows: dict[str, bytes] = {}
    told = Audited(paused=standing.paused)
    reached: dict[str, int] = {}
    others = _OtherCode(holder)
    for one in refold(settings, agent, partition, until=standing.number) if standing.number else ():
        take_rows(rows, one.folded.rows)
        told.found += _joins(reached, one.journal.runs, holder, one.number)
        events = one.journal.applied + one.journal.duplicates + one.journal.rejected
        told.counts.update(slices=1, events=events, outputs=len(one.folded.outputs))
        others.look(one)
        if not others.versions:  # what follows from rows of other code is not asserted either
            told.found += _counted(agent, partition, one.journal, one.folded, len(one.rejected))
        if outputs is not None:
            told.found += outputs.compare(one.folded.outputs, others.judges)
        bar.advance(events)
    if outputs is not None:
        told.found += outputs.rest(others.judges)
        told.counts["outputs in ClickHouse"] += outputs.judged
        if outputs.passed:
            told.outputs_unclear[f"against ClickHouse: {others.why}"] += outputs.passed
    kept = {key: value for key, value in written.items() if not is_engine_key(key)}
    told.counts["rows"] += len(kept)
    differ, told.unclear = others.told_apart(compare_rows(rows, kept, holder))
    told.found += differ
    told.found += _stands(standing, reached, holder)
    return told


class _OtherCode:
    """Who was decided on by another version of the code than this one: a fold by this one need not give the same.

    ``holder``: of rows of no debtor.
    """

    def __init__(self, holder: str) -> None:
        self.versions: set[str] = set()
        self._holder = holder
        self._touched: set[str] = set()

    @property
    def why(self) -> str:
        """In words."""
        return f"version {', '.join(sorted(self.versions))} of the code decided on them, this is {CODE_VERSION}"

    def look(self, one: RecomputedSlice) -> None:
        """At a slice."""
        if one.journal.code_version != CODE_VERSION:
            self.versions.add(one.journal.code_version)
            self._touched.update(_split(key)[0] or self._holder for key in one.folded.rows)
            self._touched.update(arrived.event.customer_id or self._holder for arrived in one.arrived)

    def judges(self, subject: str) -> bool:
        """Whether only this code has decided on a debtor so far."""
        return subject not in self._touched

    def told_apart(self, found: Iterable[Difference]) -> tuple[list[Difference], Counter[str]]:
        """The differences that stand, and how many debtors the others are of."""
        told = list(found)
        unclear = {one.subject for one in told} & self._touched
        counted = Counter({f"against the log: {self.why}": len(unclear)} if unclear else {})
        return [one for one in told if one.subject not in unclear], counted


def _joins(reached: dict[str, int], runs: Iterable[Run], subject: str, number: int) -> Iterator[Difference]:
    """Each run begins where the one before ended: nothing was passed over, nothing was applied twice."""
    for run in runs:
        before = reached.get(run.topic, 0)
        if run.start != before:
            yield Difference("journal", subject, f"slice {number}", f"{run.topic}.start", str(before), str(run.start))
        reached[run.topic] = run.end


def _counted(agent: str, partition: int, told: SliceCommitted, folded: FoldResult, rejected: int) -> Iterator[Difference]:
    """The journal's own figures against those of the fold."""
    again = {
        "applied": folded.applied,
        "duplicates": folded.duplicates,
        "rejected": rejected,
        "outputs": len(folded.outputs),
    }
    for name, count in again.items():
        if getattr(told, name) != count:
            yield Difference(
                "journal", f"{agent} {partition}", f"slice {told.number}", name, str(count), str(getattr(told, name))
            )


def _stands(standing: Checkpoint, reached: Mapping[str, int], subject: str) -> Iterator[Difference]:
    """The positions in the state against the last runs of the journal."""
    for topic, end in reached.items():
        if standing.positions.get(topic) != end:
            yield Difference("journal", subject, "positions", topic, str(end), str(standing.positions.get(topic, ABSENT)))


def _split(key: str) -> tuple[str, str]:
    """Debtor and row key; rows of no debtor have none, such as the learner's."""
    return split_key(key) if SEPARATOR in key else ("", key)


def compare_rows(expected: Mapping[str, bytes], found: Mapping[str, bytes], holder: str) -> Iterator[Difference]:
    """What the fold makes of each row against what is in the state topic, field by field. ``holder``: of rows of no debtor."""
    for key in sorted(expected.keys() | found.keys()):
        ours, theirs = expected.get(key), found.get(key)
        if ours == theirs:
            continue
        customer, row_key = _split(key)
        fields = list(compare_fields(read_json(ours), read_json(theirs)))
        # The same values in other bytes are a difference, too: nobody but us writes there.
        for name, before, after in fields or [("bytes", repr(ours), repr(theirs))]:
            yield Difference("state", customer or holder, row_key or "header", name, shown(before), shown(after))
