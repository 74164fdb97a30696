"""What a debtor's row and the learner share: the logistic step of the cells, and the features of the state model."""

from __future__ import annotations

from math import exp, log
from typing import NamedTuple, TypeVar

N = TypeVar("N", int, float)

SHARED_PRIORS: dict[str, tuple[float, float]] = {
    "w": (0.0, 0.2),
    "gw": (0.0, 0.06),
    "gx": (0.0, 1.0),
    "n": (0.0, 0.2),
    "s": (0.5, 0.25),
}
"""Family of a shared cell -> mean and variance (log-odds) before any label: due weekday, group x weekday, group x closed day
(score_quality.md 3.2), a debtor without labels, and a cash-flow shock, whose mean is an assumption (odds of being late x 1.6)
that labels correct."""

NEW_KEY = "n:new"
"""The shared cell of invoices of a debtor without labels."""

DRIFT = 0.0003
"""Per day, this share of its prior variance comes back to what goes out of date: a debtor's cell, what newcomers are like."""

BIAS_FLOOR = 2e-4
"""The bias never becomes surer than this variance, so that it goes on following the book (score_quality.md 3.2)."""

ALL_LATE, ALL_LABELS = 8.0, 20.0
"""What "all" knows before any label: 8 of 20 late (score_quality.md 3.3)."""

UNIT = 32
"""State features are kept as whole numbers of 1/32 from -127 to 127: an eighth of the bytes, and nothing lost that can be
measured (log loss on the development ledger 0.4419 with and without)."""


class Feature(NamedTuple):
    """A state feature: (value - centre) / scale, and its weight before any label. Constants are fixed before the stream (8.8)."""

    name: str
    centre: float = 0.0
    scale: float = 1.0
    weight: float = 0.0
    variance: float = 0.02


FEATURES: tuple[Feature, ...] = (
    Feature("constant", variance=1.0),
    # Late rates as log-odds, each smoothed towards its parent: group, debtor, its last ones, and crossed with what is known.
    Feature("group", -0.6),
    Feature("debtor", -0.6),
    Feature("debtor_lately", -0.6, 1.3),
    Feature("group_weekday", -0.6),
    Feature("debtor_closed_day", -0.6, 1.5),
    Feature("debtor_weekday", -0.6, 1.5),
    Feature("debtor_weekday_lately", -0.6, 1.6),
    Feature("debtor_amount", -0.6, 1.1),
    Feature("debtor_closed_day_amount", -0.6, 1.4),
    Feature("debtor_weekday_amount", -0.6, 1.5),
    Feature("weekday", -0.5, 0.8),
    Feature("closed_day", -0.4, 0.8),
    Feature("all", -0.5, 0.1),
    # The debtor's histogram of days late: shares of due day, day before, 3-4 and 5-7 days before; and their mean.
    Feature("share_due_day", 0.2, 0.2),
    Feature("share_1_before", 0.08, 0.08),
    Feature("share_3_4_before", 0.1, 0.1),
    Feature("share_5_7_before", 0.2, 0.17),
    Feature("mean_days", 0.0, 1.5),
    # ln(1 + labels) of debtor, debtor x weekday, group.
    Feature("labels", 4.0, 2.0),
    Feature("labels_weekday", 3.0, 1.4),
    Feature("labels_group", 4.0, 2.0),
    # Now: ln(1 + days past due), overdue share of what is open.
    Feature("days_past_due", 0.0, 1.2),
    Feature("overdue_share", 0.0, 0.4),
    # What is known from elsewhere; all but the cash flow fade as the debtor's own labels come in (``scoring.dense.FADING``).
    # Weights before any label are assumptions: each raises the log-odds of being late by half where it says "bad".
    Feature("terms", 0.0, 1.0, 0.2, 0.05),
    Feature("rating", 0.0, 1.0, 0.5, 0.1),
    Feature("note", 0.0, 1.0, 0.5, 0.1),
    Feature("shock", 0.0, 1.0, 0.5, 0.1),
    Feature("steady", 0.0, 1.0, -0.2, 0.05),
    # No label of the debtor yet: a book's late rate is that of its regular customers, and who comes once may pay otherwise.
    Feature("new", variance=0.2),
)
"""The state model of score_quality.md 3.3, its order of learning, and what a cold start looks at besides."""

NEW = [f.name for f in FEATURES].index("new")
"""Its place."""

PRIOR_WEIGHTS: tuple[float, ...] = tuple(f.weight for f in FEATURES)


def fitted(numbers: tuple[N, ...], rest: tuple[N, ...]) -> tuple[N, ...]:
    """What another version wrote of its state features, for those of this one: features are only ever appended.

    ``rest``: what stands for those that it did not know yet, one for each of ``FEATURES``.

    >>> fitted((1, 2), (0,) * len(FEATURES)) == (1, 2, *(0,) * (len(FEATURES) - 2))
    True
    """
    return numbers[: len(FEATURES)] + rest[len(numbers) :]


NO_FEATURES = (0,) * len(FEATURES)
"""What stands for features that an example does not know: 0 = nothing said either way."""


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


def share_of_cells(hedge: float) -> float:
    """The weight of the cells beside the state model, on the log-odds scale (score_quality.md 3.5).

    >>> share_of_cells(0.0)
    0.5
    """
    return sigmoid(0.1 * hedge)
