"""The sink as a process against the small broker: it drains, goes on where it was killed, and takes any record."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import date
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from streams.clickhouse.query import query
from streams.kafka.topics import create_topics, full_name
from streams.settings import Settings
from tests.integration.support.ledgers import as_records, record, tick
from tests.integration.support.portfolio import wait_for
from tests.integration.support.sinks import ask, await_drained, invoices, produce, running_sink
from tests.support.clickhouse_http import Fault, Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streams.kafka.embedded import EmbeddedBroker

pytestmark = pytest.mark.embedded


def deployed(broker: EmbeddedBroker, folder: Path, **clickhouse: str) -> Settings:
    """Topics of a new prefix, and where its sink writes."""
    settings = Settings(prefix=f"s{uuid4().hex[:8]}", data_dir=folder, **clickhouse)
    settings = settings.on_embedded_broker(broker.bootstrap)
    create_topics(settings)
    return settings


@pytest.fixture
def over_http(embedded_broker: EmbeddedBroker, tmp_path: Path, gateway: Gateway) -> Iterator[Settings]:
    """A server, which works again in the end, and a database that is not there yet."""
    yield deployed(embedded_broker, tmp_path, clickhouse=f"{gateway.dsn}/sink_{uuid4().hex[:8]}")
    gateway.faults.clear()


@pytest.fixture(params=["chdb", "http"])
def settings(embedded_broker: EmbeddedBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    if request.param == "http":
        settings: Settings = request.getfixturevalue("over_http")
        return settings
    return deployed(embedded_broker, tmp_path, clickhouse=f"chdb://{tmp_path}/clickhouse")


@pytest.mark.slow
def test_it_drains_goes_on_after_a_kill_and_can_be_asked_all_the_while(settings: Settings) -> None:
    total = "SELECT count(), uniqExact(id) FROM events"
    produce(settings, as_records(invoices(0, 3000)))
    produce(settings, (tick(date(2024, 2, 5), partition) for partition in range(4)))
    with running_sink(settings) as child:
        told = await_drained(settings, child, 3000)
        assert {place["number"] for place in told["ticks"].values()} == {1}
        assert ask(settings, total) == ["3000", "3000"]
        assert ask(settings, "SELECT open_amount, due_1_30 FROM portfolio_daily ORDER BY day DESC LIMIT 1") == ["30000", "30000"]
        with pytest.raises(Exception, match="only reading queries"):
            query("DROP TABLE ticks", settings.data_dir)
        child.kill()
    produce(settings, as_records(invoices(3000, 4000), "late"))
    with running_sink(settings) as child:
        told = await_drained(settings, child, 4000)
        assert told["records"] < 4000, "it read everything again"
        assert told["ticks"]["0"]["number"] == 1
        assert ask(settings, total) == ["4000", "4000"]
        assert child.stop() == 0
    assert not (settings.data_dir / "sink.json").exists()
    dsn = settings.clickhouse.get_secret_value()
    is_embedded = dsn.startswith("chdb:")
    where = ["--data", str(settings.data_dir)] if is_embedded else ["--clickhouse", dsn]
    command = [sys.executable, "-m", "streams.cli", "sql", total, *where, "--format", "TSV"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == ["4000", "4000"]


@pytest.mark.slow
def test_records_of_any_kind_do_not_stop_it(settings: Settings) -> None:
    good = record(invoices(0, 1)[0], "e1")
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
    produce(settings, [good])
    with running_sink(settings) as child:
        await_drained(settings, child, 6)
        assert ask(settings, "SELECT id FROM events") == ["e1"]
        assert child.stop() == 0


@pytest.mark.slow
def test_whatever_befalls_its_requests_and_itself_nothing_is_lost_and_nothing_counts_twice(
    over_http: Settings, gateway: Gateway
) -> None:
    settings, faults = over_http, gateway.faults
    faults.order(Fault.UNAVAILABLE, "/ping|SELECT", times=3)  # it starts while ClickHouse is away
    produce(settings, as_records(invoices(0, 2000)))
    produce(settings, (tick(date(2024, 2, 5), partition) for partition in range(4)))
    with running_sink(settings) as child:
        await_drained(settings, child, 2000)
        for fault in (Fault.UNAVAILABLE, Fault.CUT, Fault.RESET):
            for is_run in (False, True):
                faults.order(fault, "INSERT INTO `sink_[^`]+`.(events_raw|postings|sink_positions)", is_run=is_run)
        faults_before = faults.count
        for start in range(2000, 3000, 100):
            produce(settings, as_records(invoices(start, start + 100), f"from-{start}"))
            time.sleep(0.2)
        await_drained(settings, child, 3000)
        assert faults.count == faults_before + 6
        # Killed while rows are in whose positions are not: they are read and written a second time.
        faults.order(Fault.HANG, "sink_positions", times=100)
        produce(settings, as_records(invoices(3000, 3500), "from-3000"))
        wait_for(lambda: faults.count == faults_before + 7, 30)
        child.kill()
    faults.clear()
    with running_sink(settings) as child:
        await_drained(settings, child, 3500)
        assert ask(settings, "SELECT count(), uniqExact(id) FROM events") == ["3500", "3500"]
        assert ask(settings, "SELECT open_amount FROM portfolio_daily ORDER BY day DESC LIMIT 1") == ["35000"]
        assert ask(settings, "SELECT count() > 3500 FROM events_raw") == ["1"], "no row was written twice, so nothing was shown"
        assert ask(settings, "SELECT count() FROM sink_refused") == ["0"]
        assert child.stop() == 0
