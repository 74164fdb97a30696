"""A deployment in one process: workers with the engine that ships, a group, a clock, a feeder; and a script that disturbs them.

Real: ``Engine``, ``Ownership``, ``SliceBuffer``, ``Fetcher`` but for its thread, ``compose`` and ``commit``, restoring,
``LiveClock``. Simulated:
the broker, the clients of it, the group's protocol, the event loop and the wall clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, cast
from unittest.mock import patch

import orjson
from confluent_kafka import KafkaError

import streams.clock.live
import streams.clock.writer
import streams.engine.apply
import streams.engine.circuit_breaker
import streams.engine.engine
import streams.engine.fetcher
import streams.engine.ownership
import streams.kafka.read
from schemas.registry import TOPICS
from streams.engine.keys import POSITIONS, is_engine_key
from streams.engine.slicing import Order
from streams.engine.spec import AgentSpec
from tests.simulation.broker import (
    ABORTED,
    COMMITTED,
    OPEN,
    Entry,
    Log,
    SimBroker,
    SimProducer,
    SimReader,
    Transaction,
    ends,
    failed,
)
from tests.simulation.loop import OWNER, SimLoop
from tests.simulation.parts import (
    BROKEN,
    NEW_FORMAT,
    OLD_FORMAT,
    PARTITIONS,
    SOURCES,
    WALL,
    SimBrain,
    SimFetcher,
    customers_of,
    name_of,
    payment,
    quick_decode,
    resumption,
    settings_of,
)
from tests.simulation.workers import SESSION_TIMEOUT_S, Group, Worker

SLICE = ("ce_type", b"duewatch.slice.committed.v1")


@dataclass(frozen=True, slots=True)
class Setup:
    """What holds for a whole history."""

    order: Order = "arrival"
    replay: bool = False
    max_slice: int = 3


@dataclass(frozen=True, slots=True)
class Op:
    """A step of the script: at a time, a kind, and what it is about."""

    at: float
    kind: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:5.1f} s  {self.kind} {' '.join(map(str, self.args))}".rstrip()


@dataclass
class World:
    """One history. ``run`` plays a script to its end and a calm time after it."""

    seed: int
    setup: Setup
    script: Sequence[Op]
    history: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    workers: dict[str, Worker] = field(default_factory=dict)
    sent_count: int = 0

    def __post_init__(self) -> None:
        self.loop = SimLoop(Random(self.seed))
        self.broker = SimBroker(self.loop, {name_of(name): topic.partitions or PARTITIONS for name, topic in TOPICS.items()})
        self.loop.broker = self.broker
        self.broker.ended = self._ended
        self.settings = settings_of(self.setup.max_slice)
        self.spec = AgentSpec(
            name="debtor",
            sources=SOURCES,
            clock="clock",
            state="debtor-state",
            partitions=PARTITIONS,
            order=self.setup.order,
            replay=self.setup.replay,
            brain=SimBrain,
        )
        self.group = Group(self)
        self.writers: dict[str, int] = {}

    # -- what others call

    def tell(self, text: str) -> None:
        self.history.append(f"{self.loop.now:7.2f} s  {text}")

    def later(self, delay: float, callback: Callable[..., None], *args: Any) -> None:
        self.loop.call_at(self.loop.now + delay, callback, *args, context=_nobody())

    def log(self, topic: str, partition: int) -> Log:
        return self.broker.logs[name_of(topic), partition]

    def looked_at(self, worker: Worker, stage: str) -> None:
        """While a slice is written and not committed, memory still is what was committed before."""
        if stage == "committed":
            return
        for number, task in worker.engine.tasks.items():
            memory = cast("SimBrain", task.brain).rows
            at = task.checkpoint.number
            committed = self.rows_at(number, at)
            if committed is not None and memory != committed:
                self.violate(
                    f"{worker.name} remembers {memory} of partition {number} after slice {at}, committed was {committed}"
                )

    def _ended(self, entry: Entry) -> None:
        if SLICE in entry.headers:
            slice_ = orjson.loads(entry.value or b"")
            runs = ", ".join(f"{run['topic']} [{run['start']}, {run['end']})" for run in slice_["runs"]) or "no records"
            tick = "" if slice_["tick"] is None else f", tick {slice_['tick']}"
            self.tell(f"slice {slice_['number']} of partition {slice_['partition']} is {entry.state}: {runs}{tick}")

    def rows_at(self, partition: int, number: int) -> dict[str, str] | None:
        """The brain's rows after a slice; None when no such slice is committed."""
        rows: dict[str, str] = {}
        if number == 0:
            return rows
        for entry in self.log("debtor-state", partition).committed():
            key = (entry.key or b"").decode()
            if key == POSITIONS:
                if orjson.loads(entry.value or b"{}")["number"] == number:
                    return rows
            elif not is_engine_key(key):
                rows[key] = (entry.value or b"").decode()
        return None

    def violate(self, text: str) -> None:
        self.violations.append(text)
        self.tell(f"VIOLATION: {text}")

    # -- the script

    def do(self, op: Op) -> None:
        self.tell("· " + f"{op.kind} {' '.join(map(str, op.args))}".rstrip())
        getattr(self, f"_do_{op.kind}")(*op.args)

    def _alive(self, name: str) -> Worker | None:
        worker = self.workers.get(name)
        return worker if worker and not worker.owner.dead else None

    def _do_start(self, name: str, skew_s: float = 0.0) -> None:
        if self._alive(name) is None:
            self.workers[name] = Worker(self, name, skew_s, NEW_FORMAT)

    def _do_start_older(self, name: str, skew_s: float = 0.0) -> None:
        """A worker of before joins, as in an update or when it is rolled back."""
        if self._alive(name) is None:
            self.workers[name] = Worker(self, name, skew_s, OLD_FORMAT)

    def _do_stop(self, name: str) -> None:
        if (worker := self._alive(name)) and not worker.owner.frozen and hasattr(worker, "clock"):
            self.loop.spawn(worker.owner, worker.leave())

    def _do_kill(self, name: str) -> None:
        if worker := self._alive(name):
            self.loop.kill(worker.owner)
            self.later(SESSION_TIMEOUT_S, self._silent, worker)

    def _silent(self, worker: Worker) -> None:
        self.group.silent(worker, self.group._round)

    def _do_freeze(self, name: str, seconds: float) -> None:
        if (worker := self._alive(name)) and not worker.owner.frozen:
            worker.owner.frozen = True
            self.later(SESSION_TIMEOUT_S, self._silent, worker)
            self.later(seconds, self._thaw, worker)

    def _thaw(self, worker: Worker) -> None:
        worker.owner.frozen = False
        self.tell(f"{worker.name} goes on")
        if worker not in self.group.members and not worker.owner.dead:
            # It learns with its next heartbeat that it is out; until then it believes in what it had.
            self.later(self.loop.chance.choice((0.0, 0.3, 1.5)), self._learn, worker)

    def _learn(self, worker: Worker) -> None:
        if not worker.owner.dead and worker not in self.group.members:
            self.loop.spawn(worker.owner, worker.rejoin(-1))

    def _do_rebalance(self) -> None:
        self.group.rebalance()

    def _do_send(self, topic: str, partition: int, many: int) -> None:
        for _ in range(many):
            self._append(topic, partition, COMMITTED)

    def _append(self, topic: str, partition: int, state: str) -> tuple[Log, Entry]:
        customers = customers_of(partition)
        customer = customers[self.sent_count % len(customers)]
        value, headers = payment(self.sent_count, customer)
        self.sent_count += 1
        log = self.log(topic, partition)
        return log, log.append(customer, value, headers, state)

    def _do_send_broken(self, topic: str, partition: int, many: int) -> None:
        for _ in range(many):
            self.log(topic, partition).append("x", BROKEN, (), COMMITTED)

    def _do_transact(self, topic: str, partition: int, many: int, seconds: float, outcome: str) -> None:
        """Somebody upstream writes in a transaction; while it is open, nothing behind it is stable."""
        name = f"upstream-{len(self.writers)}"
        self.writers[name] = 0
        self.broker.transactions[name] = Transaction([self._append(topic, partition, OPEN) for _ in range(many)])
        self.later(seconds, self.broker.end, name, COMMITTED if outcome == "commits" else ABORTED)

    def _do_resume(self, topic: str, partition: int) -> None:
        """A person lets a paused topic be read on."""
        value, headers = resumption(topic)
        self.log("clock", partition).append(str(partition), value, headers, COMMITTED)

    def _do_fetch_fails(self, partition: int) -> None:
        """The client cannot read a partition on."""
        for worker in self.workers.values():
            task = None if worker.owner.dead or not hasattr(worker, "clock") else worker.engine.tasks.get(partition)
            if task is not None:
                context = copy_context()
                context.run(OWNER.set, worker.owner)
                self.loop.call_soon(worker.engine._on_fetch_error, task, failed(KafkaError._FAIL), context=context)

    def _do_refuse_commit(self) -> None:
        self.broker.faults.refuse_commits += 1

    def _do_lose_answer(self) -> None:
        self.broker.faults.lose_answers += 1

    def _do_fail_restore(self) -> None:
        self.broker.faults.fail_restores += 1

    def _do_broker_away(self, seconds: float) -> None:
        self.broker.down = True
        self.later(seconds, self._broker_back)

    def _broker_back(self) -> None:
        self.broker.down = False

    def _do_stale_tick(self, partition: int, back: int) -> None:
        """A tick that was written before comes again."""
        log = self.log("clock", partition)
        ticks = [entry for entry in log.committed() if ("ce_type", b"duewatch.clock.ticked.v1") in entry.headers]
        if ticks:
            old = ticks[max(-back, -len(ticks))]
            log.append(old.key, old.value, old.headers, COMMITTED)

    def _do_unreadable_context(self, partition: int) -> None:
        """A context of a version that nobody here can read."""
        headers = (("ce_type", b"duewatch.context.set.v2"),)
        self.log("clock", partition).append(
            str(partition), b'{"version":"next","policy":"of a form to come"}', headers, COMMITTED
        )

    # -- the run

    def run(self, calm_s: float = 90.0) -> World:
        """Play the script, then wait until all is applied."""
        with simulated(self), self.loop.running():
            for op in self.script:
                self.later(op.at, self.do, op)
            self._until(max((op.at for op in self.script), default=0.0) + 0.01, lambda: False)
            self._calm()
            if not self._until(self.loop.now + calm_s, self._finished):
                self.violate(f"not everything is applied {calm_s:.0f} s after the last fault: {self._lag()}")
            self._until(self.loop.now + 1.0, lambda: False)
            for error in self.loop.errors():
                self.violate(f"a task failed unseen: {error}")
        return self

    def _until(self, end: float, holds: Callable[[], bool]) -> bool:
        checked = -1.0
        # A timer that is always there: time passes also when nobody has anything to do.
        self.later(max(end - self.loop.now, 0.0), lambda: None)
        while self.loop.now < end:
            if self.loop.now > checked + 0.5:
                checked = self.loop.now
                if holds():
                    return True
            if not self.loop.step():
                break
        return holds()

    def _calm(self) -> None:
        self.tell("· calm")
        self.broker.down = False
        faults = self.broker.faults
        faults.refuse_commits = faults.lose_answers = faults.fail_restores = 0
        for name in list(self.writers):
            self.broker.end(name, ABORTED)
        for worker in self.workers.values():
            if worker.owner.frozen and not worker.owner.dead:
                self._thaw(worker)
        self._do_start("last")  # the others may be on their way out
        self._resume_paused()
        self._calm_ends = [{topic: self._last(self.log(topic, n)) + 1 for topic in SOURCES} for n in range(PARTITIONS)]

    def _resume_paused(self) -> None:
        for partition in range(PARTITIONS):
            slices = self.log("journal", partition).committed()
            for topic in orjson.loads(slices[-1].value or b"")["paused"] if slices else ():
                self._do_resume(topic, partition)
        self.later(5.0, self._resume_paused)

    @staticmethod
    def _last(log: Log) -> int:
        """The offset of the last committed record, -1 when there is none."""
        return max((entry.offset for entry in log.committed()), default=-1)

    def _checkpoint(self, partition: int) -> dict[str, Any]:
        for entry in reversed(self.log("debtor-state", partition).entries):
            if entry.state == COMMITTED and entry.key == POSITIONS.encode():
                return dict(orjson.loads(entry.value or b"{}"))
        return {"positions": {}, "applied_tick": None, "number": 0}

    def _finished(self) -> bool:
        """All that was sent is applied, and a tick that was cut after it."""
        for partition, expected in enumerate(self._calm_ends):
            checkpoint = self._checkpoint(partition)
            if any(checkpoint["positions"].get(topic, 0) < end for topic, end in expected.items()):
                return False
            # A lazy tick waits for records to come with.
            lazy = self.spec.replay and self.spec.order == "arrival"
            if not lazy and not self._tick_after(partition, expected, checkpoint["applied_tick"]):
                return False
        return True

    def _tick_after(self, partition: int, expected: dict[str, int], applied: dict[str, Any] | None) -> bool:
        if applied is None:
            return False
        for entry in self.log("clock", partition).committed():
            tick = orjson.loads(entry.value or b"{}")
            if tick.get("number") == applied["number"]:
                return all(tick["ends"].get(topic, 0) >= end for topic, end in expected.items())
        return False

    def _lag(self) -> str:
        parts = []
        for partition, expected in enumerate(self._calm_ends):
            checkpoint = self._checkpoint(partition)
            parts.append(
                f"partition {partition} is at {checkpoint['positions']} of {expected}, tick {checkpoint['applied_tick']}"
            )
        return "; ".join(parts)


def _nobody() -> Context:
    context = copy_context()
    context.run(OWNER.set, None)
    return context


class _Pool:
    """Stands for a thread pool: the loop itself runs what it is given."""

    def __init__(self, *_: Any, **__: Any) -> None:
        return

    def submit(self, func: Any, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(func(*args))
        return future

    def shutdown(self, **_: Any) -> None:
        return


class _Log:
    """Puts into the history what the code under test logs."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, _level: str) -> Any:
        def tell(event: str, **fields: Any) -> None:
            owner = OWNER.get()
            text = " ".join(f"{name}={value}" for name, value in fields.items() if name != "agent")
            self._world.tell(f"{owner.name if owner else '?'}: {event} {text}"[:200])

        return tell


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """Put simulated clients where the code under test makes real ones."""
    broker = world.broker

    def producer(_kafka: Any, name: str, timeout_ms: int = 10_000, *_: Any, **__: Any) -> SimProducer:
        return SimProducer(broker, name, timeout_ms / 1000)

    def reader(*_: Any, **__: Any) -> SimReader:
        return SimReader(broker)

    def list_offsets(_admin: Any, places: Any) -> dict[tuple[str, int], int]:
        return ends(broker, places)

    class Wall(datetime):
        @classmethod
        def now(cls, _tz: Any = None) -> Wall:
            owner = OWNER.get()
            worker = next((w for w in world.workers.values() if w.owner is owner), None)
            at = WALL + timedelta(seconds=world.loop.now) + (worker.skew if worker else timedelta())
            return cast("Wall", at)

    log = _Log(world)
    with ExitStack() as stack:
        stack.enter_context(patch.multiple(streams.kafka.read, reader=reader))
        stack.enter_context(patch.multiple(streams.engine.ownership, log=log, fenced_producer=producer))
        stack.enter_context(patch.multiple(streams.clock.writer, fenced_producer=producer))
        stack.enter_context(
            patch.multiple(
                streams.clock.live,
                log=log,
                reader=reader,
                admin_client=lambda *_: None,
                list_offsets=list_offsets,
                ThreadPoolExecutor=_Pool,
                datetime=Wall,
            )
        )
        stack.enter_context(
            patch.multiple(streams.engine.engine, ThreadPoolExecutor=_Pool, Fetcher=SimFetcher, log=log, decode=quick_decode)
        )
        stack.enter_context(patch.multiple(streams.engine.apply, log=log, decode=quick_decode))
        stack.enter_context(patch.multiple(streams.engine.fetcher, log=log))
        # As few as a history has room for.
        stack.enter_context(patch.multiple(streams.engine.circuit_breaker, MIN_RECORDS=3, WINDOW=6))
        yield
