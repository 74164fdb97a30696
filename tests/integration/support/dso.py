"""Days sales outstanding by their definitions: the oracle that the views of ClickHouse are held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from agents.debtor.payments.posting import WINDOW_DAYS
from agents.debtor.payments.state import ZERO

CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Dso:
    """Days sales outstanding in four forms, rounded to 0.01; None when there were no sales in the window."""

    standard: Decimal | None
    best_possible: Decimal | None
    average_days_delinquent: Decimal | None
    countback: Decimal | None


def countback(open_amount: Decimal, periods: Iterable[tuple[int, Decimal]]) -> Decimal | None:
    """Walk back: subtract each period's sales, add its days, the last one pro rata. None when the sales never cover the amount.

    ``periods`` are (days, sales), the newest first; a period without sales counts its days. The sample that Oracle prints for
    debtors of 12,000 is wrong: it is 166.33 days.

    >>> countback(Decimal(7500), [(1, Decimal(5000)), (1, Decimal(0)), (1, Decimal(5000))])
    Decimal('2.5')
    """
    rest, days = open_amount, Decimal(0)
    if rest <= 0:
        return days
    for length, sales in periods:
        if sales >= rest:
            return days + length * rest / sales
        rest -= sales
        days += length
    return None


def dso(
    open_amount: Decimal,
    not_due: Decimal,
    sales_by_day: Callable[[int], Decimal | None],
    day: int,
    oldest: int,
    window: int = WINDOW_DAYS,
) -> Dso:
    """The four forms at the end of ``day``; the window are the ``window`` days that end with it.

    standard = open / sales x window; best possible with what is not overdue; average days delinquent = their difference;
    countback day by day. ``oldest`` is the first day that has sales, as an ordinal.

    >>> dso(Decimal(15000), Decimal(4000), {100: Decimal(10000)}.get, 100, 100, window=30)
    Dso(standard=Decimal('45.00'), best_possible=Decimal('12.00'), average_days_delinquent=Decimal('33.00'), countback=None)
    """
    sales = sum((sales_by_day(d) or ZERO for d in range(day - window + 1, day + 1)), ZERO)
    if not sales:
        return Dso(None, None, None, None)
    standard, best = open_amount / sales * window, not_due / sales * window
    back = countback(open_amount, ((1, sales_by_day(d) or ZERO) for d in range(day, oldest - 1, -1)))
    return Dso(
        standard.quantize(CENT),
        best.quantize(CENT),
        (standard - best).quantize(CENT),
        None if back is None else back.quantize(CENT),
    )
