"""The brain: what one cause (an event or a deadline) means for one debtor. Pure and total; the order of the domains is here.

First the fact moves the state of its own domain; then, always in this order: score, limit, alerts, the next look.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.debtor import outputs
from agents.debtor.alerts import decide as alerting
from agents.debtor.bank import decide as banking
from agents.debtor.bank.state import Bank
from agents.debtor.handlers import deadlines
from agents.debtor.handlers.table import apply_event
from agents.debtor.keys import HEADER
from agents.debtor.limits import decide as limits
from agents.debtor.scoring import decide as scoring
from agents.debtor.state import Header, Row
from agents.debtor.unit_of_work import Deadline, Reaction, UnitOfWork
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event
from schemas.outputs.alerts import Severity


def react(
    state: Mapping[str, Row],
    cause: Event | Deadline,
    context: ContextSet,
    customer_id: str,
    day: int,
    paused: frozenset[str] = frozenset(),
) -> Reaction:
    """Apply one cause to the rows of one debtor. ``day`` is the creditor's day as an ordinal; it never goes back.

    ``paused``: topics of the debtor that are not read for now, so that what they would say is unknown. Never raises for what an
    event says: what cannot be applied comes back as a rejection, what is known already as a duplicate.
    """
    if isinstance(cause, Deadline) and deadlines.is_forgotten(state.get(cause.row_key)):
        return Reaction({cause.row_key: None})
    uow = UnitOfWork(customer_id, state, cause, context, day, paused)
    if isinstance(cause, Deadline):
        if not deadlines.fire(uow, cause):
            return Reaction(uow.changes, uow.outputs)
        is_due = not cause.row_key
    else:
        reaction = apply_event(uow, cause)
        if reaction is not None:
            return reaction
        is_due = not uow.header.limit.is_open
    _conclude(uow, is_due=is_due)
    return Reaction(uow.changes, uow.outputs)


def _conclude(uow: UnitOfWork, *, is_due: bool) -> None:
    """Bank week, score, limit, alerts, and the header's next deadline. Writes the header if anything in it changed."""
    before = uow.header_before
    _judge_bank(uow)
    if uow.needs_score:
        _score_debtor(uow)
    if is_due or _bears_on_decisions(before, uow.header):
        _decide_limit(uow)
        findings = _decide_alerts(uow, is_due=is_due)
        _set_next_deadline(uow, findings)
    if uow.header is not before:
        uow.put(HEADER, uow.header)


def _set_next_deadline(uow: UnitOfWork, findings: dict[str, Severity]) -> None:
    """The first day on which bank, limit or alerts need a look without any event."""
    header = uow.header
    days = [d for d in (header.bank.wake, header.limit.wake, alerting.next_look(header.alerts, findings, uow.day)) if d]
    next_deadline = max(min(days), uow.day + 1) if days else 0
    if next_deadline != header.next_deadline:
        uow.set(next_deadline=next_deadline)


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


def _judge_bank(uow: UnitOfWork) -> None:
    """Judge the weeks of bank movements that are over."""
    bank, rules = uow.header.bank, uow.policy.alerts
    while bank.wake and bank.wake <= uow.day:
        bank_after = banking.judge_week(bank, rules.shock_threshold, rules.shock_warm_up_weeks)
        if _cash_class(uow, bank_after) != _cash_class(uow, bank):
            uow.needs_score = True
        bank = bank_after
    if bank is not uow.header.bank:
        uow.set(bank=bank)


def _cash_class(uow: UnitOfWork, bank: Bank) -> str:
    rules = uow.policy.alerts
    return scoring.cash_class(*banking.signs(bank, rules.shock_threshold, rules.shock_warm_up_weeks))


def _score_debtor(uow: UnitOfWork) -> None:
    header, model = uow.header, uow.context.model
    inputs = outputs.risk_facts(uow)
    scored = scoring.score_debtor(uow.score, header.last, inputs, model, bands=uow.policy.bands, group_id=header.master.group)
    if scoring.moved(header.last, scored):
        uow.set(last=scoring.published(header.last, scored, uow.day))
        uow.send("scores", "duewatch.score.computed.v1", outputs.debtor_score(uow, scored))


def _decide_limit(uow: UnitOfWork) -> None:
    """Nothing moves before ``live_from``: the first limit is opened on what is known by then."""
    if not uow.may_send:
        return
    limit = uow.header.limit
    if not limit.is_open or limit.action != uow.policy.action or limit.generation != uow.context.generation:
        outputs.open_limit(uow)
    header = uow.header
    band = header.last.band if header.last is not None else "medium"
    if limits.is_quiet(header.limit, band, uow.overdue_items, header.bank.shock, header.insolvency.stage, uow.day):
        return
    inputs = outputs.standing(uow)
    for change in limits.all_changes(uow.header.limit, inputs, uow.policy.limits, uow.day):
        outputs.change_limit(uow, change, ())


def _decide_alerts(uow: UnitOfWork, *, is_due: bool) -> dict[str, Severity]:
    if not uow.may_send:
        return {}
    header, rules = uow.header, uow.policy.alerts
    if not (is_due or header.alerts) and not _is_alarming(uow):
        return {}
    findings = alerting.findings(outputs.alert_facts(uow), rules, header.alerts)
    if not findings and not header.alerts:
        return findings
    for transition in alerting.transitions(header.alerts, findings, uow.customer_id, uow.at.isoformat(), uow.day, rules):
        uow.set(alerts={**uow.header.alerts, transition.alert_type: transition.alert})
        outputs.send_alert(uow, transition)
    return findings


def _is_alarming(uow: UnitOfWork) -> bool:
    """Whether a debtor without any alert may get one now: so that after most events nobody has to add up and compare."""
    header = uow.header
    return (
        uow.overdue_items > 0
        or header.bank.shock
        or header.insolvency.stage != "none"
        or header.insolvency.possible != "none"
        or header.last is not uow.header_before.last  # its average only nears it while it stays
        or uow.exposure_grew
    )
