"""The processes of a replay on this machine: broker, worker and sink as children, supervised, and stopped in the end."""

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

MAX_RESTARTS = 5
STOP_S = 20.0
READY_S = 60.0
CHECK_EVERY_S = 0.2


class PartFailedError(UserError):
    """A process keeps ending; the message holds the end of its log."""


@dataclass(slots=True)
class _Part:
    name: str
    """Its name, which is also the command that runs it."""
    child: Child
    settings: Settings
    restarts: int = 0
    started_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Stack:
    """Worker and sink of one prefix, and the embedded broker where there is one. A context manager: no child outlives it."""

    settings: Settings
    logs: Path
    broker: EmbeddedBroker | None = None
    notify: Callable[[str], None] = print
    _parts: list[_Part] = field(default_factory=list)
    _checked_at: float = 0.0
    _is_interrupted: bool = False
    _is_stopping: bool = False
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
        if self._is_interrupted and not self._is_stopping:
            raise KeyboardInterrupt
        self._is_interrupted = True

    def start(self) -> None:
        """Start worker and sink; they become ready by themselves."""
        self.logs.mkdir(parents=True, exist_ok=True)
        for command in ("sink", "worker"):
            settings = self.settings.changed(web_port=free_port())
            self._parts.append(_Part(command, self._spawn(command, settings), settings))

    def _spawn(self, command: str, settings: Settings) -> Child:
        argv = [sys.executable, "-m", "streams.cli", command]
        return spawn(argv, settings.as_environment(), self.logs / f"{command}.log", name=f"the {command}")

    def supervise(self) -> None:
        """Restart what has ended. Raises KeyboardInterrupt after Ctrl-C, PartFailedError when a process keeps ending."""
        if self._is_interrupted:
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - self._checked_at < CHECK_EVERY_S:
            return
        self._checked_at = now
        if self.broker is not None and not self.broker.running:
            raise PartFailedError(f"the embedded broker has ended; its log is {self.logs / 'broker.log'}")
        for part in self._parts:
            # One that ends at once is given time: what it needs may become available.
            if not part.child.running and now - part.started_at > part.restarts:
                self._restart(part)

    def _restart(self, part: _Part) -> None:
        log = self.logs / f"{part.name}.log"
        what = f"the {part.name} ended unexpectedly (status {part.child.returncode})"
        if part.restarts >= MAX_RESTARTS:
            raise PartFailedError(f"{what}, {MAX_RESTARTS + 1} times. Its log {log} ends:\n{part.child.log_tail()}")
        part.restarts += 1
        self.notify(f"{what}: restarting it ({part.restarts} of {MAX_RESTARTS}); see {log}")
        part.child.kill()
        part.child = self._spawn(part.name, part.settings)
        part.started_at = time.monotonic()

    def wait_until_ready(self) -> None:
        """Wait until the worker has its partitions: joining a group takes seconds, in which nothing moves."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and not self._is_ready():
            self.supervise()
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        port = next(part.settings.web_port for part in self._parts if part.name == "worker")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
                status = json.loads(answer.read())
        except (OSError, ValueError):
            return False
        # A worker that nothing has been assigned to yet calls itself ready too.
        return bool(status["ready"] and status["partitions"].get("debtor"))

    def pid(self, name: str) -> int:
        """The process id of the worker or the sink, as it runs now."""
        return next(part.child.pid for part in self._parts if part.name == name)

    def stop(self, *, graceful: bool = True) -> None:
        """Stop the worker, then the sink, then the broker. May be repeated."""
        self._is_stopping = True
        for part in sorted(self._parts, key=lambda part: part.name, reverse=True):
            # The embedded broker forgets everything: a worker need not leave its group there.
            if graceful and (part.name == "sink" or self.broker is None):
                part.child.stop(STOP_S)
            else:
                part.child.kill()
        self._parts.clear()
        if self.broker is not None:
            self.broker.stop()
