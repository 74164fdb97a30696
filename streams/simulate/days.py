"""Days as ordinals, and when banks are closed (week-ends and Germany's nation-wide holidays)."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

START = date(2024, 1, 1).toordinal()
"""A Monday: every portfolio begins here."""
_FIXED = {(1, 1), (5, 1), (10, 3), (12, 25), (12, 26)}
_FROM_EASTER = (-2, 1, 39, 50)
"""Good Friday, Easter Monday, Ascension, Whit Monday."""


@lru_cache(maxsize=100)
def _easter(year: int) -> int:
    """The ordinal of Easter Sunday (Gauss's rule, in the form of Meeus for the Gregorian calendar)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (a + 11 * h) // 319
    r = (2 * e + 2 * i - k - h + m + 32) % 7
    month = (h - m + r + 90) // 25
    return date(year, month, (h - m + r + month + 19) % 32).toordinal()


@lru_cache(maxsize=20_000)
def is_closed(day: int) -> bool:
    """Whether banks book nothing on that day."""
    when = date.fromordinal(day)
    return when.weekday() >= 5 or (when.month, when.day) in _FIXED or day - _easter(when.year) in _FROM_EASTER


@lru_cache(maxsize=20_000)
def next_open(day: int) -> int:
    """The day itself, or the next on which banks are open."""
    while is_closed(day):
        day += 1
    return day


@lru_cache(maxsize=20_000)
def iso(day: int) -> str:
    """A day as a date on the wire.

    >>> iso(START)
    '2024-01-01'
    """
    return date.fromordinal(day).isoformat()


@lru_cache(maxsize=20_000)
def month_of(day: int) -> int:
    """The month of a day, 1 to 12."""
    return date.fromordinal(day).month


@lru_cache(maxsize=20_000)
def day_of_month(day: int) -> int:
    return date.fromordinal(day).day
