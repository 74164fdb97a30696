"""Send records by hand, and know that they arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.kafka.topics import full_name

if TYPE_CHECKING:
    from streams.settings import Settings

TIMEOUT_S = 30.0
AT_ONCE = 500

Headers = Sequence[tuple[str, bytes]]


def send(settings: Settings, topic: str, key: bytes | None, value: bytes, headers: Headers, partition: int = -1) -> str:
    """The topic's name on the broker, once the record is there; partition -1 = by the key. Raises KafkaException."""
    send_all(settings, [(topic, key, value, headers)], partition=partition)
    return full_name(settings.prefix, topic)


def send_all(
    settings: Settings,
    records: Iterable[tuple[str, bytes | None, bytes, Headers]],
    arrived: Callable[[], None] = lambda: None,
    partition: int = -1,
) -> None:
    """Records (topic without prefix, key, value, headers) in their order; ``arrived`` for each that is there.

    Raises KafkaException for the first that is not; those before it are.
    """
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is None:
            arrived()
        else:
            failed.append(error)

    config = {"partitioner": "murmur2_random", "message.timeout.ms": int(TIMEOUT_S * 1000), "enable.idempotence": True}
    producer = Producer({**settings.for_librdkafka(), **config})
    for number, (topic, key, value, headers) in enumerate(records, 1):
        sent: list[tuple[str, bytes | str | None]] = list(headers)
        producer.produce(full_name(settings.prefix, topic), value, key, partition, headers=sent or None, on_delivery=delivered)
        if number % AT_ONCE == 0:
            _flush(producer, failed)
    _flush(producer, failed)


def _flush(producer: Producer, failed: list[KafkaError]) -> None:
    producer.flush(TIMEOUT_S + 1)
    if failed:
        raise KafkaException(failed[0])
