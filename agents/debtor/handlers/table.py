"""The table of all events that a debtor hears of, and the rule by which each fact counts once. Pure.

A new event is a function in a file of its topic (it changes the state of its own domain, and nothing that follows), and a row in
``HANDLERS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.debtor.handlers import assessments, bank, customers, decisions, insolvency, payments
from agents.debtor.keys import ITEM_PREFIX, PAYMENT_PREFIX, SEEN, kind_of, seen_prefix
from agents.debtor.payments.state import SeenMarker
from agents.debtor.unit_of_work import Reaction, UnitOfWork
from schemas.events.assessments import NoteMade, RatingReceived
from schemas.events.bank import BankBalanceReported, BankTransactionBooked
from schemas.events.customers import CustomerUpdated
from schemas.events.decisions import DecisionMade
from schemas.events.envelope import Event, Rejection
from schemas.events.insolvency import InsolvencyMatched
from schemas.events.payments import (
    CreditNoteIssued,
    DisputeClosed,
    DisputeOpened,
    DunningSent,
    InvoiceCancelled,
    InvoiceIssued,
    InvoiceWrittenOff,
    PaymentReceived,
    PaymentReturned,
    PromiseMade,
    RecoveryReceived,
)


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

    def id_of(self, event: Event) -> str:
        """The id under which this fact is known."""
        id_: str = getattr(event.data, self.field) if self.field else event.id
        return id_


HANDLERS: dict[type, Handler] = {
    InvoiceIssued: Handler("invoice", ITEM_PREFIX, "invoice_id", payments.issue_invoice),
    PaymentReceived: Handler("payment", PAYMENT_PREFIX, "payment_id", payments.receive_payment),
    PaymentReturned: Handler("return", seen_prefix("return"), "return_id", payments.return_payment),
    CreditNoteIssued: Handler("credit note", seen_prefix("credit"), "credit_note_id", payments.issue_credit_note),
    InvoiceCancelled: Handler("cancellation", seen_prefix("cancel"), "invoice_id", payments.cancel_invoice),
    InvoiceWrittenOff: Handler("write-off", seen_prefix("writeoff"), "invoice_id", payments.write_off_invoice),
    RecoveryReceived: Handler("recovery", seen_prefix("recovery"), "recovery_id", payments.receive_recovery),
    DisputeOpened: Handler("dispute", seen_prefix("dispute"), "dispute_id", payments.open_dispute),
    DisputeClosed: Handler("end of dispute", seen_prefix("undispute"), "dispute_id", payments.close_dispute),
    PromiseMade: Handler("promise", seen_prefix("promise"), "promise_id", payments.only_remember),
    DunningSent: Handler("dunning", seen_prefix("dunning"), "dunning_id", payments.only_remember),
    BankTransactionBooked: Handler("transaction", seen_prefix("bank"), "transaction_id", bank.book_transaction),
    BankBalanceReported: Handler("balance", seen_prefix("balance"), None, bank.report_balance),
    InsolvencyMatched: Handler("notice", seen_prefix("notice"), "notice_id", insolvency.take_notice),
    CustomerUpdated: Handler("master data", "", None, customers.update_customer),
    RatingReceived: Handler("rating", seen_prefix("rating"), "rating_id", assessments.take_rating),
    NoteMade: Handler("note", seen_prefix("note"), "note_id", assessments.take_note),
    DecisionMade: Handler("decision", seen_prefix("decision"), "decision_id", decisions.take_decision),
}


def apply_event(uow: UnitOfWork, event: Event) -> Reaction | None:
    """Apply a fact once; None where it was applied. Refuses what is unknown, too old or contradicts what is known already."""
    handler = HANDLERS.get(type(event.data))
    if handler is None:
        return _reject(f"{event.type} is not an event about a debtor: send it to its own topic", "type")
    horizon = uow.policy.horizon_days
    if event.recorded.toordinal() + horizon < uow.day:
        return _reject(f"recorded more than {horizon} days ago: too old to tell whether it is known", "recordedtime")
    row_key = handler.prefix + handler.id_of(event) if handler.prefix else ""
    reaction = _compare_with_known(uow, handler, row_key, event)
    if reaction is not None:
        return reaction
    rejection = handler.apply(uow, event.data, event.content)
    if rejection is not None:
        return Reaction(rejection=rejection)
    if kind_of(row_key) == SEEN:
        uow.put(row_key, SeenMarker(event.content, uow.day + horizon))
    return None


def _compare_with_known(uow: UnitOfWork, handler: Handler, row_key: str, event: Event) -> Reaction | None:
    """A duplicate says what is known, a contradiction something else under the same id; None where nothing is known yet."""
    if not row_key:
        return Reaction(duplicate=True) if uow.header.master.content == event.content else None
    row = uow.get(row_key)
    if row is None:
        return None
    if row.content == event.content:
        return Reaction(duplicate=True)
    return _reject(
        f"{handler.name} {handler.id_of(event)} is known with other content: send a correction under an id of its own",
        handler.field,
    )


def _reject(reason: str, field: str | None) -> Reaction:
    return Reaction(rejection=Rejection(reason, field))
