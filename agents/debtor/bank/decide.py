"""Cash flow: whether it changes suddenly against the past of the account itself."""

from __future__ import annotations

import math
from decimal import Decimal

from msgspec.structs import replace

from agents.debtor.bank.state import ZERO, Bank

WEIGHT = 0.12
"""Of a new week in mean and variance: half of it is forgotten after about five weeks."""
SLACK = 0.5
"""CUSUM reference value k in standard deviations (Page 1954; Montgomery, SPC: k = 0.5 finds shifts of one)."""
FLOOR = 0.3
"""The least standard deviation of ln(inflow): week-to-week noise below 30 % is no news (seasons included)."""
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
    return replace(bank, currency=bank.currency or currency, balance=balance, balance_on=day)


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
    following = replace(bank, week=bank.wake, wake=bank.wake + 7, inflow=ZERO, outflow=ZERO)
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
        last_inflow=bank.inflow, last_outflow=bank.outflow, returned=0,
    )  # fmt: skip


def expected_inflow(bank: Bank) -> Decimal:
    """What a usual week brings in, to the cent."""
    return Decimal(repr(round(math.expm1(bank.mean), 2))).quantize(Decimal("0.01"))
