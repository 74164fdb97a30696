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
"""The shared model has learned from every fourth debtor."""
_DATE = re.compile(rb'"(20\d\d-\d\d-\d\d)"')


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured; ``make bench ARGS=--quick`` takes less of everything."""

    debtors: int = 1000
    days: int = 120
    seed: int = 1
    warm_up_s: float = 60.0
    """Seconds that the broker works before anything is measured."""
    peer_s: float = 45.0
    """A peer that is not done by then is judged by what it has done."""
    rounds: int = 3
    """What is compared with each other is measured in turns, so often, and a rate counts as in its best round: a machine that
    others use too is twice as slow some minutes later, and what they take from it makes nothing faster. All rounds are told."""
    rate: int = 1000
    """Events per second of the latency runs."""
    latency_turns: int = 3
    """Turns with the usual number of partitions; the middle one by its p99 counts."""
    latency_s: float = 30.0
    other_latency_s: float = 20.0
    """Seconds with other numbers of partitions, and with the sink."""
    takeovers: int = 5
    """How often a worker is killed."""
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


class SourceRecord(NamedTuple):
    """A record as it goes to Kafka, its partition, and when it was recorded."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    recorded: datetime


class Workload(NamedTuple):
    """All events, the context, and the ticks of each partition, whose cuts are offsets of topics that begin empty."""

    events: list[SourceRecord]
    context: ContextSet
    ticks: list[list[Ticked]]
    ending: datetime
    """The time of the last tick."""


def count_types(events: Iterable[SourceRecord]) -> dict[str, int]:
    """How many events there are of each type, the most frequent first."""
    kinds = Counter(dict(event.headers)["ce_type"].decode() for event in events)
    return {kind.removeprefix("duewatch.").rpartition(".v")[0]: count for kind, count in kinds.most_common()}


def source_record(
    topic: str, key: bytes, value: bytes, headers: Iterable[tuple[str, bytes]], partitions: int = PARTITIONS
) -> SourceRecord:
    """A record for one of the source topics."""
    pairs = tuple(headers)
    recorded = datetime.fromisoformat(dict(pairs)["ce_recordedtime"].decode())
    return SourceRecord(topic, partition_of(key, partitions), key, value, pairs, recorded)


def tick_days(events: Sequence[SourceRecord], partitions: int = PARTITIONS) -> int:
    """Days between two ticks, so that there is about one tick a slice: a worker applies at most one with each."""
    span = max(1, (events[-1].recorded - events[0].recorded).days)
    return max(1, round(1.2 * SLICE * partitions * span / len(events)))


def ticks_of(events: Sequence[SourceRecord], partitions: int = PARTITIONS) -> tuple[list[list[Ticked]], datetime]:
    """Ticks at midnight, some days apart, each with the offsets that its partition has by then; and the time of the last tick."""
    counts: list[Counter[str]] = [Counter() for _ in range(partitions)]
    ticks: list[list[Ticked]] = [[] for _ in range(partitions)]
    every = timedelta(days=tick_days(events, partitions))
    at = _midnight(events[0].recorded.date())

    def tick() -> None:
        number = len(ticks[0])
        for partition, count in enumerate(counts):
            ticks[partition].append(Ticked(number=number, time=at, ends={topic: count[topic] for topic in DEBTOR_SOURCES}))

    tick()
    for event in events:
        while event.recorded >= at + every:
            at += every
            tick()
        counts[event.partition][event.topic] += 1
    at += every
    tick()
    return ticks, at


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def build(size: Size) -> Workload:
    """Simulate a portfolio, and learn a shared model from a part of it first: all engines score with the same trained one."""
    from streams.connectors.records import record_of
    from streams.recompute.pipeline import Fold
    from streams.replay.context import replay_context
    from streams.replay.steps import cut_into_weeks
    from streams.simulate import simulate

    events, records = [], []
    for line in simulate(size.debtors, size.days, size.seed).events:
        attributes = orjson.loads(line.line)
        record = record_of(line.topic, attributes, attributes.pop("data"), date.fromisoformat(line.recorded[:10]))
        records.append(record)
        events.append(source_record(line.topic, record.key or b"", record.value, record.headers))
    fold = Fold(replay_context(records))
    training = [record for record in records if partition_of(record.key or b"", LEARNED_SHARE) == 0]
    for step in cut_into_weeks(sorted(training, key=lambda record: (record.day, record.order))):
        fold.step(step)
    ticks, ending = ticks_of(events)
    return Workload(events, fold.context, ticks, ending)


def build_ledger(path: Path) -> Workload:
    """The workload of a ledger's invoices and payments, with an untrained model."""
    from streams.replay.context import replay_context
    from streams.replay.sources import read_sources

    records = read_sources([path], "highradius")
    events = [source_record(record.topic, record.key or b"", record.value, record.headers) for record in records]
    ticks, ending = ticks_of(events)
    return Workload(events, replay_context(records), ticks, ending)


def save(workload: Workload, size: Size, folder: Path) -> None:
    """Write the workload for the parts, which are processes with partly other libraries: no classes of ours are pickled."""
    ticks = [[tick.model_dump_json() for tick in series] for series in workload.ticks]
    with (folder / "workload.pickle").open("wb") as file:
        pickle.dump(
            [[tuple(event) for event in workload.events], workload.context.model_dump_json(), ticks, workload.ending],
            file,
            protocol=5,
        )
    (folder / "size.json").write_bytes(msgspec.json.encode(size))


def load(folder: Path) -> Workload:
    with (folder / "workload.pickle").open("rb") as file:
        events, context, ticks, ending = pickle.load(file)  # noqa: S301 - our own file, in our own temporary folder
    return Workload(
        [SourceRecord(*event) for event in events],
        ContextSet.model_validate_json(context),
        [[Ticked.model_validate_json(tick) for tick in series] for series in ticks],
        ending,
    )


def load_size(folder: Path) -> Size:
    return msgspec.json.decode((folder / "size.json").read_bytes(), type=Size)


class Cut(NamedTuple):
    """A slice as the worker makes it on a backlog: at most SLICE records of a partition, by topic, and a tick that they reach."""

    partition: int
    events: list[tuple[int, SourceRecord]]
    """(Offset, record) of each event."""
    tick: Ticked | None


def cuts(workload: Workload, partitions: int = PARTITIONS, most: int = SLICE) -> list[Cut]:
    """The slices of all partitions, in turn."""
    queues: list[list[tuple[int, SourceRecord]]] = [[] for _ in range(partitions)]
    offsets: Counter[tuple[str, int]] = Counter()
    for event in workload.events:
        queues[event.partition].append((offsets[event.topic, event.partition], event))
        offsets[event.topic, event.partition] += 1
    by_partition = [_cut(number, queue, workload.ticks[number], most) for number, queue in enumerate(queues)]
    longest = max(map(len, by_partition))
    return [series[turn] for turn in range(longest) for series in by_partition if turn < len(series)]


def _cut(partition: int, queue: list[tuple[int, SourceRecord]], ticks: list[Ticked], most: int) -> list[Cut]:
    order = {topic: place for place, topic in enumerate(DEBTOR_SOURCES)}
    ends: dict[str, int] = defaultdict(int)
    slices, pending = [], list(reversed(ticks))
    for start in range(0, len(queue), most):
        records = sorted(queue[start : start + most], key=lambda item: order[item[1].topic])
        for offset, event in records:
            ends[event.topic] = max(ends[event.topic], offset + 1)
        slices.append(Cut(partition, records, _pop(pending, ends)))
    while pending:  # the worker makes a slice of each tick that is left
        slices.append(Cut(partition, [], pending.pop()))
    return slices


def _pop(pending: list[Ticked], ends: dict[str, int]) -> Ticked | None:
    if pending and all(ends[topic] >= end for topic, end in pending[-1].ends.items()):
        return pending.pop()
    return None


def decode_cut(cut: Cut, partitions: int = PARTITIONS) -> list[Received]:
    """The slice's events as a brain gets them. Raises ValueError for a record that is none: the workload has no broken ones."""
    received = []
    for offset, record in cut.events:
        event = decode(record.topic, record.key, record.value, record.headers, cut.partition, partitions)
        if isinstance(event, Rejection):
            raise ValueError(f"{record.topic} {offset}: {event.reason}")  # noqa: TRY004 - it says what is wrong with the value
        received.append(Received(record.topic, cut.partition, offset, event))
    return received


def spread_over_days(events: Iterable[SourceRecord]) -> list[SourceRecord]:
    """The events of each day spread evenly over it, those of a debtor in their order.

    As simulated, all invoices of a day come in one run, in which most debtors have one. At thousands of times the speed of the
    portfolio that is nobody's day: a portfolio that has so many events a second has as many runs, one into the other.
    """
    order: list[SourceRecord] = []
    for _, day in groupby(events, key=lambda event: event.recorded.date()):
        of_debtor = defaultdict(list)
        for event in day:
            of_debtor[event.key].append(event)
        positions = [
            ((number + crc32(key) / (1 << 32)) / len(events_of_debtor), event)
            for key, events_of_debtor in of_debtor.items()
            for number, event in enumerate(events_of_debtor)
        ]
        order += [event for _, event in sorted(positions, key=itemgetter(0))]
    return order


def postpone(event: SourceRecord, days: int) -> SourceRecord:
    """The event some days later, in all its dates."""
    value = _DATE.sub(lambda match: b'"%s"' % _later(match[1].decode(), days), event.value)
    return stamp(event._replace(value=value), event.recorded + timedelta(days=days))


def stamp(event: SourceRecord, at: datetime) -> SourceRecord:
    """The event, happened and recorded at that time."""
    text = at.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
    headers = tuple((name, text if name in {"ce_time", "ce_recordedtime"} else value) for name, value in event.headers)
    return event._replace(headers=headers, recorded=at)


def _later(day: str, days: int) -> bytes:
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat().encode()
