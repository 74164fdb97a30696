"""Audit what a replay on the embedded broker has left: its log is gone, so ClickHouse is compared with a fold of its events."""

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
from streams.audit.amounts import StateSnapshot, compare_snapshots
from streams.clickhouse.query import ClickHouse
from streams.errors import UserError
from streams.recompute.clickhouse import ends_of_the_replay, read_events
from streams.recompute.decisions import DECISION_TOPICS, view_of
from streams.recompute.difference import ABSENT, Difference, columns_of, display, is_alike
from streams.recompute.pipeline import Fold
from streams.replay.context import replay_context
from streams.replay.steps import Step, cut_at
from streams.terminal.progress import Bar

if TYPE_CHECKING:
    from streams.settings import Settings

EVENTS = "SELECT topic, partition, toString(offset) AS offset, customer_id, id, toString(hash) AS hash, data FROM events"
SLICES = "SELECT groupUniqArray(code_version) AS code, sumIf(applied, agent = 'debtor') AS applied FROM journal"
POLICIES = "SELECT groupUniqArray(policy_version) AS policies FROM scores"
LAST_OFFSET = 1 << 62
"""Beyond all offsets: nothing moves any more."""


def audit_replayed(
    settings: Settings, clickhouse: ClickHouse, why_not_kafka: str, bar: Bar
) -> tuple[list[Difference], dict[str, int]]:
    """The differences, and what was compared. ``why_not_kafka`` begins the message where it cannot be done.

    Where an event itself was altered, only that is reported: what follows from it would be altered, too. Raises UserError where
    ClickHouse does not hold just one replay, or it was decided by another version of the code or under another policy.
    """
    ends = ends_of_the_replay(clickhouse, why_not_kafka)
    (slices,) = clickhouse.rows(SLICES)
    if set(slices["code"]) != {CODE_VERSION}:
        raise UserError(
            f"version {', '.join(slices['code'])} of the code decided this, and version {CODE_VERSION} need not decide the same:"
            " audit it with that version, or replay it anew"
        )
    count, altered = _altered_events(clickhouse)
    if altered:
        return altered, {"events of ClickHouse": count}
    brain = DebtorBrain()
    records = read_events(clickhouse)
    fold = Fold(replay_context(records), debtors=brain)
    versions = {fold.context.policy.version}
    outputs: list[Output] = []
    step: Step | None = None
    for step in cut_at(records, ends):
        outputs += (output for output in fold.step(step) if output.topic in DECISION_TOPICS)
        versions.add(fold.context.policy.version)
        bar.advance(len(step.records))
    _check_policies(clickhouse, versions)
    differences = list(compare_outputs(clickhouse, outputs))
    if int(slices["applied"]) != fold.applied:
        applied = str(fold.applied), str(slices["applied"])
        differences.append(Difference("journal", "debtor", "all slices", "applied", *applied))
    if step is not None:
        differences += _compare_amounts(settings, clickhouse, brain, local_day(step.end, fold.context.policy.time_zone))
    return differences, {"events of ClickHouse folded again": count, "outputs": len(outputs)}


def _check_policies(clickhouse: ClickHouse, versions: set[str]) -> None:
    """Raises UserError where scores name a policy that is not among the events."""
    unknown = set(clickhouse.rows(POLICIES)[0]["policies"]) - versions
    if unknown:
        raise UserError(
            f"it was replayed under a policy from a file ({', '.join(sorted(unknown))}), which ClickHouse does not hold: replay"
            " with --kafka and audit its log"
        )


def _altered_events(clickhouse: ClickHouse) -> tuple[int, list[Difference]]:
    """How many events there are, and those whose bytes are not those that came."""
    differences, rows = [], clickhouse.rows(EVENTS)
    for row in rows:
        data_hash = str(hash_of(row["data"].encode()))
        if data_hash != row["hash"]:
            where = f"{row['topic']}/{row['partition']}/{row['offset']}"
            actual = f"{data_hash}: {row['data']}"
            differences.append(Difference("events", row["customer_id"], where, "hash of data", row["hash"], actual))
    return len(rows), differences


def compare_outputs(clickhouse: ClickHouse, outputs: Iterable[Output]) -> Iterator[Difference]:
    """The outputs of the fold against those in ClickHouse, column by column."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for topic in DECISION_TOPICS:
        rows |= {(topic, row["id"]): row for row in clickhouse.rows(f"SELECT * FROM {view_of(topic)}")}  # noqa: S608 - names of ours
    for output in outputs:
        row = rows.pop((output.topic, output.id), None)
        where = f"{view_of(output.topic)} {output.id}"
        if row is None:
            yield Difference("outputs", output.key, where, "id", output.id, ABSENT)
            continue
        for name, value in columns_of(output).items():
            if name in row and not is_alike(row[name], value):
                yield Difference("outputs", output.key, where, name, display(value), display(row[name]))
    for (topic, event_id), row in rows.items():
        yield Difference("outputs", row["customer_id"], f"{view_of(topic)} {event_id}", "id", ABSENT, event_id)


def _compare_amounts(settings: Settings, clickhouse: ClickHouse, brain: DebtorBrain, day: int) -> Iterator[Difference]:
    headers = {split_key(key)[0]: row for key, row in brain.rows() if isinstance(row, Header)}
    snapshot = StateSnapshot(dict.fromkeys(DEBTOR_SOURCES, LAST_OFFSET), day, 0, headers, ())
    differences, _ = compare_snapshots(settings.changed(partitions=1), clickhouse, {0: snapshot})
    for customer in sorted(differences):
        yield from differences[customer]
