"""How the shared model learns an example, in the order of score_quality.md 3.6: hedge, cells, state model, rates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from math import exp, fsum, log1p

import numpy as np

from agents.learner.state import Numbers, Shared
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
    fitted,
    sigmoid,
    step,
)
from schemas.events.models import ExampleMatured, ModelPublished

FORGET = 0.9995
"""Counts of all, of due days and of default classes shrink by this at each label of theirs: a half-life of 1,386 labels."""
FORGET_GROUP = 0.998
"""The same for those of a group: 346 labels."""
FORGET_STATE = 0.9999
"""The state model's covariance grows by the inverse at each label, so that it goes on following the book."""
HEDGE_FORGET, HEDGE_CAP = 0.998, 30.0
MOST_CELLS = 20_000
"""The model is handed out by value: beyond this the cells that know least are dropped (about 1 MB of JSON) ..."""
CELLS_AT_ONCE = 1_000
"""... so many at once, because they must be sorted for it."""
HORIZON_DAYS = 90
"""For so long an example is remembered as learned; an older one cannot be told from a copy."""


def learn(model: Shared, example: ExampleMatured) -> Shared:
    """The model after one more example."""
    return learn_all(model, (example,))


def learn_all(
    model: Shared,
    examples: Iterable[ExampleMatured],
    replay_step: int = -1,
    see: Callable[[Shared, ExampleMatured], None] = lambda _model, _example: None,
) -> Shared:
    """The model after the examples, in their order. ``replay_step``: the step they belong to; -1 live.

    ``see`` is shown every example before it is learned, with the model as it is then (and may say who scores from there on).
    """
    after = model.copy()
    for example in examples:
        see(after, example)
        after.examples += 1
        _LEARN[example.target](after, example)
        _bound(after)
    after.step = replay_step
    return after


def _learn_late(model: Shared, example: ExampleMatured) -> None:
    if example.corrects is not None:
        _correct_late(model, example)
        return
    _drift(model, example.matured_on.toordinal())
    known, z, variance = _active(model, example)
    if example.x:
        x = state_vector(example)
        q = state_logit(model, x)
        model.hedge = hedged(model.hedge, z, q, example.label)
        kalman_step(model.weights, model.covariance, x, q, example.label)
    gain, shrink = step(z, variance, example.label)
    for key, (m, v) in known:
        model.cells[key] = (m + v * gain, v - v * v * shrink)
    v = model.bias_variance
    model.bias, model.bias_variance = model.bias + v * gain, max(v - v * v * shrink, BIAS_FLOOR)
    for key, forget in _rate_keys(example.keys):
        _count(model.rates, key, example.label, forget)


def _drift(model: Shared, day: int) -> None:
    """Newcomers of today are not those of years ago: what is known of them goes out of date by the day, as what is of a debtor.

    On cassandra (README, "The score, beside others") first invoices were said 0.046 too high without it, 0.027 with it.
    """
    days = day - model.day
    if days <= 0:
        return
    if model.day:
        weight = FEATURES[NEW].variance
        model.covariance[NEW, NEW] = _regained(float(model.covariance[NEW, NEW]), weight, days)
        if NEW_KEY in model.cells:
            mean, variance = model.cells[NEW_KEY]
            model.cells[NEW_KEY] = (mean, _regained(variance, SHARED_PRIORS["n"][1], days))
    model.day = day


def _regained(variance: float, prior: float, days: int) -> float:
    """After so many days; never beyond what was not known before any label.

    >>> _regained(0.05, 0.2, 100), _regained(0.05, 0.2, 10_000), _regained(0.3, 0.2, 1)
    (0.056, 0.2, 0.3)
    """
    return max(variance, min(prior, variance + DRIFT * prior * days))


def _active(model: Shared, example: ExampleMatured) -> tuple[list[tuple[str, tuple[float, float]]], float, float]:
    """The active shared cells, and the sums of means and variances of all active cells, the debtor's as the example has them."""
    known = []
    z, variance = model.bias, model.bias_variance
    for key in example.keys:
        cell = model.cells.get(key) or SHARED_PRIORS.get(key.partition(":")[0])
        if cell is not None:  # a key of a family that this recipe does not know is left alone
            known.append((key, cell))
            z += cell[0]
            variance += cell[1]
    return known, z + example.row_logit, variance + example.row_variance


def forecasts(model: Shared, example: ExampleMatured) -> tuple[float, float]:
    """Log-odds of being late as the cells and the state model say now, of an example with features."""
    _, cells, _ = _active(model, example)
    return cells, state_logit(model, state_vector(example))


def state_vector(example: ExampleMatured) -> Numbers:
    """The state features of an example, as the state model weighs them."""
    return np.array(fitted(example.x, NO_FEATURES), dtype=np.float64) / UNIT


def state_logit(model: Shared, x: Numbers) -> float:
    """What the state model says. ``fsum`` and sums along the first axis do not depend on the processor, as BLAS would."""
    return weigh(model.weights, x)


def weigh(weights: Numbers, x: Numbers) -> float:
    """The sum of the products."""
    return fsum((weights * x).tolist())


def kalman_step(weights: Numbers, covariance: Numbers, x: Numbers, z: float, label: int) -> None:
    """A step of the extended Kalman filter on the logistic likelihood, with the full covariance, in place (3.3)."""
    q = sigmoid(z)
    curvature = max(q * (1.0 - q), 0.002)
    g = np.add.reduce(covariance * x[:, None], axis=0)
    s = 1.0 + curvature * fsum((x * g).tolist())
    weights += g * ((label - q) / s)
    covariance -= g[:, None] * (g * (curvature / s))
    covariance *= 1.0 / FORGET_STATE


def hedged(hedge: float, z_cells: float, z_state: float, label: int) -> float:
    """The hedge after a label: how much better the cells were, with the weights of now (3.5: never the forecast of weeks ago).

    >>> hedged(0.0, 2.0, -2.0, 1)
    2.0
    """
    hedge = hedge * HEDGE_FORGET + log_loss(z_state, label) - log_loss(z_cells, label)
    return max(-HEDGE_CAP, min(HEDGE_CAP, hedge))


def log_loss(z: float, label: int) -> float:
    """Of log-odds.

    >>> round(log_loss(0.0, 1), 6)
    0.693147
    """
    against = -z if label else z
    return log1p(exp(against)) if against < 30.0 else against


def _correct_late(model: Shared, example: ExampleMatured) -> None:
    """Replace a label that was wrong: in a Kalman filter, a change of an observation moves the mean by covariance x change.

    Exact for what has not drifted since; nothing becomes surer. Rates keep what they forgot.
    """
    change = 2.0 * example.label - 1.0
    known, _, _ = _active(model, example)
    for key, (m, v) in known:
        model.cells[key] = (m + v * change, v)
    model.bias += model.bias_variance * change
    if example.x:
        model.weights += np.add.reduce(model.covariance * state_vector(example)[:, None], axis=0) * change
    for key, _ in _rate_keys(example.keys):
        if key in model.rates:
            late, labels = model.rates[key]
            model.rates[key] = (max(0.0, min(labels, late + change)), labels)


@lru_cache(maxsize=4096)
def _rate_keys(active: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """The shared late rates that a label moves: of all, group, group x weekday, weekday, closed day."""
    keys = [("all", FORGET)]
    for key in active:
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
    hits, seen = rates.get(key) or ((ALL_LATE, ALL_LABELS) if key == "all" else (0.0, 0.0))
    rates[key] = (hits * forget + label, seen * forget + 1.0)


def _learn_default(model: Shared, example: ExampleMatured) -> None:
    for key in dict.fromkeys(example.keys):
        _count_plain(model.default_counts, key, example.label, FORGET)


def _count_plain(counts: dict[str, tuple[float, float]], key: str, label: float, forget: float) -> None:
    hits, seen = counts.get(key, (0.0, 0.0))
    counts[key] = (hits * forget + label, seen * forget + 1.0)


def _learn_paid(model: Shared, example: ExampleMatured) -> None:
    """``keys`` of an interval: that of all debtors, then that of the group."""
    for key, forget in zip(example.keys, (FORGET, FORGET_GROUP), strict=False):
        _count_plain(model.rates, key, example.label, forget)


def _learn_loss(model: Shared, example: ExampleMatured) -> None:
    if example.share is not None:
        lost, seen = model.loss
        model.loss = (lost * FORGET + example.share, seen * FORGET + 1.0)


_LEARN = {"late": _learn_late, "default": _learn_default, "paid_after_due": _learn_paid, "loss": _learn_loss}


def _bound(model: Shared) -> None:
    """At the same example for every learner, wherever its slices end."""
    cells, rates = model.cells, model.rates
    if len(cells) > MOST_CELLS + CELLS_AT_ONCE:
        sure = sorted(cells, key=lambda key: (cells[key][1] / SHARED_PRIORS[key.partition(":")[0]][1], key))
        model.cells = {key: cells[key] for key in sure[:MOST_CELLS]}
    if len(rates) > MOST_CELLS + CELLS_AT_ONCE:
        often = sorted(rates, key=lambda key: (-rates[key][1], key))
        model.rates = {key: rates[key] for key in often[:MOST_CELLS]}


def in_order(examples: Iterable[ExampleMatured]) -> list[ExampleMatured]:
    """The order in which a replay's step is learned, whichever partition was faster: (matured_on, example_id)."""
    return sorted(examples, key=lambda e: (e.matured_on, e.example_id))


def for_publication(model: Shared) -> ModelPublished:
    """The model as it is handed out: six decimals, no covariance. The learner itself goes on with all digits."""
    return ModelPublished(
        version=model.version,
        examples=model.examples,
        bias=round(model.bias, 6),
        bias_variance=round(model.bias_variance, 6),
        cells=_rounded(model.cells),
        weights=tuple(round(w, 6) for w in model.weights.tolist()),
        hedge=round(model.hedge, 6),
        rates=_rounded(model.rates),
        default_counts=_rounded(model.default_counts),
        loss=(round(model.loss[0], 6), round(model.loss[1], 6)),
        scorer=model.scorer,
        step=model.step,
    )


def _rounded(pairs: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """All at once: a model of 1,500 pairs goes out with every step, and rounding one by one costs half a microsecond each."""
    keys = sorted(pairs)
    rounded = np.round(np.array([pairs[key] for key in keys]).reshape(-1, 2), 6).tolist()
    return {key: (a, b) for key, (a, b) in zip(keys, rounded, strict=True)}
