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
MIN_DEVIATION = 0.3
"""The least standard deviation of ln(inflow): week-to-week noise below 30 % is no news (seasons included)."""
MAX_STEP = 3.0
"""Standard deviations that one week counts for at most: a single strange week is not yet a change."""
HALF_YEAR = 1.0 / 26.0
"""Weight of a new week in what the account usually holds: pay days, taxes and a season must be in it."""
LOWEST_TENTH = 1.28
"""Standard deviations below the mean of the lowest tenth of a normal distribution."""
FORGET_SHOCK_WEEKS = 13
"""After so many weeks the new level is the debtor's normal."""
RISING_FACTOR = Decimal("1.10")
"""Inflow above the usual week by this factor is rising. Low, well within the weekly noise: it only joins the reasons of a raise
that the debtor's sales carry by themselves, and moves no amount."""


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

    >>> bank = book(Bank(), Decimal(100), "EUR", 739000, returned=False, balance_after=Decimal(250))
    >>> bank = book(bank, Decimal(-30), "EUR", 739001, returned=False, balance_after=None)
    >>> bank.inflow, bank.outflow, bank.balance, bank.next_deadline - bank.week
    (Decimal('100.00'), Decimal('30.00'), Decimal('250'), 7)
    """
    if bank.currency and currency != bank.currency:
        return bank
    week = monday(day)
    if not bank.week:
        bank = replace(bank, currency=currency, week=week, next_deadline=week + 7)
    if returned:
        bank = replace(bank, returned=bank.returned + 1)
    if balance_after is not None:
        bank = report_balance(bank, balance_after, currency, day)
    if amount > 0:
        return replace(bank, inflow=bank.inflow + amount)
    return replace(bank, outflow=bank.outflow - amount)


def report_balance(bank: Bank, balance: Decimal, currency: str, day: int) -> Bank:
    """Take over a balance unless it is older than the known one, or in another currency.

    >>> bank = report_balance(Bank(), Decimal(70), "EUR", 10)
    >>> report_balance(bank, Decimal(50), "EUR", 9).balance
    Decimal('70')
    """
    if (bank.currency and currency != bank.currency) or day < bank.balance_on:
        return bank
    lowest = balance if bank.lowest is None else min(bank.lowest, balance)
    return replace(bank, currency=bank.currency or currency, balance=balance, balance_on=day, lowest=lowest)


def judge_week(bank: Bank, threshold: float, warm_up_weeks: int) -> Bank:
    """Close the running week: move the CUSUM, raise or lift the shock, learn the week unless a shock is on.

    A week without any movement says nothing (the feed may be down) and is passed over. While a shock is on the past is not
    overwritten by it, for at most FORGET_SHOCK_WEEKS.

    >>> calm = Bank(currency="EUR", week=1, inflow=Decimal(1000), log_mean=math.log1p(1000), weeks=20, next_deadline=8)
    >>> judge_week(calm, 4.0, 8).shock
    False
    >>> bad = replace(calm, inflow=Decimal(100), cusum=3.0)
    >>> judge_week(bad, 4.0, 8).shock
    True
    """
    following = replace(
        bank, week=bank.next_deadline, next_deadline=bank.next_deadline + 7, inflow=ZERO, outflow=ZERO, lowest=None
    )
    if not bank.inflow and not bank.outflow:
        return following
    value = math.log1p(float(bank.inflow))
    residual = value - bank.log_mean
    cusum, shock, shock_weeks = bank.cusum, bank.shock, bank.shock_weeks
    if bank.weeks >= warm_up_weeks:
        deviations = residual / max(math.sqrt(bank.log_variance), MIN_DEVIATION)
        cusum = min(max(0.0, cusum - max(-MAX_STEP, min(MAX_STEP, deviations)) - SLACK), 2 * threshold)
        shock = cusum >= threshold or (shock and cusum > threshold / 2)
        shock_weeks = shock_weeks + 1 if shock else 0
    mean, variance, weeks = bank.log_mean, bank.log_variance, bank.weeks
    if shock_weeks > FORGET_SHOCK_WEEKS:
        shock, shock_weeks, cusum, weeks, mean, variance = False, 0, 0.0, 1, value, 0.0
    elif not shock:
        weight = max(WEIGHT, 1.0 / (weeks + 1))
        mean += weight * residual
        variance = (1 - weight) * (variance + weight * residual * residual)
        weeks += 1
    return replace(
        following, log_mean=mean, log_variance=variance, weeks=weeks, cusum=cusum, shock=shock, shock_weeks=shock_weeks,
        last_inflow=bank.inflow, last_outflow=bank.outflow, returned=0, **_levels(bank, is_usual_week=not shock),
    )  # fmt: skip


def _levels(bank: Bank, *, is_usual_week: bool) -> dict[str, Any]:
    """The closed week in what the account usually holds and gets; a week of shock is no usual inflow."""
    if bank.lowest is None:
        return {}
    weight = max(HALF_YEAR, 1.0 / (bank.low_weeks + 1))
    residual = float(bank.lowest) - bank.low_mean
    inflow = bank.mean_inflow
    if is_usual_week or not bank.low_weeks:
        inflow += weight * (float(bank.inflow) - inflow)
    return {
        "low_mean": bank.low_mean + weight * residual,
        "low_variance": (1.0 - weight) * (bank.low_variance + weight * residual * residual),
        "mean_inflow": inflow,
        "low_weeks": bank.low_weeks + 1,
    }


def cushion(bank: Bank, warm_up_weeks: int) -> float | None:
    """Weeks of usual inflow that the account holds when it holds little (in one week of ten); None = not known yet.

    A small firm without a cushion cannot bridge a customer that pays late: what it holds at its worst, not on average, counts.

    >>> cushion(Bank(low_mean=9000.0, low_variance=4e6, mean_inflow=2000.0, low_weeks=20), 8)
    3.22
    """
    if bank.low_weeks < warm_up_weeks:
        return None
    low = bank.low_mean - LOWEST_TENTH * math.sqrt(bank.low_variance)
    return round(low / max(bank.mean_inflow, 1.0), 6)


class CashSignals(NamedTuple):
    """What the account says of its owner, once it ``is_known``. ``cushion``: in weeks of usual inflow, None = not known."""

    is_known: bool
    shock: bool
    falling: bool
    cushion: float | None


def cash_signals(bank: Bank, threshold: float, warm_up_weeks: int) -> CashSignals:
    """Half the way to a shock, inflow is falling; the cushion is the usual one, or what the account holds now, if that is less.

    >>> cash_signals(Bank(weeks=20, cusum=2.5, low_mean=9000.0, mean_inflow=2000.0, low_weeks=20, balance=Decimal(1000)), 4.0, 8)
    CashSignals(is_known=True, shock=False, falling=True, cushion=0.5)
    """
    is_known, weeks_held = bank.weeks >= warm_up_weeks, cushion(bank, warm_up_weeks)
    if weeks_held is not None and bank.balance is not None:
        weeks_held = min(weeks_held, round(float(bank.balance) / max(bank.mean_inflow, 1.0), 6))
    return CashSignals(is_known, bank.shock, is_known and bank.cusum >= threshold / 2.0, weeks_held)


def expected_inflow(bank: Bank) -> Decimal:
    """What a usual week brings in, to the cent.

    >>> expected_inflow(Bank(log_mean=math.log1p(1000)))
    Decimal('1000.00')
    """
    return Decimal(repr(round(math.expm1(bank.log_mean), 2))).quantize(Decimal("0.01"))


def is_rising(bank: Bank) -> bool:
    """Whether the last week brought in clearly more than a usual one.

    >>> usual = Bank(weeks=20, log_mean=math.log1p(1000), last_inflow=Decimal(1100))
    >>> is_rising(usual), is_rising(replace(usual, last_inflow=Decimal("1100.01")))
    (False, True)
    """
    return bank.weeks > 0 and bank.last_inflow > expected_inflow(bank) * RISING_FACTOR
