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

WEEKS = 6
"""Weeks of issue (with invoices) on each side of a possible change that are compared. Weeks, because what is issued together is
paid together: fifteen invoices of one day are one observation."""
SHIFT = 0.5
"""By so much the mean of the weeks' shares of late invoices must differ between the two sides."""
BEFORE_DAYS, AFTER_DAYS, BIN_DAYS = 60, 120, 10
STRETCH_DAYS = 5
"""Half-way is reached in the first so many days whose mean forecast is at least half-way (score_quality.md 6)."""


@dataclass(frozen=True, slots=True)
class Change:
    """A debtor's behaviour changed on ``day`` (ordinal of issue), for the worse (+1) or the better (-1)."""

    customer_id: str
    day: int
    direction: int


@dataclass(frozen=True, slots=True)
class Followed:
    """What came, or what a scorer said, of the invoices issued so many days after the change; the better ones turned around."""

    name: str
    curve: list[tuple[float, float]]
    """(days after the change, share of late invoices)."""
    half_way: int | None
    """Days until the forecasts have gone half the way from before to after; None = not within ``AFTER_DAYS``."""


def find_changes(table: Table, rows: NDArray[np.bool_] | None = None) -> list[Change]:
    """At most one per debtor: where the share of late invoices differs most between the weeks before and after."""
    by_customer: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, customer in enumerate(table.customers):
        if table.late[i] != UNKNOWN and (rows is None or rows[i]):
            by_customer[customer][int(table.issued[i]) // 7].append(i)
    found = []
    for customer, weeks in by_customer.items():
        if len(weeks) < 2 * WEEKS:
            continue
        shares = [float(table.late[own].mean()) for own in weeks.values()]
        sums = np.concatenate(([0.0], np.cumsum(shares)))
        at = np.arange(WEEKS, len(shares) - WEEKS + 1)
        shift = (sums[at + WEEKS] + sums[at - WEEKS] - 2 * sums[at]) / WEEKS
        best = int(np.argmax(np.abs(shift)))
        if abs(shift[best]) >= SHIFT:
            first = list(weeks.values())[at[best]][0]
            found.append(Change(customer, int(table.issued[first]), 1 if shift[best] > 0 else -1))
    return found


def follow(
    table: Table, changes: Sequence[Change], scorers: Sequence[Forecasts], rows: NDArray[np.bool_] | None = None
) -> list[Followed]:
    """What came first, then each scorer, on the invoices around the changes (those of ``rows``, None = all)."""
    found = {change.customer_id: change for change in changes}
    near = np.array(
        [
            customer in found and late != UNKNOWN and -BEFORE_DAYS <= issued - found[customer].day < AFTER_DAYS
            for customer, late, issued in zip(table.customers, table.late, table.issued, strict=True)
        ],
        dtype=np.bool_,
    )
    if rows is not None:
        near &= rows
    if not near.any():
        return []
    own = [found[customer] for customer, is_near in zip(table.customers, near, strict=True) if is_near]
    after = table.issued[near] - np.array([change.day for change in own])
    turned = np.array([change.direction < 0 for change in own])
    y = _turned(table.late[near].astype(np.float64), turned)
    told = [Followed("what came", _curve(after, y), None)]
    goal = float(y[after >= 0].mean())
    for scorer in scorers:
        p = _turned(scorer.p[near], turned)
        told.append(Followed(scorer.title, _curve(after, p), half_way(after, p, goal)))
    return told


def _turned(values: Floats, turned: Floats | Ints) -> Floats:
    return np.where(turned, 1.0 - values, values)


def _curve(after: Ints, values: Floats) -> list[tuple[float, float]]:
    curve = []
    for low in range(-BEFORE_DAYS, AFTER_DAYS, BIN_DAYS):
        part = (after >= low) & (after < low + BIN_DAYS)
        if part.any():
            curve.append((low + BIN_DAYS / 2, float(values[part].mean())))
    return curve


def half_way(after: Ints, p: Floats, goal: float, share: float = 0.5, base: float | None = None) -> int | None:
    """Days until forecasts have gone ``share`` of the way from their mean before the change to ``goal``.

    >>> half_way(np.array([-5, -3, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7]), np.array([0.1] * 8 + [0.9] * 6), goal=0.9)
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
