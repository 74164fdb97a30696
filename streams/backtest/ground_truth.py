"""The scores and warnings of a simulated portfolio against its truth: who defaulted, how early it was forecast, false alarms."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from agents.debtor.alerts.types import EARLY_WARNINGS
from streams.backtest.challengers import fit_booster, is_booster_available
from streams.backtest.history import Table
from streams.backtest.lead_times import ANY_KIND, LeadTime, lead_times
from streams.backtest.statistics import Bootstrap, Floats, Interval, Ints, wilson
from streams.errors import UserError

TRUTH_FILE = "truth.json"
HORIZON_DAYS = 90
FOLDS = 5
REFIT_DAYS = 28
MIN_LABELS, MIN_DEFAULTS = 500, 5
"""Labels, and defaults among them, that a booster needs before its first fit."""
WARNING_KINDS = ("weak", *EARLY_WARNINGS)
"""What calls a debtor bad before an overdue invoice or an exceeded limit does: its band, and these alerts."""
RATIO = "ratio of the areas; the goal is 0.9"
WARM_UP_DAYS = 120
"""From here on debtors are judged at the beginning of each month."""


@dataclass(frozen=True, slots=True)
class TruthLine:
    """A question and its answer as the report shows it; ``value`` and ``ends`` as metrics.json holds it."""

    name: str
    question: str
    answer: str
    interval: str
    how: str
    value: float | None
    ends: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class TruthCheck:
    """All questions that were answered, and the sentence above them in the report."""

    see: str
    lines: list[TruthLine]

    def figures(self) -> dict[str, Any]:
        return {line.name: {"value": line.value, "interval": line.ends} for line in self.lines}


def find_truth(sources: Sequence[Path]) -> dict[str, Any] | None:
    """The truth that lies beside the sources; None unless they are one portfolio. Raises UserError for a file of another form."""
    folders = {source if source.is_dir() else source.parent for source in sources}
    paths = [folder / TRUTH_FILE for folder in sorted(folders) if (folder / TRUTH_FILE).is_file()]
    if len(paths) != 1:
        return None
    try:
        truth = orjson.loads(paths[0].read_bytes())
        _ = truth["last_day"], [customer["customer_id"] for customer in truth["customers"]]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{paths[0]} is not the truth that `duewatch simulate` writes ({error!r}): remove it, or simulate again"
        ) from None
    return dict(truth)


def check_against_truth(table: Table, truth: Mapping[str, Any]) -> TruthCheck:
    """Answer all questions for which the portfolio has enough defaults."""
    days = {c["customer_id"]: _ordinal(c["defaulted_on"]) for c in truth["customers"] if c["defaulted_on"]}
    missed = {
        c["customer_id"]: _ordinal(c["first_missed_due_on"])
        for c in truth["customers"]
        if c["defaulted_on"] and c["first_missed_due_on"]
    }
    sound = [c["customer_id"] for c in truth["customers"] if c["fate"] == "sound" and not c["defaulted_on"]]
    last = min(_ordinal(truth["last_day"]), table.history.last_day.toordinal())
    lines = [*_invoice_lines(table, days, last), *_debtor_lines(table, days, last), *_lead_time_lines(table, days, missed, sound)]
    see = (
        f"{len(days)} of {len(truth['customers'])} simulated debtors defaulted, {len(missed)} of them after a first missed due "
        f"date; {len(sound)} were sound all along. Intervals hold 95 % of a bootstrap over debtors."
    )
    return TruthCheck(see, lines)


def _ordinal(day: str) -> int:
    return date.fromisoformat(day).toordinal()


# -- invoices at issue, against a booster on the same features
def _invoice_lines(table: Table, days: Mapping[str, int], last: int) -> list[TruthLine]:
    default_day = np.array([days.get(customer, 0) for customer in table.customers])
    is_open = (default_day == 0) | (default_day > table.issue_days)
    rows = np.flatnonzero(is_open & (table.issue_days + HORIZON_DAYS <= last))
    y = ((default_day > 0) & (default_day <= table.issue_days + HORIZON_DAYS)).astype(np.int_)[rows]
    if len(rows) == 0 or not 0 < y.sum() < len(y):
        return []
    debtors = np.array(table.customers)[rows]
    blocks = Bootstrap(debtors)
    own = table.p_default[rows]
    how = f"{len(rows):,} invoices at issue, {int(y.sum())} of them within {HORIZON_DAYS} days before the debtor's default"
    lines = [_auc_line("invoice_auc", "AUC of p_default", blocks.auc(y, own), how)]
    if not is_booster_available():
        return lines
    x = np.column_stack((table.x, table.raw, table.risk, known_insolvent(table)))[rows]
    across = forecast_across_folds(x, y, debtors)
    how = f"same features; {FOLDS} folds by debtor: it knows what came of others at any time, which nobody can live"
    lines += [
        _auc_line("invoice_auc_lightgbm_folds", "LightGBM that sees the other debtors' future", blocks.auc(y, across), how),
        _auc_line("invoice_ratio_folds", "p_default against it", blocks.auc_ratio(y, own, across), RATIO),
    ]
    live, forecasts = forecast_forward(x, y, table.issue_days[rows])
    if live.any() and 0 < y[live].sum() < live.sum():
        part = Bootstrap(debtors[live])
        how = f"same features; fitted anew every {REFIT_DAYS} days on what was known; {int(live.sum()):,} later invoices"
        lines += [
            _auc_line("invoice_auc_lightgbm_live", "LightGBM as one would run it", part.auc(y[live], forecasts[live]), how),
            _auc_line("invoice_auc_live", "p_default on these invoices", part.auc(y[live], own[live]), "the same invoices"),
            _auc_line("invoice_ratio_live", "p_default against it", part.auc_ratio(y[live], own[live], forecasts[live]), RATIO),
        ]
    return lines


def known_insolvent(table: Table) -> Floats:
    """1 where an insolvency alert on the debtor had been raised before the day of issue, which ``x`` and ``risk`` do not hold."""
    first: dict[str, int] = {}
    for warning in table.history.warnings:
        if warning.kind == "insolvency":
            first.setdefault(warning.customer_id, warning.day)
    return np.array([float(first.get(c, day) < day) for c, day in zip(table.customers, table.issue_days, strict=True)])


def forecast_across_folds(x: Floats, y: Ints, debtors: Any) -> Floats:
    """Forecasts of boosters that are each fitted on the other folds of debtors."""
    _, number = np.unique(debtors, return_inverse=True)
    fold = np.random.default_rng(0).permutation(int(number.max()) + 1)[number] % FOLDS
    forecasts = np.zeros(len(y))
    for own_fold in range(FOLDS):
        part = fold == own_fold
        forecasts[part] = fit_booster(x[~part], y[~part])(x[part])
    return forecasts


def forecast_forward(x: Floats, y: Ints, issue_days: Ints) -> tuple[Any, Floats]:
    """Which rows have a forecast, and the forecasts, of a booster that learns a label ``HORIZON_DAYS`` after the issue."""
    forecasts, has_forecast = np.zeros(len(y)), np.zeros(len(y), dtype=np.bool_)
    model: Callable[[Floats], Floats] | None = None
    for start in range(int(issue_days.min()), int(issue_days.max()) + 1, REFIT_DAYS):
        matured = issue_days + HORIZON_DAYS < start
        if matured.sum() >= MIN_LABELS and y[matured].sum() >= MIN_DEFAULTS:
            model = fit_booster(x[matured], y[matured])
        part = (issue_days >= start) & (issue_days < start + REFIT_DAYS)
        if model is not None and part.any():
            forecasts[part], has_forecast[part] = model(x[part]), True
    return has_forecast, forecasts


# -- debtors at the beginning of each month
def _debtor_lines(table: Table, days: Mapping[str, int], last: int) -> list[TruthLine]:
    y, p, customers = [], [], []
    timelines = table.history.debtors
    for start in _months(table.history.first_day, last):
        for customer, timeline in timelines.items():
            end = days.get(customer)
            at = bisect_right(timeline, (start, 2.0)) - 1
            if at < 0 or (end is not None and end <= start):
                continue
            y.append(int(end is not None and end <= start + HORIZON_DAYS))
            p.append(timeline[at][1])
            customers.append(customer)
    if not 0 < sum(y) < len(y):
        return []
    how = f"{len(y):,} debtors at the beginning of a month, {sum(y)} of which defaulted within {HORIZON_DAYS} days"
    return [_auc_line("debtor_auc", "AUC of the debtor's own p_default", Bootstrap(customers).auc(np.array(y), np.array(p)), how)]


def _months(first: date, last: int) -> list[int]:
    day, starts = (first + timedelta(days=WARM_UP_DAYS)).replace(day=1), []
    while day.toordinal() + HORIZON_DAYS <= last:
        starts.append(day.toordinal())
        day = (day + timedelta(days=32)).replace(day=1)
    return starts


# -- how early, and at which price
def _lead_time_lines(table: Table, days: Mapping[str, int], missed: Mapping[str, int], sound: Sequence[str]) -> list[TruthLine]:
    warnings = [w for w in table.history.warnings if w.kind in WARNING_KINDS]
    before_missed = {lead.kind: lead for lead in lead_times(warnings, missed, [*missed, *sound])}
    before_default = {lead.kind: lead for lead in lead_times(warnings, days, [*days, *sound])}
    lines = []
    for kind in (*WARNING_KINDS, ANY_KIND):
        if kind in before_missed:
            lines += [_lead_time_line(before_missed[kind], "first missed due date"), _false_alarm_line(before_missed[kind])]
        if kind in before_default:
            lines.append(_lead_time_line(before_default[kind], "default"))
    return lines


def _name(kind: str) -> str:
    return "any of these" if kind == ANY_KIND else kind.replace("_", " ")


def _lead_time_line(lead: LeadTime, what: str) -> TruthLine:
    how = f"{len(lead.days)} of {lead.defaulted} debtors were warned of in the 180 days before; the others count for nothing here"
    question = f"Days from the first warning ({_name(lead.kind)}) to the {what}, median"
    name = f"lead_{what.replace(' ', '_')}_{lead.kind.replace(' ', '_')}"
    if lead.median is None:
        return TruthLine(name, question, "never warned", "-", how, None, None)
    m = lead.median
    return TruthLine(name, question, f"{m.value:.0f} days", f"{m.low:.0f} to {m.high:.0f}", how, m.value, (m.low, m.high))


def _false_alarm_line(lead: LeadTime) -> TruthLine:
    low, high = wilson(lead.false_alarms, lead.good)
    share = lead.false_alarms / lead.good if lead.good else 0.0
    return TruthLine(
        f"false_{lead.kind.replace(' ', '_')}",
        f"Sound debtors that were warned of ({_name(lead.kind)})",
        f"{100 * share:.1f} %",
        f"{100 * low:.1f} to {100 * high:.1f} %",
        f"{lead.false_alarms} of {lead.good} debtors that were sound all along, at any time",
        share,
        (low, high),
    )


def _auc_line(name: str, question: str, interval: Interval | None, how: str) -> TruthLine:
    if interval is None:
        return TruthLine(name, question, "-", "-", how, None, None)
    ends = (round(interval.low, 6), round(interval.high, 6))
    return TruthLine(
        name, question, f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}", how, round(interval.value, 6), ends
    )
