"""How good were the scores? Ranking and calibration of predictions made before the outcome was known, with intervals.

Exact, over arrays of all predictions. The learner keeps the same figures online, of binned counts (``agents.learner.tallies``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from agents.learner.tallies import ECE_BINS

EPSILON = 1e-12
"""A probability of exactly 0 or 1 that is wrong would cost an infinite log loss."""
RESAMPLES = 400
DRAWS = 200
"""How often labels are drawn to see what chance alone does to the calibration error."""
SEED = 20_190_601
"""Seed of the bootstrap: the same predictions give the same intervals."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of ``labels`` predictions, a share of ``positives`` of which came true; ``auc`` None = all labels are alike."""

    labels: int
    positives: float
    auc: float | None
    log_loss: float
    brier: float
    ece: float
    """Expected calibration error over 20 bins of equal count."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions between ``low`` and ``high``: their mean, and the share that came true."""

    count: int
    low: float
    high: float
    mean_forecast: float
    observed: float

    def interval(self) -> tuple[float, float]:
        """95 % interval of ``observed``, as a share of ``count`` (see ``wilson``)."""
        return wilson(self.observed * self.count, self.count)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and the bounds that hold 95 % of its bootstrap."""

    value: float
    low: float
    high: float


def area_under_curve(labels: Ints, scores: Floats) -> float | None:
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


def log_losses(labels: ArrayLike, scores: ArrayLike) -> Floats:
    """The log loss of each prediction.

    >>> log_losses([1, 0], [0.5, 0.5]).round(4).tolist()
    [0.6931, 0.6931]
    """
    clipped = np.clip(np.asarray(scores, dtype=np.float64), EPSILON, 1 - EPSILON)
    return -np.where(np.asarray(labels) == 1, np.log(clipped), np.log1p(-clipped))


def quality(labels: Sequence[int] | Ints, scores: Sequence[float] | Floats) -> Quality | None:
    """All figures of some predictions; None = there are none."""
    if not len(labels):
        return None
    y = np.asarray(labels, dtype=np.int_)
    p = np.asarray(scores, dtype=np.float64)
    error = sum(b.count * abs(b.mean_forecast - b.observed) for b in reliability(y, p, ECE_BINS)) / len(y)
    return Quality(
        labels=len(y),
        positives=round(float(y.mean()), 6),
        auc=None if (auc := area_under_curve(y, p)) is None else round(auc, 6),
        log_loss=round(float(log_losses(y, p).mean()), 6),
        brier=round(float(np.mean((p - y) ** 2)), 6),
        ece=round(float(error), 6),
    )


@dataclass(frozen=True, slots=True)
class Chance:
    """What chance alone does to a figure: its mean, and what it stays below in 95 of 100 cases.

    ``alike`` is the correlation of siblings that was assumed.
    """

    mean: float
    below: float
    alike: float


def ece_if_calibrated(scores: Floats, siblings: Ints | None = None, correlation: float = 0.0) -> Chance:
    """The calibration error of a perfectly calibrated forecaster: with labels that are drawn from the predictions themselves.

    Bins of few labels are never met exactly, so an error near this is no fault of the forecaster. ``siblings``: a number per
    score, the same for those whose outcomes go together, with this ``correlation``.

    >>> round(ece_if_calibrated(np.full(2_000, 0.3)).mean, 2)
    0.04
    >>> round(ece_if_calibrated(np.full(2_000, 0.3), np.arange(2_000) // 4, 1.0).mean, 2)
    0.07
    """
    order = np.argsort(scores, kind="stable")
    p = np.asarray(scores, dtype=np.float64)[order]
    own = np.arange(len(p)) if siblings is None else np.unique(siblings, return_inverse=True)[1][order]
    starts = np.cumsum([0, *(len(part) for part in np.array_split(p, ECE_BINS) if len(part))])[:-1]
    expected = np.add.reduceat(p, starts)
    rng = np.random.default_rng(SEED)

    def error() -> float:
        # Two siblings share one draw with the probability ``correlation``; each by itself comes out as its score says.
        luck = np.where(rng.random(len(p)) < np.sqrt(correlation), rng.random(len(p))[own], rng.random(len(p)))
        return float(np.abs(np.add.reduceat((luck < p).astype(np.float64), starts) - expected).sum() / len(p))

    errors = np.array([error() for _ in range(DRAWS)])
    return Chance(round(float(errors.mean()), 6), round(float(np.quantile(errors, 0.95)), 6), round(correlation, 3))


def sibling_correlation(labels: Ints, scores: Floats, siblings: Ints) -> float:
    """How far the outcomes of siblings go together beyond what their scores say, from 0 to 1: the mean over all pairs.

    >>> sibling_correlation(np.array([1, 1, 0, 0]), np.full(4, 0.5), np.array([0, 0, 1, 1]))
    1.0
    """
    off, noise = labels - scores, np.sqrt(scores * (1.0 - scores))
    _, own = np.unique(siblings, return_inverse=True)
    observed = (np.bincount(own, off) ** 2).sum() - (off**2).sum()
    largest = (np.bincount(own, noise) ** 2).sum() - (noise**2).sum()
    return float(np.clip(observed / largest, 0.0, 1.0)) if largest > 0 else 0.0


def reliability(labels: Sequence[int] | Ints, scores: Sequence[float] | Floats, bins: int = 10) -> list[Bin]:
    """Bins of equal count, from the smallest prediction to the largest."""
    y = np.asarray(labels, dtype=np.float64)
    p = np.asarray(scores, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    return [
        Bin(len(part), float(p[part].min()), float(p[part].max()), float(p[part].mean()), float(y[part].mean()))
        for part in np.array_split(order, bins)
        if len(part)
    ]


def wilson(hits: float, count: float, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): never outside 0 to 1, and honest for few and for rare.

    >>> [round(end, 3) for end in wilson(0, 10)]
    [0.0, 0.278]
    """
    if count <= 0:
        return 0.0, 1.0
    share, width = hits / count, z * z / count
    middle = (share + width / 2) / (1 + width)
    half = z * float(np.sqrt(share * (1 - share) / count + width / (4 * count))) / (1 + width)
    return max(0.0, middle - half), min(1.0, middle + half)


def roc(labels: Ints, scores: Floats, max_points: int = 240) -> list[tuple[float, float]]:
    """(share of negatives, share of positives) at or above each threshold, falling; about ``max_points`` at most.

    >>> roc(np.array([0, 1]), np.array([0.2, 0.8]))
    [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    """
    hits, alarms = _above(labels, scores)
    points = np.column_stack((alarms - hits, hits)) / np.array([max(len(labels) - labels.sum(), 1), max(labels.sum(), 1)])
    return [(0.0, 0.0), *((float(a), float(b)) for a, b in points[_thinned(len(points), max_points)])]


def precision_recall(labels: Ints, scores: Floats, max_points: int = 240) -> list[tuple[float, float]]:
    """(recall, precision) at each threshold, falling; about ``max_points`` at most.

    >>> precision_recall(np.array([0, 1]), np.array([0.2, 0.8]))
    [(1.0, 1.0), (1.0, 0.5)]
    """
    hits, alarms = _above(labels, scores)
    points = np.column_stack((hits / max(labels.sum(), 1), hits / alarms))
    return [(float(a), float(b)) for a, b in points[_thinned(len(points), max_points)]]


def _above(labels: Ints, scores: Floats) -> tuple[Floats, Floats]:
    """How many positives, and how many in all, have a score of at least each distinct score, from the highest on."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits: Floats = np.cumsum(labels[order]).astype(np.float64)[ends]
    return hits, (ends + 1).astype(np.float64)


def _thinned(count: int, max_points: int) -> Ints:
    return np.unique(np.linspace(0, count - 1, min(count, max_points)).astype(np.int_))


class Bootstrap:
    """A bootstrap over whole blocks (issue weeks, debtors), because outcomes within a block go together. Deterministic."""

    def __init__(self, blocks: Sequence[object] | NDArray[np.generic], resamples: int = RESAMPLES) -> None:
        _, self._block = np.unique(np.asarray(blocks), return_inverse=True)
        count = int(self._block.max()) + 1 if len(self._block) else 0
        rng = np.random.default_rng(SEED)
        counts = rng.multinomial(count, np.full(count, 1 / count), size=resamples) if count else np.zeros((resamples, 0))
        self._weights: Floats = counts.astype(np.float64)

    def mean(self, values: Floats) -> Interval:
        """The interval of the mean of ``values``, one per row."""
        blocks = self._weights.shape[1]
        sums = np.bincount(self._block, values, blocks)
        counts = np.bincount(self._block, minlength=blocks).astype(np.float64)
        return _interval(float(values.mean()), (self._weights @ sums) / np.maximum(self._weights @ counts, 1e-9))

    def median(self, values: Floats) -> Interval:
        """The interval of the median of ``values``, one per block."""
        order = np.argsort(values, kind="stable")
        cumulated = np.cumsum(self._weights[:, self._block[order]], axis=1)
        medians = values[order][np.argmax(cumulated >= cumulated[:, -1:] / 2, axis=1)]
        return _interval(float(np.median(values)), medians)

    def auc(self, labels: Ints, scores: Floats) -> Interval | None:
        """The interval of the area under the curve; None when all labels are alike."""
        area = area_under_curve(labels, scores)
        return None if area is None else _interval(area, self._aucs(labels, scores))

    def auc_difference(self, labels: Ints, own_scores: Floats, other: Floats) -> Interval | None:
        """The interval of one scorer's area less another's, over the same resamples."""
        a, b = area_under_curve(labels, own_scores), area_under_curve(labels, other)
        return None if a is None or b is None else _interval(a - b, self._aucs(labels, own_scores) - self._aucs(labels, other))

    def auc_ratio(self, labels: Ints, own_scores: Floats, other: Floats) -> Interval | None:
        """The interval of one scorer's area divided by another's, over the same resamples."""
        a, b = area_under_curve(labels, own_scores), area_under_curve(labels, other)
        if not a or not b:
            return None
        below = self._aucs(labels, other)
        below[below == 0.0] = np.nan  # a resample in which the other had everything wrong says nothing of a ratio
        return _interval(a / b, self._aucs(labels, own_scores) / below)

    def _aucs(self, labels: Ints, scores: Floats) -> Floats:
        """The area of each resample; NaN where it drew labels of one kind only."""
        order = np.argsort(scores, kind="stable")
        y, block = labels[order].astype(np.float64), self._block[order]
        starts = np.concatenate(([0], np.flatnonzero(np.diff(scores[order])) + 1))
        area = np.full(len(self._weights), np.nan)
        for i, weights in enumerate(self._weights):
            w = weights[block]
            good, bad = np.add.reduceat(w * (1 - y), starts), np.add.reduceat(w * y, starts)
            pairs = good.sum() * bad.sum()
            if pairs:
                area[i] = float((bad * (np.cumsum(good) - good / 2)).sum() / pairs)
        return area


def _interval(value: float, resampled: Floats) -> Interval:
    low, high = np.nanpercentile(resampled, [2.5, 97.5]) if np.isfinite(resampled).any() else (value, value)
    return Interval(value, float(low), float(high))
