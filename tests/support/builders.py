"""Short builders of events and contexts, so that a test says only what matters to it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from agents.brain import Received
from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import state_key
from schemas.base import Contract
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output
from schemas.events.payments import (
    Allocation,
    CreditNoteIssued,
    InvoiceCancelled,
    InvoiceIssued,
    InvoiceWrittenOff,
    PaymentReceived,
    PaymentReturned,
)
from schemas.events.policies import PolicyPublished
from schemas.ids import content_hash
from schemas.registry import CONTRACTS

LEDGER_MAPPING = """name = "t"
currency = "EUR"
[columns]
invoice_id = "no"
customer_id = "debtor"
amount = "amount"
issued_on = "issued"
due_on = "due"
paid_on = "paid"
"""
"""The mapping of a ledger with the columns no, debtor, amount, issued, due and paid."""
START = date(2026, 1, 5)
"""Day 0 of the tests, a Monday."""
_TYPES: dict[type, str] = {}
for _name, _contract in CONTRACTS.items():
    _TYPES.setdefault(_contract, _name)
_numbers = count()


def day(n: int) -> date:
    """The n-th day after START."""
    return START + timedelta(days=n)


def at(n: int, hour: int = 12) -> datetime:
    """An hour of the n-th day, UTC."""
    return datetime.combine(day(n), time(hour), tzinfo=UTC)


def event(data: Contract, n: int, *, hour: int = 12, id_: str | None = None) -> Event:
    """A fact that was recorded on the n-th day."""
    return Event(
        id=id_ or f"e-{next(_numbers)}",
        type=_TYPES[type(data)],
        source="test",
        time=at(n, hour),
        recorded=at(n, hour),
        data=data,
        content=content_hash(data.model_dump_json().encode()),
    )


def invoice(
    invoice_id: str, n: int, *, amount: str = "100.00", due: int = 30, customer: str = "c-1", currency: str = "EUR"
) -> Event:
    """An invoice issued on the n-th day, due ``due`` days later."""
    return event(
        InvoiceIssued(
            customer_id=customer,
            invoice_id=invoice_id,
            amount=Decimal(amount),
            currency=currency,
            issued_on=day(n),
            due_on=day(n + due),
        ),
        n,
    )


def payment(
    payment_id: str,
    n: int,
    allocations: dict[str, str],
    *,
    amount: str | None = None,
    customer: str = "c-1",
    currency: str = "EUR",
) -> Event:
    """A payment of the n-th day; without ``amount`` it is the sum of its allocations."""
    parts = tuple(Allocation(invoice_id=i, amount=Decimal(a)) for i, a in allocations.items())
    total = Decimal(amount) if amount else sum((p.amount for p in parts), Decimal(0))
    return event(
        PaymentReceived(
            customer_id=customer, payment_id=payment_id, amount=total, currency=currency, paid_on=day(n), allocations=parts
        ),
        n,
    )


def credit_note(
    credit_note_id: str, n: int, amount: str, allocations: dict[str, str] | None = None, customer: str = "c-1"
) -> Event:
    """A credit note of the n-th day."""
    parts = tuple(Allocation(invoice_id=i, amount=Decimal(a)) for i, a in (allocations or {}).items())
    return event(
        CreditNoteIssued(
            customer_id=customer,
            credit_note_id=credit_note_id,
            amount=Decimal(amount),
            currency="EUR",
            issued_on=day(n),
            allocations=parts,
        ),
        n,
    )


def payment_return(return_id: str, n: int, payment_id: str, amount: str, customer: str = "c-1") -> Event:
    """A payment that came back on the n-th day."""
    return event(
        PaymentReturned(
            customer_id=customer,
            return_id=return_id,
            payment_id=payment_id,
            amount=Decimal(amount),
            currency="EUR",
            returned_on=day(n),
        ),
        n,
    )


def cancellation(invoice_id: str, n: int, customer: str = "c-1") -> Event:
    """An invoice cancelled on the n-th day."""
    return event(InvoiceCancelled(customer_id=customer, invoice_id=invoice_id, cancelled_on=day(n)), n)


def write_off(invoice_id: str, n: int, customer: str = "c-1") -> Event:
    """An invoice given up on the n-th day."""
    return event(InvoiceWrittenOff(customer_id=customer, invoice_id=invoice_id, written_off_on=day(n)), n)


def context(action: str = "act", **policy: Any) -> ContextSet:
    """A context under a policy whose numbers the tests rely on, with changes."""
    policy = {"alerts": {"overdue_days": 15, "shock_threshold": 4.0}, **policy}
    return ContextSet(version="test", policy=PolicyPublished.model_validate({"version": "test", "action": action, **policy}))


def received_events(*events: Event) -> list[Received]:
    """Events as the engine hands them over."""
    return [Received("payments", 0, n, e) for n, e in enumerate(events)]


class Life:
    """A debtor brain that lives through days: give it events and the clock's time, and look at what came out."""

    def __init__(self, ctx: ContextSet | None = None) -> None:
        self.brain, self.context = DebtorBrain(), ctx or context()
        self.outputs: list[Output] = []
        self.rejections: list[str] = []
        self.duplicates = 0

    def tell(self, *events: Event, now: datetime | None = None) -> list[Output]:
        """Fold events in the order given, as live, then deadlines up to ``now``."""
        result = self.brain.fold(received_events(*events), now, self.context, replay=False, max_deadlines=1 << 30)
        self.brain.on_committed(result)
        self.outputs += result.outputs
        self.rejections += [why.reason for _, why in result.rejected]
        self.duplicates += result.duplicates
        return result.outputs

    def until(self, n: int) -> list[Output]:
        """The clock ticks at the noon of the n-th day."""
        return self.tell(now=at(n))

    def bodies(self, topic: str) -> list[Any]:
        """Bodies of all outputs of a topic so far."""
        return [o.data for o in self.outputs if o.topic == topic]

    def row(self, row_key: str, customer: str = "c-1") -> Any:
        """A row as it is now."""
        return dict(self.brain.rows()).get(state_key(customer, row_key))
