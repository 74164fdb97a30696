"""The CloudEvents 1.0 envelope, read and written: the names of its attributes, its two modes on Kafka, and what it must hold.

In *binary* mode the value of a record is the body and each attribute is a header ``ce_NAME``; in *structured* mode the value is
one JSON object with the attributes and the body under ``data``. We write binary mode to Kafka and structured mode to files, and
read both. All that reads or writes an envelope does it by this module: the worker, the sink, connectors, and tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from schemas.base import format_time, json_type, parse_time
from schemas.events.envelope import Event, Output, RejectedError

Header = tuple[str, bytes]
Headers = Iterable[tuple[str, bytes | str | None]] | Any
"""Names and values as a Kafka client hands them out; ``Any`` because what strangers send may be anything."""

SPECVERSION = "1.0"
SOURCE = "duewatch"
"""``source`` of all that we decide."""
REQUIRED = ("id", "type", "source", "specversion", "time", "recordedtime")
OPTIONAL = ("subject", "causationid", "correlationid", "partitionkey", "datacontenttype", "dataschema")
MAX_ATTRIBUTE_LENGTH = 256

PREFIX = "ce_"
"""Of the headers that hold attributes in binary mode."""
CONTENT_TYPE = "content-type"
JSON_TYPE, STRUCTURED_TYPE = "application/json", "application/cloudevents"
"""Media types of a value: a body alone, and (``+json`` follows) a structured event."""
JSON_HEADER: Header = (CONTENT_TYPE, JSON_TYPE.encode())
STRUCTURED_HEADER: Header = (CONTENT_TYPE, f"{STRUCTURED_TYPE}+json".encode())

REPLAY_OF = "ce_replayof"
"""The header of a record that was sent in place of a dead letter: that letter's id."""
UNREADABLE = "duewatch-unreadable-headers"
"""Stands in place of headers of which one has a name that is not UTF-8; by it the record is rejected."""
ORIGIN = "duewatch-origin"
"""Where a record was read that lay in a file, for whoever has to fix it there. Not a ``ce_`` header, because the same record from
another place is the same record."""
FAULT = "duewatch-fault"
"""What is wrong with a record that is not an event, where only its reader in a file can tell, such as a row of too few fields. It
words the rejection and never causes one: without it the same record is rejected, too."""

# Attributes that many events have alike: one header serves them all.
_SHARED = frozenset({"specversion", "type", "source", "subject", "partitionkey"})
_JSON_BYTES = JSON_TYPE.encode()


class Envelope(NamedTuple):
    """The attributes of an event, checked, and its ``body`` (JSON) as it came. Times are UTC."""

    id: str
    type: str
    source: str
    time: datetime
    recorded: datetime
    correlation_id: str | None
    causation_id: str | None
    subject: str | None
    body: bytes


# -- reading
def read(value: bytes, headers: Headers) -> Envelope:
    """The envelope of a record in either mode. Raises RejectedError, which says what is wrong and how to fix it."""
    return _read_plain_binary(value, headers) or _read_any(value, headers)


def _read_plain_binary(value: bytes, headers: Headers) -> Envelope | None:
    """The envelope in binary mode with nothing odd in it, as nearly every one comes; None = ``_read_any`` must tell what is odd.

    This is on the path of every event: it reads the headers by name, and leaves all judging of oddities to the slow way.
    """
    try:
        fields: dict[str, Any] = dict(headers)
        if fields["content-type"] != _JSON_BYTES or len(fields) != len(headers):  # type: ignore[arg-type] # an iterator is odd, too
            return None
        if not b"".join(fields.values()).isascii() or "".join(fields).lower().count("content-type") > 1:
            return None
        event_id, subject = fields["ce_id"].decode(), fields.get("ce_subject", b"")
        if not 0 < len(event_id) <= MAX_ATTRIBUTE_LENGTH or not event_id.isprintable():
            return None
        event_type, source = _read_sender(fields["ce_type"], fields["ce_source"], fields["ce_specversion"])
        time, recorded = _read_time(fields["ce_time"]), _read_time(fields["ce_recordedtime"])
        correlation_id = _read_cause(fields.get("ce_correlationid"))
        causation_id = _read_cause(fields.get("ce_causationid"))
    # A header that is missing, is not bytes, or holds what it should not (RejectedError and UnicodeDecodeError are ValueErrors).
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return Envelope(event_id, event_type, source, time, recorded, correlation_id, causation_id, subject.decode() or None, value)


def _read_cause(raw: bytes | None) -> str | None:
    if not raw:
        return None
    _check_attribute("cause", text := raw.decode())
    return text


# A topic has few types and senders; events share their times: one file, one export, one day.
@lru_cache(maxsize=4096)
def _read_sender(event_type: bytes, source: bytes, version: bytes) -> tuple[str, str]:
    sender = event_type.decode(), source.decode()
    _check_sender(*sender, version.decode())
    return sender


@lru_cache(maxsize=4096)
def _read_time(text: bytes) -> datetime:
    return parse_time(text.decode())


def _read_any(value: bytes, headers: Headers) -> Envelope:
    attributes, body = split(value, headers)
    _check_attribute("id", attributes.get("id"))
    for name in ("correlationid", "causationid"):  # they are quoted in all that follows
        if attributes.get(name):
            _check_attribute(name, attributes[name])
    _check_sender(attributes.get("type"), attributes.get("source"), attributes.get("specversion"))
    time, recorded = _time_of(attributes, "time"), _time_of(attributes, "recordedtime")
    correlation_id, causation_id, subject = (attributes.get(name) or None for name in ("correlationid", "causationid", "subject"))
    sender = attributes["type"], attributes["source"]
    return Envelope(attributes["id"], *sender, time, recorded, correlation_id, causation_id, subject, body)


def split(value: bytes, headers: Headers) -> tuple[dict[str, str], bytes]:
    """Attributes and body of a record in either mode, whatever the attributes say. Raises RejectedError."""
    attributes: dict[str, str] = {}
    content_type = fault = ""
    for name, raw in headers or ():
        if name[:3] == PREFIX:
            attributes[name[3:]] = _text(name, raw)
        elif name.lower() == CONTENT_TYPE:
            content_type = _text(name, raw).lower()
        elif name == UNREADABLE:
            raise RejectedError(
                "the name of a header is not UTF-8, so none of the headers can be read: send names in UTF-8", "headers"
            )
        elif name == FAULT:
            fault = raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""
    if content_type.startswith(STRUCTURED_TYPE):
        return _split_structured(value, fault)
    if not attributes:
        raise RejectedError(
            "the CloudEvents headers are missing: send ce_id, ce_type, ce_source, ce_time and others, or structured mode"
        )
    if content_type and not content_type.startswith(JSON_TYPE):
        raise RejectedError(f"the content-type is {content_type[:80]!r}: send application/json", CONTENT_TYPE)
    return attributes, value


def is_structured(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether the value of a record with these headers holds the attributes too."""
    return any(name.lower() == CONTENT_TYPE and raw.lower().startswith(STRUCTURED_TYPE.encode()) for name, raw in headers)


def _text(name: str, raw: bytes | str | None) -> str:
    try:
        return raw.decode()  # type: ignore[union-attr]
    except UnicodeDecodeError:
        raise RejectedError(f"the header {name[:80]} is not UTF-8: send it as UTF-8", name) from None
    except AttributeError:
        return str(raw or "")


def _split_structured(value: bytes, fault: str) -> tuple[dict[str, str], bytes]:
    """``fault``: what the reader of a file knows to be wrong with the value, quoted where the value is indeed not an event."""
    try:
        envelope = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise RejectedError(f"the value is not valid JSON ({error}): send a structured CloudEvent as a JSON object") from None
    if fault and not isinstance(envelope, dict):
        raise RejectedError(fault)
    try:
        return _attributes_of_structured(envelope), orjson.dumps(envelope.get("data"))
    except TypeError:  # what can be read may be too deep to be written
        raise RejectedError("data is nested too deep: send what the contract asks for", "data") from None


def _attributes_of_structured(envelope: Any) -> dict[str, str]:
    if not isinstance(envelope, dict):
        raise RejectedError(f"the value is a JSON {json_type(envelope)}: send a structured CloudEvent as a JSON object")
    if "data" not in envelope:
        raise RejectedError("data is missing: send the body as the JSON object data", "data")
    attributes = {name: text for name in (*REQUIRED, *OPTIONAL) if (text := envelope.get(name)) is not None}
    for name, text in attributes.items():
        if not isinstance(text, str):
            raise RejectedError(f"{name} is a JSON {json_type(text)}: send a string", name)
    return attributes


def _check_attribute(name: str, text: str | None) -> None:
    if not text:
        raise RejectedError(f"the attribute {name} is missing: send the header ce_{name}", name)
    if len(text) > MAX_ATTRIBUTE_LENGTH or not text.isprintable():
        raise RejectedError(
            f"the attribute {name} has {len(text)} characters or control characters: at most {MAX_ATTRIBUTE_LENGTH}", name
        )


def _check_sender(event_type: str | None, source: str | None, version: str | None) -> None:
    for name, text in (("type", event_type), ("source", source), ("specversion", version)):
        _check_attribute(name, text)
    if version != SPECVERSION:
        raise RejectedError(f"specversion is {version!r}: send {SPECVERSION}", "specversion")


def _time_of(attributes: Mapping[str, str], name: str) -> datetime:
    text = attributes.get(name)
    if not text or len(text) > MAX_ATTRIBUTE_LENGTH:
        _check_attribute(name, text)
    try:
        return parse_time(attributes[name])
    except (ValueError, OverflowError) as error:
        raise RejectedError(f"{name}: {error}", name) from None


# -- writing
def build_attributes(
    event_id: str,
    event_type: str,
    source: str,
    time: str,
    recorded: str,
    *,
    subject: str | None = None,
    causation_id: str | None = None,
    correlation_id: str | None = None,
    partition_key: str | None = None,
) -> dict[str, str]:
    """The attributes by name; what is empty is left out. Times as ``format_time`` writes them.

    >>> at = "2026-03-31T09:00:00Z"
    >>> build_attributes("e-1", "duewatch.invoice.issued.v1", "erp", at, at, partition_key="c-1").keys()
    dict_keys(['specversion', 'id', 'type', 'source', 'time', 'recordedtime', 'partitionkey'])
    """
    required = {
        "specversion": SPECVERSION,
        "id": event_id,
        "type": event_type,
        "source": source,
        "time": time,
        "recordedtime": recorded,
    }
    optional = {
        "subject": subject,
        "causationid": causation_id,
        "correlationid": correlation_id,
        "partitionkey": partition_key,
    }
    return required | {name: text for name, text in optional.items() if text}


def attributes_of(event: Event | Output) -> dict[str, str]:
    """The attributes of an event or an output by name."""
    customer_id = getattr(event.data, "customer_id", None)
    return build_attributes(
        event.id,
        event.type,
        event.source if isinstance(event, Event) else SOURCE,
        format_time(event.time),
        format_time(event.recorded),
        subject=customer_id,
        causation_id=event.causation_id,
        correlation_id=event.correlation_id,
        partition_key=event.key if isinstance(event, Output) else customer_id,
    )


def structured(attributes: Mapping[str, str], data: Any) -> dict[str, Any]:
    """A structured event as a dict that is ready for JSON."""
    return {**attributes, "datacontenttype": JSON_TYPE, "data": data}


def headers_from(attributes: Mapping[str, Any]) -> list[Header]:
    """Binary mode: a header for each attribute, in their order; the header ``content-type`` is the caller's to add.

    Nothing is judged: what is null is left out, what is not text is written as JSON, and whoever reads it says what is wrong.

    >>> headers_from({"id": "e-1", "subject": None, "count": 1, "datacontenttype": "application/json"})
    [('ce_id', b'e-1'), ('ce_count', b'1')]
    """
    headers: list[Header] = []
    for name, value in attributes.items():
        if value is not None and name != "datacontenttype":
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            headers.append(_shared_header(name, text) if name in _SHARED else (PREFIX + name, text.encode()))
    return headers


@lru_cache(maxsize=1 << 16)
def _shared_header(name: str, text: str) -> Header:
    return PREFIX + name, text.encode()


def headers_of(output: Output) -> list[Header]:
    """All headers of an output: the same as ``headers_from(attributes_of(output))`` and the content type, in half the time."""
    time = _format_time(output.time)
    headers: list[Header] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", output.id.encode()),
        ("ce_type", output.type.encode()),
        ("ce_source", b"duewatch"),
        ("ce_time", time),
        ("ce_recordedtime", time if output.recorded is output.time else _format_time(output.recorded)),
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
    headers.append(JSON_HEADER)
    return headers


@lru_cache(maxsize=4096)
def _format_time(at: datetime) -> bytes:
    """Causes of one instant have many outputs: all deadlines of a day, for one."""
    return format_time(at).encode()
