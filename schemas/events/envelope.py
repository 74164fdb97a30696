"""The CloudEvents envelope of an event, and the one judgement that needs both envelope and body: whether its date is possible."""

from __future__ import annotations

from datetime import date, datetime
from functools import cache
from typing import Any, NamedTuple, get_args

from schemas.base import Contract

# How far a date of something that *happened* may lie after the day it was recorded: seven days forgive value dates, time
# zones and long week-ends; an invoice may be dated up to a month ahead.
LATEST: dict[str, tuple[str, int]] = {
    "InvoiceIssued": ("issued_on", 31),
    "PaymentReceived": ("paid_on", 7),
    "PaymentAllocated": ("allocated_on", 7),
    "PaymentReturned": ("returned_on", 7),
    "CreditNoteIssued": ("issued_on", 31),
    "CreditNoteAllocated": ("allocated_on", 7),
    "CreditNoteCancelled": ("cancelled_on", 7),
    "InvoiceAmended": ("amended_on", 7),
    "InvoiceCancelled": ("cancelled_on", 7),
    "InvoiceReinstated": ("reinstated_on", 7),
    "InvoiceWrittenOff": ("written_off_on", 7),
    "WriteOffReversed": ("reversed_on", 7),
    "RecoveryReceived": ("recovered_on", 7),
    "DisputeOpened": ("opened_on", 7),
    "DisputeClosed": ("closed_on", 7),
    "PromiseMade": ("made_on", 7),
    "DunningSent": ("sent_on", 7),
    "BankTransactionBooked": ("booked_on", 7),
    "BankBalanceReported": ("balance_on", 7),
    "InsolvencyMatched": ("published_on", 7),
    "RatingReceived": ("rated_on", 7),
    "NoteMade": ("made_on", 7),
    "DecisionMade": ("decided_on", 7),
}
DUE_YEARS = 10
"""A due date later than this many years after the record is a typing error."""
MAX_YEARS = 20
"""So is any other date later than this many."""


class Event(NamedTuple):
    """One event: CloudEvents attributes and the validated body. All instants are UTC.

    ``time`` is when it happened, ``recorded`` when it was known; ``content`` is a hash of the body by which a resent event is
    distinguished from one that says something else.
    """

    id: str
    type: str
    source: str
    time: datetime
    recorded: datetime
    data: Contract
    content: str
    correlation_id: str | None = None
    causation_id: str | None = None

    @property
    def customer_id(self) -> str | None:
        """The debtor that it is about, or None."""
        return getattr(self.data, "customer_id", None)


class Output(NamedTuple):
    """Something to be sent: topic without prefix, key, and the event. ``data`` is any contract of the registry."""

    topic: str
    key: str
    type: str
    id: str
    time: datetime
    recorded: datetime
    data: Contract
    causation_id: str | None = None
    correlation_id: str | None = None


class Rejection(NamedTuple):
    """Why a record cannot be applied: ``reason`` in words for a person, and how to fix it; ``field`` where one is to blame."""

    reason: str
    field: str | None = None


class RejectedError(ValueError):
    """A record cannot be read; carries the rejection out of the steps of reading it."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.rejection = Rejection(_printable(reason[:2000]), field and _printable(field[:200]))


def _printable(text: str) -> str:
    """Reasons quote what a stranger sent: what cannot be seen is written as an escape sequence."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)[:2000]


def impossible_date(data: Contract, recorded: datetime) -> Rejection | None:
    """Why a date of the body cannot be; None = it can. Judged by the day of the record, never by the machine's clock.

    >>> from schemas.events.payments import InvoiceCancelled
    >>> from datetime import UTC
    >>> fact = InvoiceCancelled(customer_id="c", invoice_id="i", cancelled_on=date(2026, 5, 1))
    >>> impossible_date(fact, datetime(2026, 3, 1, tzinfo=UTC)).field
    'cancelled_on'
    """
    recorded_on = recorded.toordinal()
    for name, days in _latest_dates(type(data)):
        value: date | None = getattr(data, name)
        if value is not None and value.toordinal() > recorded_on + days:
            span = f"{days} days" if days < 366 else f"{days // 366} years"
            reason = (
                f"{name} {value} lies more than {span} after the record of {recorded.date()}: correct the date or recordedtime"
            )
            return Rejection(reason, name)
    return None


@cache
def _latest_dates(contract: type[Contract]) -> tuple[tuple[str, int], ...]:
    """The dates of what is sent to us, and how many days after the record each may lie; what happened comes first."""
    if not contract.__module__.startswith("schemas.events."):
        return ()
    dates = [name for name, field in contract.model_fields.items() if _is_date(field.annotation)]
    days = dict.fromkeys(dates, 366 * MAX_YEARS) | ({"due_on": 366 * DUE_YEARS} if "due_on" in dates else {})
    days |= [LATEST[contract.__name__]] if contract.__name__ in LATEST else []
    return tuple(sorted(days.items(), key=lambda rule: rule[1]))


def _is_date(annotation: Any) -> bool:
    return annotation is date or any(_is_date(part) for part in get_args(annotation))
