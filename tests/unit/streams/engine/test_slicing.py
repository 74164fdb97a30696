"""What may be applied next: runs join, nothing precedes its cut, ticks never go back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events.clock import ContextSet, SourceResumed, Ticked
from streams.engine.slicing import (
    Applied,
    GapError,
    Record,
    Rules,
    Run,
    Slice,
    SliceBuffer,
    continues,
    is_reached,
    oldest_first,
    pop_below,
)

Order = Literal["arrival", "replay"]
START = datetime(2026, 3, 2, tzinfo=UTC)
CONTEXT = ContextSet(version="c1")


@dataclass(frozen=True)
class Fetched:
    offset: int
    key: bytes | None = b"c"
    value: bytes | None = b"{}"
    headers: tuple[str, ...] = ()
    timestamp: int = 0


def gathering(
    order: Order = "arrival",
    *,
    knows_context: bool = True,
    applied: Applied | None = None,
    paused: Iterable[str] = (),
    **rules: Any,
) -> SliceBuffer:
    positions = {"payments": 0, "decisions": 0}
    return SliceBuffer(tuple(positions), Rules(order, **rules), positions, applied, knows_context, set(paused))


def taken(held: SliceBuffer) -> Slice:
    slice_ = held.take()
    assert slice_ is not None
    return slice_


def tick_of(slice_: Slice) -> int | None:
    """The number of the tick that goes with it."""
    return None if slice_.tick is None else slice_.tick.number


def records(start: int, end: int) -> list[Fetched]:
    return [Fetched(offset) for offset in range(start, end)]


def tick(number: int, **ends: int) -> Ticked:
    return Ticked(number=number, time=START + timedelta(seconds=number), ends=ends)


def test_nothing_is_applied_before_a_context_is_known() -> None:
    held = gathering(knows_context=False)
    held.arrived("payments", records(0, 3), 0, 3)
    assert held.take() is None
    held.ticked(0, CONTEXT)
    made = taken(held)
    assert made.context == CONTEXT
    assert made.clock_end == 1
    assert [r.offset for r in made.runs[0].records] == [0, 1, 2]


def test_a_run_reaches_over_the_marker_behind_its_last_record() -> None:
    held = gathering()
    held.arrived("payments", records(0, 3), 0, 4)
    assert taken(held).runs[0].end == 4


def test_a_marker_alone_makes_no_slice_but_the_next_tick_is_reached_over_it() -> None:
    held = gathering()
    held.arrived("payments", [], 0, 2)
    assert held.take() is None
    held.ticked(0, tick(1, payments=2))
    made = taken(held)
    assert tick_of(made) == 1
    assert made.runs == (Run("payments", 0, 2, []),)


def test_a_tick_waits_until_the_last_record_of_its_cut_is_in_the_slice() -> None:
    held = gathering(most=2)
    held.arrived("payments", records(0, 3), 0, 3)
    held.ticked(0, tick(1, payments=3))
    assert taken(held).tick is None
    assert tick_of(taken(held)) == 1


def test_a_tick_does_not_wait_for_topics_that_are_paused_or_not_ours() -> None:
    assert is_reached(tick(1, payments=5, rates=9), {"payments": 0}, {"payments"})
    assert not is_reached(tick(1, payments=5), {"payments": 4}, set())
    assert is_reached(tick(1, payments=5), {"payments": 5}, set())


def test_a_context_takes_effect_only_after_the_ticks_before_it() -> None:
    held = gathering()
    held.ticked(0, tick(1, payments=1))
    held.ticked(1, CONTEXT)
    assert held.take() is None
    held.arrived("payments", records(0, 1), 0, 1)
    first, second = taken(held), taken(held)
    assert (tick_of(first), first.context) == (1, None)
    assert (second.tick, second.context) == (None, CONTEXT)


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(Ticked(number=5, time=START + timedelta(hours=1), ends={}), id="the same number"),
        pytest.param(Ticked(number=6, time=START, ends={}), id="the same time"),
        pytest.param(Ticked(number=6, time=START - timedelta(hours=1), ends={}), id="an earlier time"),
    ],
)
def test_a_tick_that_goes_back_is_passed_over(late: Ticked) -> None:
    held = gathering(applied=Applied(5, START))
    held.ticked(0, late)
    held.ticked(1, Ticked(number=7, time=START + timedelta(seconds=1), ends={}))
    assert tick_of(taken(held)) == 7
    assert held.take() is None


def test_a_lazy_tick_comes_with_the_next_records() -> None:
    held = gathering(lazy=True)
    held.ticked(0, tick(1))
    assert held.take() is None
    held.arrived("payments", records(0, 1), 0, 1)
    made = taken(held)
    assert tick_of(made) == 1
    assert len(made.runs[0].records) == 1


def test_records_may_wait_for_a_tick_unless_a_slice_is_full() -> None:
    held = gathering(with_tick=True, most=4)
    held.arrived("payments", records(0, 3), 0, 3)
    assert held.take() is None
    held.ticked(0, tick(1, payments=3))
    made = taken(held)
    assert made.tick is not None and len(made.runs[0].records) == 3
    held.arrived("payments", records(3, 8), 3, 8)
    assert len(taken(held).runs[0].records) == 4
    assert held.take() is None


def test_deadlines_that_are_left_make_a_slice_of_their_own() -> None:
    held = gathering()
    assert held.take(more=True) == Slice(())


def test_what_was_not_fetched_from_where_the_last_fetch_ended_is_a_gap() -> None:
    held = gathering()
    held.arrived("payments", records(0, 2), 0, 2)
    with pytest.raises(GapError, match="fetched from 3, expected 2"):
        held.arrived("payments", records(3, 4), 3, 4)


def test_a_slice_that_does_not_begin_at_the_position_is_not_applied() -> None:
    made = Slice((Run("payments", 3, 5, ()),))
    assert continues(made, {"payments": 3})
    assert not continues(made, {"payments": 2})
    assert not continues(made, {"payments": 4})


def test_a_replay_applies_nothing_without_a_tick_and_all_up_to_its_cut_with_it() -> None:
    held = gathering("replay")
    held.arrived("payments", records(0, 5), 0, 6)
    assert held.take() is None
    held.ticked(0, tick(0, payments=3))
    made = taken(held)
    assert [r.offset for r in made.runs[0].records] == [0, 1, 2]
    assert made.runs[0].end == 3
    assert held.take() is None
    held.ticked(1, tick(1, payments=6))
    assert [r.offset for r in taken(held).runs[0].records] == [3, 4]


def test_a_replay_waits_for_the_whole_step() -> None:
    held = gathering("replay")
    held.ticked(0, tick(0, payments=3))
    held.arrived("payments", records(0, 2), 0, 2)
    assert held.take() is None
    held.arrived("payments", records(2, 3), 2, 3)
    assert tick_of(taken(held)) == 0


def test_enough_held_stops_the_fetch_but_never_of_what_the_next_tick_waits_for() -> None:
    held = gathering("replay", held=3)
    held.arrived("payments", records(0, 3), 0, 3)
    assert not held.wants("payments")
    assert held.wants("decisions")
    held.ticked(0, tick(0, payments=5))
    assert held.wants("payments")
    held.arrived("payments", records(3, 5), 3, 5)
    assert not held.wants("payments")


def test_live_not_even_a_tick_makes_more_be_held_than_there_is_room_for() -> None:
    held = gathering(held=3)
    held.arrived("payments", records(0, 3), 0, 3)
    held.ticked(0, tick(0, payments=5))
    assert not held.wants("payments")
    assert taken(held).tick is None
    assert held.wants("payments")


def test_a_paused_topic_is_not_fetched() -> None:
    assert not gathering(paused={"payments"}).wants("payments")


def test_what_is_held_of_a_paused_topic_waits_until_the_clock_resumes_it() -> None:
    held = gathering(paused={"payments"})
    held.arrived("payments", records(0, 3), 0, 3)
    held.arrived("decisions", records(0, 1), 0, 1)
    held.ticked(0, tick(1, payments=3, decisions=1))
    made = taken(held)
    assert [run.topic for run in made.runs] == ["decisions"]
    assert tick_of(made) == 1
    held.ticked(1, SourceResumed(topic="payments", owner="jane"))
    made = taken(held)
    assert made.resumed == ("payments",)
    assert made.runs == (Run("payments", 0, 3, records(0, 3)),)
    assert made.clock_end == 2
    assert held.take() is None


def test_a_resumption_makes_a_slice_also_when_nothing_is_held() -> None:
    held = gathering(paused={"payments"}, lazy=True)
    held.ticked(0, SourceResumed(topic="payments", owner="jane"))
    assert taken(held).resumed == ("payments",)
    assert held.wants("payments")


def test_a_resumption_of_what_is_not_paused_says_nothing() -> None:
    held = gathering()
    held.ticked(0, SourceResumed(topic="payments", owner="jane"))
    assert held.take() is None
    held.arrived("payments", records(0, 1), 0, 1)
    made = taken(held)
    assert (made.resumed, made.clock_end) == ((), 1)


def test_a_step_of_a_replay_leaves_a_paused_topic_where_it_is() -> None:
    held = gathering("replay", paused={"payments"})
    held.arrived("payments", records(0, 3), 0, 3)
    held.ticked(0, tick(0, payments=3))
    made = taken(held)
    assert made.runs == ()
    assert held.positions["payments"] == 0


def test_too_many_bytes_stop_the_fetch_too_and_half_of_them_let_it_go_on() -> None:
    held = gathering(held_bytes=10, most=3)
    held.arrived("payments", records(0, 5), 0, 5)  # two bytes each
    assert not held.wants("payments")
    held.take()
    assert held.wants("payments")
    assert held.wants("payments", resting=True)


def test_who_rests_goes_on_only_when_half_is_applied() -> None:
    held = gathering(held=4, most=1)
    held.arrived("payments", records(0, 4), 0, 4)
    held.take()
    assert held.wants("payments")
    assert not held.wants("payments", resting=True)


def test_records_from_below_the_position_are_a_gap() -> None:
    held = gathering()
    held.arrived("payments", records(0, 3), 0, 3)
    with pytest.raises(GapError, match="fetched from 2, expected 3"):
        held.arrived("payments", records(2, 4), 3, 4)


def test_it_waits_for_records_the_clock_and_nothing_else() -> None:
    held = gathering()
    assert not held.waits()
    held.arrived("payments", [], 0, 2)
    assert not held.waits()
    held.ticked(0, tick(1))
    assert held.waits()


def test_records_below_an_offset_are_taken_off_the_head() -> None:
    waiting: deque[Record] = deque(records(0, 5))
    assert [r.offset for r in pop_below(waiting, 2)] == [0, 1]
    assert waiting[0].offset == 2


def written(*stamps: int) -> list[Fetched]:
    return [Fetched(offset, timestamp=stamp) for offset, stamp in enumerate(stamps)]


def test_of_a_backlog_the_oldest_are_taken_whichever_topic_they_are_in() -> None:
    held = gathering(most=4)
    held.arrived("payments", written(10, 40, 50, 60), 0, 4)
    held.arrived("decisions", written(20, 30, 35, 70), 0, 4)
    assert [(run.topic, run.end) for run in taken(held).runs] == [("payments", 1), ("decisions", 3)]
    assert [(run.topic, run.end) for run in taken(held).runs] == [("payments", 4), ("decisions", 4)]


def test_a_record_from_the_future_delays_its_topic_by_no_more_than_a_slice_for_each() -> None:
    held = gathering(most=3)
    held.arrived("payments", written(10**12, 1, 2), 0, 3)
    held.arrived("decisions", written(*range(1, 9)), 0, 8)
    assert [run.end for run in taken(held).runs] == [2, 1]


STAMPS = st.lists(st.integers(0, 50), max_size=30)


@given(st.dictionaries(st.sampled_from("abcde"), STAMPS, min_size=1), st.integers(0, 60))
def test_the_oldest_fill_the_room_and_no_topic_waits_for_ever(stamps: dict[str, list[int]], room: int) -> None:
    waiting = {topic: written(*own) for topic, own in stamps.items()}
    taken = oldest_first(waiting, room)
    assert sum(taken.values()) == min(room, sum(map(len, waiting.values())))
    assert all(taken[topic] <= len(waiting[topic]) for topic in waiting)
    if room >= len(waiting):
        assert all(taken[topic] for topic in waiting if waiting[topic])


@given(st.dictionaries(st.sampled_from("abcde"), STAMPS.map(sorted), min_size=1), st.integers(5, 60))
def test_where_stamps_never_fall_nothing_older_is_left_than_what_is_taken_but_for_each_topics_first(
    stamps: dict[str, list[int]], room: int
) -> None:
    waiting = {topic: written(*own) for topic, own in stamps.items()}
    taken = oldest_first(waiting, room)
    latest = max((record.timestamp for topic in waiting for record in waiting[topic][1 : taken[topic]]), default=0)
    assert all(record.timestamp >= latest for topic in waiting for record in waiting[topic][taken[topic] :])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fetch"), st.sampled_from(["payments", "decisions"]), st.integers(0, 4), st.integers(0, 2)),
        st.tuples(st.just("tick"), st.integers(0, 12), st.integers(0, 12), st.booleans()),
        st.tuples(st.just("take")),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from(["arrival", "replay"]), st.integers(1, 5))
def test_whatever_happens_runs_join_records_come_once_in_order_and_ticks_after_their_cuts(  # noqa: C901
    steps: list[tuple[Any, ...]], order: Order, room: int
) -> None:
    held = gathering(order, knows_context=False, most=room)
    sent: dict[str, list[int]] = {"payments": [], "decisions": []}
    seen: dict[str, list[int]] = {"payments": [], "decisions": []}
    at = {"payments": 0, "decisions": 0}
    clock = number = 0

    def take() -> bool:
        made = held.take()
        if made is None:
            return False
        assert continues(made, at)
        for run in made.runs:
            assert all(run.start <= r.offset < run.end for r in run.records)
            seen[run.topic] += [r.offset for r in run.records]
        at.update(made.ends("clock"))
        if made.tick:
            assert all(at[topic] >= end for topic, end in made.tick.ends.items())
        if order == "replay":
            assert made.tick is not None
            assert all(
                offset < max(made.tick.ends.get(topic, 0), 0) or offset < at[topic] for topic, s in seen.items() for offset in s
            )
        return True

    for step in steps:
        match step:
            case ("fetch", topic, count, hole):
                before = held.fetched[topic]
                new = records(before, before + count)
                sent[topic] += [r.offset for r in new]
                held.arrived(topic, new, before, before + count + hole)
            case ("tick", payments, decisions, with_context):
                if with_context:
                    held.ticked(clock, CONTEXT)
                    clock += 1
                held.ticked(clock, tick(number, payments=payments, decisions=decisions))
                clock, number = clock + 1, number + 1
            case _:
                take()
    while take():
        pass
    for topic in sent:
        assert seen[topic] == sent[topic][: len(seen[topic])]
    if order == "arrival" and held.knows_context:
        assert seen == sent
