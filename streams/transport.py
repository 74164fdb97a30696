"""Faust's Kafka transport, except that what is fetched goes to the engines as it is, with its fetch positions, read-committed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import faust
import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as AIOKafkaDriver
from faust.transport.drivers.aiokafka import Transport as AIOKafkaTransport
from faust.types import TP

from streams.engine.plan import Record

if TYPE_CHECKING:
    from mode.types import ServiceT

log = structlog.get_logger()

# Long polls end after FETCH_WAIT_MS, for a partition whose records lay unfetched joins only the next one.
FETCH_WAIT_MS = 50
FETCH_TIMEOUT_S = 0.05
MAX_RECORDS = 2_000


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch returned for a topic-partition, and how it moved the fetch position."""

    records: Sequence[Record]
    before: int
    after: int


class Receiver(Protocol):
    """What an engine is to the transport."""

    def open_tps(self) -> set[TP]: ...
    def arrived(self, tp: TP, fetched: Fetched) -> None: ...
    def lost(self, tps: Iterable[TP]) -> None: ...
    def offer_all(self) -> None: ...


class SliceApp(faust.App):
    """A Faust app whose fetched records go to engines.

    Under ``fetching`` nothing is sought, and while something is sought nothing is fetched: records that a fetch returns always
    belong to the tenures that stand, and no fetch that began before a seek returns records after it.
    """

    receivers: list[Receiver]
    fetching: asyncio.Lock

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.receivers = []
        self.fetching = asyncio.Lock()


class SliceThread(AIOKafkaConsumerThread):
    """The consumer in its own thread and event loop."""

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust offers no setting for either, and reads uncommitted unless its own exactly-once mode is on.
        for name, value in (("_isolation_level", "read_committed"), ("_fetch_max_wait_ms", FETCH_WAIT_MS)):
            if not hasattr(consumer, name):
                raise RuntimeError(f"this aiokafka has no {name}: reads would not be committed ones")
            setattr(consumer, name, value)
        return consumer

    async def fetch(self, tps: set[TP]) -> dict[TP, Fetched]:
        """Records and moved positions of these partitions; called from the app's event loop."""
        return cast("dict[TP, Fetched]", await self.call_thread(self._fetch, tps))

    async def _fetch(self, tps: set[TP]) -> dict[TP, Fetched]:
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher  # noqa: SLF001 - Faust reads it the same way
        if not self.consumer.flow_active:
            return {}
        if consumer._closed or fetcher._closed:  # noqa: SLF001
            raise ConsumerStoppedError
        before = _positions(consumer, tps)
        if not before:
            await asyncio.sleep(0.01)  # not sought yet
            return {}
        with fetcher._subscriptions.fetch_context():  # noqa: SLF001
            records: Mapping[Any, Sequence[Record]] = await fetcher.fetched_records(
                set(before), timeout=FETCH_TIMEOUT_S, max_records=MAX_RECORDS
            )
            # No await since the records were drained: these positions are theirs, markers and holes included.
            after = _positions(consumer, tps)
        moved = {tp for tp in before if after.get(tp) != before[tp]}
        return {tp: Fetched(records.get(tp, ()), before[tp], after.get(tp, -1)) for tp in moved}


def _positions(consumer: AIOKafkaConsumer, tps: Iterable[TP]) -> dict[TP, int]:
    subscription = consumer._subscription.subscription  # noqa: SLF001 - position() would wait for those not sought yet
    assignment = subscription.assignment if subscription else None
    if assignment is None or not assignment.active:
        return {}
    states = {tp: assignment.state_value(tp) for tp in tps if tp in assignment.tps}
    return {tp: state.position for tp, state in states.items() if state is not None and state.has_valid_position}


class SliceConsumer(AIOKafkaDriver):
    """Hands what was fetched to the engines, not to Faust's streams."""

    app: SliceApp

    def _new_consumer_thread(self) -> SliceThread:
        return SliceThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Nothing: each engine seeks its partitions to the positions that it restored."""

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        try:
            await self._drain(fetcher)
        except (ConsumerStoppedError, asyncio.CancelledError):
            # While the app stops, neither is a failure; raised, Faust would end with the status of a crash.
            if not self.transport.app.should_stop:
                raise

    async def _drain(self, fetcher: ServiceT) -> None:
        while not (self.should_stop or fetcher.should_stop):
            await asyncio.sleep(0)
            if not self.flow_active:
                await self.wait(cast("Any", self.can_resume_flow))
            if not self._open():
                await asyncio.sleep(0.005)
                continue
            async with self.app.fetching:
                await self._fetch_once()
            for receiver in self.app.receivers:
                receiver.offer_all()

    async def _fetch_once(self) -> None:
        tps = self._open()
        if not tps:
            return
        generation = self.app.consumer_generation_id
        fetched = await cast("SliceThread", self._thread).fetch(tps)
        for receiver in self.app.receivers:
            if generation != self.app.consumer_generation_id:
                receiver.lost(fetched)
                continue
            for tp, one in fetched.items():
                receiver.arrived(tp, one)

    def _open(self) -> set[TP]:
        wanted: set[TP] = set()
        for receiver in self.app.receivers:
            wanted |= receiver.open_tps()
        return wanted & (self._active_partitions or set())


class SliceTransport(AIOKafkaTransport):
    """Set as an app's transport before it starts."""

    Consumer = SliceConsumer
