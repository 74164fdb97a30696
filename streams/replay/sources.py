"""What a replay and a backtest read: sources as records in the order of D3, cut into weekly steps."""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from streams.connectors.csv.ledger import read_ledger
from streams.connectors.csv.mapping import Mapping, load_mapping, shipped_mappings
from streams.connectors.events import Progress, read_jsonl
from streams.connectors.records import SOURCE_TOPICS, Record, SourceError

JSON_LINES = (".jsonl", ".ndjson")
QUIET_DAYS = 400
"""So long after the last record its labels are learned, and the model stands still. What falls due later yet is judged on its
own day all the same, by the model of before the silence."""


class Step(NamedTuple):
    """A week (or what of it is left) of records in order, or a long time of none; ``end`` is exclusive: midnight UTC."""

    number: int
    end: datetime
    records: list[Record]


def read_sources(
    paths: Sequence[Path], mapping: str | None = None, until: date | None = None, progress: Progress | None = None
) -> list[Record]:
    """All records of the sources in D3's order; with ``until`` those recorded up to the end of that day.

    A folder stands for its *.jsonl files. Raises SourceError with what to mend.
    """
    found = expand(paths)
    form = _mapping_for(found, mapping)
    sizes = [path.stat().st_size for path in found]
    records: list[Record] = []
    with _no_collection():
        for i, path in enumerate(found):
            records += _read_one(path, form, _shifted(progress, sum(sizes[:i]), sum(sizes)))
        if until is not None:
            records = [record for record in records if record.day <= until]
        records.sort(key=_order)
    if not records:
        raise SourceError(
            f"{', '.join(map(str, paths))}: nothing to replay"
            + (f" up to {until}: is --until before the first day?" if until else "")
        )
    return records


@contextmanager
def _no_collection() -> Iterator[None]:
    """Nothing that is read is cyclic: the collector would walk the growing list over and over, for 40 % of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _order(record: Record) -> tuple[date, tuple[int, str, bytes]]:
    return record.day, record.order


def _read_one(path: Path, form: Mapping | None, progress: Progress | None) -> list[Record]:
    if path.suffix.lower() in JSON_LINES:
        return read_jsonl(path, progress)
    if form is None:
        raise AssertionError("a ledger without mapping is refused before")
    return read_ledger(path, form, progress).records


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _size: progress(before + done, total)


def expand(paths: Sequence[Path]) -> list[Path]:
    """Files that the sources stand for. Raises SourceError for what is not there."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in JSON_LINES)
            if not inside:
                raise SourceError(f"{path} holds no .jsonl file: name a ledger's CSV itself, or a folder with {_topics_files()}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise SourceError(f"there is no file {path}")
    if len({path.resolve() for path in found}) < len(found):
        raise SourceError("a source is named twice: " + ", ".join(map(str, found)))
    return found


def _topics_files() -> str:
    return ", ".join(f"{name}.jsonl" for name in sorted(SOURCE_TOPICS))


def _mapping_for(found: list[Path], mapping: str | None) -> Mapping | None:
    ledgers = [path for path in found if path.suffix.lower() not in JSON_LINES]
    if ledgers and mapping is None:
        raise SourceError(
            f"{ledgers[0]} is read as a ledger: say how with --mapping {'|'.join(shipped_mappings())}, or with a file such as "
            "deploy/examples/mapping.toml"
        )
    return load_mapping(mapping) if mapping is not None else None


def steps(records: Iterable[Record], until: date | None = None) -> Iterator[Step]:
    """Cut records, in order, into calendar weeks (Monday to Sunday, UTC), weeks without records included.

    Numbers are consecutive from 0. The last step ends at the end of ``until``, or of the last record's day. Once there was no
    record for ``QUIET_DAYS``, one step goes on to the week of the next: every step is a transaction, and a typing error in a
    ledger's year would cost a thousand of them. Within a step, too, all deadlines fire on their own days and in their order.
    """
    number, gathered, last = 0, list[Record](), None
    monday: date | None = None
    for record in records:
        if monday is None:
            monday = _monday_after(record.day)
        while record.day >= monday:
            yield Step(number, _midnight(monday), gathered)
            number, gathered, monday = number + 1, [], _next_end(monday, last or monday, record.day)
        gathered.append(record)
        last = record.day
    if monday is None or last is None:
        return
    end = (until or last) + timedelta(days=1)
    while monday < end:
        yield Step(number, _midnight(monday), gathered)
        number, gathered, monday = number + 1, [], _next_end(monday, last, end)
    yield Step(number, _midnight(end), gathered)


def cut_at(records: Sequence[Record], ends: Sequence[datetime]) -> Iterator[Step]:
    """Cut records, in order, into steps that end there: those of a replay that has been.

    Its own records need not tell them any more: a dead letter, too, ends a long silence.
    """
    begin = 0
    for number, at in enumerate(ends):
        end = bisect_left(records, at.date(), begin, key=lambda record: record.day)
        yield Step(number, at, list(records[begin:end]))
        begin = end


def _next_end(monday: date, last: date, day: date) -> date:
    """The end of the step after ``monday``: in a week, or when the week of ``day`` begins if all has long been quiet."""
    week = monday + timedelta(days=7)
    return max(week, _monday_after(day) - timedelta(days=7)) if (monday - last).days > QUIET_DAYS else week


def _monday_after(day: date) -> date:
    return day + timedelta(days=7 - day.weekday())


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def sources_hash(paths: Sequence[Path], mapping: str | None = None) -> str:
    """10 hex digits that stay the same as long as the contents and the mapping do, wherever the files lie."""
    found = expand(paths)
    form = _mapping_for(found, mapping)
    digests: list[bytes] = []
    for path in found:
        # A JSON line without a known type goes to the topic that its file is named after.
        digest = blake2b(path.stem.encode() if path.suffix.lower() in JSON_LINES else b"", digest_size=16)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        digests.append(digest.digest())
    whole = blake2b(form.model_dump_json().encode() if form else b"", digest_size=5)
    for part in sorted(digests):
        whole.update(part)
    return whole.hexdigest()
