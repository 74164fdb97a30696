"""A header whose name is no text: our reader's library fails on it, and its record must be a dead letter like any other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from schemas.cloudevents import UNREADABLE
from streams.dead_letters.resend import Correction, corrected
from streams.kafka.codec import partition_of
from streams.kafka.topics import full_name
from tests.integration.support.portfolio import deployment, payment, read_all, wait_for
from tests.integration.test_audit import audited, duewatch, start
from tests.kafka.broker import KafkaBroker

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


class RawName(str):
    """A header's name that goes out in bytes of its own."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe" + super().encode(encoding, errors)


@pytest.fixture
def any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's records are built in Python, which asks a name for its bytes."""
    for module in ("message_accumulator", "producer"):
        monkeypatch.setattr(f"aiokafka.producer.{module}.DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)


def test_a_name_that_is_no_text_makes_a_dead_letter_and_stops_nobody(kafka: KafkaBroker, tmp_path: Path, any_name: None) -> None:
    settings = deployment(kafka.bootstrap, tmp_path, clickhouse=f"chdb://{tmp_path}/clickhouse", mode="live")

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
            for number in range(6):
                value, headers = payment(number, "c")
                told = [(RawName(name) if number == 3 and name == "ce_source" else name, raw) for name, raw in headers]
                name = full_name(settings.prefix, "payments")
                await producer.send_and_wait(name, value, b"c", partition=partition_of(b"c", 4), headers=told)

    asyncio.run(send())
    children = [start(settings, "sink", tmp_path / "sink.log"), start(settings, "worker", tmp_path / "worker.log")]
    try:
        wait_for(lambda: read_all(settings, "dead-letters"), 60)
        told = [orjson.loads(message.value() or b"") for message in read_all(settings, "journal")]
        assert sum(one["applied"] + one["rejected"] for one in told if one["agent"] == "debtor") == 6
        status, report = audited(settings)
    finally:
        for child in children:
            child.stop(20)

    (message,) = read_all(settings, "dead-letters")
    letter = orjson.loads(message.value() or b"")
    assert (letter["topic"], letter["offset"], letter["field"]) == ("payments", 3, "headers")
    assert "the name of a header is not UTF-8" in letter["reason"]
    assert (status, report["differences"]) == (0, [])
    assert duewatch("sql", "select count() from events", "--data", str(tmp_path), "--format", "TSV")[1] == "5\n"


def test_what_is_sent_in_its_place_has_headers_that_can_be_read() -> None:
    from streams.dead_letters.selection import DeadLetterEntry

    letter = DeadLetterEntry("id", "payments", 0, 3, "reason", "headers", b"c", b"{}", [(UNREADABLE, b"")], "0.1.0")
    resent = corrected(letter, Correction(attributes=(("id", "e3"),)))
    assert [name for name, _ in resent.headers] == ["ce_id", "ce_replayof"]
