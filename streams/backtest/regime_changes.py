"""How fast does a score follow a debtor whose behaviour changed? Changes are found afterwards, from outcomes alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.backtest.challengers import Forecasts
from streams.backtest.history import UNKNOWN, Table
from streams.backtest.statistics import Floats, Ints

COMPARED_WEEKS = 6
"""Weeks of issue (with invoices) that are compared on each side of a possible change. Weeks, because what is issued together is
paid together: fifteen invoices of one day are one observation."""
MIN_SHIFT = 0.5
"""The least difference between the two sides in the mean of the weeks' shares of late invoices."""
BEFORE_DAYS, AFTER_DAYS, BIN_DAYS = 60, 120, 10
STRETCH_DAYS = 5
"""Half-way is reached on the first day from which the mean forecast over this many days is at least half-way."""


@dataclass(frozen=True, slots=True)
class RegimeChange:
    """A debtor's behaviour changed on ``day`` (ordinal of issue), for the worse (+1) or the better (-1)."""

    customer_id: str
    day: int
    direction: int


@dataclass(frozen=True, slots=True)
class Adaptation:
    """How outcomes, or the forecasts of a scorer, moved around the changes; changes for the better are mirrored."""

    name: str
    curve: list[tuple[float, float]]
    """(days after the change, share of late invoices)."""
    days_to_half_way: int | None
    """Days until the forecasts have gone half the way from before to after; None = not within ``AFTER_DAYS``."""


def find_regime_changes(table: Table, rows: NDArray[np.bool_] | None = None) -> list[RegimeChange]:
    """At most one change per debtor: where the share of late invoices differs most between the weeks before and after."""
    by_customer: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, customer in enumerate(table.customers):
        if table.late[i] != UNKNOWN and (rows is None or rows[i]):
            by_customer[customer][int(table.issue_days[i]) // 7].append(i)
    changes = []
    for customer, weeks in by_customer.items():
        if len(weeks) < 2 * COMPARED_WEEKS:
            continue
        shares = [float(table.late[own].mean()) for own in weeks.values()]
        sums = np.concatenate(([0.0], np.cumsum(shares)))
        at = np.arange(COMPARED_WEEKS, len(shares) - COMPARED_WEEKS + 1)
        shift = (sums[at + COMPARED_WEEKS] + sums[at - COMPARED_WEEKS] - 2 * sums[at]) / COMPARED_WEEKS
        best = int(np.argmax(np.abs(shift)))
        if abs(shift[best]) >= MIN_SHIFT:
            first = list(weeks.values())[at[best]][0]
            changes.append(RegimeChange(customer, int(table.issue_days[first]), 1 if shift[best] > 0 else -1))
    return changes


def adaptations(
    table: Table, changes: Sequence[RegimeChange], scorers: Sequence[Forecasts], rows: NDArray[np.bool_] | None = None
) -> list[Adaptation]:
    """The outcomes and then each scorer, on the invoices around the changes (those of ``rows``, None = all)."""
    by_customer = {change.customer_id: change for change in changes}
    near = np.array(
        [
            customer in by_customer and late != UNKNOWN and -BEFORE_DAYS <= issue_day - by_customer[customer].day < AFTER_DAYS
            for customer, late, issue_day in zip(table.customers, table.late, table.issue_days, strict=True)
        ],
        dtype=np.bool_,
    )
    if rows is not None:
        near &= rows
    if not near.any():
        return []
    own = [by_customer[customer] for customer, is_near in zip(table.customers, near, strict=True) if is_near]
    after = table.issue_days[near] - np.array([change.day for change in own])
    is_improvement = np.array([change.direction < 0 for change in own])
    y = _mirror(table.late[near].astype(np.float64), is_improvement)
    curves = [Adaptation("what came", _curve(after, y), None)]
    goal = float(y[after >= 0].mean())
    for scorer in scorers:
        p = _mirror(scorer.p[near], is_improvement)
        curves.append(Adaptation(scorer.title, _curve(after, p), days_to_half_way(after, p, goal)))
    return curves


def _mirror(values: Floats, is_improvement: Floats | Ints) -> Floats:
    return np.where(is_improvement, 1.0 - values, values)


def _curve(after: Ints, values: Floats) -> list[tuple[float, float]]:
    curve = []
    for low in range(-BEFORE_DAYS, AFTER_DAYS, BIN_DAYS):
        part = (after >= low) & (after < low + BIN_DAYS)
        if part.any():
            curve.append((low + BIN_DAYS / 2, float(values[part].mean())))
    return curve


def days_to_half_way(after: Ints, p: Floats, goal: float, share: float = 0.5, base: float | None = None) -> int | None:
    """Days until forecasts have gone ``share`` of the way from their mean before the change to ``goal``.

    >>> days_to_half_way(np.array([-5, -3, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7]), np.array([0.1] * 8 + [0.9] * 6), goal=0.9)
    3
    """
    before = after < 0
    if base is None:
        if not before.any():
            return None
        base = float(p[before].mean())
    mark = base + share * (goal - base)
    for day in range(AFTER_DAYS):
        part = (after >= day) & (after < day + STRETCH_DAYS)
        if part.sum() > STRETCH_DAYS and (p[part].mean() - mark) * (goal - base) >= 0:
            return day
    return None
