"""What a replay found, compared with the truth of a simulated portfolio: plain figures, queried from ClickHouse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from statistics import median
from typing import Any

from agents.debtor.alerts.types import BY_CODE, EARLY_WARNING_DAYS

Row = Mapping[str, Any]

EARLY_WARNING = timedelta(days=EARLY_WARNING_DAYS)

ALERTS = """SELECT customer_id, alert_type, toString(toDate(raised_at)) AS day FROM alerts WHERE state = 'raised'
ORDER BY raised_at, customer_id, alert_type"""
LIMITS = """SELECT customer_id, toString(effective_from) AS day, toString(new_limit) AS new, toString(previous_limit) AS previous
FROM limit_changes ORDER BY customer_id, generation, sequence"""
WORST = """SELECT d.customer_id AS customer_id, segment, toFloat64(exposure) AS exposure, toFloat64(overdue_amount) AS overdue,
p_late, p_default, toFloat64(expected_loss) AS loss, band, toFloat64(credit_limit) AS credit_limit, said.texts AS reasons
FROM debtors AS d
LEFT JOIN (SELECT customer_id, argMax(reasons.text, (scored_at, recorded_time)) AS texts FROM scores
           WHERE invoice_id IS NULL GROUP BY customer_id) AS said ON said.customer_id = d.customer_id
WHERE exposure > 0 ORDER BY expected_loss DESC NULLS LAST, customer_id LIMIT 10"""
OPEN_ALERTS = """SELECT customer_id, groupUniqArray(alert_type) AS types FROM
(SELECT customer_id, alert_id, any(alert_type) AS alert_type, countIf(state = 'cleared') AS cleared FROM alerts
 GROUP BY customer_id, alert_id HAVING cleared = 0) GROUP BY customer_id"""
AGEING = """SELECT toString(day) AS day, currency, toFloat64(open_amount) AS open, toFloat64(not_due) AS not_due,
toFloat64(due_1_30) AS due_1_30, toFloat64(due_31_60) AS due_31_60, toFloat64(due_61_90) AS due_61_90,
toFloat64(due_over_90) AS due_over_90, dso_standard, dso_best_possible, dso_add, dso_countback
FROM portfolio_daily
WHERE day IN (SELECT arrayJoin([max(day), max(day) - 90, max(day) - 180, max(day) - 360]) FROM portfolio_daily)
ORDER BY day, currency"""
QUALITY = """SELECT count() AS labels, avg(label) AS late, arrayROCAUC(groupArray(p_late), groupArray(label)) AS auc,
avg(if(label = 1, -log(p_late), -log(1 - p_late))) AS log_loss FROM
(SELECT customer_id, invoice_id, argMin(p_late, scored_at) AS p_late FROM scores WHERE invoice_id IS NOT NULL
 GROUP BY customer_id, invoice_id) AS s
INNER JOIN (SELECT customer_id, invoice_id, any(label) AS label FROM training_examples WHERE target = 'late'
 GROUP BY customer_id, invoice_id) AS e USING (customer_id, invoice_id)"""


@dataclass(frozen=True, slots=True)
class AlertStatistics:
    """One kind of alert compared with the truth. Days are medians; None where there is nothing to count."""

    alert_type: str
    raised: int
    debtors: int
    caught_defaults: int
    """Number of debtors that defaulted and had such an alert in the half year before."""
    before_default: float | None
    before_missed: float | None
    """Days before the first due date that was never paid."""
    false_debtors: int
    """Number of debtors with such an alert that did not default."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limit changes by direction, and by how much (EUR) limits had been cut when debtors defaulted."""

    opening: int
    up: int
    down: int
    cut_debtors: int
    cut_before_default: Decimal


def alert_statistics(alerts: Iterable[Row], customers: Iterable[Row]) -> list[AlertStatistics]:
    """Statistics per kind of alert, and of ``any`` kind.

    >>> line = alert_statistics([{"customer_id": "c", "alert_type": "overdue", "day": "2024-03-01"}],
    ...               [{"customer_id": "c", "defaulted_on": "2024-03-31", "first_missed_due_on": "2024-03-11"}])[-1]
    >>> line.alert_type, line.caught_defaults, line.before_default, line.before_missed, line.false_debtors
    ('any', 1, 30, 10, 0)
    """
    truth = {str(row["customer_id"]): row for row in customers}
    days: dict[str, dict[str, list[date]]] = {kind: {} for kind in (*BY_CODE, "any")}
    for alert in alerts:
        if alert["customer_id"] in truth:
            for kind in (alert["alert_type"], "any"):
                days.setdefault(kind, {}).setdefault(alert["customer_id"], []).append(date.fromisoformat(alert["day"]))
    return [_statistics_of(kind, by_debtor, truth) for kind, by_debtor in days.items()]


def _statistics_of(kind: str, by_debtor: Mapping[str, list[date]], truth: Mapping[str, Row]) -> AlertStatistics:
    before_default: list[int] = []
    before_missed: list[int] = []
    for customer_id, days in by_debtor.items():
        defaulted = _day(truth[customer_id], "defaulted_on")
        first = min((day for day in days if defaulted and defaulted - EARLY_WARNING <= day <= defaulted), default=None)
        if first is None or defaulted is None:
            continue
        before_default.append((defaulted - first).days)
        if missed := _day(truth[customer_id], "first_missed_due_on"):
            before_missed.append((missed - first).days)
    return AlertStatistics(
        alert_type=kind,
        raised=sum(map(len, by_debtor.values())),
        debtors=len(by_debtor),
        caught_defaults=len(before_default),
        before_default=median(before_default) if before_default else None,
        before_missed=median(before_missed) if before_missed else None,
        false_debtors=sum(_day(truth[customer_id], "defaulted_on") is None for customer_id in by_debtor),
    )


def limits(changes: Iterable[Row], customers: Iterable[Row]) -> Limits:
    """Statistics of limit changes, which come in order."""
    defaulted = {str(row["customer_id"]): day for row in customers if (day := _day(row, "defaulted_on"))}
    opening = up = down = 0
    highest: dict[str, Decimal] = {}
    latest: dict[str, Decimal] = {}
    for change in changes:
        customer_id, new = change["customer_id"], Decimal(change["new"])
        previous = None if change["previous"] is None else Decimal(change["previous"])
        opening += previous is None
        up += previous is not None and new > previous
        down += previous is not None and new < previous
        default = defaulted.get(customer_id)
        day = date.fromisoformat(change["day"])
        if default is not None and day < default:
            if day < default - EARLY_WARNING:
                highest[customer_id] = new
            highest[customer_id] = max(highest.get(customer_id, new), new)
            latest[customer_id] = new
    cuts = [highest[customer_id] - new for customer_id, new in latest.items() if new < highest[customer_id]]
    return Limits(opening, up, down, len(cuts), sum(cuts, Decimal(0)))


def _day(row: Row, name: str) -> date | None:
    return date.fromisoformat(row[name]) if row.get(name) else None
