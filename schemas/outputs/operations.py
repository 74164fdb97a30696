"""Topics ``journal`` and ``dead-letters``: what a slice did, what could not be applied or failed, and what is paused for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from schemas.base import BusinessDate, Contract, Id, Instant, Label, Text

MAX_VALUE_BYTES, MAX_KEY_BYTES, MAX_HEADER_BYTES = 4 << 20, 64 << 10, 1 << 20
"""At most this much of a record is in its dead letter: in base64 it stays below the 8 MiB of a message."""


class Run(Contract):
    """Consecutive offsets ``[start, end)`` of one topic of the partition (markers and holes included)."""

    topic: str
    start: int
    end: int


class SliceCommitted(Contract):
    """One transaction: the runs in the order applied, the tick, the context in force, the code version."""

    agent: str
    partition: int
    number: int
    runs: tuple[Run, ...]
    order: Literal["arrival", "replay"]
    tick: int | None
    tick_offset: int | None
    context_version: Id
    code_version: Id
    applied: int
    duplicates: int
    rejected: int
    outputs: int
    paused: tuple[str, ...] = ()
    """Topics that are paused from here on: the next slice is folded knowing of them, except those that it resumes."""
    resumed: tuple[str, ...] = ()
    """Topics that were paused and are read on from this slice."""


class TruncatedRecord(NamedTuple):
    """As much of a record as its dead letter holds."""

    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes


def truncate(key: bytes | None, headers: Iterable[tuple[str, bytes | str | None]], value: bytes | None) -> TruncatedRecord:
    """All of a record, or as much as finds room: a dead letter that is too large to be written would be tried again for ever.

    >>> truncate(b"k", [("a", "1"), ("b", None)], None)
    TruncatedRecord(key=b'k', headers=[('a', b'1'), ('b', b'')], value=b'')
    >>> len(truncate(None, [], bytes(MAX_VALUE_BYTES + 1)).value) == MAX_VALUE_BYTES
    True
    """
    whole_headers, room = [], MAX_HEADER_BYTES
    for name, raw in headers:
        text = raw.encode() if isinstance(raw, str) else raw or b""
        room -= len(name) + len(text)
        if room < 0:
            break
        whole_headers.append((name, text))
    return TruncatedRecord(None if key is None else key[:MAX_KEY_BYTES], whole_headers, (value or b"")[:MAX_VALUE_BYTES])


class RecordRejected(Contract):
    """A dead letter: where the record lies, why it was not applied, how to fix it, and its bytes (``truncate``)."""

    topic: str
    partition: int
    offset: int
    reason: Text
    field: Text | None
    raw: str
    """base64 of the value as it came."""
    key: str | None
    """base64 of the key as it came."""
    headers: tuple[tuple[str, str], ...] = ()
    """name, base64 of the value."""
    recorded_at: Instant | None = None
    """The broker's time stamp of the record."""
    code_version: Id


class SourcePauseChanged(Contract):
    """For operators: a partition of a topic is paused because too many of its records are broken, or is read on."""

    topic: Id
    partition: int
    agent: Label
    state: Literal["paused", "resumed"]
    offset: int
    """Where it is read on: nothing at or behind this offset has been applied."""
    broken: int
    """Of its last ``judged`` records, as many could not be applied."""
    judged: int
    recommended_action: Text
    code_version: Id


class DeadlineFailed(Contract):
    """For operators: our own code failed on a deadline of a debtor, and nothing followed from it yet.

    It is put off by a day at a time, until it succeeds or its cause is gone.
    """

    customer_id: Id
    kind: Label
    """Of what: ``debtor`` (review, hold, bank week, alerts), ``invoice``, ``score`` (an invoice's) or ``sales``."""
    row: str
    """Key of the debtor's row: empty for the debtor's own deadline, ``i/`` and the invoice's id for an invoice's."""
    due_on: BusinessDate
    try_again_on: BusinessDate
    error: Text
    recommended_action: Text
    code_version: Id
