"""What invoices, payments, returns, credit notes, recoveries and disputes change at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from agents.debtor import views
from agents.debtor.handlers import labels
from agents.debtor.insolvency.decide import is_default
from agents.debtor.keys import ITEM, features_key, id_of, item_key, kind_of
from agents.debtor.outputs.scores import send_invoice_score
from agents.debtor.payments import decide as payments
from agents.debtor.payments.posting import Posting
from agents.debtor.payments.state import Item
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.cell_model import cell_keys
from agents.debtor.scoring.state import Features
from agents.debtor.unit_of_work import UnitOfWork
from schemas.base import Contract
from schemas.events.envelope import Rejection
from schemas.events.payments import (
    CreditNoteAllocated,
    CreditNoteCancelled,
    CreditNoteIssued,
    DisputeClosed,
    DisputeOpened,
    InvoiceAmended,
    InvoiceCancelled,
    InvoiceIssued,
    InvoiceReinstated,
    InvoiceWrittenOff,
    PaymentAllocated,
    PaymentReceived,
    PaymentReturned,
    RecoveryReceived,
    WriteOffReversed,
)


def issue_invoice(uow: UnitOfWork, fact: InvoiceIssued, content: str) -> Rejection | None:
    """A new item, and its score as it was issued."""
    uow.post(payments.issue_invoice(fact, content, uow.ledger))
    master, issue_day, due = uow.header.master, fact.issued_on.toordinal(), max(fact.due_on, fact.issued_on)
    inputs = views.score_inputs(uow)
    active = cell_keys(due, fact.amount, master.country, master.group, shock=inputs.shock, terms_days=fact.terms_days or 0)
    bands = uow.policy.bands
    scored = scoring.score_invoice(active, uow.score, inputs, labels.cell_of(uow), uow.context.model, bands=bands)
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
    _correct_settled(uow, posting, fact.paid_on.toordinal())
    return None


def _correct_settled(uow: UnitOfWork, posting: Posting, day: int) -> None:
    """Invoices that a fact of ``day`` has settled were not late if they were due by then."""
    for invoice_id, item in _items(posting):
        if not item.open and item.late == 1 and day <= item.due:
            labels.correct_label(uow, invoice_id, 0)


def _items(posting: Posting) -> Iterable[tuple[str, Item]]:
    return [(id_of(key), row) for key, row in posting.rows.items() if kind_of(key) == ITEM and row is not None]


def allocate_payment(uow: UnitOfWork, fact: PaymentAllocated, _content: str) -> Rejection | None:
    return _post(uow, payments.allocate_payment(fact, uow.recorded, uow.ledger), settled_on=fact.allocated_on.toordinal())


def return_payment(uow: UnitOfWork, fact: PaymentReturned, _content: str) -> Rejection | None:
    return _post(uow, payments.return_payment(fact, uow.ledger))


def issue_credit_note(uow: UnitOfWork, fact: CreditNoteIssued, content: str) -> Rejection | None:
    rejection = payments.check_allocations(fact.allocations, fact.currency, uow.get)
    if rejection is None:
        uow.post(payments.issue_credit_note(fact, content, uow.ledger))
    return rejection


def allocate_credit_note(uow: UnitOfWork, fact: CreditNoteAllocated, _content: str) -> Rejection | None:
    return _post(uow, payments.allocate_credit_note(fact, uow.recorded, uow.ledger), settled_on=fact.allocated_on.toordinal())


def cancel_credit_note(uow: UnitOfWork, fact: CreditNoteCancelled, _content: str) -> Rejection | None:
    return _post(uow, payments.cancel_credit_note(fact, uow.ledger))


def amend_invoice(uow: UnitOfWork, fact: InvoiceAmended, _content: str) -> Rejection | None:
    """Another due day: what was agreed before the old one counts for the label, what came after changes no lesson."""
    before: Item | None = uow.get(item_key(fact.invoice_id))
    rejection = _post(uow, payments.amend_invoice(fact, uow.recorded, uow.ledger))
    if rejection is None and before is not None and before.late == 1 and fact.amended_on.toordinal() <= before.due:
        after: Item = uow.get(item_key(fact.invoice_id))
        if before.due < after.due and (uow.day if after.open else after.closed_on) <= after.due:
            labels.correct_label(uow, fact.invoice_id, 0)
    return rejection


def cancel_invoice(uow: UnitOfWork, fact: InvoiceCancelled, _content: str) -> Rejection | None:
    return _post(uow, payments.void_invoice(fact, uow.recorded, uow.ledger))


def reinstate_invoice(uow: UnitOfWork, fact: InvoiceReinstated, _content: str) -> Rejection | None:
    return _post(uow, payments.void_invoice(fact, uow.recorded, uow.ledger))


def write_off_invoice(uow: UnitOfWork, fact: InvoiceWrittenOff, _content: str) -> Rejection | None:
    """An invoice that is given up: a default if it is material, whatever of it is recovered later."""
    rejection = _post(uow, payments.write_off_invoice(fact, uow.recorded, uow.ledger))
    if rejection is None:
        key = item_key(fact.invoice_id)
        item: Item = uow.get(key)
        if item.closed == "written_off" and views.is_material(uow, item):
            uow.put(key, replace(item, defaulted_early=True))
    return rejection


def reverse_write_off(uow: UnitOfWork, fact: WriteOffReversed, _content: str) -> Rejection | None:
    rejection = _post(uow, payments.write_off_invoice(fact, uow.recorded, uow.ledger))
    if rejection is None:
        key = item_key(fact.invoice_id)
        item: Item = uow.get(key)
        if item.closed != "written_off" and not is_default(uow.header.insolvency.stage):  # a later write-off may be in force
            uow.put(key, replace(item, defaulted_early=False))
    return rejection


def receive_recovery(uow: UnitOfWork, fact: RecoveryReceived, _content: str) -> Rejection | None:
    """Money on a written-off claim: it settles nothing, but tells how much of a default comes back."""
    rejection = _post(uow, payments.recover(fact, uow.ledger))
    key = features_key(fact.invoice_id)
    features: Features | None = uow.get(key)
    item: Item | None = uow.get(item_key(fact.invoice_id))
    if rejection is None and features is not None and item is not None and fact.currency == item.currency:
        uow.put(key, replace(features, recovered=features.recovered + fact.amount))
    return rejection


def open_dispute(uow: UnitOfWork, fact: DisputeOpened, _content: str) -> Rejection | None:
    return _post(uow, payments.contest(fact, uow.ledger))


def close_dispute(uow: UnitOfWork, fact: DisputeClosed, _content: str) -> Rejection | None:
    return _post(uow, payments.contest(fact, uow.ledger))


def _post(uow: UnitOfWork, posting: Posting | Rejection, settled_on: int = 0) -> Rejection | None:
    """Take a posting over; an invoice that is open again, and counted as paid in time, is corrected."""
    if isinstance(posting, Rejection):
        return posting
    uow.post(posting)
    for invoice_id, item in _items(posting):
        if item.late == 0 and item.open > uow.tolerance(item) and item.due < uow.day and not item.disputes:
            labels.correct_label(uow, invoice_id, 1)
    if settled_on:
        _correct_settled(uow, posting, settled_on)
    return None


def only_remember(_uow: UnitOfWork, _fact: Contract, _content: str) -> Rejection | None:
    """A promise or a dunning letter: remembered so that it counts once; nothing else follows from it."""
    return None
