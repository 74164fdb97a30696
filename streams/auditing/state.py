"""The rows in a state topic against a fold of the journal, and the journal against itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from agents.brain import Folded
from agents.debtor.state import SEPARATOR, split_key
from schemas.outputs.operations import Run, SliceCommitted
from streams.auditing.difference import ABSENT, Difference, compare_fields, read_json, shown
from streams.engine.restore import read_rows
from streams.engine.tenure import Standing, read_standing
from streams.progress import Bar
from streams.refold import refold, take_rows
from streams.topics import full_name

if TYPE_CHECKING:
    from streams.settings import Settings


def audit_state(
    settings: Settings, agent: str, state_topic: str, partition: int, bar: Bar
) -> tuple[list[Difference], Counter[str]]:
    """Compare the rows of one partition with the fold of its journal up to the slice that wrote them last."""
    written = read_rows(settings.for_librdkafka(), full_name(settings.prefix, state_topic), partition)
    standing = read_standing(written)
    rows: dict[str, bytes] = {}
    found: list[Difference] = []
    counts: Counter[str] = Counter()
    reached: dict[str, int] = {}
    for one in refold(settings, agent, partition, until=standing.number) if standing.number else ():
        take_rows(rows, one.folded.rows)
        found += _joins(reached, one.journal.runs, f"{agent} {partition}", one.number)
        events = one.journal.applied + one.journal.duplicates + one.journal.rejected
        counts.update(slices=1, events=events, outputs=len(one.folded.outputs))
        found += _counted(agent, partition, one.journal, one.folded, len(one.rejected))
        bar.advance(events)
    kept = {key: value for key, value in written.items() if not key.startswith("\x00")}
    counts["rows"] += len(kept)
    found += compare_rows(rows, kept, f"{agent} {partition}")
    found += _stands(standing, reached, f"{agent} {partition}")
    return found, counts


def _joins(reached: dict[str, int], runs: Iterable[Run], subject: str, number: int) -> Iterator[Difference]:
    """Each run begins where the one before ended: nothing was passed over, nothing was applied twice."""
    for run in runs:
        before = reached.get(run.topic, 0)
        if run.start != before:
            yield Difference("journal", subject, f"slice {number}", f"{run.topic}.start", str(before), str(run.start))
        reached[run.topic] = run.end


def _counted(agent: str, partition: int, told: SliceCommitted, folded: Folded, rejected: int) -> Iterator[Difference]:
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


def _stands(standing: Standing, reached: Mapping[str, int], subject: str) -> Iterator[Difference]:
    """The positions in the state against the last runs of the journal."""
    for topic, end in reached.items():
        if standing.positions.get(topic) != end:
            yield Difference("journal", subject, "positions", topic, str(end), str(standing.positions.get(topic, ABSENT)))


def compare_rows(expected: Mapping[str, bytes], found: Mapping[str, bytes], holder: str) -> Iterator[Difference]:
    """What the fold makes of each row against what is in the state topic, field by field. ``holder``: of rows of no debtor."""
    for key in sorted(expected.keys() | found.keys()):
        ours, theirs = expected.get(key), found.get(key)
        if ours == theirs:
            continue
        customer, row_key = split_key(key) if SEPARATOR in key else ("", key)
        fields = list(compare_fields(read_json(ours), read_json(theirs)))
        # The same values in other bytes are a difference, too: nobody but us writes there.
        for name, before, after in fields or [("bytes", repr(ours), repr(theirs))]:
            yield Difference("state", customer or holder, row_key or "header", name, shown(before), shown(after))
