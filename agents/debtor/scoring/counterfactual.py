"""What would change the band: the nearest other band, the probabilities that it asks for, and how far off they are."""

from __future__ import annotations

from functools import lru_cache

from agents.debtor.written import written
from agents.logistic import logit
from schemas.outputs.scores import Band, WouldChange

NAMES_DE: dict[Band, str] = {"strong": "stark", "medium": "mittel", "weak": "schwach"}

_WouldChange = written(WouldChange)


def otherwise(
    band: Band, p_late: float, p_default: float, thresholds: tuple[float, float, float, float], *, ready: bool
) -> WouldChange:
    """``thresholds``: below the first two (late, default) strong, from the last two on weak, with the margin of hysteresis.

    A better band needs both probabilities below its thresholds; a strong debtor is told what would make it medium.

    >>> otherwise("medium", 0.71, 0.01, (0.6, 0.03, 0.97, 0.15), ready=True).text
    'Band strong: probability of late payment below 60 % (now 71 %), of default below 3.0 % (now 1.0 %)'
    """
    late_strong, default_strong, late_weak, default_weak = thresholds
    other: Band = "medium" if band != "medium" else "strong"
    late, default = (late_weak, default_weak) if band == "weak" else (late_strong, default_strong)
    by = 0.0
    if p_late >= late or band == "strong":
        by = round(_log_odds(late) - _log_odds(p_late), 6)
    text, text_de = _words(other, band == "strong", ready, *(round(1000.0 * p) for p in (late, p_late, default, p_default)))
    return _WouldChange(band=other, p_late=late, p_default=default, log_odds=by, text=text, text_de=text_de)


def _log_odds(p: float) -> float:
    return logit(min(max(p, 1e-6), 1.0 - 1e-6))


@lru_cache(maxsize=16384)
def _words(band: Band, worse: bool, ready: bool, late: int, p_late: int, default: int, p_default: int) -> tuple[str, str]:
    """All probabilities in thousandths."""
    to, bis = ("from", "ab") if worse else ("below", "unter")
    joint, und = ("or of default", "oder eines Ausfalls") if worse else ("of default", "eines Ausfalls")
    text = (
        f"Band {band}: probability of late payment {to} {late / 10:.0f} % (now {p_late / 10:.0f} %), "
        f"{joint} {to} {default / 10:.1f} % (now {p_default / 10:.1f} %)"
    )
    text_de = (
        f"Stufe {NAMES_DE[band]}: Wahrscheinlichkeit verspäteter Zahlung {bis} {late / 10:.0f} % (jetzt {p_late / 10:.0f} %), "
        f"{und} {bis} {default / 10:.1f} % (jetzt {p_default / 10:.1f} %)"
    )
    if not ready and band == "strong":
        text += "; and a first invoice that has come due, bank data or a rating"
        text_de += "; und eine erste fällig gewordene Rechnung, Bankdaten oder eine Bewertung"
    return text, text_de
