"""What is corrected in the books of a sound payer; none of it changes what becomes of the debtor.

Money comes back and is paid again, is paid twice, is cleared anew; an invoice is cancelled by mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from streams.simulate.days import iso, next_open
from streams.simulate.profiles import Profile
from streams.simulate.recorder import EventRecorder, money

FIRST_NUMBER = 1_000_000
"""Ids of corrections are counted from here, so that all other ids stay what they are without them."""
MAX_DAYS_PAST_DUE = 80
"""By then all is as it was: nobody comes near 90 days past due by a correction."""
# Shares of invoices.
RETURNED_SHARE = 0.02
PAID_TWICE_SHARE = 0.02
CLEARED_ANEW_SHARE = 0.02
REINSTATED_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class SimulatedPayment:
    """A payment that was recorded by the end; ``parts`` are (invoice, cents)."""

    id: str
    paid_on: int
    recorded_on: int
    parts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Correctable:
    """An invoice that was paid in full, without dispute or credit, and its last payment."""

    id: str
    issued_on: int
    due: int
    first_paid_on: int
    payment: SimulatedPayment


def correct_books(profile: Profile, recorder: EventRecorder, rng: Random, invoices: Sequence[Correctable]) -> None:
    """Correct some invoices; a payment is corrected once at most."""
    books = _Books(profile, recorder, rng, {invoice.id: invoice.due for invoice in invoices})
    for invoice in invoices:
        draw = rng.random()
        for share, correct in (
            (RETURNED_SHARE, books.return_and_repay),
            (PAID_TWICE_SHARE, books.pay_twice),
            (CLEARED_ANEW_SHARE, books.clear_anew),
            (REINSTATED_SHARE, books.cancel_and_reinstate),
        ):
            if draw < share:
                correct(invoice)
                break
            draw -= share


class _Books:
    """Corrections of one debtor's invoices. Each is recorded in time: what follows refers to it."""

    def __init__(self, profile: Profile, recorder: EventRecorder, rng: Random, dues: dict[str, int]) -> None:
        self._profile = profile
        self._dues = dues
        self._recorder = recorder
        self._rng = rng
        self._corrected: set[str] = set()

    def return_and_repay(self, invoice: Correctable) -> None:
        """The part of a payment for this invoice comes back, and is paid again some days later."""
        payment, rng = invoice.payment, self._rng
        back = self._day_after(payment, 2, 4)
        again = next_open(back + rng.randint(3, 9))
        if not self._is_free(payment, [invoice.id], again):
            return
        [part] = [{"invoice_id": i, "amount": money(cents)} for i, cents in payment.parts if i == invoice.id]
        amount: dict[str, Any] = {"amount": part["amount"], "currency": "EUR", "allocations": [part]}
        ids = {"return_id": self._recorder.new_id("X"), "payment_id": payment.id}
        self._record("payment.returned", back, returned_on=iso(back), reason="MS03 not specified", **ids, **amount)
        self._record("payment.received", again, payment_id=self._recorder.new_id("Z"), paid_on=iso(again), **amount)

    def pay_twice(self, invoice: Correctable) -> None:
        """A second payment for the same invoices; later a clerk takes it off them: cash on account."""
        payment, rng = invoice.payment, self._rng
        second = self._day_after(payment, 1, 8)
        noticed = next_open(second + rng.randint(2, 20))
        if not self._is_free(payment, [], noticed):
            return
        ids = {"payment_id": self._recorder.new_id("Z"), "currency": "EUR"}
        total = money(sum(cents for _, cents in payment.parts))
        self._record("payment.received", second, amount=total, paid_on=iso(second), allocations=_as_json(payment), **ids)
        self._allocate(noticed, [], ids)

    def clear_anew(self, invoice: Correctable) -> None:
        """The clearing of a payment is reset, and done again some days later."""
        payment = invoice.payment
        reset = self._day_after(payment, 1, 10)
        cleared = next_open(reset + self._rng.randint(1, 4))
        if self._is_free(payment, [i for i, _ in payment.parts], cleared):
            ids = {"payment_id": payment.id, "currency": "EUR"}
            self._allocate(reset, [], ids)
            self._allocate(cleared, _as_json(payment), ids)

    def cancel_and_reinstate(self, invoice: Correctable) -> None:
        """The invoice is cancelled by mistake, and owed again before it is due."""
        cancelled = next_open(invoice.issued_on + self._rng.randint(1, 4))
        reinstated = next_open(cancelled + self._rng.randint(1, 4))
        if reinstated < min(invoice.due, invoice.first_paid_on) and reinstated <= self._profile.ends:
            about = {"invoice_id": invoice.id, "reason": "wrong invoice number"}
            self._record("invoice.cancelled", cancelled, cancelled_on=iso(cancelled), **about)
            self._record("invoice.reinstated", reinstated, reinstated_on=iso(reinstated), **about)

    def _day_after(self, payment: SimulatedPayment, least: int, most: int) -> int:
        return next_open(max(payment.paid_on, payment.recorded_on) + self._rng.randint(least, most))

    def _is_free(self, payment: SimulatedPayment, opened: Sequence[str], last: int) -> bool:
        """Whether a payment may be corrected until the day ``last``, while the invoices ``opened`` are open; marks it."""
        stops = self._profile.fate.stops_paying
        if payment.id in self._corrected or last > self._profile.ends or (stops is not None and last >= stops):
            return False
        if any(invoice_id not in self._dues or last > self._dues[invoice_id] + MAX_DAYS_PAST_DUE for invoice_id in opened):
            return False
        self._corrected.add(payment.id)
        return True

    def _allocate(self, day: int, allocations: list[dict[str, str]], ids: dict[str, str]) -> None:
        allocation_id = self._recorder.new_id("A")
        self._record("payment.allocated", day, allocation_id=allocation_id, allocated_on=iso(day), allocations=allocations, **ids)

    def _record(self, kind: str, day: int, **body: Any) -> None:
        self._recorder.record(kind, day, 15, punctual=True, **body)


def _as_json(payment: SimulatedPayment) -> list[dict[str, str]]:
    return [{"invoice_id": invoice_id, "amount": money(cents)} for invoice_id, cents in payment.parts]
