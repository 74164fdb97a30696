"""Let a partition read a source topic on that it had paused, because too much of it was broken (D10)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import orjson
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.events.clock import SourceResumed
from schemas.events.envelope import Output
from streams.audit.sink_wait import deployed
from streams.engine.restore import offsets, reader
from streams.errors import UsageError, UserError
from streams.kafka.codec import encode
from streams.kafka.producer import send
from streams.kafka.topics import full_name
from streams.recompute.journal import agent_specs

if TYPE_CHECKING:
    from streams.engine.spec import AgentSpec
    from streams.settings import Settings

LAST_RECORDS = 500
READ_S = 10.0


def resume(settings: Settings, topic: str, partition: int, owner: str, reason: str | None) -> str:
    """Write the resumption among the partition's ticks: from there on it reads on, with nothing counted against it.

    Nothing is skipped: what is broken becomes a dead letter, and too much of it pauses the topic again. Raises UsageError,
    UserError when it is not paused, KafkaException.
    """
    if topic not in (known := readers(settings)):
        raise UsageError(f"{topic!r} is no source topic: name one of {', '.join(known)}")
    settings = deployed(settings)
    spec = readers(settings)[topic]
    if not 0 <= partition < spec.partitions:
        raise UsageError(f"{topic} has no partition {partition}: its partitions are 0 to {spec.partitions - 1}")
    if topic not in paused_now(settings, spec.name, partition):
        raise UserError(f"{topic}/{partition} is not paused: GET /health/ready of a worker, and the journal, tell what is")
    at = datetime.now(UTC)
    data = SourceResumed(topic=topic, owner=owner, reason=reason)
    value, headers = encode(Output(spec.clock, str(partition), "duewatch.source.resumed.v1", str(uuid4()), at, at, data))
    send(settings, spec.clock, str(partition).encode(), value, headers, partition)
    return f"{topic}/{partition} is read on; `duewatch dead-letters list` tells whether it stays so"


def readers(settings: Settings) -> dict[str, AgentSpec]:
    """Source topic -> the agent that reads it."""
    return {source: spec for spec in agent_specs(settings) for source in spec.sources}


def paused_now(settings: Settings, agent: str, partition: int) -> tuple[str, ...]:
    """The topics that the last slice of this agent's partition left paused, by the journal. Raises UserError, KafkaException."""
    kafka, name = settings.for_librdkafka(), full_name(settings.prefix, "journal")
    end = offsets(kafka, [(name, partition)])[name, partition]
    first = offsets(kafka, [(name, partition)], first=True)[name, partition]
    consumer = reader(kafka)
    paused: tuple[str, ...] = ()
    try:
        # Offsets count markers: half of them, at most, are records.
        consumer.assign([TopicPartition(name, partition, max(first, end - 2 * LAST_RECORDS))])
        while True:
            message = consumer.poll(READ_S)
            if message is None:
                raise UserError(f"{name} cannot be read: is the broker at {settings.bootstrap}?")
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's spelling
                    return paused
                # Not the end: the slice that paused or resumed the topic may still lie ahead.
                raise KafkaException(error)
            told = orjson.loads(message.value() or b"{}")
            if told.get("agent") == agent:
                paused = tuple(told["paused"])
    finally:
        consumer.close()
