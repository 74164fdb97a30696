"""Copy every event, in and out, into ClickHouse: one process per prefix, which goes on where it stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicCollection, TopicPartition

from schemas.clickhouse.rows import TOPICS_READ, Record, Row, Rows, position_row, rows_of
from streams.clickhouse.client import open_client, patiently, quoted
from streams.clickhouse.migrate import migrate
from streams.errors import UserError
from streams.kafka.admin import ERRORS, admin_client
from streams.kafka.consumer import Consumer
from streams.kafka.headers import read_headers
from streams.kafka.read import is_end
from streams.kafka.topics import full_name
from streams.logs import configure_logs
from streams.metrics import Metrics
from streams.process.garbage import keep_many_rows
from streams.sink.progress import Cut, Place, Progress
from streams.sink.server import SinkWeb
from streams.sink.writer import Batch, Writer

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from confluent_kafka.admin import AdminClient

    from streams.settings import Settings

log = structlog.get_logger(__name__)

BATCH_ROWS = 20_000
BATCH_S, REPLAY_BATCH_S = 0.5, 2.0
POLL_RECORDS = 5_000
POLL_S = 0.1
TOPICS_TIMEOUT_S = 60.0
METADATA_TIMEOUT_S = 10.0
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
_NO_IDS = {KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION}  # noqa: SLF001 - the library's spelling


class SinkError(UserError):
    """The sink cannot start; the message says why and what to do."""


class Sink:
    """The loop: fetch and make rows, while a thread writes the batch before, then remembers how far it got.

    One batch is written at a time, in the order in which they were cut. ``stop`` ends it after a last write.
    """

    def __init__(self, settings: Settings, client: Client, metrics: Metrics, stop: threading.Event) -> None:
        self.settings = settings
        self.progress = Progress()
        self._stop = stop
        self._client = client
        self._writer = Writer(client, settings.database, metrics, stop)
        self._batch = Batch()
        self._thread = ThreadPoolExecutor(1, "sink-writer")
        self._writing: Future[None] | None = None
        self._cut_at = 0.0
        self._metrics, self._measured_at = metrics, 0.0
        # Nobody looks while a replay runs: larger batches cost less. Live, what was sent can be asked for within two seconds.
        self._batch_s = REPLAY_BATCH_S if settings.mode == "replay" else BATCH_S
        self._named: dict[str, str] = {full_name(settings.prefix, name): name for name in TOPICS_READ}
        self._topic_ids: dict[str, str] = {}
        self._cluster_id = ""
        self._consumer: Consumer | None = None

    def open(self) -> None:
        """Find the topics, and go to where the last run got to. Raises SinkError when they are not there in time."""
        admin = admin_client(self.settings.for_librdkafka(), ERRORS)
        partitions = self._await_topics(admin)
        self._cluster_id = str(admin.list_topics(timeout=METADATA_TIMEOUT_S).cluster_id)
        self._topic_ids = _topic_ids(admin, list(partitions))
        self._consumer = self._new_consumer()
        resumed = self._positions()
        starts = []
        for topic, count in partitions.items():
            for partition in range(count):
                offset = self._start(topic, partition, resumed.get((topic, partition)))
                self.progress.add(self._named[topic], partition, max(offset, 0))
                starts.append(TopicPartition(topic, partition, offset))
        if resumed:
            self._recall()
        self._consumer.assign(starts)
        log.info("sink.started", prefix=self.settings.prefix, partitions=len(starts), resumed=len(resumed))

    def _new_consumer(self) -> Consumer:
        return Consumer({**CONSUMER, **self.settings.for_librdkafka(), "group.id": full_name(self.settings.prefix, "sink")})

    def _renew(self, lost: Consumer) -> None:
        """Read on with a new consumer, behind what is gathered."""
        log.warning("sink.renewed", prefix=self.settings.prefix)
        lost.close(0.0)
        self._consumer = self._new_consumer()
        prefix, places = self.settings.prefix, self.progress.places()
        self._consumer.assign([TopicPartition(full_name(prefix, topic), n, read) for topic, n, read, _ in places])

    def close(self) -> None:
        """End the thread that writes. When the loop has broken off, ClickHouse is not waited for: what it lacks is read again."""
        self._stop.set()
        self._thread.shutdown()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def run(self) -> None:
        """Until ``stop`` is set. Raises what ClickHouse last said when it does not take the last batch."""
        while not self._stop.is_set():
            self.turn()
        self.flush()

    def turn(self, poll_s: float = POLL_S) -> None:
        """One round: fetch what there is, and hand it over when enough is gathered or the last batch was cut long enough ago.

        While a batch is written the next one gathers, up to BATCH_ROWS. Raises what ended the last write.
        """
        if self._consumer is None:
            raise RuntimeError("the sink is not open")
        self._take(self._consumer.consume(POLL_RECORDS, poll_s))
        self._measure(self._consumer)
        if self._consumer.is_lost:
            self._renew(self._consumer)
        is_full = self._batch.count >= BATCH_ROWS
        if is_full or self._is_idle():
            self._await_write()
            is_old = time.monotonic() - self._cut_at >= self._batch_s and self.progress.unwritten
            if is_full or is_old:
                self._hand_over()

    def _measure(self, consumer: Consumer) -> None:
        """Now and then, tell how far ClickHouse is behind the ends that the last answers of the broker told."""
        if time.monotonic() < self._measured_at + MEASURE_S:
            return
        self._measured_at = time.monotonic()
        lags: Counter[str] = Counter()
        for topic, partition, _, written in self.progress.places():
            place = TopicPartition(full_name(self.settings.prefix, topic), partition)
            _, end = consumer.get_watermark_offsets(place, cached=True)
            lags[topic] += max(0, end - written)
        for topic, lag in lags.items():
            self._metrics.sink_lag.labels(topic).set(lag)

    def flush(self) -> None:
        """Write what is gathered, then the positions; returns when it is there."""
        self._await_write()
        self._hand_over()
        self._await_write()

    def _is_idle(self) -> bool:
        return self._writing is None or self._writing.done()

    def _await_write(self) -> None:
        """Until the batch before is in ClickHouse, with its positions. Raises what ended its write."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, Batch()
        self._cut_at = time.monotonic()
        self._writing = self._thread.submit(self._write, batch, self.progress.cut())

    def _write(self, batch: Batch, cut: Cut) -> None:
        self._writer.write(batch, self._position_rows(cut.places))
        self.progress.written(cut)

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            topic, partition, offset = message.topic(), int(message.partition() or 0), int(message.offset() or 0)
            error = message.error()
            if error is None:
                name = self._named[str(topic)]
                self._batch.add(self._rows(name, partition, offset, message))
                self.progress.read(name, partition, offset + 1)
            elif is_end(error):
                self.progress.at_end(self._named[str(topic)], partition, offset)
            elif error.fatal():
                raise KafkaException(error)
            else:  # of a partition, or of no topic at all: the library goes on by itself
                log.warning("kafka.error", topic=topic, partition=partition, error=str(error))

    def _rows(self, topic: str, partition: int, offset: int, message: Message) -> Rows:
        key, value = _bytes(message.key()), _bytes(message.value())
        record = Record(topic, partition, offset, key, value, read_headers(message), self.settings.prefix)
        rows = rows_of(record, orjson.loads)
        for table, row in rows:
            if table in {"ticks", "journal_raw"}:
                self.progress.gathered(table, row)
        return rows

    def _await_topics(self, admin: AdminClient) -> dict[str, int]:
        """Topic on the broker -> partitions. Somebody else creates them, perhaps this very moment."""
        deadline, missing = time.monotonic() + TOPICS_TIMEOUT_S, set(self._named)
        while not self._stop.is_set():
            try:
                there = admin.list_topics(timeout=METADATA_TIMEOUT_S).topics
            except KafkaException as error:
                there = {}
                log.warning("kafka.away", error=str(error))
            found = {name: len(topic.partitions) for name, topic in there.items() if topic.error is None and topic.partitions}
            missing = set(self._named) - set(found)
            if not missing:
                return {name: found[name] for name in self._named}
            if time.monotonic() > deadline:
                break
            self._stop.wait(0.2)
        raise SinkError(
            f"topics are missing on {self.settings.bootstrap}: {', '.join(sorted(missing))}. Create them: duewatch topics"
        )

    def _positions(self) -> dict[tuple[str, int], int]:
        """(topic, partition) -> next offset, of this very cluster and these very topics."""
        found = self._query(
            "SELECT topic_id, topic, partition, argMax(next_offset, written_at) FROM {database}.sink_positions "
            "WHERE cluster_id = {cluster:String} GROUP BY topic_id, topic, partition",
            {"cluster": self._cluster_id},
        )
        return {(topic, n): offset for topic_id, topic, n, offset in found if self._topic_ids.get(topic) == topic_id}

    def _start(self, topic: str, partition: int, position: int | None) -> int:
        """The position of the last run; from the start where there is none, or where the log ends before it.

        Raises KafkaException where the broker does not say: to read years again is no answer to that.
        """
        if position is None or self._consumer is None:
            return OFFSET_BEGINNING
        _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=METADATA_TIMEOUT_S)
        return position if position <= end else OFFSET_BEGINNING

    def _recall(self) -> None:
        """Ticks and journal as far as the last run wrote them."""
        prefix = {"prefix": self.settings.prefix}
        ticks = self._query(
            "SELECT partition, number, toString(time), step, last FROM {database}.ticks FINAL WHERE prefix = {prefix:String}",
            prefix,
        )
        for partition, number, at, step, last in ticks:
            self.progress.recall_tick(partition, number, at.replace(" ", "T") + "Z", step, last)
        journal = self._query(
            "SELECT agent, agent_partition, max(tick) FROM {database}.journal_raw "
            "WHERE prefix = {prefix:String} AND tick IS NOT NULL GROUP BY agent, agent_partition",
            prefix,
        )
        for agent, partition, tick in journal:
            self.progress.recall_journal(agent, partition, tick)

    def _query(self, sql: str, parameters: dict[str, str]) -> list[Any]:
        text = sql.replace("{database}", quoted(self.settings.database))
        told = patiently(lambda: self._client.query(text, parameters=parameters), self._stop, _told)
        return list(told.result_rows)

    def _position_rows(self, reached: Iterable[Place]) -> list[Row]:
        now = datetime.now(UTC)
        rows = []
        for topic, partition, offset in reached:
            name = full_name(self.settings.prefix, topic)
            rows.append(position_row(self._cluster_id, self._topic_ids.get(name, ""), name, partition, offset, now))
        return rows


def _told(error: Exception, pause_s: float) -> None:
    log.warning("clickhouse.away", error=str(error)[:300], again_in_s=pause_s)


def _bytes(raw: str | bytes | None) -> bytes | None:
    return raw.encode() if isinstance(raw, str) else raw


def _topic_ids(admin: AdminClient, topics: list[str]) -> dict[str, str]:
    """Topic -> the broker's id of it, empty where the broker has none: a topic made again is another. Raises KafkaException."""
    try:
        told = admin.describe_topics(TopicCollection(topics), request_timeout=METADATA_TIMEOUT_S)
        return {name: str(future.result().topic_id or "") for name, future in told.items()}
    except KafkaException as error:
        if error.args[0].code() in _NO_IDS:
            return dict.fromkeys(topics, "")
        raise  # taken for "none", every position would be void, and years be read again


def run(settings: Settings, metrics_port: int | None = None) -> int:
    """Run until SIGTERM or Ctrl-C; 0 when all that was read is in ClickHouse. Raises UserError when it cannot start."""
    configure_logs(settings.log_format, settings.log_level)
    keep_many_rows()
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    with ExitStack() as opened:
        client = _open(settings, stop)
        opened.callback(client.close)
        for migration in migrate(client, settings.database):
            log.info("clickhouse.migrated", migration=migration.name)
        metrics = Metrics()
        if metrics_port is not None:
            metrics.serve(metrics_port, settings.web_bind)
        sink = Sink(settings, client, metrics, stop)
        opened.callback(sink.close)
        opened.enter_context(SinkWeb(settings, sink.progress, metrics))
        try:
            sink.open()
        except SinkError:
            if stop.is_set():
                return 0
            raise
        sink.run()
    log.info("sink.stopped")
    return 0


def _open(settings: Settings, stop: threading.Event) -> Client:
    """A server may be away for a while; the engine in this process is there, or says why not.

    Not on the sink's own database, which may not be there yet: the statements name it.
    """
    dsn = settings.clickhouse.get_secret_value()
    if dsn.startswith("chdb:"):
        return open_client(dsn)
    return patiently(lambda: open_client(dsn, "default"), stop, _told)
