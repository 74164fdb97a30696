"""Make a decision again without Kafka: from the events that a replay has left in ClickHouse, in the way the backtest decides."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from schemas.base import format_time
from schemas.cloudevents import build_attributes
from schemas.events.envelope import Output
from schemas.registry import TOPICS as REGISTRY
from streams.clickhouse.query import ClickHouse
from streams.connectors.records import Record, record_of
from streams.errors import UserError
from streams.explain.reproduce import TOPICS, Explained, PublishedDecision, RecordingBrain, asked_for, decided
from streams.kafka.codec import json_of
from streams.recompute.pipeline import Fold
from streams.replay.context import replay_context
from streams.replay.sources import cut_at
from streams.terminal.progress import progress_bar

EVENTS = """SELECT topic, key, id, type, source, subject, correlation_id, causation_id, toString(time) AS time,
toString(recorded_time) AS recorded, data FROM events"""
TICKS = "SELECT groupUniqArray(prefix) AS prefixes, min(step) AS first FROM ticks"
ENDS = "SELECT DISTINCT toString(time) AS end FROM journal WHERE agent = 'debtor' AND tick IS NOT NULL ORDER BY end"


def explain_replayed(clickhouse: ClickHouse, wanted: str, away: str) -> Explained:
    """Fold all events up to the decision; ``away`` tells why not from Kafka.

    Raises UserError where ClickHouse is not what one replay has left.
    """
    row, topic = _find(clickhouse, wanted)
    ends = ends_of_the_replay(clickhouse, away)
    records = sorted(records_of(clickhouse), key=lambda record: (record.day, record.order))
    witness = RecordingBrain(row["id"])
    fold = Fold(replay_context(records), debtors=witness)
    with progress_bar("explain", len(records)) as bar:
        for step in cut_at(records, ends):
            fold.step(step)
            bar.advance(len(step.records))
            if witness.seen is not None:
                return _compared(witness.seen.output, witness, row, topic)
    raise UserError(
        f"the decision {wanted} does not come out of the events in ClickHouse again. It was made under a policy from a file"
        f" (--policy), or by other code ({row['code_version']}). Replay with --kafka: its log tells"
    )


def _find(clickhouse: ClickHouse, wanted: str) -> tuple[dict[str, Any], str]:
    for topic in TOPICS:
        rows = clickhouse.rows(f"SELECT * FROM {topic.replace('-', '_')} WHERE {asked_for(topic, wanted)} ORDER BY time LIMIT 1")  # noqa: S608
        if rows:
            return rows[0], topic
    raise UserError(
        f"no decision has the id {wanted!r}: the views {', '.join(t.replace('-', '_') for t in TOPICS)} in ClickHouse do not"
        " hold it"
    )


def ends_of_the_replay(clickhouse: ClickHouse, away: str) -> list[datetime]:
    """The ends of its steps. A live deployment decides as events arrive, and only its log tells how they did."""
    told = clickhouse.rows(TICKS)[0]
    if len(told["prefixes"]) != 1 or int(told["first"]) < 0:
        raise UserError(
            f"{away}. And ClickHouse holds no single replay (prefixes: {', '.join(told['prefixes'])}): what a live deployment"
            " decided is made again from its log"
        )
    return [_instant(row["end"]) for row in clickhouse.rows(ENDS)]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def records_of(clickhouse: ClickHouse) -> Iterator[Record]:
    """The events as they were sent."""
    for row in clickhouse.rows(EVENTS):
        recorded = _instant(row["recorded"])
        attributes = build_attributes(
            row["id"],
            row["type"],
            row["source"],
            format_time(_instant(row["time"])),
            format_time(recorded),
            subject=row["subject"],
            causation_id=row["causation_id"],
            correlation_id=row["correlation_id"],
            partition_key=row["key"],
        )
        yield record_of(row["topic"], attributes, orjson.loads(row["data"]), recorded.date())


def _compared(output: Output, witness: RecordingBrain, row: dict[str, Any], topic: str) -> Explained:
    now = columns_of(output)
    differs = [(name, row[name], ours) for name, ours in now.items() if name in row and not is_alike(row[name], ours)]
    place = f"{topic}/{row['partition']}/{row['offset']}"
    emitted = PublishedDecision(
        topic, place, output.id, output.type, decided(REGISTRY[topic].contracts[output.type], json_of(output.data))
    )
    return Explained(emitted, witness.seen, None, frozenset({row["code_version"]}), differs)


def columns_of(output: Output) -> dict[str, Any]:
    """What ClickHouse keeps of an output, by column: its body, its id and its causes."""
    causes = {"id": output.id, "causation_id": output.causation_id, "correlation_id": output.correlation_id}
    return dict(orjson.loads(json_of(output.data))) | causes


def is_alike(row: Any, now: Any) -> bool:
    """Whether a column of ClickHouse says the same as our JSON; what the column does not hold is not asked for.

    >>> is_alike(91100, "91100.00"), is_alike("2024-07-11 00:00:00.000000", "2024-07-11T00:00:00Z")
    (True, True)
    >>> is_alike([{"code": "overdue"}], [{"code": "overdue", "family": "delays"}])
    True
    """
    if isinstance(row, dict) and isinstance(now, dict):
        return all(is_alike(part, now.get(name)) for name, part in row.items())
    if isinstance(row, list) and isinstance(now, list):
        return len(row) == len(now) and all(map(is_alike, row, now))
    return bool(row == now or _plain(row) == _plain(now))


def _plain(value: Any) -> Any:
    """A number or an instant as such, in whichever of the two ways it is written."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        return Decimal(str(value))
    except InvalidOperation:
        pass
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return value
    return at.replace(tzinfo=at.tzinfo or UTC)
