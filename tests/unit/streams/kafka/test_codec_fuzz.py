"""Twelve thousand bent messages: each is an event that the brain can fold, or a dead letter that a person can mend."""

from __future__ import annotations

import time
from base64 import b64decode
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.brain import Received
from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import SEPARATOR
from schemas.clickhouse.rows import SinkRecord, identity, rows_of
from schemas.events.envelope import Event, Rejection
from schemas.outputs.operations import MAX_HEADER_BYTES, MAX_VALUE_BYTES, RecordRejected
from schemas.registry import DEBTOR_SOURCES
from streams.engine.transaction import Rejected, WriterId, _dead_letter
from streams.kafka.codec import decode, encode, encode_event, to_structured
from streams.kafka.producer import MAX_MESSAGE_BYTES
from tests.property.support.mutations import (
    CHEAP,
    STRUCTURED,
    Mutation,
    RawMessage,
    bad,
    deep,
    golden,
    large,
    many_headers,
    mutate,
)
from tests.support.builders import at, context

ORIGIN = WriterId("debtor", 0, 4, "t", "debtor-state", "arrival", "0")
LONGEST_REASON = 1_000
MOST_SECONDS = 5.0
"""Not a timing but a bound: a message of a megabyte takes some milliseconds, one that hangs takes for ever."""


def read(sent: RawMessage) -> Event | Rejection:
    began = time.perf_counter()
    answer = decode(sent.topic, sent.key, sent.value, sent.headers)
    assert time.perf_counter() - began < MOST_SECONDS
    return answer


def check(sent: RawMessage) -> Event | Rejection:
    """All that must hold of any record."""
    answer = read(sent)
    assert answer == read(sent)
    if isinstance(answer, Rejection):
        check_rejection(sent, answer)
    else:
        check_event(sent, answer)
    return answer


def check_rejection(sent: RawMessage, rejection: Rejection) -> None:
    assert 20 <= len(rejection.reason) <= LONGEST_REASON
    assert rejection.reason.isprintable(), rejection
    assert rejection.field is None or (rejection.field.isprintable() and len(rejection.field) <= 200)
    assert "cannot be read" not in rejection.reason, "the reason names no mend"
    check_dead_letter(sent, rejection)


def check_dead_letter(sent: RawMessage, rejection: Rejection) -> None:
    """It holds the record as it came, as far as a message has room; ClickHouse takes exactly this record out of the events."""
    record = SimpleNamespace(offset=7, key=sent.key, value=sent.value, headers=sent.headers, timestamp=1_767_225_600_000)
    message = _dead_letter(ORIGIN, Rejected(sent.topic, record, rejection), at(0))
    letter = RecordRejected.model_validate_json(message.value or b"")
    assert b64decode(letter.raw) == (sent.value or b"")[:MAX_VALUE_BYTES]
    whole = [(name, told or b"") for name, told in sent.headers]
    shown = [(name, b64decode(told)) for name, told in letter.headers]
    assert shown == (whole if sum(len(name) + len(told) for name, told in whole) <= MAX_HEADER_BYTES else whole[: len(shown)])
    assert len(message.value) < MAX_MESSAGE_BYTES
    headers: Any = message.headers or ()
    [(_, row)] = rows_of(SinkRecord("dead-letters", 0, 0, None, message.value, headers))
    named = identity(sent.topic, 0, sent.key, sent.headers, sent.value)
    assert row[-1] == named
    orjson.dumps(row)
    for table, other in rows_of(SinkRecord(sent.topic, 0, 7, sent.key, sent.value, sent.headers)):
        assert table != "events_raw" or named in other


def check_event(sent: RawMessage, event: Event) -> None:
    value, headers = encode_event(event)
    again = decode(sent.topic, sent.key, value, headers)
    assert again == event
    assert decode(sent.topic, sent.key, orjson.dumps(to_structured(event)), STRUCTURED) == event
    stored = rows_of(SinkRecord(sent.topic, 0, 7, sent.key, sent.value, sent.headers))
    [row] = [row for table, row in stored if table == "events_raw"]
    assert event.id in row
    orjson.dumps(row)


class Folder:
    """One book for all: what a message leaves behind must not break the ones after it."""

    def __init__(self) -> None:
        self.brain, self.context, self.number = DebtorBrain(), context(), 0

    def fold(self, sent: RawMessage, event: Event) -> None:
        self.number += 1
        one = Received(sent.topic, 0, self.number, event)
        folded = self.brain.fold([one], at(self.number // 50), self.context, replay=False, max_deadlines=1 << 30)
        assert folded.applied + folded.duplicates + len(folded.rejected) == 1
        for _, rejection in folded.rejected:
            assert "duewatch failed" not in rejection.reason, (event, rejection)
            check_rejection(sent, rejection)
        for output in folded.outputs:
            answer = decode(output.topic, output.key.encode(), *encode(output))
            assert isinstance(answer, Event), answer
        self.brain.on_committed(folded)
        check_rows(self.brain, folded.rows)


def check_rows(book: DebtorBrain, written: dict[str, bytes | None]) -> None:
    """What was written, read again, is what the book holds."""
    again, kept = DebtorBrain(), dict(book.rows())
    for key, value in written.items():
        again.restore(key, value)
    for key, row in again.rows():
        assert kept[key] == row
    # The book's own row, of no debtor, is none of its rows.
    of_debtors = {key for key, value in written.items() if value is not None and not key.startswith(SEPARATOR)}
    assert {key for key, _ in again.rows()} == of_debtors


def test_every_golden_message_passes_and_every_bad_one_becomes_a_dead_letter() -> None:
    folder = Folder()
    for sent in golden():
        event = check(sent)
        assert isinstance(event, Event), event
        if sent.topic in DEBTOR_SOURCES:
            folder.fold(sent, event)
    for sent in bad():
        assert isinstance(check(sent), Rejection)


@pytest.mark.parametrize("chunk", range(10))
def test_ten_thousand_bent_messages_are_events_or_dead_letters(chunk: int) -> None:
    folder, events = Folder(), 0
    for seed in range(1_000 * chunk, 1_000 * (chunk + 1)):
        sent = mutate(Random(seed), CHEAP)
        answer = check(sent)
        if isinstance(answer, Event) and sent.topic in DEBTOR_SOURCES:
            folder.fold(sent, answer)
            events += 1
    assert events > 50, "the messages are bent, but not beyond recognition"


@pytest.mark.parametrize("mutation", [deep, large, many_headers])
def test_large_and_deep_messages_are_events_or_dead_letters(mutation: Mutation) -> None:
    folder = Folder()
    for seed in range(10):
        sent = mutate(Random(seed), (mutation,))
        answer = check(sent)
        if isinstance(answer, Event) and sent.topic in DEBTOR_SOURCES:
            folder.fold(sent, answer)


@settings(max_examples=500)
@given(rng=st.randoms(use_true_random=False))
def test_a_message_that_hypothesis_bends_is_an_event_or_a_dead_letter(rng: Random) -> None:
    sent = mutate(rng, CHEAP)
    answer = check(sent)
    if isinstance(answer, Event) and sent.topic in DEBTOR_SOURCES:
        Folder().fold(sent, answer)
