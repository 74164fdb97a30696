"""Sentences of the report whose words depend on how many there are, and the warning where a ledger is too small to judge by."""

from __future__ import annotations

from collections.abc import Sequence

MIN_JUDGED = 200
"""With fewer judged invoices than this the figures are mostly chance: of 200 perfectly calibrated forecasts the ECE is above 0.12
in one case of twenty, which is more than most scorers are off."""


def count_of(count: float, singular: str, plural: str = "") -> str:
    """A number and its noun.

    >>> count_of(1, "day"), count_of(2, "day"), count_of(1_000, "debtor")
    ('1 day', '2 days', '1,000 debtors')
    """
    text = f"{count:,.0f}"
    return f"{text} {singular if text == '1' else plural or f'{singular}s'}"


def days_late(days: int | None) -> str:
    """When an invoice was paid, relative to its due day; None = it was not.

    >>> days_late(1), days_late(-2), days_late(0), days_late(None)
    ('1 day late', '2 days early', 'on the day', 'still open')
    """
    if days is None:
        return "still open"
    return f"{count_of(abs(days), 'day')} {'late' if days > 0 else 'early'}" if days else "on the day"


def comparison(better: int, worse: int, rivals: int) -> str:
    """How many challengers lie behind and how many ahead, beyond chance.

    >>> comparison(4, 0, 4)
    'Of 4 challengers duewatch is better than all beyond chance'
    >>> comparison(2, 1, 4)
    'Of 4 challengers duewatch is better than 2 and worse than 1 beyond chance'
    >>> comparison(0, 0, 4)
    'Against none of the 4 challengers is duewatch better or worse beyond chance'
    >>> comparison(1, 0, 1)
    'Duewatch is better than the one challenger beyond chance'
    """
    if rivals == 1:
        how = "better than" if better else "worse than" if worse else "neither better nor worse than"
        return f"Duewatch is {how} the one challenger beyond chance"
    parts = [f"{how} than {'all' if n == rivals else n}" for how, n in (("better", better), ("worse", worse)) if n]
    if not parts:
        return f"Against none of the {rivals} challengers is duewatch better or worse beyond chance"
    return f"Of {rivals} challengers duewatch is {' and '.join(parts)} beyond chance"


def miscalibrated_parts(miscalibrated: Sequence[str], parts: int) -> str:
    """On which parts of the book the score is off beyond chance; the first three by name.

    >>> miscalibrated_parts([], 7)
    'In each of the 7 parts of the book the score keeps its word'
    >>> miscalibrated_parts([], 1)
    'In the one part of the book with enough invoices the score keeps its word'
    >>> miscalibrated_parts(["size a", "size b"], 7)
    'In 2 of 7 parts of the book the score is off beyond chance (size a, size b)'
    """
    if not miscalibrated:
        where = "the one part of the book with enough invoices" if parts == 1 else f"each of the {parts} parts of the book"
        return f"In {where} the score keeps its word"
    names = f"({', '.join(miscalibrated[:3])}{' ...' if len(miscalibrated) > 3 else ''})"
    where = (
        "the one part of the book with enough invoices" if parts == 1 else f"{len(miscalibrated)} of {parts} parts of the book"
    )
    return f"In {where} the score is off beyond chance {names}"


def small_sample_warning(judged: int) -> str:
    """The sentence before the figures of a ledger with too few invoices; empty where there are enough, or none at all.

    >>> small_sample_warning(60)[:36], small_sample_warning(MIN_JUDGED), small_sample_warning(0)
    ('Only 60 invoices could be judged. Wi', '', '')
    """
    if not 0 < judged < MIN_JUDGED:
        return ""
    return (
        f"Only {count_of(judged, 'invoice')} could be judged. With fewer than {MIN_JUDGED} the figures are mostly chance: "
        "neither the calibration error (ECE) nor the order of the scorers means anything yet. A longer ledger would tell more."
    )
