"""A portfolio of debtors whose truth is known, and the files that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

from schemas.registry import DEBTOR_SOURCES
from streams.simulate import bank, insolvency
from streams.simulate.days import START, iso
from streams.simulate.invoices import Item, Ledger
from streams.simulate.notes import Notes, Simulated, money
from streams.simulate.profiles import Profile, draw_profile

MATERIAL = 50_000
"""Cents: what must be 90 days past due to count as a default (CRR Art. 178: EUR 500)."""
DEFAULT_DAYS = 90


@dataclass(frozen=True, slots=True)
class Portfolio:
    """``events`` in the order in which they were recorded; ``truth`` as it is written to truth.json."""

    events: list[Simulated]
    truth: dict[str, Any]


def simulate(debtors: int, days: int, seed: int, out: Path | None = None) -> Portfolio:
    """Play ``days`` days of ``debtors`` debtors; the same arguments give the same bytes. With ``out`` write it there too."""
    events: list[Simulated] = []
    truths: list[dict[str, Any]] = []
    for index in range(debtors):
        told, truth = _live(seed, index, days)
        events += told
        truths.append(truth)
    events.sort(key=lambda event: (event.recorded, event.id))
    truth = {
        "seed": seed,
        "debtors": debtors,
        "days": days,
        "first_day": iso(START),
        "last_day": iso(START + days - 1),
        "events": len(events),
        "defaults": sum(t["defaulted_on"] is not None for t in truths),
        "cash_breaks": sum(t["cash_breaks_on"] is not None and t["fate"] != "dips" for t in truths),
        "customers": truths,
    }
    portfolio = Portfolio(events, truth)
    if out is not None:
        write_portfolio(portfolio, out)
    return portfolio


def write_portfolio(portfolio: Portfolio, out: Path) -> None:
    """One TOPIC.jsonl per source topic and truth.json; a topic of which nothing was told has no file."""
    out.mkdir(parents=True, exist_ok=True)
    for topic in DEBTOR_SOURCES:
        path = out / f"{topic}.jsonl"
        lines = [event.line + b"\n" for event in portfolio.events if event.topic == topic]
        if lines:
            path.write_bytes(b"".join(lines))
        else:
            path.unlink(missing_ok=True)  # of an earlier portfolio in the same folder
    (out / "truth.json").write_bytes(orjson.dumps(portfolio.truth, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _live(seed: int, index: int, days: int) -> tuple[list[Simulated], dict[str, Any]]:
    profile = draw_profile(seed, index, days)
    notes = Notes(Random(f"{seed}/{index}/notes"), profile.customer_id, profile.ends)
    _introduce(profile, notes)
    register_rng = Random(f"{seed}/{index}/register")
    proceedings = insolvency.publish_fate(profile, notes, register_rng)
    noise = insolvency.publish_noise(profile, notes, register_rng)
    ledger = Ledger(profile, notes, Random(f"{seed}/{index}/invoices"), _sales_end(profile, proceedings))
    ledger.live()
    ledger.give_up(proceedings.opened)
    if profile.consent:
        bank.keep_account(profile, notes, Random(f"{seed}/{index}/bank"))
    return notes.events, _truth(profile, ledger.items, proceedings, noise)


def _introduce(profile: Profile, notes: Notes) -> None:
    about = {
        "name": profile.name,
        "country": profile.country,
        "industry": profile.industry,
        "segment": profile.segment,
        "terms_days": profile.terms_days,
        "group_id": profile.group_id,
        "currency": "EUR",
        "insured_limit": None if profile.insured_limit is None else money(profile.insured_limit * 100),
    }
    known = {name: value for name, value in about.items() if value is not None}
    notes.note("customer.updated", profile.begins, 6, punctual=True, **known)


def _sales_end(profile: Profile, proceedings: insolvency.Proceedings) -> int:
    """Nobody is delivered to whose insolvency is known, who is wound up, or who owes for six weeks and two reminders."""
    fate = profile.fate
    ends = [profile.ends]
    if proceedings.known is not None:
        ends.append(proceedings.known)
    if fate.stops_paying is not None:
        ends.append(fate.stops_paying + 42)
    if fate.kind == "winds_up" and fate.filed is not None:
        ends.append(fate.filed)
    return min(ends)


def _truth(profile: Profile, items: list[Item], proceedings: insolvency.Proceedings, noise: list[str]) -> dict[str, Any]:
    fate = profile.fate
    missed = sorted((item.due, item.open) for item in items if item.missed and item.due <= profile.ends)
    defaulted = _defaulted_on(profile, items, proceedings)
    return {
        "customer_id": profile.customer_id,
        "segment": profile.segment,
        "industry": profile.industry,
        "habit": profile.habit,
        "pay_run": profile.pay_run,
        "group_id": profile.group_id,
        "bank_consent": profile.consent,
        "fate": fate.kind,
        "begins_on": iso(profile.begins),
        "habit_changes_on": _day(profile, profile.habit_changes),
        "cash_breaks_on": _day(profile, fate.cash_breaks),
        "cash_recovers_on": _day(profile, fate.cash_recovers),
        "stops_paying_on": _day(profile, fate.stops_paying),
        "first_missed_due_on": iso(missed[0][0]) if missed else None,
        "filed_on": _day(profile, fate.filed),
        "insolvency_known_on": _day(profile, proceedings.known),
        "insolvency_opened_on": _day(profile, proceedings.opened),
        "defaulted_on": _day(profile, defaulted),
        "default_reason": None if defaulted is None or defaulted > profile.ends else _reason(defaulted, items, proceedings),
        "lost_amount": money(sum(item.open for item in items if item.missed)),
        "invoices": len(items),
        "register_noise": noise,
    }


def _defaulted_on(profile: Profile, items: list[Item], proceedings: insolvency.Proceedings) -> int | None:
    """The first of: a certain notice of insolvency, EUR 500 that are 90 days past due, a write-off; None = not by the end."""
    found = [proceedings.known] if proceedings.known is not None else []
    overdue = 0
    for item in sorted((item for item in items if item.missed), key=lambda item: item.due):
        overdue += item.open
        if overdue >= MATERIAL:
            found.append(item.due + DEFAULT_DAYS)
            break
    found += [item.written_off for item in items if item.written_off is not None]
    return min((day for day in found if day <= profile.ends), default=None)


def _reason(day: int, items: list[Item], proceedings: insolvency.Proceedings) -> str:
    if day == proceedings.known:
        return "insolvent"
    return "written off" if any(item.written_off == day for item in items) else "90 days past due"


def _day(profile: Profile, day: int | None) -> str | None:
    """What lies beyond the end has not happened."""
    return None if day is None or day > profile.ends else iso(day)
