"""The arithmetic of the limit policy: what a band and a run of sales are worth, and what is left after a cut."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_UP, Decimal

from agents.debtor.limits.state import Limit
from schemas.events.policies import LimitRules

ZERO = Decimal("0.00")
SETTLING_DAYS = 90
"""The window of sales, and for so long a new limit follows the sales without waiting for its review."""
MIN_WINDOW_DAYS = 30
"""Days of sales that a target is computed from at the least: one big first invoice is no run rate."""


def band_factor(rules: LimitRules, band: str) -> Decimal:
    """How much of the sales to cover a debtor in this band may owe.

    >>> [str(band_factor(LimitRules(), band)) for band in ("strong", "medium", "weak")]
    ['1.5', '1.0', '0.5']
    """
    return {"strong": rules.strong_factor, "medium": rules.medium_factor}.get(band, rules.weak_factor)


def band_terms(rules: LimitRules, band: str) -> int:
    """Days to pay that a band earns.

    >>> [band_terms(LimitRules(), band) for band in ("strong", "medium", "weak")]
    [45, 30, 14]
    """
    return {"strong": rules.strong_terms_days, "medium": rules.terms_days}.get(band, rules.weak_terms_days)


def round_to_step(amount: Decimal, step: Decimal, *, up: bool = False) -> Decimal:
    """Whole steps; down, so that a limit is rather too low than too high, unless ``up``.

    >>> round_to_step(Decimal("1234.56"), Decimal(100))
    Decimal('1200.00')
    """
    return ((amount / step).to_integral_value(ROUND_UP if up else ROUND_DOWN) * step).quantize(ZERO)


def target(sales_90d: Decimal | None, band: str, rules: LimitRules, age_days: int) -> Decimal | None:
    """The limit that covers ``cover_days`` of the sales of the last 90 days; None where there were none or a rate is missing.

    A debtor known for less than 90 days (``age_days``) had a shorter window.

    >>> [str(target(Decimal(9000), "strong", LimitRules(cover_days=60), age_days)) for age_days in (400, 44)]
    ['9000.00', '18000.00']
    """
    if not sales_90d:
        return None
    window = min(SETTLING_DAYS, max(MIN_WINDOW_DAYS, age_days + 1))
    return round_to_step(sales_90d / window * rules.cover_days * band_factor(rules, band), rules.round_to)


def amount_after_cut(limit: Limit, sales_90d: Decimal | None, rules: LimitRules) -> Decimal:
    """What is left after a cut: at most ``weak_factor`` of the limit, and at most what the weak band is worth.

    >>> limit = Limit(amount=Decimal(10000))
    >>> amount_after_cut(limit, None, LimitRules()), amount_after_cut(limit, Decimal(6000), LimitRules())
    (Decimal('5000.00'), Decimal('3000.00'))
    """
    cap = round_to_step(limit.amount * rules.weak_factor, rules.round_to)
    weak_target = target(sales_90d, "weak", rules, SETTLING_DAYS)
    return min(limit.amount, cap if weak_target is None else max(min(cap, weak_target), ZERO))
