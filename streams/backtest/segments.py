"""Where is the score right, and where not? The judged invoices cut by debtor size, experience, amount and master data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streams.backtest.challengers import Forecasts
from streams.backtest.history import COLD, Table
from streams.backtest.scorecard import FEW, Rows
from streams.backtest.statistics import Bootstrap, Interval, Quality, quality

SIZES = (20, 60, 200, 500, 2_000)
"""Invoices of the debtor in the whole history: the classes of score_quality.md 2."""
MOST_VALUES = 6
"""Values of a field of the master data that are shown, the most frequent ones."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the judged invoices: how well the score did, and what it said less than came (above zero: too hopeful)."""

    family: str
    name: str
    quality: Quality
    said: float
    missed_by: Interval
    bar: Quality | None
    """The same of the challenger that it is held against."""


def segments(table: Table, ours: Forecasts, bar: Forecasts | None, rows: Rows) -> list[Segment]:
    """Every part with enough invoices; intervals by a bootstrap over weeks of issue."""
    found = []
    for family, name, whole in _parts(table, rows):
        part = whole & rows
        if part.sum() < FEW:
            continue
        y, p = table.late[part], ours.p[part]
        one = quality(y, p)
        if one is None:
            continue
        blocks = Bootstrap(table.weeks[part])
        bar_quality = None if bar is None else quality(y, bar.p[part])
        found.append(Segment(family, name, one, float(p.mean()), blocks.mean(y - p), bar_quality))
    return found


def _parts(table: Table, rows: Rows) -> Iterator[tuple[str, str, Rows]]:
    yield "experience", f"fewer than {COLD} earlier invoices", table.cold
    yield "experience", f"{COLD} or more", ~table.cold
    yield from _sizes(table)
    yield from _amounts(table, rows)
    for family in ("country", "segment", "industry"):
        yield from _values(table, family, rows)


def _sizes(table: Table) -> Iterator[tuple[str, str, Rows]]:
    counts = Counter(table.customers)
    size = np.array([counts[customer] for customer in table.customers])
    for low, high in zip((0, *SIZES), (*SIZES, None), strict=True):
        part = (size >= low) & (size < high) if high else size >= low
        yield "debtor size", f"{low:,} to {high - 1:,} invoices" if high else f"{low:,} and more invoices", part


def _amounts(table: Table, rows: Rows) -> Iterator[tuple[str, str, Rows]]:
    """Quarters of the judged invoices by amount."""
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


def _values(table: Table, family: str, rows: Rows) -> Iterator[tuple[str, str, Rows]]:
    column = table.segment(family)
    values = Counter(column[rows].tolist())
    values.pop("", None)
    if len(values) < 2:
        return
    for value, _ in sorted(values.items(), key=lambda item: (-item[1], item[0]))[:MOST_VALUES]:
        yield family, value, column == value
