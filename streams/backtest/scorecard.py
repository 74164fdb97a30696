"""How good each scorer is on all, cold and warm debtors, and how far our own is ahead of the others, with intervals."""

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
    log_losses,
    quality,
    sibling_correlation,
)

Mask = NDArray[np.bool_]
FEW = 30
"""Fewer invoices than this are not judged by themselves."""


@dataclass(frozen=True, slots=True)
class ScorerQuality:
    """How good one scorer was on the judged invoices, and on those of cold and of warm debtors."""

    scorer: Forecasts
    all: Quality | None
    cold: Quality | None
    warm: Quality | None
    auc: Interval | None
    log_loss: Interval | None
    ece_if_calibrated: Chance | None
    """What ``all.ece`` would be by chance alone had every forecast been right; siblings go together as they did."""

    def figures(self) -> dict[str, Any]:
        """The figures as metrics.json holds them."""
        return {
            "title": self.scorer.title,
            "all": _as_dict(self.all),
            "cold": _as_dict(self.cold),
            "warm": _as_dict(self.warm),
            "auc_interval": _bounds(self.auc),
            "log_loss_interval": _bounds(self.log_loss),
            "ece_if_calibrated": None if self.ece_if_calibrated is None else asdict(self.ece_if_calibrated),
            "microseconds": self.scorer.microseconds,
            "microseconds_whole": self.scorer.microseconds_whole,
        }


@dataclass(frozen=True, slots=True)
class Advantage:
    """Our own score less another: ours is better where the log loss is below zero, and where the AUC is above."""

    scorer: Forecasts
    log_loss: Interval
    auc: Interval | None

    def figures(self) -> dict[str, Any]:
        return {"log_loss": _difference(self.log_loss), "auc": _difference(self.auc)}


def judged_rows(table: Table, burn_in: int) -> Mask:
    """The invoices whose label has matured, without the first ``burn_in`` issued."""
    rows: Mask = (table.late != UNKNOWN) & (np.arange(len(table)) >= burn_in)
    return rows


def score_quality(table: Table, scorer: Forecasts, rows: Mask) -> ScorerQuality:
    """Judge one scorer; intervals by a bootstrap over the weeks of issue."""
    y, p = table.late[rows], scorer.p[rows]
    bootstrap = Bootstrap(table.weeks[rows]) if len(y) >= FEW else None
    siblings = table.siblings[rows]
    return ScorerQuality(
        scorer,
        quality(y, p),
        quality(table.late[rows & table.cold], scorer.p[rows & table.cold]),
        quality(table.late[rows & ~table.cold], scorer.p[rows & ~table.cold]),
        None if bootstrap is None else bootstrap.auc(y, p),
        None if bootstrap is None else bootstrap.mean(log_losses(y, p)),
        None if bootstrap is None else ece_if_calibrated(p, siblings, sibling_correlation(y, p, siblings)),
    )


def advantages(table: Table, own: Forecasts, rivals: Sequence[Forecasts], rows: Mask) -> list[Advantage]:
    """Our own score against each rival, over the same resamples of weeks."""
    y = table.late[rows]
    if len(y) < FEW:
        return []
    bootstrap = Bootstrap(table.weeks[rows])
    own_losses = log_losses(y, own.p[rows])
    return [
        Advantage(
            rival,
            bootstrap.mean(own_losses - log_losses(y, rival.p[rows])),
            bootstrap.auc_difference(y, own.p[rows], rival.p[rows]),
        )
        for rival in rivals
    ]


def payment_dates(table: Table, expected: Floats, rows: Mask) -> dict[str, Any] | None:
    """Mean absolute error in days of an expected payment day (ordinal, NaN = none), beside that of the due date.

    Only settled invoices count: of the others nobody knows the payment day yet.
    """
    settled = rows & (table.settled > 0) & np.isfinite(expected)
    if not settled.any():
        return None
    payment_days = table.settled[settled]
    return {
        "invoices": int(settled.sum()),
        "mean_absolute_error": round(float(np.abs(expected[settled] - payment_days).mean()), 3),
        "of_the_due_date": round(float(np.abs(table.due[settled] - payment_days).mean()), 3),
    }


def _as_dict(value: Quality | None) -> dict[str, Any] | None:
    return None if value is None else asdict(value)


def _bounds(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [round(interval.low, 6), round(interval.high, 6)]


def _difference(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {"difference": round(interval.value, 6), "interval": _bounds(interval)}
