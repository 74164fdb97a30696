"""The events that all parts get: a simulated portfolio in the order of its records, or a ledger's invoices and payments."""

from __future__ import annotations

import pickle
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec
import orjson

from agents.brain import Received
from schemas.events.clock import ContextSet, Ticked
from schemas.events.envelope import Rejection
from schemas.registry import DEBTOR_SOURCES
from streams.kafka.codec import decode, partition_of

PARTITIONS = 4
SLICE = 2000
"""Records of a slice at most: the worker's default (DUEWATCH_MAX_SLICE)."""
LEARNED_SHARE = 4
"""The shared model has learned of every fourth debtor."""
_DATE = re.compile(rb'"(20\d\d-\d\d-\d\d)"')


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured; ``make bench ARGS=--quick`` takes less of everything."""

    debtors: int = 1000
    days: int = 120
    seed: int = 1
    warm_up_s: float = 60.0
    """Of the broker, before anything is measured."""
    peer_s: float = 45.0
    """A peer that is not done by then is judged by what it has done."""
    rounds: int = 3
    """What is compared with each other is measured in turns, so often, and a rate counts as in its best round: a machine that
    others use too is twice as slow some minutes later, and what they take from it makes nothing faster. All rounds are told."""
    rate: int = 1000
    """Events per second of the latency runs."""
    latency_turns: int = 3
    """With the usual number of partitions; the middle one by its p99 counts."""
    latency_s: float = 30.0
    other_latency_s: float = 20.0
    """With other numbers of partitions, and with the sink."""
    takeovers: int = 5
    """Kills of a worker."""
    takeover_rate: int = 200
    restore_debtors: int = 150_000
    restore_items: int = 1_000_000
    flat_debtors: tuple[int, ...] = (1_000, 10_000, 150_000)
    flat_items: tuple[int, ...] = (10, 100, 1_000, 10_000)
    ledger: str = ""
    """A CSV of invoices and payments (mapping highradius) for a second look at react; empty = none."""


QUICK = Size(
    debtors=250,
    days=120,
    warm_up_s=10.0,
    peer_s=12.0,
    rounds=1,
    latency_turns=1,
    latency_s=10.0,
    other_latency_s=6.0,
    takeovers=2,
    restore_debtors=15_000,
    restore_items=100_000,
    flat_debtors=(1_000, 10_000),
    flat_items=(10, 100, 1_000),
)


class Sent(NamedTuple):
    """A record as it goes to Kafka, its partition, and when it was recorded."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    recorded: datetime


class Workload(NamedTuple):
    """``ticks``: per partition, what the clock tells between the events; its cuts are offsets of topics that begin empty."""

    events: list[Sent]
    context: ContextSet
    ticks: list[list[Ticked]]
    ending: datetime
    """The time of the last tick."""


def mix(events: Iterable[Sent]) -> dict[str, int]:
    """How many of each type, the most first."""
    kinds = Counter(dict(event.headers)["ce_type"].decode() for event in events)
    return {kind.removeprefix("duewatch.").rpartition(".v")[0]: count for kind, count in kinds.most_common()}


def sent(topic: str, key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]], partitions: int = PARTITIONS) -> Sent:
    """A record for one of the source topics."""
    kept = tuple(headers)
    recorded = datetime.fromisoformat(dict(kept)["ce_recordedtime"].decode())
    return Sent(topic, partition_of(key, partitions), key, value, kept, recorded)


def tick_days(events: Sequence[Sent], partitions: int = PARTITIONS) -> int:
    """Days between two ticks, so that there is about one tick a slice: a worker applies at most one with each."""
    span = max(1, (events[-1].recorded - events[0].recorded).days)
    return max(1, round(1.2 * SLICE * partitions * span / len(events)))


def ticks_of(events: Sequence[Sent], partitions: int = PARTITIONS) -> tuple[list[list[Ticked]], datetime]:
    """Ticks at midnight every some days, each with the offsets that its partition has by then, and the time of the last."""
    counts: list[Counter[str]] = [Counter() for _ in range(partitions)]
    made: list[list[Ticked]] = [[] for _ in range(partitions)]
    every = timedelta(days=tick_days(events, partitions))
    at = _midnight(events[0].recorded.date())

    def tick() -> None:
        number = len(made[0])
        for partition, own in enumerate(counts):
            made[partition].append(Ticked(number=number, time=at, ends={topic: own[topic] for topic in DEBTOR_SOURCES}))

    tick()
    for event in events:
        while event.recorded >= at + every:
            at += every
            tick()
        counts[event.partition][event.topic] += 1
    at += every
    tick()
    return made, at


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def build(size: Size) -> Workload:
    """Simulate, and learn a shared model from it first, so that all engines score with the same one that knows something."""
    from streams.connectors.records import record_of
    from streams.recompute.pipeline import Fold
    from streams.replay.context import replay_context
    from streams.replay.sources import steps
    from streams.simulate import simulate

    events, records = [], []
    for told in simulate(size.debtors, size.days, size.seed).events:
        attributes = orjson.loads(told.line)
        record = record_of(told.topic, attributes, attributes.pop("data"), date.fromisoformat(told.recorded[:10]))
        records.append(record)
        events.append(sent(told.topic, record.key or b"", record.value, record.headers))
    fold = Fold(replay_context(records))
    learned_of = [record for record in records if partition_of(record.key or b"", LEARNED_SHARE) == 0]
    for step in steps(sorted(learned_of, key=lambda record: (record.day, record.order))):
        fold.step(step)
    ticks, ending = ticks_of(events)
    return Workload(events, fold.context, ticks, ending)


def build_ledger(path: Path) -> Workload:
    """A ledger's invoices and payments, nothing learned beforehand."""
    from streams.replay.context import replay_context
    from streams.replay.sources import read_sources

    records = read_sources([path], "highradius")
    events = [sent(record.topic, record.key or b"", record.value, record.headers) for record in records]
    ticks, ending = ticks_of(events)
    return Workload(events, replay_context(records), ticks, ending)


def save(made: Workload, size: Size, folder: Path) -> None:
    """For the parts, which are processes of their own, some of them with other libraries: no classes of ours are pickled."""
    ticks = [[tick.model_dump_json() for tick in own] for own in made.ticks]
    with (folder / "workload.pickle").open("wb") as file:
        pickle.dump(
            [[tuple(event) for event in made.events], made.context.model_dump_json(), ticks, made.ending], file, protocol=5
        )
    (folder / "size.json").write_bytes(msgspec.json.encode(size))


def load(folder: Path) -> Workload:
    with (folder / "workload.pickle").open("rb") as file:
        events, context, ticks, ending = pickle.load(file)  # noqa: S301 - our own file, in our own temporary folder
    return Workload(
        [Sent(*event) for event in events],
        ContextSet.model_validate_json(context),
        [[Ticked.model_validate_json(tick) for tick in own] for own in ticks],
        ending,
    )


def load_size(folder: Path) -> Size:
    return msgspec.json.decode((folder / "size.json").read_bytes(), type=Size)


class Cut(NamedTuple):
    """A slice as the worker makes it on a backlog: at most SLICE records of a partition, by topic, and a tick that they reach."""

    partition: int
    events: list[tuple[int, Sent]]
    """With their offsets."""
    tick: Ticked | None


def cuts(made: Workload, partitions: int = PARTITIONS, most: int = SLICE) -> list[Cut]:
    """The slices of all partitions, in turn."""
    queues: list[list[tuple[int, Sent]]] = [[] for _ in range(partitions)]
    offsets: Counter[tuple[str, int]] = Counter()
    for event in made.events:
        queues[event.partition].append((offsets[event.topic, event.partition], event))
        offsets[event.topic, event.partition] += 1
    by_partition = [_cut(number, queue, made.ticks[number], most) for number, queue in enumerate(queues)]
    longest = max(map(len, by_partition))
    return [own[turn] for turn in range(longest) for own in by_partition if turn < len(own)]


def _cut(partition: int, queue: list[tuple[int, Sent]], ticks: list[Ticked], most: int) -> list[Cut]:
    order = {topic: place for place, topic in enumerate(DEBTOR_SOURCES)}
    reached: dict[str, int] = defaultdict(int)
    made, waiting = [], list(reversed(ticks))
    for start in range(0, len(queue), most):
        taken = sorted(queue[start : start + most], key=lambda item: order[item[1].topic])
        for offset, event in taken:
            reached[event.topic] = max(reached[event.topic], offset + 1)
        made.append(Cut(partition, taken, _pop(waiting, reached)))
    while waiting:  # the worker makes a slice of each tick that is left
        made.append(Cut(partition, [], waiting.pop()))
    return made


def _pop(waiting: list[Ticked], reached: dict[str, int]) -> Ticked | None:
    if waiting and all(reached[topic] >= end for topic, end in waiting[-1].ends.items()):
        return waiting.pop()
    return None


def decoded(cut: Cut, partitions: int = PARTITIONS) -> list[Received]:
    """The slice's events as a brain gets them. Raises ValueError for a record that is none: the workload has no broken ones."""
    arrived = []
    for offset, record in cut.events:
        event = decode(record.topic, record.key, record.value, record.headers, cut.partition, partitions)
        if isinstance(event, Rejection):
            raise ValueError(f"{record.topic} {offset}: {event.reason}")  # noqa: TRY004 - it says what is wrong with the value
        arrived.append(Received(record.topic, cut.partition, offset, event))
    return arrived


def mixed(events: Iterable[Sent]) -> list[Sent]:
    """The events of each day spread evenly over it, those of a debtor in their order.

    As simulated, all invoices of a day come in one run, in which most debtors have one. At thousands of times the speed of the
    portfolio that is nobody's day: a portfolio that has so many events a second has as many runs, one into the other.
    """
    found: list[Sent] = []
    for _, day in groupby(events, key=lambda event: event.recorded.date()):
        of_debtor = defaultdict(list)
        for event in day:
            of_debtor[event.key].append(event)
        placed = [
            ((number + crc32(key) / (1 << 32)) / len(own), event)
            for key, own in of_debtor.items()
            for number, event in enumerate(own)
        ]
        found += [event for _, event in sorted(placed, key=itemgetter(0))]
    return found


def moved(event: Sent, days: int) -> Sent:
    """The event some days later, in all its dates."""
    value = _DATE.sub(lambda found: b'"%s"' % _later(found[1].decode(), days), event.value)
    return recorded(event._replace(value=value), event.recorded + timedelta(days=days))


def recorded(event: Sent, at: datetime) -> Sent:
    """The event, happened and recorded at that time."""
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
    headers = tuple((name, stamp if name in {"ce_time", "ce_recordedtime"} else text) for name, text in event.headers)
    return event._replace(headers=headers, recorded=at)


def _later(day: str, days: int) -> bytes:
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat().encode()
