"""What must hold of a history, judged by what was committed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from schemas.base import parse_time
from schemas.ids import stable_id
from streams.engine.keys import POSITIONS
from tests.simulation.broker import Entry
from tests.simulation.parts import BROKEN, PARTITIONS, SOURCES, fold_event, fold_now
from tests.simulation.world import World

TICK, CONTEXT = (("ce_type", f"duewatch.{name}.v1".encode()) for name in ("clock.ticked", "context.set"))


def check(world: World) -> list[str]:
    """All that is wrong with a history that has ended, in words; empty when nothing is."""
    problems = list(world.violations)
    outputs: list[str] = []
    letters: list[tuple[str, int, int]] = []
    for partition in range(PARTITIONS):
        problems += _partition(world, partition, outputs, letters)
    committed = [_header(entry, "ce_id") for n in range(PARTITIONS) for entry in world.log("alerts", n).committed()]
    if sorted(committed) != sorted(outputs):
        twice = sorted({output for output in committed if committed.count(output) > 1})
        problems.append(f"outputs: {len(committed)} committed, {len(outputs)} expected, committed twice: {twice}")
    rejected = [e for e in world.log("dead-letters", 0).committed() if _header(e, "ce_type") == "duewatch.record.rejected.v1"]
    dead = [orjson.loads(entry.value or b"") for entry in rejected]
    if sorted((letter["topic"], letter["partition"], letter["offset"]) for letter in dead) != sorted(letters):
        problems.append(f"dead letters: {[(letter['topic'], letter['offset']) for letter in dead]}, expected {letters}")
    return problems


def _header(entry: Entry, name: str) -> str:
    return dict(entry.headers)[name].decode()


def _partition(world: World, partition: int, outputs: list[str], letters: list[tuple[str, int, int]]) -> Iterator[str]:
    """One partition: its journal, and a fold of what the journal says against its rows."""
    slices = [orjson.loads(entry.value or b"") for entry in world.log("journal", partition).committed()]
    clock = {entry.offset: entry for entry in world.log("clock", partition).committed()}
    at = dict.fromkeys(SOURCES, 0)
    rows: dict[str, str] = {}
    ticks: list[int] = []
    now: datetime | None = None
    paused: set[str] = set()
    for number, slice_ in enumerate(slices, 1):
        place = f"partition {partition}, slice {number}"
        if slice_["number"] != number:
            yield f"{place}: its number is {slice_['number']}"
        paused -= set(slice_["resumed"])
        for run in slice_["runs"]:
            if run["topic"] in paused:
                yield f"{place}: {run['topic']} is read while it is paused"
            if run["start"] != at[run["topic"]]:
                yield f"{place}: {run['topic']} jumps from {at[run['topic']]} to {run['start']}"
            at[run["topic"]] = run["end"]
            _apply(world, partition, run, rows, outputs, letters, now)
        if slice_["tick"] is not None:
            tick = orjson.loads(clock[slice_["tick_offset"]].value or b"")
            ticks.append(slice_["tick_offset"])
            now = parse_time(tick["time"])
            yield from _tick(place, tick, at, slice_, paused)
        if not paused <= set(slice_["paused"]):
            yield f"{place}: {paused} was paused, and is not any more: {slice_['paused']}"
        paused = set(slice_["paused"])
        rows.update(fold_now(rows.get, now))
        yield from _context(place, slice_, clock)
    yield from _ticks_in_order(partition, ticks, clock)
    yield from _formats(world, partition)
    stored = world.rows_at(partition, len(slices)) or {}
    if stored != rows:
        yield f"partition {partition}: rows are {stored}, the journal folds to {rows}"


def _apply(
    world: World,
    partition: int,
    run: dict[str, Any],
    rows: dict[str, str],
    outputs: list[str],
    letters: list[Any],
    before: datetime | None,
) -> None:
    """``before``: the tick that was applied before the slice."""
    for entry in world.log(run["topic"], partition).committed(run["start"], run["end"]):
        if entry.value == BROKEN:
            letters.append((run["topic"], partition, entry.offset))
            continue
        customer = (entry.key or b"").decode()
        rows.update([fold_event(rows.get, customer, _header(entry, "ce_id"), run["topic"], entry.offset, before)])
        outputs.append(stable_id("sim", run["topic"], partition, entry.offset))


def _tick(place: str, tick: dict[str, Any], at: dict[str, int], slice_: dict[str, Any], paused: set[str]) -> Iterator[str]:
    for topic in SOURCES:
        end = tick["ends"].get(topic, 0)
        if at[topic] < end and topic not in paused:
            yield f"{place}: tick {tick['number']} is applied before its cut, {topic} is at {at[topic]} of {end}"
        if slice_["order"] == "replay" and at[topic] != end and topic not in paused:
            yield f"{place}: {topic} is at {at[topic]}, beyond the cut {end} of step {tick['number']}"


def _context(place: str, slice_: dict[str, Any], clock: dict[int, Entry]) -> Iterator[str]:
    """The context in force was published, and came before the slice's tick."""
    versions = [
        orjson.loads(entry.value or b"")["version"]
        for offset, entry in clock.items()
        if CONTEXT in entry.headers and (slice_["tick_offset"] is None or offset < slice_["tick_offset"])
    ]
    if slice_["context_version"] not in versions:
        yield f"{place}: its context {slice_['context_version']} was not published before"
    elif slice_["tick_offset"] is not None and slice_["context_version"] != versions[-1]:
        yield f"{place}: its context is {slice_['context_version']}, in force is {versions[-1]}"


def _formats(world: World, partition: int) -> Iterator[str]:
    """No older worker writes where a newer one has written."""
    newest = 0
    for entry in world.log("debtor-state", partition).committed():
        if entry.key == POSITIONS.encode():
            row_format = orjson.loads(entry.value or b"")["format"]
            if row_format < newest:
                yield f"partition {partition}: rows of format {row_format} are written over rows of format {newest}"
            newest = max(newest, row_format)


def _ticks_in_order(partition: int, applied: list[int], clock: dict[int, Entry]) -> Iterator[str]:
    """Every tick that does not go back in time is applied, once, in the order of the log."""
    expected: list[int] = []
    last, time = -1, datetime.min.replace(tzinfo=UTC)
    for offset, entry in clock.items():
        if TICK in entry.headers:
            tick = orjson.loads(entry.value or b"")
            if tick["number"] > last and parse_time(tick["time"]) > time:
                last, time = tick["number"], parse_time(tick["time"])
                expected.append(offset)
    if applied != expected[: len(applied)]:
        yield f"partition {partition}: the ticks at {applied} are applied, in order would be {expected[: len(applied)]}"
