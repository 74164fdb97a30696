"""The figures of the judgement: each scorer on all, cold and warm debtors, and how far our own is ahead, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.backtest.challengers import Forecasts
from streams.backtest.history import UNKNOWN, Table
from streams.backtest.statistics import (
    Bootstrap,
    Chance,
    Floats,
    Interval,
    Quality,
    ece_if_calibrated,
    likeness,
    log_losses,
    quality,
)

Rows = NDArray[np.bool_]
FEW = 30
"""Fewer invoices than this are not judged by themselves."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One scorer on one part of the invoices."""

    scorer: Forecasts
    all: Quality | None
    cold: Quality | None
    warm: Quality | None
    auc: Interval | None
    log_loss: Interval | None
    ece_if_calibrated: Chance | None
    """What ``all.ece`` would be by chance alone, had every forecast been right; siblings are as alike as they were."""

    def figures(self) -> dict[str, Any]:
        """As metrics.json holds them."""
        return {
            "title": self.scorer.title,
            "all": _plain(self.all),
            "cold": _plain(self.cold),
            "warm": _plain(self.warm),
            "auc_interval": _ends(self.auc),
            "log_loss_interval": _ends(self.log_loss),
            "ece_if_calibrated": None if self.ece_if_calibrated is None else asdict(self.ece_if_calibrated),
            "microseconds": self.scorer.microseconds,
            "microseconds_whole": self.scorer.microseconds_whole,
        }


@dataclass(frozen=True, slots=True)
class Ahead:
    """Our own score less another: below zero in log loss, and above zero in AUC, is ours better."""

    scorer: Forecasts
    log_loss: Interval
    auc: Interval | None

    def figures(self) -> dict[str, Any]:
        return {"log_loss": _whole(self.log_loss), "auc": _whole(self.auc)}


def judged_rows(table: Table, burn_in: int) -> Rows:
    """The invoices whose label has matured, without the first ``burn_in`` issued."""
    rows: Rows = (table.late != UNKNOWN) & (np.arange(len(table)) >= burn_in)
    return rows


def judge(table: Table, scorer: Forecasts, rows: Rows) -> Judged:
    """One scorer; intervals by a bootstrap over the weeks of issue."""
    y, p = table.late[rows], scorer.p[rows]
    weeks = Bootstrap(table.weeks[rows]) if len(y) >= FEW else None
    siblings = table.siblings[rows]
    return Judged(
        scorer,
        quality(y, p),
        quality(table.late[rows & table.cold], scorer.p[rows & table.cold]),
        quality(table.late[rows & ~table.cold], scorer.p[rows & ~table.cold]),
        None if weeks is None else weeks.auc(y, p),
        None if weeks is None else weeks.mean(log_losses(y, p)),
        None if weeks is None else ece_if_calibrated(p, siblings, likeness(y, p, siblings)),
    )


def ahead(table: Table, ours: Forecasts, others: Sequence[Forecasts], rows: Rows) -> list[Ahead]:
    """Our score against each of the others, over the same resamples of weeks."""
    y = table.late[rows]
    if len(y) < FEW:
        return []
    weeks = Bootstrap(table.weeks[rows])
    own = log_losses(y, ours.p[rows])
    return [
        Ahead(other, weeks.mean(own - log_losses(y, other.p[rows])), weeks.auc_difference(y, ours.p[rows], other.p[rows]))
        for other in others
    ]


def payment_dates(table: Table, said: Floats, rows: Rows) -> dict[str, Any] | None:
    """Mean absolute error in days of an expected payment day (ordinal, NaN = none), beside the due date's own.

    Of invoices that were settled; what is still open would only count once it is.
    """
    known = rows & (table.settled > 0) & np.isfinite(said)
    if not known.any():
        return None
    came = table.settled[known]
    return {
        "invoices": int(known.sum()),
        "mean_absolute_error": round(float(np.abs(said[known] - came).mean()), 3),
        "of_the_due_date": round(float(np.abs(table.due[known] - came).mean()), 3),
    }


def _plain(found: Quality | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [round(interval.low, 6), round(interval.high, 6)]


def _whole(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {"difference": round(interval.value, 6), "interval": _ends(interval)}
