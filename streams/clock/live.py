"""The live clock: ticks with their cuts and the context by value, to every partition in one transaction (D3)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.base import Contract
from schemas.cloudevents import headers_of
from schemas.events.clock import ContextSet, Ticked
from schemas.events.envelope import Event, Output, Rejection
from schemas.events.models import ModelPublished
from schemas.events.policies import PolicyPublished
from schemas.events.rates import RatesPublished
from schemas.ids import content_hash, stable_id
from schemas.registry import DEBTOR_SOURCES
from streams.engine.partition_task import read_standing
from streams.engine.restore import fenced_producer, list_offsets, read_rows, reader
from streams.engine.restore_process import to_the_end
from streams.kafka.codec import decode
from streams.kafka.consumer import Consumer
from streams.kafka.headers import read_headers
from streams.kafka.topics import full_name

if TYPE_CHECKING:
    from confluent_kafka import Message, Producer

    from streams.settings import Settings

log = structlog.get_logger()

CONTEXT_TOPICS = ("credit-policies", "rates", "models")
SINGLE_SOURCE = "training-examples"
COMMIT_TIMEOUT_S = 10.0
RETRY_S = 3.0
_FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001 - the library's spelling


class FencedError(Exception):
    """Another clock of the same prefix has begun; this one must not write any more."""


class ClockWriter:
    """The one writer of ``clock`` and ``clock-single``; a new one fences those before it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._version: str | None = None
        self._open = False
        timeout_ms = int(1000 * settings.transaction_timeout_s)
        self._producer = fenced_producer(settings.for_librdkafka(), full_name(settings.prefix, "clock"), timeout_ms)

    def begin(self) -> Producer:
        """Begin the next tick's transaction ahead of ``write``: what is sent through the producer until then is part of it."""
        self._producer.begin_transaction()
        self._open = True
        return self._producer

    def write(
        self,
        number: int,
        time: datetime,
        ends: Sequence[Mapping[str, int]],
        single_ends: Mapping[str, int],
        context: ContextSet | None,
        *,
        step: int = -1,
        announced: Sequence[Mapping[str, int]] | None = None,
        last: bool = False,
    ) -> None:
        """The context, if it is another one than before, then the tick, on every partition; all or nothing.

        ``ends`` and ``announced`` by partition. Raises FencedError, or KafkaException when the outcome is unknown: then this
        writer is over.
        """
        places = [("clock", partition, dict(own)) for partition, own in enumerate(ends)]
        places.append(("clock-single", 0, dict(single_ends)))
        changed = context is not None and context.version != self._version
        text = context.model_dump_json() if context is not None and changed else ""
        try:
            if not self._open:
                self.begin()
            for topic, partition, own in places:
                if context is not None and changed:
                    self._produce(topic, partition, "duewatch.context.set.v1", number, time, context, text)
                following = dict(announced[partition]) if announced and topic == "clock" else {}
                tick = Ticked(number=number, time=time, ends=own, step=step, announced=following, last=last)
                self._produce(topic, partition, "duewatch.clock.ticked.v1", number, time, tick, tick.model_dump_json())
            self._producer.commit_transaction(COMMIT_TIMEOUT_S)
            self._open = False
        except KafkaException as error:
            if error.args[0].code() in _FENCED:
                raise FencedError from error
            raise
        if context is not None:
            self._version = context.version

    def _produce(self, topic: str, partition: int, name: str, number: int, time: datetime, data: Contract, text: str) -> None:
        own_id = stable_id(name, self._settings.prefix, topic, partition, number)
        headers = headers_of(Output(topic, str(partition), name, own_id, time, time, data))
        on_broker = full_name(self._settings.prefix, topic)
        self._producer.produce(on_broker, value=text.encode(), key=str(partition), partition=partition, headers=list(headers))


@dataclass(slots=True)
class Compositor:
    """Composes the context from the newest policy, rates and model; ``base`` is what was in force before."""

    base: ContextSet = field(default_factory=lambda: ContextSet(version="none"))
    policy: PolicyPublished | None = None
    rates: RatesPublished | None = None
    model: ModelPublished | None = None

    def take(self, data: Contract) -> None:
        """A record of one of the context topics, in their order."""
        if isinstance(data, PolicyPublished):
            self.policy = data
        elif isinstance(data, RatesPublished):
            self.rates = data
        elif isinstance(data, ModelPublished):
            self.model = data

    def context(self) -> ContextSet:
        """Its version is a hash of its content: equal contexts have equal versions, whoever composes them."""
        made = self.base.model_copy(
            update={
                "version": "unversioned",
                "policy": self.policy or self.base.policy,
                "rates": self.rates or self.base.rates,
                "model": self.model or self.base.model,
            }
        )
        return made.model_copy(update={"version": content_hash(made.model_dump_json().encode())})


def next_time(now: datetime, last: Ticked | None) -> datetime | None:
    """The time of the next tick, or None when the machine's clock is not beyond the last one: time never goes back."""
    return now if last is None or now > last.time else None


class LiveClock:
    """Ticks of a live deployment. ``tick`` is called on the leader only, and never raises."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="clock")
        self._reign: _LeaderTerm | None = None
        self._rest_until = 0.0

    async def tick(self) -> None:
        """Write the next tick; on the first call after a change of leader, fence whoever was leader before."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._rest_until:
            return
        try:
            await loop.run_in_executor(self._pool, self._tick)
        except Exception as error:  # noqa: BLE001 - fenced, or the broker is away: begin again later, if still the leader
            self.resign()
            self._rest_until = loop.time() + RETRY_S
            log.warning("clock.resigned", error=f"{type(error).__name__}: {error}"[:300])

    def resign(self) -> None:
        """Forget everything; the next tick begins with fencing and reading anew."""
        if self._reign is not None:
            reign, self._reign = self._reign, None
            self._pool.submit(reign.close)

    def _tick(self) -> None:
        if self._reign is None:
            self._reign = _LeaderTerm(self._settings)
            log.info("clock.taken_over", last=self._reign.last.number if self._reign.last else None)
        self._reign.tick(datetime.now(UTC))


class _LeaderTerm:
    """The time of one leader, from its fencing of the one before."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kafka = settings.for_librdkafka()
        self._writer = ClockWriter(settings)  # first of all: from here on nobody else's tick is committed
        self._compositor = Compositor()
        self.last: Ticked | None = None
        self._read_clock()
        self._context = self._follow(dict.fromkeys(CONTEXT_TOPICS, 0))
        self._admin = AdminClient({**self._kafka, "log_level": 0})

    def close(self) -> None:
        self._context.close()

    def tick(self, now: datetime) -> None:
        """Read the context topics and the ends, then write."""
        time = next_time(now, self.last)
        if time is None:
            return
        for message in self._context.consume(1_000, 0.0):
            self._take(message)
        if self._context.lost:
            raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))  # noqa: SLF001 - the library's spelling
        number = self.last.number + 1 if self.last else 0
        ends, single = self._ends()
        self._writer.write(number, time, ends, single, self._compositor.context())
        self.last = Ticked(number=number, time=time, ends={})

    def _ends(self) -> tuple[list[dict[str, int]], dict[str, int]]:
        """Read-committed ends, by partition: what lies below them is decided, so every worker reaches them."""
        names = {full_name(self._settings.prefix, topic): topic for topic in (*DEBTOR_SOURCES, SINGLE_SOURCE)}
        places = [(name, partition) for name, topic in names.items() for partition in range(self._partitions(topic))]
        ends: list[dict[str, int]] = [{} for _ in range(self._settings.partitions)]
        single: dict[str, int] = {}
        for (name, partition), end in list_offsets(self._admin, places).items():
            own = single if names[name] == SINGLE_SOURCE else ends[partition]
            own[names[name]] = end
        return ends, single

    def _partitions(self, topic: str) -> int:
        return 1 if topic == SINGLE_SOURCE else self._settings.partitions

    def _read_clock(self) -> None:
        """The last tick and context of whoever was the clock before: what the learner has applied, and what came after that.

        Never the whole of ``clock-single``, which has a tick a second for years; the learner's few rows stand for it.
        """
        applied = read_standing(read_rows(self._kafka, full_name(self._settings.prefix, "learner-state"), 0))
        if applied.applied is not None:
            tick = applied.applied
            self.last = Ticked(number=tick.number, time=tick.time, ends={}, step=tick.step)
        if applied.context is not None:
            self._compositor.base = applied.context
        self._follow({"clock-single": applied.positions.get("clock-single", 0)}).close()
        if self.last is not None and self.last.step >= 0:
            log.warning("clock.after_replay", prefix=self._settings.prefix)

    def _follow(self, topics: Mapping[str, int]) -> Consumer:
        """A consumer that has taken all that is there of these topics, from these offsets on. Raises KafkaException."""
        consumer = reader(self._kafka)
        try:
            consumer.assign([TopicPartition(full_name(self._settings.prefix, topic), 0, at) for topic, at in topics.items()])
            for message in to_the_end(consumer):
                self._take(message)
        except BaseException:
            consumer.close()
            raise
        return consumer

    def _take(self, message: Message) -> None:
        if message.error() is not None:
            return
        topic = (message.topic() or "").removeprefix(full_name(self._settings.prefix, ""))
        event: Event | Rejection = decode(topic, message.key(), message.value(), read_headers(message))
        if isinstance(event, Rejection):
            # The policy in force stays: a broken one must not stop the clock. Whoever published it finds it here.
            log.error("context.rejected", topic=topic, offset=message.offset(), reason=event.reason)
        elif isinstance(event.data, Ticked):
            self.last = event.data
        elif isinstance(event.data, ContextSet):
            self._compositor.base = event.data
        else:
            self._compositor.take(event.data)
