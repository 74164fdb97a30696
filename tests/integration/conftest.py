"""The embedded ClickHouse for tests: one per process, because a process can hold only one."""

from __future__ import annotations

import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

from streams.clickhouse.client import open_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client


@pytest.fixture(scope="session")
def chdb() -> Iterator[Client]:
    folder = tempfile.mkdtemp(prefix="duewatch-chdb-")
    client = open_client(f"chdb://{folder}/clickhouse")
    yield client
    client.close()
    shutil.rmtree(folder, ignore_errors=True)
