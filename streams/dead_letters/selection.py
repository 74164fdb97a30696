"""Dead letters as ClickHouse holds them, and which of them are meant."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.registry import TOPICS
from streams.clickhouse.query import ClickHouse
from streams.errors import UsageError, UserError

_PLACE = re.compile(r"([a-z-]+)/(\d{1,9})/(\d{1,19})\Z")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_COLUMNS = "id, topic, partition, offset, reason, field, key, raw, headers, code_version, state, replayed_as"


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """A dead letter, its bytes as they came.

    ``state``: open, replayed, refused again; ``replayed_as``: where the record is that was sent in its place.
    """

    id: str
    topic: str
    partition: int
    offset: int
    reason: str
    field: str | None
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    code_version: str
    state: str = "open"
    replayed_as: str | None = None

    @property
    def place(self) -> str:
        """TOPIC/PARTITION/OFFSET of the rejected record."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters; what is None leaves nothing out. ``names``: places (TOPIC/PARTITION/OFFSET) or ids."""

    names: tuple[str, ...] = ()
    topic: str | None = None
    reason: str | None = None
    field: str | None = None
    state: str | None = None

    def condition(self) -> str:
        """The selection in SQL. Raises UsageError for a name that is neither a place nor an id, and for an unknown topic."""
        if self.topic is not None and self.topic not in TOPICS:
            raise UsageError(f"{self.topic!r} is not a topic: use one of {', '.join(TOPICS)}")
        parts = [" OR ".join(map(_name_condition, self.names))] if self.names else []
        parts += [f"{column} = {_literal(text)}" for column in ("topic", "field", "state") if (text := getattr(self, column))]
        if self.reason:
            parts.append(f"positionCaseInsensitiveUTF8(reason, {_literal(self.reason)}) > 0")
        return " AND ".join(f"({part})" for part in parts) or "1"


def _name_condition(name: str) -> str:
    if _ID.match(name):
        return f"id = '{name}'"
    match = _PLACE.match(name)
    if match is None:
        raise UsageError(
            f"{name!r} is neither a place nor an id: write TOPIC/PARTITION/OFFSET as `duewatch dead-letters list` shows it"
        )
    topic, partition, offset = match.groups()
    return f"topic = '{topic}' AND partition = {partition} AND offset = {offset}"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def find(name: str, clickhouse: ClickHouse) -> DeadLetterEntry:
    """The dead letter at TOPIC/PARTITION/OFFSET, or of that id. Raises UserError when there is none."""
    entries = select(Selection((name,)), clickhouse)
    if not entries:
        raise UserError(f"there is no dead letter at {name}: `duewatch dead-letters list` shows them")
    return entries[-1]


def select(selection: Selection, clickhouse: ClickHouse) -> list[DeadLetterEntry]:
    """The selected ones, in the order in which they lay in their topics; of one place, the latest last."""
    sql = f"SELECT {_COLUMNS} FROM dead_letters WHERE {selection.condition()} ORDER BY topic, partition, offset, recorded_time"  # noqa: S608 - quoted
    return [_entry(row) for row in read_rows(sql, clickhouse)]


def _entry(row: dict[str, Any]) -> DeadLetterEntry:
    return DeadLetterEntry(
        id=row["id"],
        topic=row["topic"],
        partition=int(row["partition"]),
        offset=int(row["offset"]),
        reason=row["reason"],
        field=row["field"],
        key=None if row["key"] is None else base64.b64decode(row["key"]),
        value=base64.b64decode(row["raw"]),
        headers=[(name, base64.b64decode(raw)) for name, raw in row["headers"]],
        code_version=row["code_version"],
        state=row["state"],
        replayed_as=row["replayed_as"],
    )


def sink_positions(clickhouse: ClickHouse) -> dict[tuple[str, str, int], int]:
    """(cluster id, topic with prefix, partition) -> up to which offset ClickHouse holds the log."""
    sql = "SELECT cluster_id, topic, partition, argMax(next_offset, written_at) AS next FROM sink_positions GROUP BY ALL"
    rows = read_rows(sql, clickhouse)
    return {(row["cluster_id"], row["topic"], int(row["partition"])): int(row["next"]) for row in rows}


def read_rows(sql: str, clickhouse: ClickHouse) -> list[Any]:
    """Rows of a question, as dicts. Raises ClickHouseError."""
    answer = clickhouse.ask(sql, "JSONCompactEachRowWithNames")
    lines = [orjson.loads(line) for line in answer.splitlines() if line]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
