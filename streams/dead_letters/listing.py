"""What could not be applied: chosen, listed and shown. How it is mended and sent again: ``streams.dead_letters.resend``."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson

from schemas.cloudevents import ORIGIN
from schemas.registry import TOPICS
from streams.clickhouse.client import ClickHouseError
from streams.clickhouse.query import ClickHouse
from streams.errors import UsageError, UserError

_PLACE = re.compile(r"([a-z-]+)/(\d{1,9})/(\d{1,19})\Z")
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
LONGEST_ORIGIN = 300
_COLUMNS = "id, topic, partition, offset, reason, field, key, raw, headers, code_version, state, replayed_as"


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """A dead letter, its bytes as they came. ``state``: open, replayed, refused again; ``replayed_as``: where it lies by now."""

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
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters; what is None leaves nothing out. ``named``: places (TOPIC/PARTITION/OFFSET) or ids."""

    named: tuple[str, ...] = ()
    topic: str | None = None
    reason: str | None = None
    field: str | None = None
    state: str | None = None

    def condition(self) -> str:
        """SQL. Raises UsageError for a name that is neither a place nor an id, and for a topic that is none."""
        if self.topic is not None and self.topic not in TOPICS:
            raise UsageError(f"{self.topic!r} is no topic: name one of {', '.join(TOPICS)}")
        parts = [" OR ".join(map(_named, self.named))] if self.named else []
        parts += [f"{column} = {_literal(told)}" for column in ("topic", "field", "state") if (told := getattr(self, column))]
        if self.reason:
            parts.append(f"positionCaseInsensitiveUTF8(reason, {_literal(self.reason)}) > 0")
        return " AND ".join(f"({part})" for part in parts) or "1"


def _named(name: str) -> str:
    if _ID.match(name):
        return f"id = '{name}'"
    match = _PLACE.match(name)
    if match is None:
        raise UsageError(f"{name!r} is no place: write TOPIC/PARTITION/OFFSET as `duewatch dead-letters list` shows it")
    topic, partition, offset = match.groups()
    return f"topic = '{topic}' AND partition = {partition} AND offset = {offset}"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# One that failed again has a later row: what was to be tried before the day of the clock has succeeded, or its cause was gone.
_DEADLINES = """SELECT customer_id, row, kind, toString(first) AS since, times, told, toString(again) AS next,
again < (SELECT as_day FROM as_of) AS is_over
FROM (SELECT customer_id, row, any(kind) AS kind, min(due_on) AS first, max(try_again_on) AS again, count() AS times,
argMax(error, due_on) AS told FROM failed_deadlines GROUP BY customer_id, row)
WHERE NOT (is_over AND {only_open}) ORDER BY again DESC, customer_id, row LIMIT {limit}"""


def list_deadlines(asked: ClickHouse, limit: int, *, only_open: bool = False) -> str:
    """A line for each deadline on which our own code failed; empty where there are none."""
    try:
        rows = _rows(_DEADLINES.format(only_open=str(only_open).lower(), limit=limit), asked)
    except ClickHouseError as error:
        if "failed_deadlines" not in str(error):
            raise
        return ""  # the tables are of an older version
    return "\n".join(
        f"deadline of {row['customer_id']}, {row['row'] or 'the debtor itself'}, due {row['since']}: {row['told']}"
        + (f"  [made up for since; failed {row['times']} times]" if row["is_over"] else f"  [tried again on {row['next']}]")
        for row in rows
    )


def list_letters(choice: Selection, asked: ClickHouse, limit: int) -> str:
    """A line for each: place, where in which file it was read, what is wrong, what became of it."""
    columns, order = (
        "topic, partition, offset, reason, headers, state, replayed_as",
        "recorded_time DESC, topic, partition, offset",
    )
    where = choice.condition()
    rows = _rows(f"SELECT {columns} FROM dead_letters WHERE {where} ORDER BY {order} LIMIT {limit:d}", asked)  # noqa: S608 - quoted
    if not rows:
        return "there are no dead letters" + ("" if choice == Selection() else " like that")
    return "\n".join(map(_line, rows))


def _line(row: dict[str, Any]) -> str:
    origin = _origin((name, base64.b64decode(raw)) for name, raw in row["headers"])
    place = f"{row['topic']}/{row['partition']}/{row['offset']}"
    return f"{place}{f' ({origin})' if origin else ''}  {row['reason']}{_became(row)}"


def _origin(headers: Iterable[tuple[str, bytes]]) -> str:
    """In which file and line it was read, empty where it was not. Anybody may send such a header: what is shown is printable."""
    told = next((unquote(raw.decode(errors="replace"))[:LONGEST_ORIGIN] for name, raw in headers if name == ORIGIN), "")
    return told if told.isprintable() else ascii(told)[1:-1]


def _became(row: dict[str, Any]) -> str:
    return "" if row["state"] == "open" else f"  [{row['state']}: {row['replayed_as']}]"


def show_letter(place: str, asked: ClickHouse, *, raw: bool = False) -> str | bytes:
    """All that is known of one; with ``raw`` only its bytes, to be mended in a file. Raises UserError."""
    letter = find(place, asked)
    if raw:
        return letter.value
    lines = [
        f"where:   {letter.place}",
        *([f"from:    {origin}"] if (origin := _origin(letter.headers)) else ()),
        f"id:      {letter.id}",
        f"state:   {letter.state}{f' ({letter.replayed_as})' if letter.replayed_as else ''}",
        f"reason:  {letter.reason}",
        f"field:   {letter.field or '-'}",
        f"key:     {'-' if letter.key is None else letter.key.decode(errors='replace')}",
        *(f"header:  {name} = {value.decode(errors='replace')}" for name, value in letter.headers),
        f"version: {letter.code_version}",
        f"value:   {letter.value.decode(errors='replace')}",
    ]
    return "\n".join(lines)


def find(place: str, asked: ClickHouse) -> DeadLetterEntry:
    """The dead letter that lay at TOPIC/PARTITION/OFFSET, or has that id. Raises UserError when there is none."""
    found = choose(Selection((place,)), asked)
    if not found:
        raise UserError(f"there is no dead letter at {place}: `duewatch dead-letters list` shows them")
    return found[-1]


def choose(choice: Selection, asked: ClickHouse) -> list[DeadLetterEntry]:
    """Those that are meant, in the order in which they lay in their topics; of one place, the latest last."""
    sql = f"SELECT {_COLUMNS} FROM dead_letters WHERE {choice.condition()} ORDER BY topic, partition, offset, recorded_time"  # noqa: S608 - quoted
    return [_letter(row) for row in _rows(sql, asked)]


def _letter(row: dict[str, Any]) -> DeadLetterEntry:
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


def positions(asked: ClickHouse) -> dict[tuple[str, str, int], int]:
    """(cluster id, topic with prefix, partition) -> up to which offset ClickHouse holds what lies there."""
    told = "SELECT cluster_id, topic, partition, argMax(next_offset, written_at) AS next FROM sink_positions GROUP BY ALL"
    rows = _rows(told, asked)
    return {(row["cluster_id"], row["topic"], int(row["partition"])): int(row["next"]) for row in rows}


def _rows(sql: str, asked: ClickHouse) -> list[Any]:
    answer = asked.ask(sql, "JSONCompactEachRowWithNames")
    lines = [orjson.loads(line) for line in answer.splitlines() if line]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
