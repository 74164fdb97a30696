"""Held against the truth of a simulated portfolio: who defaulted, was it said, how early, and who was suspected wrongly."""

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
from streams.backtest.challengers import booster_is_here, fit
from streams.backtest.history import Table
from streams.backtest.lead_times import ANY, Lead, leads
from streams.backtest.statistics import Bootstrap, Floats, Interval, Ints, wilson
from streams.errors import UserError

FILE = "truth.json"
AHEAD_DAYS = 90
FOLDS = 5
REFIT_DAYS = 28
LEAST_LABELS, LEAST_DEFAULTS = 500, 5
"""What a booster needs before its first fit."""
EARLY = ("weak", *EARLY_WARNINGS)
"""What calls a debtor bad before an overdue invoice or an exceeded limit does: its band, and these alerts."""
RATIO = "ratio of the areas; the goal is 0.9"
WARMED_UP_DAYS = 120
"""From here on debtors are judged at the beginning of each month."""


@dataclass(frozen=True, slots=True)
class Line:
    """A question and its answer, as the report shows it; ``value`` and ``ends`` as metrics.json holds it."""

    name: str
    question: str
    answer: str
    interval: str
    how: str
    value: float | None
    ends: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Against:
    """What the report says, and what metrics.json holds."""

    see: str
    lines: list[Line]

    def figures(self) -> dict[str, Any]:
        return {line.name: {"value": line.value, "interval": line.ends} for line in self.lines}


def find_truth(sources: Sequence[Path]) -> dict[str, Any] | None:
    """The truth that lies beside the sources, if it is one portfolio. Raises UserError for a file that is none."""
    folders = {source if source.is_dir() else source.parent for source in sources}
    paths = [folder / FILE for folder in sorted(folders) if (folder / FILE).is_file()]
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


def against(table: Table, truth: Mapping[str, Any]) -> Against:
    """All questions that the portfolio has enough defaults for."""
    days = {c["customer_id"]: _ordinal(c["defaulted_on"]) for c in truth["customers"] if c["defaulted_on"]}
    missed = {
        c["customer_id"]: _ordinal(c["first_missed_due_on"])
        for c in truth["customers"]
        if c["defaulted_on"] and c["first_missed_due_on"]
    }
    sound = [c["customer_id"] for c in truth["customers"] if c["fate"] == "sound" and not c["defaulted_on"]]
    last = min(_ordinal(truth["last_day"]), table.history.last_day.toordinal())
    lines = [*_invoices(table, days, last), *_debtors(table, days, last), *_leads(table, days, missed, sound)]
    see = (
        f"{len(days)} of {len(truth['customers'])} simulated debtors defaulted, {len(missed)} of them after a first missed due "
        f"date; {len(sound)} were sound all along. Intervals hold 95 % of a bootstrap over debtors."
    )
    return Against(see, lines)


def _ordinal(day: str) -> int:
    return date.fromisoformat(day).toordinal()


# -- invoices at issue, against a booster on the same features
def _invoices(table: Table, days: Mapping[str, int], last: int) -> list[Line]:
    default = np.array([days.get(customer, 0) for customer in table.customers])
    open_ = (default == 0) | (default > table.issued)
    rows = np.flatnonzero(open_ & (table.issued + AHEAD_DAYS <= last))
    y = ((default > 0) & (default <= table.issued + AHEAD_DAYS)).astype(np.int_)[rows]
    if len(rows) == 0 or not 0 < y.sum() < len(y):
        return []
    debtors = np.array(table.customers)[rows]
    blocks = Bootstrap(debtors)
    ours = table.p_default[rows]
    how = f"{len(rows):,} invoices at issue, {int(y.sum())} of them within {AHEAD_DAYS} days before the debtor's default"
    lines = [_auc("invoice_auc", "AUC of p_default", blocks.auc(y, ours), how)]
    if not booster_is_here():
        return lines
    x = np.column_stack((table.x, table.raw, table.risk, insolvent(table)))[rows]
    folds = across(x, y, debtors)
    how = f"same features; {FOLDS} folds by debtor: it knows what came of others at any time, which nobody can live"
    lines += [
        _auc("invoice_auc_lightgbm_folds", "LightGBM that sees the other debtors' future", blocks.auc(y, folds), how),
        _auc("invoice_ratio_folds", "p_default against it", blocks.auc_ratio(y, ours, folds), RATIO),
    ]
    live, said = forward(x, y, table.issued[rows])
    if live.any() and 0 < y[live].sum() < live.sum():
        part = Bootstrap(debtors[live])
        how = f"same features; fitted anew every {REFIT_DAYS} days on what was known; {int(live.sum()):,} later invoices"
        lines += [
            _auc("invoice_auc_lightgbm_live", "LightGBM as one would run it", part.auc(y[live], said[live]), how),
            _auc("invoice_auc_live", "p_default on these invoices", part.auc(y[live], ours[live]), "the same invoices"),
            _auc("invoice_ratio_live", "p_default against it", part.auc_ratio(y[live], ours[live], said[live]), RATIO),
        ]
    return lines


def insolvent(table: Table) -> Floats:
    """Whether an insolvency alert had been raised of the debtor before the day of issue: what ``x`` and ``risk`` do not say."""
    first: dict[str, int] = {}
    for warned in table.history.warnings:
        if warned.kind == "insolvency":
            first.setdefault(warned.customer_id, warned.day)
    return np.array([float(first.get(c, day) < day) for c, day in zip(table.customers, table.issued, strict=True)])


def across(x: Floats, y: Ints, debtors: Any) -> Floats:
    """Forecasts of boosters, each fitted on the other folds of debtors."""
    _, number = np.unique(debtors, return_inverse=True)
    fold = np.random.default_rng(0).permutation(int(number.max()) + 1)[number] % FOLDS
    said = np.zeros(len(y))
    for one in range(FOLDS):
        part = fold == one
        said[part] = fit(x[~part], y[~part])(x[part])
    return said


def forward(x: Floats, y: Ints, issued: Ints) -> tuple[Any, Floats]:
    """Forecasts of a booster that learns a label ``AHEAD_DAYS`` after the issue; and for which rows there was one."""
    said, there = np.zeros(len(y)), np.zeros(len(y), dtype=np.bool_)
    model: Callable[[Floats], Floats] | None = None
    for start in range(int(issued.min()), int(issued.max()) + 1, REFIT_DAYS):
        known = issued + AHEAD_DAYS < start
        if known.sum() >= LEAST_LABELS and y[known].sum() >= LEAST_DEFAULTS:
            model = fit(x[known], y[known])
        part = (issued >= start) & (issued < start + REFIT_DAYS)
        if model is not None and part.any():
            said[part], there[part] = model(x[part]), True
    return there, said


# -- debtors at the beginning of each month
def _debtors(table: Table, days: Mapping[str, int], last: int) -> list[Line]:
    y, p, debtors = [], [], []
    timelines = table.history.debtors
    for start in _months(table.history.first_day, last):
        for customer, told in timelines.items():
            end = days.get(customer)
            at = bisect_right(told, (start, 2.0)) - 1
            if at < 0 or (end is not None and end <= start):
                continue
            y.append(int(end is not None and end <= start + AHEAD_DAYS))
            p.append(told[at][1])
            debtors.append(customer)
    if not 0 < sum(y) < len(y):
        return []
    how = f"{len(y):,} debtors at the beginning of a month, {sum(y)} of which defaulted within {AHEAD_DAYS} days"
    return [_auc("debtor_auc", "AUC of the debtor's own p_default", Bootstrap(debtors).auc(np.array(y), np.array(p)), how)]


def _months(first: date, last: int) -> list[int]:
    day, found = (first + timedelta(days=WARMED_UP_DAYS)).replace(day=1), []
    while day.toordinal() + AHEAD_DAYS <= last:
        found.append(day.toordinal())
        day = (day + timedelta(days=32)).replace(day=1)
    return found


# -- how early, and at which price
def _leads(table: Table, days: Mapping[str, int], missed: Mapping[str, int], sound: Sequence[str]) -> list[Line]:
    warnings = [w for w in table.history.warnings if w.kind in EARLY]
    before_missed = {lead.kind: lead for lead in leads(warnings, missed, [*missed, *sound])}
    before_default = {lead.kind: lead for lead in leads(warnings, days, [*days, *sound])}
    lines = []
    for kind in (*EARLY, ANY):
        if kind in before_missed:
            lines += [_lead(before_missed[kind], "first missed due date"), _false(before_missed[kind])]
        if kind in before_default:
            lines.append(_lead(before_default[kind], "default"))
    return lines


def _name(kind: str) -> str:
    return "any of these" if kind == ANY else kind.replace("_", " ")


def _lead(lead: Lead, what: str) -> Line:
    how = f"{len(lead.days)} of {lead.defaulted} debtors were warned of in the 180 days before; the others count for nothing here"
    question = f"Days from the first warning ({_name(lead.kind)}) to the {what}, median"
    name = f"lead_{what.replace(' ', '_')}_{lead.kind.replace(' ', '_')}"
    if lead.median is None:
        return Line(name, question, "never warned", "-", how, None, None)
    m = lead.median
    return Line(name, question, f"{m.value:.0f} days", f"{m.low:.0f} to {m.high:.0f}", how, m.value, (m.low, m.high))


def _false(lead: Lead) -> Line:
    low, high = wilson(lead.false_alarms, lead.good)
    share = lead.false_alarms / lead.good if lead.good else 0.0
    return Line(
        f"false_{lead.kind.replace(' ', '_')}",
        f"Sound debtors that were warned of ({_name(lead.kind)})",
        f"{100 * share:.1f} %",
        f"{100 * low:.1f} to {100 * high:.1f} %",
        f"{lead.false_alarms} of {lead.good} debtors that were sound all along, at any time",
        share,
        (low, high),
    )


def _auc(name: str, question: str, found: Interval | None, how: str) -> Line:
    if found is None:
        return Line(name, question, "-", "-", how, None, None)
    ends = (round(found.low, 6), round(found.high, 6))
    return Line(name, question, f"{found.value:.3f}", f"{found.low:.3f} to {found.high:.3f}", how, round(found.value, 6), ends)
