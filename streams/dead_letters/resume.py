"""Let a partition continue to read a source topic that it has paused, because too many of its records were broken."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import orjson
from confluent_kafka import KafkaException, TopicPartition

from schemas.events.clock import SourceResumed
from schemas.events.envelope import Output
from streams.engine.agents import agent_specs
from streams.errors import UsageError, UserError
from streams.kafka.codec import encode
from streams.kafka.producer import send
from streams.kafka.read import TIMED_OUT, offsets, reader, to_the_end
from streams.kafka.topics import deployed, full_name

if TYPE_CHECKING:
    from streams.engine.spec import AgentSpec
    from streams.settings import Settings

LAST_RECORDS = 500


def resume(settings: Settings, topic: str, partition: int, owner: str, reason: str | None) -> str:
    """Write the resumption among the partition's ticks: from there on it reads the topic, and earlier records do not count.

    Nothing is skipped: what is broken becomes a dead letter, and too much of it pauses the topic again. Raises UsageError,
    UserError when it is not paused, KafkaException.
    """
    if topic not in (agents := reading_agents(settings)):
        raise UsageError(f"{topic!r} is not a source topic: use one of {', '.join(agents)}")
    settings = deployed(settings)
    spec = reading_agents(settings)[topic]
    if not 0 <= partition < spec.partitions:
        raise UsageError(f"{topic} has no partition {partition}: its partitions are 0 to {spec.partitions - 1}")
    if topic not in paused_topics(settings, spec.name, partition):
        raise UserError(f"{topic}/{partition} is not paused: GET /health/ready of a worker shows which topics are")
    now = datetime.now(UTC)
    data = SourceResumed(topic=topic, owner=owner, reason=reason)
    value, headers = encode(Output(spec.clock, str(partition), "duewatch.source.resumed.v1", str(uuid4()), now, now, data))
    send(settings, spec.clock, str(partition).encode(), value, headers, partition)
    return f"{topic}/{partition} is resumed; `duewatch dead-letters list` shows records that are rejected from now on"


def reading_agents(settings: Settings) -> dict[str, AgentSpec]:
    """Source topic -> the agent that reads it."""
    return {source: spec for spec in agent_specs(settings) for source in spec.sources}


def paused_topics(settings: Settings, agent: str, partition: int) -> tuple[str, ...]:
    """The topics that the last slice of this agent's partition left paused, by the journal. Raises UserError, KafkaException."""
    kafka, name = settings.for_librdkafka(), full_name(settings.prefix, "journal")
    end = offsets(kafka, [(name, partition)])[name, partition]
    first = offsets(kafka, [(name, partition)], first=True)[name, partition]
    consumer = reader(kafka)
    paused: tuple[str, ...] = ()
    try:
        # Offsets count markers: half of them, at most, are records.
        consumer.assign([TopicPartition(name, partition, max(first, end - 2 * LAST_RECORDS))])
        # Any other error than the end is raised: the slice that paused or resumed the topic may still lie ahead.
        for message in to_the_end(consumer):
            entry = orjson.loads(message.value() or b"{}")
            if entry.get("agent") == agent:
                paused = tuple(entry["paused"])
    except KafkaException as error:
        if error.args[0].code() == TIMED_OUT:
            raise UserError(f"{name} cannot be read: is the broker at {settings.bootstrap}?") from None
        raise
    finally:
        consumer.close()
    return paused
