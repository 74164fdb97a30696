"""The parts of a replay on this machine: broker, worker and sink as child processes, watched, and stopped in the end."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from streams.errors import UserError
from streams.kafka.embedded import EmbeddedBroker
from streams.process.children import Child, free_port, spawn
from streams.settings import Settings

RESTARTS = 5
STOP_S = 20.0
READY_S = 60.0
LOOK_EVERY_S = 0.2


class PartFailedError(UserError):
    """A part keeps ending; the message holds the end of its log."""


@dataclass(slots=True)
class _Part:
    name: str
    """Also the command that runs it."""
    child: Child
    settings: Settings
    restarts: int = 0
    began: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Stack:
    """Worker and sink of one prefix, and the broker when it is the embedded one. A context manager: nothing outlives it."""

    settings: Settings
    logs: Path
    broker: EmbeddedBroker | None = None
    notice: Callable[[str], None] = print
    _parts: list[_Part] = field(default_factory=list)
    _looked: float = 0.0
    _interrupted: bool = False
    _stopping: bool = False
    _handlers: dict[signal.Signals, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        try:
            self.stop(graceful=kind is None or issubclass(kind, KeyboardInterrupt))
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        # Not raised here: a KeyboardInterrupt inside a call of librdkafka ends as a SystemError ("returned NULL").
        if self._interrupted and not self._stopping:
            raise KeyboardInterrupt
        self._interrupted = True

    def start(self) -> None:
        """Start worker and sink; they become ready by themselves."""
        self.logs.mkdir(parents=True, exist_ok=True)
        for command in ("sink", "worker"):
            settings = self.settings.changed(web_port=free_port())
            self._parts.append(_Part(command, self._spawn(command, settings), settings))

    def _spawn(self, command: str, settings: Settings) -> Child:
        argv = [sys.executable, "-m", "streams.cli", command]
        return spawn(argv, settings.as_environment(), self.logs / f"{command}.log", name=f"the {command}")

    def tend(self) -> None:
        """Start again what has ended. Raises KeyboardInterrupt after Ctrl-C, PartFailedError when a part keeps ending."""
        if self._interrupted:
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        if self.broker is not None and not self.broker.running:
            raise PartFailedError(f"the embedded broker has ended; its log is {self.logs / 'broker.log'}")
        for part in self._parts:
            # One that ends at once is given time: what it lacks may come.
            if not part.child.running and now - part.began > part.restarts:
                self._again(part)

    def _again(self, part: _Part) -> None:
        log = self.logs / f"{part.name}.log"
        ended = f"the {part.name} ended unexpectedly (status {part.child.returncode})"
        if part.restarts >= RESTARTS:
            raise PartFailedError(f"{ended}, {RESTARTS + 1} times. Its log {log} ends:\n{part.child.log_tail()}")
        part.restarts += 1
        self.notice(f"{ended}: starting it again ({part.restarts} of {RESTARTS}); see {log}")
        part.child.kill()
        part.child = self._spawn(part.name, part.settings)
        part.began = time.monotonic()

    def wait_until_ready(self) -> None:
        """Wait until the worker has its partitions: joining a group takes seconds, in which nothing moves."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and not self._ready():
            self.tend()
            time.sleep(0.05)

    def _ready(self) -> bool:
        port = next(part.settings.web_port for part in self._parts if part.name == "worker")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
                told = json.loads(answer.read())
        except (OSError, ValueError):
            return False
        # A worker that nothing has been assigned to yet calls itself ready too.
        return bool(told["ready"] and told["partitions"].get("debtor"))

    def pid(self, name: str) -> int:
        """Of a part, as it runs now."""
        return next(part.child.pid for part in self._parts if part.name == name)

    def stop(self, *, graceful: bool = True) -> None:
        """Stop the worker, then the sink, then the broker. May be repeated."""
        self._stopping = True
        for part in sorted(self._parts, key=lambda part: part.name, reverse=True):
            # The embedded broker forgets everything: a worker need not leave its group there.
            if graceful and (part.name == "sink" or self.broker is None):
                part.child.stop(STOP_S)
            else:
                part.child.kill()
        self._parts.clear()
        if self.broker is not None:
            self.broker.stop()
