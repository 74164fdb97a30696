"""ClickHouse over HTTP that is away, hangs, breaks off or resets: nothing is lost, nothing counts twice, and people are told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import date
from itertools import count
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError as DriverError
from urllib3 import Timeout

from schemas.clickhouse.rows import SinkRecord, rows_of
from streams.clickhouse.client import READ_ONLY, ClickHouseError, open_client
from streams.clickhouse.migrate import migrate
from streams.clickhouse.query import query
from streams.metrics import Metrics
from streams.sink.writer import Batch, BatchWriter
from tests.integration.support.ledgers import as_records, tangled, tick
from tests.integration.support.portfolio import wait_for
from tests.support.clickhouse_http import Fault, Gateway

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from clickhouse_connect.driver.httpclient import HttpClient

pytestmark = [pytest.mark.embedded, pytest.mark.slow]

PATIENCE_S = 1.0
"""For so long the driver of the sink waits for an answer here; 300 s elsewhere."""
VIEWS = ("events", "debtors", "debtor_daily", "portfolio_daily")
FAULTS = [
    pytest.param(fault, is_run, id=f"{fault.name.lower()} {'after' if is_run else 'before'} it is written")
    for fault in Fault
    for is_run in (False, True)
]
_numbers = count()


@pytest.fixture
def server(gateway: Gateway) -> Iterator[Gateway]:
    gateway.faults.clear()
    yield gateway
    gateway.faults.clear()


@pytest.fixture
def client(server: Gateway) -> Iterator[Client]:
    """To look at what is there: no fault is ordered for its statements."""
    observer = open_client(server.dsn)
    yield observer
    observer.close()


@pytest.fixture
def impatient(server: Gateway) -> Iterator[Client]:
    """As the sink opens it, but it does not wait for minutes for an answer that never comes."""
    driver = cast("HttpClient", open_client(server.dsn))
    driver.timeout = Timeout(PATIENCE_S)
    yield driver
    driver.close()


@pytest.fixture
def database() -> str:
    return f"faults_{next(_numbers)}"


def written(client: Client, database: str, records: Iterable[SinkRecord], batch_size: int = 400) -> None:
    """Write records as the sink does, in batches that each end with a position."""
    writer = BatchWriter(client, database, Metrics(), threading.Event())
    rows = [rows_of(record) for record in records]
    for start in range(0, len(rows), batch_size):
        batch = Batch()
        for some in rows[start : start + batch_size]:
            batch.add(some)
        reached = start + len(rows[start : start + batch_size])
        writer.write(batch, [["cluster", "topic-id", "t-payments", 0, reached, "2026-01-01 00:00:00.000000"]])


def contents(client: Client, database: str) -> dict[str, list[tuple[object, ...]]]:
    """Of every view, how many rows it has and a sum over all that they hold."""
    statements = {view: f"SELECT count(), sum(cityHash64(*)) FROM `{database}`.{view}" for view in VIEWS}  # noqa: S608
    return {view: [tuple(row) for row in client.query(sql).result_rows] for view, sql in statements.items()}


def one_value(client: Client, sql: str) -> object:
    return client.query(sql).result_rows[0][0]


@pytest.fixture(scope="module")
def records() -> list[SinkRecord]:
    facts = [fact for seed in range(12) for fact in tangled(seed, f"C{seed}")]
    return [*as_records(facts), tick(date(2024, 8, 31))]


@pytest.fixture(scope="module")
def undisturbed(gateway: Gateway, records: list[SinkRecord]) -> dict[str, list[tuple[object, ...]]]:
    """What the records come to where nothing fails."""
    client = open_client(gateway.dsn)
    migrate(client, "faults_none")
    written(client, "faults_none", records)
    try:
        return contents(client, "faults_none")
    finally:
        client.close()


@pytest.mark.parametrize("table", ["events_raw", "sink_positions"])
@pytest.mark.parametrize(("fault", "is_run"), FAULTS)
def test_whatever_befalls_a_write_each_record_counts_once(
    server: Gateway,
    client: Client,
    impatient: Client,
    database: str,
    records: list[SinkRecord],
    undisturbed: dict[str, list[tuple[object, ...]]],
    fault: Fault,
    is_run: bool,
    table: str,
) -> None:
    migrate(client, database)
    server.faults.order(fault, f"INSERT INTO `[^`]+`.{table}", times=3, is_run=is_run)
    written(impatient, database, records)
    assert server.faults.count == 3
    assert contents(client, database) == undisturbed
    assert one_value(client, f"SELECT max(next_offset) FROM {database}.sink_positions") == len(records)  # noqa: S608
    assert one_value(client, f"SELECT count() FROM {database}.sink_refused") == 0, "what was refused was the request, not a row"  # noqa: S608


@pytest.mark.parametrize("fault", Fault)
def test_a_position_is_written_only_when_the_rows_before_it_are_there(
    server: Gateway, client: Client, impatient: Client, database: str, records: list[SinkRecord], fault: Fault
) -> None:
    position = f"SELECT max(next_offset) FROM {database}.sink_positions"  # noqa: S608
    migrate(client, database)
    server.faults.order(fault, "INSERT INTO `[^`]+`.events_raw", times=1_000)
    writing = threading.Thread(target=written, args=(impatient, database, records))
    writing.start()
    wait_for(lambda: server.faults.count >= 2, 60, every_s=0.02)
    assert one_value(client, position) == 0
    server.faults.clear()
    writing.join(60.0)
    assert not writing.is_alive()
    assert one_value(client, position) == len(records)


@pytest.mark.parametrize(("fault", "is_run"), FAULTS)
def test_a_migration_that_breaks_off_is_run_again_and_ends_in_the_same_tables(
    server: Gateway, client: Client, impatient: Client, database: str, fault: Fault, is_run: bool
) -> None:
    columns = "SELECT table, name, type FROM system.columns WHERE database = '{0}' ORDER BY table, name"
    migrate(client, f"{database}_none")
    for statement in ("CREATE TABLE.*postings", "ALTER TABLE", "INSERT INTO"):
        server.faults.order(fault, statement, is_run=is_run)
    for _ in range(10):
        with suppress(DriverError):
            migrate(impatient, database)
    assert server.faults.count == 3
    assert migrate(client, database) == []
    tables = [
        [(row[0], row[1], row[2].replace(f"{name}.", "")) for row in client.query(columns.format(name)).result_rows]
        for name in (database, f"{database}_none")
    ]
    assert tables[0] == tables[1]


def test_a_question_is_asked_again_after_a_reset_or_while_clickhouse_is_away(server: Gateway) -> None:
    for fault in (Fault.RESET, Fault.UNAVAILABLE):
        server.faults.order(fault, "SELECT 40")
        assert query("SELECT 40 + 2", clickhouse=server.dsn, format="TSV", database="default") == b"42\n"
    assert server.faults.count == 2


def test_a_question_that_gets_half_an_answer_is_an_error_and_no_short_answer(server: Gateway) -> None:
    server.faults.order(Fault.CUT, "FROM numbers", is_run=True, times=9)
    with pytest.raises(ClickHouseError, match=r"IncompleteRead|connection broken|broken") as raised:
        query("SELECT number FROM numbers(100000)", clickhouse=server.dsn, format="TSV", database="default")
    assert "99999" not in str(raised.value)


def test_a_question_to_a_clickhouse_that_stays_away_is_answered_with_what_is_wrong(server: Gateway) -> None:
    server.faults.order(Fault.UNAVAILABLE, times=1_000)
    with pytest.raises(ClickHouseError, match=rf"ClickHouse at 127\.0\.0\.1:{server.port} does not answer: .*503"):
        query("SELECT 1", clickhouse=server.dsn, database="default")


def test_a_wrong_password_is_told_with_the_address(server: Gateway) -> None:
    with pytest.raises(ClickHouseError, match=rf"127\.0\.0\.1:{server.port} does not answer: .*AUTHENTICATION_FAILED"):
        open_client(re.sub(r":[^:@/]+@", ":wrong@", server.dsn))


def test_over_http_a_question_writes_nothing_and_reads_no_file(server: Gateway, client: Client, database: str) -> None:
    migrate(client, database)
    for sql in (f"INSERT INTO {database}.ticks (prefix) VALUES ('a')", f"DROP TABLE {database}.ticks"):  # noqa: S608
        with pytest.raises(ClickHouseError, match="only reading queries are answered here"):
            query(sql, clickhouse=server.dsn, format="TSV", database=database)
    assert one_value(client, f"SELECT count() FROM {database}.ticks") == 0  # noqa: S608
    assert READ_ONLY == {"readonly": 2}


def test_two_clients_ask_at_the_same_time(server: Gateway) -> None:
    clients = [open_client(server.dsn) for _ in range(2)]
    end_times: list[float] = []

    def ask(client: Client) -> None:
        client.query("SELECT sleep(2)")
        end_times.append(time.monotonic())

    start_time = time.monotonic()
    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(end_times) - start_time < 3.5, "one waited for the other"
    for client in clients:
        client.close()


def test_what_is_set_in_a_session_holds_in_it_and_in_no_other(server: Gateway) -> None:
    table = f"t{uuid4().hex[:8]}"
    owner, stranger = open_client(server.dsn), open_client(server.dsn)
    owner.command(f"CREATE TEMPORARY TABLE {table} (x Int32)")
    owner.insert(table, [[7]], column_names=["x"])
    assert one_value(owner, f"SELECT x FROM {table}") == 7  # noqa: S608
    with pytest.raises(Exception, match="UNKNOWN_TABLE"):
        stranger.query(f"SELECT x FROM {table}")  # noqa: S608
    owner.close()
    stranger.close()
