"""What the learner remembers: the shared model, and in a replay the examples and markers of the step that is not over yet."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from schemas.events.models import ExampleMatured, ModelPublished

MODEL_ROW, PENDING, ENDED = "model", "pending/", "ended/"
"""Key of the model's row; prefixes of the rows of pending examples (by example id) and end-of-step markers (by partition)."""


class Marker(Struct, frozen=True):
    """A partition's end of a step, and the event that told of it."""

    step: int
    partition: int
    partitions: int
    id: str
    recorded: datetime


class LearnerState(Struct):
    """A working copy is changed inside a fold, and kept once the slice is committed."""

    model: ModelPublished
    pending: dict[str, ExampleMatured]
    ended: dict[int, Marker]

    def copy(self) -> LearnerState:
        return LearnerState(self.model, dict(self.pending), dict(self.ended))
