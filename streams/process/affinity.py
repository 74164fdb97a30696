"""The processor core on which a worker's Python runs.

Python runs one thread at a time. Where the system spreads a worker's threads over the cores, every hand-over of the interpreter
wakes another core and finds its caches cold; on one core a worker on a backlog does a tenth more (README). librdkafka's threads
need no interpreter and go wherever there is room, as do the processes that a worker starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from streams.errors import UserError

CORES = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset[int]()
"""The cores that this process had when it started; empty where the system does not say."""


def pin_to_core(core: int) -> None:
    """Keep this thread, and those that it starts from now on, on one core. Raises UserError where there is no such core."""
    if core not in CORES:
        cores = ", ".join(map(str, sorted(CORES))) or "none that this system lets a process choose"
        raise UserError(f"DUEWATCH_CORE is {core}, but the cores are {cores}: name one of them, or leave it out")
    os.sched_setaffinity(0, {core})


@contextmanager
def on_all_cores() -> Iterator[None]:
    """Threads and processes that are started within may run on all cores, whatever core their starter is pinned to."""
    pinned = os.sched_getaffinity(0) if CORES else CORES
    if pinned == CORES:
        yield  # nothing is pinned: do not ask a system that may forbid to choose
        return
    os.sched_setaffinity(0, CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, pinned)
