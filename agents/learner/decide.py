"""How the shared model learns an example, in this order: hedge, state model, cells, rates; each with the weights of now.

README.md, "The order of learning".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from math import exp, fsum, log1p

import numpy as np

from agents.learner.state import FloatArray, SharedModel
from agents.score_model import (
    ALL_LABELS,
    ALL_LATE,
    BIAS_FLOOR,
    DRIFT,
    FEATURES,
    NEW,
    NEW_KEY,
    NO_FEATURES,
    SHARED_PRIORS,
    UNIT,
    align_features,
    kalman_gain,
    sigmoid,
)
from schemas.events.models import ExampleMatured, ModelPublished

FORGET = 0.9995
"""Counts of all, of due days and of default classes shrink by this at each label of theirs: a half-life of 1,386 labels."""
FORGET_GROUP = 0.998
"""The same for those of a group: 346 labels."""
FORGET_STATE = 0.9999
"""The state model's covariance grows by the inverse at each label, so that it goes on following the book."""
HEDGE_FORGET, HEDGE_CAP = 0.998, 30.0
MAX_CELLS = 20_000
"""The model is handed out by value: beyond this the cells that know least are dropped (about 1 MB of JSON) ..."""
EVICTION_BATCH = 1_000
"""... so many at once, because they must be sorted for it."""
HORIZON_DAYS = 90
"""For so long an example is remembered as learned; an older one cannot be told from a copy."""


def learn(model: SharedModel, example: ExampleMatured) -> SharedModel:
    """The model after one more example.

    >>> from datetime import date
    >>> example = ExampleMatured(
    ...     customer_id="c", example_id="e", invoice_id="i", target="late", label=1, keys=("w:1",),
    ...     scored_on=date(2026, 3, 2), matured_on=date(2026, 4, 1),
    ... )
    >>> model = learn(SharedModel(), example)
    >>> model.examples, model.bias > 0.0, model.cells["w:1"][0] > 0.0
    (1, True, True)
    """
    return learn_all(model, (example,))


def learn_all(
    model: SharedModel,
    examples: Iterable[ExampleMatured],
    replay_step: int = -1,
    observe: Callable[[SharedModel, ExampleMatured], None] = lambda _model, _example: None,
) -> SharedModel:
    """The model after the examples, in their order. ``replay_step``: the step they belong to; -1 live.

    ``observe`` gets every example before it is learned, with the model as it is then (and may set its ``scorer``).

    >>> learn_all(SharedModel(), ()).version
    'prior-0'
    """
    shared = model.copy()
    for example in examples:
        observe(shared, example)
        shared.examples += 1
        _LEARN[example.target](shared, example)
        _evict(shared)
    shared.step = replay_step
    return shared


def _learn_late(model: SharedModel, example: ExampleMatured) -> None:
    if example.corrects is not None:
        _correct_late(model, example)
        return
    _drift(model, example.matured_on.toordinal())
    cells, z, variance = _active_cells(model, example)
    if example.x:
        x = state_vector(example)
        q = state_logit(model, x)
        model.hedge = update_hedge(model.hedge, z, q, example.label)
        kalman_step(model.weights, model.covariance, x, q, example.label)
    gain, shrink = kalman_gain(z, variance, example.label)
    for key, (m, v) in cells:
        model.cells[key] = (m + v * gain, v - v * v * shrink)
    v = model.bias_variance
    model.bias, model.bias_variance = model.bias + v * gain, max(v - v * v * shrink, BIAS_FLOOR)
    for key, forget in _rate_keys(example.keys):
        _count(model.rates, key, example.label, forget)


def _drift(model: SharedModel, day: int) -> None:
    """Newcomers of today are not those of years ago: what is known of them goes out of date by the day, as what is of a debtor.

    On cassandra (README.md of agents/debtor/scoring, "The score, beside others") first invoices were forecast 0.046 too high
    without it, 0.027 with it.
    """
    days = day - model.day
    if days <= 0:
        return
    if model.day:
        prior = FEATURES[NEW].variance
        model.covariance[NEW, NEW] = _regain_variance(float(model.covariance[NEW, NEW]), prior, days)
        if NEW_KEY in model.cells:
            mean, variance = model.cells[NEW_KEY]
            model.cells[NEW_KEY] = (mean, _regain_variance(variance, SHARED_PRIORS["n"][1], days))
    model.day = day


def _regain_variance(variance: float, prior: float, days: int) -> float:
    """A variance after so many days; never beyond its prior.

    >>> _regain_variance(0.05, 0.2, 100), _regain_variance(0.05, 0.2, 10_000), _regain_variance(0.3, 0.2, 1)
    (0.056, 0.2, 0.3)
    """
    return max(variance, min(prior, variance + DRIFT * prior * days))


def _active_cells(model: SharedModel, example: ExampleMatured) -> tuple[list[tuple[str, tuple[float, float]]], float, float]:
    """The active shared cells, and the sums of means and variances of all active cells, the debtor's as the example has them."""
    cells = []
    z, variance = model.bias, model.bias_variance
    for key in example.keys:
        cell = model.cells.get(key) or SHARED_PRIORS.get(key.partition(":")[0])
        if cell is not None:  # a key of a family that this recipe does not know is left alone
            cells.append((key, cell))
            z += cell[0]
            variance += cell[1]
    return cells, z + example.row_logit, variance + example.row_variance


def forecasts(model: SharedModel, example: ExampleMatured) -> tuple[float, float]:
    """Log-odds of being late as the cells and the state model say now, of an example with features.

    >>> from datetime import date
    >>> example = ExampleMatured(
    ...     customer_id="c", example_id="e", invoice_id="i", target="late", label=1, keys=("s:shock",), x=(32,),
    ...     scored_on=date(2026, 3, 2), matured_on=date(2026, 4, 1),
    ... )
    >>> forecasts(SharedModel(), example)
    (0.5, 0.0)
    """
    _, z_cells, _ = _active_cells(model, example)
    return z_cells, state_logit(model, state_vector(example))


def state_vector(example: ExampleMatured) -> FloatArray:
    """The state features of an example, as the state model weighs them.

    >>> from datetime import date
    >>> example = ExampleMatured(
    ...     customer_id="c", example_id="e", invoice_id="i", target="late", label=1, keys=(), x=(32, -16),
    ...     scored_on=date(2026, 3, 2), matured_on=date(2026, 4, 1),
    ... )
    >>> state_vector(example)[:3].tolist()
    [1.0, -0.5, 0.0]
    """
    return np.array(align_features(example.x, NO_FEATURES), dtype=np.float64) / UNIT


def state_logit(model: SharedModel, x: FloatArray) -> float:
    """The log-odds that the state model gives to a vector.

    >>> state_logit(SharedModel(), np.zeros(len(FEATURES)))
    0.0
    """
    return weigh(model.weights, x)


def weigh(weights: FloatArray, x: FloatArray) -> float:
    """The sum of the products. ``fsum`` and sums along the first axis do not depend on the processor, as BLAS would.

    >>> weigh(np.array([1.0, 2.0]), np.array([0.5, 0.25]))
    1.0
    """
    return fsum((weights * x).tolist())


def kalman_step(weights: FloatArray, covariance: FloatArray, x: FloatArray, z: float, label: int) -> None:
    """A step of the extended Kalman filter on the logistic likelihood, with the full covariance, in place.

    >>> weights, covariance = np.zeros(1), np.eye(1)
    >>> kalman_step(weights, covariance, np.ones(1), 0.0, 1)
    >>> weights.tolist(), covariance.round(3).tolist()
    ([0.4], [[0.8]])
    """
    q = sigmoid(z)
    curvature = max(q * (1.0 - q), 0.002)
    g = np.add.reduce(covariance * x[:, None], axis=0)
    s = 1.0 + curvature * fsum((x * g).tolist())
    weights += g * ((label - q) / s)
    covariance -= g[:, None] * (g * (curvature / s))
    covariance *= 1.0 / FORGET_STATE


def update_hedge(hedge: float, z_cells: float, z_state: float, label: int) -> float:
    """The hedge after a label: how much better the cells were, with the weights of now.

    Never by the forecast of weeks ago: after a change the expert that has adapted would be punished for what it said before.

    >>> update_hedge(0.0, 2.0, -2.0, 1)
    2.0
    """
    hedge = hedge * HEDGE_FORGET + log_loss(z_state, label) - log_loss(z_cells, label)
    return max(-HEDGE_CAP, min(HEDGE_CAP, hedge))


def log_loss(z: float, label: int) -> float:
    """The log loss of a forecast in log-odds.

    >>> round(log_loss(0.0, 1), 6)
    0.693147
    """
    margin = z if label else -z
    return log1p(exp(-margin)) if margin > -30.0 else -margin


def _correct_late(model: SharedModel, example: ExampleMatured) -> None:
    """Replace a label that was wrong: in a Kalman filter, a change of an observation moves the mean by covariance x change.

    Exact for what has not drifted since; nothing becomes surer. Rates keep what they forgot.
    """
    change = 2.0 * example.label - 1.0
    cells, _, _ = _active_cells(model, example)
    for key, (m, v) in cells:
        model.cells[key] = (m + v * change, v)
    model.bias += model.bias_variance * change
    if example.x:
        model.weights += np.add.reduce(model.covariance * state_vector(example)[:, None], axis=0) * change
    for key, _ in _rate_keys(example.keys):
        if key in model.rates:
            late, labels = model.rates[key]
            model.rates[key] = (max(0.0, min(labels, late + change)), labels)


@lru_cache(maxsize=4096)
def _rate_keys(cell_keys: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """The shared late rates that a label moves: of all, group, group x weekday, weekday, closed day."""
    keys = [("all", FORGET)]
    for key in cell_keys:
        family, _, rest = key.partition(":")
        if family == "w":
            keys.append((key, FORGET))
        elif family == "gw":
            keys.append((key, FORGET_GROUP))
        elif family == "gx":
            group, _, closed = rest.rpartition(":")
            keys += [(f"g:{group}", FORGET_GROUP), (f"x:{closed}", FORGET)]
    return tuple(keys)


def _count(rates: dict[str, tuple[float, float]], key: str, label: float, forget: float) -> None:
    hits, labels = rates.get(key) or ((ALL_LATE, ALL_LABELS) if key == "all" else (0.0, 0.0))
    rates[key] = (hits * forget + label, labels * forget + 1.0)


def _learn_default(model: SharedModel, example: ExampleMatured) -> None:
    for key in dict.fromkeys(example.keys):
        _count_plain(model.default_counts, key, example.label, FORGET)


def _count_plain(counts: dict[str, tuple[float, float]], key: str, label: float, forget: float) -> None:
    hits, labels = counts.get(key, (0.0, 0.0))
    counts[key] = (hits * forget + label, labels * forget + 1.0)


def _learn_paid(model: SharedModel, example: ExampleMatured) -> None:
    """``keys`` of an interval: that of all debtors, then that of the group."""
    for key, forget in zip(example.keys, (FORGET, FORGET_GROUP), strict=False):
        _count_plain(model.rates, key, example.label, forget)


def _learn_loss(model: SharedModel, example: ExampleMatured) -> None:
    if example.share is not None:
        losses, labels = model.loss
        model.loss = (losses * FORGET + example.share, labels * FORGET + 1.0)


_LEARN = {"late": _learn_late, "default": _learn_default, "paid_after_due": _learn_paid, "loss": _learn_loss}


def _evict(model: SharedModel) -> None:
    """Drop what knows least where there is too much; at the same example for every learner, wherever its slices end."""
    cells, rates = model.cells, model.rates
    if len(cells) > MAX_CELLS + EVICTION_BATCH:
        keys = sorted(cells, key=lambda key: (cells[key][1] / SHARED_PRIORS[key.partition(":")[0]][1], key))
        model.cells = {key: cells[key] for key in keys[:MAX_CELLS]}
    if len(rates) > MAX_CELLS + EVICTION_BATCH:
        keys = sorted(rates, key=lambda key: (-rates[key][1], key))
        model.rates = {key: rates[key] for key in keys[:MAX_CELLS]}


def sort_examples(examples: Iterable[ExampleMatured]) -> list[ExampleMatured]:
    """The order in which a replay's step is learned, whichever partition was faster: (matured_on, example_id).

    >>> sort_examples([])
    []
    """
    return sorted(examples, key=lambda e: (e.matured_on, e.example_id))


def to_published(model: SharedModel) -> ModelPublished:
    """The model as it is handed out: six decimals, no covariance. The learner itself goes on with all digits.

    >>> to_published(SharedModel(bias=0.12345678)).bias
    0.123457
    """
    return ModelPublished(
        version=model.version,
        examples=model.examples,
        bias=round(model.bias, 6),
        bias_variance=round(model.bias_variance, 6),
        cells=_round_pairs(model.cells),
        weights=tuple(round(w, 6) for w in model.weights.tolist()),
        hedge=round(model.hedge, 6),
        rates=_round_pairs(model.rates),
        default_counts=_round_pairs(model.default_counts),
        loss=(round(model.loss[0], 6), round(model.loss[1], 6)),
        scorer=model.scorer,
        step=model.step,
    )


def _round_pairs(pairs: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """All at once: a model of 1,500 pairs goes out with every step, and rounding one by one costs half a microsecond each."""
    keys = sorted(pairs)
    values = np.round(np.array([pairs[key] for key in keys]).reshape(-1, 2), 6).tolist()
    return {key: (a, b) for key, (a, b) in zip(keys, values, strict=True)}
