"""What would change the band: the nearest other band, the probabilities that it asks for, and how far off they are."""

from __future__ import annotations

from functools import lru_cache

from agents.debtor.german import german
from agents.debtor.message_structs import struct_for
from agents.score_model import logit
from schemas.outputs.scores import Band, WouldChange

NAMES_DE: dict[Band, str] = {"strong": "stark", "medium": "mittel", "weak": "schwach"}
COARSE, FINE = 1_000, 1_000_000
"""Parts of one in which the words count: thousandths, which keeps the texts few; millionths, which is all that is published."""
MOST_DECIMALS = 4
"""Of a per cent: what is published has no more."""

_WouldChange = struct_for(WouldChange)


def otherwise(
    band: Band,
    p_late: float,
    p_default: float,
    thresholds: tuple[float, float, float, float],
    *,
    ready: bool,
    least_default: float = 0.0,
) -> WouldChange:
    """``thresholds``: below the first two (late, default) strong, from the last two on weak, with the margin of hysteresis.

    A better band needs both probabilities below its thresholds; a strong debtor is told what would make it medium.
    ``least_default``: below this no payment brings the probability of default, for an insolvency is certain.

    >>> otherwise("medium", 0.71, 0.01, (0.6, 0.03, 0.97, 0.15), ready=True).text
    'Band strong: probability of late payment below 60 % (now 71 %), of default below 3.0 % (now 1.0 %)'
    """
    late_strong, default_strong, late_weak, default_weak = thresholds
    other: Band = "medium" if band != "medium" else "strong"
    late, default = (late_weak, default_weak) if band == "weak" else (late_strong, default_strong)
    by = 0.0
    if p_late >= late or band == "strong":
        by = round(_log_odds(late) - _log_odds(p_late), 6)
    insolvent = band != "strong" and least_default >= default
    numbers = _counted(COARSE, late, p_late, default, p_default)
    if numbers[0] == numbers[1] or numbers[2] == numbers[3]:
        text, text_de = _words(other, band == "strong", ready, insolvent, FINE, *_counted(FINE, late, p_late, default, p_default))
    else:
        text, text_de = _words(other, band == "strong", ready, insolvent, COARSE, *numbers)
    return _WouldChange(band=other, p_late=late, p_default=default, log_odds=by, text=text, text_de=text_de)


def _log_odds(p: float) -> float:
    return logit(min(max(p, 1e-6), 1.0 - 1e-6))


def _counted(parts: int, late: float, p_late: float, default: float, p_default: float) -> tuple[int, int, int, int]:
    return round(parts * late), round(parts * p_late), round(parts * default), round(parts * p_default)


@lru_cache(maxsize=16384)
def _words(
    band: Band, worse: bool, ready: bool, insolvent: bool, parts: int, late: int, p_late: int, default: int, p_default: int
) -> tuple[str, str]:
    """All probabilities in ``parts`` of one."""
    to, bis = ("from", "ab") if worse else ("below", "unter")
    joint, und = ("or of default", "oder eines Ausfalls") if worse else ("of default", "eines Ausfalls")
    (a, now_a), (b, now_b) = _told_apart(late, p_late, parts, 0), _told_apart(default, p_default, parts, 1)
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


def _told_apart(wanted: int, now: int, parts: int, decimals: int) -> tuple[str, str]:
    """Both in per cent, with as many decimals as it takes that they do not read alike: "below 55 % (now 55 %)" is no answer.

    >>> _told_apart(550, 710, 1000, 0), _told_apart(550, 552, 1000, 0), _told_apart(25_000, 25_020, 1_000_000, 1)
    (('55', '71'), ('55.0', '55.2'), ('2.500', '2.502'))
    """
    if wanted != now:
        for more in range(decimals, MOST_DECIMALS + 1):
            texts = f"{100 * wanted / parts:.{more}f}", f"{100 * now / parts:.{more}f}"
            if texts[0] != texts[1]:
                return texts
    return f"{100 * wanted / parts:.{decimals}f}", f"{100 * now / parts:.{decimals}f}"
