"""The envelope: one reader for both modes, one writer, and the quick ways of both say what the plain ones say."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import asyncapi, cloudevents
from schemas.cloudevents import Envelope, Header
from schemas.events.envelope import Output, RejectedError
from schemas.events.payments import PaymentReceived

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
LATER = datetime(2026, 3, 2, 9, 30, 0, 250_000, tzinfo=UTC)
FACT = PaymentReceived(customer_id="c-1", payment_id="p-1", amount=Decimal("12.50"), currency="EUR", paid_on=AT.date())
OUTPUT = Output("payments", "c-1", "duewatch.payment.received.v1", "e-1", AT, LATER, FACT, "e-0", "run")
HEADERS = cloudevents.headers_of(OUTPUT)
BODY = b'{"customer_id": "c-1"}'


def structured(**changes: object) -> bytes:
    return orjson.dumps(cloudevents.structured(cloudevents.attributes_of(OUTPUT), {"customer_id": "c-1"}) | changes)


def rejection(value: bytes, headers: object) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        cloudevents.read(value, headers)
    return caught.value


@pytest.mark.parametrize(
    "output",
    [
        OUTPUT,
        OUTPUT._replace(recorded=AT),
        OUTPUT._replace(key=""),
        OUTPUT._replace(causation_id=None),
        OUTPUT._replace(correlation_id=None),
    ],
)
def test_the_quick_writer_of_outputs_writes_what_the_plain_one_writes(output: Output) -> None:
    plain = cloudevents.headers_from(cloudevents.attributes_of(output))
    assert cloudevents.headers_of(output) == [*plain, cloudevents.JSON_HEADER]


def test_both_modes_are_read_as_one_envelope() -> None:
    envelope = Envelope("e-1", OUTPUT.type, "duewatch", AT, LATER, "run", "e-0", "c-1", BODY)
    assert cloudevents.read(BODY, HEADERS) == envelope
    read = cloudevents.read(structured(), [cloudevents.STRUCTURED_HEADER])
    assert read == envelope._replace(body=read.body)
    assert orjson.loads(read.body) == {"customer_id": "c-1"}


_NAMES = st.sampled_from([*(name for name, _ in HEADERS), "Content-Type", "traceparent"])
_TEXTS = st.binary(max_size=20) | st.sampled_from([text for _, text in HEADERS]) | st.just("é".encode())


@given(removed=st.sets(_NAMES, max_size=2), added=st.lists(st.tuples(_NAMES, _TEXTS), max_size=3))
def test_the_quick_reader_reads_what_the_plain_one_reads_or_leaves_it_to_it(removed: set[str], added: list[Header]) -> None:
    headers = [pair for pair in HEADERS if pair[0] not in removed] + added
    quick = cloudevents._read_plain_binary(BODY, headers)
    assert quick is None or quick == cloudevents._read_any(BODY, headers)


def test_an_ordinary_event_is_read_the_quick_way() -> None:
    assert cloudevents._read_plain_binary(BODY, HEADERS) is not None


@pytest.mark.parametrize("name", cloudevents.REQUIRED)
def test_each_required_attribute_is_asked_for_in_both_modes(name: str) -> None:
    without = [pair for pair in HEADERS if pair[0] != f"ce_{name}"]
    assert rejection(BODY, without).rejection.field == name
    assert rejection(structured(**{name: None}), [cloudevents.STRUCTURED_HEADER]).rejection.field == name


@pytest.mark.parametrize("name", cloudevents.OPTIONAL[:4])
def test_an_optional_attribute_may_be_left_out(name: str) -> None:
    assert cloudevents.read(BODY, [pair for pair in HEADERS if pair[0] != f"ce_{name}"]).id == "e-1"


def test_a_rejection_shows_what_cannot_be_seen() -> None:
    reason = rejection(BODY, [pair if pair[0] != "ce_time" else ("ce_time", b"\x00soon") for pair in HEADERS]).rejection.reason
    assert "\\x00soon" in reason
    assert reason.isprintable()


def test_the_published_description_names_the_same_headers() -> None:
    written = {name for name, _ in HEADERS}
    assert {*asyncapi._HEADERS, "ce_type"} == written
    assert set(asyncapi._REQUIRED) == {"content-type", *(f"ce_{name}" for name in cloudevents.REQUIRED)}
