"""Read a partition's rows back, read-committed, to its end: in this process, or in a child that does nothing else.

The child (`python -m streams.engine.restore_process`) gets its request on standard input and answers on standard output; it ends
with its answer, or at once when its standard input is closed: by the worker, or by the kernel when there is no worker any more.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pkgutil import resolve_name
from threading import Lock, Thread
from typing import IO, cast

import msgspec

from streams.engine.keys import is_engine_key
from streams.kafka.read import read_rows, records

PROGRAM = ("-m", __name__)

Prepare = Callable[[Iterable[tuple[str, bytes | None]]], bytes]
"""Packs the rows of a brain: ``agents.brain.RestoresAll.prepare``."""


class ReadingFailedError(RuntimeError):
    """The process that was to read has failed; the message holds the end of what it wrote on standard error."""


class RestoredRows(msgspec.Struct):
    """A partition's rows: the engine's ``own``, and the brain's as they are (``rows``) or ``prepared``."""

    own: dict[str, bytes]
    rows: dict[str, bytes] = {}
    prepared: bytes | None = None


class RestoreRequest(msgspec.Struct):
    """What the process is to read. ``prepare``: MODULE:NAME."""

    kafka: dict[str, str]
    topic: str
    partition: int
    prepare: str


def read(kafka: Mapping[str, str], topic: str, partition: int, prepare: Prepare | None) -> RestoredRows:
    """Read in this process; with ``prepare`` the brain's rows are prepared. Raises KafkaException."""
    if prepare is None:
        rows = read_rows(kafka, topic, partition)
        return RestoredRows({key: rows.pop(key) for key in [key for key in rows if is_engine_key(key)]}, rows)
    own: dict[str, bytes] = {}
    prepared = prepare(_brain_rows(records(kafka, topic, partition), own))
    return RestoredRows(own, prepared=prepared)


def _brain_rows(rows: Iterable[tuple[str, bytes | None]], own: dict[str, bytes]) -> Iterator[tuple[str, bytes | None]]:
    """The rows of the brain; those of the engine go into ``own``. The engine deletes none of its rows."""
    for row in rows:
        key, value = row
        if not is_engine_key(key):
            yield row
        elif value is not None:
            own[key] = value


class RestoreProcesses:
    """The processes that read for one engine, one for each partition. Any thread may call."""

    def __init__(self) -> None:
        self._children: set[subprocess.Popen[bytes]] = set()
        self._changing, self._ended = Lock(), False

    def read(self, kafka: Mapping[str, str], topic: str, partition: int, prepare: Prepare) -> RestoredRows:
        """Read in a process of its own; ``prepare`` is a function of a module. Raises ReadingFailedError."""
        request = RestoreRequest(dict(kafka), topic, partition, f"{prepare.__module__}:{prepare.__qualname__}")
        with tempfile.TemporaryFile() as errors, self._start(errors) as child:
            with suppress(BrokenPipeError):  # then its status tells
                cast("IO[bytes]", child.stdin).write(msgspec.json.encode(request) + b"\n")
            answer = cast("IO[bytes]", child.stdout).read()
            status = child.wait()
            with self._changing:
                self._children.discard(child)
            if status:
                errors.seek(0)
                text = errors.read().decode(errors="replace").strip()[-500:]
                raise ReadingFailedError(f"{' '.join(PROGRAM)} for {topic} {partition} {_how(status)}: {text}")
        return msgspec.msgpack.decode(answer, type=RestoredRows)

    def _start(self, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._changing:
            if self._ended:
                raise ReadingFailedError("the worker stops: nothing is read any more")
            child = subprocess.Popen(
                [sys.executable, *PROGRAM], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
            self._children.add(child)
            return child

    def end(self) -> None:
        """The worker stops: those that read are killed, and none begins any more."""
        with self._changing:
            self._ended = True
            for child in self._children:
                child.kill()


def _how(status: int) -> str:
    """How a process ended.

    >>> _how(1), _how(-9)
    ('ended with status 1', 'was killed by SIGKILL (as the kernel does when memory runs out)')
    """
    if status >= 0:
        return f"ended with status {status}"
    number = signal.Signals(-status)
    return f"was killed by {number.name}" + (" (as the kernel does when memory runs out)" if number is signal.SIGKILL else "")


def main() -> None:
    """Answer one request, and end: nothing is collected, nothing taken apart at the end."""
    gc.disable()
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=RestoreRequest)
    Thread(target=_end_with_the_worker, daemon=True).start()
    rows = read(request.kafka, request.topic, request.partition, resolve_name(request.prepare))
    sys.stdout.buffer.write(msgspec.msgpack.encode(rows))
    sys.stdout.buffer.flush()
    os._exit(0)


def _end_with_the_worker() -> None:
    # Not by sys.stdin, whose lock would still be held when the interpreter ends.
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
