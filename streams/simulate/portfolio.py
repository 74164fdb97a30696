"""A portfolio of debtors whose truth is known, and the files that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

from schemas.events.policies import DEFAULT_DAYS
from schemas.registry import DEBTOR_SOURCES
from streams.simulate import bank, insolvency
from streams.simulate.corrections import FIRST_NUMBER, correct_books
from streams.simulate.days import START, iso
from streams.simulate.invoices import Receivables, SimulatedInvoice
from streams.simulate.profiles import Profile, draw_profile
from streams.simulate.recorder import EventRecorder, SimulatedEvent, money

MATERIAL_CENTS = 50_000
"""What must be 90 days past due to count as a default (CRR Art. 178: EUR 500)."""


@dataclass(frozen=True, slots=True)
class Portfolio:
    """``events`` in the order in which they were recorded; ``truth`` as it is written to truth.json."""

    events: list[SimulatedEvent]
    truth: dict[str, Any]


def simulate(debtors: int, days: int, seed: int, out: Path | None = None) -> Portfolio:
    """Simulate a portfolio, and write it to ``out`` where that is given; the same arguments give the same bytes."""
    events: list[SimulatedEvent] = []
    truths: list[dict[str, Any]] = []
    for index in range(debtors):
        debtor_events, truth = _simulate_debtor(seed, index, days)
        events += debtor_events
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
    """Write one TOPIC.jsonl per source topic, and truth.json; a topic without events has no file."""
    out.mkdir(parents=True, exist_ok=True)
    for topic in DEBTOR_SOURCES:
        path = out / f"{topic}.jsonl"
        lines = [event.line + b"\n" for event in portfolio.events if event.topic == topic]
        if lines:
            path.write_bytes(b"".join(lines))
        else:
            path.unlink(missing_ok=True)  # of an earlier portfolio in the same folder
    (out / "truth.json").write_bytes(orjson.dumps(portfolio.truth, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _simulate_debtor(seed: int, index: int, days: int) -> tuple[list[SimulatedEvent], dict[str, Any]]:
    profile = draw_profile(seed, index, days)
    recorder = EventRecorder(Random(f"{seed}/{index}/notes"), profile.customer_id, profile.ends)
    _introduce(profile, recorder)
    register_rng = Random(f"{seed}/{index}/register")
    proceedings = insolvency.publish_fate(profile, recorder, register_rng)
    noise = insolvency.publish_noise(profile, recorder, register_rng)
    receivables = Receivables(profile, recorder, Random(f"{seed}/{index}/invoices"), _sales_end(profile, proceedings))
    receivables.simulate_life()
    receivables.write_off_lost(proceedings.opened_on)
    corrections = EventRecorder(Random(f"{seed}/{index}/corrections"), profile.customer_id, profile.ends, FIRST_NUMBER)
    correct_books(profile, corrections, Random(f"{seed}/{index}/corrected"), receivables.correctable())
    if profile.consent:
        bank.keep_account(profile, recorder, Random(f"{seed}/{index}/bank"))
    return [*recorder.events, *corrections.events], _truth(profile, receivables.invoices, proceedings, noise)


def _introduce(profile: Profile, recorder: EventRecorder) -> None:
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
    body = {name: value for name, value in about.items() if value is not None}
    recorder.record("customer.updated", profile.begins, 6, punctual=True, **body)


def _sales_end(profile: Profile, proceedings: insolvency.Proceedings) -> int:
    """The last day of sales to a debtor: it is known to be insolvent, is wound up, or has owed for six weeks."""
    fate = profile.fate
    ends = [profile.ends]
    if proceedings.known_on is not None:
        ends.append(proceedings.known_on)
    if fate.stops_paying is not None:
        ends.append(fate.stops_paying + 42)
    if fate.kind == "winds_up" and fate.filed is not None:
        ends.append(fate.filed)
    return min(ends)


def _truth(
    profile: Profile, invoices: list[SimulatedInvoice], proceedings: insolvency.Proceedings, noise: list[str]
) -> dict[str, Any]:
    fate = profile.fate
    missed = sorted((invoice.due, invoice.open) for invoice in invoices if invoice.missed and invoice.due <= profile.ends)
    defaulted = _defaulted_on(profile, invoices, proceedings)
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
        "insolvency_known_on": _day(profile, proceedings.known_on),
        "insolvency_opened_on": _day(profile, proceedings.opened_on),
        "defaulted_on": _day(profile, defaulted),
        "default_reason": None if defaulted is None or defaulted > profile.ends else _reason(defaulted, invoices, proceedings),
        "lost_amount": money(sum(invoice.open for invoice in invoices if invoice.missed)),
        "invoices": len(invoices),
        "register_noise": noise,
    }


def _defaulted_on(profile: Profile, invoices: list[SimulatedInvoice], proceedings: insolvency.Proceedings) -> int | None:
    """The first of: a certain notice of insolvency, EUR 500 that are 90 days past due, a write-off; None = not by the end."""
    days = [proceedings.known_on] if proceedings.known_on is not None else []
    overdue = 0
    for invoice in sorted((invoice for invoice in invoices if invoice.missed), key=lambda invoice: invoice.due):
        overdue += invoice.open
        if overdue >= MATERIAL_CENTS:
            days.append(invoice.due + DEFAULT_DAYS)
            break
    days += [invoice.written_off for invoice in invoices if invoice.written_off is not None]
    return min((day for day in days if day <= profile.ends), default=None)


def _reason(day: int, invoices: list[SimulatedInvoice], proceedings: insolvency.Proceedings) -> str:
    if day == proceedings.known_on:
        return "insolvent"
    return "written off" if any(invoice.written_off == day for invoice in invoices) else "90 days past due"


def _day(profile: Profile, day: int | None) -> str | None:
    """The day as text; None where it lies beyond the end, and so has not happened."""
    return None if day is None or day > profile.ends else iso(day)
