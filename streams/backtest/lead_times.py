"""How early were we told? Invoices called late before they were due, and debtors called bad before they defaulted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streams.backtest.history import DEFAULT_DAYS, Table, Warned
from streams.backtest.scorecard import Rows
from streams.backtest.statistics import Bootstrap, Interval, wilson

CALLED = 0.5
"""An invoice is called late when it is more likely late than not."""
LOOK_BACK_DAYS = 180
"""A warning longer before a default is no warning of this one."""
ANY = "any of these"


@dataclass(frozen=True, slots=True)
class Calls:
    """Invoices that were called late at issue: days from issue to due of those that were late, called and not called."""

    called_early: list[int]
    not_called: list[int]
    called: int
    right: int

    @property
    def late(self) -> int:
        return len(self.called_early) + len(self.not_called)

    @property
    def caught(self) -> float:
        """Share of the late invoices that had been called."""
        return len(self.called_early) / self.late if self.late else 0.0

    @property
    def precision(self) -> float:
        """Share of the calls that came true."""
        return self.right / self.called if self.called else 0.0


@dataclass(frozen=True, slots=True)
class Lead:
    """One kind of warning before defaults. ``days``: per warned debtor, from its first warning to its default."""

    kind: str
    days: list[int]
    defaulted: int
    median: Interval | None
    false_alarms: int
    good: int
    """Debtors that did not default."""

    @property
    def caught_interval(self) -> tuple[float, float]:
        return wilson(len(self.days), self.defaulted)

    @property
    def false_interval(self) -> tuple[float, float]:
        return wilson(self.false_alarms, self.good)


def calls(table: Table, rows: Rows) -> Calls:
    """Of the judged invoices."""
    lead, late, called = table.due - table.issued, table.late == 1, table.p_late >= CALLED
    return Calls(
        lead[rows & late & called].tolist(),
        lead[rows & late & ~called].tolist(),
        int((rows & called).sum()),
        int((rows & late & called).sum()),
    )


def defaults(table: Table) -> dict[str, int]:
    """Debtor -> the day (ordinal) of its first default: 90 days past due, written off, or known to be insolvent (D8)."""
    days: dict[str, int] = dict(table.history.bad_days)
    for customer, due, label in zip(table.customers, table.due.tolist(), table.default.tolist(), strict=True):
        if label == 1:
            days[customer] = min(days.get(customer, due + DEFAULT_DAYS), due + DEFAULT_DAYS)
    return days


def leads(warnings: Sequence[Warned], defaulted: Mapping[str, int], debtors: Sequence[str]) -> list[Lead]:
    """Per kind of warning, and for all together. A debtor that did not default but was warned of is a false alarm."""
    first: dict[str, dict[str, int]] = defaultdict(dict)
    for customer, kind, day in warnings:
        end = defaulted.get(customer)
        if end is not None and not end - LOOK_BACK_DAYS <= day < end:
            continue
        for name in (kind, ANY):
            first[name].setdefault(customer, day)
    good = [customer for customer in set(debtors) if customer not in defaulted]
    kinds = sorted(first.keys() - {ANY}) + ([ANY] if first else [])
    return [_lead(kind, first[kind], defaulted, good) for kind in kinds]


def _lead(kind: str, first: Mapping[str, int], defaulted: Mapping[str, int], good: Sequence[str]) -> Lead:
    days = sorted(defaulted[customer] - day for customer, day in first.items() if customer in defaulted)
    alarms = sum(customer in first for customer in good)
    return Lead(kind, days, len(defaulted), median_interval(days), alarms, len(good))


def median_interval(days: Sequence[float]) -> Interval | None:
    """The median with its bootstrap interval; None of nothing."""
    if not days:
        return None
    values = np.asarray(days, dtype=np.float64)
    return Bootstrap(np.arange(len(values))).median(values)
