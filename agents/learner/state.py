"""What the learner remembers: the shared model with all digits, the examples learned, and what a step waits for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from math import isfinite

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from agents.score_model import FEATURES, PRIOR_WEIGHTS, SHARED_PRIORS
from schemas.events.models import ExampleMatured, Scorer

MODEL_ROW, PENDING, ENDED, LEARNED = "model", "pending/", "ended/", "taught/"
"""Key of the model's row; prefixes of the rows of pending examples, of end-of-step markers (by partition), and of the examples
that were learned (by example id)."""

KIND = "hedge3"
"""The recipe, as part of the version; a change of the recipe changes it."""

_FIX = "Delete the topic learner-state: the learner then learns the log from its beginning"
FloatArray = NDArray[np.float64]


class StepMarker(Struct, frozen=True):
    """That a partition has come to the end of a step, and the event that says so."""

    step: int
    partition: int
    partitions: int
    id: str
    recorded: datetime


class Checkpoint(Struct, frozen=True, kw_only=True):
    """The shared model as its row holds it: JSON that a person can read, floats with all digits."""

    kind: str
    examples: int
    step: int
    day: int = 0
    scorer: Scorer
    bias: float
    bias_variance: float
    hedge: float
    loss: tuple[float, float]
    features: tuple[str, ...]
    weights: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    cells: dict[str, tuple[float, float]]
    rates: dict[str, tuple[float, float]]
    default_counts: dict[str, tuple[float, float]]


class SharedModel(Struct, eq=False):
    """The shared model in memory; ``agents.learner.decide`` changes a copy in place. The fields of ``ModelPublished``."""

    examples: int = 0
    step: int = -1
    scorer: Scorer = "hedge"
    bias: float = 0.0
    bias_variance: float = 1.0
    hedge: float = 0.0
    loss: tuple[float, float] = (0.0, 0.0)
    weights: FloatArray = msgspec.field(default_factory=lambda: np.array(PRIOR_WEIGHTS))
    covariance: FloatArray = msgspec.field(default_factory=lambda: np.diag([f.variance for f in FEATURES]))
    cells: dict[str, tuple[float, float]] = {}
    rates: dict[str, tuple[float, float]] = {}
    default_counts: dict[str, tuple[float, float]] = {}
    day: int = 0
    """The latest day (ordinal) on which a label of ``late`` matured, 0 = none yet: until then, time has had its effect."""

    @property
    def version(self) -> str:
        """``KIND-N``: N examples learned, so equal logs give equal versions."""
        return f"{KIND}-{self.examples}" if self.examples else "prior-0"

    def copy(self) -> SharedModel:
        """A working copy."""
        return SharedModel(
            self.examples, self.step, self.scorer, self.bias, self.bias_variance, self.hedge, self.loss,
            self.weights.copy(), self.covariance.copy(), dict(self.cells), dict(self.rates), dict(self.default_counts),
            self.day,
        )  # fmt: skip


class LearnerState(Struct):
    """A working copy is changed inside a fold, and committed with its slice.

    ``learned_days``: example id -> the day it matured, of all learned in the last ``decide.HORIZON_DAYS`` up to ``newest_day``.
    """

    model: SharedModel
    pending: dict[str, ExampleMatured]
    ended: dict[int, StepMarker]
    learned_days: dict[str, int]
    """Shared between copies, for it is long: a fold leaves it alone."""
    newest_day: int = 0
    added_days: dict[str, int] = {}
    """What the running fold adds to ``learned_days``."""
    expired_ids: set[str] = set()
    """What the running fold takes out of ``learned_days``: it lies behind the horizon."""

    def copy(self) -> LearnerState:
        return LearnerState(self.model.copy(), dict(self.pending), dict(self.ended), self.learned_days, self.newest_day)

    def commit(self) -> LearnerState:
        """The state after the slice: what it learned joins the rest, and what lies behind the horizon goes."""
        for example_id in self.expired_ids:
            del self.learned_days[example_id]
        self.learned_days.update(self.added_days)
        return LearnerState(self.model, self.pending, self.ended, self.learned_days, self.newest_day)


def to_row(model: SharedModel) -> bytes:
    """The model's checkpoint as JSON.

    >>> from_row(to_row(SharedModel(examples=3))).version
    'hedge3-3'
    """
    checkpoint = Checkpoint(
        kind=KIND,
        examples=model.examples,
        step=model.step,
        day=model.day,
        scorer=model.scorer,
        bias=model.bias,
        bias_variance=model.bias_variance,
        hedge=model.hedge,
        loss=model.loss,
        features=tuple(f.name for f in FEATURES),
        weights=tuple(model.weights.tolist()),
        covariance=tuple(map(tuple, model.covariance.tolist())),
        cells=model.cells,
        rates=model.rates,
        default_counts=model.default_counts,
    )
    return msgspec.json.encode(checkpoint)


def from_row(row: bytes) -> SharedModel:
    """The model of a checkpoint. Raises ValueError that says what is wrong with it: nothing must be learned on wrong numbers."""
    try:
        c = msgspec.json.decode(row, type=Checkpoint)
    except msgspec.DecodeError as error:
        raise ValueError(f"the learner's checkpoint cannot be read ({error}). {_FIX}") from None
    _check(c)
    return SharedModel(
        c.examples, c.step, c.scorer, c.bias, c.bias_variance, c.hedge, c.loss,
        np.array(c.weights), np.array(c.covariance), c.cells, c.rates, c.default_counts, c.day,
    )  # fmt: skip


def _check(c: Checkpoint) -> None:
    fault = _wrong_recipe(c) or _wrong_number(c) or _wrong_cell(c)
    if fault is not None:
        raise ValueError(f"the learner's checkpoint is not usable: {fault}. {_FIX}")


def _wrong_recipe(c: Checkpoint) -> str | None:
    names = tuple(f.name for f in FEATURES)
    if c.kind != KIND:
        return f"it is of recipe {c.kind[:40]!r}, this code learns {KIND!r}"
    if c.features != names or len(c.weights) != len(names):
        return "its features are not those of this code"
    if len(c.covariance) != len(names) or any(len(line) != len(names) for line in c.covariance):
        return f"its covariance is not {len(names)} x {len(names)}"
    return None


def _wrong_number(c: Checkpoint) -> str | None:
    if not _are_finite((c.bias, c.hedge, *c.loss, *c.weights, *(v for line in c.covariance for v in line))):
        return "a number in it is not finite"
    if c.bias_variance <= 0 or any(line[i] <= 0 for i, line in enumerate(c.covariance)):
        return "a variance is not positive"
    return None


def _wrong_cell(c: Checkpoint) -> str | None:
    for key, (mean, variance) in c.cells.items():
        if key.partition(":")[0] not in SHARED_PRIORS:
            return f"cell {key[:80]!r} is of no known family ({', '.join(SHARED_PRIORS)})"
        if not isfinite(mean) or not variance > 0:
            return f"cell {key[:80]!r} has mean {mean} and variance {variance}"
    for name, table in (("rate", c.rates), ("default count", c.default_counts)):
        for key, (hits, labels) in table.items():
            if not -1e-9 <= hits <= labels + 1e-9 or not isfinite(labels):
                return f"{name} {key[:80]!r} has {hits} of {labels}"
    return None


def _are_finite(numbers: Iterable[float]) -> bool:
    return all(map(isfinite, numbers))
