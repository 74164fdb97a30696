"""How good were the scores? Ranking, calibration and their sizes, of predictions made before the outcome was known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

EPSILON = 1e-12  # a probability of exactly 0 or 1 that is wrong would cost an infinite log loss


@dataclass(frozen=True, slots=True)
class Quality:
    """Of ``labels`` predictions with a share of ``positives``. ``auc`` is None when all labels are alike."""

    labels: int
    positives: float
    auc: float | None
    log_loss: float
    brier: float
    ece: float
    """Expected calibration error over 20 bins of equal count."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of one size: what was said on average, and how often it came true."""

    count: int
    low: float
    high: float
    said: float
    came: float


def area_under_curve(labels: NDArray[np.int_], scores: NDArray[np.float64]) -> float | None:
    """Probability that a positive is ranked above a negative, ties counting half (Mann-Whitney).

    >>> area_under_curve(np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.4, 0.9]))
    0.875
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    ranks = rankdata(scores)
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def quality(labels: Sequence[int], scores: Sequence[float]) -> Quality | None:
    """All figures at once, or None when there is nothing to judge."""
    if not labels:
        return None
    y = np.asarray(labels, dtype=np.int_)
    p = np.asarray(scores, dtype=np.float64)
    clipped = np.clip(p, EPSILON, 1 - EPSILON)
    error = sum(b.count * abs(b.said - b.came) for b in reliability(labels, scores, 20)) / len(y)
    return Quality(
        labels=len(y),
        positives=round(float(y.mean()), 6),
        auc=None if (auc := area_under_curve(y, p)) is None else round(auc, 6),
        log_loss=round(float(-np.mean(np.where(y == 1, np.log(clipped), np.log1p(-clipped)))), 6),
        brier=round(float(np.mean((p - y) ** 2)), 6),
        ece=round(float(error), 6),
    )


def reliability(labels: Sequence[int], scores: Sequence[float], bins: int = 10) -> list[Bin]:
    """Bins of equal count, from the smallest prediction to the largest."""
    y = np.asarray(labels, dtype=np.float64)
    p = np.asarray(scores, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    return [
        Bin(len(part), float(p[part].min()), float(p[part].max()), float(p[part].mean()), float(y[part].mean()))
        for part in np.array_split(order, bins)
        if len(part)
    ]
