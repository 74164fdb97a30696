"""What the integration tests share: a deployment on a broker, payments sent to it, workers as processes, and what they wrote."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from schemas.events.envelope import Output
from schemas.events.payments import PaymentReceived
from schemas.registry import TOPICS
from streams.kafka.codec import encode
from streams.kafka.read import to_the_end
from streams.kafka.topics import create_topics, full_name, partitions_of
from streams.process.children import Child, free_port, spawn
from streams.settings import Settings

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def deployment(bootstrap: str, folder: Path, **changes: Any) -> Settings:
    """Topics of a new prefix on a broker."""
    settings = Settings(
        prefix=f"t{random.randrange(10**9)}",
        bootstrap=bootstrap,
        partitions=4,
        session_timeout_s=6.0,
        tick_seconds=0.3,
        data_dir=folder,
        web_port=free_port(),
        **changes,
    )
    create_topics(settings)
    return settings


def payment(number: int, customer: str, amount: int = 5) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of a payment with the id ``e<number>``."""
    fact = PaymentReceived(
        customer_id=customer, payment_id=f"p{number}", amount=Decimal(amount), currency="EUR", paid_on=NOW.date(), allocations=()
    )
    return encode(Output("payments", customer, "duewatch.payment.received.v1", f"e{number}", NOW, NOW, fact))


@dataclass(eq=False)
class Load(threading.Thread):
    """Sends payments of a number of customers at a rate, until stopped."""

    settings: Settings
    per_second: int
    customers: int = 500
    sent: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def run(self) -> None:
        producer = Producer({**self.settings.for_librdkafka(), "partitioner": "murmur2_random", "linger.ms": 5})
        began, chance = time.monotonic(), random.Random(1)
        while not self.ended.is_set():
            while self.sent < (time.monotonic() - began) * self.per_second:
                customer = f"c{chance.randrange(self.customers)}"
                value, headers = payment(self.sent, customer, chance.randrange(1, 9999))
                producer.produce(full_name(self.settings.prefix, "payments"), key=customer, value=value, headers=list(headers))
                self.sent += 1
            producer.poll(0)
            time.sleep(0.01)
        producer.flush()

    def stop(self) -> None:
        self.ended.set()
        self.join()


def toy_worker(
    settings: Settings, log_path: Path, fail_share: float = 0.0, *, own_port: bool = True, row_format: int | None = None
) -> Child:
    """A worker process with the toy brains; ``row_format``: of the debtors' rows, where it is not this version's."""
    own = settings.changed(web_port=free_port()) if own_port else settings
    argv = [sys.executable, "-m", "tests.integration.support.toy", str(fail_share)]
    argv += [] if row_format is None else [str(row_format)]
    root = Path(__file__).resolve().parents[3]
    return spawn(argv, {**own.as_environment(), "PYTHONPATH": os.fspath(root)}, log_path, name="worker", cwd=root)


def read_all(settings: Settings, topic: str, isolation: str = "read_committed") -> list[Message]:
    """Every record of a topic, to its end."""
    consumer = Consumer(
        {
            **settings.for_librdkafka(),
            "group.id": "test",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
        }
    )
    count = partitions_of(TOPICS[topic], settings)
    consumer.assign([TopicPartition(full_name(settings.prefix, topic), partition, 0) for partition in range(count)])
    try:
        return list(to_the_end(consumer))
    finally:
        consumer.close()


def header(message: Message, name: str) -> str:
    return dict(message.headers() or [])[name].decode()  # type: ignore[union-attr]


def rows(settings: Settings) -> dict[str, Any]:
    """The toy's rows: customer -> [count, sum]."""
    last = {message.key(): message.value() for message in read_all(settings, "debtor-state")}
    return {
        (key or b"").decode(): orjson.loads(value)
        for key, value in last.items()
        if value and not (key or b"").startswith(b"\x00")
    }


def truth(settings: Settings) -> dict[str, list[Any]]:
    """What the rows must be: a fold over the source topic."""
    folded: dict[str, list[Any]] = {}
    for message in read_all(settings, "payments"):
        row = folded.setdefault((message.key() or b"").decode(), [0, Decimal(0)])
        row[0] += 1
        row[1] += Decimal(orjson.loads(message.value() or b"")["amount"])
    return {customer: [count, f"{total:.2f}"] for customer, (count, total) in folded.items()}


def wait_for(holds: Any, timeout_s: float, every_s: float = 0.2) -> None:
    """Return once ``holds()``. Raises AssertionError after the time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(every_s)
