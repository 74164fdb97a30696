"""How a debtor's limit changes: what was decided is taken over, numbered and announced. Pure."""

from __future__ import annotations

from agents.debtor import views
from agents.debtor.limits import decide as limits
from agents.debtor.limits.rules import LimitDecision
from agents.debtor.outputs.limits import send_limit_change
from agents.debtor.unit_of_work import UnitOfWork


def open_limit(case: UnitOfWork) -> None:
    """Make the first change of a generation."""
    policy = case.policy
    decision = limits.open_limit(
        policy.action,
        case.context.generation,
        case.header.limit,
        views.limit_inputs(case),
        policy.limits,
        policy.currency,
        case.day,
    )
    change_limit(case, decision)


def change_limit(case: UnitOfWork, decision: LimitDecision, *decision_ids: str) -> None:
    """Take over a decision; announce it if it says anything. ``decision_ids``: of what people decided, as evidence."""
    before = case.header.limit
    after = limits.with_number(before, decision, case.customer_id, case.day)
    case.set(limit=after)
    if decision.codes:
        send_limit_change(case, before, after, decision.codes, decision_ids)
