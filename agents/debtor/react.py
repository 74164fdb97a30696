"""The brain: what one cause (an event or a deadline) means for one debtor. Pure and total; the order of the domains is here.

First the fact moves the state of its own domain; then, always in this order: score, limit, alerts, the next look.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.debtor import facts, outputs
from agents.debtor.alerts import decide as alerting
from agents.debtor.bank import decide as banking
from agents.debtor.bank.state import Bank
from agents.debtor.handlers import deadlines
from agents.debtor.limits import decide as limits
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.default import cash_class
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


def _judge_bank(case: UnitOfWork) -> None:
    bank, rules = case.header.bank, case.policy.alerts
    while bank.wake and bank.wake <= case.day:
        judged = banking.judge_week(bank, rules.shock_threshold, rules.shock_warm_up_weeks)
        if _cash_class(case, judged) != _cash_class(case, bank):
            case.rescore = True
        bank = judged
    if bank is not case.header.bank:
        case.set(bank=bank)


def _cash_class(case: UnitOfWork, bank: Bank) -> str:
    rules = case.policy.alerts
    return cash_class(*banking.signs(bank, rules.shock_threshold, rules.shock_warm_up_weeks))


def _score_debtor(case: UnitOfWork) -> None:
    header, model = case.header, case.context.model
    known = outputs.risk_facts(case)
    scored = scoring.score_debtor(case.score, header.last, known, model, bands=case.policy.bands, group_id=header.master.group)
    if scoring.is_news(header.last, scored):
        case.set(last=scoring.to_last_score(header.last, scored, case.day))
        case.send("scores", "duewatch.score.computed.v1", outputs.debtor_score(case, scored))


def _decide_limit(case: UnitOfWork) -> None:
    """Nothing moves before ``live_from``: the first limit is opened on what is known by then."""
    if not case.may_send:
        return
    limit = case.header.limit
    if not limit.is_open or limit.action != case.policy.action or limit.generation != case.context.generation:
        outputs.open_limit(case)
    header = case.header
    band = header.last.band if header.last is not None else "medium"
    if limits.is_quiet(header.limit, band, case.overdue_items, header.bank.shock, header.insolvency.stage, case.day):
        return
    standing = outputs.standing(case)
    for change in limits.all_changes(case.header.limit, standing, case.policy.limits, case.day):
        outputs.change_limit(case, change, ())


def _decide_alerts(case: UnitOfWork, *, is_due: bool) -> dict[str, Severity]:
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


def _is_alarming(case: UnitOfWork) -> bool:
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
