"""The sink's loop: read records and make rows, while a thread writes the batch before and then how far it got."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.clickhouse.rows import Rows, SinkRecord, rows_of
from schemas.clickhouse.tables import TOPICS_READ
from streams.kafka.consumer import Consumer
from streams.kafka.headers import read_headers
from streams.kafka.topics import full_name
from streams.sink.progress import REPORTED_TABLES, BatchEnd, Progress
from streams.sink.start import METADATA_TIMEOUT_S, StoredPositions, topic_ids, wait_for_topics
from streams.sink.writer import Batch, BatchWriter

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from streams.metrics import Metrics
    from streams.settings import Settings

log = structlog.get_logger(__name__)

BATCH_ROWS = 20_000
BATCH_S, REPLAY_BATCH_S = 0.5, 2.0
POLL_RECORDS = 5_000
POLL_S = 0.1
MEASURE_S = 5.0

CONSUMER = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    # An offset that is not there (any more) means: from the start. Reading twice changes nothing.
    "auto.offset.reset": "earliest",
    # Few large answers instead of many small ones: a poll over all topics costs the broker more than what it brings.
    "fetch.min.bytes": 262_144,
    "fetch.wait.max.ms": 250,
    "queued.min.messages": 20_000,
    # Memory stays bounded while ClickHouse is away.
    "queued.max.messages.kbytes": 65_536,
    "topic.metadata.refresh.interval.ms": 60_000,
    "log_level": 3,
}


class Sink:
    """Copies all topics into ClickHouse.

    One batch is written at a time, in the order in which they were ended. ``stop`` ends the loop after a last write.
    """

    def __init__(self, settings: Settings, client: Client, metrics: Metrics, stop: threading.Event) -> None:
        self.settings = settings
        self.progress = Progress()
        self._stop = stop
        self._client = client
        self._writer = BatchWriter(client, settings.database, metrics, stop)
        self._positions = StoredPositions(settings, client, stop)
        self._batch = Batch()
        self._thread = ThreadPoolExecutor(1, "sink-writer")
        self._write_in_flight: Future[None] | None = None
        self._batch_ended_at = 0.0
        self._metrics, self._measured_at = metrics, 0.0
        # Nobody looks while a replay runs: larger batches cost less. Live, what was sent can be asked for within two seconds.
        self._batch_s = REPLAY_BATCH_S if settings.mode == "replay" else BATCH_S
        self._topic_names: dict[str, str] = {full_name(settings.prefix, name): name for name in TOPICS_READ}
        self._consumer: Consumer | None = None

    def open(self) -> None:
        """Find the topics, and go to where the last run got to. Raises SinkError when a topic does not appear in time."""
        admin = AdminClient({**self.settings.for_librdkafka(), "log_level": 3})
        partitions = wait_for_topics(admin, self._topic_names, self.settings.bootstrap, self._stop)
        cluster_id = str(admin.list_topics(timeout=METADATA_TIMEOUT_S).cluster_id)
        self._positions = StoredPositions(self.settings, self._client, self._stop, cluster_id, topic_ids(admin, list(partitions)))
        self._consumer = self._new_consumer()
        positions = self._positions.read()
        starts = []
        for topic, count in partitions.items():
            for partition in range(count):
                offset = self._start_offset(self._consumer, topic, partition, positions.get((topic, partition)))
                self.progress.add_partition(self._topic_names[topic], partition, max(offset, 0))
                starts.append(TopicPartition(topic, partition, offset))
        if positions:
            self._positions.recall(self.progress)
        self._consumer.assign(starts)
        log.info("sink.started", prefix=self.settings.prefix, partitions=len(starts), resumed=len(positions))

    def _start_offset(self, consumer: Consumer, topic: str, partition: int, position: int | None) -> int:
        """The position of the last run; from the start where there is none, or where the log ends before it.

        Raises KafkaException where the broker does not say: to read years again is no answer to that.
        """
        if position is None:
            return OFFSET_BEGINNING
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=METADATA_TIMEOUT_S)
        return position if position <= end else OFFSET_BEGINNING

    def _new_consumer(self) -> Consumer:
        return Consumer({**CONSUMER, **self.settings.for_librdkafka(), "group.id": full_name(self.settings.prefix, "sink")})

    def _replace_consumer(self, consumer: Consumer) -> None:
        """Read on with a new consumer, behind what was read."""
        log.warning("sink.renewed", prefix=self.settings.prefix)
        consumer.close(0.0)
        self._consumer = self._new_consumer()
        prefix, offsets = self.settings.prefix, self.progress.offsets()
        self._consumer.assign([TopicPartition(full_name(prefix, topic), n, offset) for topic, n, offset, _ in offsets])

    def close(self) -> None:
        """End the thread that writes. When the loop has broken off, ClickHouse is not waited for: what it lacks is read again."""
        self._stop.set()
        self._thread.shutdown()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def run(self) -> None:
        """Copy until ``stop`` is set. Raises the last error of ClickHouse when it does not take the last batch."""
        while not self._stop.is_set():
            self.turn()
        self.flush()

    def turn(self, poll_s: float = POLL_S) -> None:
        """One round: fetch what there is, and hand it over when enough was read or the last batch ended long enough ago.

        While a batch is written the next one grows, up to BATCH_ROWS. Raises what ended the last write.
        """
        if self._consumer is None:
            raise RuntimeError("the sink is not open")
        self._take(self._consumer.consume(POLL_RECORDS, poll_s))
        self._measure(self._consumer)
        if self._consumer.is_lost:
            self._replace_consumer(self._consumer)
        is_full = self._batch.count >= BATCH_ROWS
        if is_full or self._is_idle():
            self._await_write()
            is_old = time.monotonic() - self._batch_ended_at >= self._batch_s and self.progress.has_unwritten
            if is_full or is_old:
                self._hand_over()

    def _measure(self, consumer: Consumer) -> None:
        """Now and then, report how far ClickHouse is behind the ends that the broker's last answers named."""
        if time.monotonic() < self._measured_at + MEASURE_S:
            return
        self._measured_at = time.monotonic()
        lags: Counter[str] = Counter()
        for topic, partition, _, next_unwritten in self.progress.offsets():
            place = TopicPartition(full_name(self.settings.prefix, topic), partition)
            _, end = consumer.get_watermark_offsets(place, cached=True)
            lags[topic] += max(0, end - next_unwritten)
        for topic, lag in lags.items():
            self._metrics.sink_lag.labels(topic).set(lag)

    def flush(self) -> None:
        """Write what was read, then the positions; returns when ClickHouse has it."""
        self._await_write()
        self._hand_over()
        self._await_write()

    def _is_idle(self) -> bool:
        return self._write_in_flight is None or self._write_in_flight.done()

    def _await_write(self) -> None:
        """Wait until the batch before is in ClickHouse, with its positions. Raises what ended its write."""
        write, self._write_in_flight = self._write_in_flight, None
        if write is not None:
            write.result()

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, Batch()
        self._batch_ended_at = time.monotonic()
        self._write_in_flight = self._thread.submit(self._write, batch, self.progress.end_batch())

    def _write(self, batch: Batch, batch_end: BatchEnd) -> None:
        self._writer.write(batch, self._positions.rows(batch_end.offsets))
        self.progress.on_written(batch_end)

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            topic, partition, offset = message.topic(), int(message.partition() or 0), int(message.offset() or 0)
            error = message.error()
            if error is None:
                name = self._topic_names[str(topic)]
                self._batch.add(self._rows(name, partition, offset, message))
                self.progress.on_record(name, partition, offset + 1)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the only name that the library has for it
                self.progress.on_end(self._topic_names[str(topic)], partition, offset)
            elif error.fatal():
                raise KafkaException(error)
            else:  # of a partition, or of no topic at all: the library goes on by itself
                log.warning("kafka.error", topic=topic, partition=partition, error=str(error))

    def _rows(self, topic: str, partition: int, offset: int, message: Message) -> Rows:
        key, value = _bytes(message.key()), _bytes(message.value())
        rows = rows_of(SinkRecord(topic, partition, offset, key, value, read_headers(message), self.settings.prefix))
        for table, row in rows:
            if table in REPORTED_TABLES:
                self.progress.on_row(table, row)
        return rows


def _bytes(raw: str | bytes | None) -> bytes | None:
    return raw.encode() if isinstance(raw, str) else raw
