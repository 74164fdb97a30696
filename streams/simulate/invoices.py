"""The life of a debtor's invoices: issued, disputed, credited, reminded, paid in runs, or never paid."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from random import Random
from typing import Any

from streams.simulate.bank import book_return, cash_level
from streams.simulate.days import day_of_month, iso, month_of, next_open
from streams.simulate.notes import Notes, money
from streams.simulate.profiles import INDUSTRIES, Profile

LATEST = 60
"""Days past due at which somebody who can pay has paid at the latest: nobody who is sound comes near 90."""
REMINDERS = (7, 21, 42)
"""Days past due of the three levels."""
LOST, CANCELLED, CREDITED, DISPUTED, OVERPAID, PAID_TWICE, RETURNED = 0.02, 0.007, 0.02, 0.025, 0.008, 0.003, 0.01
"""Shares of invoices (of payments, the last three) to which it happens without any bad will."""


@dataclass(slots=True)
class Item:
    """An invoice; amounts in cents."""

    id: str
    issued: int
    due: int
    amount: int
    open: int
    settles: int | None = None
    """The day on which the last of it is paid; None = never."""
    missed: bool = False
    """It is not paid in full because the debtor no longer pays."""
    held: tuple[int, int] | None = None
    """In dispute, from and to."""
    written_off: int | None = None


class Ledger:
    """One debtor's side of our ledger."""

    def __init__(self, profile: Profile, notes: Notes, rng: Random, sales_end: int) -> None:
        self._profile = profile
        self._notes = notes
        self._rng = rng
        self._sales_end = sales_end
        self._payments: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
        self.items: list[Item] = []

    def live(self) -> None:
        """Play it from the first invoice to the last day."""
        profile, rng = self._profile, self._rng
        season = INDUSTRIES[profile.industry].season
        day = float(profile.begins)
        while True:
            day += rng.expovariate(profile.invoices_a_day * season[month_of(int(day)) - 1])
            issued = next_open(int(day))
            if issued > min(profile.ends, self._sales_end):
                break
            self._issue(issued)
        for paid_on in sorted(self._payments):
            self._receive(paid_on, self._payments[paid_on])

    def _issue(self, issued: int, cents: int | None = None) -> None:
        profile, rng, notes = self._profile, self._rng, self._notes
        if cents is None:
            spread = 1.0 if rng.random() < 0.12 else 0.45  # now and then a large order
            cents = max(2_500, round(profile.amount * math.exp(rng.gauss(0, spread)) * 100))
        item = Item(notes.new_id("R"), issued, issued + profile.terms_days, cents, cents)
        terms: dict[str, Any] = {"issued_on": iso(issued), "due_on": iso(item.due), "terms_days": profile.terms_days}
        # Never recorded late: what follows refers to it.
        notes.note("invoice.issued", issued, 9, punctual=True, invoice_id=item.id, amount=money(cents), currency="EUR", **terms)
        self.items.append(item)
        if rng.random() < CANCELLED:
            self._cancel(item)
            return
        pays = self._pay_day(item)
        pays = self._contest(item, pays)
        if profile.direct_debit and item.held is None:
            self._collect(item)
        else:
            pays = self._promise(item, pays)
            self._transfer(item, pays)
        self._remind(item)

    def _cancel(self, item: Item) -> None:
        """It was wrong; a right one follows."""
        rng = self._rng
        day = next_open(item.issued + rng.randint(1, 6))
        self._notes.note("invoice.cancelled", day, 10, invoice_id=item.id, cancelled_on=iso(day), reason="wrong order number")
        item.open = 0
        item.settles = day
        if next_open(day + 1) <= min(self._profile.ends, self._sales_end):
            self._issue(next_open(day + 1), item.amount)

    # ---------------------------------------------------------------- when it is paid

    def _pay_day(self, item: Item) -> int:
        """The day of the pay run that takes the invoice, as habit and cash allow."""
        profile, rng = self._profile, self._rng
        if profile.prepays and rng.random() < 0.6:
            return max(profile.begins, item.issued - rng.randint(1, 5))
        delay = rng.gauss(profile.mean_delay, profile.spread)
        if profile.habit == "waits for the reminder":
            delay = REMINDERS[0] + rng.randint(2, 8)
        if profile.habit_changes is not None and item.due >= profile.habit_changes:
            delay += profile.habit_shift
        if item.amount > profile.threshold * 100:
            delay += rng.uniform(3, 12)
        if rng.random() < LOST:
            delay += rng.uniform(15, 40)  # nobody can find it
        delay = min(delay + self._stretch(item.due), LATEST)
        return self._run_after(max(item.issued + 1, item.due + round(delay)))

    def _stretch(self, day: int) -> float:
        fate = self._profile.fate
        if not fate.stretch or fate.cash_breaks is None or day < fate.cash_breaks:
            return 0.0
        if fate.stops_paying is not None:
            return fate.stretch * min(1.0, (day - fate.cash_breaks) / max(1, fate.stops_paying - fate.cash_breaks))
        return fate.stretch * (1 - cash_level(fate, day)) / fate.depth

    def _run_after(self, day: int) -> int:
        profile = self._profile
        if profile.pay_run == "weekly":
            day += (profile.pay_weekday - (day - 1)) % 7
        elif profile.pay_run == "twice a month":
            while day_of_month(day) not in (1, 15):
                day += 1
        return next_open(day)

    def _stopped(self, day: int) -> bool:
        stops = self._profile.fate.stops_paying
        return stops is not None and day >= stops

    def _strained(self, day: int) -> bool:
        fate = self._profile.fate
        return fate.kind == "breaks" and fate.cash_breaks is not None and day >= fate.cash_breaks

    # ---------------------------------------------------------------- credit, dispute, promise, reminder

    def _contest(self, item: Item, pays: int) -> int:
        """A credit note or a dispute; returns when the rest is paid."""
        rng = self._rng
        if rng.random() < CREDITED:
            day = next_open(item.issued + rng.randint(2, 8))
            if day < pays:
                self._credit(item, day, rng.uniform(0.05, 0.2))
        elif rng.random() < (0.09 if self._strained(item.due) else DISPUTED):
            opened = next_open(rng.randint(item.issued + 2, item.due + 2))
            if opened < pays:
                closed = next_open(opened + rng.randint(8, 28))
                self._dispute(item, opened, closed)
                pays = self._run_after(max(pays, min(closed + rng.randint(2, 9), item.due + LATEST)))
        return pays

    def _credit(self, item: Item, day: int, share: float) -> None:
        cents = min(item.open, max(100, round(item.amount * share)))
        item.open -= cents
        note: dict[str, Any] = {
            "credit_note_id": self._notes.new_id("K"),
            "issued_on": iso(day),
            "currency": "EUR",
            "amount": money(cents),
        }
        allocations = [{"invoice_id": item.id, "amount": money(cents)}]
        self._notes.note("credit_note.issued", day, 10, allocations=allocations, **note)

    def _dispute(self, item: Item, opened: int, closed: int) -> None:
        rng, notes = self._rng, self._notes
        about: dict[str, Any] = {"dispute_id": notes.new_id("S"), "invoice_id": item.id}
        reason = rng.choice(("quantity", "price", "quality", "delivery missing"))
        notes.note("dispute.opened", opened, 11, punctual=True, opened_on=iso(opened), reason=reason, **about)
        outcome = rng.choices(
            ("upheld", "rejected", "withdrawn"), (0.15, 0.6, 0.25) if self._strained(opened) else (0.5, 0.3, 0.2)
        )[0]
        notes.note("dispute.closed", closed, 11, closed_on=iso(closed), outcome=outcome, **about)
        item.held = (opened, closed)
        if outcome == "upheld":
            self._credit(item, closed, 1.0 if rng.random() < 0.15 else rng.uniform(0.1, 0.6))
            if not item.open:
                item.settles = closed

    def _promise(self, item: Item, pays: int) -> int:
        """Reminded, some promise a day; the sound mostly keep it."""
        rng = self._rng
        asked = next_open(item.due + REMINDERS[0 if self._strained(item.due) else 1] + rng.randint(1, 3))
        if asked >= pays or item.held is not None or not item.open or rng.random() > 0.4:
            return pays
        promised = next_open(asked + rng.randint(4, 10))
        about: dict[str, Any] = {
            "invoice_id": item.id,
            "amount": money(item.open),
            "currency": "EUR",
            "promise_id": self._notes.new_id("V"),
        }
        self._notes.note("promise.made", asked, 15, made_on=iso(asked), promised_for=iso(promised), **about)
        kept = rng.random() < (0.15 if self._strained(asked) else 0.8)
        return min(promised, pays) if kept else pays

    def _remind(self, item: Item) -> None:
        fate = self._profile.fate
        for level, days in enumerate(REMINDERS, 1):
            day = next_open(item.due + days)
            if (item.settles is not None and day >= item.settles) or (fate.filed is not None and day >= fate.filed):
                break
            if item.held is None or not item.held[0] <= day <= item.held[1]:
                sent: dict[str, Any] = {
                    "dunning_id": self._notes.new_id("M"),
                    "level": level,
                    "sent_on": iso(day),
                    "invoice_ids": [item.id],
                }
                self._notes.note("dunning.sent", day, 8, **sent)

    # ---------------------------------------------------------------- money

    def _collect(self, item: Item) -> None:
        """By direct debit, when due; a returned one is paid by transfer some days later, if at all."""
        rng, notes, fate = self._rng, self._notes, self._profile.fate
        day = next_open(item.due)
        if item.open <= 0:
            return
        risk = 1.0 if self._stopped(day) else 0.15 + 0.5 * (1 - cash_level(fate, day)) if self._strained(day) else RETURNED
        payment_id, cents = notes.new_id("Z"), item.open
        allocations = [{"invoice_id": item.id, "amount": money(cents)}]
        if fate.filed is None or day < fate.filed or fate.kind == "winds_up":
            paid: dict[str, Any] = {"payment_id": payment_id, "amount": money(cents), "currency": "EUR", "paid_on": iso(day)}
            notes.note("payment.received", day, 14, punctual=True, allocations=allocations, **paid)
            if rng.random() >= risk:
                item.open, item.settles = 0, day
                return
            back = next_open(day + rng.randint(2, 4))
            returned: dict[str, Any] = {"return_id": notes.new_id("X"), "payment_id": payment_id, "returned_on": iso(back)}
            notes.note(
                "payment.returned", back, 14, punctual=True, amount=money(cents), currency="EUR", reason="AM04", **returned
            )
            if self._profile.consent:
                book_return(self._profile, notes, back, cents)
            day = back
        self._transfer(item, next_open(day + rng.randint(5, 15)))

    def _transfer(self, item: Item, pays: int) -> None:
        """Schedule what is open: at once, or in two parts; whoever has stopped pays nothing, or a token."""
        rng, profile = self._rng, self._profile
        if item.open <= 0:
            return
        parts = [(pays, item.open)]
        if rng.random() < (0.25 if profile.partial_payer or self._strained(pays) else 0.01):
            first = round(item.open * rng.uniform(0.4, 0.8))
            rest = self._run_after(max(pays + 1, min(pays + rng.randint(7, 30), item.due + LATEST)))
            parts = [(pays, first), (rest, item.open - first)]
        for day, cents in parts:
            if self._stopped(day):
                item.missed = True
                if profile.fate.kind == "breaks" and rng.random() < 0.08:
                    self._token(item, next_open(max(item.issued, profile.fate.stops_paying or 0) + rng.randint(1, 20)))
                break
            if cents > 0:
                self._payments[day].append((item.id, cents))
                item.open -= cents
                item.settles = day
        if item.missed:
            item.settles = None

    def _token(self, item: Item, day: int) -> None:
        filed = self._profile.fate.filed
        if filed is None or day < filed:
            cents = round(item.open * self._rng.uniform(0.1, 0.3))
            self._payments[day].append((item.id, cents))
            item.open -= cents

    def _receive(self, day: int, parts: list[tuple[str, int]]) -> None:
        """One payment for all that a pay run takes; now and then too much, or the same again."""
        rng, notes = self._rng, self._notes
        total = sum(cents for _, cents in parts)
        allocations = [{"invoice_id": invoice_id, "amount": money(cents)} for invoice_id, cents in parts]
        if rng.random() < OVERPAID:
            total += rng.randint(100, 5_000)
        money_in: dict[str, Any] = {"amount": money(total), "currency": "EUR"}
        notes.note(
            "payment.received", day, 14, payment_id=notes.new_id("Z"), paid_on=iso(day), allocations=allocations, **money_in
        )
        if rng.random() < PAID_TWICE and not self._stopped(day):
            again = next_open(day + rng.randint(1, 8))
            notes.note(
                "payment.received", again, 14, payment_id=notes.new_id("Z"), paid_on=iso(again), allocations=[], **money_in
            )

    # ---------------------------------------------------------------- the end

    def give_up(self, from_day: int | None) -> None:
        """Write off what will not be paid: after the proceedings have begun (``from_day``), else long past due."""
        rng, notes = self._rng, self._notes
        reason = "insolvent" if from_day is not None else "uncollectable"
        after = rng.randint(30, 70)
        gone: list[Item] = [item for item in self.items if item.missed and item.open > 0]
        for item in gone:
            day = next_open(item.due + after + 75 if from_day is None else max(from_day + after, item.due))
            item.written_off = day
            note: dict[str, Any] = {"invoice_id": item.id, "written_off_on": iso(day), "reason": reason}
            notes.note("invoice.written_off", day, 16, **note)
        if gone and rng.random() < 0.25:
            item = rng.choice(gone)
            day = next_open((item.written_off or 0) + rng.randint(30, 120))
            cents = max(1, round(item.open * rng.uniform(0.03, 0.2)))
            about: dict[str, Any] = {"recovery_id": notes.new_id("E"), "invoice_id": item.id, "recovered_on": iso(day)}
            notes.note("recovery.received", day, 14, amount=money(cents), currency="EUR", **about)
