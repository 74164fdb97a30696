"""ClickHouse for tests: one engine per process, because a process can hold only one, asked as a library and over HTTP."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streams.clickhouse.client import embedded_path, open_client
from tests.support.clickhouse_http import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client


@pytest.fixture(scope="session")
def chdb_dsn() -> Iterator[str]:
    """The engine in this process; it stays open between the tests."""
    folder = Path(tempfile.mkdtemp(prefix="duewatch-chdb-")).resolve()
    dsn = f"chdb://{folder}/clickhouse"
    client = open_client(dsn)
    yield dsn
    client.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def gateway(chdb_dsn: str) -> Iterator[Gateway]:
    """The same engine over HTTP, as a server is asked. Whoever orders faults clears them."""
    with Gateway(str(embedded_path(chdb_dsn))) as server:
        yield server


@pytest.fixture(scope="session", params=["chdb", pytest.param("http", marks=pytest.mark.slow)])
def clickhouse_dsn(request: pytest.FixtureRequest, chdb_dsn: str) -> str:
    """Where ClickHouse is asked: in this process, then over HTTP. Name databases per test: they are shared."""
    return chdb_dsn if request.param == "chdb" else str(request.getfixturevalue("gateway").dsn)


@pytest.fixture(scope="session")
def clickhouse(clickhouse_dsn: str) -> Iterator[Client]:
    client = open_client(clickhouse_dsn)
    yield client
    client.close()
