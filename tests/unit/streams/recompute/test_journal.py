"""What a recomputation reads from the logs, and what it says where they no longer hold what the journal refers to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from schemas.events.clock import ContextSet, Ticked
from schemas.outputs.operations import Run, SliceCommitted
from streams.errors import UsageError
from streams.kafka.log import Log, LogError, LoggedRecord
from streams.recompute import journal
from streams.recompute.clock_log import CONTEXT_TYPE, TICK_TYPE, ClockLog
from streams.recompute.journal import SLICE_TYPE
from streams.settings import Settings
from tests.support.builders import at, payment


class FakeLog(Log):
    """A log in memory, with the interface of ``Log``."""

    def __init__(self, name: str, records: Sequence[LoggedRecord], first: int = 0) -> None:
        self.name, self.partition, self._there, self._first = name, 0, list(records), first

    def first_offset(self) -> int:
        return self._first

    def close(self) -> None:
        pass

    def records(self, start: int, end: int) -> Iterator[LoggedRecord]:
        while self._there and self._there[0].offset < end:
            record = self._there.pop(0)
            if record.offset >= start:
                yield record

    def next_record(self, end: int = 0) -> LoggedRecord | None:
        return self._there.pop(0) if self._there else None


def clock_record(offset: int, data: Ticked | ContextSet) -> LoggedRecord:
    kind = TICK_TYPE if isinstance(data, Ticked) else CONTEXT_TYPE
    return LoggedRecord(offset, b"0", data.model_dump_json().encode(), [kind], 0)


def tick(number: int, step: int = -1) -> Ticked:
    return Ticked(number=number, time=at(number), ends={}, step=step)


def committed(number: int, **changes: object) -> SliceCommitted:
    fields = {
        "agent": "debtor", "partition": 0, "number": number, "runs": (), "order": "arrival", "tick": None, "tick_offset": None,
        "context_version": "c", "code_version": "1", "applied": 0, "duplicates": 0, "rejected": 0, "outputs": 0,
    }  # fmt: skip
    return SliceCommitted.model_validate(fields | changes)


def journal_record(offset: int, entry: SliceCommitted) -> LoggedRecord:
    return LoggedRecord(offset, b"0", entry.model_dump_json().encode(), [SLICE_TYPE], 1_000 + offset)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeLog]:
    """Topic -> its log; what a test puts in is what there is."""
    existing: dict[str, FakeLog] = {}

    def opened(_settings: Settings, name: str, _partition: int) -> FakeLog:
        topic = name.removeprefix("duewatch-")
        return existing.setdefault(topic, FakeLog(name, []))

    monkeypatch.setattr(journal, "Log", opened)
    return existing


def test_the_context_in_force_is_the_one_that_the_journal_names() -> None:
    first_context, other_context = ContextSet(version="one"), ContextSet(version="other")
    records = [clock_record(0, first_context), clock_record(1, tick(0)), clock_record(2, other_context), clock_record(3, tick(1))]
    clock = ClockLog(FakeLog("clock", records))

    assert clock.tick_at(1).number == 0
    assert clock.context("one") == first_context
    assert clock.context("other") == other_context  # taken ahead of its tick: the worker may do so, too
    assert clock.tick_at(3).number == 1
    with pytest.raises(LogError, match=r"clock/0 does not hold the context gone"):
        clock.context("gone")


def test_a_tick_that_is_not_there_is_named() -> None:
    with pytest.raises(LogError, match="the tick at offset 7"):
        ClockLog(FakeLog("clock", [clock_record(0, tick(0))], first=3)).tick_at(7)


@pytest.mark.parametrize(("step", "replay"), [(-1, False), (4, True)])
def test_the_first_tick_tells_a_replay_from_a_live_deployment_and_is_read_again(step: int, replay: bool) -> None:
    clock = ClockLog(FakeLog("clock", [clock_record(0, ContextSet(version="c")), clock_record(1, tick(3, step))]))

    assert clock.starts_a_replay() is replay
    assert clock.tick_at(1).number == 3
    assert clock.context("c").version == "c"


def payment_record(number: int) -> LoggedRecord:
    from streams.kafka.codec import encode_event

    value, headers = encode_event(payment(f"p{number}", 0, {}, amount="5.00", customer=f"c-{number % 2}"))
    return LoggedRecord(number, f"c-{number % 2}".encode(), value, headers, 0)


def a_partition(logs: dict[str, FakeLog], *, missing: int = 0, first: int = 0) -> None:
    """Two payments of each of two debtors in two slices."""
    logs["clock"] = FakeLog("duewatch-clock", [clock_record(0, ContextSet(version="c")), clock_record(1, tick(0))])
    logs["payments"] = FakeLog("duewatch-payments", [payment_record(number) for number in range(missing, 4)], first)
    halves = (Run(topic="payments", start=0, end=2), Run(topic="payments", start=2, end=5))
    logs["journal"] = FakeLog(
        "duewatch-journal",
        [
            journal_record(0, committed(1, runs=halves[:1], applied=2, tick=0, tick_offset=1)),
            journal_record(1, committed(1, agent="learner")),
            journal_record(2, committed(2, runs=halves[1:], applied=2)),
        ],
    )


def test_slices_are_folded_in_their_order_and_rows_laid_over_each_other(logs: dict[str, FakeLog]) -> None:
    a_partition(logs)

    slices = list(journal.recompute(Settings(partitions=1), "debtor", 0))

    assert [(s.number, s.result.applied, s.written_ms) for s in slices] == [(1, 2, 1_000), (2, 2, 1_002)]
    assert {key for key in slices[1].result.rows if "\x1fp/" in key} == {"c-0\x1fp/p2", "c-1\x1fp/p3"}


def test_rows_laid_over_each_other_are_those_after_the_last_slice(logs: dict[str, FakeLog]) -> None:
    a_partition(logs)
    rows: dict[str, bytes] = {}
    for slice_ in journal.recompute(Settings(partitions=1), "debtor", 0):
        journal.apply_changes(rows, slice_.result.rows)
    assert {f"c-{n % 2}\x1fp/p{n}" for n in range(4)} <= rows.keys()
    assert b'"unapplied":"10.00"' in rows["c-0\x1f"]


def test_one_debtor_is_folded_without_the_others(logs: dict[str, FakeLog]) -> None:
    a_partition(logs)
    rows = {key for s in journal.recompute(Settings(partitions=1), "debtor", 0, customers=["c-1"]) for key in s.result.rows}
    assert {key.partition("\x1f")[0] for key in rows} - {""} == {"c-1"}


@pytest.mark.parametrize(
    ("missing", "first", "message"),
    [
        pytest.param(1, 1, r"retention.*duewatch-payments/0 begins at offset 1, and 0 is needed", id="retention"),
        pytest.param(1, 0, r"slice 1 of debtor 0 applied 2 records, and 1 are left in .*compacted", id="compaction"),
    ],
)
def test_records_that_are_gone_are_named(logs: dict[str, FakeLog], missing: int, first: int, message: str) -> None:
    a_partition(logs, missing=missing, first=first)
    with pytest.raises(LogError, match=message):
        list(journal.recompute(Settings(partitions=1), "debtor", 0))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([3], "begins at offset 0, with slice 3"), ([1, 3], "slice 3 of debtor follows slice 1"), ([1], "before 2")],
)
def test_a_journal_with_holes_is_no_proof(logs: dict[str, FakeLog], numbers: list[int], message: str) -> None:
    a_partition(logs)
    logs["journal"] = FakeLog("duewatch-journal", [journal_record(n, committed(n)) for n in numbers])
    with pytest.raises(LogError, match=message):
        list(journal.recompute(Settings(partitions=1), "debtor", 0, until=2))


def test_an_agent_that_is_none_is_told() -> None:
    with pytest.raises(UsageError, match="debtor, learner"):
        list(journal.recompute(Settings(), "cashier", 0))
