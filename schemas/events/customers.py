"""Topic ``customers``: master data, the whole record each time (compacted)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from schemas.base import Contract, Currency, Id, NotNegativeAmount, Text, at_most_decimals


class CustomerUpdated(Contract):
    """Master data of a debtor. ``group_id`` is whatever ties debtors together (parent, segment, country); never a name.

    ``insured_limit`` and ``security_held`` are in ``currency``. ``name`` is for the directory: the brain does not read it.
    """

    customer_id: Id
    name: Text | None = None
    country: Text | None = None
    industry: Text | None = None
    segment: Text | None = None
    terms_days: int | None = Field(default=None, ge=0, le=3650)
    parent_id: Id | None = None
    group_id: Id | None = None
    currency: Currency | None = None
    insured_limit: NotNegativeAmount | None = None
    security_held: NotNegativeAmount | None = None

    @model_validator(mode="after")
    def _decimals(self) -> Self:
        for name, amount in (("insured_limit", self.insured_limit), ("security_held", self.security_held)):
            if amount is not None and self.currency is not None:
                at_most_decimals(amount, self.currency, name)
        return self
