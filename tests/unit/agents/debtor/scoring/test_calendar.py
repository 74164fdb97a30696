"""Closed bank days of the debtor's country."""

from __future__ import annotations

from datetime import date

import pytest

from agents.debtor.scoring.calendar import EVE, HOLIDAY, day_class


@pytest.mark.parametrize("country", ["DE", "de", " DEU ", "Germany", "germany"])
def test_countries_go_by_code_or_name(country: str) -> None:
    assert day_class(date(2026, 10, 3), country) == (HOLIDAY, True)
    assert day_class(date(2025, 10, 2), country) == (EVE, False)


@pytest.mark.parametrize("country", [None, "", "Atlantis", "__class__", "date"])
def test_an_unknown_country_closes_on_week_ends_only(country: str | None) -> None:
    assert day_class(date(2026, 12, 25), country) == (4, False)
    assert day_class(date(2026, 12, 26), country)[1]


def test_friday_before_a_week_end_is_no_eve() -> None:
    assert day_class(date(2026, 3, 6), "US") == (4, False)


def test_the_eve_of_a_holiday_on_friday_is_one() -> None:
    assert day_class(date(2026, 4, 2), "DE") == (EVE, False)


def test_bank_holidays_count_where_the_library_knows_them() -> None:
    assert day_class(date(2026, 1, 2), "JP") == (HOLIDAY, True)
