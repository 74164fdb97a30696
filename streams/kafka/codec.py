"""Kafka records to events and outputs to Kafka records: CloudEvents 1.0, binary mode written, structured mode read too."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import orjson
from aiokafka.partitioner import murmur2
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.base import Contract, format_amount, format_time, json_type, parse_time
from schemas.events.envelope import Event, Output, Rejection, impossible_date
from schemas.ids import content_hash
from schemas.registry import CONTRACTS, TOPICS
from streams.kafka.headers import FAULT, UNREADABLE

Header = tuple[str, bytes]
Headers = Iterable[tuple[str, bytes | str | None]] | Any

MAX_BYTES = 1 << 20
MAX_ATTRIBUTE = 256
SOURCE = "duewatch"
STRUCTURED = "application/cloudevents"
JSON = b"application/json"
REQUIRED = ("id", "type", "source", "specversion", "time", "recordedtime")
OPTIONAL = ("subject", "causationid", "correlationid", "partitionkey", "datacontenttype", "dataschema")

# What our own topics carry may be larger: the shared model travels in them by value.
_KEYED = frozenset(name for name, topic in TOPICS.items() if topic.key == "customer")
_LARGE = frozenset(name for name, topic in TOPICS.items() if topic.direction == "internal")


class _RejectedError(Exception):
    """Carries a rejection out of the steps of decoding; never leaves this module."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.rejection = Rejection(_shown(reason[:2000]), field and _shown(field[:200]))


def _shown(text: str) -> str:
    """Printable: reasons quote what a stranger sent."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)[:2000]


def decode(
    topic: str, key: bytes | None, value: bytes | None, headers: Headers, partition: int = 0, partitions: int | None = None
) -> Event | Rejection:
    """The event of a record, or in words why it is none and how to mend it. Never raises.

    ``topic`` has no prefix. With ``partitions``, a record is refused whose key belongs to another partition than the one it lies
    in: its sender uses another partitioner than the rest of the debtor's events.
    """
    try:
        return _decode(topic, key, value, headers, partition, partitions)
    except _RejectedError as error:
        return error.rejection
    except Exception as error:  # noqa: BLE001 - whatever a record contains, it ends as a dead letter and not in a crash
        return Rejection(f"the record cannot be read: {type(error).__name__}: {error}"[:500])


def _decode(
    topic: str, key: bytes | None, value: bytes | None, headers: Headers, partition: int, partitions: int | None
) -> Event | Rejection:
    if value is None:
        raise _RejectedError("the value is empty (a tombstone): send an event; nobody is erased by an empty value")
    if len(value) > MAX_BYTES and topic not in _LARGE:
        raise _RejectedError(f"the value has {len(value)} bytes, more than {MAX_BYTES}: send less in one event")
    said = _usual(topic, value, headers) or _closely(topic, value, headers)
    try:
        data = said.contract.__pydantic_validator__.validate_json(said.body)
    except ValidationError as error:
        raise _explained(error) from None
    customer_id: str | None = getattr(data, "customer_id", None)
    if customer_id is not None and topic in _KEYED:
        _check_key(key, customer_id, partition, partitions)
    impossible = impossible_date(data, said.recorded)
    if impossible is not None:
        return impossible
    return Event(
        said.id, said.type, said.source, said.time, said.recorded, data, content_of(data), said.correlation_id, said.causation_id
    )


class _Said(NamedTuple):
    """What an envelope says, checked, and the body as it came."""

    contract: type[Contract]
    body: bytes
    id: str
    type: str
    source: str
    time: datetime
    recorded: datetime
    correlation_id: str | None
    causation_id: str | None


def _usual(topic: str, value: bytes, headers: Headers) -> _Said | None:
    """The envelope in binary mode with nothing odd in it, which is nearly every one. None = look closely, and say why."""
    try:
        told: dict[str, Any] = dict(headers)
        if told["content-type"] != JSON or len(told) != len(headers):  # type: ignore[arg-type] # an iterator is odd, too
            return None
        if not b"".join(told.values()).isascii() or "".join(told).lower().count("content-type") > 1:
            return None
        _check_attribute("id", ident := told["ce_id"].decode())
        contract, name, source = _sender(topic, told["ce_type"], told["ce_source"], told["ce_specversion"])
        time, recorded = _written_instant(told["ce_time"]), _written_instant(told["ce_recordedtime"])
        correlation, causation = _cause(told.get("ce_correlationid")), _cause(told.get("ce_causationid"))
    except Exception:  # noqa: BLE001 - told by whoever looks closely
        return None
    return _Said(contract, value, ident, name, source, time, recorded, correlation, causation)


def _cause(raw: bytes | None) -> str | None:
    if not raw:
        return None
    _check_attribute("cause", text := raw.decode())
    return text


# A topic has few types and senders; events share their times: one file, one export, one day.
@lru_cache(maxsize=4096)
def _sender(topic: str, name: bytes, source: bytes, version: bytes) -> tuple[type[Contract], str, str]:
    said = name.decode(), source.decode()
    return (_contract_of(topic, *said, version.decode()), *said)


@lru_cache(maxsize=4096)
def _written_instant(text: bytes) -> datetime:
    return parse_time(text.decode())


def _closely(topic: str, value: bytes, headers: Headers) -> _Said:
    attributes, body = _split(value, headers)
    contract = _contract(topic, attributes)
    time, recorded = _instant(attributes, "time"), _instant(attributes, "recordedtime")
    causes = attributes.get("correlationid") or None, attributes.get("causationid") or None
    return _Said(contract, body, attributes["id"], attributes["type"], attributes["source"], time, recorded, *causes)


def content_of(data: Contract) -> str:
    """A hash of what a body says, however it was spelt: by it a resent event is told from one that says something else."""
    body = data.__dict__
    if added := data.added_fields:
        body = {name: value for name, value in body.items() if value or name not in added}
    return content_hash(orjson.dumps(body, default=_plain))


def _plain(value: Any) -> Any:
    """What the encoders do not know: money, and bodies within bodies."""
    return format_amount(value) if isinstance(value, Decimal) else value.__dict__


def _split(value: bytes, headers: Headers) -> tuple[dict[str, str], bytes]:
    """Attributes and body, from either mode."""
    attributes: dict[str, str] = {}
    content_type = fault = ""
    for name, raw in headers or ():
        if name[:3] == "ce_":
            attributes[name[3:]] = _text(name, raw)
        elif name.lower() == "content-type":
            content_type = _text(name, raw).lower()
        elif name == UNREADABLE:
            raise _RejectedError(
                "the name of a header is no UTF-8, so none of the headers can be read: send names in UTF-8", "headers"
            )
        elif name == FAULT:
            fault = raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""
    if content_type.startswith(STRUCTURED):
        return _split_structured(value, fault)
    if not attributes:
        raise _RejectedError(
            "the CloudEvents headers are missing: send ce_id, ce_type, ce_source, ce_time and others, or structured mode"
        )
    if content_type and not content_type.startswith("application/json"):
        raise _RejectedError(f"the content-type is {content_type[:80]!r}: send application/json", "content-type")
    return attributes, value


def _text(name: str, raw: bytes | str | None) -> str:
    try:
        return raw.decode()  # type: ignore[union-attr]
    except UnicodeDecodeError:
        raise _RejectedError(f"the header {name[:80]} is no UTF-8: send it as UTF-8", name) from None
    except AttributeError:
        return str(raw or "")


def _split_structured(value: bytes, fault: str) -> tuple[dict[str, str], bytes]:
    """``fault``: what its sender knows to be wrong with it, told where it is indeed no event."""
    try:
        envelope = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise _RejectedError(f"the value is no JSON ({error}): send a structured CloudEvent as a JSON object") from None
    if fault and not isinstance(envelope, dict):
        raise _RejectedError(fault)
    try:
        return _attributes_of(envelope), orjson.dumps(envelope.get("data"))
    except TypeError:  # what can be read may be too deep to be written
        raise _RejectedError("data is nested too deep: send what the contract asks for", "data") from None


def _attributes_of(envelope: Any) -> dict[str, str]:
    if not isinstance(envelope, dict):
        raise _RejectedError(f"the value is a JSON {type(envelope).__name__}: send a structured CloudEvent as a JSON object")
    if "data" not in envelope:
        raise _RejectedError("data is missing: send the body as the JSON object data", "data")
    known = {name: text for name in (*REQUIRED, *OPTIONAL) if (text := envelope.get(name)) is not None}
    for name, text in known.items():
        if not isinstance(text, str):
            raise _RejectedError(f"{name} is a JSON {type(text).__name__}: send a string", name)
    return known


def _contract(topic: str, attributes: dict[str, str]) -> type[Contract]:
    _check_attribute("id", attributes.get("id"))
    for name in ("correlationid", "causationid"):  # we quote them in all that follows
        if attributes.get(name):
            _check_attribute(name, attributes[name])
    return _contract_of(topic, attributes.get("type"), attributes.get("source"), attributes.get("specversion"))


def _check_attribute(name: str, text: str | None) -> None:
    if not text:
        raise _RejectedError(f"the attribute {name} is missing: send the header ce_{name}", name)
    if len(text) > MAX_ATTRIBUTE or not text.isprintable():
        raise _RejectedError(
            f"the attribute {name} has {len(text)} characters or control characters: at most {MAX_ATTRIBUTE}", name
        )


def _contract_of(topic: str, name: str | None, source: str | None, version: str | None) -> type[Contract]:
    for attribute, text in (("type", name), ("source", source), ("specversion", version)):
        _check_attribute(attribute, text)
    if version != "1.0":
        raise _RejectedError(f"specversion is {version!r}: send 1.0", "specversion")
    contracts = TOPICS[topic].contracts
    if name in contracts:
        return contracts[name]
    if name in CONTRACTS:
        right = next(t.name for t in TOPICS.values() if name in t.contracts)
        raise _RejectedError(f"the type {name} does not belong in the topic {topic}: send it to {right}", "type")
    raise _RejectedError(f"the type {name!r} is unknown in the topic {topic}: send one of {', '.join(contracts)}", "type")


def _instant(attributes: dict[str, str], name: str) -> datetime:
    text = attributes.get(name)
    if not text or len(text) > MAX_ATTRIBUTE:
        _check_attribute(name, text)
    try:
        return parse_time(attributes[name])
    except (ValueError, OverflowError) as error:
        raise _RejectedError(f"{name}: {error}", name) from None


_WORDED = {
    "missing": "is missing: send it",
    "string_too_short": "is empty: fill it in",  # no field asks for more than one character
    "string_too_long": "has {length} characters: send at most {max_length}",
    "string_type": "is a JSON {type}: send a string",
    "int_type": "is a JSON {type}: send a whole number",
    "int_parsing": "is {input}, which is no number: send a whole number",
    "int_from_float": "is {input}, which has decimals: send a whole number",
    "float_type": "is a JSON {type}: send a number",
    "float_parsing": "is {input}, which is no number: send one",
    "bool_type": "is a JSON {type}: send true or false",
    "tuple_type": "is a JSON {type}: send an array",
    "dict_type": "is a JSON {type}: send an object",
    "model_type": "is a JSON {type}: send an object",
    "too_long": "has {length} entries: send at most {max_length}",
    "literal_error": "is {input}, which is unknown here: send {expected}",
    "greater_than_equal": "is {input}, which is too small: send at least {ge}",
    "less_than_equal": "is {input}, which is too large: send at most {le}",
}
"""Pydantic's common errors in our words, with the mend; they follow the name of the field."""


def _worded(error: ErrorDetails) -> str | None:
    """None = an error that is none of the common ones."""
    words, came = _WORDED.get(error["type"]), error["input"]
    if words is None:
        return None
    length = len(came) if isinstance(came, str | list) else None
    return words.format_map(error.get("ctx", {}) | {"input": f"{came!r:.80}", "type": json_type(came), "length": length})


def _explained(error: ValidationError) -> _RejectedError:
    """One clear sentence of the first of pydantic's errors: the field, what is wrong, what came."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"])) or None
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return _RejectedError(f"the body is no valid JSON ({message}): send a JSON object in UTF-8")
    if words := _worded(first):
        return _RejectedError(f"the field {field} {words}" if field else f"the body {words}", field)
    if field is None:
        return _RejectedError(f"the body does not fit: {message}")
    came = "" if first["type"] == "value_error" else f" (got {first['input']!r:.80})"
    return _RejectedError(f"{field}: {message}{came}", field)


def _check_key(key: bytes | None, customer_id: str, partition: int, partitions: int | None) -> None:
    if key is None:
        raise _RejectedError("the key is missing: the key of the record is the customer_id", "key")
    if key != customer_id.encode():
        shown = key.decode(errors="replace")[:80]
        raise _RejectedError(
            f"wrong key: {shown!r} is not the customer_id {customer_id!r}: the key of the record is the customer_id", "key"
        )
    if partitions and (right := partition_of(key, partitions)) != partition:
        raise _RejectedError(
            f"wrong partition {partition}: {customer_id!r} belongs in {right}: partition by murmur2, as Java does (librdkafka:"
            " partitioner=murmur2_random)",
            "key",
        )


@lru_cache(maxsize=1 << 17)
def partition_of(key: bytes, partitions: int) -> int:
    """Where the Java client's default partitioner puts a key (murmur2, the sign bit off)."""
    return (int(murmur2(key)) & 0x7FFFFFFF) % partitions


def encode(output: Output) -> tuple[bytes, list[Header]]:
    """Value and headers of an output, binary mode."""
    return json_of(output.data), headers_of(output)


_encode_struct = msgspec.json.Encoder(decimal_format="string", enc_hook=_plain).encode


def json_of(data: Contract) -> bytes:
    """A body as JSON; bodies that the brain writes are structs with a contract's fields (``agents.debtor.message_structs``)."""
    return _encode_struct(data) if isinstance(data, msgspec.Struct) else data.model_dump_json().encode()


def checked(output: Output) -> Output:
    """The output, its body read back by its contract: for whoever looks into it. Raises ValidationError if it does not fit."""
    return output._replace(data=CONTRACTS[output.type].model_validate_json(json_of(output.data)))


def headers_of(output: Output) -> list[Header]:
    """The CloudEvents attributes of an output as headers."""
    at = _stamp(output.time)
    headers: list[Header] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", output.id.encode()),
        ("ce_type", output.type.encode()),
        ("ce_source", b"duewatch"),
        ("ce_time", at),
        ("ce_recordedtime", at if output.recorded is output.time else _stamp(output.recorded)),
    ]
    customer_id = getattr(output.data, "customer_id", None)
    if customer_id:
        headers.append(("ce_subject", customer_id.encode()))
    if output.causation_id:
        headers.append(("ce_causationid", output.causation_id.encode()))
    if output.correlation_id:
        headers.append(("ce_correlationid", output.correlation_id.encode()))
    if output.key:
        headers.append(("ce_partitionkey", output.key.encode()))
    headers.append(("content-type", JSON))
    return headers


@lru_cache(maxsize=4096)
def _stamp(at: datetime) -> bytes:
    """Causes of one instant have many outputs: all deadlines of a day, for one."""
    return format_time(at).encode()


def _attributes(event: Event | Output) -> dict[str, str]:
    customer_id = event.customer_id if isinstance(event, Event) else getattr(event.data, "customer_id", None)
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "type": event.type,
        "source": event.source if isinstance(event, Event) else SOURCE,
        "time": format_time(event.time),
        "recordedtime": format_time(event.recorded),
    }
    optional = {
        "subject": customer_id,
        "causationid": event.causation_id,
        "correlationid": event.correlation_id,
        "partitionkey": event.key if isinstance(event, Output) else customer_id,
    }
    attributes.update({name: text for name, text in optional.items() if text})
    return attributes


def encode_event(event: Event) -> tuple[bytes, list[Header]]:
    """Value and headers of an inbound event, binary mode: for whoever sends one (replay, ingest, tests)."""
    headers = [(f"ce_{name}", text.encode()) for name, text in _attributes(event).items()]
    headers.append(("content-type", JSON))
    return event.data.model_dump_json().encode(), headers


def to_structured(event: Event | Output) -> dict[str, Any]:
    """A structured CloudEvent as a dict that is ready for JSON: data is an object, null fields are written."""
    return {**_attributes(event), "datacontenttype": "application/json", "data": orjson.loads(json_of(event.data))}


def from_structured(envelope: dict[str, Any]) -> Event:
    """The event of a structured CloudEvent, whatever its topic. Raises ValueError with a text for people."""
    try:
        attributes = _attributes_of(envelope)
        name = attributes.get("type", "")
        topic = next((t.name for t in TOPICS.values() if name in t.contracts), "payments")
        contract = _contract(topic, attributes)
        data = contract.model_validate_json(orjson.dumps(envelope["data"]))
        time, recorded = _instant(attributes, "time"), _instant(attributes, "recordedtime")
    except ValidationError as error:
        raise ValueError(_explained(error).rejection.reason) from None
    except _RejectedError as error:
        raise ValueError(error.rejection.reason) from None
    if impossible := impossible_date(data, recorded):
        raise ValueError(impossible.reason)
    content = content_of(data)
    causes = {"correlation_id": attributes.get("correlationid"), "causation_id": attributes.get("causationid")}
    return Event(attributes["id"], name, attributes["source"], time, recorded, data, content, **causes)
