"""Decide what may be applied next: positions, slices and the cut of a tick, on plain values and without I/O."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from operator import itemgetter
from typing import Any, Literal, Protocol

from schemas.events.clock import ContextSet, SourceResumed, Ticked

Order = Literal["arrival", "replay"]


class Record(Protocol):
    """A fetched record, as both Kafka clients' shapes can be read."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Any: ...
    @property
    def timestamp(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one topic, and the fetch positions [start, end) that they fill, markers and holes included."""

    topic: str
    start: int
    end: int
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Applied:
    """The tick in force."""

    number: int
    time: datetime
    step: int = -1


@dataclass(frozen=True, slots=True)
class Slice:
    """What one transaction applies: runs in their order, then the tick. ``clock_end`` None = the clock did not move.

    ``resumed``: topics that were paused and are read on from here; they take effect before the runs.
    """

    runs: tuple[Run, ...]
    context: ContextSet | None = None
    tick: Ticked | None = None
    tick_offset: int | None = None
    clock_end: int | None = None
    resumed: tuple[str, ...] = ()

    def ends(self, clock: str) -> dict[str, int]:
        """The positions that it moves."""
        moved = {run.topic: run.end for run in self.runs}
        if self.clock_end is not None:
            moved[clock] = self.clock_end
        return moved


@dataclass(frozen=True, slots=True)
class Rules:
    """``arrival``: records as they come, ``most`` in a slice; ``replay``: nothing beyond a tick's cut before the tick.

    ``lazy``: a tick makes no slice by itself, it comes with the next records. Beyond ``held`` records, or ``held_bytes`` of
    their values, a topic-partition is not fetched until half of them are applied. ``with_tick``: records wait for a tick, unless
    a slice is full: for an agent whose answers nobody reads before the next one.
    """

    order: Order = "arrival"
    lazy: bool = False
    most: int = 500
    held: int = 5_000
    held_bytes: int = 4 << 20
    with_tick: bool = False


class GapError(Exception):
    """What was fetched does not continue where the last fetch ended."""


@dataclass
class SliceBuffer:
    """What has arrived for one partition and is not applied yet. Changed by ``arrived``, ``ticked``, ``take`` and ``pause`` only.

    A topic that is paused (D10) keeps what is held of it: it is neither fetched nor taken, and no tick waits for it.
    """

    sources: tuple[str, ...]
    rules: Rules
    positions: dict[str, int]
    """Where the next slice begins, per source topic."""
    applied: Applied | None = None
    knows_context: bool = False
    paused: set[str] = field(default_factory=set)
    fetched: dict[str, int] = field(init=False)
    records: dict[str, deque[Record]] = field(init=False)
    clock: deque[tuple[int, Ticked | ContextSet | SourceResumed]] = field(init=False, default_factory=deque)
    _bytes: dict[str, int] = field(init=False)
    _resumed: tuple[str, ...] = field(init=False, default=())
    _context: ContextSet | None = field(init=False, default=None)
    _clock_end: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.fetched = dict(self.positions)
        self.records = {topic: deque() for topic in self.sources}
        self._bytes = dict.fromkeys(self.sources, 0)

    def arrived(self, topic: str, records: Sequence[Record], before: int, after: int, size: int | None = None) -> None:
        """Take what one fetch returned, which moved the fetch position from ``before`` to ``after``. Raises GapError.

        ``size``: bytes of the records' values, where the caller knows them.
        """
        if before != self.fetched[topic] or after < before or (records and records[0].offset < before):
            first = records[0].offset if records else before
            raise GapError(f"{topic}: fetched from {first}, expected {self.fetched[topic]}")
        self.records[topic].extend(records)
        self._bytes[topic] += sum(len(record.value or b"") for record in records) if size is None else size
        self.fetched[topic] = after

    def ticked(self, offset: int, record: Ticked | ContextSet | SourceResumed) -> None:
        self.clock.append((offset, record))

    def pause(self, topics: Iterable[str]) -> None:
        """Leave these topics alone until the clock says that they are resumed (D10)."""
        self.paused.update(topics)

    def wants(self, topic: str, *, resting: bool = False) -> bool:
        """Whether more of a topic is to be fetched: not when enough is held, except what a replay's next tick waits for.

        A replay applies a step as a whole; live, what is held is applied without the tick, and makes room.
        ``resting``: it is not fetched at present; then half as much is enough, so that it does not stop and go.
        """
        if topic in self.paused:
            return False
        share = 2 if resting else 1
        if len(self.records[topic]) * share < self.rules.held and self._bytes[topic] * share < self.rules.held_bytes:
            return True
        tick = self._next_tick() if self.rules.order == "replay" else None
        return tick is not None and self.fetched[topic] < tick.ends.get(topic, 0)

    def waits(self) -> bool:
        """Whether there is anything that ``take`` might give; cheap, and sometimes wrongly yes."""
        return bool(self.clock or self._context or self._resumed or any(self.records.values()))

    def held(self) -> int:
        return sum(map(len, self.records.values()))

    def take(self, *, more: bool = False) -> Slice | None:
        """The next slice, or None when nothing may be applied now. ``more``: deadlines of the applied tick are left."""
        self._skip_to_tick()
        if not self.knows_context:
            return None
        return self._take_step() if self.rules.order == "replay" else self._take_arrived(more=more)

    def _next_tick(self) -> Ticked | None:
        return next((record for _, record in self.clock if isinstance(record, Ticked)), None)

    def _skip_to_tick(self) -> None:
        """Take contexts, resumptions, and ticks that would go back in time, off the head of the clock."""
        while self.clock:
            offset, record = self.clock[0]
            if isinstance(record, ContextSet):
                self._context, self.knows_context = record, True
            elif isinstance(record, SourceResumed):
                if record.topic in self.paused:
                    self.paused.discard(record.topic)
                    self._resumed += (record.topic,)
            elif self.applied is None or (record.number > self.applied.number and record.time > self.applied.time):
                return
            self.clock.popleft()
            self._clock_end = offset + 1

    def _take_arrived(self, *, more: bool) -> Slice | None:
        runs = self._arrived_runs()
        reached = self.positions | {run.topic: run.end for run in runs}
        tick = self._reached_tick(reached)
        # A lazy tick waits for records, but not if a topic resumes behind it: none may come before.
        waits = self.rules.lazy and not any(isinstance(record, SourceResumed) for _, record in self.clock)
        by_clock = bool(tick or self._context) and not waits
        if not (by_clock or more or self._resumed or any(run.records for run in runs)):
            return None
        if self.rules.with_tick and not (tick or more or self._resumed) and self.held() < self.rules.most:
            return None
        for run in runs:
            held = self.records[run.topic]
            for _ in run.records:
                held.popleft()
        return self._slice(runs, tick)

    def _open_sources(self) -> Sequence[str]:
        return [topic for topic in self.sources if topic not in self.paused] if self.paused else self.sources

    def _arrived_runs(self) -> list[Run]:
        topics = self._open_sources()
        counts = oldest_first({topic: self.records[topic] for topic in topics}, self.rules.most)
        runs = []
        for topic in topics:
            held, count = self.records[topic], counts[topic]
            records = list(islice(held, count))
            # All that was fetched is taken: the run reaches beyond its last record, over markers and holes.
            end = self.fetched[topic] if count == len(held) else records[-1].offset + 1 if records else self.positions[topic]
            if end > self.positions[topic]:
                runs.append(Run(topic, self.positions[topic], end, records))
        return runs

    def _take_step(self) -> Slice | None:
        tick = self._reached_tick(self.fetched)
        if tick is None:
            return None
        runs = []
        for topic in self._open_sources():
            end = tick.ends.get(topic, 0)
            if end > self.positions[topic]:
                runs.append(Run(topic, self.positions[topic], end, pop_below(self.records[topic], end)))
        return self._slice(runs, tick)

    def _reached_tick(self, reached: Mapping[str, int]) -> Ticked | None:
        if not self.clock:
            return None
        _, tick = self.clock[0]
        return tick if isinstance(tick, Ticked) and is_reached(tick, reached, self.paused) else None

    def _slice(self, runs: Sequence[Run], tick: Ticked | None) -> Slice:
        for run in runs:
            self.positions[run.topic] = run.end
            # Of the bytes, the records' share by number: to add them up again would cost more than it tells.
            left = len(self.records[run.topic])
            self._bytes[run.topic] = self._bytes[run.topic] * left // (left + len(run.records)) if left else 0
        offset = None
        if tick:
            offset, _ = self.clock.popleft()
            self._clock_end = offset + 1
            self.applied = Applied(tick.number, tick.time, tick.step)
        made = Slice(tuple(runs), self._context, tick, offset, self._clock_end, self._resumed)
        self._context = self._clock_end = None
        self._resumed = ()
        return made


def is_reached(tick: Ticked, positions: Mapping[str, int], paused: set[str]) -> bool:
    """Whether the positions have reached the cut; topics that are paused, or not ours, do not matter."""
    return all(positions[topic] >= end for topic, end in tick.ends.items() if topic in positions and topic not in paused)


def pop_below(records: deque[Record], end: int) -> list[Record]:
    """Take the records with offsets below ``end`` off the head."""
    taken = []
    while records and records[0].offset < end:
        taken.append(records.popleft())
    return taken


def oldest_first(waiting: Mapping[str, Collection[Record]], room: int) -> dict[str, int]:
    """How many of each topic's waiting records are taken: those that were written first, by the records' time stamps.

    So a backlog is read as it came: a topic with few records does not run weeks ahead of one with many. The first record of each
    topic finds room whatever its time stamp says, so that a wrong one delays its topic, and stops it never.
    """
    if sum(map(len, waiting.values())) <= room:
        return {topic: len(records) for topic, records in waiting.items()}
    written = [(record.timestamp, topic) for topic, records in waiting.items() for record in islice(records, 1, room)]
    written.sort(key=itemgetter(0))
    firsts = [topic for topic, records in waiting.items() if records][:room]
    taken = Counter(firsts)
    taken.update(topic for _, topic in written[: room - len(firsts)])
    return {topic: taken[topic] for topic in waiting}


def continues(made: Slice, positions: Mapping[str, int]) -> bool:
    """Whether every run begins exactly where the partition stands: only then may the slice be applied."""
    return all(run.start == positions[run.topic] for run in made.runs)
