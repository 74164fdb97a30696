"""Which days of a file are typing errors: a replay's clock runs to the last record, so one wrong year would move it for all."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from itertools import pairwise

OUTLIER_SHARE = 0.01
OUTLIER_GAP = timedelta(days=403)
"""Further than this from all others, a small share of the days is a typing error.

That is what the debtor's agent refuses (``agents.debtor.brain.MAX_DAYS_AHEAD``) of what lies in the last step.
"""
LONG_SILENCE = timedelta(days=5 * 366)
"""Nobody's events fall silent for so long and then go on with less than there was before."""


def plausible_span(days: Counter[date], doubtful: Counter[date], silence: timedelta = LONG_SILENCE) -> tuple[date, date]:
    """The first and the last day that are meant; what lies beyond them is a typing error.

    Later days are one if they lie far from all others and are few, or what is recorded on them contradicts itself (``doubtful``),
    or after so long a ``silence`` that nobody can mean them. Earlier days move no clock: only few of many are one.

    >>> days = Counter({date(2026, 1, 5): 3, date(2026, 1, 20): 2, date(2099, 12, 31): 1})
    >>> plausible_span(days, Counter())[1]
    datetime.date(2026, 1, 20)
    >>> days = Counter({date(2026, 1, 5): 3, date(2027, 12, 31): 1})
    >>> [str(plausible_span(days, Counter(doubtful))[1]) for doubtful in ([], [date(2027, 12, 31)])]
    ['2027-12-31', '2026-01-05']
    """
    if not days:
        return date.min, date.max
    order, total = sorted(days), days.total()
    few = int(total * OUTLIER_SHARE)
    first, last = order[0], order[-1]
    count = contradictions = 0
    for day, before in pairwise(reversed(order)):
        count, contradictions = count + days[day], contradictions + doubtful[day]
        gap = day - before
        if gap > OUTLIER_GAP and (count <= few or contradictions == count or (gap > silence and 2 * count < total)):
            last = before
    count = 0
    for day, after in pairwise(order):
        count += days[day]
        if after - day > OUTLIER_GAP and count <= few:
            first = after
    return first, last


def has_gap(days: Counter[date]) -> bool:
    """Whether any days lie so far from the others that they may be typing errors.

    >>> has_gap(Counter([date(2026, 1, 5), date(2026, 1, 20)])), has_gap(Counter([date(2026, 1, 5), date(2099, 1, 20)]))
    (False, True)
    """
    return any(after - day > OUTLIER_GAP for day, after in pairwise(sorted(days)))
