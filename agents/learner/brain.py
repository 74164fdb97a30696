"""The learner's brain: live it learns each example in the order of the log, in a replay a step at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from agents.brain import FoldResult, Received
from agents.learner.decide import HORIZON_DAYS, for_publication, forecasts, in_order, learn_all
from agents.learner.monitor import TALLIES, WATCH_ROW, Watch, Watched, is_watch_row, restore
from agents.learner.state import ENDED, MODEL_ROW, PENDING, TAUGHT, LearnerState, Marker, Shared, from_row, to_row
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output, Rejection
from schemas.events.models import ExampleMatured, StepEnded
from schemas.ids import stable_id
from schemas.outputs.quality import ModelMeasured

MODEL_TYPE = "duewatch.model.published.v1"
MEASURED_TYPE, ALERTED_TYPE = "duewatch.model.measured.v1", "duewatch.model.alerted.v1"


class LearnerBrain:
    """Implements ``agents.brain.Brain`` for the one partition of ``training-examples``."""

    def __init__(self) -> None:
        self._state = LearnerState(Shared(), {}, {}, {})
        self._watched = Watched()
        # What the last fold led to, so that ``keep`` need not read its own rows again.
        self._ahead: tuple[FoldResult, LearnerState, Watched] | None = None

    @property
    def model(self) -> Shared:
        """The model with all digits, as committed."""
        return self._state.model

    def restore(self, key: str, value: bytes | None) -> None:
        """Take a row over. Raises ValueError when it is no such row: a state that cannot be read must not be learned on."""
        _apply(self._state, self._watched, key, value)

    def fold(
        self,
        records: Sequence[Received],
        now: datetime | None,  # noqa: ARG002 - what is published is dated by the log, not by the tick
        context: ContextSet,  # noqa: ARG002 - the learner decides nothing that a policy says
        *,
        replay: bool,
        step: int = -1,  # noqa: ARG002 - a step is over when all partitions say so
        max_deadlines: int = 500,  # noqa: ARG002 - nothing here has a deadline
        paused: frozenset[str] = frozenset(),  # noqa: ARG002 - it decides nothing about debtors
        previous_tick: datetime | None = None,  # noqa: ARG002 - an example carries its dates
    ) -> FoldResult:
        """Learn what arrived; at most one model is published live, and one per step that ended in a replay."""
        folded, state, watched = FoldResult(), self._state.copy(), self._watched.copy()
        if replay:
            for record in records:
                _collect(folded, state, watched, record)
        else:
            _learn_live(folded, state, watched, records)
        self._ahead = (folded, state, watched)
        return folded

    def on_committed(self, result: FoldResult) -> None:
        if self._ahead is not None and self._ahead[0] is result:
            _, state, self._watched = self._ahead
            self._state = state.kept()
        else:
            for key, value in result.rows.items():
                _apply(self._state, self._watched, key, value)
        self._ahead = None


def _apply(state: LearnerState, watched: Watched, key: str, value: bytes | None) -> None:
    if key.startswith(TAUGHT):  # there are hundreds of thousands of these
        example_id = key.removeprefix(TAUGHT)
        state.taught.pop(example_id, None)
        if value is not None:
            state.taught[example_id] = day = int(value)
            state.newest = max(state.newest, day)
    elif is_watch_row(key):
        restore(watched, key, value)
    elif key == MODEL_ROW:
        state.model = Shared() if value is None else from_row(value)
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
        keys = f"{MODEL_ROW}, {PENDING}ID, {ENDED}PARTITION, {TAUGHT}ID, {WATCH_ROW} and {TALLIES}DAY"
        raise ValueError(f"{key!r} is no row of the learner: its keys are {keys}")


def _is_news(folded: FoldResult, state: LearnerState, record: Received, example: ExampleMatured) -> bool:
    """Whether an example is to be learned: a copy teaches nothing, and what is older than the memory of copies is refused."""
    known = (state.fresh, state.taught, state.pending)
    if any(example.example_id in ids for ids in known):
        folded.count_duplicate(record.topic)
        return False
    if example.matured_on.toordinal() + HORIZON_DAYS < state.newest:
        reason = f"matured more than {HORIZON_DAYS} days before the newest example: too old to tell whether it was learned"
        folded.rejected.append((record, Rejection(reason, "matured_on")))
        return False
    return True


def _remember(folded: FoldResult, state: LearnerState, examples: Iterable[ExampleMatured]) -> None:
    """Note what was learned; forget what lies behind the horizon."""
    newest = state.newest
    for example in examples:
        day = example.matured_on.toordinal()
        state.fresh[example.example_id] = day
        folded.rows[TAUGHT + example.example_id] = b"%d" % day
        newest = max(newest, day)
    if newest > state.newest:
        state.newest = newest
        gone = [i for i, day in state.taught.items() if day + HORIZON_DAYS < newest and i not in state.forgotten]
        state.forgotten.update(gone)
        folded.rows.update(dict.fromkeys((TAUGHT + i for i in gone), None))


def _learn_live(folded: FoldResult, state: LearnerState, watched: Watched, arrived: Sequence[Received]) -> None:
    """Learn in the order of the log; markers mean nothing here."""
    examples: list[ExampleMatured] = []
    last: Event | None = None
    for record in arrived:
        data = record.event.data
        if isinstance(data, ExampleMatured):
            if not _is_news(folded, state, record, data):
                continue
            _remember(folded, state, (data,))
            examples.append(data)
            last = record.event
        elif not isinstance(data, StepEnded):
            _reject(folded, record)
            continue
        folded.applied += 1
    if last is not None:
        _learn(folded, state, watched, examples, -1, last.id, last.recorded)


def _collect(folded: FoldResult, state: LearnerState, watched: Watched, record: Received) -> None:
    """Keep an example until its step is over; a marker may end the step."""
    data = record.event.data
    if isinstance(data, ExampleMatured):
        if not _is_news(folded, state, record, data):
            return
        state.pending[data.example_id] = data
        folded.rows[PENDING + data.example_id] = data.model_dump_json().encode()
    elif isinstance(data, StepEnded):
        if data.step <= state.model.step:
            folded.count_duplicate(record.topic)
            return
        marker = Marker(data.step, data.partition, data.partitions, record.event.id, record.event.recorded)
        state.ended[data.partition] = marker
        folded.rows[f"{ENDED}{data.partition}"] = msgspec.json.encode(marker)
        if sum(m.step == data.step for m in state.ended.values()) == data.partitions:
            _end_step(folded, state, watched, data.step)
    else:
        _reject(folded, record)
        return
    folded.applied += 1


def _end_step(folded: FoldResult, state: LearnerState, watched: Watched, step: int) -> None:
    """All partitions are through: learn in D3's order and answer, also when there was nothing to learn."""
    learned = in_order(state.pending.values())
    cause = state.ended[max(state.ended)]
    folded.rows.update(dict.fromkeys((PENDING + i for i in state.pending), None))
    folded.rows.update(dict.fromkeys((f"{ENDED}{p}" for p in state.ended), None))
    state.pending, state.ended = {}, {}
    _remember(folded, state, learned)
    _learn(folded, state, watched, learned, step, cause.id, cause.recorded)


def _learn(
    folded: FoldResult,
    state: LearnerState,
    watched: Watched,
    examples: Sequence[ExampleMatured],
    step: int,
    cause: str,
    recorded: datetime,
) -> None:
    """Judge each example and learn it; the model goes out, and what the watch has to say."""
    watch = Watch(watched)
    state.model = learn_all(state.model, examples, step, lambda model, example: watch.see(model, example, forecasts))
    folded.rows.update(watch.rows())
    _publish(folded, state.model, cause, recorded)
    for number, data in enumerate(watch.outputs, watch.first):
        kind = MEASURED_TYPE if isinstance(data, ModelMeasured) else ALERTED_TYPE
        output_id = stable_id("model-quality", number)
        folded.outputs.append(Output("model-quality", "", kind, output_id, recorded, recorded, data, causation_id=cause))


def _publish(folded: FoldResult, model: Shared, cause: str, recorded: datetime) -> None:
    folded.rows[MODEL_ROW] = to_row(model)
    # The step is part of the id: a step without examples has the version of the one before, but is an answer of its own.
    output_id = stable_id("model", model.version, model.step)
    published = for_publication(model)
    folded.outputs.append(Output("models", "shared", MODEL_TYPE, output_id, recorded, recorded, published, causation_id=cause))


def _reject(folded: FoldResult, record: Received) -> None:
    reason = f"the learner reads examples and end-of-step markers, not {record.event.type}: send it to its own topic"
    folded.rejected.append((record, Rejection(reason)))
