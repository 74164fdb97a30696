"""Sources are read in the order of a replay."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import orjson
import pytest

from schemas.cloudevents import ORIGIN
from streams.connectors.records import Record, SourceError
from streams.replay.sources import expand, read_sources, sources_hash
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
    return record._replace(headers=[(name, value) for name, value in record.headers if name != ORIGIN])


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
    reports: list[tuple[int, int]] = []
    read_sources([ledger], mapping, progress=lambda count, total: reports.append((count, total)))
    assert reports[-1] == (ledger.stat().st_size, ledger.stat().st_size)


def test_the_hash_follows_the_content_and_not_the_place(tmp_path: Path, ledger: Path, mapping: str) -> None:
    before = sources_hash([ledger], mapping)
    new_path = ledger.rename(tmp_path / "elsewhere.csv")
    assert sources_hash([new_path], mapping) == before
    assert len(before) == 10
    new_path.write_text(new_path.read_text() + "99,c1,1.00,2024-01-01,2024-02-01,\n")
    assert sources_hash([new_path], mapping) != before
