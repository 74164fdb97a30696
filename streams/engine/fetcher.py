"""Read what the partition tasks of an agent are to apply: read-committed, by librdkafka, in a thread of its own.

Faust's consumer only says who has which partitions. What is read here belongs to a task from its first record to its end: it
goes on while the group rebalances, and no seek is needed that a fetch could race with.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Event, Semaphore, Thread
from typing import Any, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streams.kafka.consumer import Consumer
from streams.kafka.headers import read_headers
from streams.kafka.read import Place, is_end
from streams.process.affinity import on_all_cores

log = structlog.get_logger()

POLL_S = 0.05
BATCH = 1_000
GATHER_S = 0.001
"""What comes within it is handed over at once: an answer of the broker reaches the queue topic by topic."""
MAX_UNDELIVERED = 2
CLOSE_S = 10.0
CONSUMER = {
    "group.id": "duewatch-reader",  # librdkafka wants one; nothing is committed under it
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "enable.partition.eof": True,  # reports a position behind markers, which no record ever reaches
    "auto.offset.reset": "error",  # records that are gone must not be passed over in silence
    # The broker gathers for so long, or until an answer is worth while: to ask for and hand over each record by itself costs more
    # than the record's own work (at 1,000 a second a quarter of a core of the broker).
    "fetch.wait.max.ms": 5,
    "fetch.min.bytes": 1 << 16,
    "fetch.queue.backoff.ms": 10,
    # After an outage of the broker, be back soon.
    "reconnect.backoff.max.ms": 1_000,
    # What lies in librdkafka's queue, at most; what the tasks hold is bounded by their rules.
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 16_384,
}


class FetchedRecord:
    """A ``KafkaRecord`` from the broker, whose headers become Python values only when they are read."""

    __slots__ = ("_message", "offset")

    def __init__(self, message: Message, offset: int) -> None:
        self._message, self.offset = message, offset

    @property
    def key(self) -> bytes | None:
        return self._message.key()

    @property
    def value(self) -> bytes | None:
        return self._message.value()

    @property
    def headers(self) -> Any:
        return read_headers(self._message)

    @property
    def timestamp(self) -> int:
        return self._message.timestamp()[1]


class Arrival(NamedTuple):
    """What was read of a topic for one owner, and the position that it reached: markers and holes included."""

    owner: object
    topic: str
    records: list[FetchedRecord]
    after: int
    size: int = 0
    """Bytes of the records' values."""


@dataclass(slots=True)
class _Reading:
    """A partition that is read for ``owner``, which knows it as ``topic``. ``after``: where what was handed over ends."""

    owner: object
    topic: str
    after: int
    paused: bool


class Fetcher:
    """Hands arrivals to ``on_arrivals`` and errors to ``on_error``, both called in ``loop``; its methods are called from there.

    ``kafka``: librdkafka's settings, which go before those of ``CONSUMER``. Every partition is read for an *owner*: after
    ``close`` nothing more arrives for it, except what is on its way already. An error without an owner is the end of the thread:
    nothing is read any more.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        on_arrivals: Callable[[list[Arrival]], None],
        on_error: Callable[[object | None, Exception], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._config = {**CONSUMER, **kafka}
        self._consumer = self._new_consumer()
        self._on_arrivals, self._on_error, self._loop = on_arrivals, on_error, loop
        self._readings: dict[Place, _Reading] = {}
        self._ends: dict[Place, int] = {}
        self._commands: deque[Callable[[], None]] = deque()
        # The thread may not run ahead of the loop: what is handed over and not taken yet is bounded, too.
        self._room = Semaphore(MAX_UNDELIVERED)
        self._ended = Event()
        self._thread = Thread(target=self._run, name="fetcher", daemon=True)
        self._thread.start()

    def open(self, owner: object, positions: Mapping[Place, int], names: Mapping[str, str], paused: Iterable[Place] = ()) -> None:
        """Read for ``owner`` from these positions on; ``names``: topic on the broker -> as its arrivals call it."""
        self._commands.append(lambda: self._open(owner, dict(positions), names, set(paused)))

    def close(self, owner: object) -> None:
        """Read no more for ``owner``."""
        self._commands.append(lambda: self._close([place for place, reading in self._readings.items() if reading.owner is owner]))

    def pause(self, owner: object, place: Place) -> None:
        """Hold what is not read yet; what is on its way still arrives."""
        self._commands.append(lambda: self._set_paused(owner, place, paused=True))

    def resume(self, owner: object, place: Place) -> None:
        self._commands.append(lambda: self._set_paused(owner, place, paused=False))

    def end(self) -> None:
        """Stop reading, for good. Blocks until the thread has ended."""
        self._ended.set()
        self._room.release()
        self._thread.join(CLOSE_S)

    def lags(self, positions: Mapping[Place, int]) -> dict[Place, int]:
        """Records between these positions and the ends as of the last call; partitions whose end is not known are left out."""
        ends = self._ends
        self._commands.append(self._note_ends)
        return {place: max(0, ends[place] - position) for place, position in positions.items() if place in ends}

    def _new_consumer(self) -> Consumer:
        with on_all_cores():
            return Consumer(self._config)

    # -- in the thread

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                while self._commands:
                    self._commands.popleft()()
                first = self._consumer.poll(POLL_S)
                if first is not None:
                    self._ended.wait(GATHER_S)
                    # consume() with a time-out would wait for a full batch.
                    self._hand_over([first, *self._consumer.consume(BATCH, 0)])
                if self._consumer.is_lost:
                    self._renew()
        except Exception as error:
            log.exception("fetcher.failed")
            self._loop.call_soon_threadsafe(self._on_error, None, error)
        finally:
            self._consumer.close()

    def _open(self, owner: object, positions: dict[Place, int], names: Mapping[str, str], paused: set[Place]) -> None:
        self._close([place for place in positions if place in self._readings])
        readings = {place: _Reading(owner, names[place[0]], offset, place in paused) for place, offset in positions.items()}
        self._readings.update(readings)
        self._assign(readings)

    def _assign(self, readings: Mapping[Place, _Reading]) -> None:
        if readings:
            self._consumer.incremental_assign([TopicPartition(*place, reading.after) for place, reading in readings.items()])
        if paused := [TopicPartition(*place) for place, reading in readings.items() if reading.paused]:
            self._consumer.pause(paused)

    def _renew(self) -> None:
        """Go on with a new consumer, behind what was handed over."""
        log.warning("fetcher.renewed", places=len(self._readings))
        self._consumer.close(0.0)
        self._consumer = self._new_consumer()
        self._assign(self._readings)

    def _note_ends(self) -> None:
        """Note the ends that the last fetches brought. Here, because the client locks up when two threads use it at once."""
        marks = {place: self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True) for place in self._readings}
        self._ends = {place: end for place, (_, end) in marks.items() if end >= 0}

    def _close(self, places: list[Place]) -> None:
        if places:
            self._consumer.incremental_unassign([TopicPartition(*place) for place in places])
        for place in places:
            del self._readings[place]

    def _set_paused(self, owner: object, place: Place, *, paused: bool) -> None:
        reading = self._readings.get(place)
        if reading is not None and reading.owner is owner:
            reading.paused = paused
            change = self._consumer.pause if paused else self._consumer.resume
            change([TopicPartition(*place)])

    def _hand_over(self, messages: list[Message]) -> None:
        arrivals = self._by_partition(messages)
        if arrivals:
            self._room.acquire()
            if not self._ended.is_set():
                self._loop.call_soon_threadsafe(self._deliver, arrivals)

    def _deliver(self, arrivals: list[Arrival]) -> None:
        self._room.release()
        self._on_arrivals(arrivals)

    def _by_partition(self, messages: list[Message]) -> list[Arrival]:
        by_place: dict[Place, tuple[list[FetchedRecord], int, int]] = {}
        for message in messages:
            place = (message.topic() or "", message.partition() or 0)
            records, after, size = by_place.get(place) or ([], 0, 0)
            offset = message.offset() or 0
            error = message.error()
            if error is None:
                records.append(FetchedRecord(message, offset))
                after = offset + 1
                size += len(message)
            elif is_end(error):
                after = max(after, offset)
            else:
                self._report(place, error)
                continue
            by_place[place] = (records, after, size)
        arrivals: list[Arrival] = []
        for place, (records, after, size) in by_place.items():
            reading = self._readings.get(place)
            if reading is not None:
                reading.after = after
                arrivals.append(Arrival(reading.owner, reading.topic, records, after, size))
        return arrivals

    def _report(self, place: Place, error: KafkaError) -> None:
        log.warning("fetch.failed", topic=place[0], partition=place[1], error=error.str()[:300])
        reading = self._readings.get(place)
        if reading is not None:
            self._loop.call_soon_threadsafe(self._on_error, reading.owner, KafkaException(error))
