"""Sources are read in the order of D3 and cut into weeks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.cloudevents import ORIGIN
from streams.connectors.records import Record, SourceError, raw_record
from streams.replay.sources import QUIET_DAYS, cut_at, expand, read_sources, sources_hash, steps
from tests.support.builders import LEDGER_MAPPING

LEDGER = "no,debtor,amount,issued,due,paid\n"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.csv"
    path.write_text(
        LEDGER + "".join(f"{i},c{i % 3},{i}.00,2024-01-0{1 + i % 5},2024-02-01,2024-01-0{2 + i % 5}\n" for i in range(1, 40))
    )
    return path


@pytest.fixture
def mapping(tmp_path: Path) -> str:
    path = tmp_path / "mapping.toml"
    path.write_text(LEDGER_MAPPING)
    return str(path)


def kind_of(record: Record) -> str:
    return dict(record.headers)["ce_type"].decode().split(".")[1]


def without_origin(record: Record) -> Record:
    """Where it lay, which the order of the file tells, is told beside and decides nothing."""
    return record._replace(headers=[(name, told) for name, told in record.headers if name != ORIGIN])


def test_days_come_in_order_and_within_a_day_master_data_invoices_payments(ledger: Path, mapping: str) -> None:
    records = read_sources([ledger], mapping)
    rank = {"customer": 0, "invoice": 1, "payment": 2}
    places = [(r.day, rank[kind_of(r)]) for r in records]
    assert places == sorted(places)
    assert len(records) == 39 + 39 + 3


def test_neither_the_order_of_rows_nor_the_size_of_ids_is_the_order_of_a_day(ledger: Path, mapping: str) -> None:
    records = read_sources([ledger], mapping)
    rows = ledger.read_text().splitlines()[1:]
    ledger.write_text(LEDGER + "\n".join(reversed(rows)))
    assert list(map(without_origin, read_sources([ledger], mapping))) == list(map(without_origin, records))
    ids = [int(orjson.loads(r.value)["invoice_id"]) for r in records if kind_of(r) == "invoice" and r.day == date(2024, 1, 2)]
    assert ids != sorted(ids)
    assert ids != sorted(ids, reverse=True)


def test_until_is_inclusive(ledger: Path, mapping: str) -> None:
    records = read_sources([ledger], mapping, until=date(2024, 1, 3))
    assert max(r.day for r in records) == date(2024, 1, 3)
    with pytest.raises(SourceError, match="is --until before the first day"):
        read_sources([ledger], mapping, until=date(2023, 1, 1))


def test_a_folder_stands_for_its_json_lines(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text("{}")
    with pytest.raises(SourceError, match=r"holds no \.jsonl"):
        expand([tmp_path])
    (tmp_path / "payments.jsonl").write_text("")
    assert expand([tmp_path]) == [tmp_path / "payments.jsonl"]
    with pytest.raises(SourceError, match="nothing to replay"):
        read_sources([tmp_path])


def test_what_cannot_be_read_says_why(tmp_path: Path, ledger: Path) -> None:
    with pytest.raises(SourceError, match=r"--mapping cassandra\|highradius\|ibm"):
        read_sources([ledger])
    with pytest.raises(SourceError, match="there is no file"):
        read_sources([tmp_path / "nothing.jsonl"])
    with pytest.raises(SourceError, match="twice"):
        expand([ledger, ledger])


def test_progress_reaches_the_end(ledger: Path, mapping: str) -> None:
    seen: list[tuple[int, int]] = []
    read_sources([ledger], mapping, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (ledger.stat().st_size, ledger.stat().st_size)


def on(day: date) -> Record:
    return raw_record("payments", b"x", day)


def test_weeks_end_on_monday_midnight_and_the_last_with_the_last_record() -> None:
    cut = list(steps([on(date(2024, 1, 3)), on(date(2024, 1, 7)), on(date(2024, 1, 8)), on(date(2024, 1, 24))]))
    assert [s.end for s in cut] == [datetime(2024, 1, d, tzinfo=UTC) for d in (8, 15, 22, 25)]
    assert [len(s.records) for s in cut] == [2, 1, 0, 1]
    assert [s.number for s in cut] == [0, 1, 2, 3]


def test_a_last_day_that_is_a_sunday_ends_its_week() -> None:
    assert [s.end for s in steps([on(date(2024, 1, 7))])] == [datetime(2024, 1, 8, tzinfo=UTC)]


def test_until_goes_beyond_the_last_record() -> None:
    ends = [s.end.date() for s in steps([on(date(2024, 1, 3))], until=date(2024, 1, 17))]
    assert ends == [date(2024, 1, 8), date(2024, 1, 15), date(2024, 1, 18)]


@given(st.lists(st.integers(0, 200), min_size=1).map(sorted), st.integers(0, 60))
def test_steps_hold_every_record_once_in_its_week(offsets: list[int], beyond: int) -> None:
    days = [date(2024, 1, 1) + timedelta(days=i) for i in offsets]
    until = days[-1] + timedelta(days=beyond)
    cut = list(steps([on(day) for day in days], until))
    assert [r.day for s in cut for r in s.records] == days
    assert [s.number for s in cut] == list(range(len(cut)))
    assert cut[-1].end.date() == until + timedelta(days=1)
    assert all(s.end.weekday() == 0 for s in cut[:-1])
    for step in cut:
        assert all(step.end.date() - timedelta(days=7) <= r.day < step.end.date() for r in step.records)


def weeks_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range(0, (last - first).days + 1, 7)]


def test_after_400_days_without_a_record_one_step_goes_on_to_the_week_of_the_next() -> None:
    cut = list(steps([on(date(1999, 1, 4)), on(date(2026, 1, 7))]))
    ends = [s.end.date() for s in cut]
    assert ends == [*weeks_between(date(1999, 1, 11), date(2000, 2, 14)), date(2026, 1, 5), date(2026, 1, 8)]
    assert [s.number for s in cut] == list(range(len(cut)))
    assert [len(s.records) for s in (cut[0], *cut[-2:])] == [1, 0, 1]


def test_without_a_record_until_a_far_day_the_rest_is_one_step_and_what_is_left_of_a_week() -> None:
    ends = [s.end.date() for s in steps([on(date(2024, 1, 3))], until=date(2199, 12, 31))]
    assert ends[-4:] == [date(2025, 2, 3), date(2025, 2, 10), date(2199, 12, 30), date(2200, 1, 1)]
    assert [s.end.date() for s in steps([on(date(2024, 1, 3))], until=date(2199, 12, 29))] == ends[:-1]


@given(st.integers(0, QUIET_DAYS), st.integers(0, QUIET_DAYS))
def test_up_to_400_days_without_a_record_every_week_is_a_step(gap: int, beyond: int) -> None:
    first = date(2024, 1, 3)
    second = first + timedelta(days=gap)
    until = second + timedelta(days=beyond)
    ends = [s.end.date() for s in steps([on(first), on(second)], until)]
    end = until + timedelta(days=1)
    mondays = weeks_between(date(2024, 1, 8), end)
    assert ends == mondays + ([] if end in mondays else [end])


@given(st.lists(st.integers(0, 2_000), min_size=1).map(sorted), st.integers(0, 60))
def test_a_replay_that_has_been_is_cut_again_where_it_was_cut(offsets: list[int], beyond: int) -> None:
    records = [on(date(2024, 1, 1) + timedelta(days=i)) for i in offsets]
    cut = list(steps(records, records[-1].day + timedelta(days=beyond)))
    ends = [step.end for step in cut]
    assert list(cut_at(records, ends)) == cut
    # Also without some of its records, which have become dead letters.
    assert [step.end for step in cut_at(records[::2], ends)] == ends
    assert [r for step in cut_at(records[::2], ends) for r in step.records] == records[::2]


def test_the_hash_follows_the_content_and_not_the_place(tmp_path: Path, ledger: Path, mapping: str) -> None:
    before = sources_hash([ledger], mapping)
    moved = ledger.rename(tmp_path / "elsewhere.csv")
    assert sources_hash([moved], mapping) == before
    assert len(before) == 10
    moved.write_text(moved.read_text() + "99,c1,1.00,2024-01-01,2024-02-01,\n")
    assert sources_hash([moved], mapping) != before
