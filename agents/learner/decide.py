"""How the shared model learns an example: one Kalman step over bias and shared cells, and counts of defaults per risk class."""

from __future__ import annotations

from collections.abc import Iterable

from agents.logistic import BIAS_FLOOR, SHARED_PRIORS, step
from schemas.events.models import ExampleMatured, ModelPublished

KIND = "cells1"
"""The recipe, as part of the version; a change of the recipe changes it."""
FORGET = 0.9995
"""Default counts shrink by this at each label of their class: a half-life of 1,386 labels."""
MOST_CELLS = 20_000
"""The model is handed out by value: beyond this the cells that know least are dropped (about 1 MB of JSON)."""


def learn(model: ModelPublished, example: ExampleMatured) -> ModelPublished:
    """The model after one more example."""
    return learn_all(model, (example,))


def learn_all(model: ModelPublished, examples: Iterable[ExampleMatured], replay_step: int = -1) -> ModelPublished:
    """The model after the examples, in their order. ``replay_step``: the step they belong to; -1 live."""
    bias, bias_variance, count = model.bias, model.bias_variance, model.examples
    cells, counts = dict(model.cells), dict(model.default_counts)
    for example in examples:
        count += 1
        if example.target == "late":
            bias, bias_variance = _learn_late(example, bias, bias_variance, cells)
        else:
            _learn_default(example, counts)
    return ModelPublished(
        version=f"{KIND}-{count}",
        examples=count,
        bias=bias,
        bias_variance=bias_variance,
        cells=_bounded(cells),
        default_counts=counts,
        step=replay_step,
    )


def _learn_late(
    example: ExampleMatured, bias: float, bias_variance: float, cells: dict[str, tuple[float, float]]
) -> tuple[float, float]:
    """Change ``cells`` in place; the new bias and its variance. The debtor's own part is that of the example, as it was."""
    known = []
    z, variance = bias, bias_variance
    for key in example.keys:
        cell = cells.get(key) or SHARED_PRIORS.get(key.partition(":")[0])
        if cell is not None:  # a key of a family that this recipe does not know is left alone
            known.append((key, cell))
            z += cell[0]
            variance += cell[1]
    gain, shrink = step(z + example.row_logit, variance + example.row_variance, example.label)
    for key, (m, v) in known:
        cells[key] = (m + v * gain, v - v * v * shrink)
    return bias + bias_variance * gain, max(bias_variance - bias_variance * bias_variance * shrink, BIAS_FLOOR)


def _learn_default(example: ExampleMatured, counts: dict[str, tuple[float, float]]) -> None:
    for key in dict.fromkeys(example.keys):
        bad, seen = counts.get(key, (0.0, 0.0))
        counts[key] = (bad * FORGET + example.label, seen * FORGET + 1.0)


def _bounded(cells: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    if len(cells) <= MOST_CELLS:
        return cells
    sure = sorted(cells, key=lambda key: (cells[key][1] / SHARED_PRIORS[key.partition(":")[0]][1], key))
    return {key: cells[key] for key in sure[:MOST_CELLS]}


def in_order(examples: Iterable[ExampleMatured]) -> list[ExampleMatured]:
    """The order in which a replay's step is learned, whichever partition was faster: (matured_on, example_id)."""
    return sorted(examples, key=lambda e: (e.matured_on, e.example_id))


def for_publication(model: ModelPublished) -> ModelPublished:
    """The model as it is handed out: six decimals, half the bytes. The learner itself goes on with all digits."""
    return model.model_copy(
        update={
            "bias": round(model.bias, 6),
            "bias_variance": round(model.bias_variance, 6),
            "cells": {key: (round(m, 6), round(v, 6)) for key, (m, v) in sorted(model.cells.items())},
            "default_counts": {key: (round(b, 6), round(n, 6)) for key, (b, n) in sorted(model.default_counts.items())},
        }
    )
