"""How a debtor's limit changes: what was decided is taken over, numbered and announced. Pure."""

from __future__ import annotations

from agents.debtor import views
from agents.debtor.limits import decide as limits
from agents.debtor.limits.rules import LimitDecision
from agents.debtor.outputs.limits import send_limit_change
from agents.debtor.unit_of_work import UnitOfWork


def open_limit(uow: UnitOfWork) -> None:
    """Make the first change of a generation."""
    policy = uow.policy
    decision = limits.open_limit(
        policy.action,
        uow.context.generation,
        uow.header.limit,
        views.limit_inputs(uow),
        policy.limits,
        policy.currency,
        uow.day,
    )
    change_limit(uow, decision)


def change_limit(uow: UnitOfWork, decision: LimitDecision, *decision_ids: str) -> None:
    """Take over a decision; announce it if it says anything. ``decision_ids``: of what people decided, as evidence."""
    before = uow.header.limit
    after = limits.with_number(before, decision, uow.customer_id, uow.day)
    uow.set(limit=after)
    if decision.codes:
        send_limit_change(uow, before, after, decision.codes, decision_ids)
