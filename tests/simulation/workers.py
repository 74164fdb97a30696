"""Workers as processes that can be frozen and killed, and the group that shares partitions among them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from threading import Semaphore
from typing import TYPE_CHECKING, Any, cast

from faust.types import TP

from streams.clock.live import LiveClock
from streams.engine.engine import Engine
from tests.simulation.loop import Owner
from tests.simulation.parts import PARTITIONS, TICK_S, Channel, Silent, SimApp, name_of

if TYPE_CHECKING:
    from tests.simulation.world import World

SESSION_TIMEOUT_S = 6.0


class Worker:
    """A process: an app with one engine and a clock."""

    def __init__(self, world: World, name: str, skew_s: float, row_format: int) -> None:
        self.world, self.name = world, name
        self.spec = replace(world.spec, row_format=row_format)
        self.owner = Owner(name)
        world.loop.owners.append(self.owner)
        self.skew = timedelta(seconds=skew_s)
        self.leads = False
        self.assigned: set[TP] = set()
        world.loop.spawn(self.owner, self._live())

    async def _live(self) -> None:
        world = self.world
        self.app = SimApp(
            lambda error: world.violate(f"{self.name} crashes: {type(error).__name__}: {error}"),
            lambda _reason: world.loop.spawn(self.owner, self.leave()),
        )
        self.engine = Engine(cast("Any", self.app), self.spec, world.settings, cast("Any", Silent()), Semaphore(64), self._stage)
        cast("Any", self.engine.slices).apply = self.engine.apply
        self.clock = LiveClock(world.settings)
        asyncio.get_running_loop().create_task(self._tick())
        world.group.join(self)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            if self.leads:
                await self.clock.tick()

    def _stage(self, stage: str) -> None:
        self.world.loop.preempt()
        self.world.looked_at(self, stage)

    async def revoked(self) -> None:
        partitions, self.assigned = self.assigned, set()
        await self.app.on_partitions_revoked.send(self.app, partitions)

    async def rejoin(self, round_: int) -> None:
        await asyncio.sleep(self.world.loop.pause())
        if self.world.group.asks(self, round_):
            await self.revoked()
            self.world.group.joined(self, round_)

    async def assign(self, generation: int, partitions: set[int], leads: bool) -> None:
        await asyncio.sleep(self.world.loop.pause())
        if generation != self.world.group.generation:
            return
        self.leads = leads
        self.app.consumer_generation_id = generation
        self.assigned = {TP(name_of(topic), n) for n in partitions for topic in self.world.spec.topics}
        cast("Channel", self.engine.slices).clear()
        self.world.tell(f"{self.name} is assigned {sorted(partitions)}{', leads' if leads else ''}")
        await self.app.on_partitions_assigned.send(self.app, self.assigned)

    async def leave(self) -> None:
        """SIGTERM: the slice in flight is finished, then the group is left."""
        await self.app.on_before_shutdown.send(self.app)
        self.world.tell(f"{self.name} has ended")
        self.world.group.leave(self)
        self.world.later(0.0, self.world.loop.kill, self.owner)


class Group:
    """The group's coordinator: every change makes all members give up their partitions, join again, and get a share."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.members: list[Worker] = []
        self.generation = 0
        self._round = 0
        self._waiting: set[Worker] = set()

    def join(self, worker: Worker) -> None:
        if worker not in self.members:
            self.members.append(worker)
        self.rebalance()

    def leave(self, worker: Worker) -> None:
        if worker in self.members:
            self.members.remove(worker)
            self.rebalance()

    def rebalance(self) -> None:
        self._round += 1
        self._waiting = set(self.members)
        for worker in self.members:
            self._world.loop.spawn(worker.owner, worker.rejoin(self._round))
        self._world.later(SESSION_TIMEOUT_S, self._expire, self._round)

    def _expire(self, round_: int) -> None:
        """Who has not answered in time is out."""
        if round_ == self._round and self._waiting:
            self.members = [worker for worker in self.members if worker not in self._waiting]
            self._waiting = set()
            self._share()

    def asks(self, worker: Worker, round_: int) -> bool:
        """Whether that round is the present one; -1: whoever was thrown out begins anew."""
        return round_ == self._round or (round_ == -1 and worker not in self.members)

    def joined(self, worker: Worker, round_: int) -> None:
        if worker not in self.members:
            self.join(worker)  # it was away, and begins anew
        elif round_ == self._round:
            self._waiting.discard(worker)
            if not self._waiting:
                self._share()

    def _share(self) -> None:
        self.generation += 1
        for worker in self.members:
            worker.leads = False
        if not self.members:
            return
        shift = self._world.loop.chance.randrange(len(self.members))
        for index, worker in enumerate(self.members):
            own = {n for n in range(PARTITIONS) if (n + shift) % len(self.members) == index}
            self._world.loop.spawn(worker.owner, worker.assign(self.generation, own, leads=index == 0))

    def silent(self, worker: Worker, round_: int) -> None:
        """A session ran out: the others share what it had."""
        if worker in self.members and (worker.owner.dead or worker.owner.frozen) and round_ == self._round:
            self.members.remove(worker)
            self.rebalance()
