"""The learners are river estimators, and learn what the system learns."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from river.checks import yield_checks

from agents.learner.decide import learn_all, state_logit, state_vector
from agents.learner.state import SharedModel
from agents.score_model import FEATURES
from schemas.events.models import ExampleMatured
from tests.unit.agents.learner.support.estimators import CellsClassifier, DenseClassifier, Hedged

if find_spec("sklearn") is None:
    # River's checks import it for data sets of several targets, which no check of a binary classifier reads.
    sys.modules["sklearn"] = ModuleType("sklearn")
    sys.modules["sklearn"].datasets = ModuleType("sklearn.datasets")  # type: ignore[attr-defined]
    CHECKS = [(model, check) for model in (CellsClassifier, DenseClassifier, Hedged) for check in yield_checks(model())]
    del sys.modules["sklearn"]
else:
    CHECKS = [(model, check) for model in (CellsClassifier, DenseClassifier, Hedged) for check in yield_checks(model())]


@pytest.mark.parametrize(("model", "check"), CHECKS, ids=[f"{m.__name__}-{c.__name__}" for m, c in CHECKS])
def test_river_takes_it_for_an_estimator(model: type, check: Callable[..., Any]) -> None:
    check(model())


def test_cells_learn_what_the_shared_model_learns() -> None:
    estimator, examples = CellsClassifier(), []
    for i in range(60):
        x: dict[Any, Any] = {"w": str(i % 7), "gx": f"a:{i % 2}"}
        label = int(i % 3 == 0)
        estimator.learn_one(x, bool(label))
        examples.append(_example(i, label, tuple(f"{name}:{value}" for name, value in x.items())))
    model = learn_all(SharedModel(), examples)
    assert estimator.bias == model.bias
    assert {f"{name}:{value}": cell for (name, value), cell in estimator.cells.items()} == model.cells


def test_the_dense_one_learns_what_the_state_model_learns() -> None:
    estimator = DenseClassifier()
    # The system's features are there from the start, each with its own prior.
    estimator.names = {feature.name: i for i, feature in enumerate(FEATURES) if i}
    model = SharedModel()
    estimator.weights, estimator.covariance = model.weights.copy(), model.covariance.copy()
    examples = []
    for i in range(60):
        x = (32, *((i * 37 + 11 * j) % 255 - 127 for j in range(1, len(FEATURES))))
        examples.append(_example(i, int(i % 3 == 0), (), x))
        estimator.learn_one({f.name: k / 32 for f, k in list(zip(FEATURES, x, strict=True))[1:]}, i % 3 == 0)
    model = learn_all(model, examples)
    assert np.array_equal(estimator.weights, model.weights)
    assert np.array_equal(estimator.covariance, model.covariance)
    last: dict[Any, Any] = {f.name: k / 32 for f, k in list(zip(FEATURES, examples[-1].x, strict=True))[1:]}
    assert estimator.log_odds(last) == state_logit(model, state_vector(examples[-1]))


def _example(number: int, label: int, keys: tuple[str, ...], x: tuple[int, ...] = ()) -> ExampleMatured:
    return ExampleMatured(
        customer_id="c", example_id=f"e{number}", invoice_id="i", target="late", label=1 if label else 0, keys=keys, x=x,
        scored_on=date(2026, 1, 1), matured_on=date(2026, 2, 1),
    )  # fmt: skip
