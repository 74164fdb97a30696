"""Topic ``decisions``: what people decided about an alert, a review, a limit."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Self

from pydantic import model_validator

from schemas.base import BusinessDate, Contract, Currency, Id, NotNegativeAmount, Text, at_most_decimals, blame


class DecisionMade(Contract):
    """``subject`` is the fingerprint of an alert, ``review`` (the open review) or ``limit``.

    confirm: the review's finding stands, the cut is made. reject: it does not, the hold is lifted. acknowledge: an alert is
    being looked after. override: ``new_limit`` in ``currency`` holds until the end of ``expires_on``.
    """

    customer_id: Id
    decision_id: Id
    subject: Id
    action: Literal["confirm", "reject", "acknowledge", "override"]
    owner: Id
    reason: Text | None = None
    decided_on: BusinessDate
    new_limit: NotNegativeAmount | None = None
    currency: Currency | None = None
    expires_on: BusinessDate | None = None

    @model_validator(mode="after")
    def _override_is_whole(self) -> Self:
        missing = [name for name in ("new_limit", "currency", "expires_on") if getattr(self, name) is None]
        if self.action == "override" and missing:
            raise blame(missing[0], "an override needs new_limit, currency and expires_on: no override lasts for ever")
        if self.new_limit is not None and self.new_limit > Decimal("1e12"):
            raise blame("new_limit", f"a limit of {self.new_limit} is too high: send at most 1000000000000")
        if self.new_limit is not None and self.currency is not None:
            at_most_decimals(self.new_limit, self.currency, "new_limit")
        return self
