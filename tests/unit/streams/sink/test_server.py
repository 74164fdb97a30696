"""How a ClickHouse server is opened, by the arguments that the driver is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest

from streams.clickhouse.client import SETTINGS, open_client
from streams.metrics import Metrics
from streams.settings import Settings
from streams.sink import server
from streams.sink.progress import Progress


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each client that was asked for."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(clickhouse_connect, "get_client", lambda **arguments: asked.append(arguments))
    return asked


@pytest.mark.parametrize("scheme", ["clickhouse", "http", "https"])
def test_on_a_server_questions_cannot_write_and_the_sink_can(opened: list[dict[str, Any]], scheme: str) -> None:
    open_client(f"{scheme}://u:p@ch:9440", "ours", readonly=True)
    open_client(f"{scheme}://u:p@ch:9440", "ours")

    # With 1 the server would refuse the other settings.
    assert [one["settings"] for one in opened] == [SETTINGS | {"readonly": 2}, SETTINGS]
    assert "readonly" not in SETTINGS
    assert {one["interface"] for one in opened} == {"https" if scheme == "https" else "http"}


def test_what_the_sink_answers_over_the_web_cannot_write(opened: list[dict[str, Any]], tmp_path: Path) -> None:
    settings = Settings(clickhouse="clickhouse://ch:8123", data_dir=tmp_path)
    web = server.SinkServer(settings, Progress(), Metrics())
    web._open()
    web._loop.close()

    assert opened[0]["settings"]["readonly"] == 2
