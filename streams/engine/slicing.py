"""Decide what may be applied next: positions, slices and the cut of a tick, on plain values and without I/O.

"A tick is a cut" and "The order of a replay" in the README say which rules hold here.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from operator import itemgetter
from typing import Literal

from schemas.events.clock import ContextSet, SourceResumed, Ticked
from streams.kafka.record import KafkaRecord

Order = Literal["arrival", "replay"]
ClockMessage = Ticked | ContextSet | SourceResumed


@dataclass(frozen=True, slots=True)
class Run:
    """Records of one topic, and the fetch positions [start, end) that they fill, markers and holes included."""

    topic: str
    start: int
    end: int
    records: Sequence[KafkaRecord]


@dataclass(frozen=True, slots=True)
class AppliedTick:
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
        """Topic -> the position after the slice, of the topics that it reads; ``clock``: the topic of the ticks."""
        positions = {run.topic: run.end for run in self.runs}
        if self.clock_end is not None:
            positions[clock] = self.clock_end
        return positions


@dataclass(frozen=True, slots=True)
class Rules:
    """How records become slices, and how many may be held meanwhile.

    ``order``: ``arrival`` = records as they come, at most ``max_slice`` in a slice; ``replay`` = nothing beyond a tick's cut
    before the tick. ``lazy``: a tick makes no slice by itself, it comes with the next records. Beyond ``max_held`` records, or
    ``max_held_bytes`` of their values, a topic-partition is not fetched until half of them are applied. ``with_tick``: records
    wait for a tick, unless a slice is full: for an agent whose answers nobody reads before the next one.
    """

    order: Order = "arrival"
    lazy: bool = False
    max_slice: int = 500
    max_held: int = 5_000
    max_held_bytes: int = 4 << 20
    with_tick: bool = False


class GapError(Exception):
    """What was fetched does not continue where the last fetch ended."""


@dataclass
class SliceBuffer:
    """What has arrived for one partition and is not applied yet, and which of it may be applied next.

    Changed by ``add_records``, ``add_tick``, ``next_slice`` and ``pause`` only. A topic that is paused (README, "Nothing is
    dropped") keeps what is held of it: it is neither fetched nor applied, and no tick waits for it.
    """

    sources: tuple[str, ...]
    rules: Rules
    positions: dict[str, int]
    """Where the next slice begins, per source topic."""
    tick: AppliedTick | None = None
    """The tick that was applied last."""
    knows_context: bool = False
    paused: set[str] = field(default_factory=set)
    fetched: dict[str, int] = field(init=False)
    records: dict[str, deque[KafkaRecord]] = field(init=False)
    clock: deque[tuple[int, ClockMessage]] = field(init=False, default_factory=deque)
    _bytes: dict[str, int] = field(init=False)
    _resumed: tuple[str, ...] = field(init=False, default=())
    _context: ContextSet | None = field(init=False, default=None)
    _clock_end: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.fetched = dict(self.positions)
        self.records = {topic: deque() for topic in self.sources}
        self._bytes = dict.fromkeys(self.sources, 0)

    def add_records(self, topic: str, records: Sequence[KafkaRecord], before: int, after: int, size: int | None = None) -> None:
        """Take what one fetch returned, which moved the fetch position from ``before`` to ``after``. Raises GapError.

        ``size``: bytes of the records' values, where the caller knows them.
        """
        if before != self.fetched[topic] or after < before or (records and records[0].offset < before):
            first = records[0].offset if records else before
            raise GapError(f"{topic}: fetched from {first}, expected {self.fetched[topic]}")
        self.records[topic].extend(records)
        self._bytes[topic] += sum(len(record.value or b"") for record in records) if size is None else size
        self.fetched[topic] = after

    def add_tick(self, offset: int, message: ClockMessage) -> None:
        """Take a tick, a context or a resumption, in the order of the clock's topic."""
        self.clock.append((offset, message))

    def pause(self, topics: Iterable[str]) -> None:
        """Leave these topics alone until the clock says that they are resumed."""
        self.paused.update(topics)

    def wants_more(self, topic: str, *, throttled: bool = False) -> bool:
        """Whether more of a topic is to be fetched: not when enough is held, except what a replay's next tick waits for.

        A replay applies a step as a whole; live, what is held is applied without the tick, and makes room.
        ``throttled``: it is not fetched at present; then half as much is enough, so that it does not stop and go.
        """
        if topic in self.paused:
            return False
        share = 2 if throttled else 1
        if len(self.records[topic]) * share < self.rules.max_held and self._bytes[topic] * share < self.rules.max_held_bytes:
            return True
        tick = self._next_tick() if self.rules.order == "replay" else None
        return tick is not None and self.fetched[topic] < tick.ends.get(topic, 0)

    def has_work(self) -> bool:
        """Whether ``next_slice`` might give one; cheap, and sometimes wrongly yes."""
        return bool(self.clock or self._context or self._resumed or any(self.records.values()))

    def record_count(self) -> int:
        """How many records are held."""
        return sum(map(len, self.records.values()))

    def next_slice(self, *, more: bool = False) -> Slice | None:
        """Take the next slice out, None when nothing may be applied now. ``more``: deadlines of the applied tick are left."""
        self._skip_to_tick()
        if not self.knows_context:
            return None
        return self._next_step() if self.rules.order == "replay" else self._next_arrivals(more=more)

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
            elif self.tick is None or (record.number > self.tick.number and record.time > self.tick.time):
                return
            self.clock.popleft()
            self._clock_end = offset + 1

    def _next_arrivals(self, *, more: bool) -> Slice | None:
        runs = self._arrival_runs()
        tick = self._reached_tick(self.positions | {run.topic: run.end for run in runs})
        if not self._is_due(runs, tick, more=more):
            return None
        for run in runs:
            queue = self.records[run.topic]
            for _ in run.records:
                queue.popleft()
        return self._slice(runs, tick)

    def _is_due(self, runs: Sequence[Run], tick: Ticked | None, *, more: bool) -> bool:
        """Whether there is a slice now, in the order of arrival: the first line that fits decides.

        ================================================================  ===================================
        a topic is resumed, or deadlines are left of the applied tick     yes
        the agent waits for ticks: none is reached, the slice not full    no
        there are records                                                 yes
        there is neither a reached tick nor a new context                 no
        ticks are not lazy                                                yes
        behind the tick, on the clock, a topic is resumed                 yes: no record may come before it
        nothing of all this                                               no
        ================================================================  ===================================
        """
        if more or self._resumed:
            return True
        if self.rules.with_tick and tick is None and self.record_count() < self.rules.max_slice:
            return False
        if any(run.records for run in runs):
            return True
        if tick is None and self._context is None:
            return False
        return not self.rules.lazy or any(isinstance(message, SourceResumed) for _, message in self.clock)

    def _open_sources(self) -> Sequence[str]:
        return [topic for topic in self.sources if topic not in self.paused] if self.paused else self.sources

    def _arrival_runs(self) -> list[Run]:
        topics = self._open_sources()
        counts = oldest_first({topic: self.records[topic] for topic in topics}, self.rules.max_slice)
        runs = []
        for topic in topics:
            queue, count = self.records[topic], counts[topic]
            records = list(islice(queue, count))
            # All that was fetched is taken: the run reaches beyond its last record, over markers and holes.
            end = self.fetched[topic] if count == len(queue) else records[-1].offset + 1 if records else self.positions[topic]
            if end > self.positions[topic]:
                runs.append(Run(topic, self.positions[topic], end, records))
        return runs

    def _next_step(self) -> Slice | None:
        tick = self._reached_tick(self.fetched)
        if tick is None:
            return None
        runs = []
        for topic in self._open_sources():
            end = tick.ends.get(topic, 0)
            if end > self.positions[topic]:
                runs.append(Run(topic, self.positions[topic], end, pop_below(self.records[topic], end)))
        return self._slice(runs, tick)

    def _reached_tick(self, positions: Mapping[str, int]) -> Ticked | None:
        if not self.clock:
            return None
        _, tick = self.clock[0]
        return tick if isinstance(tick, Ticked) and is_reached(tick, positions, self.paused) else None

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
            self.tick = AppliedTick(tick.number, tick.time, tick.step)
        slice_ = Slice(tuple(runs), self._context, tick, offset, self._clock_end, self._resumed)
        self._context = self._clock_end = None
        self._resumed = ()
        return slice_


def is_reached(tick: Ticked, positions: Mapping[str, int], paused: set[str]) -> bool:
    """Whether the positions have reached the tick's cut; topics that are paused, or of other agents, do not matter."""
    return all(positions[topic] >= end for topic, end in tick.ends.items() if topic in positions and topic not in paused)


def pop_below(records: deque[KafkaRecord], end: int) -> list[KafkaRecord]:
    """Take the records with offsets below ``end`` off the head."""
    head = []
    while records and records[0].offset < end:
        head.append(records.popleft())
    return head


def oldest_first(backlog: Mapping[str, Collection[KafkaRecord]], room: int) -> dict[str, int]:
    """How many records to take of each topic: those that were written first, by the records' time stamps.

    So a backlog is read as it came: a topic with few records does not run weeks ahead of one with many. The first record of each
    topic finds room whatever its time stamp says, so that a wrong one delays its topic, and stops it never.
    """
    if sum(map(len, backlog.values())) <= room:
        return {topic: len(records) for topic, records in backlog.items()}
    stamps = [(record.timestamp, topic) for topic, records in backlog.items() for record in islice(records, 1, room)]
    stamps.sort(key=itemgetter(0))
    firsts = [topic for topic, records in backlog.items() if records][:room]
    counts = Counter(firsts)
    counts.update(topic for _, topic in stamps[: room - len(firsts)])
    return {topic: counts[topic] for topic in backlog}


def continues(slice_: Slice, positions: Mapping[str, int]) -> bool:
    """Whether every run begins exactly where the partition stands: only then may the slice be applied."""
    return all(run.start == positions[run.topic] for run in slice_.runs)
