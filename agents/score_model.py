"""What a debtor's row and the learner share: the state features, priors of the shared cells, and the step of one label.

The recipe, with the reasons and what was measured, is ``agents/debtor/scoring/README.md``.
"""

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
"""Family of a shared cell -> mean and variance (log-odds) before any label: due weekday, group x weekday, group x closed day,
a debtor without labels, and a cash-flow shock, whose mean is an assumption (odds of being late x 1.6) that labels correct."""

NEW_KEY = "n:new"
"""The shared cell of invoices of a debtor without labels."""

DRIFT = 0.0003
"""Per day, this share of its prior variance comes back to what goes out of date: a debtor's cell, what newcomers are like."""

BIAS_FLOOR = 2e-4
"""The bias never becomes surer than this variance, so that it goes on following the book."""

ALL_LATE, ALL_LABELS = 8.0, 20.0
"""The late rate of all debtors before any label: 8 of 20 late."""

UNIT = 32
"""State features are kept as whole numbers of 1/32 from -127 to 127: an eighth of the bytes, and nothing lost that can be
measured (log loss on the development ledger 0.4419 with and without)."""


class Feature(NamedTuple):
    """A state feature: (value - centre) / scale, and its weight before any label.

    All four numbers are fixed before the stream, never computed from it: a feature means the same to every label.
    """

    name: str
    centre: float = 0.0
    scale: float = 1.0
    weight: float = 0.0
    variance: float = 0.02


_features: list[Feature] = []


def _feature(name: str, centre: float = 0.0, scale: float = 1.0, *, weight: float = 0.0, variance: float = 0.02) -> int:
    """Append a feature; returns its place in the vector."""
    _features.append(Feature(name, centre, scale, weight, variance))
    return len(_features) - 1


# The vector of the state model. The order is that of what is stored, so features are only ever appended: rows and examples of
# an earlier version are shorter (``align_features``). Each constant is the place of its feature, a plain int for the hot path.
CONSTANT = _feature("constant", variance=1.0)
# Late rates as log-odds, each smoothed towards its parent: group, debtor, its last ones, and crossed with what is known.
GROUP = _feature("group", -0.6)
DEBTOR = _feature("debtor", -0.6)
DEBTOR_RECENT = _feature("debtor_lately", -0.6, 1.3)
GROUP_WEEKDAY = _feature("group_weekday", -0.6)
DEBTOR_CLOSED_DAY = _feature("debtor_closed_day", -0.6, 1.5)
DEBTOR_WEEKDAY = _feature("debtor_weekday", -0.6, 1.5)
DEBTOR_WEEKDAY_RECENT = _feature("debtor_weekday_lately", -0.6, 1.6)
DEBTOR_AMOUNT = _feature("debtor_amount", -0.6, 1.1)
DEBTOR_CLOSED_DAY_AMOUNT = _feature("debtor_closed_day_amount", -0.6, 1.4)
DEBTOR_WEEKDAY_AMOUNT = _feature("debtor_weekday_amount", -0.6, 1.5)
WEEKDAY = _feature("weekday", -0.5, 0.8)
CLOSED_DAY = _feature("closed_day", -0.4, 0.8)
ALL = _feature("all", -0.5, 0.1)
# The debtor's histogram of days late: shares of due day, day before, 3-4 and 5-7 days before; and their mean.
SHARE_DUE_DAY = _feature("share_due_day", 0.2, 0.2)
SHARE_1_BEFORE = _feature("share_1_before", 0.08, 0.08)
SHARE_3_4_BEFORE = _feature("share_3_4_before", 0.1, 0.1)
SHARE_5_7_BEFORE = _feature("share_5_7_before", 0.2, 0.17)
MEAN_DAYS = _feature("mean_days", 0.0, 1.5)
# ln(1 + labels) of debtor, debtor x weekday, group.
LABELS = _feature("labels", 4.0, 2.0)
LABELS_WEEKDAY = _feature("labels_weekday", 3.0, 1.4)
LABELS_GROUP = _feature("labels_group", 4.0, 2.0)
# Now: ln(1 + days past due), overdue share of what is open.
DAYS_PAST_DUE = _feature("days_past_due", 0.0, 1.2)
OVERDUE_SHARE = _feature("overdue_share", 0.0, 0.4)
# What is known from elsewhere; all but the cash flow fade as the debtor's own labels come in (``state_model.FADING``).
# Weights before any label are assumptions: each raises the log-odds of being late by half where it says "bad".
TERMS = _feature("terms", weight=0.2, variance=0.05)
RATING = _feature("rating", weight=0.5, variance=0.1)
NOTE = _feature("note", weight=0.5, variance=0.1)
SHOCK = _feature("shock", weight=0.5, variance=0.1)
STEADY = _feature("steady", weight=-0.2, variance=0.05)
# No label of the debtor yet: a book's late rate is that of its regular customers, and who comes once may pay otherwise.
NEW = _feature("new", variance=0.2)

FEATURES: tuple[Feature, ...] = tuple(_features)
"""The vector of the state model, in its order."""

PRIOR_WEIGHTS: tuple[float, ...] = tuple(f.weight for f in FEATURES)

NO_FEATURES = (0,) * len(FEATURES)
"""What stands for features that an example does not know: 0 = nothing said either way."""


def align_features(numbers: tuple[N, ...], rest: tuple[N, ...]) -> tuple[N, ...]:
    """A vector that another version wrote, as long as ``FEATURES``: features are only ever appended.

    ``rest``: what stands for those that it did not know yet, one for each of ``FEATURES``.

    >>> align_features((1, 2), NO_FEATURES) == (1, 2, *(0,) * (len(FEATURES) - 2))
    True
    """
    return numbers[: len(FEATURES)] + rest[len(numbers) :]


def sigmoid(z: float) -> float:
    """Log-odds to probability; total (below -30 it is zero for all that we do).

    >>> sigmoid(0.0)
    0.5
    """
    return 1.0 / (1.0 + exp(-z)) if z > -30.0 else 1e-13


def logit(p: float) -> float:
    """Probability to log-odds, for p strictly between 0 and 1.

    >>> logit(0.5)
    0.0
    """
    return log(p / (1.0 - p))


def kalman_gain(z: float, variance: float, label: int) -> tuple[float, float]:
    """``(gain, shrink)`` of one label: every active cell does ``mean += v * gain`` and ``v -= v * v * shrink``.

    ``z`` and ``variance`` are the sums over all active cells. The step is shared by uncertainty, so there is no learning rate.

    >>> kalman_gain(0.0, 4.0, 1)
    (0.25, 0.125)
    """
    q = sigmoid(z)
    curvature = max(q * (1.0 - q), 0.002)
    damping = 1.0 + curvature * variance
    return (label - q) / damping, curvature / damping


def share_of_cells(hedge: float) -> float:
    """The weight of the cells beside the state model, on the log-odds scale.

    >>> share_of_cells(0.0)
    0.5
    """
    return sigmoid(0.1 * hedge)
