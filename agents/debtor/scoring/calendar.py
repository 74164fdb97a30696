"""On which days banks are closed in the debtor's country: the class of a due day."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

import holidays
from holidays.registry import COUNTRIES

HOLIDAY, EVE = 7, 8
"""Classes of a due day besides the weekdays 0 (Monday) to 6: a bank holiday, and Monday to Thursday before a closed day."""

_CODES = {
    code.upper(): names[1] for module, names in COUNTRIES.items() for code in (module.replace("_", " "), names[1], names[2])
}


@lru_cache(maxsize=1024)
def _calendar(country: str | None) -> holidays.HolidayBase | None:
    """The nationwide holidays, with bank holidays where the library knows them; None where it does not know the country."""
    code = _CODES.get((country or "").strip().upper())
    if code is None:
        return None
    supported = holidays.country_holidays(code).supported_categories
    return holidays.country_holidays(code, categories=[c for c in ("public", "bank") if c in supported])


@lru_cache(maxsize=65536)
def day_class(day: date, country: str | None) -> tuple[int, bool]:
    """The class of a due day (0..6 weekday, 7 holiday, 8 Monday-Thursday before a closed day), and whether banks are closed.

    ``country``: ISO 3166 code or English name; where it is unknown, banks are closed at week-ends only.

    >>> day_class(date(2026, 12, 24), "Germany"), day_class(date(2026, 12, 24), "US"), day_class(date(2026, 12, 26), None)
    ((8, False), (8, False), (5, True))
    """
    calendar, weekday = _calendar(country), day.weekday()
    if calendar is not None and day in calendar:
        return HOLIDAY, True
    if calendar is not None and weekday < 4 and date.fromordinal(day.toordinal() + 1) in calendar:
        return EVE, False
    return weekday, weekday >= 5
