"""What the fuzzing found, each reduced to one message; and what the decoder is held to where the standard leaves a choice."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from agents.brain import Received
from agents.debtor.brain import DebtorBrain
from schemas.clickhouse.rows import SinkRecord, rows_of
from schemas.events.envelope import Event, Rejection
from streams.engine.transaction import Rejected, WriterId, _dead_letter
from streams.kafka.codec import MAX_BYTES, decode, encode
from tests.property.support.mutations import STRUCTURED, RawMessage, golden
from tests.support.builders import Life, at, context


def example(kind: str, *, structured: bool = False) -> RawMessage:
    """A golden message of a type."""
    named = f'"{kind}"'.encode() if structured else kind.encode()
    return next(
        sent
        for sent in golden()
        if (sent.headers == STRUCTURED) is structured
        and (named in (sent.value or b"") if structured else ("ce_type", named) in sent.headers)
    )


INVOICE = example("duewatch.invoice.issued.v1")
CANCELLED = example("duewatch.invoice.cancelled.v1")


def with_header(sent: RawMessage, name: str, told: bytes) -> RawMessage:
    return replace(sent, headers=(*(pair for pair in sent.headers if pair[0] != name), (name, told)))


def with_fields(sent: RawMessage, **fields: object) -> RawMessage:
    return sent.with_body({**sent.body(), **fields})


def read(sent: RawMessage) -> Event | Rejection:
    return decode(sent.topic, sent.key, sent.value, sent.headers)


def event_of(sent: RawMessage) -> Event:
    event = read(sent)
    assert isinstance(event, Event), event
    return event


def stored(sent: RawMessage) -> list[tuple[str, list[object]]]:
    return rows_of(SinkRecord(sent.topic, 0, 0, sent.key, sent.value, sent.headers))


# -- what holds
def test_of_a_header_that_comes_twice_the_last_one_counts_for_the_worker_and_for_clickhouse() -> None:
    name, told = next(pair for pair in INVOICE.headers if pair[0] == "ce_id")
    last = replace(INVOICE, headers=(*INVOICE.headers, (name, b"another")))
    first = replace(INVOICE, headers=((name, b"another"), *INVOICE.headers))
    for sent, wanted in ((last, "another"), (first, (told or b"").decode())):
        assert event_of(sent).id == wanted
        assert next(row for table, row in stored(sent) if table == "events_raw")[3] == wanted


def test_of_a_field_that_comes_twice_the_last_one_counts_for_the_worker_and_for_clickhouse() -> None:
    text = (INVOICE.value or b"").replace(b"{", b'{"amount": "1.00", ', 1)
    sent = replace(INVOICE, value=text)
    event = event_of(sent)
    posting = next(row for table, row in stored(sent) if table == "postings")
    assert str(event.data.amount) == INVOICE.body()["amount"] == posting[8]  # type: ignore[attr-defined]


@pytest.mark.parametrize("depth", [300, 1_000, 100_000])
def test_a_body_that_is_nested_too_deep_is_no_json(depth: int) -> None:
    nested = (INVOICE.value or b"")[:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}"
    answer = read(replace(INVOICE, value=nested))
    assert isinstance(answer, Rejection)
    assert "send a JSON object" in answer.reason


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "1" * 5_000, "1.5", "true", "null", "[]", "{}"])
def test_an_amount_that_is_no_string_is_told_what_to_send(number: str) -> None:
    text = json.dumps({**INVOICE.body(), "amount": "?"}).replace('"?"', number)
    answer = read(replace(INVOICE, value=text.encode()))
    assert isinstance(answer, Rejection)
    assert "send a JSON object" in answer.reason or "decimal string" in answer.reason


@pytest.mark.parametrize("digits", ["١٢٣.٤٥", "１２.00", "1_000", "+1.00", " 1.00", "1.00\n", "-0.00", "-0"])
def test_only_ascii_digits_above_zero_make_an_amount(digits: str) -> None:
    answer = read(with_fields(INVOICE, amount=digits))
    assert isinstance(answer, Rejection)
    assert answer.field == "amount"


@pytest.mark.parametrize("field", ["customer_id", "invoice_id"])
@pytest.mark.parametrize("id_", ["a\x1fi/1", "\x00positions", "", "x" * 129, "x" * 1_000_000, "\ud800"])
def test_no_id_can_be_mistaken_for_two_or_for_a_row_of_the_engine(field: str, id_: str) -> None:
    assert isinstance(read(with_fields(INVOICE, **{field: id_})), Rejection)


def test_a_hundred_thousand_headers_are_read() -> None:
    assert isinstance(read(replace(INVOICE, headers=(*INVOICE.headers, *((f"ce_x{n}", b"1") for n in range(100_000))))), Event)


# -- what the fuzzing found
def test_structured_data_that_is_nested_too_deep_names_the_mend() -> None:
    sent = example("duewatch.invoice.issued.v1", structured=True)
    nested = (sent.value or b"").replace(b'"data": {', b'"data": {"x": ' + b"[" * 300 + b"]" * 300 + b", ", 1)
    answer = read(replace(sent, value=nested))
    assert isinstance(answer, Rejection)
    assert "cannot be read" not in answer.reason


def test_a_recordedtime_at_the_end_of_the_calendar_is_blamed_for_it() -> None:
    answer = read(with_header(INVOICE, "ce_recordedtime", b"9999-12-31T00:00:00Z"))
    assert isinstance(answer, Rejection)
    assert answer.field == "recordedtime"


def test_a_recordedtime_far_ahead_of_the_tick_does_not_put_the_debtors_deadlines_to_sleep() -> None:
    life = Life()
    life.until(0)
    ahead = event_of(with_header(example("duewatch.customer.updated.v1"), "ce_recordedtime", b"2150-01-01T00:00:00Z"))
    life.tell(ahead, now=at(1))
    header = life.row("", ahead.customer_id or "")
    assert header is None or header.next_deadline < at(400).toordinal()


def test_a_reason_can_be_printed_whatever_the_fields_are_called() -> None:
    answer = read(with_fields(example("duewatch.rates.published.v1"), rates={"a\x1b[2Jb": "1.0"}))
    assert isinstance(answer, Rejection)
    assert answer.reason.isprintable() and (answer.field or "").isprintable()


@pytest.mark.parametrize("character", ["\x7f", "\x9b", "\u2028", "\u202e"])
def test_a_reason_can_be_printed_whatever_ids_contain(character: str) -> None:
    event = read(with_fields(CANCELLED, invoice_id=f"i{character}1"))
    if isinstance(event, Event):
        folded = DebtorBrain().fold([Received("payments", 0, 0, event)], at(0), context(), replay=False)
        [(_, rejection)] = folded.rejected
        assert rejection.reason.isprintable()
    else:
        assert event.reason.isprintable()


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("duewatch.customer.updated.v1", "terms_days"),
        ("duewatch.invoice.issued.v1", "terms_days"),
        ("duewatch.dunning.sent.v1", "level"),
    ],
)
def test_a_whole_number_fits_the_column_and_the_json_that_it_goes_to(kind: str, field: str) -> None:
    answer = read(with_fields(example(kind), **{field: 2**70}))
    assert isinstance(answer, Rejection)
    assert answer.field == field


def test_an_output_is_no_larger_than_a_topic_takes() -> None:
    event = read(with_header(INVOICE, "ce_correlationid", b"x" * (MAX_BYTES - 800)))
    if isinstance(event, Event):
        for output in DebtorBrain().fold([Received("payments", 0, 0, event)], at(0), context(), replay=False).outputs:
            value, headers = encode(output)
            assert len(value) + sum(len(name) + len(told) for name, told in headers) < 1_000_000


def test_an_empty_header_is_one_that_is_missing() -> None:
    assert event_of(with_header(INVOICE, "ce_correlationid", b"")) == event_of(INVOICE)


def test_money_that_waits_makes_no_row_larger_than_a_message_may_be() -> None:
    """A few such messages and the row is more than the state topic takes (8 MiB): the partition would stand for ever."""
    parts = [{"invoice_id": "I", "amount": "0.01"}] * 8_000
    payment = example("duewatch.payment.received.v1")
    event = read(with_fields(payment, payment_id="p" * 128, amount="80.00", allocations=parts))
    if isinstance(event, Event):
        folded = DebtorBrain().fold([Received("payments", 0, 0, event)], at(0), context(), replay=False)
        assert len(folded.rows["c-1042\x1fw/I"] or b"") <= MAX_BYTES


@pytest.mark.parametrize("timestamp", [2**53, 2**62])
def test_a_dead_letter_is_written_whatever_time_stamp_its_record_bears(timestamp: int) -> None:
    origin = WriterId("debtor", 0, 4, "t", "debtor-state", "arrival", "0")
    record = SimpleNamespace(offset=7, key=b"k", value=b"v", headers=(), timestamp=timestamp)
    assert _dead_letter(origin, Rejected("payments", record, Rejection("a reason of some length")), at(0)).value
