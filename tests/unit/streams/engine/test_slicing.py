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
    AppliedTick,
    GapError,
    Rules,
    Run,
    Slice,
    SliceBuffer,
    continues,
    is_reached,
    oldest_first,
    pop_below,
)
from streams.kafka.record import KafkaRecord

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


def new_buffer(
    order: Order = "arrival",
    *,
    knows_context: bool = True,
    tick: AppliedTick | None = None,
    paused: Iterable[str] = (),
    **rules: Any,
) -> SliceBuffer:
    positions = {"payments": 0, "decisions": 0}
    return SliceBuffer(tuple(positions), Rules(order, **rules), positions, tick, knows_context, set(paused))


def next_of(buffer: SliceBuffer) -> Slice:
    slice_ = buffer.next_slice()
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
    buffer = new_buffer(knows_context=False)
    buffer.add_records("payments", records(0, 3), 0, 3)
    assert buffer.next_slice() is None
    buffer.add_tick(0, CONTEXT)
    slice_ = next_of(buffer)
    assert slice_.context == CONTEXT
    assert slice_.clock_end == 1
    assert [r.offset for r in slice_.runs[0].records] == [0, 1, 2]


def test_a_run_reaches_over_the_marker_behind_its_last_record() -> None:
    buffer = new_buffer()
    buffer.add_records("payments", records(0, 3), 0, 4)
    assert next_of(buffer).runs[0].end == 4


def test_a_marker_alone_makes_no_slice_but_the_next_tick_is_reached_over_it() -> None:
    buffer = new_buffer()
    buffer.add_records("payments", [], 0, 2)
    assert buffer.next_slice() is None
    buffer.add_tick(0, tick(1, payments=2))
    slice_ = next_of(buffer)
    assert tick_of(slice_) == 1
    assert slice_.runs == (Run("payments", 0, 2, []),)


def test_a_tick_waits_until_the_last_record_of_its_cut_is_in_the_slice() -> None:
    buffer = new_buffer(max_slice=2)
    buffer.add_records("payments", records(0, 3), 0, 3)
    buffer.add_tick(0, tick(1, payments=3))
    assert next_of(buffer).tick is None
    assert tick_of(next_of(buffer)) == 1


def test_a_tick_does_not_wait_for_topics_that_are_paused_or_not_ours() -> None:
    assert is_reached(tick(1, payments=5, rates=9), {"payments": 0}, {"payments"})
    assert not is_reached(tick(1, payments=5), {"payments": 4}, set())
    assert is_reached(tick(1, payments=5), {"payments": 5}, set())


def test_a_context_takes_effect_only_after_the_ticks_before_it() -> None:
    buffer = new_buffer()
    buffer.add_tick(0, tick(1, payments=1))
    buffer.add_tick(1, CONTEXT)
    assert buffer.next_slice() is None
    buffer.add_records("payments", records(0, 1), 0, 1)
    first, second = next_of(buffer), next_of(buffer)
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
    buffer = new_buffer(tick=AppliedTick(5, START))
    buffer.add_tick(0, late)
    buffer.add_tick(1, Ticked(number=7, time=START + timedelta(seconds=1), ends={}))
    assert tick_of(next_of(buffer)) == 7
    assert buffer.next_slice() is None


def test_a_lazy_tick_comes_with_the_next_records() -> None:
    buffer = new_buffer(lazy=True)
    buffer.add_tick(0, tick(1))
    assert buffer.next_slice() is None
    buffer.add_records("payments", records(0, 1), 0, 1)
    slice_ = next_of(buffer)
    assert tick_of(slice_) == 1
    assert len(slice_.runs[0].records) == 1


def test_records_may_wait_for_a_tick_unless_a_slice_is_full() -> None:
    buffer = new_buffer(with_tick=True, max_slice=4)
    buffer.add_records("payments", records(0, 3), 0, 3)
    assert buffer.next_slice() is None
    buffer.add_tick(0, tick(1, payments=3))
    slice_ = next_of(buffer)
    assert slice_.tick is not None and len(slice_.runs[0].records) == 3
    buffer.add_records("payments", records(3, 8), 3, 8)
    assert len(next_of(buffer).runs[0].records) == 4
    assert buffer.next_slice() is None


RECORDS, TICK, FAR_TICK, RESUMED = "records", tick(1), tick(1, payments=9), SourceResumed(topic="decisions", owner="jane")


@pytest.mark.parametrize(
    ("arrivals", "live", "lazy", "with_tick"),
    [
        pytest.param([], False, False, False, id="nothing"),
        pytest.param([RECORDS], True, True, False, id="records"),
        pytest.param([TICK], True, False, True, id="a tick that is reached"),
        pytest.param([FAR_TICK], False, False, False, id="a tick that is not reached"),
        pytest.param([CONTEXT], True, False, False, id="a context"),
        pytest.param([CONTEXT, TICK], True, False, True, id="a context and a tick"),
        pytest.param([RECORDS, TICK], True, True, True, id="records and a tick"),
        pytest.param([RECORDS, FAR_TICK], True, True, False, id="records and a tick that is not reached"),
        pytest.param([RESUMED], True, True, True, id="a topic is resumed"),
        pytest.param([TICK, RESUMED], True, True, True, id="a topic is resumed behind a tick"),
        pytest.param([FAR_TICK, RESUMED], False, False, False, id="a topic is resumed behind a tick that is not reached"),
    ],
)
def test_whether_there_is_a_slice_depends_on_what_arrived_and_on_the_rules(
    arrivals: list[Any], live: bool, lazy: bool, with_tick: bool
) -> None:
    cases: list[tuple[dict[str, Any], bool]] = [({}, live), ({"lazy": True}, lazy), ({"with_tick": True}, with_tick)]
    for rules, expected in cases:
        buffer = new_buffer(paused={"decisions"}, **rules)
        for offset, arrival in enumerate(arrivals):
            if arrival is RECORDS:
                buffer.add_records("payments", records(0, 2), 0, 2)
            else:
                buffer.add_tick(offset, arrival)
        assert (buffer.next_slice() is not None) is expected, rules


def test_left_deadlines_and_a_full_slice_wait_for_no_tick() -> None:
    assert new_buffer(with_tick=True, lazy=True).next_slice(more=True) is not None
    buffer = new_buffer(with_tick=True, max_slice=2)
    buffer.add_records("payments", records(0, 2), 0, 2)
    assert buffer.next_slice() is not None


def test_deadlines_that_are_left_make_a_slice_of_their_own() -> None:
    buffer = new_buffer()
    assert buffer.next_slice(more=True) == Slice(())


def test_what_was_not_fetched_from_where_the_last_fetch_ended_is_a_gap() -> None:
    buffer = new_buffer()
    buffer.add_records("payments", records(0, 2), 0, 2)
    with pytest.raises(GapError, match="fetched from 3, expected 2"):
        buffer.add_records("payments", records(3, 4), 3, 4)


def test_a_slice_that_does_not_begin_at_the_position_is_not_applied() -> None:
    slice_ = Slice((Run("payments", 3, 5, ()),))
    assert continues(slice_, {"payments": 3})
    assert not continues(slice_, {"payments": 2})
    assert not continues(slice_, {"payments": 4})


def test_a_replay_applies_nothing_without_a_tick_and_all_up_to_its_cut_with_it() -> None:
    buffer = new_buffer("replay")
    buffer.add_records("payments", records(0, 5), 0, 6)
    assert buffer.next_slice() is None
    buffer.add_tick(0, tick(0, payments=3))
    slice_ = next_of(buffer)
    assert [r.offset for r in slice_.runs[0].records] == [0, 1, 2]
    assert slice_.runs[0].end == 3
    assert buffer.next_slice() is None
    buffer.add_tick(1, tick(1, payments=6))
    assert [r.offset for r in next_of(buffer).runs[0].records] == [3, 4]


def test_a_replay_waits_for_the_whole_step() -> None:
    buffer = new_buffer("replay")
    buffer.add_tick(0, tick(0, payments=3))
    buffer.add_records("payments", records(0, 2), 0, 2)
    assert buffer.next_slice() is None
    buffer.add_records("payments", records(2, 3), 2, 3)
    assert tick_of(next_of(buffer)) == 0


def test_enough_held_stops_the_fetch_but_never_of_what_the_next_tick_waits_for() -> None:
    buffer = new_buffer("replay", max_held=3)
    buffer.add_records("payments", records(0, 3), 0, 3)
    assert not buffer.wants_more("payments")
    assert buffer.wants_more("decisions")
    buffer.add_tick(0, tick(0, payments=5))
    assert buffer.wants_more("payments")
    buffer.add_records("payments", records(3, 5), 3, 5)
    assert not buffer.wants_more("payments")


def test_live_not_even_a_tick_makes_more_be_held_than_there_is_room_for() -> None:
    buffer = new_buffer(max_held=3)
    buffer.add_records("payments", records(0, 3), 0, 3)
    buffer.add_tick(0, tick(0, payments=5))
    assert not buffer.wants_more("payments")
    assert next_of(buffer).tick is None
    assert buffer.wants_more("payments")


def test_a_paused_topic_is_not_fetched() -> None:
    assert not new_buffer(paused={"payments"}).wants_more("payments")


def test_what_is_held_of_a_paused_topic_waits_until_the_clock_resumes_it() -> None:
    buffer = new_buffer(paused={"payments"})
    buffer.add_records("payments", records(0, 3), 0, 3)
    buffer.add_records("decisions", records(0, 1), 0, 1)
    buffer.add_tick(0, tick(1, payments=3, decisions=1))
    slice_ = next_of(buffer)
    assert [run.topic for run in slice_.runs] == ["decisions"]
    assert tick_of(slice_) == 1
    buffer.add_tick(1, SourceResumed(topic="payments", owner="jane"))
    slice_ = next_of(buffer)
    assert slice_.resumed == ("payments",)
    assert slice_.runs == (Run("payments", 0, 3, records(0, 3)),)
    assert slice_.clock_end == 2
    assert buffer.next_slice() is None


def test_a_resumption_makes_a_slice_also_when_nothing_is_held() -> None:
    buffer = new_buffer(paused={"payments"}, lazy=True)
    buffer.add_tick(0, SourceResumed(topic="payments", owner="jane"))
    assert next_of(buffer).resumed == ("payments",)
    assert buffer.wants_more("payments")


def test_a_resumption_of_what_is_not_paused_says_nothing() -> None:
    buffer = new_buffer()
    buffer.add_tick(0, SourceResumed(topic="payments", owner="jane"))
    assert buffer.next_slice() is None
    buffer.add_records("payments", records(0, 1), 0, 1)
    slice_ = next_of(buffer)
    assert (slice_.resumed, slice_.clock_end) == ((), 1)


def test_a_step_of_a_replay_leaves_a_paused_topic_where_it_is() -> None:
    buffer = new_buffer("replay", paused={"payments"})
    buffer.add_records("payments", records(0, 3), 0, 3)
    buffer.add_tick(0, tick(0, payments=3))
    slice_ = next_of(buffer)
    assert slice_.runs == ()
    assert buffer.positions["payments"] == 0


def test_too_many_bytes_stop_the_fetch_too_and_half_of_them_let_it_go_on() -> None:
    buffer = new_buffer(max_held_bytes=10, max_slice=3)
    buffer.add_records("payments", records(0, 5), 0, 5)  # two bytes each
    assert not buffer.wants_more("payments")
    buffer.next_slice()
    assert buffer.wants_more("payments")
    assert buffer.wants_more("payments", throttled=True)


def test_who_rests_goes_on_only_when_half_is_applied() -> None:
    buffer = new_buffer(max_held=4, max_slice=1)
    buffer.add_records("payments", records(0, 4), 0, 4)
    buffer.next_slice()
    assert buffer.wants_more("payments")
    assert not buffer.wants_more("payments", throttled=True)


def test_records_from_below_the_position_are_a_gap() -> None:
    buffer = new_buffer()
    buffer.add_records("payments", records(0, 3), 0, 3)
    with pytest.raises(GapError, match="fetched from 2, expected 3"):
        buffer.add_records("payments", records(2, 4), 3, 4)


def test_it_waits_for_records_the_clock_and_nothing_else() -> None:
    buffer = new_buffer()
    assert not buffer.has_work()
    buffer.add_records("payments", [], 0, 2)
    assert not buffer.has_work()
    buffer.add_tick(0, tick(1))
    assert buffer.has_work()


def test_records_below_an_offset_are_taken_off_the_head() -> None:
    backlog: deque[KafkaRecord] = deque(records(0, 5))
    assert [r.offset for r in pop_below(backlog, 2)] == [0, 1]
    assert backlog[0].offset == 2


def records_at(*stamps: int) -> list[Fetched]:
    return [Fetched(offset, timestamp=stamp) for offset, stamp in enumerate(stamps)]


def test_of_a_backlog_the_oldest_are_taken_whichever_topic_they_are_in() -> None:
    buffer = new_buffer(max_slice=4)
    buffer.add_records("payments", records_at(10, 40, 50, 60), 0, 4)
    buffer.add_records("decisions", records_at(20, 30, 35, 70), 0, 4)
    assert [(run.topic, run.end) for run in next_of(buffer).runs] == [("payments", 1), ("decisions", 3)]
    assert [(run.topic, run.end) for run in next_of(buffer).runs] == [("payments", 4), ("decisions", 4)]


def test_a_record_from_the_future_delays_its_topic_by_no_more_than_a_slice_for_each() -> None:
    buffer = new_buffer(max_slice=3)
    buffer.add_records("payments", records_at(10**12, 1, 2), 0, 3)
    buffer.add_records("decisions", records_at(*range(1, 9)), 0, 8)
    assert [run.end for run in next_of(buffer).runs] == [2, 1]


STAMPS = st.lists(st.integers(0, 50), max_size=30)


@given(st.dictionaries(st.sampled_from("abcde"), STAMPS, min_size=1), st.integers(0, 60))
def test_the_oldest_fill_the_room_and_no_topic_waits_for_ever(stamps: dict[str, list[int]], room: int) -> None:
    backlog = {topic: records_at(*own) for topic, own in stamps.items()}
    counts = oldest_first(backlog, room)
    assert sum(counts.values()) == min(room, sum(map(len, backlog.values())))
    assert all(counts[topic] <= len(backlog[topic]) for topic in backlog)
    if room >= len(backlog):
        assert all(counts[topic] for topic in backlog if backlog[topic])


@given(st.dictionaries(st.sampled_from("abcde"), STAMPS.map(sorted), min_size=1), st.integers(5, 60))
def test_where_stamps_never_fall_nothing_older_is_left_than_what_is_taken_but_for_each_topics_first(
    stamps: dict[str, list[int]], room: int
) -> None:
    backlog = {topic: records_at(*own) for topic, own in stamps.items()}
    counts = oldest_first(backlog, room)
    latest = max((record.timestamp for topic in backlog for record in backlog[topic][1 : counts[topic]]), default=0)
    assert all(record.timestamp >= latest for topic in backlog for record in backlog[topic][counts[topic] :])


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
    buffer = new_buffer(order, knows_context=False, max_slice=room)
    offsets_sent: dict[str, list[int]] = {"payments": [], "decisions": []}
    offsets_applied: dict[str, list[int]] = {"payments": [], "decisions": []}
    at = {"payments": 0, "decisions": 0}
    clock = number = 0

    def take() -> bool:
        slice_ = buffer.next_slice()
        if slice_ is None:
            return False
        assert continues(slice_, at)
        for run in slice_.runs:
            assert all(run.start <= r.offset < run.end for r in run.records)
            offsets_applied[run.topic] += [r.offset for r in run.records]
        at.update(slice_.ends("clock"))
        if slice_.tick:
            assert all(at[topic] >= end for topic, end in slice_.tick.ends.items())
        if order == "replay":
            assert slice_.tick is not None
            assert all(
                offset < max(slice_.tick.ends.get(topic, 0), 0) or offset < at[topic]
                for topic, s in offsets_applied.items()
                for offset in s
            )
        return True

    for step in steps:
        match step:
            case ("fetch", topic, count, hole):
                before = buffer.fetched[topic]
                new = records(before, before + count)
                offsets_sent[topic] += [r.offset for r in new]
                buffer.add_records(topic, new, before, before + count + hole)
            case ("tick", payments, decisions, with_context):
                if with_context:
                    buffer.add_tick(clock, CONTEXT)
                    clock += 1
                buffer.add_tick(clock, tick(number, payments=payments, decisions=decisions))
                clock, number = clock + 1, number + 1
            case _:
                take()
    while take():
        pass
    for topic in offsets_sent:
        assert offsets_applied[topic] == offsets_sent[topic][: len(offsets_applied[topic])]
    if order == "arrival" and buffer.knows_context:
        assert offsets_applied == offsets_sent
