"""The table of all events that a debtor hears of, and the rule by which each fact counts once. Pure.

A new event is a function in a file of its topic (it changes the state of its own domain, and nothing that follows), and a row in
``HANDLERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.debtor.handlers import assessments, bank, customers, decisions, insolvency, payments
from agents.debtor.keys import (
    CREDIT_PREFIX,
    ITEM_PREFIX,
    PAYMENT_PREFIX,
    SEEN,
    kind_of,
    postponed_key,
    postponed_row_key,
    seen_prefix,
)
from agents.debtor.payments.state import Item, PostponedFact, SeenMarker
from agents.debtor.unit_of_work import Reaction, UnitOfWork
from schemas.base import Contract
from schemas.events.assessments import NoteMade, RatingReceived
from schemas.events.bank import BankBalanceReported, BankTransactionBooked
from schemas.events.customers import CustomerUpdated
from schemas.events.decisions import DecisionMade
from schemas.events.envelope import Event, Rejection
from schemas.events.insolvency import InsolvencyMatched
from schemas.events.payments import (
    CreditNoteAllocated,
    CreditNoteCancelled,
    CreditNoteIssued,
    DisputeClosed,
    DisputeOpened,
    DunningSent,
    InvoiceAmended,
    InvoiceCancelled,
    InvoiceIssued,
    InvoiceReinstated,
    InvoiceWrittenOff,
    PaymentAllocated,
    PaymentReceived,
    PaymentReturned,
    PromiseMade,
    RecoveryReceived,
    WriteOffReversed,
)
from schemas.registry import CONTRACTS


@dataclass(frozen=True, slots=True)
class Handler:
    """How a kind of fact is recognised and applied.

    A fact is known when its row is there: ``prefix`` and its id, which is in ``field`` (None: the event's id). Rows of markers
    are kept by the table, others by ``apply``. Without a prefix a fact replaces the one before: master data.
    """

    name: str
    """In messages to the sender."""
    prefix: str
    field: str | None
    apply: Callable[[UnitOfWork, Any, str], Rejection | None]
    """Takes the body and the hash of its content; tells why the fact cannot be applied, before it has changed anything."""
    value_date: str = ""
    """The field with the day from which it counts: one that lies ahead is postponed to that day. Empty: it counts at once."""
    is_money: bool = False
    """Never refused for its age alone."""
    is_word: bool = False
    """It may be said again of the same thing with another value date."""
    earlier_prefix: str = ""
    """Where version 2 of the rows kept a marker of it."""
    refers_to: tuple[str, str] | None = None
    """Prefix of the row that must be there, and the field with its id."""
    rank: int = 1
    """Of facts that are postponed to the same day: what is issued first (0), what takes back last (2)."""
    advice: str = "send a correction under an id of its own"
    """What a sender can do that means something else under the same id."""

    def id_of(self, event: Event) -> str:
        """The id under which this fact is known, whole."""
        id_: str = getattr(event.data, self.field) if self.field else event.id
        return id_

    def row_key_of(self, event: Event) -> str:
        """The key of the row by which this fact is known; empty where it replaces the one before."""
        if not self.prefix:
            return ""
        day = f"@{getattr(event.data, self.value_date)}" if self.is_word else ""
        return self.prefix + self.id_of(event) + day

    def postponed_key_of(self, event: Event) -> str:
        """The key of the row in which this fact waits for its value date."""
        return postponed_key(self.rank, self.row_key_of(event))


INVOICE, PAYMENT, NOTE = (ITEM_PREFIX, "invoice_id"), (PAYMENT_PREFIX, "payment_id"), (CREDIT_PREFIX, "credit_note_id")

INVOICE_ADVICE = (
    "send a credit note for another amount, duewatch.invoice.amended.v1 for another due day, or another invoice under a number "
    "of its own"
)
PAYMENT_ADVICE = (
    "send duewatch.payment.allocated.v1 for other invoices, duewatch.payment.returned.v1 for money that went back, or another "
    "payment under a number of its own"
)
CREDIT_ADVICE = (
    "send duewatch.credit_note.allocated.v1 for other invoices, or duewatch.credit_note.cancelled.v1 and another one under a "
    "number of its own"
)

HANDLERS: dict[type, Handler] = {
    InvoiceIssued: Handler(
        "invoice", ITEM_PREFIX, "invoice_id", payments.issue_invoice, rank=0, value_date="issued_on", advice=INVOICE_ADVICE
    ),
    InvoiceAmended: Handler(
        "amendment", seen_prefix("amendment"), "amendment_id", payments.amend_invoice,
        refers_to=INVOICE, rank=1, value_date="amended_on", is_money=True,
    ),
    PaymentReceived: Handler(
        "payment", PAYMENT_PREFIX, "payment_id", payments.receive_payment, rank=0, value_date="paid_on", is_money=True,
        advice=PAYMENT_ADVICE,
    ),
    PaymentAllocated: Handler(
        "allocation", seen_prefix("allocation"), "allocation_id", payments.allocate_payment,
        refers_to=PAYMENT, rank=1, value_date="allocated_on",
        is_money=True,
    ),
    PaymentReturned: Handler(
        "return", seen_prefix("return"), "return_id", payments.return_payment,
        refers_to=PAYMENT, rank=1, value_date="returned_on", is_money=True,
    ),
    CreditNoteIssued: Handler(
        "credit note", CREDIT_PREFIX, "credit_note_id", payments.issue_credit_note, rank=0, value_date="issued_on", is_money=True,
        earlier_prefix=seen_prefix("credit"), advice=CREDIT_ADVICE,
    ),
    CreditNoteAllocated: Handler(
        "allocation of a credit note", seen_prefix("credit-allocation"), "allocation_id", payments.allocate_credit_note,
        refers_to=NOTE, rank=1,
        value_date="allocated_on", is_money=True,
    ),
    CreditNoteCancelled: Handler(
        "cancellation of credit note", seen_prefix("credit-cancel"), "credit_note_id", payments.cancel_credit_note,
        refers_to=NOTE, rank=1,
        value_date="cancelled_on", is_money=True,
    ),
    InvoiceCancelled: Handler(
        "cancellation", seen_prefix("cancel"), "invoice_id", payments.cancel_invoice,
        refers_to=INVOICE, rank=1, value_date="cancelled_on", is_word=True,
        is_money=True,
    ),
    InvoiceReinstated: Handler(
        "reinstatement", seen_prefix("reinstate"), "invoice_id", payments.reinstate_invoice,
        refers_to=INVOICE, rank=2, value_date="reinstated_on",
        is_word=True, is_money=True,
    ),
    InvoiceWrittenOff: Handler(
        "write-off", seen_prefix("writeoff"), "invoice_id", payments.write_off_invoice,
        refers_to=INVOICE, rank=1, value_date="written_off_on", is_word=True,
        is_money=True,
    ),
    WriteOffReversed: Handler(
        "reversal of write-off", seen_prefix("reverse"), "invoice_id", payments.reverse_write_off,
        refers_to=INVOICE, rank=2, value_date="reversed_on",
        is_word=True, is_money=True,
    ),
    RecoveryReceived: Handler(
        "recovery", seen_prefix("recovery"), "recovery_id", payments.receive_recovery,
        refers_to=INVOICE, rank=2, value_date="recovered_on", is_money=True,
    ),
    DisputeOpened: Handler(
        "dispute", seen_prefix("dispute"), "dispute_id", payments.open_dispute, refers_to=INVOICE, rank=1, value_date="opened_on",
    ),
    DisputeClosed: Handler(
        "end of dispute", seen_prefix("undispute"), "dispute_id", payments.close_dispute,
        refers_to=INVOICE, rank=2, value_date="closed_on",
    ),
    PromiseMade: Handler("promise", seen_prefix("promise"), "promise_id", payments.only_remember),
    DunningSent: Handler("dunning", seen_prefix("dunning"), "dunning_id", payments.only_remember),
    BankTransactionBooked: Handler("transaction", seen_prefix("bank"), "transaction_id", bank.book_transaction),
    BankBalanceReported: Handler("balance", seen_prefix("balance"), None, bank.report_balance),
    InsolvencyMatched: Handler("notice", seen_prefix("notice"), "notice_id", insolvency.take_notice),
    CustomerUpdated: Handler("master data", "", None, customers.update_customer),
    RatingReceived: Handler("rating", seen_prefix("rating"), "rating_id", assessments.take_rating),
    NoteMade: Handler("note", seen_prefix("note"), "note_id", assessments.take_note),
    DecisionMade: Handler("decision", seen_prefix("decision"), "decision_id", decisions.take_decision),
}  # fmt: skip


def apply_event(uow: UnitOfWork, event: Event) -> Reaction | None:
    """Apply a fact once; None where it was applied. Refuses what is unknown, too old or contradicts what is known already."""
    handler = HANDLERS.get(type(event.data))
    if handler is None:
        return _reject(f"{event.type} is not an event about a debtor: send it to its own topic", "type")
    row_key = handler.row_key_of(event)
    reaction = _compare_with_known(uow, handler, row_key, event)
    if reaction is not None:
        return reaction
    horizon = uow.policy.horizon_days
    if not handler.is_money and event.recorded.toordinal() + horizon < uow.day:
        return _reject(f"recorded more than {horizon} days ago: too old to tell whether it is known", "recordedtime")
    postponed_to = _postponed_to(uow, handler, event)
    if postponed_to > uow.day:
        data, recorded = event.data.model_dump_json(), event.recorded.isoformat()
        uow.put(handler.postponed_key_of(event), PostponedFact(event.content, event.type, data, recorded, postponed_to))
        return None
    rejection = _apply(uow, handler, event.data, event.content, row_key)
    return None if rejection is None else Reaction(rejection=rejection)


def _postponed_to(uow: UnitOfWork, handler: Handler, event: Event) -> int:
    """The day (ordinal) from which a fact counts: its value date, and not before what it refers to; 0 = the handler decides."""
    if not handler.value_date:
        return 0
    day: int = getattr(event.data, handler.value_date).toordinal()
    if handler.refers_to is not None:
        prefix, field = handler.refers_to
        row_key = prefix + getattr(event.data, field)
        if uow.get(row_key) is None:
            whole: PostponedFact | None = uow.get(postponed_key(0, row_key))
            return 0 if whole is None else max(day, whole.next_deadline)
    return day


def _apply(uow: UnitOfWork, handler: Handler, data: Contract, content: str, row_key: str) -> Rejection | None:
    rejection = handler.apply(uow, data, content)
    if rejection is None and kind_of(row_key) == SEEN:
        uow.put(row_key, SeenMarker(content, uow.day + uow.policy.horizon_days))
    return rejection


class PostponedFactError(Exception):
    """A fact that was postponed to its value date cannot be applied on it."""


def apply_postponed(uow: UnitOfWork, row_key: str, fact: PostponedFact) -> None:
    """The value date of a fact has come. Raises PostponedFactError: the deadline is published as failed, and tried again."""
    contract = CONTRACTS[fact.type]
    handler = HANDLERS[contract]
    uow.recorded_before = fact.recorded
    rejection = _apply(uow, handler, contract.model_validate_json(fact.data), fact.content, postponed_row_key(row_key))
    if rejection is not None:
        raise PostponedFactError(f"{fact.type}: {rejection.reason}")
    uow.put(row_key, None)


def _compare_with_known(uow: UnitOfWork, handler: Handler, row_key: str, event: Event) -> Reaction | None:
    """A duplicate says what is known, a contradiction something else under the same id; None where nothing is known yet."""
    if not row_key:
        return Reaction(duplicate=True) if uow.header.master.content == event.content else None
    row = uow.get(row_key)
    if row is None and handler.value_date:
        row = uow.get(handler.postponed_key_of(event))
    if row is None and handler.earlier_prefix:
        row = uow.get(handler.earlier_prefix + handler.id_of(event))
    if row is None:
        return None
    if row.content != event.content:
        return _reject(f"{handler.name} {handler.id_of(event)} is known with other content: {handler.advice}", handler.field)
    if isinstance(row, Item) and row.closed == "cancelled":
        reason = f"invoice {handler.id_of(event)} is cancelled: send duewatch.invoice.reinstated.v1 if it is owed again"
        return _reject(reason, handler.field)
    return Reaction(duplicate=True)


def _reject(reason: str, field: str | None) -> Reaction:
    return Reaction(rejection=Rejection(reason, field))
