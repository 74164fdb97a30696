"""Records are cut into weeks, and a long silence is one step."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from streams.connectors.records import Record, raw_record
from streams.replay.steps import QUIET_DAYS, cut_at, cut_into_weeks


def on(day: date) -> Record:
    return raw_record("payments", b"x", day)


def test_weeks_end_on_monday_midnight_and_the_last_with_the_last_record() -> None:
    cut = list(cut_into_weeks([on(date(2024, 1, 3)), on(date(2024, 1, 7)), on(date(2024, 1, 8)), on(date(2024, 1, 24))]))
    assert [s.end for s in cut] == [datetime(2024, 1, d, tzinfo=UTC) for d in (8, 15, 22, 25)]
    assert [len(s.records) for s in cut] == [2, 1, 0, 1]
    assert [s.number for s in cut] == [0, 1, 2, 3]


def test_a_last_day_that_is_a_sunday_ends_its_week() -> None:
    assert [s.end for s in cut_into_weeks([on(date(2024, 1, 7))])] == [datetime(2024, 1, 8, tzinfo=UTC)]


def test_until_goes_beyond_the_last_record() -> None:
    ends = [s.end.date() for s in cut_into_weeks([on(date(2024, 1, 3))], until=date(2024, 1, 17))]
    assert ends == [date(2024, 1, 8), date(2024, 1, 15), date(2024, 1, 18)]


@given(st.lists(st.integers(0, 200), min_size=1).map(sorted), st.integers(0, 60))
def test_steps_hold_every_record_once_in_its_week(offsets: list[int], beyond: int) -> None:
    days = [date(2024, 1, 1) + timedelta(days=i) for i in offsets]
    until = days[-1] + timedelta(days=beyond)
    cut = list(cut_into_weeks([on(day) for day in days], until))
    assert [r.day for s in cut for r in s.records] == days
    assert [s.number for s in cut] == list(range(len(cut)))
    assert cut[-1].end.date() == until + timedelta(days=1)
    assert all(s.end.weekday() == 0 for s in cut[:-1])
    for step in cut:
        assert all(step.end.date() - timedelta(days=7) <= r.day < step.end.date() for r in step.records)


def weeks_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range(0, (last - first).days + 1, 7)]


def test_after_400_days_without_a_record_one_step_goes_on_to_the_week_of_the_next() -> None:
    cut = list(cut_into_weeks([on(date(1999, 1, 4)), on(date(2026, 1, 7))]))
    ends = [s.end.date() for s in cut]
    assert ends == [*weeks_between(date(1999, 1, 11), date(2000, 2, 14)), date(2026, 1, 5), date(2026, 1, 8)]
    assert [s.number for s in cut] == list(range(len(cut)))
    assert [len(s.records) for s in (cut[0], *cut[-2:])] == [1, 0, 1]


def test_without_a_record_until_a_far_day_the_rest_is_one_step_and_what_is_left_of_a_week() -> None:
    ends = [s.end.date() for s in cut_into_weeks([on(date(2024, 1, 3))], until=date(2199, 12, 31))]
    assert ends[-4:] == [date(2025, 2, 3), date(2025, 2, 10), date(2199, 12, 30), date(2200, 1, 1)]
    assert [s.end.date() for s in cut_into_weeks([on(date(2024, 1, 3))], until=date(2199, 12, 29))] == ends[:-1]


@given(st.integers(0, QUIET_DAYS), st.integers(0, QUIET_DAYS))
def test_up_to_400_days_without_a_record_every_week_is_a_step(gap: int, beyond: int) -> None:
    first = date(2024, 1, 3)
    second = first + timedelta(days=gap)
    until = second + timedelta(days=beyond)
    ends = [s.end.date() for s in cut_into_weeks([on(first), on(second)], until)]
    end = until + timedelta(days=1)
    mondays = weeks_between(date(2024, 1, 8), end)
    assert ends == mondays + ([] if end in mondays else [end])


@given(st.lists(st.integers(0, 2_000), min_size=1).map(sorted), st.integers(0, 60))
def test_a_replay_that_has_been_is_cut_again_where_it_was_cut(offsets: list[int], beyond: int) -> None:
    records = [on(date(2024, 1, 1) + timedelta(days=i)) for i in offsets]
    cut = list(cut_into_weeks(records, records[-1].day + timedelta(days=beyond)))
    ends = [step.end for step in cut]
    assert list(cut_at(records, ends)) == cut
    # Also without some of its records, which have become dead letters.
    assert [step.end for step in cut_at(records[::2], ends)] == ends
    assert [r for step in cut_at(records[::2], ends) for r in step.records] == records[::2]
