"""What each kind of fact does to the rows of its debtor, once: the state of its own domain and nothing that follows. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from agents.debtor import views
from agents.debtor.alerts import decide as alerting
from agents.debtor.bank import decide as banking
from agents.debtor.handlers import labels
from agents.debtor.handlers.limits import change_limit, open_limit
from agents.debtor.insolvency import decide as insolvency
from agents.debtor.insolvency.state import Notice
from agents.debtor.limits import decide as limits
from agents.debtor.outputs.scores import send_invoice_score
from agents.debtor.payments import decide as payments
from agents.debtor.payments.state import Item, SeenMarker
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.state import Features
from agents.debtor.state import Master
from agents.debtor.unit_of_work import Reaction, UnitOfWork
from schemas.base import Contract
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


def apply(case: UnitOfWork, event: Event) -> Reaction | None:
    """Apply a fact once: refuse what is unknown, too old or contradicts what is known; pass over what is known already."""
    rule = _RULES.get(type(event.data))
    if rule is None:
        return Reaction(rejection=Rejection(f"{event.type} is nothing that a debtor is told: send it to its own topic", "type"))
    horizon = case.policy.horizon_days
    if event.recorded.toordinal() + horizon < case.day:
        return Reaction(
            rejection=Rejection(f"recorded more than {horizon} days ago: too old to tell whether it is known", "recordedtime")
        )
    row_key = rule.row_key(event)
    known = case.get(row_key) if row_key else None
    if known is not None:
        if known.content == event.content:
            return Reaction(duplicate=True)
        return Reaction(
            rejection=Rejection(
                f"{rule.name} {row_key.rpartition('/')[2]} is known with other content: send a correction under an id of its own",
                rule.field,
            )
        )
    if not row_key and case.header.master.content == event.content:
        return Reaction(duplicate=True)
    rejection = rule.apply(case, event.data, event.content)
    if rejection is not None:
        return Reaction(rejection=rejection)
    if row_key and row_key[0] == "n":
        case.put(row_key, SeenMarker(event.content, case.day + horizon))
    return None


def _invoice_issued(case: UnitOfWork, fact: InvoiceIssued, content: str) -> Rejection | None:
    policy = case.policy
    case.post(
        payments.issue_invoice(
            fact, content, case.header.balances, case.get, case.day, policy.alerts.overdue_days, policy.horizon_days
        )
    )
    issued = fact.issued_on.toordinal()
    master = case.header.master
    facts = views.score_inputs(case)
    active = scoring.active(
        fact.due_on, fact.amount, master.country, master.group, shock=facts.shock, terms_days=fact.terms_days or 0
    )
    scored = scoring.score_invoice(active, case.score, facts, labels.cell_of(case), case.context.model, bands=policy.bands)
    case.put(f"f/{fact.invoice_id}", scored.features)
    oldest = min(case.header.oldest_sale or issued, issued)
    case.set_score(scoring.issued(case.score, scored.forecast))
    if oldest != case.header.oldest_sale:
        case.set(oldest_sale=oldest)
    send_invoice_score(case, fact, scored)
    if case.header.last is None or scoring.usual_moved(case.score):
        case.rescore = True
    return None


def _payment_received(case: UnitOfWork, fact: PaymentReceived, content: str) -> Rejection | None:
    wrong = payments.refused(fact.allocations, fact.currency, case.get)
    if wrong is not None:
        return wrong
    policy = case.policy
    posting = payments.receive_payment(
        fact, content, case.header.balances, case.get, case.day, policy.alerts.overdue_days, policy.horizon_days
    )
    case.post(posting)
    paid = fact.paid_on.toordinal()
    for row_key, row in posting.rows.items():
        if isinstance(row, Item) and not row.open and row.late == 1 and paid <= max(row.due, row.issued):
            labels.correct_label(case, row_key[2:], 0)
    return None


def _payment_returned(case: UnitOfWork, fact: PaymentReturned, _: str) -> Rejection | None:
    posting = payments.return_payment(fact, case.header.balances, case.get, case.day, case.policy.alerts.overdue_days)
    if isinstance(posting, Rejection):
        return posting
    case.post(posting)
    for row_key, row in posting.rows.items():
        if isinstance(row, Item) and row.open and row.late == 0:
            labels.correct_label(case, row_key[2:], 1)
    return None


def _credit_note_issued(case: UnitOfWork, fact: CreditNoteIssued, _: str) -> Rejection | None:
    wrong = payments.refused(fact.allocations, fact.currency, case.get)
    if wrong is not None:
        return wrong
    case.post(payments.issue_credit_note(fact, case.header.balances, case.get, case.day, case.policy.alerts.overdue_days))
    return None


def _invoice_cancelled(case: UnitOfWork, fact: InvoiceCancelled, _: str) -> Rejection | None:
    return _close(case, fact.invoice_id, "cancelled")


def _invoice_written_off(case: UnitOfWork, fact: InvoiceWrittenOff, _: str) -> Rejection | None:
    refused = _close(case, fact.invoice_id, "written_off")
    if refused is None:
        case.put(f"i/{fact.invoice_id}", replace(case.get(f"i/{fact.invoice_id}"), lost=True))
    return refused


def _close(case: UnitOfWork, invoice_id: str, how: str) -> Rejection | None:
    posting = payments.close_invoice(invoice_id, how, case.header.balances, case.get, case.day, case.policy.alerts.overdue_days)
    if isinstance(posting, Rejection):
        return posting
    case.post(posting)
    return None


def _known_invoice(case: UnitOfWork, invoice_id: str) -> Rejection | Item:
    item: Item | None = case.get(f"i/{invoice_id}")
    return item if item is not None else Rejection(f"invoice {invoice_id} is not known: send it first", "invoice_id")


def _recovery_received(case: UnitOfWork, fact: RecoveryReceived, _: str) -> Rejection | None:
    item = _known_invoice(case, fact.invoice_id)
    if isinstance(item, Rejection):
        return item
    if item.closed != "written_off":
        return Rejection(f"invoice {fact.invoice_id} is not written off: send the money as a payment", "invoice_id")
    features: Features | None = case.get(f"f/{fact.invoice_id}")
    if features is not None and fact.currency == item.currency:
        case.put(f"f/{fact.invoice_id}", replace(features, recovered=features.recovered + fact.amount))
    return None


def _dispute_opened(case: UnitOfWork, fact: DisputeOpened, _: str) -> Rejection | None:
    item = _known_invoice(case, fact.invoice_id)
    if isinstance(item, Rejection):
        return item
    case.put(f"i/{fact.invoice_id}", replace(item, disputes=(*item.disputes, fact.dispute_id)))
    return None


def _dispute_closed(case: UnitOfWork, fact: DisputeClosed, _: str) -> Rejection | None:
    item = _known_invoice(case, fact.invoice_id)
    if isinstance(item, Rejection):
        return item
    if fact.dispute_id not in item.disputes:
        return Rejection(
            f"dispute {fact.dispute_id} of invoice {fact.invoice_id} is not open: send its opening first", "dispute_id"
        )
    case.put(f"i/{fact.invoice_id}", replace(item, disputes=tuple(d for d in item.disputes if d != fact.dispute_id)))
    return None


def _only_noted(_case: UnitOfWork, _fact: Contract, _content: str) -> Rejection | None:
    """A promise or a dunning letter: kept so that it counts once; what follows from it is the worklist's business."""
    return None


def _transaction_booked(case: UnitOfWork, fact: BankTransactionBooked, _: str) -> Rejection | None:
    if fact.status == "booked":
        returned = fact.return_reason is not None
        bank = banking.book(
            case.header.bank, fact.amount, fact.currency, fact.booked_on.toordinal(), returned, fact.balance_after
        )
        # The first movement lies in the past: judge from the running week on.
        if bank.next_deadline and bank.next_deadline <= case.day:
            bank = replace(bank, week=banking.monday(case.day), next_deadline=banking.monday(case.day) + 7)
        case.set(bank=bank)
    return None


def _balance_reported(case: UnitOfWork, fact: BankBalanceReported, _: str) -> Rejection | None:
    case.set(bank=banking.report_balance(case.header.bank, fact.balance, fact.currency, fact.balance_on.toordinal()))
    return None


def _insolvency_matched(case: UnitOfWork, fact: InsolvencyMatched, _: str) -> Rejection | None:
    notice = Notice(fact.notice_id, fact.stage, fact.match == "certain", fact.published_on.toordinal())
    _set_insolvency(case, insolvency.add_notice(case.header.insolvency, notice, fact.corrects))
    return None


def _set_insolvency(case: UnitOfWork, after: Any) -> None:
    was_default = insolvency.is_default(case.header.insolvency.stage)
    case.set(insolvency=after)
    case.rescore = True
    if insolvency.is_default(after.stage) and not was_default:
        for row_key, row in case.rows("i/"):
            if isinstance(row, Item) and row.open and row.default < 0:
                case.put(row_key, replace(row, lost=True))


def _customer_updated(case: UnitOfWork, fact: CustomerUpdated, content: str) -> Rejection | None:
    group = fact.group_id or fact.segment or fact.country
    recorded = case.at.isoformat()
    if recorded < case.header.master.recorded:
        return None  # an older record that comes again, or late, replaces no newer one
    case.set(
        master=Master(
            content=content,
            recorded=recorded,
            group=group,
            country=fact.country,
            segment=fact.segment,
            terms_days=fact.terms_days or 0,
        )
    )
    case.rescore = True
    return None


def _rating_received(case: UnitOfWork, fact: RatingReceived, _: str) -> Rejection | None:
    case.set_score(scoring.take_rating(case.score, fact))
    case.rescore = True
    return None


def _note_made(case: UnitOfWork, fact: NoteMade, _: str) -> Rejection | None:
    case.set_score(scoring.take_note(case.score, fact))
    case.rescore = True
    return None


def _decision_made(case: UnitOfWork, fact: DecisionMade, _: str) -> Rejection | None:
    header = case.header
    if fact.action == "override" and fact.new_limit is not None and fact.expires_on is not None:  # the contract: it has both
        return _override(case, fact, fact.new_limit, fact.expires_on.toordinal())
    if fact.action == "acknowledge":
        return _acknowledge(case, fact)
    possible = insolvency.is_alarm(header.insolvency.possible)
    if fact.subject.startswith("insolvency") and possible:
        confirmed = fact.action == "confirm"
        after = insolvency.confirm_possible(header.insolvency) if confirmed else insolvency.forget_possible(header.insolvency)
        _set_insolvency(case, after)
        return None
    change = limits.answer_review(header.limit, fact.action, views.limit_inputs(case), case.policy.limits)
    if change is None:
        return Rejection(f"nothing waits for an answer about {fact.subject}: the review has lapsed or was answered", "subject")
    change_limit(case, change, fact.decision_id)
    return None


def _override(case: UnitOfWork, fact: DecisionMade, limit: Decimal, until: int) -> Rejection | None:
    if fact.currency != case.policy.currency:
        return Rejection(f"limits are kept in {case.policy.currency}, not in {fact.currency}", "currency")
    if not case.header.limit.is_open:
        open_limit(case)
    change_limit(case, limits.override_limit(case.header.limit, limit, until), fact.decision_id)
    return None


def _acknowledge(case: UnitOfWork, fact: DecisionMade) -> Rejection | None:
    for alert_type, alert in case.header.alerts.items():
        if alert.open and fact.subject in (alert.alert_id, alerting.fingerprint(alert_type, case.customer_id)):
            case.set(alerts={**case.header.alerts, alert_type: replace(alert, acknowledged_by=fact.owner)})
            return None
    return Rejection(f"no open alert has the fingerprint or id {fact.subject}", "subject")


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a kind of fact is recognised and applied: the row that tells whether it is known, and its id's field."""

    name: str
    prefix: str
    field: str | None
    apply: Callable[[UnitOfWork, Any, str], Rejection | None]

    def row_key(self, event: Event) -> str:
        """The row under which this fact is known; "" = it replaces what was known."""
        if not self.prefix:
            return ""
        return self.prefix + (getattr(event.data, self.field) if self.field else event.id)


_RULES: dict[type, _Rule] = {
    InvoiceIssued: _Rule("invoice", "i/", "invoice_id", _invoice_issued),
    PaymentReceived: _Rule("payment", "p/", "payment_id", _payment_received),
    PaymentReturned: _Rule("return", "n/return/", "return_id", _payment_returned),
    CreditNoteIssued: _Rule("credit note", "n/credit/", "credit_note_id", _credit_note_issued),
    InvoiceCancelled: _Rule("cancellation", "n/cancel/", "invoice_id", _invoice_cancelled),
    InvoiceWrittenOff: _Rule("write-off", "n/writeoff/", "invoice_id", _invoice_written_off),
    RecoveryReceived: _Rule("recovery", "n/recovery/", "recovery_id", _recovery_received),
    DisputeOpened: _Rule("dispute", "n/dispute/", "dispute_id", _dispute_opened),
    DisputeClosed: _Rule("end of dispute", "n/undispute/", "dispute_id", _dispute_closed),
    PromiseMade: _Rule("promise", "n/promise/", "promise_id", _only_noted),
    DunningSent: _Rule("dunning", "n/dunning/", "dunning_id", _only_noted),
    BankTransactionBooked: _Rule("transaction", "n/bank/", "transaction_id", _transaction_booked),
    BankBalanceReported: _Rule("balance", "n/balance/", None, _balance_reported),
    InsolvencyMatched: _Rule("notice", "n/notice/", "notice_id", _insolvency_matched),
    CustomerUpdated: _Rule("master data", "", None, _customer_updated),
    RatingReceived: _Rule("rating", "n/rating/", "rating_id", _rating_received),
    NoteMade: _Rule("note", "n/note/", "note_id", _note_made),
    DecisionMade: _Rule("decision", "n/decision/", "decision_id", _decision_made),
}
