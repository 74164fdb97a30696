"""The logistic step that a debtor's row and the learner share: a diagonal Kalman filter, one Gaussian per cell."""

from __future__ import annotations

from math import exp, log

SHARED_PRIORS: dict[str, tuple[float, float]] = {"w": (0.0, 0.2), "gw": (0.0, 0.06), "gx": (0.0, 1.0), "s": (0.5, 0.25)}
"""Family of a shared cell -> mean and variance (log-odds) before any label: due weekday, group x weekday, group x closed day
(score_quality.md 3.2), and a cash-flow shock, whose mean is an assumption (odds of being late x 1.6) that labels correct."""

BIAS_FLOOR = 2e-4
"""The bias never becomes surer than this variance, so that it goes on following the book (score_quality.md 3.2)."""


def sigmoid(z: float) -> float:
    """Log-odds to probability; total (below -30 it is zero for all that we do).

    >>> sigmoid(0.0)
    0.5
    """
    return 1.0 / (1.0 + exp(-z)) if z > -30.0 else 1e-13


def logit(p: float) -> float:
    """Probability to log-odds, for p strictly between 0 and 1."""
    return log(p / (1.0 - p))


def step(z: float, variance: float, label: int) -> tuple[float, float]:
    """``(gain, shrink)`` of one label: every active cell does ``mean += v * gain`` and ``v -= v * v * shrink``.

    ``z`` and ``variance`` are the sums over all active cells. The step is shared by uncertainty, so there is no learning rate.
    """
    q = sigmoid(z)
    curvature = max(q * (1.0 - q), 0.002)
    damping = 1.0 + curvature * variance
    return (label - q) / damping, curvature / damping
