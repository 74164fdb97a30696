"""Send one record by hand, and know that it arrived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.topics import full_name

if TYPE_CHECKING:
    from streams.settings import Settings

TIMEOUT_S = 30.0


def send(settings: Settings, topic: str, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]) -> str:
    """The topic's name on the broker, once the record is there. Raises KafkaException."""
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    timeout_ms = int(TIMEOUT_S * 1000)
    producer = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random", "message.timeout.ms": timeout_ms})
    name = full_name(settings.prefix, topic)
    sent: list[tuple[str, bytes | str | None]] = list(headers)
    producer.produce(name, value, key, headers=sent or None, on_delivery=delivered)
    producer.flush(TIMEOUT_S + 1)
    if failed:
        raise KafkaException(failed[0])
    return name
