"""Cash flow: whether it changes suddenly against the past of the account itself."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec.structs import replace

from agents.debtor.bank.state import ZERO, Bank

WEIGHT = 0.12
"""Of a new week in mean and variance: half of it is forgotten after about five weeks."""
SLACK = 0.5
"""CUSUM reference value k in standard deviations (Page 1954; Montgomery, SPC: k = 0.5 finds shifts of one)."""
FLOOR = 0.3
"""The least standard deviation of ln(inflow): week-to-week noise below 30 % is no news (seasons included)."""
HALF_YEAR = 1.0 / 26.0
"""Weight of a new week in what the account usually holds: pay days, taxes and a season must be in it."""
LOW_TENTH = 1.28
"""Standard deviations below the mean of the lowest tenth of a normal distribution."""
FORGET_SHOCK_WEEKS = 13
"""After so many weeks the new level is the debtor's normal."""


def monday(day: int) -> int:
    """The ordinal of the Monday of a day's week (ordinal 1 was a Monday).

    >>> from datetime import date
    >>> date.fromordinal(monday(date(2026, 3, 5).toordinal())).isoformat()
    '2026-03-02'
    """
    return day - (day - 1) % 7


def book(bank: Bank, amount: Decimal, currency: str, day: int, returned: bool, balance_after: Decimal | None) -> Bank:
    """Add a booked movement (in the owner's view: in is positive) to the running week.

    One currency is followed: that of the account's first movement. Movements of weeks that were judged already count in the
    running one: what is late is late, and a correction of the past is no sudden change.
    """
    if bank.currency and currency != bank.currency:
        return bank
    week = monday(day)
    if not bank.week:
        bank = replace(bank, currency=currency, week=week, wake=week + 7)
    if returned:
        bank = replace(bank, returned=bank.returned + 1)
    if balance_after is not None:
        bank = report_balance(bank, balance_after, currency, day)
    if amount > 0:
        return replace(bank, inflow=bank.inflow + amount)
    return replace(bank, outflow=bank.outflow - amount)


def report_balance(bank: Bank, balance: Decimal, currency: str, day: int) -> Bank:
    """Take a balance over if it is not older than the one known."""
    if (bank.currency and currency != bank.currency) or day < bank.balance_on:
        return bank
    lowest = balance if bank.lowest is None else min(bank.lowest, balance)
    return replace(bank, currency=bank.currency or currency, balance=balance, balance_on=day, lowest=lowest)


def judge_week(bank: Bank, threshold: float, warm_up_weeks: int) -> Bank:
    """Close the running week: move the CUSUM, raise or lift the shock, learn the week unless a shock is on.

    A week without any movement says nothing (the feed may be down) and is passed over. While a shock is on the past is not
    overwritten by it, for at most FORGET_SHOCK_WEEKS.

    >>> calm = Bank(currency="EUR", week=1, inflow=Decimal(1000), mean=math.log1p(1000), variance=0.01, weeks=20, wake=8)
    >>> judge_week(calm, 4.0, 8).shock
    False
    >>> bad = replace(calm, inflow=Decimal(100), fall=3.0)
    >>> judge_week(bad, 4.0, 8).shock
    True
    """
    following = replace(bank, week=bank.wake, wake=bank.wake + 7, inflow=ZERO, outflow=ZERO, lowest=None)
    if not bank.inflow and not bank.outflow:
        return following
    value = math.log1p(float(bank.inflow))
    residual = value - bank.mean
    fall, shock, shock_weeks = bank.fall, bank.shock, bank.shock_weeks
    if bank.weeks >= warm_up_weeks:
        u = residual / max(math.sqrt(bank.variance), FLOOR)
        fall = min(max(0.0, fall - max(-3.0, min(3.0, u)) - SLACK), 2 * threshold)
        shock = fall >= threshold or (shock and fall > threshold / 2)
        shock_weeks = shock_weeks + 1 if shock else 0
    mean, variance, weeks = bank.mean, bank.variance, bank.weeks
    if shock_weeks > FORGET_SHOCK_WEEKS:
        shock, shock_weeks, fall, weeks, mean, variance = False, 0, 0.0, 1, value, 0.0
    elif not shock:
        weight = max(WEIGHT, 1.0 / (weeks + 1))
        mean += weight * residual
        variance = (1 - weight) * (variance + weight * residual * residual)
        weeks += 1
    return replace(
        following, mean=mean, variance=variance, weeks=weeks, fall=fall, shock=shock, shock_weeks=shock_weeks,
        last_inflow=bank.inflow, last_outflow=bank.outflow, returned=0, **_held(bank, usual_week=not shock),
    )  # fmt: skip


def _held(bank: Bank, *, usual_week: bool) -> dict[str, Any]:
    """The closed week in what the account usually holds and gets; a week of shock is no usual inflow."""
    if bank.lowest is None:
        return {}
    weight = max(HALF_YEAR, 1.0 / (bank.levels + 1))
    lowest = float(bank.lowest)
    away = lowest - bank.level
    usual = bank.usual + weight * (float(bank.inflow) - bank.usual) if usual_week or not bank.levels else bank.usual
    return {
        "level": bank.level + weight * away,
        "spread": (1.0 - weight) * (bank.spread + weight * away * away),
        "usual": usual,
        "levels": bank.levels + 1,
    }


def cushion(bank: Bank, warm_up_weeks: int) -> float | None:
    """Weeks of usual inflow that the account holds when it holds little (in one week of ten); None = not known yet.

    A small firm without a cushion cannot bridge a customer that pays late: what it holds at its worst, not on average, counts.

    >>> cushion(Bank(level=9000.0, spread=4e6, usual=2000.0, levels=20), 8)
    3.22
    """
    if bank.levels < warm_up_weeks:
        return None
    low = bank.level - LOW_TENTH * math.sqrt(bank.spread)
    return round(low / max(bank.usual, 1.0), 6)


class Signs(NamedTuple):
    """What the account says of its owner. ``cushion``: in weeks of usual inflow, None = not known."""

    known: bool
    shock: bool
    falling: bool
    cushion: float | None


def signs(bank: Bank, threshold: float, warm_up_weeks: int) -> Signs:
    """Half the way to a shock, inflow is falling; the cushion is the usual one, or what the account holds now, if that is less.

    >>> signs(Bank(weeks=20, fall=2.5, level=9000.0, usual=2000.0, levels=20, balance=Decimal(1000)), 4.0, 8)
    Signs(known=True, shock=False, falling=True, cushion=0.5)
    """
    known, held = bank.weeks >= warm_up_weeks, cushion(bank, warm_up_weeks)
    if held is not None and bank.balance is not None:
        held = min(held, round(float(bank.balance) / max(bank.usual, 1.0), 6))
    return Signs(known, bank.shock, known and bank.fall >= threshold / 2.0, held)


def expected_inflow(bank: Bank) -> Decimal:
    """What a usual week brings in, to the cent."""
    return Decimal(repr(round(math.expm1(bank.mean), 2))).quantize(Decimal("0.01"))
