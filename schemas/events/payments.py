"""Topic ``payments``: what happens to a debtor's invoices."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import ADDED, BusinessDate, Contract, Currency, Id, PositiveAmount, Text, at_most_decimals, blame


class Allocation(Contract):
    """The part of a payment or credit note that settles one invoice, in the currency of the whole."""

    invoice_id: Id
    amount: PositiveAmount


class _Money(Contract):
    """A fact about one customer, with an amount above zero in a currency."""

    customer_id: Id
    amount: PositiveAmount
    currency: Currency

    @model_validator(mode="after")
    def _decimals(self) -> Self:
        at_most_decimals(self.amount, self.currency)
        return self


def _check_decimals(currency: str, allocations: tuple[Allocation, ...]) -> None:
    for allocation in allocations:
        at_most_decimals(allocation.amount, currency, "allocations")


def _check_allocations(total: Decimal, currency: str, allocations: tuple[Allocation, ...]) -> None:
    _check_decimals(currency, allocations)
    allocated = sum((a.amount for a in allocations), Decimal(0))
    if allocated > total:
        raise blame("allocations", f"the allocations add up to {allocated}, more than the amount {total}")


class InvoiceIssued(_Money):
    """An invoice was issued. ``terms_days`` are the agreed days to pay, where known."""

    invoice_id: Id
    issued_on: BusinessDate
    due_on: BusinessDate
    terms_days: int | None = Field(default=None, ge=0, le=3650)


class PaymentReceived(_Money):
    """Money came in. What ``allocations`` leave over is unapplied cash; empty = all of it."""

    payment_id: Id
    paid_on: BusinessDate
    allocations: tuple[Allocation, ...] = Field(default=(), max_length=10_000)

    @model_validator(mode="after")
    def _allocated(self) -> Self:
        _check_allocations(self.amount, self.currency, self.allocations)
        return self


class PaymentAllocated(Contract):
    """A payment settles these invoices from ``allocated_on`` on: the list replaces every earlier one of the payment.

    Empty = all of it is unapplied cash. ERP exports call it reconciliation, application or clearing of cash on account.
    """

    customer_id: Id
    allocation_id: Id
    payment_id: Id
    currency: Currency
    allocated_on: BusinessDate
    allocations: tuple[Allocation, ...] = Field(max_length=10_000)

    @model_validator(mode="after")
    def _decimals(self) -> Self:
        _check_decimals(self.currency, self.allocations)
        return self


class PaymentReturned(_Money):
    """A direct debit or transfer came back: the payment is undone by ``amount``.

    Its unapplied rest goes first, then what ``allocations`` name (the part of each invoice that came back), then the payment's
    own allocations, the last first.
    """

    return_id: Id
    payment_id: Id
    returned_on: BusinessDate
    reason: Text | None = None
    allocations: Annotated[tuple[Allocation, ...], ADDED] = Field(default=(), max_length=10_000)

    @model_validator(mode="after")
    def _allocated(self) -> Self:
        _check_allocations(self.amount, self.currency, self.allocations)
        return self


class CreditNoteIssued(_Money):
    """A credit note lowers the open amount of invoices; what ``allocations`` leave over is unapplied, as cash is."""

    credit_note_id: Id
    issued_on: BusinessDate
    allocations: tuple[Allocation, ...] = Field(default=(), max_length=10_000)

    @model_validator(mode="after")
    def _allocated(self) -> Self:
        _check_allocations(self.amount, self.currency, self.allocations)
        return self


class CreditNoteAllocated(Contract):
    """A credit note settles these invoices from ``allocated_on`` on: the list replaces every earlier one of the credit note."""

    customer_id: Id
    allocation_id: Id
    credit_note_id: Id
    currency: Currency
    allocated_on: BusinessDate
    allocations: tuple[Allocation, ...] = Field(max_length=10_000)

    @model_validator(mode="after")
    def _decimals(self) -> Self:
        _check_decimals(self.currency, self.allocations)
        return self


class CreditNoteCancelled(Contract):
    """A credit note is void from ``cancelled_on`` on: what it settled is open again."""

    customer_id: Id
    credit_note_id: Id
    cancelled_on: BusinessDate
    reason: Text | None = None


class InvoiceAmended(Contract):
    """The terms of an invoice were changed by agreement: its due day, its reference. The amount is corrected by credit notes.

    ERP exports call it payment term change, extension, deferral or dunning block until a day.
    """

    customer_id: Id
    amendment_id: Id
    invoice_id: Id
    amended_on: BusinessDate
    due_on: BusinessDate | None = None
    reference: Text | None = None
    reason: Text | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.due_on is None and self.reference is None:
            raise blame("due_on", "an amendment changes the due day or the reference: send due_on or reference")
        return self


class InvoiceCancelled(Contract):
    """An invoice is void: what was open of it is open no more; what was paid on it is unapplied cash again."""

    customer_id: Id
    invoice_id: Id
    cancelled_on: BusinessDate
    reason: Text | None = None


class InvoiceReinstated(Contract):
    """The cancellation of an invoice was a mistake: from ``reinstated_on`` on it is owed again."""

    customer_id: Id
    invoice_id: Id
    reinstated_on: BusinessDate
    reason: Text | None = None


class InvoiceWrittenOff(Contract):
    """The creditor gave the open rest of an invoice up. It counts as a default."""

    customer_id: Id
    invoice_id: Id
    written_off_on: BusinessDate
    reason: Text | None = None


class WriteOffReversed(Contract):
    """The write-off of an invoice was taken back: from ``reversed_on`` on its open rest is owed again."""

    customer_id: Id
    invoice_id: Id
    reversed_on: BusinessDate
    reason: Text | None = None


class RecoveryReceived(_Money):
    """Money came in on an invoice that had been written off; it settles nothing that is open."""

    recovery_id: Id
    invoice_id: Id
    recovered_on: BusinessDate


class DisputeOpened(Contract):
    """The debtor contests an invoice: dunning is held, the amount stays open."""

    customer_id: Id
    dispute_id: Id
    invoice_id: Id
    opened_on: BusinessDate
    reason: Text | None = None


class DisputeClosed(Contract):
    """The dispute is over."""

    customer_id: Id
    dispute_id: Id
    invoice_id: Id
    closed_on: BusinessDate
    outcome: Literal["upheld", "rejected", "withdrawn"]


class PromiseMade(_Money):
    """The debtor promised to pay ``amount`` by the end of ``promised_for``."""

    promise_id: Id
    made_on: BusinessDate
    promised_for: BusinessDate
    invoice_id: Id | None = None


class DunningSent(Contract):
    """A reminder or demand went out."""

    customer_id: Id
    dunning_id: Id
    level: int = Field(ge=0, le=99)
    sent_on: BusinessDate
    invoice_ids: tuple[Id, ...] = Field(default=(), max_length=10_000)
