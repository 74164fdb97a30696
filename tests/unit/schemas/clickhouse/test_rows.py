"""Records become rows of the right columns, and nothing that a stranger writes breaks that."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.clickhouse.rows import SinkRecord, identity, rows_of
from schemas.clickhouse.tables import TABLES, TOPICS_READ
from schemas.events import payments as p
from tests.integration.support.ledgers import record

PAYMENT = p.PaymentReceived(
    customer_id="A",
    payment_id="P1",
    amount=Decimal("100.10"),
    currency="EUR",
    paid_on=date(2024, 1, 2),
    allocations=(p.Allocation(invoice_id="I1", amount=Decimal("60.05")), p.Allocation(invoice_id="I2", amount=Decimal(40))),
)


def _named(one: SinkRecord) -> list[tuple[str, dict[str, object]]]:
    return [(table, dict(zip(TABLES[table], row, strict=True))) for table, row in rows_of(one)]


def test_a_payment_is_an_event_and_a_posting_per_allocation_and_rest() -> None:
    [(_, event), *postings] = _named(record(PAYMENT, "e1", offset=7))
    assert (event["topic"], event["offset"], event["id"], event["customer_id"]) == ("payments", 7, "e1", "A")
    assert event["data"] == PAYMENT.model_dump_json()
    told = [(row["invoice_id"], row["number"], row["amount"]) for _, row in postings]
    assert told == [("I1", 1, "60.05"), ("I2", 2, "40.00"), ("", 0, "0.05")]


def test_money_is_never_a_float() -> None:
    rows = rows_of(record(PAYMENT, "e1"))
    assert not any(isinstance(value, float) for _, row in rows for value in row)


def test_structured_mode_says_the_same_as_binary_mode() -> None:
    envelope = {"id": "e1", "type": "duewatch.payment.received.v1", "source": "test", "specversion": "1.0"}
    times = {"time": "2026-01-01T00:00:00Z", "recordedtime": "2026-01-01T00:00:00Z"}
    value = orjson.dumps({**envelope, **times, "data": PAYMENT.model_dump(mode="json")})
    structured = SinkRecord("payments", 0, 0, b"A", value, [("content-type", b"application/cloudevents+json")])
    facts = [{**row, "record": 0} for _, row in _named(structured)[1:]]
    assert facts == [{**row, "record": 0} for _, row in _named(record(PAYMENT, "e1"))[1:]]


def test_the_same_record_at_another_offset_is_the_same_record() -> None:
    one, other = _named(record(PAYMENT, "e1", offset=1)), _named(record(PAYMENT, "e1", offset=2))
    assert one[0][1]["record"] == other[0][1]["record"]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(("payments", 1, b"k", [("ce_id", b"1")], b"v"), id="partition"),
        pytest.param(("payments", 0, b"l", [("ce_id", b"1")], b"v"), id="key"),
        pytest.param(("payments", 0, None, [("ce_id", b"1")], b"v"), id="no key"),
        pytest.param(("payments", 0, b"k", [("ce_id", b"2")], b"v"), id="id"),
        pytest.param(("payments", 0, b"k", [("ce_id", b"1")], b"w"), id="bytes"),
        pytest.param(("payments", 0, b"k", [("ce_id", b"1"), ("ce_time", b"x")], b"v"), id="another header"),
    ],
)
def test_identity_tells_records_apart_by(other: tuple[str, int, bytes | None, list[tuple[str, bytes]], bytes]) -> None:
    assert identity(*other) != identity("payments", 0, b"k", [("ce_id", b"1")], b"v")


def test_identity_ignores_headers_that_say_nothing_about_the_event() -> None:
    traced = [("ce_id", b"1"), ("traceparent", b"00-1")]
    assert identity("payments", 0, b"k", traced, b"v") == identity("payments", 0, b"k", [("ce_id", b"1")], b"v")


_types = st.sampled_from(["duewatch.invoice.issued.v1", "duewatch.record.rejected.v1", "duewatch.clock.ticked.v1", "?"])
_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
_fields = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("customer_id", "amount", "issued_on", "raw", "key", "headers", "topic"), _junk)
)
_values = (
    st.none()
    | st.binary()
    | (_fields | _junk).map(
        lambda value: orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS) if _plain(value) else b"{"
    )
)
_headers = st.lists(
    st.tuples(st.sampled_from(["ce_id", "ce_type", "ce_time", "ce_recordedtime", "content-type", "x"]), st.none() | st.binary())
    | _types.map(lambda name: ("ce_type", name.encode()))
    | st.just(("content-type", b"application/cloudevents+json"))
    | st.just(("ce_time", b"2026-01-01T00:00:00Z"))
)  # fmt: skip


def _plain(value: object) -> bool:
    try:
        orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError):
        return False
    return True


@given(st.sampled_from(TOPICS_READ), st.none() | st.binary(), _values, _headers)
def test_no_record_breaks_the_sink(
    topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    for table, row in rows_of(SinkRecord(topic, 0, 0, key, value, headers)):
        assert len(row) == len(TABLES[table])
        orjson.dumps(row)
