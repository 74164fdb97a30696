"""The events that a replay on the embedded broker has left in ClickHouse: its log is gone, and they can be folded again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import orjson

from schemas.base import format_time
from schemas.cloudevents import build_attributes
from streams.clickhouse.query import ClickHouse
from streams.connectors.records import Record, record_of
from streams.errors import UserError

EVENTS = """SELECT topic, key, id, type, source, subject, correlation_id, causation_id, toString(time) AS time,
toString(recorded_time) AS recorded, data FROM events"""
TICKS = "SELECT groupUniqArray(prefix) AS prefixes, min(step) AS first FROM ticks"
STEP_ENDS = "SELECT DISTINCT toString(time) AS end FROM journal WHERE agent = 'debtor' AND tick IS NOT NULL ORDER BY end"


def ends_of_the_replay(clickhouse: ClickHouse, why_not_kafka: str) -> list[datetime]:
    """The ends of the replay's steps.

    Raises UserError where ClickHouse does not hold just one replay: a live deployment decides as events arrive, and only its log
    says how they did. ``why_not_kafka`` begins the message.
    """
    ticks = clickhouse.rows(TICKS)[0]
    if len(ticks["prefixes"]) != 1 or int(ticks["first"]) < 0:
        raise UserError(
            f"{why_not_kafka}. And ClickHouse does not hold exactly one replay (prefixes: {', '.join(ticks['prefixes'])}):"
            " decisions of a live deployment can be recomputed only from its log in Kafka"
        )
    return [_instant(row["end"]) for row in clickhouse.rows(STEP_ENDS)]


def read_events(clickhouse: ClickHouse) -> list[Record]:
    """The events as they were sent, in the order of a replay."""
    return sorted(_records(clickhouse), key=lambda record: (record.day, record.order))


def _records(clickhouse: ClickHouse) -> Iterator[Record]:
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


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
