"""What the driver is told of a DSN."""

from __future__ import annotations

from typing import Any

import clickhouse_connect
import pytest

from streams.clickhouse.client import open_client


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that the driver got last; no server is asked."""
    arguments: dict[str, Any] = {}
    monkeypatch.setattr(clickhouse_connect, "get_client", lambda **given: arguments.update(given))
    return arguments


@pytest.mark.parametrize(
    ("dsn", "interface", "port"),
    [
        pytest.param("https://ch", "https", 8443, id="https"),
        pytest.param("https://ch:9000", "https", 9000, id="https, port of one's own"),
        pytest.param("clickhouse://ch:8443", "https", 8443, id="TLS by port"),
        pytest.param("clickhouse://ch", "http", 8123, id="plain"),
        pytest.param("http://ch:9000", "http", 9000, id="plain, port of one's own"),
    ],
)
def test_https_is_tls_whatever_the_port(told: dict[str, Any], dsn: str, interface: str, port: int) -> None:
    """The driver judges by port alone: it would ask https://HOST:9000 in plain text."""
    open_client(dsn)
    assert (told["host"], told["interface"], told["port"]) == ("ch", interface, port)


def test_user_and_password_are_given_as_they_are_and_the_database_that_is_asked_for_wins(told: dict[str, Any]) -> None:
    open_client("clickhouse://risk:p%2F%40@ch/db", "other")
    assert (told["username"], told["password"], told["database"]) == ("risk", "p/@", "other")
    open_client("clickhouse://ch/db")
    assert told["database"] == "db"
