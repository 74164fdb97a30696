"""Faust's Kafka transport, as a membership: it says who has which partitions, and hands over no records.

What a partition's task applies is read by ``streams.engine.fetcher``, from positions that no rebalance forgets.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, cast

import faust
from aiokafka.errors import ConsumerStoppedError
from faust.tables import TableManager
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as AIOKafkaDriver
from faust.transport.drivers.aiokafka import Transport as AIOKafkaTransport
from faust.types import TP

from streams.engine.spec import Gauges
from streams.errors import UserError

if TYPE_CHECKING:
    from mode.types import ServiceT

MEASURE_EVERY_S = 2.0


class SliceApp(faust.App):
    """A Faust app whose records are read by its engines (``engine.spec.HostApp``)."""

    receivers: list[Gauges]
    shutdown_reason: UserError | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.receivers = []
        self.shutdown_reason = None

    def shut_down(self, reason: UserError) -> None:
        """End the worker in order, as at SIGTERM; whoever runs it tells the first reason."""
        if self.shutdown_reason is None:
            self.shutdown_reason = reason
            signal.raise_signal(signal.SIGTERM)


class NoTables(TableManager):
    """For an app without tables. Faust's waits a second for some to be registered before it joins the group."""

    async def on_start(self) -> None:
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class MemberThread(AIOKafkaConsumerThread):
    """The group's consumer in its own thread and event loop: it joins, heartbeats and fetches nothing."""

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        consumer = self._ensure_consumer()
        consumer.pause(*consumer.assignment())
        await super().on_partitions_assigned(assigned, generation_id)

    async def poll(self) -> None:
        """Show the coordinator that the app's event loop is alive (max.poll.interval); called from there."""
        await self.call_thread(self._poll)

    async def _poll(self) -> None:
        await self._ensure_consumer().getmany(timeout_ms=0)


class MemberConsumer(AIOKafkaDriver):
    """Tells the app of assignments, and keeps its place in the group."""

    app: SliceApp

    def _new_consumer_thread(self) -> MemberThread:
        return MemberThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Nothing: each engine reads from the positions that it restored."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust would miss fetches, which are not its own here."""

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                if self.flow_active:
                    await cast("MemberThread", self._thread).poll()
                for receiver in self.app.receivers:
                    receiver.measure()
                await cast("Any", fetcher).sleep(MEASURE_EVERY_S)
        except (ConsumerStoppedError, asyncio.CancelledError):
            # While the app stops, neither is a failure; raised, Faust would end with the status of a crash.
            if not self.transport.app.should_stop:
                raise


class MemberTransport(AIOKafkaTransport):
    """Set as an app's transport before it starts."""

    Consumer = MemberConsumer
