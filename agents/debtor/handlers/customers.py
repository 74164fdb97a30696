"""What master data changes at once. Pure."""

from __future__ import annotations

from agents.debtor.state import Master
from agents.debtor.unit_of_work import UnitOfWork
from schemas.events.customers import CustomerUpdated
from schemas.events.envelope import Rejection


def update_customer(uow: UnitOfWork, fact: CustomerUpdated, content: str) -> Rejection | None:
    """The newest record counts; an older one that comes again, or late, replaces nothing."""
    recorded = uow.at.isoformat()
    if recorded < uow.header.master.recorded:
        return None
    uow.set(
        master=Master(
            content=content,
            recorded=recorded,
            group=fact.group_id or fact.segment or fact.country,
            country=fact.country,
            segment=fact.segment,
            terms_days=fact.terms_days or 0,
        )
    )
    uow.needs_score = True
    return None
