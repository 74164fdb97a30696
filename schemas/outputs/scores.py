"""Topic ``scores``: of an invoice when it is issued, of a debtor when its usual next invoice would be scored otherwise."""

from __future__ import annotations

from typing import Literal

from schemas.base import Amount, BusinessDate, Currency, Id, Instant, Probability
from schemas.outputs.common import Decided, Reason

Band = Literal["strong", "medium", "weak"]
"""How good a debtor is: strong = accept, medium = limited with security, weak = decline or prepayment."""


class ScoreComputed(Decided):
    """``p_late``: not settled at the end of the due day. ``p_default``: 90 days past due, written off or insolvent.

    ``ready`` is false where both are the prior because nothing is known yet. ``expected_loss`` = p_default x open amount x
    loss given default, in ``currency``. ``invoice_id`` is null for the debtor's own score.
    """

    invoice_id: Id | None
    p_late: Probability
    p_default: Probability
    ready: bool
    expected_loss: Amount | None
    currency: Currency | None
    band: Band
    reasons: tuple[Reason, ...]
    due_date: BusinessDate | None = None
    scored_at: Instant
