"""What could not be applied: listed, shown, and sent again once it is mended."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from schemas.registry import TOPICS
from streams.errors import UsageError, UserError
from streams.send import send
from streams.sql import query

if TYPE_CHECKING:
    from streams.settings import Settings

_PLACE = re.compile(r"([a-z-]+)/(\d+)/(\d+)\Z")


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, its bytes as they came."""

    topic: str
    partition: int
    offset: int
    reason: str
    field: str | None
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    code_version: str

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def list_letters(data: Path | None, clickhouse: str | None, limit: int) -> str:
    """A line for each: place, what is wrong, field."""
    order = "ORDER BY recorded_time DESC, topic, partition, offset"
    asked = f"SELECT topic, partition, offset, reason, field FROM dead_letters {order} LIMIT {limit:d}"  # noqa: S608 - a number
    rows = _rows(asked, data, clickhouse)
    if not rows:
        return "there are no dead letters"
    return "\n".join(f"{row['topic']}/{row['partition']}/{row['offset']}  {row['reason']}" for row in rows)


def show_letter(place: str, data: Path | None, clickhouse: str | None, *, raw: bool = False) -> str | bytes:
    """All that is known of one; with ``raw`` only its bytes, to be mended in a file. Raises UserError."""
    letter = find(place, data, clickhouse)
    if raw:
        return letter.value
    lines = [
        f"where:   {letter.place}",
        f"reason:  {letter.reason}",
        f"field:   {letter.field or '-'}",
        f"key:     {'-' if letter.key is None else letter.key.decode(errors='replace')}",
        *(f"header:  {name} = {value.decode(errors='replace')}" for name, value in letter.headers),
        f"version: {letter.code_version}",
        f"value:   {letter.value.decode(errors='replace')}",
    ]
    return "\n".join(lines)


def replay_letter(
    settings: Settings,
    place: str,
    data: Path | None,
    clickhouse: str | None,
    *,
    value: Path | None = None,
    key: str | None = None,
) -> str:
    """Send one to its topic again, as it came or mended. Raises UserError, KafkaException."""
    letter = find(place, data, clickhouse)
    mended = letter.value if value is None else value.read_bytes().rstrip(b"\n")
    told = "as it came" if value is None and key is None else "mended"
    if letter.topic not in TOPICS or TOPICS[letter.topic].direction != "in":
        raise UserError(f"{letter.topic} is no source topic: nothing is sent into it by hand")
    name = send(settings, letter.topic, letter.key if key is None else key.encode(), mended, letter.headers)
    return f"sent {place} to {name} again, {told}"


def find(place: str, data: Path | None, clickhouse: str | None) -> Letter:
    """The dead letter that lay at TOPIC/PARTITION/OFFSET. Raises UserError when there is none."""
    match = _PLACE.match(place)
    if match is None:
        raise UsageError(f"{place!r} is no place: write TOPIC/PARTITION/OFFSET as `duewatch dead-letters list` shows it")
    topic, partition, offset = match.groups()
    where = f"topic = '{topic}' AND partition = {partition} AND offset = {offset}"  # letters and digits: _PLACE has seen to that
    columns = "topic, partition, offset, reason, field, key, raw, headers, code_version"
    asked = f"SELECT {columns} FROM dead_letters WHERE {where} ORDER BY recorded_time DESC LIMIT 1"  # noqa: S608
    rows = _rows(asked, data, clickhouse)
    if not rows:
        raise UserError(f"there is no dead letter at {place}: `duewatch dead-letters list` shows them")
    row = rows[0]
    return Letter(
        topic=row["topic"],
        partition=int(row["partition"]),
        offset=int(row["offset"]),
        reason=row["reason"],
        field=row["field"],
        key=None if row["key"] is None else base64.b64decode(row["key"]),
        value=base64.b64decode(row["raw"]),
        headers=[(name, base64.b64decode(raw)) for name, raw in row["headers"]],
        code_version=row["code_version"],
    )


def _rows(sql: str, data: Path | None, clickhouse: str | None) -> list[Any]:
    answer = query(sql, data, clickhouse, "JSONCompactEachRowWithNames")
    lines = [orjson.loads(line) for line in answer.splitlines() if line]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
