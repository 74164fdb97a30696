"""The learner's brain: live it learns each example in the order of the log, in a replay a step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from agents.brain import Arrived, Folded
from agents.learner.decide import for_publication, in_order, learn_all
from agents.learner.state import ENDED, MODEL_ROW, PENDING, LearnerState, Marker
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output, Rejection
from schemas.events.models import ExampleMatured, ModelPublished, StepEnded
from schemas.ids import stable_id

MODEL_TYPE = "duewatch.model.published.v1"


class LearnerBrain:
    """Implements ``agents.brain.Brain`` for the one partition of ``training-examples``."""

    def __init__(self) -> None:
        self._state = LearnerState(ModelPublished(), {}, {})
        # What the last fold led to, so that ``keep`` need not read its own rows again.
        self._ahead: tuple[Folded, LearnerState] | None = None

    @property
    def model(self) -> ModelPublished:
        """The model with all digits, as committed."""
        return self._state.model

    def restore(self, key: str, value: bytes | None) -> None:
        """Take a row over. Raises ValueError when it is no such row: a state that cannot be read must not be learned on."""
        _apply(self._state, key, value)

    def fold(
        self,
        arrived: Sequence[Arrived],
        now: datetime | None,  # noqa: ARG002 - what is published is dated by the log, not by the tick
        context: ContextSet,  # noqa: ARG002 - the learner decides nothing that a policy says
        *,
        replay: bool,
        step: int = -1,  # noqa: ARG002 - a step is over when all partitions say so
        wakes: int = 500,  # noqa: ARG002 - nothing here has a deadline
        paused: frozenset[str] = frozenset(),  # noqa: ARG002 - it decides nothing about debtors
    ) -> Folded:
        """Learn what arrived; at most one model is published live, and one per step that ended in a replay."""
        folded, state = Folded(), self._state.copy()
        if replay:
            for record in arrived:
                _collect(folded, state, record)
        else:
            _learn_live(folded, state, arrived)
        self._ahead = (folded, state)
        return folded

    def keep(self, folded: Folded) -> None:
        if self._ahead is not None and self._ahead[0] is folded:
            self._state = self._ahead[1]
        else:
            for key, value in folded.rows.items():
                _apply(self._state, key, value)
        self._ahead = None


def _apply(state: LearnerState, key: str, value: bytes | None) -> None:
    if key == MODEL_ROW:
        state.model = ModelPublished() if value is None else ModelPublished.model_validate_json(value)
    elif key.startswith(PENDING):
        example_id = key.removeprefix(PENDING)
        state.pending.pop(example_id, None)
        if value is not None:
            state.pending[example_id] = ExampleMatured.model_validate_json(value)
    elif key.startswith(ENDED):
        partition = int(key.removeprefix(ENDED))
        state.ended.pop(partition, None)
        if value is not None:
            state.ended[partition] = msgspec.json.decode(value, type=Marker)
    else:
        raise ValueError(f"{key!r} is no row of the learner: its keys are {MODEL_ROW}, {PENDING}ID and {ENDED}PARTITION")


def _learn_live(folded: Folded, state: LearnerState, arrived: Sequence[Arrived]) -> None:
    """Learn in the order of the log; markers mean nothing here."""
    examples: list[ExampleMatured] = []
    last: Event | None = None
    for record in arrived:
        data = record.event.data
        if isinstance(data, ExampleMatured):
            examples.append(data)
            last = record.event
        elif not isinstance(data, StepEnded):
            _reject(folded, record)
            continue
        folded.applied += 1
    if last is not None:
        state.model = learn_all(state.model, examples)
        _publish(folded, state.model, last.id, last.recorded)


def _collect(folded: Folded, state: LearnerState, record: Arrived) -> None:
    """Keep an example until its step is over; a marker may end the step."""
    data = record.event.data
    if isinstance(data, ExampleMatured):
        if data.example_id in state.pending:
            folded.duplicates += 1
            return
        state.pending[data.example_id] = data
        folded.rows[PENDING + data.example_id] = data.model_dump_json().encode()
    elif isinstance(data, StepEnded):
        if data.step <= state.model.step:
            folded.duplicates += 1
            return
        marker = Marker(data.step, data.partition, data.partitions, record.event.id, record.event.recorded)
        state.ended[data.partition] = marker
        folded.rows[f"{ENDED}{data.partition}"] = msgspec.json.encode(marker)
        if sum(m.step == data.step for m in state.ended.values()) == data.partitions:
            _end_step(folded, state, data.step)
    else:
        _reject(folded, record)
        return
    folded.applied += 1


def _end_step(folded: Folded, state: LearnerState, step: int) -> None:
    """All partitions are through: learn in D3's order and answer, also when there was nothing to learn."""
    state.model = learn_all(state.model, in_order(state.pending.values()), step)
    cause = state.ended[max(state.ended)]
    folded.rows.update(dict.fromkeys((PENDING + i for i in state.pending), None))
    folded.rows.update(dict.fromkeys((f"{ENDED}{p}" for p in state.ended), None))
    state.pending, state.ended = {}, {}
    _publish(folded, state.model, cause.id, cause.recorded)


def _publish(folded: Folded, model: ModelPublished, cause: str, recorded: datetime) -> None:
    folded.rows[MODEL_ROW] = model.model_dump_json().encode()
    # The step is part of the id: a step without examples has the version of the one before, but is an answer of its own.
    output_id = stable_id("model", model.version, model.step)
    published = for_publication(model)
    folded.outputs.append(Output("models", "shared", MODEL_TYPE, output_id, recorded, recorded, published, causation_id=cause))


def _reject(folded: Folded, record: Arrived) -> None:
    reason = f"the learner reads examples and end-of-step markers, not {record.event.type}: send it to its own topic"
    folded.rejected.append((record, Rejection(reason)))
