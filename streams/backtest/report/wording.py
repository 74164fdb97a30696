"""Sentences whose words depend on how many there are, and what is said of a ledger that is too small to judge by."""

from __future__ import annotations

from collections.abc import Sequence

FEW_JUDGED = 200
"""With fewer judged invoices than this the figures are mostly chance: of 200 forecasts that are right the ECE is above 0.12 in
one case of twenty, which is more than most scorers are off."""


def counted(count: float, one: str, many: str = "") -> str:
    """A number and its noun.

    >>> counted(1, "day"), counted(2, "day"), counted(1_000, "debtor")
    ('1 day', '2 days', '1,000 debtors')
    """
    text = f"{count:,.0f}"
    return f"{text} {one if text == '1' else many or f'{one}s'}"


def days_late(days: int | None) -> str:
    """When it was paid, against the due day; None = it was not.

    >>> days_late(1), days_late(-2), days_late(0), days_late(None)
    ('1 day late', '2 days early', 'on the day', 'still open')
    """
    if days is None:
        return "still open"
    return f"{counted(abs(days), 'day')} {'late' if days > 0 else 'early'}" if days else "on the day"


def standing(better: int, worse: int, rivals: int) -> str:
    """How many challengers lie behind and how many ahead, beyond chance.

    >>> standing(4, 0, 4)
    'Of 4 challengers duewatch is better than all beyond chance'
    >>> standing(2, 1, 4)
    'Of 4 challengers duewatch is better than 2 and worse than 1 beyond chance'
    >>> standing(0, 0, 4)
    'Against none of the 4 challengers is duewatch better or worse beyond chance'
    >>> standing(1, 0, 1)
    'Duewatch is better than the one challenger beyond chance'
    """
    if rivals == 1:
        how = "better than" if better else "worse than" if worse else "neither better nor worse than"
        return f"Duewatch is {how} the one challenger beyond chance"
    parts = [f"{how} than {'all' if n == rivals else n}" for how, n in (("better", better), ("worse", worse)) if n]
    if not parts:
        return f"Against none of the {rivals} challengers is duewatch better or worse beyond chance"
    return f"Of {rivals} challengers duewatch is {' and '.join(parts)} beyond chance"


def parts_off(off: Sequence[str], parts: int) -> str:
    """Which parts of the book the score is wrong on beyond chance; the first three by name.

    >>> parts_off([], 7)
    'In each of the 7 parts of the book the score keeps its word'
    >>> parts_off([], 1)
    'In the one part of the book with enough invoices the score keeps its word'
    >>> parts_off(["size a", "size b"], 7)
    'In 2 of 7 parts of the book the score is off beyond chance (size a, size b)'
    """
    if not off:
        where = "the one part of the book with enough invoices" if parts == 1 else f"each of the {parts} parts of the book"
        return f"In {where} the score keeps its word"
    names = f"({', '.join(off[:3])}{' ...' if len(off) > 3 else ''})"
    where = "the one part of the book with enough invoices" if parts == 1 else f"{len(off)} of {parts} parts of the book"
    return f"In {where} the score is off beyond chance {names}"


def too_few(judged: int) -> str:
    """What has to be said before any figure of a small ledger; nothing where there is enough, or nothing at all.

    >>> too_few(60)[:36], too_few(FEW_JUDGED), too_few(0)
    ('Only 60 invoices could be judged. Wi', '', '')
    """
    if not 0 < judged < FEW_JUDGED:
        return ""
    return (
        f"Only {counted(judged, 'invoice')} could be judged. With fewer than {FEW_JUDGED} the figures are mostly chance: neither "
        "the calibration error (ECE) nor the order of the scorers means anything yet. A longer ledger would tell more."
    )
