"""What stands where Faust, the brain and the fetcher's thread would be; and the records that the histories are made of."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from threading import Event, Semaphore
from typing import Any, Self, cast

from agents.brain import FoldResult, Received
from schemas.events.clock import ContextSet, SourceResumed
from schemas.events.customers import CustomerUpdated
from schemas.events.envelope import Output
from schemas.events.payments import PaymentReceived
from schemas.ids import stable_id
from streams.engine.fetcher import MAX_UNDELIVERED, Fetcher
from streams.errors import UserError
from streams.kafka.codec import decode, encode, partition_of
from streams.kafka.topics import full_name
from streams.settings import Settings
from tests.simulation.broker import SimConsumer
from tests.simulation.loop import SimLoop

PREFIX, PARTITIONS = "s", 2
SOURCES = ("payments", "bank-transactions")
WALL = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TICK_S = 2.5
WAKES_PER_TICK = 2
BROKEN = b"{"
OLD_FORMAT, NEW_FORMAT = 1, 2
"""Of rows: a worker with the older one may go on where no other has been yet."""


def name_of(topic: str) -> str:
    return full_name(PREFIX, topic)


@cache
def settings_of(max_slice: int) -> Settings:
    return Settings(
        prefix=PREFIX,
        partitions=PARTITIONS,
        max_slice=max_slice,
        commits_in_flight=64,
        tick_seconds=TICK_S,
        held_records=10,
        slices_per_second=20.0,
    )


@cache
def customers_of(partition: int) -> tuple[str, ...]:
    """Some customers whose events belong to a partition."""
    return tuple(c for c in (f"c{n}" for n in range(16)) if partition_of(c.encode(), PARTITIONS) == partition)[:3]


@cache
def payment(number: int, customer: str) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    fact = PaymentReceived(
        customer_id=customer, payment_id=f"p{number}", amount=Decimal(5), currency="EUR", paid_on=WALL.date(), allocations=()
    )
    value, headers = encode(Output("payments", customer, "duewatch.payment.received.v1", f"e{number}", WALL, WALL, fact))
    return value, tuple(headers)


@cache
def resumption(topic: str) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    data = SourceResumed(topic=topic, owner="a person")
    value, headers = encode(Output("clock", "0", "duewatch.source.resumed.v1", f"resume {topic}", WALL, WALL, data))
    return value, tuple(headers)


_decoded: dict[Any, Any] = {}


def quick_decode(
    topic: str, key: bytes | None, value: bytes | None, headers: Any, partition: int = 0, partitions: int | None = None
) -> Any:
    """``decode``, remembered: the same events come in every history. The second source carries payments too."""
    topic = "payments" if topic in SOURCES else topic
    cache_key = (topic, key, value, tuple(headers), partition, partitions)
    if cache_key not in _decoded:
        if len(_decoded) > 20_000:
            _decoded.clear()
        _decoded[cache_key] = decode(topic, key, value, headers, partition, partitions)
    return _decoded[cache_key]


def link(chain: str, *parts: object) -> str:
    """A chain that tells one order of events from every other."""
    return f"{zlib.crc32(repr((chain, *parts)).encode()):08x}"


def fold_event(
    rows: Callable[[str], str | None], customer: str, event_id: str, topic: str, offset: int, before: datetime | None
) -> tuple[str, str]:
    """The row that an event leads to: the count and the chain of all events, each with the tick that was applied before it."""
    count, _, chain = (rows(customer) or "0/").partition("/")
    return customer, f"{int(count) + 1}/{link(chain, event_id, topic, offset, before and before.isoformat())}"


def fold_now(rows: Callable[[str], str | None], now: datetime | None) -> dict[str, str]:
    """The row of deadlines: with each new tick there are some, and a fold fires one."""
    last, _, left = (rows("#now") or "none/0").partition("/")
    text = now.isoformat() if now else "none"
    remaining = int(left) if text == last else WAKES_PER_TICK
    return {"#now": f"{text}/{max(remaining - 1, 0)}"} if now else {}


class SimBrain:
    """Chains per customer; remembers what it was told to keep."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.early = False

    def restore(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = value.decode()

    def fold(
        self,
        records: Sequence[Received],
        now: datetime | None,
        context: ContextSet,
        *,
        previous_tick: datetime | None = None,
        **_: Any,
    ) -> FoldResult:
        changed: dict[str, str] = {}
        folded = FoldResult(applied=len(records))

        def look(key: str) -> str | None:
            return changed.get(key) or self.rows.get(key)

        for received in records:
            customer, row = fold_event(
                look, received.event.customer_id or "?", received.event.id, received.topic, received.offset, previous_tick
            )
            changed[customer] = row
            update = CustomerUpdated(customer_id=customer, name=row)
            output_id = stable_id("sim", received.topic, received.partition, received.offset)
            folded.outputs.append(Output("alerts", customer, "duewatch.sim.v1", output_id, WALL, WALL, update))
        changed.update(fold_now(look, now))
        folded.has_more = not changed.get("#now", "/0").endswith("/0")
        folded.rows = {key: row.encode() for key, row in changed.items()}
        return folded

    def on_committed(self, result: FoldResult) -> None:
        for key, value in result.rows.items():
            self.restore(key, value)


class Signal:
    """Stands for a signal of Faust's app."""

    def __init__(self) -> None:
        self._receivers: list[Any] = []

    def connect(self, receiver: Any) -> None:
        self._receivers.append(receiver)

    async def send(self, app: SimApp, *args: Any) -> None:
        for receiver in self._receivers:
            await receiver(app, *args)


class Channel:
    """Stands for an agent's channel. A rebalance clears it, as Faust does."""

    def __init__(self) -> None:
        self.apply: Any = None
        self._queue: deque[Any] = deque()

    async def send(self, *, value: Any) -> None:
        loop = asyncio.get_running_loop()
        self._queue.append(value)
        loop.call_later(cast("SimLoop", loop).pause(), self._next)

    def _next(self) -> None:
        if self._queue:
            asyncio.get_running_loop().create_task(self.apply(self._queue.popleft()))

    def clear(self) -> None:
        self._queue.clear()


class Silent:
    """Takes any call, for metrics."""

    def __getattr__(self, _name: str) -> Silent:
        return self

    def __call__(self, *_: Any, **__: Any) -> Silent:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class SimApp:
    """What the engine and the transport ask of a Faust app."""

    def __init__(self, crashed: Callable[[BaseException], None], on_shut_down: Callable[[UserError], None]) -> None:
        self._crashed, self._on_shut_down = crashed, on_shut_down
        self.shutdown_reason: UserError | None = None
        self.receivers: list[Any] = []
        self.on_partitions_assigned, self.on_partitions_revoked = Signal(), Signal()
        self.on_before_shutdown = Signal()
        self.consumer_generation_id = 0

    def channel(self, **_: Any) -> Channel:
        return Channel()

    async def crash(self, reason: BaseException) -> None:
        self._crashed(reason)

    def shut_down(self, reason: UserError) -> None:
        if self.shutdown_reason is None:
            self.shutdown_reason = reason
            self._on_shut_down(reason)


class SimFetcher(Fetcher):
    """The fetcher that ships, on a simulated consumer, and with a task that takes its turns instead of a thread."""

    def __init__(self, _kafka: Any, on_arrivals: Any, on_error: Any, loop: Any) -> None:
        self._on_arrivals, self._on_error, self._loop = on_arrivals, on_error, loop
        self._consumer = self._new_consumer()
        self._readings, self._ends, self._commands = {}, {}, deque()
        self._room, self._ended = Semaphore(MAX_UNDELIVERED), Event()
        loop.create_task(self._turns())

    def _new_consumer(self) -> Any:
        return SimConsumer(cast("Any", self._loop).broker)

    async def _turns(self) -> None:
        room: Any = self._room
        while not self._ended.is_set():
            while self._commands:
                self._commands.popleft()()
            first = self._consumer.poll(0.0) if room._value else None
            if first is not None:
                self._hand_over([first, *self._consumer.consume(1_000, 0)])
            if self._consumer.is_lost:
                self._renew()
            await asyncio.sleep(0.6 if first is None else 0.02)

    def end(self) -> None:
        self._ended.set()
