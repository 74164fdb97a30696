"""Topic ``model-quality``: how good each scorer is on what matures, and when the model's owner should look."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import BusinessDate, Contract, Id, Label, Probability, Text
from schemas.events.models import Scorer

QualityScorer = Literal["published", "hedge", "cells", "state", "late_rate", "river"]
"""``published``: what was said when the invoice was issued, whoever was in force. The others as they are on the morning that the
label matures, before they learn it: the learned model and its two halves, the debtor's late rate, river's logistic regression."""


class ModelMeasured(Contract):
    """One scorer on the labels of one segment that matured in the ``window_days`` days up to ``day``, each judged before learned.

    ``segment``: ``all``, ``cold`` (fewer than 5 labels of the debtor), ``warm``, or ``group:`` and a group. A day is measured
    when the first label of a later day comes, and again if more of its own labels come after that: the larger ``labels`` counts.
    """

    target: Literal["late"]
    segment: Label
    scorer: QualityScorer
    in_force: Scorer
    """Who scored on that day."""
    day: BusinessDate
    window_days: int = Field(ge=1)
    labels: int = Field(ge=1)
    positives: int = Field(ge=0)
    auc: Probability | None
    """Computed over 64 bins of log-odds; null when all labels are alike."""
    log_loss: float = Field(ge=0.0)
    brier: float = Field(ge=0.0)
    ece: Probability
    """Expected calibration error over at most 20 bins of about equal count."""
    model_version: Label
    code_version: Id


class ModelAlerted(Contract):
    """For the model's owner. ``drift``: the published scores are wrong more often than they say, and were not before.

    ``fallback``: the learned model was worse than the late rate for ``window_days``, which is in force from here on;
    ``recovered``: it has been better for as long, and is in force again.
    """

    alert_type: Literal["drift", "fallback", "recovered"]
    target: Literal["late"]
    in_force: Scorer
    """Who scores from here on."""
    day: BusinessDate
    window_days: int = Field(ge=1)
    labels: int = Field(ge=0)
    log_loss: float | None = None
    """The log loss of the learned model over the window."""
    late_rate_log_loss: float | None = None
    text: Text
    recommended_action: Text
    model_version: Label
    code_version: Id
