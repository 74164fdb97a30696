"""Garbage collection and heap: processes that hold a million small rows must not walk them all again and again."""

from __future__ import annotations

import ctypes
import gc

YOUNG, MIDDLE, OLD = 100_000, 50, 1_000
"""Thresholds: allocations before a young collection, young ones before a middle one, middle ones before a full one.

Rows are frozen values without cycles. With Python's own thresholds a backtest of 45,000 events spends a quarter of it in full
collections that free nothing; what asyncio leaves behind is young and still found.
"""


def tune_for_many_rows() -> None:
    """Set the collector's thresholds for a process that holds or makes many rows."""
    gc.set_threshold(YOUNG, MIDDLE, OLD)


def trim_heap() -> None:
    """Return freed memory between living objects to the system, where the C library can do that (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
