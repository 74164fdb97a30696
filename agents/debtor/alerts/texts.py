"""What the alerts say, in English and in German; what is said again and again is worked out once."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from agents.debtor.german import STAGES_DE, german
from schemas.events.insolvency import Stage

Words = tuple[str, str]
"""English, German."""

GONE: Words = ("Its cause is gone.", "Der Grund ist entfallen.")


@lru_cache(maxsize=1024)
def overdue(count: int, days: int, amount: Decimal | None, currency: str) -> Words:
    """Invoices past the policy's patience, and all that is overdue.

    >>> overdue(2, 15, Decimal("1234.50"), "EUR")[1]
    '2 Rechnung(en) seit 15 Tagen oder länger überfällig; insgesamt überfällig: 1.234,50 EUR.'
    """
    text, text_de = _money(amount, currency)
    return (
        f"{count} invoice(s) overdue for {days} days or more; {text} overdue in all.",
        f"{count} Rechnung(en) seit {days} Tagen oder länger überfällig; insgesamt überfällig: {text_de}.",
    )


@lru_cache(maxsize=1024)
def score_drop(p_late: float, usual: float) -> Words:
    """The probability of being late is far above its slow average."""
    return (
        f"Probability of late payment {p_late:.0%}, usually {usual:.0%}.",
        f"Wahrscheinlichkeit verspäteter Zahlung {100 * p_late:.0f} %, sonst {100 * usual:.0f} %.",
    )


@lru_cache(maxsize=1024)
def over_limit(exposure: Decimal | None, limit: Decimal, currency: str) -> Words:
    """More is owed than the limit allows."""
    (owed, owed_de), (most, most_de) = _money(exposure, currency), _money(limit, currency)
    return f"Exposure {owed} is above the limit of {most}.", f"Das Obligo ({owed_de}) liegt über dem Limit ({most_de})."


@lru_cache(maxsize=1024)
def cash_flow_shock(inflow: Decimal, usual: Decimal, currency: str) -> Words:
    """Far less came in than in a usual week."""
    (came, came_de), (week, week_de) = _money(inflow, currency), _money(usual, currency)
    return (
        f"Inflow of the last week {came}; a usual week brings {week}.",
        f"Eingang der letzten Woche {came_de}; eine übliche Woche bringt {week_de}.",
    )


@lru_cache(maxsize=64)
def insolvency(stage: Stage, certain: bool) -> Words:
    """A notice in an alarming stage."""
    text, text_de = f"Insolvency notice: {stage.replace('_', ' ')}", f"Insolvenzbekanntmachung: {STAGES_DE[stage]}"
    if certain:
        return f"{text}.", f"{text_de}."
    return (
        f"{text}; the match is not certain, a person must confirm it.",
        f"{text_de}; der Treffer ist nicht sicher, ein Mensch muss ihn bestätigen.",
    )


def _money(amount: Decimal | None, currency: str) -> Words:
    if amount is None:
        return "an unknown amount (a rate is missing)", "ein unbekannter Betrag (ein Kurs fehlt)"
    text = f"{amount:,.2f}"
    return f"{text} {currency}", f"{german(text)} {currency}"
