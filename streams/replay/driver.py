"""The clock of a replay: sends the sources a step ahead, ends each step with a tick, hands on what has been learned of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicPartition

from agents.registry import AGENTS
from schemas.events.clock import ContextSet, Ticked
from schemas.events.envelope import Event
from schemas.events.models import ModelPublished
from schemas.registry import DEBTOR_SOURCES, TOPICS
from streams.clock.live import ClockWriter, FencedError
from streams.connectors.records import SOURCE_TOPICS, Record
from streams.errors import UserError
from streams.kafka.codec import decode, partition_of
from streams.kafka.headers import read_headers
from streams.kafka.read import reader, to_the_end
from streams.kafka.topics import full_name
from streams.replay.context import with_model, with_published
from streams.replay.sources import Step

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

    from streams.kafka.consumer import Consumer
    from streams.settings import Settings

# A step's sources are written while the step before is folded, in the transaction that its tick will end. A driver that dies is
# found out sooner: the next one with the same transactional id aborts what it left open.
TRANSACTION_TIMEOUT_S = 900.0
POLL_S = 0.1

STEP_TOPICS = tuple(agent.step_topic for agent in AGENTS.values() if agent.step_topic is not None)
"""Where agents say that they have applied a step, one partition each."""

Ends = dict[int, dict[str, int]]
"""Partition -> topic without prefix -> offset after its last record."""


class TakenOverError(UserError):
    """Somebody else replays the same sources."""


def partition_for(record: Record, partitions: int) -> int:
    """Where a record belongs; one without a key lies where its bytes say, so that every run puts it in the same place."""
    key = record.key if record.key is not None else blake2b(record.value, digest_size=8).digest()
    return partition_of(key, TOPICS[record.topic].partitions or partitions)


class Driver:
    """Drives one replay to its end, from wherever the clock of its prefix stands.

    Step k's transaction holds the sources of step k+1, the context if the model has changed, and tick k on every partition: so
    either all of that is there or nothing, and the last tick tells how to go on. ``tend`` is called while it waits.
    """

    def __init__(self, settings: Settings, context: ContextSet, steps: Sequence[Step], tend: Callable[[], None]) -> None:
        self._settings = settings
        self._context = context
        self._steps = steps
        self._tend = tend
        self.spent: dict[str, float] = defaultdict(float)
        """Seconds by what they went into: sending, waiting, committing."""
        self._answers: Consumer | None = None
        self.ends: Ends = {}
        """Where the sources end that have been sent."""

    def run(self) -> Iterator[int]:
        """Yield the number of records of each step once its tick is committed; ends when the last step has been learned.

        Raises TakenOverError, UserError when the prefix is live, and KafkaException.
        """
        try:
            clock = ClockWriter(self._settings.changed(transaction_timeout_s=TRANSACTION_TIMEOUT_S))
            yield from self._drive(clock, self._standing())
        except FencedError:
            raise TakenOverError("another replay of the same sources has begun, and has taken over from this one") from None
        finally:
            self._close_answers()

    def _open_answers(self) -> Consumer:
        """A consumer of the agents' answers, from the first one on; what is read again is passed over."""
        self._close_answers()
        self._answers = reader(self._kafka)
        self._answers.assign([TopicPartition(self._name(topic), 0, 0) for topic in STEP_TOPICS])
        return self._answers

    def _close_answers(self) -> None:
        if self._answers is not None:
            self._answers.close()

    def _drive(self, clock: ClockWriter, before: dict[int, Ticked]) -> Iterator[int]:
        """``before``: the last tick of each partition; empty when the replay begins."""
        first = before[0].step + 1 if before else 0
        self.ends = {partition: tick.announced for partition, tick in before.items()}
        for step in self._steps[:first]:
            self._context = with_published(self._context, step.records)
        yield sum(len(step.records) for step in self._steps[:first])
        for k in range(first, len(self._steps)):
            producer = clock.begin()
            if k == 0:
                self.ends = self._send(producer, self._steps[0], {})
            ahead = self._send(producer, self._steps[k + 1], self.ends) if k + 1 < len(self._steps) else self.ends
            if k > 0:
                self._await_step(k - 1)
            self._context = with_published(self._context, self._steps[k].records)
            self._tick(clock, k, self.ends, ahead)
            self.ends = ahead
            yield len(self._steps[k].records)
        # The agents answer when every partition has committed the tick: now all decisions are in their topics.
        self._await_step(len(self._steps) - 1)

    @property
    def _kafka(self) -> dict[str, str]:
        return self._settings.for_librdkafka()

    def _name(self, topic: str) -> str:
        return full_name(self._settings.prefix, topic)

    def _standing(self) -> dict[int, Ticked]:
        """Read the clock's topic to its end. Raises UserError when it is a live one."""
        found = last_ticks(self._kafka, self._name("clock"), self._settings.partitions)
        if any(tick.step < 0 for tick in found.values()):
            raise UserError(f"the prefix {self._settings.prefix!r} belongs to a live deployment: a replay never writes into one")
        return found

    def _send(self, producer: Producer, step: Step, before: Ends) -> Ends:
        """Write a step's records; returns the offsets after them, those of earlier steps where nothing is new."""
        began = time.perf_counter()
        ends = {partition: dict(before.get(partition, {})) for partition in range(self._settings.partitions)}
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                failed.extend([error] if error else [])
                return
            topic = topics[message.topic() or ""]
            if topic in DEBTOR_SOURCES:
                ends[partition][topic] = offset + 1

        topics = {self._name(topic): topic for topic in SOURCE_TOPICS}
        placed = [(record, partition_for(record, self._settings.partitions)) for record in step.records]
        last = {(record.topic, partition): number for number, (record, partition) in enumerate(placed)}
        for number, (record, partition) in enumerate(placed):
            # Only the last record of a partition is asked for its offset: a call back into Python costs as much as sending.
            report = delivered if last[record.topic, partition] == number else None
            _produce(producer, self._name(record.topic), record, partition, report)
        producer.flush()
        if failed:
            raise KafkaException(failed[0])
        self.spent["sending"] += time.perf_counter() - began
        return ends

    def _await_step(self, step: int) -> None:
        """Wait for all agents that say when they have applied ``step``; a model among it is part of the context from now on."""
        began = time.perf_counter()
        answers = self._answers or self._open_answers()
        missing = set(STEP_TOPICS)
        while missing:
            if answers.is_lost:
                answers = self._open_answers()
            message = answers.poll(POLL_S)
            if message is None or message.error() is not None:
                self._tend()
                continue
            topic = (message.topic() or "").removeprefix(self._name(""))
            event = decode(topic, message.key(), message.value(), read_headers(message))
            if isinstance(event, Event) and getattr(event.data, "step", None) == step:
                missing.discard(topic)
                if isinstance(event.data, ModelPublished):
                    self._context = with_model(self._context, event.data)
        self.spent["waiting"] += time.perf_counter() - began

    def _tick(self, clock: ClockWriter, k: int, ends: Ends, ahead: Ends) -> None:
        began = time.perf_counter()
        partitions = range(self._settings.partitions)
        clock.write(
            number=k,
            time=self._steps[k].end,
            ends=[ends.get(partition, {}) for partition in partitions],
            single_ends={},  # the learner waits for the markers of all partitions instead
            context=self._context,
            step=k,
            announced=[ahead.get(partition, {}) for partition in partitions],
            last=k + 1 == len(self._steps),
        )
        self.spent["committing"] += time.perf_counter() - began


def last_ticks(kafka: dict[str, str], topic: str, partitions: int) -> dict[int, Ticked]:
    """The last committed tick of each partition of the clock that has one."""
    consumer = reader(kafka)
    ticks: dict[int, Ticked] = {}
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        for message in to_the_end(consumer):
            if ("ce_type", b"duewatch.clock.ticked.v1") in read_headers(message):
                ticks[int(message.partition() or 0)] = Ticked.model_validate_json(message.value() or b"")
    finally:
        consumer.close()
    return ticks


def _produce(
    producer: Producer,
    topic: str,
    record: Record,
    partition: int,
    report: Callable[[KafkaError | None, Message], None] | None,
) -> None:
    headers: list[tuple[str, bytes | str | None]] = list(record.headers)
    while True:
        try:
            producer.produce(topic, record.value, record.key, partition, headers=headers or None, on_delivery=report)
        except BufferError:
            producer.poll(0.1)  # the queue is full: let the broker take some
        else:
            return
