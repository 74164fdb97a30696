"""What a person decided: an answer to a review, a limit of their own, an alert taken note of. Pure."""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from agents.debtor import views
from agents.debtor.alerts import decide as alerting
from agents.debtor.handlers.insolvency import set_insolvency
from agents.debtor.handlers.limits import change_limit, open_limit
from agents.debtor.insolvency import decide as insolvency
from agents.debtor.limits import decide as limits
from agents.debtor.unit_of_work import UnitOfWork
from schemas.events.decisions import DecisionMade
from schemas.events.envelope import Rejection


def take_decision(uow: UnitOfWork, fact: DecisionMade, _content: str) -> Rejection | None:
    """Do what was decided; an answer to a question that is not (or no longer) open is refused."""
    if fact.action == "override" and fact.new_limit is not None and fact.expires_on is not None:  # the contract: it has both
        return _override_limit(uow, fact, fact.new_limit, fact.expires_on.toordinal())
    if fact.action == "acknowledge":
        return _acknowledge_alert(uow, fact)
    before = uow.header.insolvency
    if fact.subject.startswith("insolvency") and insolvency.is_alarm(before.possible):
        is_confirmed = fact.action == "confirm"
        set_insolvency(uow, insolvency.confirm_possible(before) if is_confirmed else insolvency.forget_possible(before))
        return None
    change = limits.answer_review(uow.header.limit, fact.action, views.limit_inputs(uow), uow.policy.limits)
    if change is None:
        return Rejection(f"nothing waits for an answer about {fact.subject}: the review has lapsed or was answered", "subject")
    change_limit(uow, change, fact.decision_id)
    return None


def _override_limit(uow: UnitOfWork, fact: DecisionMade, limit: Decimal, until: int) -> Rejection | None:
    """A limit that a person sets, until a day (ordinal)."""
    if fact.currency != uow.policy.currency:
        return Rejection(f"limits are kept in {uow.policy.currency}, not in {fact.currency}", "currency")
    if not uow.header.limit.is_open:
        open_limit(uow)
    change_limit(uow, limits.override_limit(uow.header.limit, limit, until), fact.decision_id)
    return None


def _acknowledge_alert(uow: UnitOfWork, fact: DecisionMade) -> Rejection | None:
    """Somebody has taken an open alert on."""
    for alert_type, alert in uow.header.alerts.items():
        if alert.open and fact.subject in (alert.alert_id, alerting.fingerprint(alert_type, uow.customer_id)):
            uow.set(alerts={**uow.header.alerts, alert_type: replace(alert, acknowledged_by=fact.owner)})
            return None
    return Rejection(f"no open alert has the fingerprint or id {fact.subject}", "subject")
