"""What would change the band: the nearest other band, the probabilities that it asks for, and how far off they are."""

from __future__ import annotations

from functools import lru_cache

from agents.debtor.german import german
from agents.debtor.message_structs import struct_for
from agents.score_model import logit
from schemas.outputs.scores import Band, WouldChange

NAMES_DE: dict[Band, str] = {"strong": "stark", "medium": "mittel", "weak": "schwach"}
COARSE, FINE = 1_000, 1_000_000
"""Parts of one in which a text states probabilities: thousandths, so that texts are few; millionths, all that is published."""
MAX_DECIMALS = 4
"""Decimals of a per cent: what is published has no more."""

_WouldChange = struct_for(WouldChange)


def counterfactual(
    band: Band,
    p_late: float,
    p_default: float,
    thresholds: tuple[float, float, float, float],
    *,
    ready: bool,
    p_default_floor: float = 0.0,
) -> WouldChange:
    """The nearest other band and what it asks for.

    ``thresholds``: below the first two (late, default) strong, from the last two on weak, with the margin of hysteresis. A better
    band needs both probabilities below its thresholds; for a strong debtor it is what would make it medium.
    ``p_default_floor``: no payment brings the probability of default below this, for an insolvency is certain.

    >>> counterfactual("medium", 0.71, 0.01, (0.6, 0.03, 0.97, 0.15), ready=True).text
    'Band strong: probability of late payment below 60 % (now 71 %), of default below 3.0 % (now 1.0 %)'
    """
    late_strong, default_strong, late_weak, default_weak = thresholds
    target: Band = "medium" if band != "medium" else "strong"
    late, default = (late_weak, default_weak) if band == "weak" else (late_strong, default_strong)
    distance = 0.0
    if p_late >= late or band == "strong":
        distance = round(_log_odds(late) - _log_odds(p_late), 6)
    insolvent = band != "strong" and p_default_floor >= default
    parts, numbers = COARSE, _in_parts(COARSE, late, p_late, default, p_default)
    if numbers[0] == numbers[1] or numbers[2] == numbers[3]:
        parts, numbers = FINE, _in_parts(FINE, late, p_late, default, p_default)
    text, text_de = _texts(target, band == "strong", ready, insolvent, parts, *numbers)
    return _WouldChange(band=target, p_late=late, p_default=default, log_odds=distance, text=text, text_de=text_de)


def _log_odds(p: float) -> float:
    return logit(min(max(p, 1e-6), 1.0 - 1e-6))


def _in_parts(parts: int, late: float, p_late: float, default: float, p_default: float) -> tuple[int, int, int, int]:
    return round(parts * late), round(parts * p_late), round(parts * default), round(parts * p_default)


@lru_cache(maxsize=16384)
def _texts(
    band: Band, worse: bool, ready: bool, insolvent: bool, parts: int, late: int, p_late: int, default: int, p_default: int
) -> tuple[str, str]:
    """English and German; all probabilities in ``parts`` of one."""
    to, bis = ("from", "ab") if worse else ("below", "unter")
    joint, und = ("or of default", "oder eines Ausfalls") if worse else ("of default", "eines Ausfalls")
    (a, now_a), (b, now_b) = _percentages(late, p_late, parts, 0), _percentages(default, p_default, parts, 1)
    text = f"Band {band}: probability of late payment {to} {a} % (now {now_a} %), {joint} {to} {b} % (now {now_b} %)"
    text_de = (
        f"Stufe {NAMES_DE[band]}: Wahrscheinlichkeit verspäteter Zahlung {bis} {german(a)} % (jetzt {german(now_a)} %), "
        f"{und} {bis} {german(b)} % (jetzt {german(now_b)} %)"
    )
    if insolvent:
        text += "; for that, the insolvency notice would have to be withdrawn or the proceedings closed"
        text_de += "; dafür müsste die Insolvenzbekanntmachung zurückgenommen oder das Verfahren beendet werden"
    if not ready and band == "strong":
        text += "; and a first invoice that has come due, bank data or a rating"
        text_de += "; und eine erste fällig gewordene Rechnung, Bankdaten oder eine Bewertung"
    return text, text_de


def _percentages(threshold: int, now: int, parts: int, decimals: int) -> tuple[str, str]:
    """Threshold and present value in per cent, with as many decimals as tell them apart: "below 55 % (now 55 %)" is no answer.

    >>> _percentages(550, 710, 1000, 0), _percentages(550, 552, 1000, 0), _percentages(25_000, 25_020, 1_000_000, 1)
    (('55', '71'), ('55.0', '55.2'), ('2.500', '2.502'))
    """
    if threshold != now:
        for digits in range(decimals, MAX_DECIMALS + 1):
            texts = f"{100 * threshold / parts:.{digits}f}", f"{100 * now / parts:.{digits}f}"
            if texts[0] != texts[1]:
                return texts
    return f"{100 * threshold / parts:.{decimals}f}", f"{100 * now / parts:.{decimals}f}"
