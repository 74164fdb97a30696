"""What river brings to the monitor: a challenger (its logistic regression) and a drift detector (Page-Hinkley), as numbers.

Both are kept as JSON that a person can read and built again from it, bit for bit: no pickle. They hold what river's own objects
hold (river 0.26), which tests compare after thousands of labels.
"""

from __future__ import annotations

from math import inf
from typing import Any

from msgspec import Struct

LEARNING_RATE = 0.003
"""Of the plain SGD: what served best on the development ledger."""
WARM_UP_LABELS, SLACK, THRESHOLD = 500, 0.02, 75.0
"""Page-Hinkley on the excess loss of a label: labels before it may alarm, what is tolerated per label, what it must add up to."""


class Challenger(Struct, frozen=True, omit_defaults=True):
    """The numbers of a standard scaler and a logistic regression over features 0, 1, 2 ..., in their order."""

    labels: int = 0
    intercept: float = 0.0
    weights: tuple[float, ...] = ()
    means: tuple[float, ...] = ()
    variances: tuple[float, ...] = ()


class Drift(
    Struct,
    frozen=True,
    omit_defaults=True,
    rename={"sum_increase": "risen", "sum_decrease": "fallen", "min_increase": "least", "max_decrease": "most"},
):
    """The numbers of a Page-Hinkley detector. ``min_increase`` is None before the first label (river says infinity)."""

    labels: int = 0
    mean: float = 0.0
    sum_increase: float = 0.0
    sum_decrease: float = 0.0
    min_increase: float | None = None
    max_decrease: float = -1.0
    detected: bool = False


class LiveChallenger:
    """A river pipeline, built from its numbers."""

    def __init__(self, numbers: Challenger) -> None:
        from river import linear_model, optim, preprocessing

        self._scaler: Any = preprocessing.StandardScaler()
        self._model: Any = linear_model.LogisticRegression(optimizer=optim.SGD(LEARNING_RATE))
        self._labels = numbers.labels
        if numbers.labels:
            names = range(len(numbers.weights))
            self._scaler.counts.update(dict.fromkeys(names, numbers.labels))
            self._scaler.means.update(dict(zip(names, numbers.means, strict=True)))
            self._scaler.vars.update(dict(zip(names, numbers.variances, strict=True)))
            for i, weight in enumerate(numbers.weights):
                self._model._weights[i] = weight  # noqa: SLF001 - river has no other way in
            self._model.intercept = numbers.intercept
            self._model.optimizer.n_iterations = numbers.labels

    def predict_and_learn(self, x: tuple[float, ...], label: int) -> float:
        """The probability of being late, before the label is learned."""
        row: dict[Any, float] = dict(enumerate(x))
        p_late = float(self._model.predict_proba_one(self._scaler.transform_one(row)).get(True, 0.5))
        self._scaler.learn_one(row)
        self._model.learn_one(self._scaler.transform_one(row), bool(label))
        self._labels += 1
        return p_late

    def numbers(self) -> Challenger:
        """The numbers from which the same can be built."""
        weights = self._model._weights  # noqa: SLF001 - the same
        names = range(len(weights))
        return Challenger(
            self._labels,
            float(self._model.intercept),
            tuple(float(weights[i]) for i in names),
            tuple(float(self._scaler.means[i]) for i in names),
            tuple(float(self._scaler.vars[i]) for i in names),
        )


class LiveDrift:
    """A river drift detector, built from its numbers."""

    def __init__(self, numbers: Drift) -> None:
        from river import drift, stats

        self._detector: Any = drift.PageHinkley(
            min_instances=WARM_UP_LABELS, delta=SLACK, threshold=THRESHOLD, alpha=1.0, mode="up"
        )
        detector: Any = self._detector
        detector._x_mean = stats.Mean._from_state(float(numbers.labels), numbers.mean)  # noqa: SLF001 - river has no other way in
        detector._sum_increase, detector._sum_decrease = numbers.sum_increase, numbers.sum_decrease  # noqa: SLF001
        detector._min_increase = inf if numbers.min_increase is None else numbers.min_increase  # noqa: SLF001
        detector._max_decrease = numbers.max_decrease  # noqa: SLF001
        detector._drift_detected = numbers.detected  # noqa: SLF001

    def update(self, value: float) -> bool:
        """Whether this value makes it a drift; after one the detector starts again."""
        self._detector.update(value)
        return bool(self._detector.drift_detected)

    def numbers(self) -> Drift:
        """The numbers from which the same can be built."""
        d = self._detector
        min_increase = d._min_increase  # noqa: SLF001
        return Drift(
            int(d._x_mean.n),  # noqa: SLF001
            float(d._x_mean.get()),  # noqa: SLF001
            float(d._sum_increase),  # noqa: SLF001
            float(d._sum_decrease),  # noqa: SLF001
            None if min_increase == inf else float(min_increase),
            float(d._max_decrease),  # noqa: SLF001
            bool(d.drift_detected),
        )
