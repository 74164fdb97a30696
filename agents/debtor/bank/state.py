"""Frozen values of a debtor's own account, week by week. Amounts are in ``currency``; weeks start on Monday (ordinal)."""

from __future__ import annotations

from decimal import Decimal

import msgspec

ZERO = Decimal("0.00")


class Bank(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sums of the running week, the account's own past, and how far the present is from it.

    ``mean`` and ``variance`` are exponentially weighted, of ln(1 + weekly inflow); ``fall`` is a one-sided CUSUM in standard
    deviations. ``wake`` = the Monday on which the running week is judged, 0 = none.
    """

    currency: str = ""
    week: int = 0
    inflow: Decimal = ZERO
    outflow: Decimal = ZERO
    mean: float = 0.0
    variance: float = 0.0
    weeks: int = 0
    fall: float = 0.0
    last_inflow: Decimal = ZERO
    last_outflow: Decimal = ZERO
    balance: Decimal | None = None
    balance_on: int = 0
    returned: int = 0
    """Returned debits in the running and the last week."""
    shock: bool = False
    shock_weeks: int = 0
    lowest: Decimal | None = None
    """Balance of the running week, None = none was told."""
    level: float = 0.0
    spread: float = 0.0
    usual: float = 0.0
    levels: int = 0
    """Mean and variance of the weeks' lowest balances, mean weekly inflow, all over half a year; weeks in them."""
    wake: int = 0
