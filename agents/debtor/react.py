"""The brain: what one cause (an event or a deadline) means for one debtor. Pure and total; the order of the domains is here.

First the fact moves the state of its own domain; then, always in this order: score, limit, alerts, the next look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from agents.debtor import outputs
from agents.debtor.alerts import decide as alerting
from agents.debtor.bank import decide as banking
from agents.debtor.bank.state import Bank
from agents.debtor.case import Case, Reaction, Wake
from agents.debtor.insolvency import decide as insolvency
from agents.debtor.insolvency.state import Notice
from agents.debtor.limits import decide as limits
from agents.debtor.payments import decide as payments
from agents.debtor.payments.state import Item, Payment, SalesDay, Stub
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.state import Cell, Features
from agents.debtor.state import Header, Master, Row
from schemas.base import Contract
from schemas.events.assessments import NoteMade, RatingReceived
from schemas.events.bank import BankBalanceReported, BankTransactionBooked
from schemas.events.clock import ContextSet
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
from schemas.outputs.alerts import Severity


def react(
    state: Mapping[str, Row],
    cause: Event | Wake,
    context: ContextSet,
    customer_id: str,
    day: int,
    paused: frozenset[str] = frozenset(),
) -> Reaction:
    """Apply one cause to the rows of one debtor. ``day`` is the creditor's day as an ordinal; it never goes back.

    ``paused``: topics of the debtor that are not read for now (D10). Never raises for what an event says: what cannot be applied
    comes back as a rejection, what is known already as a duplicate.
    """
    if isinstance(cause, Wake) and _is_forgotten(state.get(cause.row_key)):
        return Reaction({cause.row_key: None})
    case = Case(customer_id, state, cause, context, day, paused)
    if isinstance(cause, Wake):
        if not _on_wake(case, cause):
            return Reaction(case.changes, case.outputs)
        is_due = not cause.row_key
    else:
        refused = _on_event(case, cause)
        if refused is not None:
            return refused
        is_due = not case.header.limit.is_open
    _conclude(case, is_due=is_due)
    return Reaction(case.changes, case.outputs)


# -- events
def _on_event(case: Case, event: Event) -> Reaction | None:
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
        case.put(row_key, Stub(event.content, case.day + horizon))
    return None


def _invoice_issued(case: Case, fact: InvoiceIssued, content: str) -> Rejection | None:
    policy = case.policy
    case.post(
        payments.issue_invoice(
            fact, content, case.header.balances, case.get, case.day, policy.alerts.overdue_days, policy.horizon_days
        )
    )
    issued = fact.issued_on.toordinal()
    master = case.header.master
    facts = outputs.risk_facts(case)
    active = scoring.active(
        fact.due_on, fact.amount, master.country, master.group, shock=facts.shock, terms_days=fact.terms_days or 0
    )
    scored = scoring.score_invoice(active, case.score, facts, _cell(case), case.context.model, bands=policy.bands)
    case.put(f"f/{fact.invoice_id}", scored.features)
    oldest = min(case.header.oldest_sale or issued, issued)
    case.set_score(scoring.issued(case.score, scored.forecast))
    if oldest != case.header.oldest_sale:
        case.set(oldest_sale=oldest)
    case.send("scores", "duewatch.score.computed.v1", outputs.invoice_score(case, fact, scored))
    if case.header.last is None or not scoring.is_settled(case.score):
        case.rescore = True
    return None


def _cell(case: Case) -> Callable[[str], Any]:
    return lambda key: case.get("x/" + key)


def _payment_received(case: Case, fact: PaymentReceived, content: str) -> Rejection | None:
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
            _correct_label(case, row_key[2:], 0)
    return None


def _payment_returned(case: Case, fact: PaymentReturned, _: str) -> Rejection | None:
    posting = payments.return_payment(fact, case.header.balances, case.get, case.day, case.policy.alerts.overdue_days)
    if isinstance(posting, Rejection):
        return posting
    case.post(posting)
    for row_key, row in posting.rows.items():
        if isinstance(row, Item) and row.open and row.late == 0:
            _correct_label(case, row_key[2:], 1)
    return None


def _credit_note_issued(case: Case, fact: CreditNoteIssued, _: str) -> Rejection | None:
    wrong = payments.refused(fact.allocations, fact.currency, case.get)
    if wrong is not None:
        return wrong
    case.post(payments.issue_credit_note(fact, case.header.balances, case.get, case.day, case.policy.alerts.overdue_days))
    return None


def _invoice_cancelled(case: Case, fact: InvoiceCancelled, _: str) -> Rejection | None:
    return _close(case, fact.invoice_id, "cancelled")


def _invoice_written_off(case: Case, fact: InvoiceWrittenOff, _: str) -> Rejection | None:
    refused = _close(case, fact.invoice_id, "written_off")
    if refused is None:
        case.put(f"i/{fact.invoice_id}", replace(case.get(f"i/{fact.invoice_id}"), lost=True))
    return refused


def _close(case: Case, invoice_id: str, how: str) -> Rejection | None:
    posting = payments.close_invoice(invoice_id, how, case.header.balances, case.get, case.day, case.policy.alerts.overdue_days)
    if isinstance(posting, Rejection):
        return posting
    case.post(posting)
    return None


def _known_invoice(case: Case, invoice_id: str) -> Rejection | Item:
    item: Item | None = case.get(f"i/{invoice_id}")
    return item if item is not None else Rejection(f"invoice {invoice_id} is not known: send it first", "invoice_id")


def _recovery_received(case: Case, fact: RecoveryReceived, _: str) -> Rejection | None:
    item = _known_invoice(case, fact.invoice_id)
    if isinstance(item, Rejection):
        return item
    if item.closed != "written_off":
        return Rejection(f"invoice {fact.invoice_id} is not written off: send the money as a payment", "invoice_id")
    features: Features | None = case.get(f"f/{fact.invoice_id}")
    if features is not None and fact.currency == item.currency:
        case.put(f"f/{fact.invoice_id}", replace(features, recovered=features.recovered + fact.amount))
    return None


def _dispute_opened(case: Case, fact: DisputeOpened, _: str) -> Rejection | None:
    item = _known_invoice(case, fact.invoice_id)
    if isinstance(item, Rejection):
        return item
    case.put(f"i/{fact.invoice_id}", replace(item, disputes=(*item.disputes, fact.dispute_id)))
    return None


def _dispute_closed(case: Case, fact: DisputeClosed, _: str) -> Rejection | None:
    item = _known_invoice(case, fact.invoice_id)
    if isinstance(item, Rejection):
        return item
    if fact.dispute_id not in item.disputes:
        return Rejection(
            f"dispute {fact.dispute_id} of invoice {fact.invoice_id} is not open: send its opening first", "dispute_id"
        )
    case.put(f"i/{fact.invoice_id}", replace(item, disputes=tuple(d for d in item.disputes if d != fact.dispute_id)))
    return None


def _only_noted(_case: Case, _fact: Contract, _content: str) -> Rejection | None:
    """A promise or a dunning letter: kept so that it counts once; what follows from it is the worklist's business."""
    return None


def _transaction_booked(case: Case, fact: BankTransactionBooked, _: str) -> Rejection | None:
    if fact.status == "booked":
        returned = fact.return_reason is not None
        bank = banking.book(
            case.header.bank, fact.amount, fact.currency, fact.booked_on.toordinal(), returned, fact.balance_after
        )
        if bank.wake and bank.wake <= case.day:  # the first movement lies in the past: judge from the running week on
            bank = replace(bank, week=banking.monday(case.day), wake=banking.monday(case.day) + 7)
        case.set(bank=bank)
    return None


def _balance_reported(case: Case, fact: BankBalanceReported, _: str) -> Rejection | None:
    case.set(bank=banking.report_balance(case.header.bank, fact.balance, fact.currency, fact.balance_on.toordinal()))
    return None


def _insolvency_matched(case: Case, fact: InsolvencyMatched, _: str) -> Rejection | None:
    notice = Notice(fact.notice_id, fact.stage, fact.match == "certain", fact.published_on.toordinal())
    _set_insolvency(case, insolvency.take(case.header.insolvency, notice, fact.corrects))
    return None


def _set_insolvency(case: Case, after: Any) -> None:
    was_default = insolvency.is_default(case.header.insolvency.stage)
    case.set(insolvency=after)
    case.rescore = True
    if insolvency.is_default(after.stage) and not was_default:
        for row_key, row in case.rows("i/"):
            if isinstance(row, Item) and row.open and row.default < 0:
                case.put(row_key, replace(row, lost=True))


def _customer_updated(case: Case, fact: CustomerUpdated, content: str) -> Rejection | None:
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


def _rating_received(case: Case, fact: RatingReceived, _: str) -> Rejection | None:
    case.set_score(scoring.take_rating(case.score, fact))
    case.rescore = True
    return None


def _note_made(case: Case, fact: NoteMade, _: str) -> Rejection | None:
    case.set_score(scoring.take_note(case.score, fact))
    case.rescore = True
    return None


def _decision_made(case: Case, fact: DecisionMade, _: str) -> Rejection | None:
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
    change = limits.answered(header.limit, fact.action, outputs.standing(case), case.policy.limits)
    if change is None:
        return Rejection(f"nothing waits for an answer about {fact.subject}: the review has lapsed or was answered", "subject")
    outputs.change_limit(case, change, (fact.decision_id,))
    return None


def _override(case: Case, fact: DecisionMade, limit: Decimal, until: int) -> Rejection | None:
    if fact.currency != case.policy.currency:
        return Rejection(f"limits are kept in {case.policy.currency}, not in {fact.currency}", "currency")
    if not case.header.limit.is_open:
        _open_limit(case)
    outputs.change_limit(case, limits.overridden(case.header.limit, limit, until), (fact.decision_id,))
    return None


def _acknowledge(case: Case, fact: DecisionMade) -> Rejection | None:
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
    apply: Callable[[Case, Any, str], Rejection | None]

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


# -- deadlines
def _is_forgotten(row: Row | None) -> bool:
    """Whether a row's deadline is that of its horizon: nothing follows from forgetting."""
    if isinstance(row, Item):
        return not row.open and row.late >= 0 and row.default >= 0 and row.wake >= row.expires
    return isinstance(row, Payment | Stub) or (isinstance(row, SalesDay) and not row.in_window)


def _on_wake(case: Case, wake: Wake) -> bool:
    """Apply a deadline; tells whether anything can follow from it."""
    row = case.get(wake.row_key)
    if isinstance(row, Item):
        _item_due(case, wake.row_key, row)
    elif isinstance(row, SalesDay):
        return _sales_age(case, wake.row_key, row)
    elif isinstance(row, Features):
        return _invoice_ages(case, wake.row_key, row)
    # The header's own deadlines (a week of bank movements, a review, a hold) are judged in _conclude, whatever the cause.
    return True


def _item_due(case: Case, row_key: str, item: Item) -> None:
    """Labels that mature, and ageing, of one invoice."""
    day, invoice_id = case.day, row_key[2:]
    due = max(item.due, item.issued)
    if item.late < 0 and day > due:
        item = _learn_late(case, invoice_id, item, int(bool(item.open) or item.closed_on > due))
    balance = case.balance(item.currency)
    was_alerting = item.alerting
    item, balance = payments.age_item(item, balance, day, case.policy.alerts.overdue_days)
    if item.alerting and not was_alerting:
        case.set(overdue_ids=(*case.header.overdue_ids, invoice_id)[-3:])
    if item.default < 0 and day >= item.due + payments.DEFAULT_DAY:
        # At this delay for good and bad alike: learned as soon as they are known, the bad ones would outrun the good (D8).
        is_lost = item.lost or (bool(item.open) and outputs.is_material(case, item))
        item = _learn_default(case, invoice_id, item, int(is_lost))
    case.set_balance(item.currency, balance)
    case.put(row_key, replace(item, wake=payments.next_wake(item, day, case.policy.alerts.overdue_days)))


def _learn_late(case: Case, invoice_id: str, item: Item, label: int) -> Item:
    features: Features | None = case.get(f"f/{invoice_id}")
    if features is None:
        return replace(item, late=label)
    active = scoring.activate(features, item.amount)
    early = 0 if item.open else item.closed_on - item.due
    learned = scoring.learn_late(active, label, case.day, case.score, _cell(case), case.context.model, days_late=early)
    example = outputs.late_example(case, invoice_id, item, label, active, learned)
    case.set_score(learned.score)
    for key, cell in learned.cells.items():
        case.put("x/" + key, cell)
    if label:
        case.put(f"f/{invoice_id}", scoring.first_interval(features, item.due, case.day))
    case.send("training-examples", "duewatch.example.matured.v1", example, internal=True)
    case.rescore = True
    _sweep_cells(case)
    return replace(item, late=label)


def _sweep_cells(case: Case) -> None:
    """Twice a year, forget amounts that did not come again."""
    day, score = case.day, case.score
    if not score.swept or day - score.swept > scoring.SWEEP_DAYS:
        if score.swept:
            for key, cell in case.rows("x/"):
                if isinstance(cell, Cell) and day - cell.day > scoring.KEEP_DAYS:
                    case.put(key, None)
        case.set_score(replace(score, swept=day))


def _correct_label(case: Case, invoice_id: str, label: int) -> None:
    """A payment was returned, or one that had come in time became known only later: the label that was learned was wrong."""
    item: Item | None = case.get(f"i/{invoice_id}")
    features: Features | None = case.get(f"f/{invoice_id}")
    if item is None or features is None or item.late != 1 - label:
        return
    active = scoring.activate(features, item.amount)
    score, cells = scoring.correct_late(active, label, case.score, _cell(case))
    example = outputs.corrected_example(case, invoice_id, item, label, active)
    case.set_score(score)
    for key, cell in cells.items():
        case.put("x/" + key, cell)
    case.put(f"f/{invoice_id}", scoring.first_interval(features, item.due, case.day) if label else replace(features, wake=0))
    case.put(f"i/{invoice_id}", replace(item, late=label))
    case.send("training-examples", "duewatch.example.matured.v1", example, internal=True)
    case.rescore = True


def _invoice_ages(case: Case, row_key: str, features: Features) -> bool:
    """An interval after the due day has ended, or the time in which a defaulted amount may still come in."""
    invoice_id = row_key[2:]
    item: Item | None = case.get(f"i/{invoice_id}")
    if item is None or item.closed == "cancelled":
        case.put(row_key, None)
        return False
    if features.owed is not None:
        return _learn_loss(case, row_key, item, features)
    i = features.interval
    end = item.due + scoring.INTERVALS[i]
    if item.closed == "written_off":  # it left the risk set, and was not paid
        case.put(row_key, replace(features, wake=0))
        return False
    paid = int(not item.open and item.closed_on <= end)
    case.set_score(scoring.learn_interval(case.score, i, paid))
    example = outputs.paid_example(case, invoice_id, item, paid, features)
    case.send("training-examples", "duewatch.example.matured.v1", example, internal=True)
    case.put(row_key, replace(features, wake=0) if paid else scoring.next_interval(features, item.due))
    return False


def _learn_loss(case: Case, row_key: str, item: Item, features: Features) -> bool:
    share = scoring.share_lost(features, item.amount - item.paid - item.credited)
    if share is not None:
        example = outputs.loss_example(case, row_key[2:], item, share)
        case.send("training-examples", "duewatch.example.matured.v1", example, internal=True)
    case.put(row_key, None)
    return False


def _learn_default(case: Case, invoice_id: str, item: Item, label: int) -> Item:
    features: Features | None = case.get(f"f/{invoice_id}")
    if features is not None:
        keys = scoring.example_keys(features.risk, late=item.late != 0)
        if keys:
            example = outputs.default_example(case, invoice_id, item, label, keys)
            case.send("training-examples", "duewatch.example.matured.v1", example, internal=True)
        unpaid = item.amount - item.paid - item.credited
        if label and unpaid > 0:
            case.put(f"f/{invoice_id}", replace(features, owed=unpaid, wake=case.day + scoring.WORKOUT_DAYS))
        elif item.late >= 0:
            case.put(f"f/{invoice_id}", None)
    return payments.rewoken(replace(item, default=label), case.day, case.policy.alerts.overdue_days)


def _sales_age(case: Case, row_key: str, sales: SalesDay) -> bool:
    """A day of sales leaves the window of 90 days; later it is forgotten."""
    _, currency, issued = row_key.split("/")
    balance = case.balance(currency)
    balance = replace(balance, sales_90d=balance.sales_90d - sales.amount)
    case.set_balance(currency, balance)
    forget = max(int(issued) + case.policy.horizon_days, case.day + 1)
    case.put(row_key, replace(sales, in_window=False, wake=forget))
    # Less sales move no alert, and the limit only at its next review: nothing else follows today.
    case.put("", case.header)
    return False


# -- what follows from the state, whatever the cause
def _conclude(case: Case, *, is_due: bool) -> None:
    """Bank week, score, limit, alerts, and the day of the next look. Writes the header if anything in it changed."""
    before = case.started_with
    _judge_bank(case)
    if case.rescore:
        _score_debtor(case)
    if is_due or _bears_on_decisions(before, case.header):
        _decide_limit(case)
        found = _decide_alerts(case, is_due=is_due)
        header = case.header
        days = [d for d in (header.bank.wake, header.limit.wake, alerting.next_look(header.alerts, found, case.day)) if d]
        wake = max(min(days), case.day + 1) if days else 0
        if wake != header.wake:
            case.set(wake=wake)
    if case.header is not before:
        case.put("", case.header)


def _bears_on_decisions(before: Header, after: Header) -> bool:
    """Whether anything changed that limit or alerts look at: most deadlines find an invoice paid, and only teach."""
    return (
        after.balances is not before.balances
        or after.last is not before.last
        or after.bank.week != before.bank.week  # within a week movements only add up
        or after.bank.shock is not before.bank.shock
        or after.insolvency is not before.insolvency
        or after.limit is not before.limit
    )


def _judge_bank(case: Case) -> None:
    bank, rules = case.header.bank, case.policy.alerts
    while bank.wake and bank.wake <= case.day:
        judged = banking.judge_week(bank, rules.shock_threshold, rules.shock_warm_up_weeks)
        if _cash_class(case, judged) != _cash_class(case, bank):
            case.rescore = True
        bank = judged
    if bank is not case.header.bank:
        case.set(bank=bank)


def _cash_class(case: Case, bank: Bank) -> str:
    rules = case.policy.alerts
    return scoring.cash_class(*banking.signs(bank, rules.shock_threshold, rules.shock_warm_up_weeks))


def _score_debtor(case: Case) -> None:
    header, model = case.header, case.context.model
    facts = outputs.risk_facts(case)
    scored = scoring.score_debtor(case.score, header.last, facts, model, bands=case.policy.bands, group_id=header.master.group)
    if scoring.moved(header.last, scored):
        case.set(last=scoring.published(header.last, scored, case.day))
        case.send("scores", "duewatch.score.computed.v1", outputs.debtor_score(case, scored))


def _open_limit(case: Case) -> None:
    policy, header = case.policy, case.header
    change = limits.open_limit(
        policy.action, case.context.generation, header.limit, outputs.standing(case), policy.limits, policy.currency, case.day
    )
    outputs.change_limit(case, change, ())


def _decide_limit(case: Case) -> None:
    """Nothing moves before ``live_from``: the first limit is opened on what is known by then."""
    if not case.may_send:
        return
    limit = case.header.limit
    if not limit.is_open or limit.action != case.policy.action or limit.generation != case.context.generation:
        _open_limit(case)
    header = case.header
    band = header.last.band if header.last is not None else "medium"
    if limits.is_quiet(header.limit, band, case.overdue_items, header.bank.shock, header.insolvency.stage, case.day):
        return
    standing = outputs.standing(case)
    for change in limits.all_changes(case.header.limit, standing, case.policy.limits, case.day):
        outputs.change_limit(case, change, ())


def _decide_alerts(case: Case, *, is_due: bool) -> dict[str, Severity]:
    if not case.may_send:
        return {}
    header, rules = case.header, case.policy.alerts
    if not (is_due or header.alerts) and not _is_alarming(case):
        return {}
    found = alerting.findings(outputs.alert_facts(case), rules, header.alerts)
    if not found and not header.alerts:
        return found
    for transition in alerting.transitions(header.alerts, found, case.customer_id, case.at.isoformat(), case.day, rules):
        case.set(alerts={**case.header.alerts, transition.alert_type: transition.alert})
        outputs.send_alert(case, transition)
    return found


def _is_alarming(case: Case) -> bool:
    """Whether a debtor without any alert may get one now: so that after most events nobody has to add up and compare."""
    header = case.header
    return (
        case.overdue_items > 0
        or header.bank.shock
        or header.insolvency.stage != "none"
        or header.insolvency.possible != "none"
        or header.last is not case.started_with.last  # its average only nears it while it stays
        or case.exposure_grew
    )
