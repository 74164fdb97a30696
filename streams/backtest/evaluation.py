"""The whole evaluation of a backtest: every figure and every picture's numbers, from the forecasts and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from streams.backtest.challengers import Forecasts, OnProgress, gradient_boosting, is_booster_available, late_rate, river_logistic
from streams.backtest.history import UNKNOWN, History, Invoice, Table, burn_in_for
from streams.backtest.lead_times import LateCalls, LeadTime, defaults, late_calls, lead_times
from streams.backtest.regime_changes import Adaptation, RegimeChange, adaptations, find_regime_changes
from streams.backtest.report.wording import small_sample_warning
from streams.backtest.scorecard import Advantage, Mask, ScorerQuality, advantages, judged_rows, payment_dates, score_quality
from streams.backtest.segments import SegmentQuality, segment_qualities
from streams.backtest.statistics import Bin, Floats, Ints, Quality, log_losses, quality, reliability
from streams.backtest.timing import microseconds
from streams.terminal.progress import Bar

OWN = "duewatch"
BENCHMARK = "lightgbm_1000"
"""The challenger beside which segments show our score; river's where there is no LightGBM."""
WORST_MISSES = 10
MAX_BOOSTED_INVOICES = 60_000
"""Fitting again and again grows with the square of the invoices: beyond this a booster runs only on request."""


@dataclass(frozen=True, slots=True)
class Miss:
    """An invoice whose score was far off."""

    invoice: Invoice
    p: float
    late: int
    amount: float
    days_late: int | None
    """None = still open."""


@dataclass(frozen=True, slots=True)
class TargetQuality:
    """How good the forecasts of another target than p_late were, on all invoices whose label has matured."""

    name: str
    quality: Quality
    bins: list[Bin]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that a backtest measured. ``scorers`` and ``judged`` start with our own score; ``advantages`` are over the others."""

    table: Table
    burn_in: int
    rows: Mask
    scorers: list[Forecasts]
    judged: list[ScorerQuality]
    advantages: list[Advantage]
    targets: list[TargetQuality]
    payment_date: dict[str, Any] | None
    segments: list[SegmentQuality]
    changes: list[RegimeChange]
    adaptations: list[Adaptation]
    late_calls: LateCalls
    lead_times: list[LeadTime]
    defaulted: int
    worst: list[Miss]
    left_out: str | None
    """Why a challenger is missing."""

    @property
    def warning(self) -> str:
        """A sentence where there are too few invoices to judge by; empty where there are enough."""
        return small_sample_warning(int(self.rows.sum()))

    def figures(self) -> dict[str, Any]:
        """The figures as metrics.json holds them."""
        own = self.scorers[0]
        return {
            "burn_in": self.burn_in,
            "p_late": {
                "all": _quality_figures(self.table.late, own.p, self.table.late != UNKNOWN),
                f"after_{self.burn_in}": _quality_figures(self.table.late, own.p, self.rows),
            },
            "p_default": {"all": _quality_figures(self.table.default, self.table.p_default, self.table.default != UNKNOWN)},
            "scorers": {entry.scorer.name: entry.figures() for entry in self.judged},
            "ahead_of": {entry.scorer.name: entry.figures() for entry in self.advantages},
            "targets": {entry.name: asdict(entry.quality) for entry in self.targets},
            "payment_date": self.payment_date,
            "late_called_at_issue": {
                "share": round(self.late_calls.caught_share, 6),
                "precision": round(self.late_calls.precision, 6),
            },
            "defaulted_debtors": self.defaulted,
            "warnings_before_default": {lead.kind: _lead_time_figures(lead) for lead in self.lead_times},
            "changes_found": len(self.changes),
            "half_way_days": {entry.name: entry.days_to_half_way for entry in self.adaptations[1:]},
            "challengers_left_out": self.left_out,
        }


def _quality_figures(labels: Ints, forecasts: Floats, rows: Mask) -> dict[str, Any] | None:
    figures = quality(labels[rows], forecasts[rows])
    return None if figures is None else asdict(figures)


def _lead_time_figures(lead_time: LeadTime) -> dict[str, Any]:
    return {
        "warned": len(lead_time.days),
        "defaulted": lead_time.defaulted,
        "median_days": None if (m := lead_time.median) is None else [m.value, m.low, m.high],
        "false_alarms": lead_time.false_alarms,
        "good": lead_time.good,
    }


def evaluate(history: History, burn_in: int | None, challengers: bool | None, progress: Callable[[str, int], Bar]) -> Evaluation:
    """Judge the forecasts of a history. ``progress`` makes a progress bar.

    ``challengers``: whether other scorers run beside ours; None = as many as take no longer than the backtest itself.
    """
    table = history.table()
    burn_in = burn_in_for(len(table)) if burn_in is None else burn_in
    rows = judged_rows(table, burn_in)
    own = Forecasts(OWN, "duewatch", table.p_late, microseconds(table), microseconds(table, whole=True))
    rivals, left_out = _run_challengers(table, challengers, progress)
    scorers = [own, *rivals]
    benchmark = next((s for s in rivals if s.name == BENCHMARK), next((s for s in rivals if s.name == "river_lr"), None))
    changes = find_regime_changes(table, rows)
    defaulted = defaults(table)
    return Evaluation(
        table=table,
        burn_in=burn_in,
        rows=rows,
        scorers=scorers,
        judged=[score_quality(table, scorer, rows) for scorer in scorers],
        advantages=advantages(table, own, rivals, rows),
        targets=_target_qualities(table),
        payment_date=_payment_date(table, rows),
        segments=segment_qualities(table, own, benchmark, rows),
        changes=changes,
        adaptations=adaptations(table, changes, scorers, rows),
        late_calls=late_calls(table, rows),
        lead_times=lead_times(history.warnings, defaulted, table.customers),
        defaulted=len(defaulted),
        worst=_worst(table, rows),
        left_out=left_out,
    )


def _run_challengers(
    table: Table, choice: bool | None, make_bar: Callable[[str, int], Bar]
) -> tuple[list[Forecasts], str | None]:
    """The forecasts of the challengers, and why one is missing."""
    if choice is False:
        return [], "none was asked for"
    left_out = None
    runs: list[tuple[str, Callable[[OnProgress], Forecasts]]] = [
        ("late rate", partial(late_rate, table)),
        ("river", partial(river_logistic, table)),
    ]
    if not is_booster_available():
        left_out = "LightGBM is not installed (make setup installs it)"
    elif choice is None and len(table) > MAX_BOOSTED_INVOICES:
        left_out = f"LightGBM takes long beyond {MAX_BOOSTED_INVOICES:,} invoices: ask for it with --challengers"
    else:
        runs += [(f"LightGBM, fitted every {n:,}", partial(gradient_boosting, table, n)) for n in (1_000, 250)]
    forecasts = []
    with make_bar("challengers", len(table) * len(runs)) as bar:
        for name, run in runs:
            bar.say(name)
            forecasts.append(run(bar.advance))
    return forecasts, left_out


def _target_qualities(table: Table) -> list[TargetQuality]:
    """The quality of the other targets: default, and more than 30 days late where it is forecast; over every invoice."""
    targets: list[tuple[str, Ints, Floats]] = [("default", table.default, table.p_default)]
    if np.isfinite(table.p_late_30).any():
        targets.append(("late_30", table.late_30, table.p_late_30))
    qualities = []
    for name, labels, forecasts in targets:
        judged = (labels != UNKNOWN) & np.isfinite(forecasts)
        target_quality = quality(labels[judged], forecasts[judged])
        if target_quality is not None:
            qualities.append(TargetQuality(name, target_quality, reliability(labels[judged], forecasts[judged])))
    return qualities


def _payment_date(table: Table, rows: Mask) -> dict[str, Any] | None:
    figures = payment_dates(table, table.expected_paid, rows)
    if figures is not None:
        figures["inside_the_interval"] = _coverage(table, rows)
    return figures


def _coverage(table: Table, rows: Mask) -> float | None:
    settled = rows & (table.settled > 0) & np.isfinite(table.expected_from) & np.isfinite(table.expected_to)
    inside = (table.settled >= table.expected_from) & (table.settled <= table.expected_to)
    return round(float(inside[settled].mean()), 6) if settled.any() else None


def _worst(table: Table, rows: Mask) -> list[Miss]:
    losses = np.where(rows, log_losses(np.maximum(table.late, 0), table.p_late), -1.0)
    misses = []
    for i in _largest(losses, WORST_MISSES):
        settled = int(table.settled[i])
        days = settled - int(table.due[i]) if settled else None
        misses.append(Miss(table.invoices[i], float(table.p_late[i]), int(table.late[i]), float(table.amount[i]), days))
    return misses


def _largest(values: Floats, count: int) -> Sequence[int]:
    order = np.argsort(-values, kind="stable")[:count]
    return [int(i) for i in order if values[i] >= 0]
