"""What a set of facts adds up to, by the plainest code there is: the reference for state and ClickHouse.

Every function looks at all facts of one customer up to the end of a day, by their value dates, and knows no order of arrival but
that of the recorded time between two versions of the same thing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from schemas.base import Contract
from schemas.events import payments as p

ZERO = Decimal(0)
VALUE_DATES: dict[Any, str] = {
    p.InvoiceIssued: "issued_on",
    p.InvoiceAmended: "amended_on",
    p.InvoiceCancelled: "cancelled_on",
    p.InvoiceReinstated: "reinstated_on",
    p.InvoiceWrittenOff: "written_off_on",
    p.WriteOffReversed: "reversed_on",
    p.PaymentReceived: "paid_on",
    p.PaymentAllocated: "allocated_on",
    p.PaymentReturned: "returned_on",
    p.CreditNoteIssued: "issued_on",
    p.CreditNoteAllocated: "allocated_on",
    p.CreditNoteCancelled: "cancelled_on",
    p.RecoveryReceived: "recovered_on",
    p.DisputeOpened: "opened_on",
    p.DisputeClosed: "closed_on",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """What was said, and when it was recorded."""

    data: Any
    recorded: datetime

    @property
    def day(self) -> date:
        """The day from which it counts; a change of a payment or credit note does not count before that itself does."""
        day: date = getattr(self.data, VALUE_DATES[type(self.data)])
        return day


@dataclass
class Amounts:
    """What is owed in one currency at the end of a day."""

    open: dict[str, Decimal] = field(default_factory=dict)
    due: dict[str, date] = field(default_factory=dict)
    disputed: Decimal = ZERO
    unapplied: Decimal = ZERO
    losses: Decimal = ZERO
    net_sales: dict[date, Decimal] = field(default_factory=dict)

    @property
    def open_amount(self) -> Decimal:
        """The invoices' open parts, never below zero."""
        return sum(self.open.values(), ZERO)

    @property
    def exposure(self) -> Decimal:
        """What is owed less what is on account."""
        return self.open_amount - self.unapplied

    def overdue(self, day: date) -> Decimal:
        """Open parts past their due day, gross."""
        return sum((amount for invoice, amount in self.open.items() if self.due[invoice] < day), ZERO)


def amounts(facts: Iterable[Fact], currency: str, day: date) -> Amounts:
    """The amounts in a currency at the end of ``day``; each fact must be there once."""
    known = sorted((fact for fact in facts if fact.day <= day), key=lambda fact: (fact.day, fact.recorded))
    of = _by_type(known)
    invoices = {f.data.invoice_id: f.data for f in of(p.InvoiceIssued) if f.data.currency == currency}
    void = _in_force(of(p.InvoiceCancelled), of(p.InvoiceReinstated), "invoice_id")
    lost = _in_force(of(p.InvoiceWrittenOff), of(p.WriteOffReversed), "invoice_id")
    size = {i: ZERO if i in void else invoice.amount for i, invoice in invoices.items()}
    result = Amounts()
    credited: dict[str, Decimal] = dict.fromkeys(invoices, ZERO)
    void_notes = {f.data.credit_note_id for f in of(p.CreditNoteCancelled)}
    for note in (f.data for f in of(p.CreditNoteIssued) if f.data.currency == currency):
        if note.credit_note_id not in void_notes:
            stated = _stated(note, (f.data for f in of(p.CreditNoteAllocated) if f.data.credit_note_id == note.credit_note_id))
            _credit(credited, stated, result)
            result.unapplied += note.amount - sum(stated.values(), ZERO)
    paid: dict[str, Decimal] = dict.fromkeys(invoices, ZERO)
    for payment in (f.data for f in of(p.PaymentReceived) if f.data.currency == currency):
        stated = _stated(payment, (f.data for f in of(p.PaymentAllocated) if f.data.payment_id == payment.payment_id))
        returns = [f.data for f in of(p.PaymentReturned) if f.data.payment_id == payment.payment_id]
        parts, rest = split(payment.amount, stated, size, returns)
        _credit(paid, parts, result)
        result.unapplied += rest
    due = {f.data.invoice_id: f.data.due_on for f in of(p.InvoiceAmended) if f.data.due_on is not None}
    recovered: dict[str, Decimal] = dict.fromkeys(invoices, ZERO)
    for recovery in (f.data for f in of(p.RecoveryReceived) if f.data.currency == currency):
        recovered[recovery.invoice_id] = recovered.get(recovery.invoice_id, ZERO) + recovery.amount
    contested = _contested(of(p.DisputeOpened), of(p.DisputeClosed))
    for i, invoice in invoices.items():
        amount = size[i]
        settled = credited[i] + paid[i]
        result.unapplied += max(ZERO, settled - amount)
        rest = max(ZERO, amount - settled)
        if i in lost:
            result.losses += max(ZERO, rest - recovered[i])
            rest = ZERO
        result.open[i] = rest
        result.due[i] = max(due.get(i, invoice.due_on), invoice.issued_on)
        result.disputed += rest if i in contested else ZERO
        net = amount - min(credited[i], amount)
        result.net_sales[invoice.issued_on] = result.net_sales.get(invoice.issued_on, ZERO) + net
    return result


def split(
    amount: Decimal, stated: dict[str, Decimal], size: dict[str, Decimal], returns: list[Any]
) -> tuple[dict[str, Decimal], Decimal]:
    """What a payment settles of each invoice after its returns, and its rest.

    What it states is capped at the invoice's amount where that is known. What came back takes the rest first, then what the
    returns name, then the last allocation first.
    """
    parts = {i: min(part, size.get(i, part)) for i, part in stated.items()}
    back = min(sum((r.amount for r in returns), ZERO), amount)
    rest = amount - sum(parts.values(), ZERO)
    from_rest = min(rest, back)
    rest, back = rest - from_rest, back - from_rest
    named: dict[str, Decimal] = {}
    for allocation in (a for r in returns for a in r.allocations):
        named[allocation.invoice_id] = named.get(allocation.invoice_id, ZERO) + allocation.amount
    for limit in (named, parts.copy()):
        for i in reversed(parts):
            undone = min(parts[i], limit.get(i, ZERO), back)
            parts[i], back = parts[i] - undone, back - undone
    return parts, rest


def _by_type(facts: list[Fact]) -> Callable[[type[Contract]], list[Fact]]:
    groups = defaultdict[Any, list[Fact]](list)
    for fact in facts:
        groups[type(fact.data)].append(fact)
    return lambda kind: groups.get(kind, [])


def _in_force(facts: list[Fact], reversals: list[Fact], name: str) -> set[str]:
    """Ids of which the last word, by value date and recorded time, is the fact and not its reversal."""
    words = sorted(
        [*((f.day, f.recorded, True, f) for f in facts), *((f.day, f.recorded, False, f) for f in reversals)], key=lambda w: w[:2]
    )
    last = {getattr(fact.data, name): stands for _, _, stands, fact in words}
    return {i for i, stands in last.items() if stands}


def _stated(whole: Any, replacements: Iterable[Any]) -> dict[str, Decimal]:
    """Per invoice, in the order of first mention, what the list in force states: the last one replaces those before."""
    allocations = [whole.allocations, *(r.allocations for r in replacements)][-1]
    stated: dict[str, Decimal] = {}
    for allocation in allocations:
        stated[allocation.invoice_id] = stated.get(allocation.invoice_id, ZERO) + allocation.amount
    return stated


def _credit(sums: dict[str, Decimal], parts: dict[str, Decimal], result: Amounts) -> None:
    """Add to the sums of known invoices; what is stated for one that is not known (yet) is unapplied."""
    for i, part in parts.items():
        if i in sums:
            sums[i] += part
        else:
            result.unapplied += part


def _contested(opened: list[Fact], closed: list[Fact]) -> set[str]:
    over = {f.data.dispute_id for f in closed}
    return {f.data.invoice_id for f in opened if f.data.dispute_id not in over}
