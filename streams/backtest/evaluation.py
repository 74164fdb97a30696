"""The whole judgement of a backtest: every figure and every picture's numbers, from what was said and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from streams.backtest.challengers import Forecasts, Tell, boosted, booster_is_here, late_rate, river_logistic
from streams.backtest.history import UNKNOWN, History, Invoice, Table, burn_in_for
from streams.backtest.lead_times import Calls, Lead, calls, defaults, leads
from streams.backtest.regime_changes import Change, Followed, find_changes, follow
from streams.backtest.report.wording import too_few
from streams.backtest.scorecard import Ahead, Judged, Rows, ahead, judge, judged_rows, payment_dates
from streams.backtest.segments import Segment, segments
from streams.backtest.statistics import Bin, Floats, Ints, Quality, log_losses, quality, reliability
from streams.backtest.timing import microseconds
from streams.terminal.progress import Bar

OURS = "duewatch"
BAR = "lightgbm_1000"
"""The challenger that we are held against; river's where there is no LightGBM."""
WORST = 10
MOST_BOOSTED = 60_000
"""Fitting again and again grows with the square of the invoices: beyond this a booster runs only when it is asked for."""


@dataclass(frozen=True, slots=True)
class Miss:
    """An invoice on which the score was most wrong."""

    invoice: Invoice
    p: float
    late: int
    amount: float
    days_late: int | None
    """None = still open."""


@dataclass(frozen=True, slots=True)
class Other:
    """A target beside p_late, judged on all invoices whose label has matured."""

    name: str
    quality: Quality
    bins: list[Bin]


@dataclass(frozen=True, slots=True)
class Judgement:
    """``judged``, ``scorers`` and ``ahead`` begin with our own score (``ahead`` leaves it out)."""

    table: Table
    burn_in: int
    rows: Rows
    scorers: list[Forecasts]
    judged: list[Judged]
    ahead: list[Ahead]
    others: list[Other]
    payment_date: dict[str, Any] | None
    segments: list[Segment]
    changes: list[Change]
    followed: list[Followed]
    calls: Calls
    leads: list[Lead]
    defaulted: int
    worst: list[Miss]
    left_out: str | None
    """Why a challenger is missing."""

    @property
    def warning(self) -> str:
        """That there is too little to judge by; empty where there is enough."""
        return too_few(int(self.rows.sum()))

    def figures(self) -> dict[str, Any]:
        """As metrics.json holds them."""
        own = self.scorers[0]
        return {
            "burn_in": self.burn_in,
            "p_late": {
                "all": _judged_alone(self.table.late, own.p, self.table.late != UNKNOWN),
                f"after_{self.burn_in}": _judged_alone(self.table.late, own.p, self.rows),
            },
            "p_default": {"all": _judged_alone(self.table.default, self.table.p_default, self.table.default != UNKNOWN)},
            "scorers": {one.scorer.name: one.figures() for one in self.judged},
            "ahead_of": {one.scorer.name: one.figures() for one in self.ahead},
            "targets": {one.name: asdict(one.quality) for one in self.others},
            "payment_date": self.payment_date,
            "late_called_at_issue": {"share": round(self.calls.caught, 6), "precision": round(self.calls.precision, 6)},
            "defaulted_debtors": self.defaulted,
            "warnings_before_default": {lead.kind: _lead_figures(lead) for lead in self.leads},
            "changes_found": len(self.changes),
            "half_way_days": {one.name: one.half_way for one in self.followed[1:]},
            "challengers_left_out": self.left_out,
        }


def _judged_alone(labels: Ints, said: Floats, rows: Rows) -> dict[str, Any] | None:
    found = quality(labels[rows], said[rows])
    return None if found is None else asdict(found)


def _lead_figures(lead: Lead) -> dict[str, Any]:
    return {
        "warned": len(lead.days),
        "defaulted": lead.defaulted,
        "median_days": None if lead.median is None else [lead.median.value, lead.median.low, lead.median.high],
        "false_alarms": lead.false_alarms,
        "good": lead.good,
    }


def judge_all(history: History, burn_in: int | None, challengers: bool | None, bar: Callable[[str, int], Bar]) -> Judgement:
    """``challengers`` None = as many as take no longer than the backtest itself. ``bar`` makes a progress bar."""
    table = history.table()
    burn_in = burn_in_for(len(table)) if burn_in is None else burn_in
    rows = judged_rows(table, burn_in)
    ours = Forecasts(OURS, "duewatch", table.p_late, microseconds(table), microseconds(table, whole=True))
    others, left_out = _challenge(table, challengers, bar)
    scorers = [ours, *others]
    held = next((s for s in others if s.name == BAR), next((s for s in others if s.name == "river_lr"), None))
    changes = find_changes(table, rows)
    defaulted = defaults(table)
    return Judgement(
        table=table,
        burn_in=burn_in,
        rows=rows,
        scorers=scorers,
        judged=[judge(table, scorer, rows) for scorer in scorers],
        ahead=ahead(table, ours, others, rows),
        others=_others(table),
        payment_date=_payment_date(table, rows),
        segments=segments(table, ours, held, rows),
        changes=changes,
        followed=follow(table, changes, scorers, rows),
        calls=calls(table, rows),
        leads=leads(history.warnings, defaulted, table.customers),
        defaulted=len(defaulted),
        worst=_worst(table, rows),
        left_out=left_out,
    )


def _challenge(table: Table, wanted: bool | None, bar: Callable[[str, int], Bar]) -> tuple[list[Forecasts], str | None]:
    if wanted is False:
        return [], "none was asked for"
    left_out = None
    runs: list[tuple[str, Callable[[Tell], Forecasts]]] = [
        ("late rate", lambda tell: late_rate(table, tell)),
        ("river", lambda tell: river_logistic(table, tell)),
    ]
    if not booster_is_here():
        left_out = "LightGBM is not installed (make setup installs it)"
    elif wanted is None and len(table) > MOST_BOOSTED:
        left_out = f"LightGBM takes long beyond {MOST_BOOSTED:,} invoices: ask for it with --challengers"
    else:
        runs += [(f"LightGBM, fitted every {n:,}", lambda tell, n=n: boosted(table, n, tell)) for n in (1_000, 250)]  # type: ignore[misc]
    found = []
    with bar("challengers", len(table) * len(runs)) as progress:
        for name, run in runs:
            progress.say(name)
            found.append(run(progress.advance))
    return found, left_out


def _others(table: Table) -> list[Other]:
    """Default, and more than 30 days late where it is said. Of every invoice, also of those that were paid in time."""
    targets: list[tuple[str, Ints, Floats]] = [("default", table.default, table.p_default)]
    if np.isfinite(table.p_late_30).any():
        targets.append(("late_30", table.late_30, table.p_late_30))
    found = []
    for name, labels, said in targets:
        known = (labels != UNKNOWN) & np.isfinite(said)
        one = quality(labels[known], said[known])
        if one is not None:
            found.append(Other(name, one, reliability(labels[known], said[known])))
    return found


def _payment_date(table: Table, rows: Rows) -> dict[str, Any] | None:
    found = payment_dates(table, table.expected_paid, rows)
    if found is not None:
        found["inside_the_interval"] = _coverage(table, rows)
    return found


def _coverage(table: Table, rows: Rows) -> float | None:
    known = rows & (table.settled > 0) & np.isfinite(table.expected_from) & np.isfinite(table.expected_to)
    inside = (table.settled >= table.expected_from) & (table.settled <= table.expected_to)
    return round(float(inside[known].mean()), 6) if known.any() else None


def _worst(table: Table, rows: Rows) -> list[Miss]:
    losses = np.where(rows, log_losses(np.maximum(table.late, 0), table.p_late), -1.0)
    found = []
    for i in _largest(losses, WORST):
        settled = int(table.settled[i])
        days = settled - int(table.due[i]) if settled else None
        found.append(Miss(table.invoices[i], float(table.p_late[i]), int(table.late[i]), float(table.amount[i]), days))
    return found


def _largest(values: Floats, count: int) -> Sequence[int]:
    order = np.argsort(-values, kind="stable")[:count]
    return [int(i) for i in order if values[i] >= 0]
