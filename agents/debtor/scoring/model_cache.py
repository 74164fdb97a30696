"""What follows from a model and one key (a group, a risk class), computed once: a model is in force for thousands of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from schemas.events.models import ModelPublished

T = TypeVar("T")

MAX_MODELS, MAX_KEYS = 8, 4096
"""Models in the cache, and keys of one model. Beyond that it is emptied."""


def per_model(compute: Callable[[ModelPublished, str], T]) -> Callable[[ModelPublished, str], T]:
    """A cache around ``compute(model, key)``, valid for as long as the same model object is in force.

    >>> rate = per_model(lambda model, key: float(len(key)))
    >>> rate(ModelPublished(), "all")
    3.0
    """
    cache: dict[int, tuple[ModelPublished, dict[str, T]]] = {}

    def lookup(model: ModelPublished, key: str) -> T:
        entry = cache.get(id(model))
        if entry is None or entry[0] is not model:  # the entry holds its model, so no other can have its id
            if len(cache) >= MAX_MODELS:
                cache.clear()
            entry = cache[id(model)] = (model, {})
        values = entry[1]
        if key not in values:
            if len(values) >= MAX_KEYS:
                values.clear()
            values[key] = compute(model, key)
        return values[key]

    return lookup
