"""Fence the worker that had a partition before, and read the partition's rows back, read-committed, to its end."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import structlog
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.logs import LIBRDKAFKA

log = structlog.get_logger()

# One slice may hold a whole step of a replay.
MAX_MESSAGES, MAX_KBYTES = 2_000_000, 1 << 20
MAX_MESSAGE_BYTES = 8 << 20
FENCE_TIMEOUT_S = 30.0
OFFSETS_TIMEOUT_S = 10.0
BATCH = 5_000


def fenced_producer(kafka: Mapping[str, str], transactional_id: str, timeout_ms: int = 10_000) -> Producer:
    """A transactional producer; whoever used the same id before is fenced, and what it left open is aborted."""
    producer = Producer(
        {
            **kafka,
            "linger.ms": 5,  # a commit flushes at once; until then larger batches form
            "partitioner": "murmur2_random",
            "transactional.id": transactional_id,
            "transaction.timeout.ms": timeout_ms,
            "queue.buffering.max.messages": MAX_MESSAGES,
            "queue.buffering.max.kbytes": MAX_KBYTES,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "reconnect.backoff.max.ms": 1_000,
        },
        logger=logging.getLogger(LIBRDKAFKA),
    )
    producer.init_transactions(FENCE_TIMEOUT_S)
    return producer


def reader(kafka: Mapping[str, str], **more: str | int) -> Consumer:
    """A read-committed consumer outside any group; ``more``: properties of librdkafka, with underscores for dots."""
    return Consumer(
        {
            **kafka,
            "group.id": "duewatch-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            **{name.replace("_", "."): value for name, value in more.items()},
        },
        logger=logging.getLogger(LIBRDKAFKA),
    )


def read_rows(kafka: Mapping[str, str], topic: str, partition: int) -> dict[str, bytes]:
    """The last value of each key, to the partition's end; deleted ones are left out. Raises KafkaException."""
    # One partition with everything in it: large answers, and enough of them ahead of what Python takes.
    consumer = reader(kafka, fetch_message_max_bytes=16 << 20, queued_min_messages=1_000_000, queued_max_messages_kbytes=32 << 10)
    rows: dict[bytes, bytes] = {}
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        while True:
            # The call waits for a full batch or its time-out, also at the end: a long one would delay every take-over.
            for message in consumer.consume(BATCH, 0.05):
                value = message.value()
                error = message.error()
                if error is None:
                    key = message.key() or b""
                    if value is None:
                        rows.pop(key, None)
                    else:
                        rows[key] = value
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - that is how the library spells it
                    return {key.decode(): value for key, value in rows.items()}
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()


def offsets(kafka: Mapping[str, str], places: Sequence[tuple[str, int]], *, first: bool = False) -> dict[tuple[str, int], int]:
    """The read-committed end of each (topic, partition), or the oldest offset that it still has. Raises KafkaException."""
    admin = AdminClient({**kafka, "log_level": 0})
    return list_offsets(admin, places, first=first)


def list_offsets(admin: AdminClient, places: Sequence[tuple[str, int]], *, first: bool = False) -> dict[tuple[str, int], int]:
    """The same by a client that is there already: one request per broker."""
    spec = OffsetSpec.earliest() if first else OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(topic, partition): spec for topic, partition in places}
    answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=OFFSETS_TIMEOUT_S)
    return {(place.topic, place.partition): answer.result().offset for place, answer in answers.items()}
