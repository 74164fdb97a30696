"""Topics ``limit-changes``, ``limit-proposals`` and ``current-limits``: what billing systems are told of a limit."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

from agents.debtor.limits.decide import is_opening
from agents.debtor.limits.rules import REASONS
from agents.debtor.limits.state import Limit
from agents.debtor.message_structs import struct_for
from agents.debtor.unit_of_work import UnitOfWork
from agents.debtor.views import limit_evidence
from agents.version import CODE_VERSION
from schemas.outputs.common import Reason
from schemas.outputs.limits import LimitChanged

_Limit, _Reason = struct_for(LimitChanged), struct_for(Reason)


def send_limit_change(
    uow: UnitOfWork, before: Limit, after: Limit, codes: tuple[str, ...], decision_ids: tuple[str, ...]
) -> None:
    """Announce a change that has its number; ``decision_ids``: of what people decided, as evidence."""
    is_first = is_opening(before, after)
    evidence = limit_evidence(uow)
    change = _Limit(
        customer_id=uow.customer_id,
        policy_version=uow.policy.version,
        model_version=uow.context.model.version,
        code_version=CODE_VERSION,
        limit_change_id=after.last_id or "",
        generation=after.generation,
        sequence=after.sequence,
        previous_limit=None if is_first else before.amount,
        new_limit=after.amount,
        currency=after.currency,
        terms_days=after.terms_days,
        security_required=after.security,
        hold=after.hold,
        effective_from=date.fromordinal(after.effective),
        expires_on=_date(after.hold_until if after.hold else after.override_until),
        reasons=_reasons(codes),
        evidence=(uow.cause_id, *decision_ids, *(id_ for code in codes for id_ in REASONS[code].evidence(evidence))),
        supersedes=None if is_first else before.last_id,
    )
    if after.action == "act":
        uow.send("limit-changes", "duewatch.limit.changed.v1", change)
        uow.send("current-limits", "duewatch.limit.current.v1", change)
    else:
        uow.send("limit-proposals", "duewatch.limit.proposed.v1", change)


@lru_cache(maxsize=256)
def _reasons(codes: tuple[str, ...]) -> tuple[Reason, ...]:
    return tuple(_Reason(code=code, text=REASONS[code].text, text_de=REASONS[code].text_de) for code in codes)


def _date(day: int) -> date | None:
    return date.fromordinal(day) if day else None
