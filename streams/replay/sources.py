"""Read what a replay and a backtest are given: ledgers and JSON lines, as records in the order of a replay."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from hashlib import blake2b
from pathlib import Path

from streams.connectors.csv.ledger import read_ledger
from streams.connectors.csv.mapping import Mapping, load_mapping, shipped_mappings
from streams.connectors.events import Progress, read_jsonl
from streams.connectors.records import SOURCE_TOPICS, Record, SourceError

JSON_LINES = (".jsonl", ".ndjson")


def read_sources(
    paths: Sequence[Path], mapping: str | None = None, until: date | None = None, progress: Progress | None = None
) -> list[Record]:
    """All records of the sources in the order of a replay; with ``until`` those recorded up to the end of that day.

    A folder stands for its *.jsonl files. Raises SourceError with what to fix.
    """
    files = expand(paths)
    ledger_mapping = _mapping_for(files, mapping)
    sizes = [path.stat().st_size for path in files]
    records: list[Record] = []
    with _without_collector():
        for i, path in enumerate(files):
            records += _read_file(path, ledger_mapping, _offset_progress(progress, sum(sizes[:i]), sum(sizes)))
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
def _without_collector() -> Iterator[None]:
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


def _read_file(path: Path, mapping: Mapping | None, progress: Progress | None) -> list[Record]:
    if path.suffix.lower() in JSON_LINES:
        return read_jsonl(path, progress)
    if mapping is None:
        raise AssertionError("a ledger without a mapping is rejected before")
    return read_ledger(path, mapping, progress).records


def _offset_progress(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _size: progress(before + done, total)


def expand(paths: Sequence[Path]) -> list[Path]:
    """Files that the sources stand for. Raises SourceError for what does not exist."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in JSON_LINES)
            if not inside:
                raise SourceError(f"{path} holds no .jsonl file: name a ledger's CSV itself, or a folder with {_topic_files()}")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise SourceError(f"there is no file {path}")
    if len({path.resolve() for path in files}) < len(files):
        raise SourceError("a source is named twice: " + ", ".join(map(str, files)))
    return files


def _topic_files() -> str:
    return ", ".join(f"{name}.jsonl" for name in sorted(SOURCE_TOPICS))


def _mapping_for(files: list[Path], mapping: str | None) -> Mapping | None:
    ledgers = [path for path in files if path.suffix.lower() not in JSON_LINES]
    if ledgers and mapping is None:
        raise SourceError(
            f"{ledgers[0]} is read as a ledger: say how with --mapping {'|'.join(shipped_mappings())}, or with a file such as "
            "deploy/examples/mapping.toml"
        )
    return load_mapping(mapping) if mapping is not None else None


def sources_hash(paths: Sequence[Path], mapping: str | None = None) -> str:
    """10 hex digits that stay the same as long as the contents and the mapping do, wherever the files are."""
    files = expand(paths)
    ledger_mapping = _mapping_for(files, mapping)
    digests: list[bytes] = []
    for path in files:
        # A JSON line without a known type goes to the topic that its file is named after.
        digest = blake2b(path.stem.encode() if path.suffix.lower() in JSON_LINES else b"", digest_size=16)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        digests.append(digest.digest())
    whole = blake2b(ledger_mapping.model_dump_json().encode() if ledger_mapping else b"", digest_size=5)
    for part in sorted(digests):
        whole.update(part)
    return whole.hexdigest()
