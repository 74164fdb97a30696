"""Records and events: what we write others read, what others write we read, and whatever comes is never more than a rejection."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import orjson
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, from_structured_event, to_binary, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from schemas.base import ADDED, added_fields
from schemas.cloudevents import Headers
from schemas.events.envelope import Event, Output, Rejection
from schemas.events.insolvency import InsolvencyMatched
from schemas.events.payments import PaymentReceived
from schemas.ids import content_hash
from schemas.registry import TOPICS
from streams.kafka import codec

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
FACT = PaymentReceived(
    customer_id="c-1", payment_id="p-1", amount=Decimal("12.50"), currency="EUR", paid_on=AT.date(), allocations=()
)
OUTPUT = Output("payments", "c-1", "duewatch.payment.received.v1", "e-1", AT, AT, FACT, causation_id="e-0", correlation_id="run")
VALUE, HEADERS = codec.encode(OUTPUT)


def decoded(
    value: bytes | None = VALUE,
    headers: Headers = HEADERS,
    key: bytes | None = b"c-1",
    topic: str = "payments",
    **rest: Any,
) -> Event | Rejection:
    return codec.decode(topic, key, value, headers, **rest)


def decoded_event(*args: Any, **rest: Any) -> Event:
    """As ``decoded``, of what must be an event."""
    answer = decoded(*args, **rest)
    assert isinstance(answer, Event), answer
    return answer


def without(name: str) -> list[tuple[str, bytes]]:
    return [pair for pair in HEADERS if pair[0] != name]


def changed(name: str, text: bytes) -> list[tuple[str, bytes]]:
    return [*without(name), (name, text)]


def body(**changes: Any) -> bytes:
    return orjson.dumps({**orjson.loads(VALUE), **changes})


def test_what_is_written_is_read_again() -> None:
    event = decoded()
    assert isinstance(event, Event)
    assert (event.id, event.type, event.source) == ("e-1", "duewatch.payment.received.v1", "duewatch")
    assert (event.time, event.recorded, event.data) == (AT, AT, FACT)
    assert (event.causation_id, event.correlation_id, event.customer_id) == ("e-0", "run", "c-1")
    assert codec.encode_event(event._replace(source="other"))[0] == VALUE


def test_the_same_body_in_another_spelling_has_the_same_content() -> None:
    spaced = orjson.dumps({"unknown": 1, **orjson.loads(VALUE)}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    assert decoded_event(spaced).content == decoded_event().content
    assert decoded_event(body(amount="12.51")).content != decoded_event().content


def test_an_event_that_is_sent_again_after_its_contract_grew_is_known_by_the_same_content() -> None:
    fact = InsolvencyMatched(
        customer_id="c-1", notice_id="n-1", register="DE", kind="Opening", stage="opened", match="certain", published_on=AT.date()
    )
    written_before = {name: value for name, value in fact.__dict__.items() if name != "proceeding_id"}
    assert codec.content_of(fact) == content_hash(orjson.dumps(written_before))
    assert codec.content_of(fact.model_copy(update={"proceeding_id": "IN 1/26"})) != codec.content_of(fact)


class _WithPurchaseOrder(PaymentReceived):
    purchase_order: Annotated[str | None, ADDED] = None


def test_a_field_that_joined_later_leaves_the_content_of_what_was_sent_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert added_fields(_WithPurchaseOrder) == {"purchase_order": None}
    monkeypatch.setattr(codec, "_ADDED", {_WithPurchaseOrder: added_fields(_WithPurchaseOrder)})
    fields = FACT.model_dump()
    assert codec.content_of(_WithPurchaseOrder(**fields)) == codec.content_of(FACT)
    assert codec.content_of(_WithPurchaseOrder(**fields, purchase_order="PO-7")) != codec.content_of(FACT)


def test_the_structured_form_goes_there_and_back() -> None:
    envelope = codec.to_structured(OUTPUT)
    assert envelope["data"]["customer_id"] == "c-1"
    assert "reference" not in envelope["data"] or envelope["data"]["reference"] is None
    structured = [("content-type", b"application/cloudevents+json; charset=utf-8")]
    assert decoded(orjson.dumps(envelope), structured) == decoded()


def test_the_cloudevents_library_reads_what_we_write() -> None:
    read = from_binary(KafkaMessage(headers=dict(HEADERS), key=b"c-1", value=VALUE), JSONFormat())
    assert read.get_id() == "e-1"
    assert read.get_type() == "duewatch.payment.received.v1"
    assert read.get_time() == AT
    assert read.get_extension("recordedtime") == "2026-03-02T09:30:00Z"
    assert read.get_extension("partitionkey") == "c-1"
    assert read.get_data() == orjson.loads(VALUE)


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_we_read_what_the_cloudevents_library_writes(mode: str) -> None:
    event = from_binary(KafkaMessage(headers=dict(HEADERS), key=b"c-1", value=VALUE), JSONFormat())
    message = (to_binary if mode == "binary" else to_structured_event)(event, JSONFormat())
    ours = decoded(message.value, list(message.headers.items()))
    assert isinstance(ours, Event), ours
    assert ours._replace(content="") == decoded_event()._replace(content="")
    assert ours.content == decoded_event().content


def test_the_cloudevents_library_reads_our_structured_form() -> None:
    message = KafkaMessage(
        headers={"content-type": b"application/cloudevents+json"}, key=b"c-1", value=orjson.dumps(codec.to_structured(OUTPUT))
    )
    assert from_structured_event(message).get_id() == "e-1"


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        pytest.param({"value": None}, "a tombstone", None, id="tombstone"),
        pytest.param({"value": b"{"}, "not valid JSON", None, id="bad JSON"),
        pytest.param({"value": b"\xff\xfe"}, "not valid JSON", None, id="not UTF-8"),
        pytest.param({"value": b"[" * 100_000}, "JSON", None, id="deeply nested"),
        pytest.param({"value": b'{"customer_id": ' + b"[" * 5_000}, "JSON", None, id="deeply nested in a field"),
        pytest.param({"value": b"[]"}, "the body is a JSON array: send an object", None, id="no object"),
        pytest.param({"value": b" " * (codec.MAX_BYTES + 1)}, "more than 1048576", None, id="too large"),
        pytest.param({"value": body(amount=12.5)}, "an amount is a decimal string", "amount", id="a number for an amount"),
        pytest.param({"value": body(amount="-1.00")}, "not above zero", "amount", id="a sign"),
        pytest.param({"value": body(paid_on="2026-13-01")}, "YYYY-MM-DD", "paid_on", id="no date"),
        pytest.param({"value": body(paid_on="2027-01-01")}, "correct the date", "paid_on", id="an impossible date"),
        pytest.param({"value": body(customer_id="c-2")}, "wrong key", "key", id="wrong key"),
        pytest.param({"key": None}, "key is missing", "key", id="no key"),
        pytest.param(
            {"partition": 1 - codec.partition_of(b"c-1", 2), "partitions": 2}, "wrong partition", "key", id="wrong partition"
        ),
        pytest.param({"headers": None}, "headers are missing", None, id="no headers"),
        pytest.param({"headers": without("ce_id")}, "ce_id", "id", id="no id"),
        pytest.param({"headers": without("ce_recordedtime")}, "ce_recordedtime", "recordedtime", id="no recordedtime"),
        pytest.param({"headers": changed("ce_time", b"yesterday")}, "RFC 3339", "time", id="no time"),
        pytest.param({"headers": changed("ce_time", b"2026-03-02T09:30:00")}, "no time zone", "time", id="no zone"),
        pytest.param({"headers": changed("ce_id", b"\xff")}, "not UTF-8", "ce_id", id="a header that is not UTF-8"),
        pytest.param({"headers": changed("ce_specversion", b"0.3")}, "send 1.0", "specversion", id="an old version"),
        pytest.param({"headers": changed("ce_type", b"duewatch.nonsense.v1")}, "unknown", "type", id="unknown type"),
        pytest.param(
            {"headers": changed("ce_type", b"duewatch.decision.made.v1")},
            "send it to decisions",
            "type",
            id="type of another topic",
        ),
        pytest.param(
            {"headers": changed("content-type", b"text/plain")}, "application/json", "content-type", id="another content type"
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_its_mend(change: dict[str, Any], reason: str, field: str | None) -> None:
    answer = decoded(**change)
    assert isinstance(answer, Rejection)
    assert reason in answer.reason
    assert answer.field == field


def test_a_missing_field_is_named() -> None:
    value = orjson.loads(VALUE)
    del value["amount"]
    assert decoded(orjson.dumps(value)) == Rejection("the field amount is missing: send it", "amount")


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"customer_id": ""}, "is empty: fill it in", "customer_id"),
        ({"customer_id": "c" * 129}, "has 129 characters: send at most 128", "customer_id"),
        ({"customer_id": None}, "is a JSON null: send a string", "customer_id"),
        ({"allocations": {}}, "is a JSON object: send an array", "allocations"),
        ({"allocations": [{"invoice_id": "i", "amount": "1"}] * 10_001}, "has 10001 entries: send at most 10000", "allocations"),
        ({"allocations": [3]}, "is a JSON number: send an object", "allocations.0"),
        ({"allocations": [{"amount": "1"}]}, "is missing: send it", "allocations.0.invoice_id"),
    ],
)
def test_a_field_that_does_not_fit_is_told_in_our_words_with_its_mend(change: dict[str, Any], reason: str, field: str) -> None:
    assert decoded(body(**change)) == Rejection(f"the field {field} {reason}", field)


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (-1, "is -1, which is too small: send at least 0"),
        (3651, "is 3651, which is too large: send at most 3650"),
        (1.5, "is 1.5, which has decimals: send a whole number"),
        ("soon", "is 'soon', which is not a number: send a whole number"),
        ([], "is a JSON array: send a whole number"),
    ],
)
def test_a_number_that_does_not_fit_is_told_with_its_bounds(terms: object, reason: str) -> None:
    value = orjson.dumps({"customer_id": "c-1", "terms_days": terms})
    answer = decoded(value, changed("ce_type", b"duewatch.customer.updated.v1"), topic="customers")
    assert answer == Rejection(f"the field terms_days {reason}", "terms_days")


def test_a_word_that_is_unknown_is_told_with_those_that_are_known() -> None:
    value = orjson.dumps(
        {"customer_id": "c-1", "dispute_id": "d", "invoice_id": "i", "closed_on": "2026-03-02", "outcome": "won"}
    )
    answer = decoded(value, changed("ce_type", b"duewatch.dispute.closed.v1"))
    assert answer == Rejection(
        "the field outcome is 'won', which is unknown here: send 'upheld', 'rejected' or 'withdrawn'", "outcome"
    )


def test_what_its_reader_says_is_wrong_with_a_record_words_a_rejection_and_leads_to_none() -> None:
    fault = ("duewatch-fault", b"the row has 5 fields")
    structured = [("content-type", b"application/cloudevents+json"), fault]
    assert decoded(b'["1", "a"]', structured) == Rejection("the row has 5 fields")
    assert isinstance(decoded(headers=[*HEADERS, fault]), Event)
    assert isinstance(decoded(headers=[*HEADERS, ("duewatch-fault", b"\xff")]), Event)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
NAMES = st.sampled_from([name for name, _ in HEADERS]) | st.text(max_size=20)


@given(
    topic=st.sampled_from(sorted(TOPICS)),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=200) | JSON_LIKE.map(lambda v: repr(v).encode()),
    headers=st.none() | st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=30) | st.just(b"application/cloudevents+json"))),
)
def test_decoding_never_raises(topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
    assert isinstance(codec.decode(topic, key, value, headers, 0, 4), Event | Rejection)


@given(field=st.sampled_from(sorted(orjson.loads(VALUE))), inner=JSON_LIKE)
def test_a_field_of_any_kind_is_read_or_rejected(field: str, inner: Any) -> None:
    try:
        value = orjson.dumps({**orjson.loads(VALUE), field: inner})
    except (TypeError, orjson.JSONEncodeError):
        return
    assert isinstance(decoded(value), Event | Rejection)


@given(name=st.sampled_from([name for name, _ in HEADERS]), text=st.binary(max_size=40))
def test_a_header_of_any_kind_is_read_or_rejected(name: str, text: bytes) -> None:
    assert isinstance(decoded(headers=changed(name, text)), Event | Rejection)


def test_keys_lie_where_java_puts_them() -> None:
    # Of Apache Kafka's own UtilsTest.testMurmur2 (positive part, as its partitioner uses it).
    for key, hashed in ((b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)):
        assert codec.partition_of(key, 1_000_003) == (hashed & 0x7FFFFFFF) % 1_000_003
