"""What a brain is told besides a slice's records, whoever folds the slice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.brain import FoldResult, Received
from schemas.events.clock import ContextSet
from streams.engine.fold import ALL_DEADLINES, MAX_DEADLINES, fold_slice
from streams.engine.slicing import AppliedTick

CONTEXT = ContextSet(version="c")
START = datetime(2026, 3, 2, tzinfo=UTC)


class ObservedBrain:
    """Remembers what its last fold was told."""

    def __init__(self) -> None:
        self.now: datetime | None = None
        self.options: dict[str, Any] = {}

    def restore(self, key: str, value: bytes | None) -> None:
        raise NotImplementedError

    def fold(self, records: Sequence[Received], now: datetime | None, context: ContextSet, **options: Any) -> FoldResult:
        self.now, self.options = now, options
        return FoldResult()

    def on_committed(self, result: FoldResult) -> None:
        raise NotImplementedError


def tick(number: int, step: int = -1) -> AppliedTick:
    return AppliedTick(number, START + timedelta(days=number), step)


@pytest.mark.parametrize(
    ("before", "own", "now", "judged_as_of", "step"),
    [
        pytest.param(None, None, None, None, -1, id="no tick yet"),
        pytest.param(None, tick(0), tick(0).time, None, -1, id="the first tick"),
        pytest.param(tick(3), None, tick(3).time, tick(3).time, -1, id="records alone: the last tick stays in force"),
        pytest.param(tick(3), tick(4), tick(4).time, tick(3).time, -1, id="a tick: records are judged as of the one before"),
        pytest.param(tick(3, 3), tick(4, 4), tick(4).time, tick(3).time, 4, id="a step of a replay"),
        pytest.param(tick(3, 3), None, tick(3).time, tick(3).time, -1, id="no step ends without a tick"),
    ],
)
def test_which_time_is_now_and_which_was_before(
    before: AppliedTick | None, own: AppliedTick | None, now: datetime | None, judged_as_of: datetime | None, step: int
) -> None:
    brain = ObservedBrain()
    fold_slice(brain, (), CONTEXT, before=before, tick=own, replay=False)
    assert (brain.now, brain.options["previous_tick"], brain.options["step"]) == (now, judged_as_of, step)


@pytest.mark.parametrize(("replay", "limit"), [(False, MAX_DEADLINES), (True, ALL_DEADLINES)])
def test_live_some_deadlines_fire_with_a_slice_and_in_a_replay_all(replay: bool, limit: int) -> None:
    brain = ObservedBrain()
    fold_slice(brain, (), CONTEXT, before=None, tick=tick(0), replay=replay)
    assert (brain.options["max_deadlines"], brain.options["replay"]) == (limit, replay)


def test_a_topic_that_the_slice_resumes_is_no_longer_paused() -> None:
    brain = ObservedBrain()
    paused = frozenset({"payments", "decisions"})
    fold_slice(brain, (), CONTEXT, before=None, tick=None, replay=False, paused=paused, resumed=("payments",))
    assert brain.options["paused"] == {"decisions"}
