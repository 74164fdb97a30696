"""Where is the score right, and where not? The judged invoices by debtor size, experience, amount and master data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streams.backtest.challengers import Forecasts
from streams.backtest.history import COLD, Table
from streams.backtest.scorecard import FEW, Mask
from streams.backtest.statistics import Bootstrap, Interval, Quality, quality

SIZES = (20, 60, 200, 500, 2_000)
"""Bounds of the classes of debtors by their invoices in the whole history."""
MAX_VALUES = 6
"""At most this many values of a field of the master data are shown, the most frequent ones."""


@dataclass(frozen=True, slots=True)
class SegmentQuality:
    """How good the score was on a part of the judged invoices.

    ``bias`` is the share that was late less the mean forecast: above zero, the score was too optimistic.
    """

    family: str
    name: str
    quality: Quality
    mean_forecast: float
    bias: Interval
    benchmark: Quality | None
    """The quality of the challenger beside which ours is shown."""


def segment_qualities(table: Table, own: Forecasts, benchmark: Forecasts | None, rows: Mask) -> list[SegmentQuality]:
    """The quality on every part with enough invoices; intervals by a bootstrap over weeks of issue."""
    qualities = []
    for family, name, whole in _parts(table, rows):
        part = whole & rows
        if part.sum() < FEW:
            continue
        y, p = table.late[part], own.p[part]
        part_quality = quality(y, p)
        if part_quality is None:
            continue
        bootstrap = Bootstrap(table.weeks[part])
        benchmark_quality = None if benchmark is None else quality(y, benchmark.p[part])
        qualities.append(SegmentQuality(family, name, part_quality, float(p.mean()), bootstrap.mean(y - p), benchmark_quality))
    return qualities


def _parts(table: Table, rows: Mask) -> Iterator[tuple[str, str, Mask]]:
    yield "experience", f"fewer than {COLD} earlier invoices", table.cold
    yield "experience", f"{COLD} or more", ~table.cold
    yield from _sizes(table)
    yield from _amounts(table, rows)
    for family in ("country", "segment", "industry"):
        yield from _values(table, family, rows)


def _sizes(table: Table) -> Iterator[tuple[str, str, Mask]]:
    counts = Counter(table.customers)
    size = np.array([counts[customer] for customer in table.customers])
    for low, high in zip((0, *SIZES), (*SIZES, None), strict=True):
        part = (size >= low) & (size < high) if high else size >= low
        yield "debtor size", f"{low:,} to {high - 1:,} invoices" if high else f"{low:,} and more invoices", part


def _amounts(table: Table, rows: Mask) -> Iterator[tuple[str, str, Mask]]:
    """The quarters of the judged invoices by amount."""
    if not rows.any():
        return
    edges = np.unique(np.quantile(table.amount[rows], (0.25, 0.5, 0.75)))
    for low, high in zip((None, *edges), (*edges, None), strict=True):
        part = np.ones(len(table), dtype=np.bool_)
        if low is not None:
            part &= table.amount >= low
        if high is not None:
            part &= table.amount < high
        name = f"below {high:,.0f}" if low is None and high is not None else f"{low or 0:,.0f} and more"
        yield "amount", name if low is None or high is None else f"{low:,.0f} to {high:,.0f}", part


def _values(table: Table, family: str, rows: Mask) -> Iterator[tuple[str, str, Mask]]:
    column = table.segment(family)
    values = Counter(column[rows].tolist())
    values.pop("", None)
    if len(values) < 2:
        return
    for value, _ in sorted(values.items(), key=lambda item: (-item[1], item[0]))[:MAX_VALUES]:
        yield family, value, column == value
