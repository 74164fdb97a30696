"""Ledgers at random: everything that can happen to invoices, payments and credit notes, each fact true to those before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from schemas.events import payments as p
from tests.property.support.ledger_reference import Fact

FIRST = date(2024, 1, 1)
CENT = Decimal("0.01")


@dataclass
class RandomLedger:
    """The facts of one customer, drawn from ``rng``; value dates lie within ``days`` days of FIRST."""

    rng: Random
    customer_id: str = "C-1"
    days: int = 60
    facts: list[Fact] = field(default_factory=list)

    def draw(self) -> list[Fact]:
        """All facts, in no order that means anything; recorded times are different, and tell versions of a thing apart."""
        invoices = [f"I{n}" for n in range(self.rng.randrange(1, 6))]
        for invoice_id in invoices:
            self._invoice(invoice_id)
        for number in range(self.rng.randrange(6)):
            self._payment(f"P{number}", invoices)
        for number in range(self.rng.randrange(4)):
            self._credit_note(f"N{number}", invoices)
        self.rng.shuffle(self.facts)
        return self.facts

    def _say(self, data: Any) -> None:
        recorded = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=self.days + 1, seconds=len(self.facts))
        self.facts.append(Fact(data, recorded))

    def _day(self, after: date = FIRST) -> date:
        left = (FIRST - after).days + self.days
        return after + timedelta(days=self.rng.randrange(max(1, left)))

    def _money(self, most: Decimal = Decimal(900)) -> Decimal:
        """Round amounts often, so that things fit each other exactly."""
        amount = (
            Decimal(self.rng.randrange(1, 10) * 100) if self.rng.random() < 0.6 else Decimal(self.rng.randrange(1, 90_000)) / 100
        )
        return max(CENT, min(amount, most))

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _invoice(self, invoice_id: str) -> None:
        issued = self._day()
        due = issued + timedelta(days=self.rng.randrange(-3, 50))
        ids: dict[str, Any] = {"customer_id": self.customer_id, "invoice_id": invoice_id}
        if self._chance(0.08):
            return  # named by payments, never issued
        self._say(p.InvoiceIssued(**ids, amount=self._money(), currency="EUR", issued_on=issued, due_on=due))
        if self._chance(0.3):
            self._cancel(ids, issued)
        elif self._chance(0.2):
            self._write_off(ids, issued)
        for number in range(self.rng.choice([0, 0, 0, 1, 2])):
            amended = self._day(issued)
            due = amended + timedelta(days=self.rng.randrange(-5, 40))
            self._say(p.InvoiceAmended(**ids, amendment_id=f"A{invoice_id}-{number}", amended_on=amended, due_on=due))
        if self._chance(0.2):
            self._contest(ids, issued)

    def _cancel(self, ids: dict[str, Any], issued: date) -> None:
        cancelled = self._day(issued)
        self._say(p.InvoiceCancelled(**ids, cancelled_on=cancelled))
        if self._chance(0.6):
            reinstated = self._day(cancelled)
            self._say(p.InvoiceReinstated(**ids, reinstated_on=reinstated))
            if self._chance(0.3) and (reinstated - FIRST).days + 1 < self.days:
                self._say(p.InvoiceCancelled(**ids, cancelled_on=self._day(reinstated + timedelta(1))))

    def _write_off(self, ids: dict[str, Any], issued: date) -> None:
        written_off = self._day(issued)
        self._say(p.InvoiceWrittenOff(**ids, written_off_on=written_off))
        if self._chance(0.4):
            money = {"amount": self._money(), "currency": "EUR", "recovered_on": self._day(written_off)}
            self._say(p.RecoveryReceived(**ids, recovery_id=f"V{ids['invoice_id']}", **money))
        if self._chance(0.4):
            self._say(p.WriteOffReversed(**ids, reversed_on=self._day(written_off)))

    def _contest(self, ids: dict[str, Any], issued: date) -> None:
        opened, dispute = self._day(issued), {"dispute_id": f"D{ids['invoice_id']}"}
        self._say(p.DisputeOpened(**ids, **dispute, opened_on=opened))
        if self._chance(0.6):
            outcome = self.rng.choice(["upheld", "rejected"])
            self._say(p.DisputeClosed(**ids, **dispute, closed_on=self._day(opened), outcome=outcome))

    def _allocations(self, invoices: list[str], most: Decimal) -> tuple[p.Allocation, ...]:
        parts: list[p.Allocation] = []
        left = most
        for _ in range(self.rng.choice([0, 1, 1, 1, 2, 3])):
            if left > 0:
                amount = self._money(left)
                parts.append(p.Allocation(invoice_id=self.rng.choice(invoices), amount=amount))
                left -= amount
        return tuple(parts)

    def _payment(self, payment_id: str, invoices: list[str]) -> None:
        amount = self._money(Decimal(2000)) + (self._money() if self._chance(0.4) else 0)
        paid = self._day()
        ids: dict[str, Any] = {"customer_id": self.customer_id, "payment_id": payment_id, "currency": "EUR"}
        self._say(p.PaymentReceived(**ids, amount=amount, paid_on=paid, allocations=self._allocations(invoices, amount)))
        for number in range(self.rng.choice([0, 0, 0, 1, 2])):
            self._say(
                p.PaymentAllocated(
                    **ids,
                    allocation_id=f"L{payment_id}-{number}",
                    allocated_on=self._day(paid),
                    allocations=self._allocations(invoices, amount),
                )
            )
        left = amount
        for number in range(self.rng.choice([0, 0, 1, 1, 2])):
            if left > 0:
                back = self._money(left)
                left -= back
                named = self._allocations(invoices, back) if self._chance(0.4) else ()
                self._say(
                    p.PaymentReturned(
                        **ids, return_id=f"R{payment_id}-{number}", amount=back, returned_on=self._day(paid), allocations=named
                    )
                )

    def _credit_note(self, credit_note_id: str, invoices: list[str]) -> None:
        amount, issued = self._money(), self._day()
        ids: dict[str, Any] = {"customer_id": self.customer_id, "credit_note_id": credit_note_id}
        self._say(
            p.CreditNoteIssued(
                **ids, currency="EUR", amount=amount, issued_on=issued, allocations=self._allocations(invoices, amount)
            )
        )
        if self._chance(0.3):
            self._say(
                p.CreditNoteAllocated(
                    **ids,
                    currency="EUR",
                    allocation_id=f"L{credit_note_id}",
                    allocated_on=self._day(issued),
                    allocations=self._allocations(invoices, amount),
                )
            )
        if self._chance(0.2):
            self._say(p.CreditNoteCancelled(**ids, cancelled_on=self._day(issued)))


def days_of(facts: list[Fact], last: date) -> Iterator[date]:
    """Every day from the first fact on."""
    day = min(fact.day for fact in facts)
    while day <= last:
        yield day
        day += timedelta(1)
