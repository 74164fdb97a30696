"""Kafka records to events, and events to Kafka records: the envelope, the body's contract, key and partition, all checked."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
import orjson
from aiokafka.partitioner import murmur2
from pydantic import ValidationError

from schemas import cloudevents
from schemas.base import Contract, added_fields, format_amount
from schemas.cloudevents import Header, Headers, read
from schemas.events.envelope import Event, Output, RejectedError, Rejection, impossible_date
from schemas.ids import content_hash
from schemas.registry import CONTRACTS, TOPICS
from streams.kafka.body_errors import rejection_of

MAX_BYTES = 1 << 20

_KEYED = frozenset(name for name, topic in TOPICS.items() if topic.key == "customer")
# What our own topics carry may be larger: the shared model travels in them by value.
_LARGE = frozenset(name for name, topic in TOPICS.items() if topic.direction == "internal")
_CONTRACTS = {name: topic.contracts for name, topic in TOPICS.items()}
_ADDED = {contract: added for contract in CONTRACTS.values() if (added := added_fields(contract))}


# -- reading
def decode(
    topic: str, key: bytes | None, value: bytes | None, headers: Headers, partition: int = 0, partitions: int | None = None
) -> Event | Rejection:
    """The event of a record, or why it cannot be one and how to fix it. Never raises.

    ``topic`` has no prefix. With ``partitions``, a record is rejected whose key belongs to another partition than the one it lies
    in: its sender uses another partitioner than the rest of the debtor's events.
    """
    try:
        return _decode(topic, key, value, headers, partition, partitions)
    except RejectedError as error:
        return error.rejection
    except Exception as error:  # noqa: BLE001 - whatever a record contains, it ends as a dead letter and not in a crash
        return Rejection(f"the record cannot be read: {type(error).__name__}: {error}"[:500])


def _decode(
    topic: str, key: bytes | None, value: bytes | None, headers: Headers, partition: int, partitions: int | None
) -> Event | Rejection:
    if value is None:
        raise RejectedError("the value is empty (a tombstone): send an event; nobody is erased by an empty value")
    if len(value) > MAX_BYTES and topic not in _LARGE:
        raise RejectedError(f"the value has {len(value)} bytes, more than {MAX_BYTES}: send less in one event")
    event_id, event_type, source, time, recorded, correlation_id, causation_id, _, body = read(value, headers)
    contract = _CONTRACTS[topic].get(event_type) or _reject_type(topic, event_type)
    try:
        data = contract.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        raise rejection_of(error) from None
    customer_id: str | None = getattr(data, "customer_id", None)
    if customer_id is not None and topic in _KEYED:
        _check_key(key, customer_id, partition, partitions)
    impossible = impossible_date(data, recorded)
    if impossible is not None:
        return impossible
    return Event(event_id, event_type, source, time, recorded, data, content_of(data), correlation_id, causation_id)


def _reject_type(topic: str, event_type: str) -> type[Contract]:
    if event_type in CONTRACTS:
        right = next(t.name for t in TOPICS.values() if event_type in t.contracts)
        raise RejectedError(f"the type {event_type} does not belong in the topic {topic}: send it to {right}", "type")
    types = ", ".join(TOPICS[topic].contracts)
    raise RejectedError(f"the type {event_type!r} is unknown in the topic {topic}: send one of {types}", "type")


def content_of(data: Contract) -> str:
    """A hash of what a body says, however it was spelt: it distinguishes a resent event from one that says something else."""
    fields, added = data.__dict__, _ADDED.get(type(data))
    if added is not None:
        fields = {name: value for name, value in fields.items() if name not in added or value != added[name]}
    return content_hash(orjson.dumps(fields, default=_plain))


def _plain(value: Any) -> Any:
    """What the encoders do not know: money, and bodies within bodies."""
    return format_amount(value) if isinstance(value, Decimal) else value.__dict__


def _check_key(key: bytes | None, customer_id: str, partition: int, partitions: int | None) -> None:
    if key is None:
        raise RejectedError("the key is missing: the key of the record is the customer_id", "key")
    if key != customer_id.encode():
        quoted = key.decode(errors="replace")[:80]
        raise RejectedError(
            f"wrong key: {quoted!r} is not the customer_id {customer_id!r}: the key of the record is the customer_id", "key"
        )
    if partitions and (right := partition_of(key, partitions)) != partition:
        raise RejectedError(
            f"wrong partition {partition}: {customer_id!r} belongs in {right}: partition by murmur2, as Java does (librdkafka:"
            " partitioner=murmur2_random)",
            "key",
        )


@lru_cache(maxsize=1 << 17)
def partition_of(key: bytes, partitions: int) -> int:
    """Where the Java client's default partitioner puts a key (murmur2, the sign bit off)."""
    return (int(murmur2(key)) & 0x7FFFFFFF) % partitions


# -- writing
def encode(output: Output) -> tuple[bytes, list[Header]]:
    """Value and headers of an output, binary mode."""
    return json_of(output.data), cloudevents.headers_of(output)


_encode_struct = msgspec.json.Encoder(decimal_format="string", enc_hook=_plain).encode


def json_of(data: Contract) -> bytes:
    """A body as JSON; bodies that the brain writes are structs with a contract's fields (``agents.debtor.message_structs``)."""
    return _encode_struct(data) if isinstance(data, msgspec.Struct) else data.model_dump_json().encode()


def with_contract(output: Output) -> Output:
    """The output with its body as a contract's model, for whoever looks into it. Raises ValidationError if it does not fit."""
    return output._replace(data=CONTRACTS[output.type].model_validate_json(json_of(output.data)))


def encode_event(event: Event) -> tuple[bytes, list[Header]]:
    """Value and headers of an inbound event, binary mode: for whoever sends one (replay, ingest, tests)."""
    headers = cloudevents.headers_from(cloudevents.attributes_of(event))
    return event.data.model_dump_json().encode(), [*headers, cloudevents.JSON_HEADER]


def to_structured(event: Event | Output) -> dict[str, Any]:
    """A structured CloudEvent as a dict that is ready for JSON: data is an object, null fields are written."""
    return cloudevents.structured(cloudevents.attributes_of(event), orjson.loads(json_of(event.data)))
