"""Ten thousand records, one in seven of them bent, through a real worker: the good are applied once, the bad are dead letters."""

from __future__ import annotations

import sys
from base64 import b64decode
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import orjson
import pytest
from confluent_kafka import Producer

from schemas.events import bank
from schemas.events import payments as p
from schemas.events.envelope import Rejection
from streams.kafka.codec import decode, encode_event
from streams.kafka.topics import create_topics, full_name
from streams.process.children import free_port, spawn
from streams.settings import Settings
from tests.integration.support.portfolio import header, read_all, wait_for
from tests.property.support.mutations import CHEAP, RawMessage, deep, mutate
from tests.support.builders import event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from confluent_kafka import Message

    from streams.kafka.embedded import EmbeddedBroker

pytestmark = [pytest.mark.embedded, pytest.mark.slow]
RECORDS, BENT = 10_000, 1_400
NOW = datetime.now(UTC)
TOPICS = ("payments", "bank-transactions")


def good(number: int) -> RawMessage:
    """An invoice, or a movement on the debtor's account."""
    customer, day = f"good-{number % 97}", NOW.date()
    common: dict[str, Any] = {"customer_id": customer, "amount": Decimal(number % 900 + 1), "currency": "EUR"}
    fact = (
        p.InvoiceIssued(**common, invoice_id=f"I{number}", issued_on=day, due_on=day)
        if number % 3
        else bank.BankTransactionBooked(**common, transaction_id=f"B{number}", booked_on=day)
    )
    value, headers = encode_event(event(fact, 0, id_=f"good-{number}")._replace(time=NOW, recorded=NOW))
    return RawMessage(TOPICS[number % 3 == 0], customer.encode(), value, tuple(headers))


def bent() -> Iterator[RawMessage]:
    """As many as are needed, of the two topics, and such as a producer can send."""
    seed, made = 0, 0
    while made < BENT:
        seed += 1
        sent = mutate(Random(seed), (deep,) if seed % 200 == 0 else CHEAP)
        size = len(sent.value or b"") + sum(len(name) + len(told or b"") for name, told in sent.headers)
        if sent.topic in TOPICS and size < 500_000 and all(name.isprintable() and name for name, _ in sent.headers):
            made += 1
            yield sent


def mixed() -> list[RawMessage]:
    records = [*(good(number) for number in range(RECORDS - BENT)), *bent()]
    Random(1).shuffle(records)
    return records


def send(settings: Settings, records: Sequence[RawMessage]) -> None:
    producer = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random"})
    for sent in records:
        told: list[tuple[str, bytes | str | None]] = list(sent.headers)
        producer.produce(full_name(settings.prefix, sent.topic), sent.value, sent.key, headers=told or None)
        producer.poll(0)
    producer.flush()


@pytest.fixture
def settings(embedded_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Settings]:
    made = Settings(prefix=f"f{uuid4().hex[:8]}", data_dir=tmp_path, web_port=free_port(), tick_seconds=0.5)
    made = made.on_embedded_broker(embedded_broker.bootstrap)
    create_topics(made)
    with ExitStack() as started:
        argv = [sys.executable, "-m", "streams.cli", "worker"]
        started.callback(spawn(argv, made.as_environment(), tmp_path / "worker.log", name="worker").kill)
        yield made


def slices(settings: Settings) -> list[dict[str, Any]]:
    told = [orjson.loads(message.value() or b"{}") for message in read_all(settings, "journal")]
    return [one for one in told if one["agent"] == "debtor"]


def place(topic: str, message: Message) -> tuple[str, int, int]:
    return topic, int(message.partition() or 0), int(message.offset() or 0)


def test_ten_thousand_records_are_applied_once_or_are_dead_letters_and_none_stops_its_partition(settings: Settings) -> None:
    send(settings, mixed())
    wait_for(lambda: sum(one["applied"] + one["duplicates"] + one["rejected"] for one in slices(settings)) >= RECORDS, 120, 2.0)

    journal = slices(settings)
    counts = {name: sum(one[name] for one in journal) for name in ("applied", "duplicates", "rejected")}
    assert sum(counts.values()) == RECORDS
    # The learner refuses examples of what is known too late to be learned: those are no records of these topics.
    every = [orjson.loads(message.value() or b"") for message in read_all(settings, "dead-letters")]
    letters = [letter for letter in every if letter["topic"] in TOPICS]
    where = [(letter["topic"], letter["partition"], letter["offset"]) for letter in letters]
    assert len(set(where)) == len(where)
    assert len(where) == counts["rejected"], Counter(letter["reason"] for letter in letters).most_common(5)

    lies = {place(topic, message): message for topic in TOPICS for message in read_all(settings, topic)}
    assert len(lies) == RECORDS
    broken = {at for at, message in lies.items() if is_broken(settings, at, message)}
    assert broken <= set(where)
    assert len(broken) > BENT / 2
    for at, letter in zip(where, letters, strict=True):
        assert not is_good(lies[at]), letter
        assert b64decode(letter["raw"]) == (lies[at].value() or b"")
        assert 20 <= len(letter["reason"]) <= 2_000

    scored = Counter(header(message, "ce_causationid") for message in read_all(settings, "scores") if of_invoice(message))
    assert {name: n for name, n in scored.items() if name.startswith("good-")} == {
        f"good-{number}": 1 for number in range(RECORDS - BENT) if number % 3
    }


def is_broken(settings: Settings, at: tuple[str, int, int], message: Message) -> bool:
    """Whether the decoder refuses it, there where it lies."""
    told = decode(at[0], message.key(), message.value(), headers(message), at[1], settings.partitions)
    return isinstance(told, Rejection)


def headers(message: Message) -> list[tuple[str, bytes | None]]:
    """The library's types allow more than it returns."""
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def is_good(message: Message) -> bool:
    return any(name == "ce_id" and (told or b"").startswith(b"good-") for name, told in headers(message))


def of_invoice(message: Message) -> bool:
    return orjson.loads(message.value() or b"{}")["invoice_id"] is not None
