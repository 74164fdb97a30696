"""The learner's brain: live it learns each example in the order of the log, in a replay a step at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from agents.brain import FoldResult, Received
from agents.learner.decide import HORIZON_DAYS, forecasts, learn_all, sort_examples, to_published
from agents.learner.monitor import MONITOR_ROW, TALLIES, MonitorState, QualityMonitor, is_monitor_row, restore_row
from agents.learner.state import ENDED, LEARNED, MODEL_ROW, PENDING, LearnerState, SharedModel, StepMarker, from_row, to_row
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
        self._state = LearnerState(SharedModel(), {}, {}, {})
        self._monitor = MonitorState()
        # What the last fold led to, so that ``keep`` need not read its own rows again.
        self._last_fold: tuple[FoldResult, LearnerState, MonitorState] | None = None

    @property
    def model(self) -> SharedModel:
        """The model with all digits, as committed."""
        return self._state.model

    def restore(self, key: str, value: bytes | None) -> None:
        """Take a row over. Raises ValueError when it cannot be read: nothing must be learned on top of it."""
        _apply(self._state, self._monitor, key, value)

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
        result, state, monitor = FoldResult(), self._state.copy(), self._monitor.copy()
        if replay:
            for record in records:
                _collect(result, state, monitor, record)
        else:
            _learn_live(result, state, monitor, records)
        self._last_fold = (result, state, monitor)
        return result

    def on_committed(self, result: FoldResult) -> None:
        if self._last_fold is not None and self._last_fold[0] is result:
            _, state, self._monitor = self._last_fold
            self._state = state.commit()
        else:
            for key, value in result.rows.items():
                _apply(self._state, self._monitor, key, value)
        self._last_fold = None


def _apply(state: LearnerState, monitor: MonitorState, key: str, value: bytes | None) -> None:
    if key.startswith(LEARNED):  # there are hundreds of thousands of these
        example_id = key.removeprefix(LEARNED)
        state.learned_days.pop(example_id, None)
        if value is not None:
            state.learned_days[example_id] = day = int(value)
            state.newest_day = max(state.newest_day, day)
    elif is_monitor_row(key):
        restore_row(monitor, key, value)
    elif key == MODEL_ROW:
        state.model = SharedModel() if value is None else from_row(value)
    elif key.startswith(PENDING):
        example_id = key.removeprefix(PENDING)
        state.pending.pop(example_id, None)
        if value is not None:
            state.pending[example_id] = ExampleMatured.model_validate_json(value)
    elif key.startswith(ENDED):
        partition = int(key.removeprefix(ENDED))
        state.ended.pop(partition, None)
        if value is not None:
            state.ended[partition] = msgspec.json.decode(value, type=StepMarker)
    else:
        keys = f"{MODEL_ROW}, {PENDING}ID, {ENDED}PARTITION, {LEARNED}ID, {MONITOR_ROW} and {TALLIES}DAY"
        raise ValueError(f"{key!r} is not a row of the learner: its keys are {keys}")


def _is_to_learn(result: FoldResult, state: LearnerState, record: Received, example: ExampleMatured) -> bool:
    """Whether an example is to be learned: a copy teaches nothing, and what is older than the memory of copies is refused."""
    known_ids = (state.added_days, state.learned_days, state.pending)
    if any(example.example_id in ids for ids in known_ids):
        result.count_duplicate(record.topic)
        return False
    if example.matured_on.toordinal() + HORIZON_DAYS < state.newest_day:
        reason = f"matured more than {HORIZON_DAYS} days before the newest example: too old to tell whether it was learned"
        result.rejected.append((record, Rejection(reason, "matured_on")))
        return False
    return True


def _remember(result: FoldResult, state: LearnerState, examples: Iterable[ExampleMatured]) -> None:
    """Note what was learned; forget what lies behind the horizon."""
    newest = state.newest_day
    for example in examples:
        day = example.matured_on.toordinal()
        state.added_days[example.example_id] = day
        result.rows[LEARNED + example.example_id] = b"%d" % day
        newest = max(newest, day)
    if newest > state.newest_day:
        state.newest_day = newest
        expired_ids = [i for i, day in state.learned_days.items() if day + HORIZON_DAYS < newest and i not in state.expired_ids]
        state.expired_ids.update(expired_ids)
        result.rows.update(dict.fromkeys((LEARNED + i for i in expired_ids), None))


def _learn_live(result: FoldResult, state: LearnerState, monitor: MonitorState, records: Sequence[Received]) -> None:
    """Learn in the order of the log; markers mean nothing here."""
    examples: list[ExampleMatured] = []
    last: Event | None = None
    for record in records:
        data = record.event.data
        if isinstance(data, ExampleMatured):
            if not _is_to_learn(result, state, record, data):
                continue
            _remember(result, state, (data,))
            examples.append(data)
            last = record.event
        elif not isinstance(data, StepEnded):
            _reject(result, record)
            continue
        result.applied += 1
    if last is not None:
        _learn(result, state, monitor, examples, -1, last.id, last.recorded)


def _collect(result: FoldResult, state: LearnerState, monitor: MonitorState, record: Received) -> None:
    """Keep an example until its step is over; a marker may end the step."""
    data = record.event.data
    if isinstance(data, ExampleMatured):
        if not _is_to_learn(result, state, record, data):
            return
        state.pending[data.example_id] = data
        result.rows[PENDING + data.example_id] = data.model_dump_json().encode()
    elif isinstance(data, StepEnded):
        if data.step <= state.model.step:
            result.count_duplicate(record.topic)
            return
        marker = StepMarker(data.step, data.partition, data.partitions, record.event.id, record.event.recorded)
        state.ended[data.partition] = marker
        result.rows[f"{ENDED}{data.partition}"] = msgspec.json.encode(marker)
        if sum(m.step == data.step for m in state.ended.values()) == data.partitions:
            _end_step(result, state, monitor, data.step)
    else:
        _reject(result, record)
        return
    result.applied += 1


def _end_step(result: FoldResult, state: LearnerState, monitor: MonitorState, step: int) -> None:
    """All partitions are through: learn in the fixed order of a step and answer, also when there was nothing to learn."""
    examples = sort_examples(state.pending.values())
    cause = state.ended[max(state.ended)]
    result.rows.update(dict.fromkeys((PENDING + i for i in state.pending), None))
    result.rows.update(dict.fromkeys((f"{ENDED}{p}" for p in state.ended), None))
    state.pending, state.ended = {}, {}
    _remember(result, state, examples)
    _learn(result, state, monitor, examples, step, cause.id, cause.recorded)


def _learn(
    result: FoldResult,
    state: LearnerState,
    monitor: MonitorState,
    examples: Sequence[ExampleMatured],
    step: int,
    cause: str,
    recorded: datetime,
) -> None:
    """Judge each example and learn it; the model goes out, and the messages of the monitor."""
    quality = QualityMonitor(monitor)
    state.model = learn_all(state.model, examples, step, lambda model, example: quality.observe(model, example, forecasts))
    result.rows.update(quality.rows())
    _publish(result, state.model, cause, recorded)
    for number, data in enumerate(quality.outputs, quality.first_number):
        kind = MEASURED_TYPE if isinstance(data, ModelMeasured) else ALERTED_TYPE
        output_id = stable_id("model-quality", number)
        result.outputs.append(Output("model-quality", "", kind, output_id, recorded, recorded, data, causation_id=cause))


def _publish(result: FoldResult, model: SharedModel, cause: str, recorded: datetime) -> None:
    result.rows[MODEL_ROW] = to_row(model)
    # The step is part of the id: a step without examples has the version of the one before, but is an answer of its own.
    output_id = stable_id("model", model.version, model.step)
    result.outputs.append(
        Output("models", "shared", MODEL_TYPE, output_id, recorded, recorded, to_published(model), causation_id=cause)
    )


def _reject(result: FoldResult, record: Received) -> None:
    reason = f"the learner reads examples and end-of-step markers, not {record.event.type}: send it to its own topic"
    result.rejected.append((record, Rejection(reason)))
