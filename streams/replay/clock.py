"""The clock of a replay: sends the sources a step ahead, ends each step with a tick, and hands on the model that it led to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicPartition

from agents.clock.context import compose
from agents.registry import AGENTS
from schemas.events.clock import ContextSet, Ticked
from schemas.events.envelope import Event
from schemas.events.models import ModelPublished
from schemas.registry import DEBTOR_SOURCES
from streams.clock.writer import ClockWriter, FencedError
from streams.connectors.records import SOURCE_TOPICS, Record, partition_for
from streams.errors import UserError
from streams.kafka.codec import decode
from streams.kafka.headers import read_headers
from streams.kafka.read import reader, to_the_end
from streams.kafka.topics import full_name
from streams.replay.context import with_published
from streams.replay.steps import Step

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

    from streams.kafka.consumer import Consumer
    from streams.settings import Settings

# A step's sources are written while the step before is folded, in the transaction that its tick will end. A clock that dies is
# replaced sooner: the next one with the same transactional id aborts what it left open.
TRANSACTION_TIMEOUT_S = 900.0
POLL_S = 0.1

STEP_TOPICS = tuple(agent.step_topic for agent in AGENTS.values() if agent.step_topic is not None)
"""Where agents say that they have applied a step, one partition each."""

Ends = dict[int, dict[str, int]]
"""Partition -> topic without prefix -> offset after its last record."""


class TakenOverError(UserError):
    """Another process replays the same sources."""


class ReplayClock:
    """Drives one replay to its end, from wherever the clock of its prefix stands.

    Step k's transaction holds the sources of step k+1, the context if the model has changed, and tick k on every partition: so
    either all of that is there or nothing, and the last tick says how to go on. ``supervise`` is called while it waits.
    """

    def __init__(self, settings: Settings, context: ContextSet, steps: Sequence[Step], supervise: Callable[[], None]) -> None:
        self._settings = settings
        self._context = context
        self._steps = steps
        self._supervise = supervise
        self._answers: Consumer | None = None
        self.ends: Ends = {}
        """Where the sources end that have been sent."""

    def run(self) -> Iterator[int]:
        """Yield the number of records of each step once its tick is committed; ends when the last step has been learned.

        Raises TakenOverError, UserError when the prefix is live, and KafkaException.
        """
        try:
            writer = ClockWriter(self._settings.changed(transaction_timeout_s=TRANSACTION_TIMEOUT_S))
            yield from self._run_steps(writer, self._last_ticks())
        except FencedError:
            raise TakenOverError("another replay of the same sources has started, and has taken over from this one") from None
        finally:
            self._close_answers()

    def _open_answers(self) -> Consumer:
        """A consumer of the agents' answers, from the first one on; those that were read before are skipped."""
        self._close_answers()
        self._answers = reader(self._kafka)
        self._answers.assign([TopicPartition(self._full_name(topic), 0, 0) for topic in STEP_TOPICS])
        return self._answers

    def _close_answers(self) -> None:
        if self._answers is not None:
            self._answers.close()

    def _run_steps(self, writer: ClockWriter, last_ticks: dict[int, Ticked]) -> Iterator[int]:
        """``last_ticks``: the last tick of each partition; empty when the replay begins."""
        first = last_ticks[0].step + 1 if last_ticks else 0
        self.ends = {partition: tick.announced for partition, tick in last_ticks.items()}
        for step in self._steps[:first]:
            self._context = with_published(self._context, step.records)
        yield sum(len(step.records) for step in self._steps[:first])
        for k in range(first, len(self._steps)):
            producer = writer.begin()
            if k == 0:
                self.ends = self._send(producer, self._steps[0], {})
            ends_ahead = self._send(producer, self._steps[k + 1], self.ends) if k + 1 < len(self._steps) else self.ends
            if k > 0:
                self._wait_for_step(k - 1)
            self._context = with_published(self._context, self._steps[k].records)
            self._write_tick(writer, k, self.ends, ends_ahead)
            self.ends = ends_ahead
            yield len(self._steps[k].records)
        # The agents answer when every partition has committed the tick: now all decisions are in their topics.
        self._wait_for_step(len(self._steps) - 1)

    @property
    def _kafka(self) -> dict[str, str]:
        return self._settings.for_librdkafka()

    def _full_name(self, topic: str) -> str:
        return full_name(self._settings.prefix, topic)

    def _last_ticks(self) -> dict[int, Ticked]:
        """Read the clock's topic to its end. Raises UserError when it is a live one."""
        ticks = last_ticks(self._kafka, self._full_name("clock"), self._settings.partitions)
        if any(tick.step < 0 for tick in ticks.values()):
            raise UserError(f"the prefix {self._settings.prefix!r} belongs to a live deployment: a replay never writes into one")
        return ticks

    def _send(self, producer: Producer, step: Step, before: Ends) -> Ends:
        """Write a step's records; returns the offsets after them, those of earlier steps where nothing is new."""
        ends = {partition: dict(before.get(partition, {})) for partition in range(self._settings.partitions)}
        errors: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                errors.extend([error] if error else [])
                return
            topic = topics[message.topic() or ""]
            if topic in DEBTOR_SOURCES:
                ends[partition][topic] = offset + 1

        topics = {self._full_name(topic): topic for topic in SOURCE_TOPICS}
        records = [(record, partition_for(record, self._settings.partitions)) for record in step.records]
        last = {(record.topic, partition): number for number, (record, partition) in enumerate(records)}
        for number, (record, partition) in enumerate(records):
            # Only the last record of a partition reports its offset: a call back into Python costs as much as sending.
            callback = on_delivery if last[record.topic, partition] == number else None
            _produce(producer, self._full_name(record.topic), record, partition, callback)
        producer.flush()
        if errors:
            raise KafkaException(errors[0])
        return ends

    def _wait_for_step(self, step: int) -> None:
        """Wait for all agents that say when they have applied ``step``; a model among it is part of the context from now on."""
        answers = self._answers or self._open_answers()
        missing = set(STEP_TOPICS)
        while missing:
            if answers.is_lost:
                answers = self._open_answers()
            message = answers.poll(POLL_S)
            if message is None or message.error() is not None:
                self._supervise()
                continue
            topic = (message.topic() or "").removeprefix(self._full_name(""))
            event = decode(topic, message.key(), message.value(), read_headers(message))
            if isinstance(event, Event) and getattr(event.data, "step", None) == step:
                missing.discard(topic)
                if isinstance(event.data, ModelPublished):
                    self._context = compose(self._context, model=event.data)

    def _write_tick(self, writer: ClockWriter, k: int, ends: Ends, ends_ahead: Ends) -> None:
        partitions = range(self._settings.partitions)
        writer.write(
            number=k,
            time=self._steps[k].end,
            ends=[ends.get(partition, {}) for partition in partitions],
            single_ends={},  # the learner waits for the markers of all partitions instead
            context=self._context,
            step=k,
            ends_ahead=[ends_ahead.get(partition, {}) for partition in partitions],
            last=k + 1 == len(self._steps),
        )


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
    on_delivery: Callable[[KafkaError | None, Message], None] | None,
) -> None:
    headers: list[tuple[str, bytes | str | None]] = list(record.headers)
    while True:
        try:
            producer.produce(topic, record.value, record.key, partition, headers=headers or None, on_delivery=on_delivery)
        except BufferError:
            producer.poll(0.1)  # the queue is full: let the broker take some
        else:
            return
