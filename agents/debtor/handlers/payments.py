"""What invoices, payments, returns, credit notes, recoveries and disputes change at once. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from agents.debtor import views
from agents.debtor.handlers import labels
from agents.debtor.keys import features_key, id_of, item_key
from agents.debtor.outputs.scores import send_invoice_score
from agents.debtor.payments import decide as payments
from agents.debtor.payments.state import Closed, Item
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.cell_model import cell_keys
from agents.debtor.scoring.state import Features
from agents.debtor.unit_of_work import UnitOfWork
from schemas.base import Contract
from schemas.events.envelope import Rejection
from schemas.events.payments import (
    CreditNoteIssued,
    DisputeClosed,
    DisputeOpened,
    InvoiceCancelled,
    InvoiceIssued,
    InvoiceWrittenOff,
    PaymentReceived,
    PaymentReturned,
    RecoveryReceived,
)


def issue_invoice(uow: UnitOfWork, fact: InvoiceIssued, content: str) -> Rejection | None:
    """A new item, and its score as it was issued."""
    policy = uow.policy
    uow.post(payments.issue_invoice(fact, content, uow.ledger))
    issue_day = fact.issued_on.toordinal()
    master = uow.header.master
    inputs = views.score_inputs(uow)
    active = cell_keys(
        fact.due_on, fact.amount, master.country, master.group, shock=inputs.shock, terms_days=fact.terms_days or 0
    )
    scored = scoring.score_invoice(active, uow.score, inputs, labels.cell_of(uow), uow.context.model, bands=policy.bands)
    uow.put(features_key(fact.invoice_id), scored.features)
    uow.set_score(scoring.record_issue(uow.score, scored.forecast))
    oldest = min(uow.header.oldest_sale or issue_day, issue_day)
    if oldest != uow.header.oldest_sale:
        uow.set(oldest_sale=oldest)
    send_invoice_score(uow, fact, scored)
    if uow.header.last is None or scoring.needs_rescore(uow.score):
        uow.needs_score = True
    return None


def receive_payment(uow: UnitOfWork, fact: PaymentReceived, content: str) -> Rejection | None:
    """Money for invoices; one that was paid in time, and counted as late because nobody knew, is corrected."""
    rejection = payments.check_allocations(fact.allocations, fact.currency, uow.get)
    if rejection is not None:
        return rejection
    posting = payments.receive_payment(fact, content, uow.ledger)
    uow.post(posting)
    payment_day = fact.paid_on.toordinal()
    for row_key, row in posting.rows.items():
        if isinstance(row, Item) and not row.open and row.late == 1 and payment_day <= max(row.due, row.issued):
            labels.correct_label(uow, id_of(row_key), 0)
    return None


def return_payment(uow: UnitOfWork, fact: PaymentReturned, _content: str) -> Rejection | None:
    """Money that came back; an invoice that is open again, and counted as paid in time, is corrected."""
    posting = payments.return_payment(fact, uow.ledger)
    if isinstance(posting, Rejection):
        return posting
    uow.post(posting)
    for row_key, row in posting.rows.items():
        if isinstance(row, Item) and row.open and row.late == 0:
            labels.correct_label(uow, id_of(row_key), 1)
    return None


def issue_credit_note(uow: UnitOfWork, fact: CreditNoteIssued, _content: str) -> Rejection | None:
    rejection = payments.check_allocations(fact.allocations, fact.currency, uow.get)
    if rejection is None:
        uow.post(payments.issue_credit_note(fact, uow.ledger))
    return rejection


def cancel_invoice(uow: UnitOfWork, fact: InvoiceCancelled, _content: str) -> Rejection | None:
    return _close(uow, fact.invoice_id, "cancelled")


def write_off_invoice(uow: UnitOfWork, fact: InvoiceWrittenOff, _content: str) -> Rejection | None:
    """An invoice that is given up: a default, whatever of it is recovered later."""
    rejection = _close(uow, fact.invoice_id, "written_off")
    if rejection is None:
        key = item_key(fact.invoice_id)
        uow.put(key, replace(uow.get(key), defaulted_early=True))
    return rejection


def _close(uow: UnitOfWork, invoice_id: str, how: Closed) -> Rejection | None:
    posting = payments.close_invoice(invoice_id, how, uow.ledger)
    if isinstance(posting, Rejection):
        return posting
    uow.post(posting)
    return None


def _find_invoice(uow: UnitOfWork, invoice_id: str) -> Item | Rejection:
    item: Item | None = uow.get(item_key(invoice_id))
    return item if item is not None else Rejection(f"invoice {invoice_id} is not known: send it first", "invoice_id")


def receive_recovery(uow: UnitOfWork, fact: RecoveryReceived, _content: str) -> Rejection | None:
    """Money on a written-off claim: it settles nothing, but tells how much of a default comes back."""
    item = _find_invoice(uow, fact.invoice_id)
    if isinstance(item, Rejection):
        return item
    if item.closed != "written_off":
        return Rejection(f"invoice {fact.invoice_id} is not written off: send the money as a payment", "invoice_id")
    key = features_key(fact.invoice_id)
    features: Features | None = uow.get(key)
    if features is not None and fact.currency == item.currency:
        uow.put(key, replace(features, recovered=features.recovered + fact.amount))
    return None


def open_dispute(uow: UnitOfWork, fact: DisputeOpened, _content: str) -> Rejection | None:
    item = _find_invoice(uow, fact.invoice_id)
    if isinstance(item, Rejection):
        return item
    uow.put(item_key(fact.invoice_id), replace(item, disputes=(*item.disputes, fact.dispute_id)))
    return None


def close_dispute(uow: UnitOfWork, fact: DisputeClosed, _content: str) -> Rejection | None:
    item = _find_invoice(uow, fact.invoice_id)
    if isinstance(item, Rejection):
        return item
    if fact.dispute_id not in item.disputes:
        return Rejection(
            f"dispute {fact.dispute_id} of invoice {fact.invoice_id} is not open: send its opening first", "dispute_id"
        )
    uow.put(item_key(fact.invoice_id), replace(item, disputes=tuple(d for d in item.disputes if d != fact.dispute_id)))
    return None


def only_remember(_uow: UnitOfWork, _fact: Contract, _content: str) -> Rejection | None:
    """A promise or a dunning letter: remembered so that it counts once; nothing else follows from it."""
    return None
