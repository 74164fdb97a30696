"""Where the processor time goes: looks at all threads every few milliseconds, and books what each has used since the last look
into a drawer by what it is doing now. Linux: the time of a thread is read from /proc.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import NamedTuple, Self

EVERY_S = 0.005
NATIVE = "librdkafka and other threads without Python"


class Drawer(NamedTuple):
    """A label for frames of files whose path holds ``place``; only in ``functions``, where any are named."""

    label: str
    place: str
    functions: frozenset[str] = frozenset()


def _drawer(label: str, place: str, *functions: str) -> Drawer:
    return Drawer(label, place, frozenset(functions))


DOMAINS = ("payments", "bank", "insolvency", "scoring", "limits", "alerts")
FETCH = "fetch (aiokafka, Faust, event loop)"
DRAWERS = (
    _drawer("encode outputs", "/streams/kafka/codec.py", "encode", "json_of"),
    _drawer("encode outputs", "/schemas/cloudevents.py", "headers_of", "_format_time"),
    _drawer("decode", "/streams/kafka/codec.py"),
    _drawer("decode", "/schemas/cloudevents.py"),
    *(_drawer(f"react: {name}", f"/agents/debtor/{name}/") for name in DOMAINS),
    _drawer("react: making outputs", "/agents/debtor/outputs/"),
    _drawer("encode and decode rows", "/agents/debtor/state.py", "encode", "decode"),
    _drawer("react: order of the domains", "/agents/debtor/react.py"),
    _drawer("react: order of the domains", "/agents/debtor/unit_of_work.py"),
    _drawer("react: facts, deadlines, labels", "/agents/debtor/handlers/"),
    _drawer("brain: rows, deadlines", "/agents/debtor/"),
    _drawer("learner", "/agents/learner/"),
    _drawer("clock", "/streams/clock/live.py"),
    _drawer("produce and commit", "/streams/engine/transaction.py", "_produce", "commit"),
    _drawer("compose what a slice writes", "/streams/engine/transaction.py"),
    _drawer("engine: slices, positions", "/streams/engine/"),
    _drawer(FETCH, "/aiokafka/"),
    _drawer(FETCH, "/streams/worker/membership.py"),
    _drawer(FETCH, "/faust/"),
    _drawer(FETCH, "/asyncio/"),
)
"""In order: the first drawer that fits the innermost frame counts, then the next frame out, and so on."""


def label_of(frames: list[tuple[str, str]]) -> str:
    """The drawer of a stack: (file, function), innermost first.

    >>> label_of([("/x/decimal.py", "add"), ("/r/agents/debtor/bank/decide.py", "book"), ("/r/agents/debtor/react.py", "react")])
    'react: bank'
    """
    for file, function in frames:
        for drawer in DRAWERS:
            if drawer.place in file and (not drawer.functions or function in drawer.functions):
                return drawer.label
    return "other"


def _stack(frame: FrameType | None) -> list[tuple[str, str]]:
    frames = []
    while frame is not None:
        frames.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    return frames


def _used_ns(native_id: int) -> int:
    """Processor time of one of our threads, 0 when it has ended."""
    with suppress(OSError):
        return int(Path(f"/proc/self/task/{native_id}/schedstat").read_text().split()[0])
    return 0


class Sampler:
    """A context manager; ``spent_ns`` is processor time by drawer, of all threads but its own."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self.spent_ns: Counter[str] = Counter()
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._before: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        before = time.process_time_ns()
        for thread in threading.enumerate():
            self._before[thread.native_id or 0] = _used_ns(thread.native_id or 0)
        while not self._ended.is_set():
            time.sleep(self._every_s)
            self._look()
        # What no thread of Python's has used was used by libraries' own.
        total = time.process_time_ns() - before - time.thread_time_ns()
        self.spent_ns[NATIVE] = max(0, total - sum(self.spent_ns.values()))

    def _look(self) -> None:
        frames = sys._current_frames()
        for thread in threading.enumerate():
            native_id, frame = thread.native_id or 0, frames.get(thread.ident or 0)
            if thread is self._thread or frame is None:
                continue
            total = _used_ns(native_id)
            delta = total - self._before.get(native_id, total)
            self._before[native_id] = total
            if delta > 0:
                self.spent_ns[label_of(_stack(frame))] += delta
