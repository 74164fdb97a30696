"""Topic ``scores``: of an invoice when it is issued, of a debtor when its usual next invoice would get another score."""

from __future__ import annotations

from typing import Literal

from schemas.base import Amount, BusinessDate, Contract, Currency, Id, Instant, Probability, Text
from schemas.events.models import Scorer
from schemas.outputs.common import Decided, Reason

Band = Literal["strong", "medium", "weak"]
"""How good a debtor is: strong = accept, medium = limited with security, weak = decline or prepayment."""


class WouldChange(Contract):
    """What would put a debtor into another band: the next better one, or for ``strong`` the next worse one."""

    band: Band
    p_late: Probability
    """A better band asks for less than this, ..."""
    p_default: Probability
    """... and for less than this; a worse one begins at either."""
    log_odds: float
    """By how much the log-odds of being late would have to change for that band; 0 where p_late fits already."""
    text: Text
    text_de: Text


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
    log_odds: float | None = None
    """The log-odds of being late that the contributions of the learned reasons add up to, cells and state model already mixed."""
    lift: float = 0.0
    """What a certain insolvency adds to ``log_odds`` (the contribution of its reason); p_late is the logistic of the sum."""
    p_late_30: Probability | None = None
    """P(more than 30 days late) of the invoice, or of the debtor's usual next one."""
    expected_paid_on: BusinessDate | None = None
    """The day by which it is paid with even odds; the day after 90 days past due stands for "later, or never"."""
    paid_from: BusinessDate | None = None
    """By this day it is paid with a probability of 10 %, ..."""
    paid_to: BusinessDate | None = None
    """... by this one with 90 %."""
    loss_given_default: Probability | None = None
    """The share of a defaulted amount that is lost, as ``expected_loss`` takes it."""
    would_change: WouldChange | None = None
    scorer: Scorer = "hedge"
    """``hedge``: the learned model; ``late_rate``: the debtor's plain late rate, because the model was worse."""
