"""A record that is to be sent, and the order in which a replay sends records (D3)."""

from __future__ import annotations

import os
from datetime import date
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from schemas.cloudevents import FAULT, JSON_HEADER, ORIGIN, STRUCTURED_HEADER, headers_from
from schemas.registry import TOPIC_OF_TYPE, TOPICS
from streams.errors import UserError

Headers = list[tuple[str, bytes]]

# Master data first, so that a debtor's first invoice is scored with its group; then D3: invoices, payments, the rest as it was
# recorded. What a day's payments tell is not known to the invoices of that day: bank statements come in the evening.
RANK_CONTEXT, RANK_CUSTOMER, RANK_INVOICE, RANK_PAYMENT, RANK_OTHER = range(5)
_SHOWN = "".join(c for c in map(chr, range(32, 127)) if c != "%")
_LONGEST_NAME = 200
_RANKS = {
    "duewatch.policy.published.v1": RANK_CONTEXT,
    "duewatch.rates.published.v1": RANK_CONTEXT,
    "duewatch.customer.updated.v1": RANK_CUSTOMER,
    "duewatch.invoice.issued.v1": RANK_INVOICE,
    "duewatch.payment.received.v1": RANK_PAYMENT,
}

SOURCE_TOPICS: frozenset[str] = frozenset(name for name, topic in TOPICS.items() if topic.direction == "in")
"""Where records may be sent: never to a topic that we write ourselves."""
SOURCE_OF_TYPE: dict[str, str] = {kind: topic for kind, topic in TOPIC_OF_TYPE.items() if topic in SOURCE_TOPICS}


class SourceError(UserError):
    """A file cannot be read as it was said to be; the message names file, place, and the mend."""


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


def order_within_day(attributes: dict[str, Any], data: dict[str, Any]) -> tuple[int, str, bytes]:
    """Rank and tie-break of D3: a hash of the id with amount and due date, never the id's magnitude or the file's order.

    The debtor agent sorts a step again, by the same ranks (agents/debtor/event_order.py), since topics arrive beside each other.
    """
    rank = _RANKS.get(str(attributes.get("type")), RANK_OTHER)
    text = f"{attributes.get('id')}\x1f{data.get('amount')}\x1f{data.get('due_on')}"
    recorded = str(attributes.get("recordedtime")) if rank == RANK_OTHER else ""
    return rank, recorded, blake2b(text.encode(), digest_size=8).digest()


def origin_of(path: Path, line: int) -> bytes:
    """The place of a line in words, in ASCII; the file's name alone, since a path would tell of the machine.

    >>> origin_of(Path("ledgers/März.csv"), 207)
    b'M%C3%A4rz.csv line 207'
    """
    return f"{_plain_name(path.name)} line {line}".encode()


@lru_cache(maxsize=16)
def _plain_name(name: str) -> str:
    # Spaces and the like are kept; what is no UTF-8 on the disk is escaped byte by byte.
    return quote(os.fsencode(name), safe=_SHOWN)[:_LONGEST_NAME]


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
    """Bytes that are no CloudEvent, to be sent as they are: they end as a dead letter that somebody can mend.

    ``fault``: what is wrong with them, in words, where the bytes alone do not tell.
    """
    # Declared structured, so that the reason is "no JSON" or "data is missing" rather than "headers are missing".
    headers: Headers = [STRUCTURED_HEADER]
    headers += [(name, told) for name, told in ((ORIGIN, origin), (FAULT, fault.encode())) if told]
    return Record(topic, None, value, headers, day, (RANK_OTHER, "", blake2b(value, digest_size=8).digest()))
