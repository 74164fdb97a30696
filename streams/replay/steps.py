"""Cut the records of a replay into steps: weeks, and a long silence as one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from streams.connectors.records import Record

QUIET_DAYS = 400
"""How long after the last record its labels are still learned week by week; then the model stands still. What falls due later is
judged on its own day all the same, by the model of before the silence."""


class Step(NamedTuple):
    """A week (or what of it is left) of records in order, or a long time of none; ``end`` is exclusive: midnight UTC."""

    number: int
    end: datetime
    records: list[Record]


def cut_into_weeks(records: Iterable[Record], until: date | None = None) -> Iterator[Step]:
    """Cut records, in order, into calendar weeks (Monday to Sunday, UTC), weeks without records included.

    Numbers are consecutive from 0. The last step ends at the end of ``until``, or of the last record's day. Once there was no
    record for ``QUIET_DAYS``, one step extends to the week of the next: every step is a transaction, and a typing error in a
    ledger's year would cost a thousand of them. Within a step, too, all deadlines fire on their own days and in their order.
    """
    number, week, last = 0, list[Record](), None
    monday: date | None = None
    for record in records:
        if monday is None:
            monday = _monday_after(record.day)
        while record.day >= monday:
            yield Step(number, _midnight(monday), week)
            number, week, monday = number + 1, [], _next_end(monday, last or monday, record.day)
        week.append(record)
        last = record.day
    if monday is None or last is None:
        return
    end = (until or last) + timedelta(days=1)
    while monday < end:
        yield Step(number, _midnight(monday), week)
        number, week, monday = number + 1, [], _next_end(monday, last, end)
    yield Step(number, _midnight(end), week)


def cut_at(records: Sequence[Record], ends: Sequence[datetime]) -> Iterator[Step]:
    """Cut records, in order, into the steps of an earlier replay, which ended at these instants.

    The records alone need not say where: a dead letter, too, ends a long silence.
    """
    begin = 0
    for number, step_end in enumerate(ends):
        end = bisect_left(records, step_end.date(), begin, key=lambda record: record.day)
        yield Step(number, step_end, list(records[begin:end]))
        begin = end


def _next_end(monday: date, last: date, day: date) -> date:
    """The end of the step after ``monday``: in a week, or when the week of ``day`` begins after a long silence."""
    week = monday + timedelta(days=7)
    return max(week, _monday_after(day) - timedelta(days=7)) if (monday - last).days > QUIET_DAYS else week


def _monday_after(day: date) -> date:
    return day + timedelta(days=7 - day.weekday())


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
