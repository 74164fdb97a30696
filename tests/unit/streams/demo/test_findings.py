"""The demo's figures against the truth."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from streams.demo.findings import AlertStatistics, alert_statistics, limits

DEFAULTED = {"customer_id": "bad", "defaulted_on": "2024-06-30", "first_missed_due_on": "2024-04-01"}
SOUND = {"customer_id": "good", "defaulted_on": None, "first_missed_due_on": None}


def alert(customer_id: str, day: str, alert_type: str = "overdue") -> dict[str, Any]:
    return {"customer_id": customer_id, "alert_type": alert_type, "day": day}


def change(day: str, previous: str | None, new: str | None, customer_id: str = "bad") -> dict[str, Any]:
    return {"customer_id": customer_id, "day": day, "previous": previous, "new": new}


def line(alerts: list[dict[str, Any]], alert_type: str = "overdue") -> AlertStatistics:
    return next(found for found in alert_statistics(alerts, [DEFAULTED, SOUND]) if found.alert_type == alert_type)


def test_lead_time_counts_from_the_first_alert_of_the_half_year_before() -> None:
    found = line([alert("bad", "2023-06-01"), alert("bad", "2024-03-22"), alert("bad", "2024-05-31")])

    assert (found.raised, found.debtors, found.caught_defaults) == (3, 1, 1)
    assert (found.before_default, found.before_missed) == (100, 10)


@pytest.mark.parametrize("day", [pytest.param("2024-07-01", id="after it"), pytest.param("2023-12-31", id="too long before")])
def test_an_alert_that_does_not_precede_the_default_warned_of_nothing(day: str) -> None:
    found = line([alert("bad", day)])

    assert (found.caught_defaults, found.before_default, found.false_debtors) == (0, None, 0)


def test_debtors_that_never_default_are_counted_apart() -> None:
    assert line([alert("good", "2024-01-01"), alert("good", "2024-02-01")]).false_debtors == 1


def test_debtors_of_another_portfolio_are_left_out() -> None:
    assert line([alert("stranger", "2024-01-01")], "any").raised == 0


def test_what_was_cut_is_the_highest_limit_of_the_half_year_less_the_last_before_the_default() -> None:
    changes = [
        change("2023-01-01", None, "9000"),
        change("2023-02-01", "9000", "5000"),
        change("2024-03-01", "5000", "8000"),
        change("2024-06-01", "8000", "1000"),
        change("2024-07-01", "1000", "0"),
        change("2024-01-01", None, "100", "good"),
    ]

    found = limits(changes, [DEFAULTED, SOUND])

    assert (found.opening, found.up, found.down) == (2, 1, 3)
    assert (found.cut_debtors, found.cut_before_default) == (1, Decimal(7000))
