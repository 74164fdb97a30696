"""Frozen values of a debtor's own account, week by week. Amounts are in ``currency``; weeks start on Monday (ordinal)."""

from __future__ import annotations

from decimal import Decimal

import msgspec

ZERO = Decimal("0.00")


class Bank(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sums of the running week, the account's own past, and how far the present is from it."""

    currency: str = ""
    week: int = 0
    """Monday of the running week."""
    inflow: Decimal = ZERO
    outflow: Decimal = ZERO
    log_mean: float = msgspec.field(name="mean", default=0.0)
    """Of ln(1 + weekly inflow), exponentially weighted; ``log_variance`` likewise."""
    log_variance: float = msgspec.field(name="variance", default=0.0)
    weeks: int = 0
    """Weeks that ``log_mean`` has learned from."""
    cusum: float = msgspec.field(name="fall", default=0.0)
    """How far the inflow has fallen: a one-sided CUSUM in standard deviations."""
    last_inflow: Decimal = ZERO
    last_outflow: Decimal = ZERO
    balance: Decimal | None = None
    balance_on: int = 0
    returned: int = 0
    """Returned debits since a week with movements was last judged."""
    shock: bool = False
    shock_weeks: int = 0
    lowest: Decimal | None = None
    """Lowest balance that was reported in the running week, None = there was no report."""
    low_mean: float = msgspec.field(name="level", default=0.0)
    """Mean of the weeks' lowest balances over half a year; ``low_variance`` likewise."""
    low_variance: float = msgspec.field(name="spread", default=0.0)
    mean_inflow: float = msgspec.field(name="usual", default=0.0)
    """Mean weekly inflow over half a year, weeks of shock left out."""
    low_weeks: int = msgspec.field(name="levels", default=0)
    """Weeks that ``low_mean`` has learned from."""
    next_deadline: int = msgspec.field(name="wake", default=0)
    """The Monday on which the running week is judged, 0 = none."""
