"""What a replay on the embedded broker has left: its log is gone, so ClickHouse is held against a fold of its own events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from agents.debtor.brain import DebtorBrain
from agents.debtor.event_order import local_day
from agents.debtor.keys import split_key
from agents.debtor.state import Header
from agents.version import CODE_VERSION
from schemas.clickhouse.rows import hash_of
from schemas.events.envelope import Output
from schemas.registry import DEBTOR_SOURCES
from streams.audit.amounts import Cut, compare_cuts
from streams.clickhouse.query import ClickHouse
from streams.errors import UserError
from streams.explain.from_clickhouse import columns_of, ends_of_the_replay, is_alike, records_of
from streams.explain.reproduce import TOPICS
from streams.recompute.difference import ABSENT, Difference, shown
from streams.recompute.pipeline import Fold
from streams.replay.context import replay_context
from streams.replay.sources import Step, cut_at
from streams.terminal.progress import Bar

if TYPE_CHECKING:
    from streams.settings import Settings

EVENTS = "SELECT topic, partition, toString(offset) AS offset, customer_id, id, toString(hash) AS hash, data FROM events"
MADE_BY = "SELECT groupUniqArray(code_version) AS code, sumIf(applied, agent = 'debtor') AS applied FROM journal"
POLICIES = "SELECT groupUniqArray(policy_version) AS policies FROM scores"
NEVER = 1 << 62
"""Beyond all offsets: nothing moves any more."""


def audit_replayed(settings: Settings, clickhouse: ClickHouse, away: str, bar: Bar) -> tuple[list[Difference], dict[str, int]]:
    """The differences, and what was looked at. ``away`` tells why there is no log.

    Where an event itself was altered, only that is told: what follows from it would be, too. Raises UserError where ClickHouse
    is not what one replay has left, or nothing can be asserted.
    """
    ends = ends_of_the_replay(clickhouse, away)
    (made,) = clickhouse.rows(MADE_BY)
    if set(made["code"]) != {CODE_VERSION}:
        raise UserError(
            f"version {', '.join(made['code'])} of the code has decided this, {CODE_VERSION} can assert nothing of it"
        )
    count, altered = _altered(clickhouse)
    if altered:
        return altered, {"events of ClickHouse": count}
    book = DebtorBrain()
    records = sorted(records_of(clickhouse), key=lambda record: (record.day, record.order))
    fold = Fold(replay_context(records), debtors=book)
    versions = {fold.context.policy.version}
    outputs: list[Output] = []
    step: Step | None = None
    for step in cut_at(records, ends):
        outputs += (output for output in fold.step(step) if output.topic in TOPICS)
        versions.add(fold.context.policy.version)
        bar.advance(len(step.records))
    unknown = set(clickhouse.rows(POLICIES)[0]["policies"]) - versions
    if unknown:
        raise UserError(
            f"it was replayed under a policy from a file ({', '.join(sorted(unknown))}), which ClickHouse does not hold: replay"
            " with --kafka, and its log tells"
        )
    found = list(compare_outputs(clickhouse, outputs))
    if int(made["applied"]) != fold.applied:
        found.append(Difference("journal", "debtor", "all slices", "applied", str(fold.applied), str(made["applied"])))
    if step is not None:
        found += _amounts(settings, clickhouse, book, local_day(step.end, fold.context.policy.time_zone))
    return found, {"events of ClickHouse folded again": count, "outputs": len(outputs)}


def _altered(clickhouse: ClickHouse) -> tuple[int, list[Difference]]:
    """How many events there are, and those whose bytes are not those that came."""
    found, rows = [], clickhouse.rows(EVENTS)
    for row in rows:
        hashed = str(hash_of(row["data"].encode()))
        if hashed != row["hash"]:
            where = f"{row['topic']}/{row['partition']}/{row['offset']}"
            found.append(Difference("events", row["customer_id"], where, "hash of data", row["hash"], f"{hashed}: {row['data']}"))
    return len(rows), found


def compare_outputs(clickhouse: ClickHouse, outputs: Iterable[Output]) -> Iterator[Difference]:
    """What went out by the fold, and by ClickHouse: column by column."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for topic in TOPICS:
        rows |= {(topic, row["id"]): row for row in clickhouse.rows(f"SELECT * FROM {topic.replace('-', '_')}")}  # noqa: S608
    for output in outputs:
        row = rows.pop((output.topic, output.id), None)
        where = f"{output.topic.replace('-', '_')} {output.id}"
        if row is None:
            yield Difference("outputs", output.key, where, "id", output.id, ABSENT)
            continue
        for name, ours in columns_of(output).items():
            if name in row and not is_alike(row[name], ours):
                yield Difference("outputs", output.key, where, name, shown(ours), shown(row[name]))
    for (topic, ident), row in rows.items():
        yield Difference("outputs", row["customer_id"], f"{topic.replace('-', '_')} {ident}", "id", ABSENT, ident)


def _amounts(settings: Settings, clickhouse: ClickHouse, book: DebtorBrain, day: int) -> Iterator[Difference]:
    headers = {split_key(key)[0]: row for key, row in book.rows() if isinstance(row, Header)}
    cut = Cut(dict.fromkeys(DEBTOR_SOURCES, NEVER), day, 0, headers, ())
    found, _ = compare_cuts(settings.changed(partitions=1), clickhouse, {0: cut})
    for customer in sorted(found):
        yield from found[customer]
