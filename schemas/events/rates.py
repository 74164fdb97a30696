"""Topic ``rates``: dated exchange rates into the policy's currency."""

from __future__ import annotations

from schemas.base import BusinessDate, Contract, Currency, Rate


class RatesPublished(Contract):
    """``rates[c]`` units of ``base`` are worth one unit of c. They replace all rates that were published before."""

    base: Currency
    valid_from: BusinessDate
    """For readers; nothing waits for this day. Rates are in force from the next tick on (in a replay, from the beginning of
    their step), whatever day this is, so publish them on the day from which they hold."""
    rates: dict[Currency, Rate]
    source: str = ""
