"""Topics ``limit-changes``, ``limit-proposals`` and ``current-limits``: the contract for billing systems."""

from __future__ import annotations

from pydantic import Field

from schemas.base import BusinessDate, Currency, Id, NotNegativeAmount
from schemas.outputs.common import Decided, Reason


class LimitChanged(Decided):
    """A change of a debtor's limit. Apply them by ``(generation, sequence)``: one decision per number, no gaps.

    ``previous_limit`` is null for the opening limit. ``supersedes`` is the id of the change before.
    """

    limit_change_id: Id
    generation: int = Field(ge=1)
    sequence: int = Field(ge=1)
    previous_limit: NotNegativeAmount | None
    new_limit: NotNegativeAmount
    currency: Currency
    terms_days: int = Field(ge=0)
    security_required: bool
    hold: bool = False
    """No new exposure until a person has answered the review or it lapses."""
    effective_from: BusinessDate
    """Never before that of the previous change."""
    expires_on: BusinessDate | None
    reasons: tuple[Reason, ...]
    evidence: tuple[str, ...]
    supersedes: Id | None
