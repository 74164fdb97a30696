"""How early are warnings? Invoices that were called late at issue, and debtors that were called bad before they defaulted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agents.debtor.alerts.types import EARLY_WARNING_DAYS
from schemas.events.policies import DEFAULT_DAYS
from streams.backtest.history import DebtorWarning, Table
from streams.backtest.scorecard import Mask
from streams.backtest.statistics import Bootstrap, Interval, wilson

CALLED_LATE_FROM = 0.5
"""An invoice is called late when it is more likely late than not."""
ANY_KIND = "any of these"


@dataclass(frozen=True, slots=True)
class LateCalls:
    """Invoices that were called late at issue.

    ``called_early`` and ``not_called`` are the days from issue to due of those that were late.
    """

    called_early: list[int]
    not_called: list[int]
    called: int
    right: int

    @property
    def late(self) -> int:
        return len(self.called_early) + len(self.not_called)

    @property
    def caught_share(self) -> float:
        """The share of the late invoices that had been called late."""
        return len(self.called_early) / self.late if self.late else 0.0

    @property
    def precision(self) -> float:
        """The share of the calls that came true."""
        return self.right / self.called if self.called else 0.0


@dataclass(frozen=True, slots=True)
class LeadTime:
    """How long one kind of warning comes before defaults. ``days``: per debtor, from its first warning to its default."""

    kind: str
    days: list[int]
    defaulted: int
    median: Interval | None
    false_alarms: int
    good: int
    """The number of debtors that did not default."""

    @property
    def caught_interval(self) -> tuple[float, float]:
        return wilson(len(self.days), self.defaulted)

    @property
    def false_interval(self) -> tuple[float, float]:
        return wilson(self.false_alarms, self.good)


def late_calls(table: Table, rows: Mask) -> LateCalls:
    """How many of the judged invoices were called late at issue, and rightly."""
    days, late, called = table.due - table.issue_days, table.late == 1, table.p_late >= CALLED_LATE_FROM
    return LateCalls(
        days[rows & late & called].tolist(),
        days[rows & late & ~called].tolist(),
        int((rows & called).sum()),
        int((rows & late & called).sum()),
    )


def defaults(table: Table) -> dict[str, int]:
    """Debtor -> the day (ordinal) of its first default: 90 days past due, written off, or known to be insolvent."""
    days: dict[str, int] = dict(table.history.bad_days)
    for customer, due, label in zip(table.customers, table.due.tolist(), table.default.tolist(), strict=True):
        if label == 1:
            days[customer] = min(days.get(customer, due + DEFAULT_DAYS), due + DEFAULT_DAYS)
    return days


def lead_times(warnings: Sequence[DebtorWarning], defaulted: Mapping[str, int], debtors: Sequence[str]) -> list[LeadTime]:
    """Lead times per kind of warning, and of all kinds together; a warning of a debtor that never defaults is a false alarm."""
    first: dict[str, dict[str, int]] = defaultdict(dict)
    for customer, kind, day in warnings:
        end = defaulted.get(customer)
        if end is not None and not end - EARLY_WARNING_DAYS <= day < end:
            continue
        for name in (kind, ANY_KIND):
            first[name].setdefault(customer, day)
    good = [customer for customer in set(debtors) if customer not in defaulted]
    kinds = sorted(first.keys() - {ANY_KIND}) + ([ANY_KIND] if first else [])
    return [_lead_time(kind, first[kind], defaulted, good) for kind in kinds]


def _lead_time(kind: str, first: Mapping[str, int], defaulted: Mapping[str, int], good: Sequence[str]) -> LeadTime:
    days = sorted(defaulted[customer] - day for customer, day in first.items() if customer in defaulted)
    alarms = sum(customer in first for customer in good)
    return LeadTime(kind, days, len(defaulted), median_interval(days), alarms, len(good))


def median_interval(days: Sequence[float]) -> Interval | None:
    """The median with its bootstrap interval; None where there are no days."""
    if not days:
        return None
    values = np.asarray(days, dtype=np.float64)
    return Bootstrap(np.arange(len(values))).median(values)
