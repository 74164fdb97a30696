"""Producers: records sent by hand that are known to have arrived, and transactions whose writer fences the one before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.kafka.consumer import LIBRDKAFKA
from streams.kafka.topics import full_name

if TYPE_CHECKING:
    from streams.settings import Settings

TIMEOUT_S = 30.0
AT_ONCE = 500
# One slice may hold a whole step of a replay.
MAX_MESSAGES, MAX_KBYTES = 2_000_000, 1 << 20
MAX_MESSAGE_BYTES = 8 << 20
FENCE_TIMEOUT_S = 30.0

Headers = Sequence[tuple[str, bytes]]


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


def send(settings: Settings, topic: str, key: bytes | None, value: bytes, headers: Headers, partition: int = -1) -> str:
    """Send one record, and return its topic's name on the broker once it is there; partition -1 = by the key.

    Raises KafkaException.
    """
    send_all(settings, [(topic, key, value, headers)], partition=partition)
    return full_name(settings.prefix, topic)


def send_all(
    settings: Settings,
    records: Iterable[tuple[str, bytes | None, bytes, Headers]],
    on_delivered: Callable[[], None] = lambda: None,
    partition: int = -1,
) -> None:
    """Send records (topic without prefix, key, value, headers) in their order, and wait until they are there.

    ``on_delivered`` is called for each that is. Raises KafkaException for the first that is not; those before it are.
    """
    failed: list[KafkaError] = []

    def on_report(error: KafkaError | None, _message: Message) -> None:
        if error is None:
            on_delivered()
        else:
            failed.append(error)

    config = {"partitioner": "murmur2_random", "message.timeout.ms": int(TIMEOUT_S * 1000), "enable.idempotence": True}
    producer = Producer({**settings.for_librdkafka(), **config})
    for number, (topic, key, value, headers) in enumerate(records, 1):
        pairs: list[tuple[str, bytes | str | None]] = list(headers)
        producer.produce(full_name(settings.prefix, topic), value, key, partition, headers=pairs or None, on_delivery=on_report)
        if number % AT_ONCE == 0:
            _flush(producer, failed)
    _flush(producer, failed)


def _flush(producer: Producer, failed: list[KafkaError]) -> None:
    producer.flush(TIMEOUT_S + 1)
    if failed:
        raise KafkaException(failed[0])
