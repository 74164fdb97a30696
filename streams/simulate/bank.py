"""A debtor's bank account: receipts and costs of each week, and the balance on Friday."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from streams.simulate.days import START, iso, month_of, next_open
from streams.simulate.profiles import INDUSTRIES, Fate, Profile
from streams.simulate.recorder import EventRecorder, money

RAMP = 21
"""Days over which inflow falls, and over which it recovers."""


def cash_level(fate: Fate, day: int) -> float:
    """The share of the usual inflow that still comes in on that day."""
    if fate.cash_breaks is None or day < fate.cash_breaks:
        return 1.0
    if fate.cash_recovers is not None and day >= fate.cash_recovers:
        return min(1.0, 1 - fate.depth * (1 - (day - fate.cash_recovers) / RAMP))
    return 1 - fate.depth * min(1.0, (day - fate.cash_breaks + 7) / RAMP)


def keep_account(profile: Profile, recorder: EventRecorder, rng: Random) -> None:
    """Book receipts and costs of each week, payroll on the month's last Friday, and balances; costs follow usual sales."""
    fate, usual = profile.fate, profile.inflow_a_week
    account: dict[str, Any] = {"account_iban": profile.iban, "currency": "EUR"}
    balance = usual * rng.uniform(2, 8)
    overdraft = -usual * rng.uniform(0.3, 1.5)
    noise = rng.uniform(0.12, 0.4)
    growth = rng.gauss(0.0, 0.002)
    customers, suppliers = rng.randrange(4, 13), rng.randrange(3, 9)
    season = INDUSTRIES[profile.industry].season
    for week, monday in enumerate(range(START + (profile.begins - START) // 7 * 7, profile.ends + 1, 7)):
        friday = next_open(monday + 4)
        if friday > profile.ends or (fate.filed is not None and fate.kind != "winds_up" and friday > fate.filed + 14):
            break
        level = math.exp(growth * week) * season[month_of(monday) - 1]
        inflow = usual * level * cash_level(fate, friday) * math.exp(rng.gauss(0, noise))
        costs = usual * level * 0.72 * math.exp(rng.gauss(0, noise * 0.6))
        payroll = usual * math.exp(growth * week) * 1.05 if month_of(friday) != month_of(friday + 7) else 0.0
        gain = max(0.0, balance - usual * 9) * 0.5  # what is not needed is drawn by the owners
        room = balance + inflow - overdraft
        outflow = min(costs + payroll + gain, max(0.0, room))
        balance += inflow - outflow
        _book_parts(recorder, rng, monday, round(inflow * 100), customers, "receipt of a customer", account)
        if payroll and outflow > payroll:
            _book(recorder, friday, -round(payroll * 100), "wages and levies", account)
            outflow -= payroll
        _book_parts(recorder, rng, monday, -round(outflow * 100), suppliers, "suppliers, rent, taxes", account)
        recorder.record(
            "bank_balance.reported", friday, 21, balance=money(round(balance * 100)), balance_on=iso(friday), **account
        )


def book_return(profile: Profile, recorder: EventRecorder, day: int, cents: int) -> None:
    """Book a direct debit of ours that the debtor's bank returned: out and in on one day."""
    account: dict[str, Any] = {"account_iban": profile.iban, "currency": "EUR"}
    _book(recorder, day, -cents, "direct debit", account)
    _book(recorder, day, cents, "return of a direct debit", account | {"return_reason": "AM04"})


def _book_parts(
    recorder: EventRecorder, rng: Random, monday: int, cents: int, parts: int, text: str, account: dict[str, Any]
) -> None:
    """Book a week's sum as several movements, some large, most small, spread over the working days."""
    weights = [rng.random() ** 2 + 0.05 for _ in range(parts)]
    whole, left = sum(weights), cents
    for number, weight in enumerate(weights, 1):
        part = left if number == parts else round(cents * weight / whole)
        left -= part
        _book(recorder, next_open(monday + rng.randrange(5)), part, text, account)


def _book(recorder: EventRecorder, day: int, cents: int, text: str, account: dict[str, Any]) -> None:
    if cents:
        recorder.record(
            "bank_transaction.booked",
            day,
            20,
            transaction_id=recorder.new_id("T"),
            amount=money(cents),
            booked_on=iso(day),
            valued_on=iso(day),
            status="booked",
            remittance=text,
            **account,
        )
