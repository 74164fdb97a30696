"""What tests of the sink share: records sent to it, the sink as a process, how far it is, and questions to it."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from confluent_kafka import Producer

from schemas.events import payments as p
from streams.clickhouse.query import query
from streams.kafka.topics import full_name
from streams.process.children import Child, spawn

if TYPE_CHECKING:
    from schemas.clickhouse.rows import SinkRecord
    from streams.settings import Settings

PATIENCE_S = 60.0


def invoices(start: int, end: int) -> list[p.InvoiceIssued]:
    """Of 50 customers, 10 EUR each."""
    day = date(2024, 1, 1)
    return [
        p.InvoiceIssued(
            customer_id=f"C{n % 50}",
            invoice_id=f"I{n}",
            amount=Decimal(10),
            currency="EUR",
            issued_on=day,
            due_on=day + timedelta(30),
        )
        for n in range(start, end)
    ]


def produce(settings: Settings, records: Iterable[SinkRecord]) -> None:
    producer = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random"})
    for record in records:
        topic = full_name(settings.prefix, record.topic)
        partition = record.partition if record.topic == "clock" else -1  # -1: by the key
        producer.produce(topic, record.value, record.key, partition, headers=list(record.headers))
    producer.flush()


@contextmanager
def running_duewatch(settings: Settings, command: str, *options: str) -> Iterator[Child]:
    """A command that runs on, such as the worker, in a process of its own."""
    log = settings.data_dir / f"{command}.log"
    argv = [sys.executable, "-m", "streams.cli", command, *options]
    with spawn(argv, settings.as_environment(), log, name=f"the {command}") as child:
        yield child


@contextmanager
def running_sink(settings: Settings) -> Iterator[Child]:
    with running_duewatch(settings, "sink") as child:
        yield child


def progress_of(settings: Settings) -> dict[str, Any]:
    """What the sink says of itself; nothing while it does not answer."""
    try:
        port = json.loads((settings.data_dir / "sink.json").read_text())["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress") as answer:
            return dict(json.load(answer))
    except (OSError, ValueError):
        return {}


def await_drained(settings: Settings, child: Child, offsets: int) -> dict[str, Any]:
    """Until it is drained, and the payments add up to so many offsets."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert child.running, child.log_tail()
        progress = progress_of(settings)
        reached = sum(place["next_offset"] for place in progress.get("topics", {}).get("payments", {}).values())
        if progress.get("drained") and reached >= offsets:
            return progress
        time.sleep(0.1)
    raise AssertionError(f"not drained: {progress_of(settings)}\n{child.log_tail()}")


def ask(settings: Settings, sql: str) -> list[str]:
    """The words of the running sink's answer."""
    return query(sql, settings.data_dir, format="TSV").decode().split()
