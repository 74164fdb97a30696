"""The life of a debtor's invoices: issued, disputed, credited, dunned, paid in runs, or never paid."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from random import Random
from typing import Any

from streams.simulate.bank import book_return, cash_level
from streams.simulate.corrections import Correctable, SimulatedPayment
from streams.simulate.days import day_of_month, iso, month_of, next_open
from streams.simulate.profiles import INDUSTRIES, Profile
from streams.simulate.recorder import EventRecorder, money

MAX_DAYS_LATE = 60
"""Days past due by which a debtor who can pay has paid at the latest: no sound debtor comes near 90."""
REMINDERS = (7, 21, 42)
"""Days past due of the three levels."""
# Shares of invoices to which this happens without bad intent, ...
LOST_SHARE = 0.02
CANCELLED_SHARE = 0.007
CREDITED_SHARE = 0.02
DISPUTED_SHARE = 0.025
# ... and of payments.
OVERPAID_SHARE = 0.008
PAID_TWICE_SHARE = 0.003
RETURNED_SHARE = 0.01


@dataclass(slots=True)
class SimulatedInvoice:
    """An invoice of a simulated debtor; amounts in cents."""

    id: str
    issued_on: int
    due: int
    amount: int
    open: int
    settles: int | None = None
    """The day on which the last part is paid; None = never."""
    missed: bool = False
    """Whether it stays unpaid because the debtor no longer pays."""
    dispute_days: tuple[int, int] | None = None
    """First and last day of its dispute."""
    written_off: int | None = None
    is_credited: bool = False


class Receivables:
    """The receivables from one debtor, as they come about."""

    def __init__(self, profile: Profile, recorder: EventRecorder, rng: Random, sales_end: int) -> None:
        self._profile = profile
        self._recorder = recorder
        self._rng = rng
        self._sales_end = sales_end
        self._payments: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
        self._recorded_payments: list[SimulatedPayment] = []
        self.invoices: list[SimulatedInvoice] = []

    def simulate_life(self) -> None:
        """Simulate from the first invoice to the last day."""
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

    def _issue(self, issue_day: int, cents: int | None = None) -> None:
        profile, rng, recorder = self._profile, self._rng, self._recorder
        if cents is None:
            spread = 1.0 if rng.random() < 0.12 else 0.45  # now and then a large order
            cents = max(2_500, round(profile.amount * math.exp(rng.gauss(0, spread)) * 100))
        invoice = SimulatedInvoice(recorder.new_id("R"), issue_day, issue_day + profile.terms_days, cents, cents)
        terms: dict[str, Any] = {"issued_on": iso(issue_day), "due_on": iso(invoice.due), "terms_days": profile.terms_days}
        # Never recorded late: what follows refers to it.
        recorder.record(
            "invoice.issued", issue_day, 9, punctual=True, invoice_id=invoice.id, amount=money(cents), currency="EUR", **terms
        )
        self.invoices.append(invoice)
        if rng.random() < CANCELLED_SHARE:
            self._cancel(invoice)
            return
        pays = self._pay_day(invoice)
        pays = self._contest(invoice, pays)
        if profile.direct_debit and invoice.dispute_days is None:
            self._collect(invoice)
        else:
            pays = self._promise(invoice, pays)
            self._transfer(invoice, pays)
        self._remind(invoice)

    def _cancel(self, invoice: SimulatedInvoice) -> None:
        """Cancel the invoice because it was wrong; a correct one follows."""
        rng = self._rng
        day = next_open(invoice.issued_on + rng.randint(1, 6))
        self._recorder.record(
            "invoice.cancelled", day, 10, invoice_id=invoice.id, cancelled_on=iso(day), reason="wrong order number"
        )
        invoice.open = 0
        invoice.settles = day
        if next_open(day + 1) <= min(self._profile.ends, self._sales_end):
            self._issue(next_open(day + 1), invoice.amount)

    # ---------------------------------------------------------------- when it is paid

    def _pay_day(self, invoice: SimulatedInvoice) -> int:
        """The day of the pay run that takes the invoice, as habit and cash allow."""
        profile, rng = self._profile, self._rng
        if profile.prepays and rng.random() < 0.6:
            return max(profile.begins, invoice.issued_on - rng.randint(1, 5))
        delay = rng.gauss(profile.mean_delay, profile.spread)
        if profile.habit == "waits for the reminder":
            delay = REMINDERS[0] + rng.randint(2, 8)
        if profile.habit_changes is not None and invoice.due >= profile.habit_changes:
            delay += profile.habit_shift
        if invoice.amount > profile.threshold * 100:
            delay += rng.uniform(3, 12)
        if rng.random() < LOST_SHARE:
            delay += rng.uniform(15, 40)  # lost in the debtor's mail
        delay = min(delay + self._stretch(invoice.due), MAX_DAYS_LATE)
        return self._run_after(max(invoice.issued_on + 1, invoice.due + round(delay)))

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

    def _has_stopped_paying(self, day: int) -> bool:
        stops = self._profile.fate.stops_paying
        return stops is not None and day >= stops

    def _is_strained(self, day: int) -> bool:
        fate = self._profile.fate
        return fate.kind == "breaks" and fate.cash_breaks is not None and day >= fate.cash_breaks

    # ---------------------------------------------------------------- credit, dispute, promise, reminder

    def _contest(self, invoice: SimulatedInvoice, pays: int) -> int:
        """A credit note or a dispute; returns when the rest is paid."""
        rng = self._rng
        if rng.random() < CREDITED_SHARE:
            day = next_open(invoice.issued_on + rng.randint(2, 8))
            if day < pays:
                self._credit(invoice, day, rng.uniform(0.05, 0.2))
        elif rng.random() < (0.09 if self._is_strained(invoice.due) else DISPUTED_SHARE):
            opened = next_open(rng.randint(invoice.issued_on + 2, invoice.due + 2))
            if opened < pays:
                closed = next_open(opened + rng.randint(8, 28))
                self._dispute(invoice, opened, closed)
                pays = self._run_after(max(pays, min(closed + rng.randint(2, 9), invoice.due + MAX_DAYS_LATE)))
        return pays

    def _credit(self, invoice: SimulatedInvoice, day: int, share: float) -> None:
        cents = min(invoice.open, max(100, round(invoice.amount * share)))
        invoice.open -= cents
        invoice.is_credited = True
        note: dict[str, Any] = {
            "credit_note_id": self._recorder.new_id("K"),
            "issued_on": iso(day),
            "currency": "EUR",
            "amount": money(cents),
        }
        allocations = [{"invoice_id": invoice.id, "amount": money(cents)}]
        self._recorder.record("credit_note.issued", day, 10, allocations=allocations, **note)

    def _dispute(self, invoice: SimulatedInvoice, opened: int, closed: int) -> None:
        rng, recorder = self._rng, self._recorder
        about: dict[str, Any] = {"dispute_id": recorder.new_id("S"), "invoice_id": invoice.id}
        reason = rng.choice(("quantity", "price", "quality", "delivery missing"))
        recorder.record("dispute.opened", opened, 11, punctual=True, opened_on=iso(opened), reason=reason, **about)
        outcome = rng.choices(
            ("upheld", "rejected", "withdrawn"), (0.15, 0.6, 0.25) if self._is_strained(opened) else (0.5, 0.3, 0.2)
        )[0]
        recorder.record("dispute.closed", closed, 11, closed_on=iso(closed), outcome=outcome, **about)
        invoice.dispute_days = (opened, closed)
        if outcome == "upheld":
            self._credit(invoice, closed, 1.0 if rng.random() < 0.15 else rng.uniform(0.1, 0.6))
            if not invoice.open:
                invoice.settles = closed

    def _promise(self, invoice: SimulatedInvoice, pays: int) -> int:
        """After a reminder some debtors promise a day; sound ones mostly keep it. Returns when the invoice is paid."""
        rng = self._rng
        reminded_on = next_open(invoice.due + REMINDERS[0 if self._is_strained(invoice.due) else 1] + rng.randint(1, 3))
        if reminded_on >= pays or invoice.dispute_days is not None or not invoice.open or rng.random() > 0.4:
            return pays
        promised = next_open(reminded_on + rng.randint(4, 10))
        about: dict[str, Any] = {
            "invoice_id": invoice.id,
            "amount": money(invoice.open),
            "currency": "EUR",
            "promise_id": self._recorder.new_id("V"),
        }
        self._recorder.record("promise.made", reminded_on, 15, made_on=iso(reminded_on), promised_for=iso(promised), **about)
        is_kept = rng.random() < (0.15 if self._is_strained(reminded_on) else 0.8)
        return min(promised, pays) if is_kept else pays

    def _remind(self, invoice: SimulatedInvoice) -> None:
        fate = self._profile.fate
        for level, days in enumerate(REMINDERS, 1):
            day = next_open(invoice.due + days)
            if (invoice.settles is not None and day >= invoice.settles) or (fate.filed is not None and day >= fate.filed):
                break
            if invoice.dispute_days is None or not invoice.dispute_days[0] <= day <= invoice.dispute_days[1]:
                reminder: dict[str, Any] = {
                    "dunning_id": self._recorder.new_id("M"),
                    "level": level,
                    "sent_on": iso(day),
                    "invoice_ids": [invoice.id],
                }
                self._recorder.record("dunning.sent", day, 8, **reminder)

    # ---------------------------------------------------------------- money

    def _collect(self, invoice: SimulatedInvoice) -> None:
        """Collect by direct debit when due; what is returned is paid by transfer some days later, if at all."""
        rng, recorder, fate = self._rng, self._recorder, self._profile.fate
        day = next_open(invoice.due)
        if invoice.open <= 0:
            return
        risk = (
            1.0
            if self._has_stopped_paying(day)
            else 0.15 + 0.5 * (1 - cash_level(fate, day))
            if self._is_strained(day)
            else RETURNED_SHARE
        )
        payment_id, cents = recorder.new_id("Z"), invoice.open
        allocations = [{"invoice_id": invoice.id, "amount": money(cents)}]
        if fate.filed is None or day < fate.filed or fate.kind == "winds_up":
            payment: dict[str, Any] = {"payment_id": payment_id, "amount": money(cents), "currency": "EUR", "paid_on": iso(day)}
            recorded_on = recorder.record("payment.received", day, 14, punctual=True, allocations=allocations, **payment)
            if rng.random() >= risk:
                self._remember(payment_id, day, recorded_on, [(invoice.id, cents)])
                invoice.open, invoice.settles = 0, day
                return
            back = next_open(day + rng.randint(2, 4))
            returned: dict[str, Any] = {"return_id": recorder.new_id("X"), "payment_id": payment_id, "returned_on": iso(back)}
            recorder.record(
                "payment.returned", back, 14, punctual=True, amount=money(cents), currency="EUR", reason="AM04", **returned
            )
            if self._profile.consent:
                book_return(self._profile, recorder, back, cents)
            day = back
        self._transfer(invoice, next_open(day + rng.randint(5, 15)))

    def _transfer(self, invoice: SimulatedInvoice, pays: int) -> None:
        """Schedule the payment of what is open, whole or in two parts; a debtor that has stopped pays nothing, or a token."""
        rng, profile = self._rng, self._profile
        if invoice.open <= 0:
            return
        parts = [(pays, invoice.open)]
        if rng.random() < (0.25 if profile.partial_payer or self._is_strained(pays) else 0.01):
            first = round(invoice.open * rng.uniform(0.4, 0.8))
            rest = self._run_after(max(pays + 1, min(pays + rng.randint(7, 30), invoice.due + MAX_DAYS_LATE)))
            parts = [(pays, first), (rest, invoice.open - first)]
        for day, cents in parts:
            if self._has_stopped_paying(day):
                invoice.missed = True
                if profile.fate.kind == "breaks" and rng.random() < 0.08:
                    self._token(invoice, next_open(max(invoice.issued_on, profile.fate.stops_paying or 0) + rng.randint(1, 20)))
                break
            if cents > 0:
                self._payments[day].append((invoice.id, cents))
                invoice.open -= cents
                invoice.settles = day
        if invoice.missed:
            invoice.settles = None

    def _token(self, invoice: SimulatedInvoice, day: int) -> None:
        filed = self._profile.fate.filed
        if filed is None or day < filed:
            cents = round(invoice.open * self._rng.uniform(0.1, 0.3))
            self._payments[day].append((invoice.id, cents))
            invoice.open -= cents

    def _receive(self, day: int, parts: list[tuple[str, int]]) -> None:
        """One payment for all that a pay run settles; now and then too much, or a second time."""
        rng, recorder = self._rng, self._recorder
        total = sum(cents for _, cents in parts)
        allocations = [{"invoice_id": invoice_id, "amount": money(cents)} for invoice_id, cents in parts]
        if rng.random() < OVERPAID_SHARE:
            total += rng.randint(100, 5_000)
        money_in: dict[str, Any] = {"amount": money(total), "currency": "EUR"}
        payment_id = recorder.new_id("Z")
        recorded_on = recorder.record(
            "payment.received", day, 14, payment_id=payment_id, paid_on=iso(day), allocations=allocations, **money_in
        )
        self._remember(payment_id, day, recorded_on, parts)
        if rng.random() < PAID_TWICE_SHARE and not self._has_stopped_paying(day):
            second_day = next_open(day + rng.randint(1, 8))
            recorder.record(
                "payment.received",
                second_day,
                14,
                payment_id=recorder.new_id("Z"),
                paid_on=iso(second_day),
                allocations=[],
                **money_in,
            )

    def _remember(self, payment_id: str, day: int, recorded_on: int | None, parts: list[tuple[str, int]]) -> None:
        if recorded_on is not None:
            self._recorded_payments.append(SimulatedPayment(payment_id, day, recorded_on, tuple(parts)))

    def correctable(self) -> list[Correctable]:
        """Invoices in whose life nothing happened but payments, the last of which has been recorded."""
        payments: defaultdict[str, list[SimulatedPayment]] = defaultdict(list)
        for payment in self._recorded_payments:
            for invoice_id, _ in payment.parts:
                payments[invoice_id].append(payment)
        untouched = [i for i in self.invoices if not (i.open or i.missed or i.is_credited or i.dispute_days)]
        return [
            Correctable(invoice.id, invoice.issued_on, invoice.due, own[0].paid_on, own[-1])
            for invoice in untouched
            if (own := payments[invoice.id]) and own[-1].paid_on == invoice.settles and own[0].paid_on > invoice.issued_on
        ]

    # ---------------------------------------------------------------- the end

    def write_off_lost(self, from_day: int | None) -> None:
        """Write off what will not be paid: after the proceedings have started (``from_day``), else long past due."""
        rng, recorder = self._rng, self._recorder
        reason = "insolvent" if from_day is not None else "uncollectable"
        after = rng.randint(30, 70)
        unpaid: list[SimulatedInvoice] = [invoice for invoice in self.invoices if invoice.missed and invoice.open > 0]
        for invoice in unpaid:
            day = next_open(invoice.due + after + 75 if from_day is None else max(from_day + after, invoice.due))
            invoice.written_off = day
            note: dict[str, Any] = {"invoice_id": invoice.id, "written_off_on": iso(day), "reason": reason}
            recorder.record("invoice.written_off", day, 16, **note)
        if unpaid and rng.random() < 0.25:
            invoice = rng.choice(unpaid)
            day = next_open((invoice.written_off or 0) + rng.randint(30, 120))
            cents = max(1, round(invoice.open * rng.uniform(0.03, 0.2)))
            about: dict[str, Any] = {"recovery_id": recorder.new_id("E"), "invoice_id": invoice.id, "recovered_on": iso(day)}
            recorder.record("recovery.received", day, 14, amount=money(cents), currency="EUR", **about)
