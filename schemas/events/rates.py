"""Topic ``rates``: dated exchange rates into the policy's currency."""

from __future__ import annotations

from schemas.base import BusinessDate, Contract, Currency, Rate


class RatesPublished(Contract):
    """``rates[c]`` units of ``base`` are worth one unit of c."""

    base: Currency
    valid_from: BusinessDate
    rates: dict[Currency, Rate]
    source: str = ""
