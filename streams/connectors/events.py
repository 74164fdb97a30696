"""JSON lines of structured CloudEvents, read as records to send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from schemas.base import parse_date, parse_time
from schemas.events.envelope import LATEST
from schemas.registry import CONTRACTS
from streams.connectors.plausible import OUTLIER_GAP, has_gap, plausible_span
from streams.connectors.records import SOURCE_OF_TYPE, SOURCE_TOPICS, Record, SourceError, origin_of, raw_record, record_of

Progress = Callable[[int, int], None]
"""Called now and then with (bytes read, bytes in all)."""

PROGRESS_EVERY = 20_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Line(NamedTuple):
    number: int
    raw: bytes
    attributes: dict[str, Any] | None
    """The event's attributes; None = no CloudEvent that could be read."""
    data: Any
    topic: str | None
    """The topic of the event's type; None = its type belongs to no source topic."""
    day: date | None


def read_jsonl(path: Path, progress: Progress | None = None) -> list[Record]:
    """Each line as a record for the topic of its event's type, else for the topic that the file is named after.

    A line that cannot be read is sent as it is, at the place in time (and, in a file named after no topic, to the topic) of the
    line before it. Empty lines are skipped. Raises SourceError when no line has a topic.
    """
    size = path.stat().st_size
    bytes_read = 0
    lines: list[_Line] = []
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            bytes_read += len(raw)
            if progress and number % PROGRESS_EVERY == 0:
                progress(bytes_read, size)
            text = raw.rstrip(b"\r\n").removeprefix(_BYTE_ORDER_MARK if number == 1 else b"")
            if text.strip():
                lines.append(_read_line(number, text))
    if progress:
        progress(size, size)
    return _place(path, lines)


def _read_line(number: int, raw: bytes) -> _Line:
    try:
        event = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _Line(number, raw, None, None, None, None)
    if not isinstance(event, dict) or "data" not in event:
        return _Line(number, raw, None, None, None, None)
    data = event.pop("data")
    event_type = event.get("type")
    topic = SOURCE_OF_TYPE.get(event_type) if isinstance(event_type, str) else None
    return _Line(number, raw, event, data, topic, _recorded_day(event))


def _recorded_day(attributes: dict[str, Any]) -> date | None:
    """The UTC day of ``recordedtime`` (of ``time`` where that is missing), or None where it says nothing plausible."""
    text = attributes.get("recordedtime", attributes.get("time"))
    if not isinstance(text, str):
        return None
    try:
        # Nearly all times are in UTC already; reading only their day is five times as fast.
        return parse_date(text[:10]) if text.endswith("Z") and text[10:11] == "T" else parse_date(parse_time(text).date())
    except (ValueError, OverflowError):
        return None


def _plausible_span(lines: list[_Line]) -> tuple[date, date]:
    """The first and the last day that are meant, by all lines; where none lies far from the others there is no doubt."""
    days = Counter(line.day for line in lines if line.day)
    doubtful = Counter(line.day for line in lines if line.day and _contradicts_itself(line)) if has_gap(days) else Counter[date]()
    return plausible_span(days, doubtful)


def _contradicts_itself(line: _Line) -> bool:
    """Whether a line says that it was recorded long after what it records, or long before."""
    attributes, data = line.attributes or {}, line.data if isinstance(line.data, dict) else {}
    contract = CONTRACTS.get(str(attributes.get("type")))
    name, _ = LATEST.get(contract.__name__ if contract else "", ("", 0))
    days = (_recorded_day({"time": attributes.get("time")}), _recorded_day({"time": f"{data.get(name)}T00:00:00Z"}))
    return any(day is not None and line.day is not None and abs(line.day - day) > OUTLIER_GAP for day in days)


def _place(path: Path, lines: list[_Line]) -> list[Record]:
    own = path.stem if path.stem in SOURCE_TOPICS else None
    first, last = _plausible_span(lines)
    day = next((line.day for line in lines if line.day and first <= line.day <= last), None)
    last_topic = own or next((line.topic for line in lines if line.topic), None)
    if lines and (day is None or last_topic is None):
        missing = "a time that can be read" if last_topic else f"the type of an event, and {path.stem!r} is not a source topic"
        raise SourceError(
            f"{path}: no line has {missing}. Give it lines of structured CloudEvents (JSON), "
            f"or name the file after its topic: {', '.join(sorted(SOURCE_TOPICS))}"
        )
    records: list[Record] = []
    for line in lines:
        if line.day and first <= line.day <= last:
            day = line.day
        topic = line.topic or own or last_topic
        assert topic is not None and day is not None  # noqa: PT018, S101 - said above, for the type checker
        origin = origin_of(path, line.number)
        if line.attributes is None:
            records.append(raw_record(topic, line.raw, day, origin))
        else:
            records.append(record_of(topic, line.attributes, line.data, day, origin))
        last_topic = topic
    return records
