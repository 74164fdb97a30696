"""A broker in memory: logs with markers and holes, read-committed fetches, transactions with fencing; and clients of it.

The clients stand where ``streams.kafka`` makes real ones, so that everything above them is the code that ships.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.loop import SimLoop

OPEN, COMMITTED, ABORTED, MARKER = "open", "committed", "aborted", "marker"


@dataclass(slots=True, eq=False)
class Entry:
    """A record, or a transaction's marker, at an offset."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    state: str
    timestamp: int = 0
    """Set by its sender: of no topic the same as of another, and not always rising."""


class Log:
    """One partition of a topic."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.open: set[int] = set()

    def append(self, key: Any, value: bytes | None, headers: Any, state: str) -> Entry:
        key = key.encode() if isinstance(key, str) else key
        offset = len(self.entries)
        entry = Entry(offset, key, value, tuple(headers or ()), state, timestamp=offset ^ 3)
        if state == OPEN:
            self.open.add(entry.offset)
        self.entries.append(entry)
        return entry

    def stable_end(self) -> int:
        """The last stable offset: below it everything is decided."""
        return min(self.open) if self.open else len(self.entries)

    def committed(self, start: int = 0, end: int | None = None) -> list[Entry]:
        stable = self.stable_end()
        end = stable if end is None or end > stable else end
        return [entry for entry in self.entries[start:end] if entry.state == COMMITTED]


@dataclass(slots=True)
class Transaction:
    """What a transactional id has open."""

    entries: list[tuple[Log, Entry]] = field(default_factory=list)


def failed(code: int) -> KafkaException:
    return KafkaException(KafkaError(code))


@dataclass
class Faults:
    """What the next calls run into; zero in a calm world."""

    refuse_commits: int = 0
    lose_answers: int = 0
    fail_restores: int = 0


class SimBroker:
    """Topics by their full names. ``partitions`` of those that have more than one."""

    def __init__(self, loop: SimLoop, partitions: dict[str, int]) -> None:
        self.loop = loop
        self.partitions = partitions
        self.logs: dict[tuple[str, int], Log] = defaultdict(Log)
        self.epochs: dict[str, int] = defaultdict(int)
        self.transactions: dict[str, Transaction] = {}
        self.faults = Faults()
        self.down = False
        self.ended: Callable[[Entry], None] = lambda _entry: None
        """Told of every record whose transaction has ended."""

    def reach(self) -> None:
        """A request: others may go on meanwhile, and the broker may be away."""
        self.loop.preempt()
        if self.down:
            raise failed(KafkaError._TIMED_OUT)

    def place(self, topic: str, key: bytes | str | None, partition: int) -> int:
        if partition >= 0:
            return partition
        raw = key.encode() if isinstance(key, str) else key or b""
        return zlib.crc32(raw) % self.partitions.get(topic, 1)

    # -- transactions

    def fence(self, name: str) -> int:
        """A producer of this id begins: the ones before it are fenced, what they left open is aborted."""
        self.end(name, ABORTED)
        self.epochs[name] += 1
        return self.epochs[name]

    def end(self, name: str, state: str) -> None:
        transaction = self.transactions.pop(name, None)
        if transaction is None:
            return
        for log, entry in transaction.entries:
            entry.state = state
            log.open.discard(entry.offset)
            self.ended(entry)
        for log in {id(log): log for log, _ in transaction.entries}.values():
            log.append(None, None, (), MARKER)


class SimProducer:
    """A transactional producer; buffers until it must send, as librdkafka does."""

    def __init__(self, broker: SimBroker, name: str, timeout_s: float) -> None:
        broker.reach()
        self._broker, self._name, self._timeout_s = broker, name, timeout_s
        self._epoch = broker.fence(name)
        self._buffer: list[tuple[str, int, Any, bytes | None, Any]] = []

    def begin_transaction(self) -> None:
        self._buffer = []

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | str | None = None,
        partition: int = -1,
        _callback: None = None,
        _on_delivery: None = None,
        _timestamp: int = 0,
        headers: Any = None,
    ) -> None:
        key = key.encode() if isinstance(key, str) else key
        self._buffer.append((topic, self._broker.place(topic, key, partition), key, value, headers))

    def poll(self, _timeout: float = 0.0) -> int:
        return 0

    def flush(self, _timeout: float = 0.0) -> int:
        broker = self._broker
        broker.reach()
        self._fenced()
        if self._buffer:
            transaction = broker.transactions.get(self._name)
            if transaction is None:
                transaction = broker.transactions[self._name] = Transaction()
                broker.loop.call_later(self._timeout_s, self._expire, transaction)
            for topic, partition, key, value, headers in self._buffer:
                log = broker.logs[topic, partition]
                transaction.entries.append((log, log.append(key, value, headers, OPEN)))
            self._buffer = []
        return 0

    def _fenced(self) -> None:
        if self._broker.epochs[self._name] != self._epoch:
            raise failed(KafkaError._FENCED)

    def _expire(self, transaction: Transaction) -> None:
        """The coordinator aborts what is open for too long, and fences who opened it."""
        if self._broker.transactions.get(self._name) is transaction:
            self._broker.fence(self._name)

    def commit_transaction(self, _timeout: float = 0.0) -> None:
        broker = self._broker
        self.flush()
        broker.reach()
        self._fenced()
        if broker.faults.refuse_commits:
            broker.faults.refuse_commits -= 1
            raise failed(KafkaError._TIMED_OUT)
        broker.end(self._name, COMMITTED)
        if broker.faults.lose_answers:
            broker.faults.lose_answers -= 1
            broker.loop.preempt()
            raise failed(KafkaError._TIMED_OUT)
        broker.loop.preempt()

    def abort_transaction(self, _timeout: float = 0.0) -> None:
        self._broker.reach()
        self._fenced()
        self._buffer = []
        self._broker.end(self._name, ABORTED)


class SimMessage:
    """A record, or the end of a partition, as confluent_kafka shows them."""

    def __init__(self, topic: str, partition: int, entry: Entry | None, end: int = -1) -> None:
        self._topic, self._partition, self._entry, self._end = topic, partition, entry, end

    def __len__(self) -> int:
        return len(self.value() or b"")

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def error(self) -> Any:
        return None if self._entry is not None else KafkaError(KafkaError._PARTITION_EOF)

    def offset(self) -> int:
        return self._entry.offset if self._entry is not None else self._end

    def key(self) -> bytes | None:
        return self._entry.key if self._entry is not None else None

    def value(self) -> bytes | None:
        return self._entry.value if self._entry is not None else None

    def timestamp(self) -> tuple[int, int]:
        return 1, self._entry.timestamp if self._entry is not None else -1

    def headers(self) -> Any:
        return list(self._entry.headers) if self._entry is not None else None


class SimReader:
    """A read-committed consumer outside any group."""

    is_lost = False  # while the broker is away, each call fails

    def __init__(self, broker: SimBroker) -> None:
        self._broker = broker
        self._at: dict[tuple[str, int], int] = {}

    def assign(self, places: Sequence[Any]) -> None:
        self._at = {(place.topic, place.partition): max(place.offset, 0) for place in places}

    def consume(self, most: int, _timeout: float) -> list[SimMessage]:
        self._broker.reach()
        if self._broker.faults.fail_restores:
            self._broker.faults.fail_restores -= 1
            raise failed(KafkaError._TRANSPORT)
        messages: list[SimMessage] = []
        for (topic, partition), start in self._at.items():
            log = self._broker.logs[topic, partition]
            end = log.stable_end()
            messages += [SimMessage(topic, partition, entry) for entry in log.committed(start, end)]
            messages.append(SimMessage(topic, partition, None))
            self._at[topic, partition] = end
        assert len(messages) <= most, "the simulated histories are short"
        return messages

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(*place) for place in self._at]

    def offsets_for_times(self, places: Sequence[TopicPartition], _timeout: float) -> list[TopicPartition]:
        """Asked for the ends: nothing is ever taken from the beginning of a log."""
        known_ends = ends(self._broker, [(place.topic, place.partition) for place in places if place.offset != OFFSET_BEGINNING])
        return [TopicPartition(p.topic, p.partition, known_ends.get((p.topic, p.partition), 0)) for p in places]

    def close(self) -> None:
        self._at = {}


LOST = 0.3
"""Of the polls while the broker is away, so many lose it for good."""


class SimConsumer:
    """A consumer that is told what to read, as ``streams.engine.fetcher`` uses it.

    Up to chance is what one poll brings, and whether it finds a broker again that was away.
    """

    def __init__(self, broker: SimBroker) -> None:
        self._broker = broker
        self.is_lost = False
        self._at: dict[tuple[str, int], int] = {}
        self._ended: dict[tuple[str, int], int] = {}
        self._paused: set[tuple[str, int]] = set()
        self._queue: list[SimMessage] = []

    def incremental_assign(self, places: Sequence[Any]) -> None:
        self._at.update({(place.topic, place.partition): place.offset for place in places})

    def incremental_unassign(self, places: Sequence[Any]) -> None:
        for place in places:
            for offsets in (self._at, self._ended):
                offsets.pop((place.topic, place.partition), None)
            self._paused.discard((place.topic, place.partition))

    def pause(self, places: Sequence[Any]) -> None:
        self._paused |= {(place.topic, place.partition) for place in places}

    def resume(self, places: Sequence[Any]) -> None:
        self._paused -= {(place.topic, place.partition) for place in places}

    def poll(self, _timeout: float) -> SimMessage | None:
        chance = self._broker.loop.chance
        if self._broker.down:
            self.is_lost = self.is_lost or chance.random() < LOST
        elif not self.is_lost:
            for place, position in self._at.items():
                if place not in self._paused and chance.random() < 0.8:
                    self._read(place, position)
        return self._queue.pop(0) if self._queue else None

    def _read(self, place: tuple[str, int], position: int) -> None:
        log, chance = self._broker.logs[place], self._broker.loop.chance
        end = log.stable_end()
        stop = end if position >= end or chance.random() < 0.6 else chance.randint(position + 1, end)
        records = log.committed(position, stop)
        self._queue += [SimMessage(*place, entry) for entry in records]
        # The library tells of a position behind markers at the end only: within the log it goes on with the next record.
        if stop == end:
            self._at[place] = max(position, end)
            if self._ended.get(place) != end:
                self._ended[place] = end
                self._queue.append(SimMessage(*place, None, end))
        elif records:
            self._at[place] = records[-1].offset + 1

    def consume(self, _most: int, _timeout: float) -> list[SimMessage]:
        messages, self._queue = self._queue, []
        return messages

    def close(self, _wait_s: float = 0.0) -> None:
        self._at = {}


def ends(broker: SimBroker, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Stands for ``list_offsets``."""
    broker.reach()
    return {place: broker.logs[place].stable_end() for place in places}
