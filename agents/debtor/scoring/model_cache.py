"""What follows from a model and one key (a group, a risk class), worked out once: a model is in force for thousands of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from schemas.events.models import ModelPublished

T = TypeVar("T")

MODELS, KEYS = 8, 4096
"""Kept at most: models, and keys of one. Then it begins anew."""


def per_model(work_out: Callable[[ModelPublished, str], T]) -> Callable[[ModelPublished, str], T]:
    """``work_out(model, key)``, remembered for as long as the same model object is in force.

    >>> rate = per_model(lambda model, key: float(len(key)))
    >>> rate(ModelPublished(), "all")
    3.0
    """
    known: dict[int, tuple[ModelPublished, dict[str, T]]] = {}

    def looked_up(model: ModelPublished, key: str) -> T:
        of_model = known.get(id(model))
        if of_model is None or of_model[0] is not model:  # it is held, so its id cannot be another's
            if len(known) >= MODELS:
                known.clear()
            of_model = known[id(model)] = (model, {})
        values = of_model[1]
        if key not in values:
            if len(values) >= KEYS:
                values.clear()
            values[key] = work_out(model, key)
        return values[key]

    return looked_up
