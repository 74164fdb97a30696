"""What the German words of several domains share: stages of a proceeding, and numbers as they are written there."""

from __future__ import annotations

from schemas.events.insolvency import Stage

STAGES_DE: dict[Stage, str] = {
    "petition": "Antrag",
    "preliminary": "vorläufige Maßnahmen",
    "opened": "Verfahren eröffnet",
    "refused": "mangels Masse abgewiesen",
    "reorganisation": "Sanierungsverfahren",
    "plan": "Insolvenzplan",
    "converted": "umgewandelt",
    "closed": "Verfahren beendet",
    "dismissed": "Antrag abgewiesen",
    "cancelled": "zurückgenommen",
    "solvent_winding_up": "Liquidation ohne Insolvenz",
    "none": "keine",
}

_TO_GERMAN = str.maketrans(",.", ".,")


def german(number: str) -> str:
    """A number as it is written in German: a comma before the decimals, points between the thousands.

    >>> german("1,234.50")
    '1.234,50'
    """
    return number.translate(_TO_GERMAN)
