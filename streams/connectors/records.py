"""A record that is to be sent, the order in which a replay sends records, and the partition where one belongs."""

from __future__ import annotations

import os
from datetime import date
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from agents.debtor.event_order import OTHER_RANK, rank_of
from schemas.cloudevents import FAULT, JSON_HEADER, ORIGIN, STRUCTURED_HEADER, headers_from
from schemas.registry import TOPIC_OF_TYPE, TOPICS
from streams.errors import UserError
from streams.kafka.codec import partition_of

Headers = list[tuple[str, bytes]]

CONTEXT_TYPES = frozenset({"duewatch.policy.published.v1", "duewatch.rates.published.v1"})
CONTEXT_RANK = -1
"""Policies and rates are in force for the whole day: they come before all that is decided under them."""
_PLAIN_CHARACTERS = "".join(c for c in map(chr, range(32, 127)) if c != "%")
_MAX_NAME_LENGTH = 200

SOURCE_TOPICS: frozenset[str] = frozenset(name for name, topic in TOPICS.items() if topic.direction == "in")
"""Where records may be sent: never to a topic that we write ourselves."""
SOURCE_OF_TYPE: dict[str, str] = {kind: topic for kind, topic in TOPIC_OF_TYPE.items() if topic in SOURCE_TOPICS}


class SourceError(UserError):
    """A file cannot be read as it should be; the message names file, place, and how to fix it."""


class Record(NamedTuple):
    """A message for ``topic`` (without prefix) as it goes on the wire, and its place in a replay."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    day: date
    """The day (UTC) on which it was recorded: its place in time."""
    order: tuple[int, str, bytes]
    """Within the day: rank of the kind; when it was recorded, where the kind keeps that; a hash that knows no file order."""


def partition_for(record: Record, partitions: int) -> int:
    """The partition where a record belongs; one without a key goes where its bytes say, in every run to the same."""
    key = record.key if record.key is not None else blake2b(record.value, digest_size=8).digest()
    return partition_of(key, TOPICS[record.topic].partitions or partitions)


def order_within_day(attributes: dict[str, Any], data: dict[str, Any]) -> tuple[int, str, bytes]:
    """The ranks of ``agents.debtor.event_order``, with policies and rates before all; then a hash that no file order enters.

    This is where a record lies in its topic, and whether it can be decoded is not known yet: the hash takes id, amount and due
    date as they come. The order of decisions is ``event_order.order_key``, by which the debtor's agent sorts each step.
    """
    event_type = str(attributes.get("type"))
    rank = CONTEXT_RANK if event_type in CONTEXT_TYPES else rank_of(event_type)
    text = f"{attributes.get('id')}\x1f{data.get('amount')}\x1f{data.get('due_on')}"
    recorded = str(attributes.get("recordedtime")) if rank == OTHER_RANK else ""
    return rank, recorded, blake2b(text.encode(), digest_size=8).digest()


def origin_of(path: Path, line: int) -> bytes:
    """File and line as text, in ASCII; the file's name alone, since a path would tell of the machine.

    >>> origin_of(Path("ledgers/März.csv"), 207)
    b'M%C3%A4rz.csv line 207'
    """
    return f"{_plain_name(path.name)} line {line}".encode()


@lru_cache(maxsize=16)
def _plain_name(name: str) -> str:
    # Spaces and the like are kept; what is not UTF-8 on the disk is escaped byte by byte.
    return quote(os.fsencode(name), safe=_PLAIN_CHARACTERS)[:_MAX_NAME_LENGTH]


def record_of(topic: str, attributes: dict[str, Any], data: Any, day: date, origin: bytes = b"") -> Record:
    """The record of a CloudEvent in binary mode: attributes become headers, ``data`` the value.

    Nothing is judged here. An attribute or a body that is wrong goes out as it is: the worker says what is wrong with it.
    """
    headers: Headers = [JSON_HEADER, *headers_from(attributes)]
    if origin:
        headers.append((ORIGIN, origin))
    body: dict[str, Any] = data if isinstance(data, dict) else {}
    key = attributes.get("partitionkey")
    if not isinstance(key, str):
        key = body.get("customer_id")
    order = order_within_day(attributes, body)
    return Record(topic, key.encode() if isinstance(key, str) else None, orjson.dumps(data), headers, day, order)


def raw_record(topic: str, value: bytes, day: date, origin: bytes = b"", fault: str = "") -> Record:
    """Bytes that are not a CloudEvent, to be sent as they are: they end as a dead letter that somebody can fix.

    ``fault``: what is wrong with them, for people, where the bytes alone do not tell.
    """
    # Declared structured, so that the reason is "not valid JSON" or "data is missing" rather than "headers are missing".
    headers: Headers = [STRUCTURED_HEADER]
    headers += [(name, text) for name, text in ((ORIGIN, origin), (FAULT, fault.encode())) if text]
    return Record(topic, None, value, headers, day, (OTHER_RANK, "", blake2b(value, digest_size=8).digest()))
