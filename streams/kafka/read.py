"""Read topics outside any consumer group: read-committed, from an offset to the present end, and where the ends are.

Every other reader takes from here how the library reports the end of a partition (``is_end``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, Message, TopicPartition

from streams.kafka.consumer import Consumer

BATCH = 5_000
POLL_S = 0.05
"""``consume`` waits for a full batch or its time-out, also at the end: a long one would delay every take-over."""
SILENCE_S = 10.0
"""A reader that gets nothing for so long is given up. Its broker is away; or there is nothing that librdkafka knows of to wait
for: a reader as old as its topics got nothing of three out of four partitions until it was closed, once in 311 (measured)."""
WATERMARK_S = 10.0
TAIL = 64
"""So many offsets before the end are read first for a row that is written last."""
OFFSETS_TIMEOUT_S = 10.0

TIMED_OUT = KafkaError._TIMED_OUT  # noqa: SLF001 - the library has no public name for it
_END = KafkaError._PARTITION_EOF  # noqa: SLF001 - the library has no public name for it

Place = tuple[str, int]
"""A topic as the broker calls it, and a partition."""


def is_end(error: KafkaError) -> bool:
    """Whether a message's "error" only reports that its partition was read to its end; its offset is the end."""
    return error.code() == _END


def reader(kafka: Mapping[str, str], **properties: str | int) -> Consumer:
    """A read-committed consumer outside any group; ``properties``: librdkafka's, with underscores for dots."""
    return Consumer(
        {
            **kafka,
            "group.id": "duewatch-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            **{name.replace("_", "."): value for name, value in properties.items()},
        }
    )


def to_the_end(consumer: confluent_kafka.Consumer) -> Iterator[Message]:
    """All records of the partitions that a ``reader`` is assigned, to their present ends, each partition's in their order.

    Raises KafkaException, also when nothing comes for SILENCE_S: with what is missing, and the code TIMED_OUT.
    """
    missing = {(place.topic, place.partition) for place in consumer.assignment()}
    silent_s = 0.0
    while missing:
        messages = consumer.consume(BATCH, POLL_S)
        # Counted, not taken from a clock: a process that was frozen has not listened.
        silent_s = 0.0 if messages else silent_s + POLL_S
        if silent_s > SILENCE_S:
            raise _silence(missing)
        for message in messages:
            error = message.error()
            if error is None:
                yield message
            elif is_end(error):
                missing.discard((str(message.topic()), int(message.partition() or 0)))
            else:
                raise KafkaException(error)


def _silence(missing: Collection[Place]) -> KafkaException:
    names = ", ".join(f"{topic}/{partition}" for topic, partition in sorted(missing)[:3])
    rest = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    reason = f"no record and no end of {names}{rest} came within {SILENCE_S:.0f} s: is the broker there? Else try again"
    return KafkaException(KafkaError(TIMED_OUT, reason))


def records(kafka: Mapping[str, str], topic: str, partition: int) -> Iterator[tuple[str, bytes | None]]:
    """Key and value (None = deleted) of all records up to the partition's end, in their order. Raises KafkaException."""
    # One partition with everything in it: large answers, and enough of them ahead of what Python takes. When its queue is full,
    # librdkafka looks again after a second, if it is not told otherwise.
    consumer = reader(
        kafka,
        fetch_message_max_bytes=16 << 20,
        queued_min_messages=1_000_000,
        queued_max_messages_kbytes=64 << 10,
        fetch_queue_backoff_ms=10,
    )
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        for message in to_the_end(consumer):
            key = message.key()
            yield "" if key is None else key.decode(), message.value()
    finally:
        consumer.close()


def read_rows(kafka: Mapping[str, str], topic: str, partition: int) -> dict[str, bytes]:
    """The last value of each key of a compacted topic's partition; deleted ones are left out. Raises KafkaException."""
    rows: dict[str, bytes] = {}
    for key, value in records(kafka, topic, partition):
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
    return rows


def last_values(kafka: Mapping[str, str], places: Sequence[Place], key: str) -> dict[Place, bytes]:
    """The last value of one key in each partition that has it. Quick where it lies near the end. Raises KafkaException."""
    values: dict[Place, bytes] = {}
    starts, stops, count = offsets(kafka, places, first=True), offsets(kafka, places), TAIL
    spans = {place: (starts[place], stops[place]) for place in places}
    consumer = reader(kafka)
    try:
        while spans := {place: (first, end) for place, (first, end) in spans.items() if first < end and place not in values}:
            consumer.assign([TopicPartition(*place, max(first, end - count)) for place, (first, end) in spans.items()])
            for message in to_the_end(consumer):
                value = message.value()
                if message.key() == key.encode() and value is not None:
                    values[str(message.topic()), int(message.partition() or 0)] = value
            # What has been read without it need not be read again.
            spans = {place: (first, end - count) for place, (first, end) in spans.items()}
            count *= 16
    finally:
        consumer.close()
    return values


def count_of(kafka: Mapping[str, str], topic: str, partition: int) -> int:
    """How many records a partition holds at most: offsets between its ends. Raises KafkaException."""
    consumer = reader(kafka)
    try:
        first, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=WATERMARK_S)
    finally:
        consumer.close()
    return end - first


def offsets(kafka: Mapping[str, str], places: Sequence[Place], *, first: bool = False) -> dict[Place, int]:
    """The read-committed end of each partition, or (``first``) the oldest offset that it still has. Raises KafkaException."""
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
