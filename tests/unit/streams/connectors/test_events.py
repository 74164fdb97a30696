"""Lines of structured CloudEvents become records; what is broken goes on as it is, at its place."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.cloudevents import ORIGIN
from schemas.events.envelope import Event, Rejection
from schemas.events.payments import InvoiceIssued
from schemas.ids import content_hash
from streams.connectors.events import read_jsonl
from streams.connectors.records import SourceError
from streams.kafka.codec import decode, encode_event, to_structured


def envelope(day: str = "2024-01-02", **changes: Any) -> dict[str, Any]:
    data = {"customer_id": "a", "amount": "5.00", "currency": "EUR", "invoice_id": "1", "issued_on": day, "due_on": "2024-02-01"}
    attributes = {
        "specversion": "1.0",
        "id": "e1",
        "type": "duewatch.invoice.issued.v1",
        "source": "test",
        "time": f"{day}T08:00:00Z",
        "recordedtime": f"{day}T09:00:00Z",
    }
    return {**attributes, "data": data} | changes


def write(path: Path, *lines: dict[str, Any] | bytes) -> Path:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else orjson.dumps(line) for line in lines))
    return path


def test_a_structured_event_is_read_as_the_codec_would_send_it(tmp_path: Path) -> None:
    data = InvoiceIssued(
        customer_id="a",
        amount=Decimal("5.00"),
        currency="EUR",
        invoice_id="1",
        issued_on=date(2024, 1, 2),
        due_on=date(2024, 2, 1),
    )
    time = datetime(2024, 1, 2, 8, tzinfo=UTC)
    event = Event(
        "e1", "duewatch.invoice.issued.v1", "test", time, time, data, content_hash(data.model_dump_json().encode()), "c", "b"
    )
    (record,) = read_jsonl(write(tmp_path / "x.jsonl", to_structured(event)))
    value, headers = encode_event(event)
    assert decode(record.topic, record.key, record.value, record.headers) == event
    assert orjson.loads(record.value) == orjson.loads(value)
    assert dict(record.headers) == {**dict(headers), ORIGIN: b"x.jsonl line 1"}


def test_a_line_goes_to_the_topic_of_its_type_else_to_that_of_the_files_name(tmp_path: Path) -> None:
    path = write(tmp_path / "bank-transactions.jsonl", envelope(), envelope(type="unheard.of"), envelope(type=[7]))
    assert [r.topic for r in read_jsonl(path)] == ["payments", "bank-transactions", "bank-transactions"]


def test_nothing_is_sent_to_a_topic_that_we_write_ourselves(tmp_path: Path) -> None:
    path = write(tmp_path / "alerts.jsonl", envelope(type="duewatch.alert.raised.v1"))
    with pytest.raises(SourceError, match=r"'alerts' is not a source topic.*bank-transactions"):
        read_jsonl(path)


def test_the_key_is_the_partitionkey_else_the_customer(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", envelope(), envelope(partitionkey="other"), envelope(data={}), envelope(data=[1]))
    assert [r.key for r in read_jsonl(path)] == [b"a", b"other", None, None]


@pytest.mark.parametrize("line", [b"{not json", b"\xff\xfe", b'"text"', b"[]", b'{"id": "no data"}', b'{"data": NaN}'])
def test_an_unreadable_line_is_sent_as_it_is_at_the_place_of_the_line_before(tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path / "payments.jsonl", envelope("2024-01-02"), line, envelope("2024-01-09"))
    _, broken, _ = read_jsonl(path)
    assert (broken.value, broken.topic, broken.day, broken.key) == (line, "payments", date(2024, 1, 2), None)
    assert isinstance(decode(broken.topic, broken.key, broken.value, broken.headers), Rejection)


def test_unreadable_lines_before_the_first_readable_one_take_its_place_and_topic(tmp_path: Path) -> None:
    path = write(tmp_path / "mixed.jsonl", b"?", b"", envelope("2024-01-09"))
    assert [(r.topic, r.day) for r in read_jsonl(path)] == [("payments", date(2024, 1, 9))] * 2


def test_broken_but_json_is_sent_for_the_worker_to_judge(tmp_path: Path) -> None:
    body = envelope()["data"] | {"amount": -5}
    (record,) = read_jsonl(write(tmp_path / "payments.jsonl", envelope(data=body, id=None, extra={"a": 1}, flag=True)))
    headers = dict(record.headers)
    assert orjson.loads(record.value) == body
    assert (headers["ce_extra"], headers["ce_flag"]) == (b'{"a":1}', b"true")
    assert "ce_id" not in headers


@pytest.mark.parametrize(
    "time", ["9999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "yesterday", 5, "2024-01-01T00:00:00", "2024-02-30T00:00:00Z"]
)
def test_a_recordedtime_that_says_nothing_leaves_the_line_where_it_stands(tmp_path: Path, time: int | str) -> None:
    path = write(tmp_path / "payments.jsonl", envelope("2024-01-02"), envelope(recordedtime=time))
    assert [r.day for r in read_jsonl(path)] == [date(2024, 1, 2)] * 2


def test_recordedtime_counts_in_utc_and_time_stands_in_for_it(tmp_path: Path) -> None:
    first, second = envelope(recordedtime="2024-01-02T23:30:00-02:00"), envelope("2024-01-05")
    del second["recordedtime"]
    assert [r.day for r in read_jsonl(write(tmp_path / "p.jsonl", first, second))] == [date(2024, 1, 3), date(2024, 1, 5)]


def test_a_lone_line_years_off_does_not_set_the_clock(tmp_path: Path) -> None:
    lines = [envelope(f"2024-01-{1 + i % 28:02}") for i in range(200)]
    path = write(tmp_path / "payments.jsonl", *lines, envelope("2190-01-01"), envelope("1980-01-01"))
    assert {r.day.year for r in read_jsonl(path)} == {2024}


PAYMENT = {"customer_id": "a", "payment_id": "p", "amount": "5.00", "currency": "EUR", "paid_on": "2024-01-20", "allocations": []}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(envelope("2099-12-31"), id="a year that nobody can mean"),
        pytest.param(envelope(recordedtime="2026-01-20T09:00:00Z"), id="recorded two years after it happened"),
        pytest.param(
            envelope("2026-01-20", type="duewatch.payment.received.v1", data=PAYMENT), id="recorded two years after it was paid"
        ),
    ],
)
@pytest.mark.parametrize("count", [2, 9])
def test_a_typing_error_in_a_year_does_not_set_the_clock_of_a_few_lines_either(
    tmp_path: Path, line: dict[str, Any], count: int
) -> None:
    lines = [envelope(f"2024-01-{2 + i:02}") for i in range(count)]
    for position in (0, 1, count):
        path = write(tmp_path / "payments.jsonl", *lines[:position], line, *lines[position:])
        assert {r.day.year for r in read_jsonl(path)} == {2024}


def test_what_really_went_on_after_a_silence_keeps_its_days(tmp_path: Path) -> None:
    days = ["2022-01-03", "2022-01-10", "2022-01-17", "2024-06-03"]
    path = write(tmp_path / "payments.jsonl", *map(envelope, days))
    assert [str(r.day) for r in read_jsonl(path)] == days
    path = write(tmp_path / "payments.jsonl", envelope("2012-01-03"), envelope("2024-06-03"), envelope("2024-06-04"))
    assert [r.day.year for r in read_jsonl(path)] == [2012, 2024, 2024]


def test_a_byte_order_mark_at_the_start_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "payments.jsonl", b"\xef\xbb\xbf" + orjson.dumps(envelope()), envelope("2024-01-03"))
    assert all(isinstance(decode(r.topic, r.key, r.value, r.headers), Event) for r in read_jsonl(path))


def test_every_record_says_in_which_line_it_lay_also_one_that_cannot_be_read(tmp_path: Path) -> None:
    good, broken = read_jsonl(write(tmp_path / "payments.jsonl", b"", envelope(), b"{broken"))
    assert good.headers[-1] == (ORIGIN, b"payments.jsonl line 2")
    assert broken.headers[-1] == (ORIGIN, b"payments.jsonl line 3")
