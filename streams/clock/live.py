"""The live clock: ticks with their cuts and the context by value, to every partition in one transaction.

Why a tick carries a cut: streams/engine/README.md, "A tick is a cut".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from agents.clock.context import UNVERSIONED, compose, next_time
from agents.registry import AGENTS, single_agents
from schemas.base import Contract
from schemas.events.clock import ContextSet, Ticked
from schemas.events.envelope import Event, Rejection
from schemas.events.models import ModelPublished
from schemas.events.policies import PolicyPublished
from schemas.events.rates import RatesPublished
from streams.clock.writer import ClockWriter
from streams.engine.context import UnreadableContextError, is_context
from streams.engine.partition_task import read_checkpoint
from streams.kafka.admin import admin_client, list_offsets
from streams.kafka.codec import decode
from streams.kafka.consumer import Consumer
from streams.kafka.headers import read_headers
from streams.kafka.read import read_rows, reader, to_the_end
from streams.kafka.topics import full_name

if TYPE_CHECKING:
    from confluent_kafka import Message

    from streams.settings import Settings

log = structlog.get_logger()

CONTEXT_TOPICS = ("credit-policies", "rates", "models")
RETRY_S = 3.0


class LiveClock:
    """Ticks of a live deployment. ``tick`` is called on the leader only, and never raises."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="clock")
        self._term: _LeaderTerm | None = None
        self._retry_at = 0.0

    async def tick(self) -> None:
        """Write the next tick; on the first call after a change of leader, fence whoever was leader before."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._retry_at:
            return
        try:
            await loop.run_in_executor(self._pool, self._tick)
        except Exception as error:  # noqa: BLE001 - fenced, or the broker is away: begin again later, if still the leader
            self.resign()
            self._retry_at = loop.time() + RETRY_S
            log.warning("clock.resigned", error=f"{type(error).__name__}: {error}"[:300])

    def resign(self) -> None:
        """Forget everything; the next tick begins with fencing and reading anew."""
        if self._term is not None:
            term, self._term = self._term, None
            self._pool.submit(term.close)

    def _tick(self) -> None:
        if self._term is None:
            self._term = _LeaderTerm(self._settings)
            log.info("clock.taken_over", last=self._term.last.number if self._term.last else None)
        self._term.tick(datetime.now(UTC))


class _LeaderTerm:
    """The time of one leader, from its fencing of the one before."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kafka = settings.for_librdkafka()
        self._writer = ClockWriter(settings)  # first of all: from here on nobody else's tick is committed
        self._base = ContextSet(version=UNVERSIONED)
        """The context in force before this term."""
        self._policy: PolicyPublished | None = None
        self._rates: RatesPublished | None = None
        self._model: ModelPublished | None = None
        self.last: Ticked | None = None
        self._read_clock()
        self._context_topics = self._follow(dict.fromkeys(CONTEXT_TOPICS, 0))
        self._admin = admin_client(self._kafka)

    def close(self) -> None:
        self._context_topics.close()

    def tick(self, now: datetime) -> None:
        """Read the context topics and the ends, then write."""
        time = next_time(now, self.last)
        if time is None:
            return
        for message in self._context_topics.consume(1_000, 0.0):
            self._read(message)
        if self._context_topics.is_lost:
            raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))  # noqa: SLF001 - the library's spelling
        number = self.last.number + 1 if self.last else 0
        ends, single_ends = self._read_ends()
        context = compose(self._base, policy=self._policy, rates=self._rates, model=self._model)
        self._writer.write(number, time, ends, single_ends, context)
        self.last = Ticked(number=number, time=time, ends={})

    def _read_ends(self) -> tuple[list[dict[str, int]], dict[str, int]]:
        """Read-committed ends, by partition: what lies below them is decided, so every worker reaches them."""
        is_single = {source: agent.is_single for agent in AGENTS.values() for source in agent.sources}
        topics = {full_name(self._settings.prefix, topic): topic for topic in is_single}
        partitions = [
            (name, partition)
            for name, topic in topics.items()
            for partition in range(1 if is_single[topic] else self._settings.partitions)
        ]
        ends: list[dict[str, int]] = [{} for _ in range(self._settings.partitions)]
        single_ends: dict[str, int] = {}
        for (name, partition), end in list_offsets(self._admin, partitions).items():
            cut = single_ends if is_single[topics[name]] else ends[partition]
            cut[topics[name]] = end
        return ends, single_ends

    def _read_clock(self) -> None:
        """The last tick and context of whoever was the clock before: what an agent has applied, and what came after that.

        Never the whole of ``clock-single``, which has a tick a second for years; the few rows of an agent that reads it stand
        for it.
        """
        agent = single_agents()[0]
        rows = read_rows(self._kafka, full_name(self._settings.prefix, agent.state), 0)
        checkpoint = read_checkpoint(rows, agent.row_format, f"{agent.name} 0")
        if checkpoint.tick is not None:
            tick = checkpoint.tick
            self.last = Ticked(number=tick.number, time=tick.time, ends={}, step=tick.step)
        if checkpoint.context is not None:
            self._base = checkpoint.context
        self._follow({"clock-single": checkpoint.positions.get("clock-single", 0)}).close()
        if self.last is not None and self.last.step >= 0:
            log.warning("clock.after_replay", prefix=self._settings.prefix)

    def _follow(self, topics: Mapping[str, int]) -> Consumer:
        """A consumer that has read all that is in these topics by now, from these offsets on. Raises KafkaException."""
        consumer = reader(self._kafka)
        try:
            consumer.assign(
                [TopicPartition(full_name(self._settings.prefix, topic), 0, offset) for topic, offset in topics.items()]
            )
            for message in to_the_end(consumer):
                self._read(message)
        except BaseException:
            consumer.close()
            raise
        return consumer

    def _read(self, message: Message) -> None:
        if message.error() is not None:
            return
        topic = (message.topic() or "").removeprefix(full_name(self._settings.prefix, ""))
        event: Event | Rejection = decode(topic, message.key(), message.value(), read_headers(message))
        if isinstance(event, Rejection):
            if topic == "clock-single" and is_context(read_headers(message)):
                raise UnreadableContextError(f"the context at offset {message.offset()} of {topic}: {event.reason}")
            # The policy in force stays: a broken one must not stop the clock. Whoever published it finds it here.
            log.error("context.rejected", topic=topic, offset=message.offset(), reason=event.reason)
        else:
            self._remember(event.data)

    def _remember(self, data: Contract) -> None:
        """The last of each kind is in force."""
        if isinstance(data, Ticked):
            self.last = data
        elif isinstance(data, ContextSet):
            self._base = data
        elif isinstance(data, PolicyPublished):
            self._policy = data
        elif isinstance(data, RatesPublished):
            self._rates = data
        elif isinstance(data, ModelPublished):
            self._model = data
