"""The sink as a process against the small broker: it drains, goes on where it was killed, and takes any record."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from schemas.events import payments as p
from streams.clickhouse.query import query
from streams.kafka.topics import create_topics, full_name
from streams.process.children import Child, spawn
from streams.settings import Settings
from tests.integration.support.ledgers import as_records, record, tick

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from schemas.clickhouse.rows import SinkRecord
    from streams.kafka.embedded import EmbeddedBroker

pytestmark = pytest.mark.embedded
PATIENCE_S = 60.0


def _invoices(start: int, end: int) -> list[p.InvoiceIssued]:
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


@pytest.fixture
def settings(embedded_broker: EmbeddedBroker, tmp_path: Path) -> Settings:
    made = Settings(prefix=f"s{uuid4().hex[:8]}", clickhouse=f"chdb://{tmp_path}/clickhouse", data_dir=tmp_path)
    made = made.on_embedded_broker(embedded_broker.bootstrap)
    create_topics(made)
    return made


def _produce(settings: Settings, records: Iterable[SinkRecord]) -> None:
    producer = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random"})
    for one in records:
        topic = full_name(settings.prefix, one.topic)
        partition = one.partition if one.topic == "clock" else -1  # -1: by the key
        producer.produce(topic, one.value, one.key, partition, headers=list(one.headers))
    producer.flush()


@contextmanager
def _sink(settings: Settings) -> Iterator[Child]:
    log = settings.data_dir / "sink.log"
    with spawn([sys.executable, "-m", "streams.cli", "sink"], settings.as_environment(), log, name="the sink") as child:
        yield child


def _progress(settings: Settings) -> dict[str, Any]:
    try:
        port = json.loads((settings.data_dir / "sink.json").read_text())["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress") as answer:
            return dict(json.load(answer))
    except (OSError, ValueError):
        return {}


def _await(settings: Settings, child: Child, offsets: int) -> dict[str, Any]:
    """Until it is drained, and the payments add up to so many offsets."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert child.running, child.log_tail()
        told = _progress(settings)
        reached = sum(place["next_offset"] for place in told.get("topics", {}).get("payments", {}).values())
        if told.get("drained") and reached >= offsets:
            return told
        time.sleep(0.1)
    raise AssertionError(f"not drained: {_progress(settings)}\n{child.log_tail()}")


def _ask(settings: Settings, sql: str) -> list[str]:
    return query(sql, settings.data_dir, format="TSV").decode().split()


@pytest.mark.slow
def test_it_drains_goes_on_after_a_kill_and_can_be_asked_all_the_while(settings):
    total = "SELECT count(), uniqExact(id) FROM events"
    _produce(settings, as_records(_invoices(0, 3000)))
    _produce(settings, (tick(date(2024, 2, 5), partition) for partition in range(4)))
    with _sink(settings) as child:
        told = _await(settings, child, 3000)
        assert {place["number"] for place in told["ticks"].values()} == {1}
        assert _ask(settings, total) == ["3000", "3000"]
        assert _ask(settings, "SELECT open_amount, due_1_30 FROM portfolio_daily ORDER BY day DESC LIMIT 1") == ["30000", "30000"]
        with pytest.raises(Exception, match="only questions"):
            query("DROP TABLE ticks", settings.data_dir)
        child.kill()
    _produce(settings, as_records(_invoices(3000, 4000), "late"))
    with _sink(settings) as child:
        told = _await(settings, child, 4000)
        assert told["records"] < 4000, "it read everything again"
        assert told["ticks"]["0"]["number"] == 1
        assert _ask(settings, total) == ["4000", "4000"]
        assert child.stop() == 0
    assert not (settings.data_dir / "sink.json").exists()
    command = [sys.executable, "-m", "streams.cli", "sql", total, "--data", str(settings.data_dir), "--format", "TSV"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == ["4000", "4000"]


@pytest.mark.slow
def test_records_of_any_kind_do_not_stop_it(settings):
    good = record(_invoices(0, 1)[0], "e1")
    producer = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random"})
    topic = full_name(settings.prefix, "payments")
    for value, headers in (
        (None, []),
        (b"", None),
        (b"\xff\x00", good.headers),
        (b"{}", good.headers),
        (good.value, [("ce_id", None)]),
    ):
        producer.produce(topic, value, b"C0", headers=list(headers or []))
    producer.flush()
    _produce(settings, [good])
    with _sink(settings) as child:
        _await(settings, child, 6)
        assert _ask(settings, "SELECT id FROM events") == ["e1"]
        assert child.stop() == 0
