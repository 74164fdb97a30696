"""An event loop with a virtual clock that chooses by a seed who goes next, and can freeze or kill the owner of a task.

Callbacks of one owner (a simulated process) keep their order, as in asyncio; between owners, and for whatever takes time,
chance decides. What runs in an executor runs as one step, except where it calls ``preempt``: there others may go on.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from itertools import count
from random import Random
from typing import Any, cast

MAX_NESTED = 4
MAX_STEPS = 100_000
FOR_EVER = float("inf")
PAUSES = (0.0, 0.001, 0.01, 0.05, 0.3)


class KilledError(BaseException):
    """Unwinds what a killed process had in work. No ``except Exception`` of the code under test holds it up."""


class StuckError(AssertionError):
    """Too many steps: something runs in circles without time passing."""


class Owner:
    """Whose callbacks they are: a process that can be frozen (SIGSTOP) and killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self.heard_at = 0.0
        """When the last thing that its threads said is heard."""
        self.frozen = False
        self.dead = False


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)


class Handle:
    """What a loop hands back for a callback."""

    __slots__ = ("args", "callback", "cancelled_", "context", "owner", "when")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context, owner: Owner) -> None:
        self.callback, self.args, self.context, self.owner = callback, args, context, owner
        self.cancelled_ = False
        self.when = 0.0

    def cancel(self) -> None:
        self.cancelled_ = True

    def cancelled(self) -> bool:
        return self.cancelled_


class SimLoop:
    """Enough of an event loop for tasks, futures, sleeps, locks and executors."""

    def __init__(self, chance: Random) -> None:
        self.now = 0.0
        self.chance = chance
        self.world = Owner("world")
        self.owners = [self.world]
        self.broker: Any = None
        """Where clients that are made within find their broker."""
        self._timers: list[tuple[float, int, Handle]] = []
        self._order = count()
        self._nested = 0
        self._steps = 0

    # -- what asyncio asks for

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody looked at is looked at in ``errors``."""

    def errors(self) -> list[str]:
        """Of tasks that failed unseen; those of who was killed do not count."""
        tasks = [task for owner in self.owners for task in owner.tasks if task.done() and not task.cancelled()]
        errors = [(task, task.exception()) for task in tasks]
        return [f"{task.get_coro().__qualname__}: {type(e).__name__}: {e}" for task, e in errors if e is not None]  # type: ignore[union-attr]

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast("Any", self))

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        owner = (context.get(OWNER) if context else OWNER.get()) or self.world
        task = asyncio.Task(coro, loop=cast("Any", self), name=name, context=context)
        owner.tasks.append(task)
        return task

    def _handle(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None) -> Handle:
        context = context or copy_context()
        return Handle(callback, args, context, context.get(cast("ContextVar[Owner]", OWNER)) or self.world)

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = self._handle(callback, args, context)
        if not handle.owner.dead:
            handle.owner.ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = self._handle(callback, args, context)
        handle.when = when
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        """From a thread: some time later, in the order of the calls."""
        owner = OWNER.get() or self.world
        owner.heard_at = max(owner.heard_at, self.now + self.pause())
        return self.call_at(owner.heard_at, callback, *args, context=context)

    def run_in_executor(self, _pool: Any, func: Any, *args: Any) -> Any:
        """After some time run it as one step, some time later tell the result."""
        future = self.create_future()

        def run() -> None:
            try:
                result, error = func(*args), None
            except KilledError:
                return
            except Exception as caught:  # noqa: BLE001 - handed on to whoever awaits it
                result, error = None, caught
            self.call_later(self.pause(), tell, result, error)

        def tell(result: Any, error: Exception | None) -> None:
            if not future.done():
                future.set_exception(error) if error else future.set_result(result)

        self.call_later(self.pause(), run)
        return future

    # -- the simulation's side

    def pause(self) -> float:
        """Seconds that something takes: mostly little, now and then much."""
        return PAUSES[int(self.chance.random() * len(PAUSES))]

    def spawn(self, owner: Owner, coroutine: Coroutine[Any, Any, Any]) -> None:
        """A task that belongs to an owner, with all that it starts; nothing when the owner is dead."""
        if owner.dead:
            coroutine.close()
            return
        context = copy_context()
        context.run(OWNER.set, owner)
        context.run(self.create_task, coroutine)

    def step(self, until: float = FOR_EVER) -> bool:
        """Run one callback; False when nothing is left to run at or before ``until``."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise StuckError("the simulation runs in circles")
        timers = self._timers
        while True:
            if timers and timers[0][0] <= self.now:
                self._wake()
            able = [owner for owner in self.owners if owner.ready and not owner.frozen]
            if able:
                break
            if not timers or timers[0][0] > until:
                return False
            self.now = max(self.now, timers[0][0])
        owner = able[0] if len(able) == 1 else self.chance.choice(able)
        handle = owner.ready.popleft()
        if not handle.cancelled_:
            handle.context.run(handle.callback, *handle.args)
        return True

    def _wake(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            handle = heapq.heappop(self._timers)[2]
            if not handle.owner.dead and not handle.cancelled_:
                handle.owner.ready.append(handle)

    def preempt(self) -> None:
        """Called where a thread waits for the broker: others may go on; who is frozen stops here, who is killed ends here."""
        owner = OWNER.get() or self.world
        if self._nested < MAX_NESTED and self.chance.random() < 0.5:
            self._nest(owner, self.now + self.pause())
        if owner.dead:
            raise KilledError

    def _nest(self, owner: Owner, until: float) -> None:
        """Others go on, for a while, and as long as the owner is frozen."""
        self._nested += 1
        try:
            for _ in range(self.chance.choice((1, 3, 10, 30))):
                if not self.step(until):
                    break
            while owner.frozen and not owner.dead and self.step():
                pass
        finally:
            self._nested -= 1

    def kill(self, owner: Owner) -> None:
        owner.dead = True
        if owner in self.owners:
            self.owners.remove(owner)
        for task in owner.tasks:
            if not task.done():
                with suppress(KilledError, RuntimeError):
                    cast("Any", task.get_coro()).close()
        owner.ready.clear()
        owner.tasks.clear()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within, this is asyncio's running loop."""
        before = events._get_running_loop()
        events._set_running_loop(cast("Any", self))
        try:
            yield
        finally:
            for owner in list(self.owners):
                self.kill(owner)
            events._set_running_loop(before)
