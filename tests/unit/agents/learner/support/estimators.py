"""The learners as river estimators, so that river's metrics, pipelines and model selection work on them.

They run the functions that the system runs (``agents.score_model``, ``agents.learner.decide``); the system itself needs no river.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from river import base

from agents.learner.decide import kalman_step, update_hedge, weigh
from agents.learner.state import FloatArray
from agents.score_model import BIAS_FLOOR, SHARED_PRIORS, kalman_gain, share_of_cells, sigmoid


class _Binary(base.Classifier):
    """Tells True from False by log-odds."""

    def log_odds(self, x: dict[base.typing.FeatureName, Any]) -> float:
        """Of True."""
        raise NotImplementedError

    def predict_proba_one(self, x: dict[base.typing.FeatureName, Any], **_: Any) -> dict[base.typing.ClfTarget, float]:
        p = sigmoid(self.log_odds(x))
        return {False: 1.0 - p, True: p}


class CellsClassifier(_Binary):
    """One Gaussian weight per value of each feature: a diagonal Kalman filter on the logistic likelihood.

    Parameters
    ----------
    variance
        Of a cell before any label, where the feature is no family of shared cells (``agents.score_model.SHARED_PRIORS``).

    Examples
    --------
    >>> model = CellsClassifier()
    >>> for weekday, late in [(4, True), (4, True), (1, False)]:
    ...     model.learn_one({"w": weekday}, late)
    >>> model.predict_proba_one({"w": 4})[True] > model.predict_proba_one({"w": 1})[True]
    True

    """

    def __init__(self, variance: float = 0.2) -> None:
        self.variance = variance
        self.bias, self.bias_variance = 0.0, 1.0
        self.cells: dict[tuple[Any, Any], tuple[float, float]] = {}

    def _cell(self, name: Any, value: Any) -> tuple[float, float]:
        return self.cells.get((name, value)) or SHARED_PRIORS.get(name) or (0.0, self.variance)

    def log_odds(self, x: dict[base.typing.FeatureName, Any]) -> float:
        return sum([self._cell(name, value)[0] for name, value in x.items()], self.bias)

    def learn_one(self, x: dict[base.typing.FeatureName, Any], y: base.typing.ClfTarget, **_: Any) -> None:
        known = [(key, self._cell(*key)) for key in x.items()]
        gain, shrink = kalman_gain(self.log_odds(x), sum([v for _, (_, v) in known], self.bias_variance), int(bool(y)))
        for key, (m, v) in known:
            self.cells[key] = (m + v * gain, v - v * v * shrink)
        v = self.bias_variance
        self.bias, self.bias_variance = self.bias + v * gain, max(v - v * v * shrink, BIAS_FLOOR)


class DenseClassifier(_Binary):
    """FloatArray as features, a full covariance: an extended Kalman filter on the logistic likelihood.

    Parameters
    ----------
    variance
        Of a weight before any label.

    Examples
    --------
    >>> model = DenseClassifier()
    >>> for rate, late in [(1.5, True), (2.0, True), (-1.0, False)]:
    ...     model.learn_one({"debtor": rate}, late)
    >>> model.predict_proba_one({"debtor": 2.0})[True] > 0.5
    True

    """

    def __init__(self, variance: float = 0.02) -> None:
        self.variance = variance
        self.names: dict[Any, int] = {}
        self.weights: FloatArray = np.zeros(1)
        self.covariance: FloatArray = np.eye(1)

    def _vector(self, x: dict[base.typing.FeatureName, Any]) -> FloatArray:
        vector = np.zeros(len(self.weights))
        vector[0] = 1.0
        for name, value in x.items():
            place = self.names.get(name)
            if place is not None:
                vector[place] = value
        return vector

    def _grow(self, x: dict[base.typing.FeatureName, Any]) -> None:
        new = [name for name in x if name not in self.names]
        if new:
            size = len(self.weights)
            self.names.update({name: size + i for i, name in enumerate(new)})
            self.weights = np.concatenate([self.weights, np.zeros(len(new))])
            grown = np.eye(size + len(new)) * self.variance
            grown[:size, :size] = self.covariance
            self.covariance = grown

    def log_odds(self, x: dict[base.typing.FeatureName, Any]) -> float:
        return weigh(self.weights, self._vector(x))

    def learn_one(self, x: dict[base.typing.FeatureName, Any], y: base.typing.ClfTarget, **_: Any) -> None:
        self._grow(x)
        vector = self._vector(x)
        kalman_step(self.weights, self.covariance, vector, weigh(self.weights, vector), int(bool(y)))


class Hedged(_Binary):
    """The mean of cells and state model on the log-odds scale, leaning to the one that is right of late.

    Parameters
    ----------
    variance_of_cells
        As of ``CellsClassifier``.
    variance_of_weights
        As of ``DenseClassifier``.

    Examples
    --------
    >>> model = Hedged()
    >>> for weekday, late in [(4, True), (4, True), (1, False)]:
    ...     model.learn_one({"w": weekday}, late)
    >>> model.predict_one({"w": 4})
    True

    """

    def __init__(self, variance_of_cells: float = 0.2, variance_of_weights: float = 0.02) -> None:
        self.variance_of_cells, self.variance_of_weights = variance_of_cells, variance_of_weights
        self.cells, self.dense = CellsClassifier(variance_of_cells), DenseClassifier(variance_of_weights)
        self.hedge = 0.0

    def log_odds(self, x: dict[base.typing.FeatureName, Any]) -> float:
        share = share_of_cells(self.hedge)
        return share * self.cells.log_odds(x) + (1.0 - share) * self.dense.log_odds(x)

    def learn_one(self, x: dict[base.typing.FeatureName, Any], y: base.typing.ClfTarget, **_: Any) -> None:
        self.hedge = update_hedge(self.hedge, self.cells.log_odds(x), self.dense.log_odds(x), int(bool(y)))
        self.cells.learn_one(x, y)
        self.dense.learn_one(x, y)
