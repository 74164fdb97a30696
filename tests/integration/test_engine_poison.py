"""Poison and overload on Apache Kafka: a broken partition of a topic pauses, the others run on, and memory stays bounded."""

from __future__ import annotations

import json
import time
import urllib.request
from base64 import b64decode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from schemas.events.bank import BankTransactionBooked
from schemas.events.envelope import Output
from schemas.outputs.operations import MAX_VALUE_BYTES
from streams.dead_letters.resume import resume
from streams.engine.fetcher import BATCH, MAX_UNDELIVERED
from streams.errors import UsageError, UserError
from streams.kafka.codec import encode, partition_of
from streams.kafka.producer import Headers
from streams.kafka.topics import full_name
from streams.settings import Settings
from tests.integration.support.portfolio import NOW, deployment, header, payment, read_all, rows, toy_worker, truth, wait_for
from tests.kafka.broker import KafkaBroker

BROKEN, GOOD, SLICE = 40, 200, 50
SENT = 30_000
BANK = Path("schemas/examples/duewatch.bank_transaction.booked.v1/1-minimal.json")


def page(settings: Settings, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.web_port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def is_ready(settings: Settings) -> bool:
    try:
        return bool(json.loads(page(settings, "/health/ready"))["ready"])
    except OSError:
        return False


def customers_of(partition: int, count: int) -> list[str]:
    names = (f"c{n}" for n in range(10_000) if partition_of(f"c{n}".encode(), 4) == partition)
    return [next(names) for _ in range(count)]


def bank_transaction(number: int, customer: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    data = json.loads(BANK.read_text())["data"] | {"customer_id": customer, "transaction_id": f"b{number}"}
    fact = BankTransactionBooked.model_validate(data)
    return encode(Output("bank-transactions", customer, "duewatch.bank_transaction.booked.v1", f"b{number}", NOW, NOW, fact))


def send(settings: Settings, topic: str, messages: Iterable[tuple[str, bytes, Headers]]) -> None:
    producer = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random"})
    for key, value, headers in messages:
        producer.produce(full_name(settings.prefix, topic), key=key, value=value, headers=list(headers))
    producer.flush()


def slices(settings: Settings, partition: int) -> list[dict[str, Any]]:
    found = [orjson.loads(message.value() or b"") for message in read_all(settings, "journal")]
    return [entry for entry in found if entry["agent"] == "debtor" and entry["partition"] == partition]


def changes(settings: Settings) -> list[dict[str, Any]]:
    """What whoever runs it was told of pauses."""
    letters = [m for m in read_all(settings, "dead-letters") if header(m, "ce_type") == "duewatch.source.pause_changed.v1"]
    return [orjson.loads(message.value() or b"") for message in letters]


@pytest.mark.slow
def test_a_broken_partition_of_a_topic_pauses_and_goes_on_by_command(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path, max_slice=SLICE)
    sick = customers_of(1, 3)
    broken = [(sick[0], b"{", payment(0, sick[0])[1]) for _ in range(BROKEN)]
    good = [(sick[n % 3], *payment(n, sick[n % 3])) for n in range(GOOD)]
    send(settings, "payments", [*broken, *good])
    other_customers = [c for partition in (0, 2, 3) for c in customers_of(partition, 3)]
    with toy_worker(settings, tmp_path / "w1.log", own_port=False):
        wait_for(lambda: is_ready(settings), 60)
        wait_for(lambda: changes(settings), 30)
        send(settings, "payments", [(c, *payment(1000 + n, c)) for n, c in enumerate(other_customers)])
        send(settings, "bank-transactions", [(sick[n % 3], *bank_transaction(n, sick[n % 3])) for n in range(30)])
        wait_for(lambda: len(read_all(settings, "alerts")) == SLICE - BROKEN + len(other_customers) + 30, 30)
        last = len(slices(settings, 1))
        wait_for(lambda: sum(entry["tick"] is not None for entry in slices(settings, 1)[last:]) >= 2, 30)
        assert json.loads(page(settings, "/health/ready"))["paused"] == {"payments": [1]}
        wait_for(lambda: 'duewatch_paused{topic="payments"} 1.0' in page(settings, "/metrics"), 30)
    (change,) = changes(settings)
    assert (change["topic"], change["partition"], change["state"], change["offset"]) == ("payments", 1, "paused", SLICE)
    assert (change["broken"], change["judged"]) == (BROKEN, SLICE)
    assert "duewatch dead-letters resume payments 1" in change["recommended_action"]
    assert slices(settings, 1)[-1]["paused"] == ["payments"]
    assert [entry["paused"] for entry in slices(settings, 2)[-1:]] == [[]]

    with toy_worker(settings, tmp_path / "w2.log", own_port=False) as worker:
        wait_for(lambda: is_ready(settings), 60)
        last = len(slices(settings, 1))
        wait_for(lambda: len(slices(settings, 1)) >= last + 2, 30)
        assert len(read_all(settings, "alerts")) == SLICE - BROKEN + len(other_customers) + 30  # a restart resumes nothing
        with pytest.raises(UserError, match="payments/2 is not paused"):
            resume(settings, "payments", 2, "jane", None)
        assert "is resumed" in resume(settings, "payments", 1, "jane", "the sender is fixed")
        wait_for(lambda: len(read_all(settings, "alerts")) == GOOD + len(other_customers) + 30, 30)
        wait_for(lambda: 'duewatch_paused{topic="payments"} 0.0' in page(settings, "/metrics"), 30)
        assert worker.stop(20) == 0
    causes = [header(message, "ce_causationid") for message in read_all(settings, "alerts")]
    assert len(causes) == len(set(causes))
    assert len(read_all(settings, "dead-letters")) == BROKEN + 2
    assert [(entry["state"], entry["offset"]) for entry in changes(settings)] == [("paused", SLICE), ("resumed", SLICE)]
    resumed = [entry for entry in slices(settings, 1) if entry["resumed"]]
    assert [(entry["resumed"], entry["paused"]) for entry in resumed] == [(["payments"], [])]


def test_only_what_is_a_source_and_there_can_be_resumed(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    read_all(settings, "journal")  # waits until the new topic has a leader
    with pytest.raises(UsageError, match="'scores' is not a source topic"):
        resume(settings, "scores", 0, "jane", None)
    with pytest.raises(UsageError, match="its partitions are 0 to 3"):
        resume(settings, "payments", 4, "jane", None)
    with pytest.raises(UserError, match="payments/3 is not paused"):
        resume(settings, "payments", 3, "jane", None)


@pytest.mark.slow
def test_a_record_that_is_too_large_for_its_dead_letter_does_not_hold_up_its_partition(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    limit = {"max.message.bytes": str(16 << 20)}
    topic = ConfigResource(
        ConfigResource.Type.TOPIC,
        full_name(settings.prefix, "payments"),
        incremental_configs=[
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in limit.items()
        ],
    )
    admin = AdminClient({**settings.for_librdkafka()})
    for answer in admin.incremental_alter_configs([topic]).values():
        answer.result(30)
    value, headers = payment(1, "c1")
    large = value[:-1] + b" " * (7 << 20) + b"}"
    producer = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random", "message.max.bytes": 16 << 20})
    messages: list[object] = []

    def is_sent(body: bytes) -> bool:
        producer.produce(
            full_name(settings.prefix, "payments"),
            body,
            "c1",
            headers=list(headers),
            on_delivery=lambda error, _: messages.append(error),
        )
        producer.flush(60)
        return messages[-1] is None

    wait_for(lambda: is_sent(large), 30)  # until the broker has heard of the new limit
    value, headers = payment(2, "c1")
    assert is_sent(value)
    with toy_worker(settings, tmp_path / "w.log", own_port=False) as worker:
        wait_for(lambda: len(read_all(settings, "alerts")) == 1, 60)
        assert worker.stop(20) == 0
    (letter,) = [orjson.loads(message.value() or b"") for message in read_all(settings, "dead-letters")]
    assert "send less in one event" in letter["reason"]
    assert letter["reason"].endswith(f"the first {MAX_VALUE_BYTES} bytes are kept)")
    assert b64decode(letter["raw"]) == large[:MAX_VALUE_BYTES]
    assert [header(message, "ce_causationid") for message in read_all(settings, "alerts")] == ["e2"]


@pytest.mark.slow
def test_at_ten_times_the_sustainable_rate_little_is_held_nothing_is_lost_and_it_catches_up(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    # 20 slices a second of 50 events: 1,000 events/s is what this worker can sustain.
    settings = deployment(
        kafka.bootstrap, tmp_path, max_slice=50, slices_per_second=20.0, held_records=200, held_bytes=1 << 16, mode="live"
    )
    counts: list[float] = []

    def look() -> None:
        found = [
            line for line in page(settings, "/metrics").splitlines() if line.startswith('duewatch_held_records{agent="debtor"}')
        ]
        counts.extend(float(line.split()[-1]) for line in found)

    def all_are_applied() -> bool:
        look()
        return len(read_all(settings, "alerts")) >= SENT

    with toy_worker(settings, tmp_path / "w.log", own_port=False) as worker:
        wait_for(lambda: is_ready(settings), 60)
        began = time.monotonic()
        for first in range(0, SENT, 1_000):
            send(settings, "payments", [(f"c{n % 500}", *payment(n, f"c{n % 500}")) for n in range(first, first + 1_000)])
            look()
        took = time.monotonic() - began
        wait_for(all_are_applied, 180, 1.0)
        assert worker.stop(20) == 0
    print(f"{SENT} sent in {took:.1f} s, at most {max(counts):.0f} held")
    # What its rules allow for each partition, and what was on its way when it was told to stop: the batch that was one too many,
    # those that waited to be handed over, and the one that the thread was reading; each may be of this partition alone.
    assert 0 < max(counts) <= 4 * (200 + (MAX_UNDELIVERED + 2) * (BATCH + 1))
    causes = [header(message, "ce_causationid") for message in read_all(settings, "alerts")]
    assert len(causes) == len(set(causes)) == SENT
    assert rows(settings) == truth(settings)
