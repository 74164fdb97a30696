"""What could not be applied, listed and shown. How it is fixed and sent again: ``streams.dead_letters.resend``."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from schemas.cloudevents import ORIGIN
from streams.clickhouse.client import ClickHouseError
from streams.clickhouse.query import ClickHouse
from streams.dead_letters.selection import Selection, find, read_rows

MAX_ORIGIN_LENGTH = 300

# A deadline that failed again has a later row: what was to be tried before the day of the clock has succeeded, or its cause was
# gone.
_DEADLINES = """SELECT customer_id, row, kind, toString(first) AS since, times, last_error, toString(again) AS next,
again < (SELECT as_day FROM as_of) AS is_over
FROM (SELECT customer_id, row, any(kind) AS kind, min(due_on) AS first, max(try_again_on) AS again, count() AS times,
argMax(error, due_on) AS last_error FROM failed_deadlines GROUP BY customer_id, row)
WHERE NOT (is_over AND {only_open}) ORDER BY again DESC, customer_id, row LIMIT {limit}"""
_LETTERS = """SELECT topic, partition, offset, reason, headers, state, replayed_as FROM dead_letters WHERE {condition}
ORDER BY recorded_time DESC, topic, partition, offset LIMIT {limit}"""


def list_deadlines(clickhouse: ClickHouse, limit: int, *, only_open: bool = False) -> str:
    """A line for each deadline on which our own code failed; empty where there are none."""
    try:
        rows = read_rows(_DEADLINES.format(only_open=str(only_open).lower(), limit=limit), clickhouse)
    except ClickHouseError as error:
        if "failed_deadlines" not in str(error):
            raise
        return ""  # the tables are of an older version
    return "\n".join(
        f"deadline of {row['customer_id']}, {row['row'] or 'the debtor itself'}, due {row['since']}: {row['last_error']}"
        + (f"  [resolved since; failed {row['times']} times]" if row["is_over"] else f"  [tried again on {row['next']}]")
        for row in rows
    )


def list_letters(selection: Selection, clickhouse: ClickHouse, limit: int) -> str:
    """A line for each: place, where in which file it was read, what is wrong, what became of it."""
    rows = read_rows(_LETTERS.format(condition=selection.condition(), limit=limit), clickhouse)
    if not rows:
        return "there are no dead letters" + ("" if selection == Selection() else " that match")
    return "\n".join(map(_line, rows))


def _line(row: dict[str, Any]) -> str:
    origin = _origin((name, base64.b64decode(raw)) for name, raw in row["headers"])
    place = f"{row['topic']}/{row['partition']}/{row['offset']}"
    state = "" if row["state"] == "open" else f"  [{row['state']}: {row['replayed_as']}]"
    return f"{place}{f' ({origin})' if origin else ''}  {row['reason']}{state}"


def _origin(headers: Iterable[tuple[str, bytes]]) -> str:
    """In which file and line it was read, else empty. Anybody may send such a header: only printable text is shown."""
    text = next((unquote(raw.decode(errors="replace"))[:MAX_ORIGIN_LENGTH] for name, raw in headers if name == ORIGIN), "")
    return text if text.isprintable() else ascii(text)[1:-1]


def show_letter(name: str, clickhouse: ClickHouse, *, raw: bool = False) -> str | bytes:
    """All that is known of one; with ``raw`` only its bytes, to be fixed in a file. Raises UserError."""
    letter = find(name, clickhouse)
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
