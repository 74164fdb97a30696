"""The brain: what one cause (an event or a deadline) means for one debtor. Pure and total; the order of the domains is here.

First the fact moves the state of its own domain; then, always in this order: score, limit, alerts, the next look.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.debtor import facts, views
from agents.debtor.alerts import decide as alerting
from agents.debtor.bank import decide as banking
from agents.debtor.bank.state import Bank
from agents.debtor.handlers import deadlines
from agents.debtor.handlers.limits import change_limit, open_limit
from agents.debtor.limits import decide as limits
from agents.debtor.outputs.alerts import send_alert
from agents.debtor.outputs.scores import send_debtor_score
from agents.debtor.scoring import decide as scoring
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

    ``paused``: topics of the debtor that are not read for now (D10). Never raises for what an event says: what cannot be applied
    comes back as a rejection, what is known already as a duplicate.
    """
    if isinstance(cause, Deadline) and deadlines.is_forgotten(state.get(cause.row_key)):
        return Reaction({cause.row_key: None})
    case = UnitOfWork(customer_id, state, cause, context, day, paused)
    if isinstance(cause, Deadline):
        if not deadlines.fire(case, cause):
            return Reaction(case.changes, case.outputs)
        is_due = not cause.row_key
    else:
        refused = facts.apply(case, cause)
        if refused is not None:
            return refused
        is_due = not case.header.limit.is_open
    _conclude(case, is_due=is_due)
    return Reaction(case.changes, case.outputs)


def _conclude(case: UnitOfWork, *, is_due: bool) -> None:
    """Bank week, score, limit, alerts, and the day of the next look. Writes the header if anything in it changed."""
    before = case.started_with
    _judge_bank(case)
    if case.rescore:
        _score_debtor(case)
    if is_due or views.bears_on_decisions(before, case.header):
        _decide_limit(case)
        severities = _decide_alerts(case, is_due=is_due)
        header = case.header
        days = [
            d
            for d in (
                header.bank.next_deadline,
                header.limit.next_deadline,
                alerting.cool_down_end(header.alerts, severities, case.day),
            )
            if d
        ]
        wake = max(min(days), case.day + 1) if days else 0
        if wake != header.wake:
            case.set(wake=wake)
    if case.header is not before:
        case.put("", case.header)


def _judge_bank(case: UnitOfWork) -> None:
    bank, rules = case.header.bank, case.policy.alerts
    while bank.next_deadline and bank.next_deadline <= case.day:
        judged = banking.judge_week(bank, rules.shock_threshold, rules.shock_warm_up_weeks)
        if _cash_class(case, judged) != _cash_class(case, bank):
            case.rescore = True
        bank = judged
    if bank is not case.header.bank:
        case.set(bank=bank)


def _cash_class(case: UnitOfWork, bank: Bank) -> str:
    rules = case.policy.alerts
    return scoring.cash_class(*banking.cash_signals(bank, rules.shock_threshold, rules.shock_warm_up_weeks))


def _score_debtor(case: UnitOfWork) -> None:
    header, model = case.header, case.context.model
    inputs = views.score_inputs(case)
    scored = scoring.score_debtor(case.score, header.last, inputs, model, bands=case.policy.bands, group_id=header.master.group)
    if scoring.moved(header.last, scored):
        case.set(last=scoring.published(header.last, scored, case.day))
        send_debtor_score(case, scored)


def _decide_limit(case: UnitOfWork) -> None:
    """Nothing moves before ``live_from``: the first limit is opened on what is known by then."""
    if not case.may_send:
        return
    limit = case.header.limit
    if not limit.is_open or limit.action != case.policy.action or limit.generation != case.context.generation:
        open_limit(case)
    if views.is_limit_quiet(case):
        return
    inputs = views.limit_inputs(case)
    for decision in limits.all_decisions(case.header.limit, inputs, case.policy.limits, case.day):
        change_limit(case, decision)


def _decide_alerts(case: UnitOfWork, *, is_due: bool) -> dict[str, Severity]:
    if not case.may_send:
        return {}
    header, rules = case.header, case.policy.alerts
    if not (is_due or header.alerts or views.may_alert(case)):
        return {}
    inputs = views.alert_inputs(case)
    severities = alerting.findings(inputs, rules, header.alerts)
    if not severities and not header.alerts:
        return severities
    for transition in alerting.transitions(header.alerts, severities, case.customer_id, case.at.isoformat(), case.day, rules):
        case.set(alerts={**case.header.alerts, transition.alert_type: transition.alert})
        send_alert(case, transition, inputs)
    return severities
