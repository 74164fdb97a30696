"""Fence the worker that had a partition before, and read the partition's rows back, read-committed, to its end."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from threading import BoundedSemaphore

import structlog
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, IsolationLevel, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from agents.brain import Brain, RestoresAll
from streams.engine.restore_process import RestoredRows, RestoreProcesses, count_of, read, read_rows, reader
from streams.kafka.consumer import LIBRDKAFKA

__all__ = ["fenced_producer", "list_offsets", "offsets", "read_rows", "read_state", "reader"]

log = structlog.get_logger()

# One slice may hold a whole step of a replay.
MAX_MESSAGES, MAX_KBYTES = 2_000_000, 1 << 20
MAX_MESSAGE_BYTES = 8 << 20
FENCE_TIMEOUT_S = 30.0
OFFSETS_TIMEOUT_S = 10.0
MANY_ROWS = 20_000
"""From so many records on a process of its own reads and packs a partition: Python uses one core, and memory that was torn to
pieces by millions of rows that came and went goes back as a whole."""
_HELPERS = BoundedSemaphore(max(1, (os.cpu_count() or 1)))


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


def read_state(kafka: Mapping[str, str], topic: str, partition: int, brain: Brain, readers: RestoreProcesses) -> RestoredRows:
    """A partition's rows as ``brain`` takes them over; ``readers`` read many. Raises KafkaException, ReadingFailedError."""
    prepare = brain.pack_snapshot if isinstance(brain, RestoresAll) else None
    if prepare is None or count_of(kafka, topic, partition) < MANY_ROWS:
        return read(kafka, topic, partition, prepare)
    with _HELPERS:
        return readers.read(kafka, topic, partition, prepare)


def offsets(kafka: Mapping[str, str], places: Sequence[tuple[str, int]], *, first: bool = False) -> dict[tuple[str, int], int]:
    """The read-committed end of each (topic, partition), or the oldest offset that it still has. Raises KafkaException."""
    # Not by a new AdminClient: one in ten of them answers this only after 3 s, when librdkafka looks for the leaders again
    # (measured), and nothing is applied until then.
    consumer = reader(kafka)
    spec = OFFSET_BEGINNING if first else OFFSET_END
    try:
        answers = consumer.offsets_for_times([TopicPartition(*place, spec) for place in places], OFFSETS_TIMEOUT_S)
    finally:
        consumer.close()
    for answer in answers:
        if answer.error is not None:
            raise KafkaException(answer.error)
    return {(answer.topic, answer.partition): answer.offset for answer in answers}


def list_offsets(admin: AdminClient, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The same ends by a client that is there already: one request per broker."""
    spec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(topic, partition): spec for topic, partition in places}
    answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=OFFSETS_TIMEOUT_S)
    return {(place.topic, place.partition): answer.result().offset for place, answer in answers.items()}
