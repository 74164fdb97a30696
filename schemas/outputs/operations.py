"""Topics ``journal`` and ``dead-letters``: what a slice did, what could not be applied or failed, and what is paused for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from schemas.base import BusinessDate, Contract, Id, Instant, Label, Text

KEPT_VALUE, KEPT_KEY, KEPT_HEADERS = 4 << 20, 64 << 10, 1 << 20
"""Bytes of a record that its dead letter keeps: in base64 they stay below the 8 MiB of a message."""


class Run(Contract):
    """Consecutive offsets ``[start, end)`` of one topic of the partition (markers and holes included)."""

    topic: str
    start: int
    end: int


class SliceCommitted(Contract):
    """One transaction: the runs in the order applied, the tick, the context in force, the code (D5)."""

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
    """Topics that were paused and that this slice reads on."""


class Kept(NamedTuple):
    """What a dead letter keeps of a record."""

    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes


def kept(key: bytes | None, headers: Iterable[tuple[str, bytes | str | None]], value: bytes | None) -> Kept:
    """All of a record, or as much as finds room: one that is too large to be told of would be tried again for ever.

    >>> kept(b"k", [("a", "1"), ("b", None)], None)
    Kept(key=b'k', headers=[('a', b'1'), ('b', b'')], value=b'')
    >>> len(kept(None, [], bytes(KEPT_VALUE + 1)).value) == KEPT_VALUE
    True
    """
    found, room = [], KEPT_HEADERS
    for name, raw in headers:
        text = raw.encode() if isinstance(raw, str) else raw or b""
        room -= len(name) + len(text)
        if room < 0:
            break
        found.append((name, text))
    return Kept(None if key is None else key[:KEPT_KEY], found, (value or b"")[:KEPT_VALUE])


class RecordRejected(Contract):
    """A dead letter: where the record lies, why it was not applied, what to mend, and its bytes (``kept``)."""

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
    """For whoever runs the system: a partition of a topic is paused because too much of it is broken, or goes on (D10)."""

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
    """For whoever runs the system: our own code failed on a deadline of a debtor, and nothing followed from it yet.

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
