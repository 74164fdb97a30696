"""The brain: what one cause (an event or a deadline) means for one debtor. Pure and total; the order of the domains is here.

First the fact moves the state of its own domain; then, always in this order: score, limit, alerts, the next look.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.debtor import views
from agents.debtor.alerts import decide as alerting
from agents.debtor.bank import decide as banking
from agents.debtor.bank.state import Bank
from agents.debtor.handlers import deadlines
from agents.debtor.handlers.limits import change_limit, open_limit
from agents.debtor.handlers.table import apply_event
from agents.debtor.keys import HEADER
from agents.debtor.limits import decide as limits
from agents.debtor.outputs.alerts import send_alert
from agents.debtor.outputs.scores import send_debtor_score
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.default import cash_class
from agents.debtor.state import Row
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
        is_due = cause.is_of_debtor
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
    if is_due or views.bears_on_decisions(before, uow.header):
        _decide_limit(uow)
        severities = _decide_alerts(uow, is_due=is_due)
        _set_next_deadline(uow, severities)
    if uow.header is not before:
        uow.put(HEADER, uow.header)


def _set_next_deadline(uow: UnitOfWork, severities: dict[str, Severity]) -> None:
    """The first day on which bank, limit or alerts need a look without any event."""
    header = uow.header
    cool_down_end = alerting.cool_down_end(header.alerts, severities, uow.day)
    days = [day for day in (header.bank.next_deadline, header.limit.next_deadline, cool_down_end) if day]
    next_deadline = max(min(days), uow.day + 1) if days else 0
    if next_deadline != header.next_deadline:
        uow.set(next_deadline=next_deadline)


def _judge_bank(uow: UnitOfWork) -> None:
    """Judge the weeks of bank movements that are over."""
    bank, rules = uow.header.bank, uow.policy.alerts
    while bank.next_deadline and bank.next_deadline <= uow.day:
        bank_after = banking.judge_week(bank, rules.shock_threshold, rules.shock_warm_up_weeks)
        if _cash_class(uow, bank_after) != _cash_class(uow, bank):
            uow.needs_score = True
        bank = bank_after
    if bank is not uow.header.bank:
        uow.set(bank=bank)


def _cash_class(uow: UnitOfWork, bank: Bank) -> str:
    rules = uow.policy.alerts
    return cash_class(*banking.cash_signals(bank, rules.shock_threshold, rules.shock_warm_up_weeks))


def _score_debtor(uow: UnitOfWork) -> None:
    header, model = uow.header, uow.context.model
    inputs = views.score_inputs(uow)
    scored = scoring.score_debtor(uow.score, header.last, inputs, model, bands=uow.policy.bands, group_id=header.master.group)
    if scoring.is_news(header.last, scored):
        uow.set(last=scoring.to_last_score(header.last, scored, uow.day))
        send_debtor_score(uow, scored)


def _decide_limit(uow: UnitOfWork) -> None:
    """Nothing moves before ``live_from``: the first limit is opened on what is known by then."""
    if not uow.may_send:
        return
    limit = uow.header.limit
    if not limit.is_open or limit.action != uow.policy.action or limit.generation != uow.context.generation:
        open_limit(uow)
    if views.is_limit_quiet(uow):
        return
    inputs = views.limit_inputs(uow)
    for decision in limits.all_decisions(uow.header.limit, inputs, uow.policy.limits, uow.day):
        change_limit(uow, decision)


def _decide_alerts(uow: UnitOfWork, *, is_due: bool) -> dict[str, Severity]:
    """Raise and clear alerts; returns what is the case now, by type."""
    if not uow.may_send:
        return {}
    header, rules = uow.header, uow.policy.alerts
    if not (is_due or header.alerts or views.may_alert(uow)):
        return {}
    inputs = views.alert_inputs(uow)
    severities = alerting.findings(inputs, rules, header.alerts)
    if not severities and not header.alerts:
        return severities
    for transition in alerting.transitions(header.alerts, severities, uow.customer_id, uow.at.isoformat(), uow.day, rules):
        uow.set(alerts={**uow.header.alerts, transition.alert_type: transition.alert})
        send_alert(uow, transition, inputs)
    return severities
