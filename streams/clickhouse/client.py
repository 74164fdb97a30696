"""Open ClickHouse, a server or the engine inside this process, and retry when it is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from streams.errors import UserError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

T = TypeVar("T")

SETTINGS: dict[str, Any] = {
    # The default of 26.9 is asynchronous: a batch would be reported before it is there.
    "async_insert": 0,
    "date_time_input_format": "best_effort",
}
# Not 1: with it a server refuses the settings above, and those that the driver adds to a question. How long a question may
# take is for the server's own profiles to say.
READ_ONLY: dict[str, Any] = {"readonly": 2}
RETRY_FIRST_S, RETRY_MAX_S = 0.1, 5.0
# Errors that a row can cause: after any other it is worth another try.
DATA_ERRORS = frozenset({6, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 190, 321, 349, 407, 467, 691})


class ClickHouseError(UserError):
    """ClickHouse cannot be opened or refuses; the message says why and what to do."""


def open_client(dsn: str, database: str | None = None, *, readonly: bool = False) -> Client:
    """A client on ``chdb://PATH``, ``clickhouse://USER:PASSWORD@HOST:PORT[/DATABASE]``, or the same with http:// or https://.

    ``readonly``: what would write is refused. Raises ClickHouseError. With chDB one process owns the path, and a second one gets
    an error.
    """
    parts = urlsplit(dsn)
    if parts.scheme == "chdb":
        return _open_embedded(embedded_path(dsn), database, readonly=readonly)
    if parts.scheme not in {"clickhouse", "http", "https"}:
        raise ClickHouseError(
            f"{parts.scheme}:// is not a ClickHouse URL: write clickhouse://USER:PASSWORD@HOST:PORT or chdb://FOLDER"
        )
    return _open_server(parts, database, readonly=readonly)


def embedded_path(dsn: str) -> Path:
    """The folder of a chdb:// DSN."""
    parts = urlsplit(dsn)
    return Path(unquote(parts.netloc + parts.path))


def _open_embedded(path: Path, database: str | None, *, readonly: bool) -> Client:
    try:
        import chdb  # noqa: F401 - only to distinguish its absence from its failures
        import clickhouse_connect
    except ModuleNotFoundError:
        raise ClickHouseError("the embedded ClickHouse is not installed: pip install 'duewatch[embedded]'") from None
    path.mkdir(parents=True, exist_ok=True)
    try:
        client = clickhouse_connect.get_client(interface="chdb", path=str(path), settings=SETTINGS)
    except Exception as error:
        raise ClickHouseError(_open_error(path, error)) from error
    if database is not None and database in [row[0] for row in client.query("SHOW DATABASES").result_rows]:
        client.command(f"USE {quoted(database)}")
    if readonly:
        # Last, because nothing can be set after it. It refuses writes, and file() and its like.
        client.command("SET max_execution_time = 120")
        client.command("SET readonly = 1")
    return client


def _open_error(path: Path, error: Exception) -> str:
    text = str(error)
    if "EmbeddedServer already initialized" in text or "different path" in text:
        return f"this process has another embedded ClickHouse open, so it cannot open {path}: one process, one path"
    if "EmbeddedServer" in text or "lock" in text.lower():
        return (
            f"another process has the ClickHouse data in {path} open (one process owns a path): "
            f"stop it, or ask it: duewatch sql --data {path.parent}"
        )
    return f"the ClickHouse data in {path} cannot be opened: {text[:500]}"


def _open_server(parts: SplitResult, database: str | None, *, readonly: bool) -> Client:
    import clickhouse_connect

    logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())  # what it has to say is raised
    secure = parts.scheme == "https" or parts.port in {443, 8443}
    try:
        return clickhouse_connect.get_client(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or (8443 if secure else 8123),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password or ""),
            database=database or parts.path.strip("/") or "default",
            interface="https" if secure else "http",
            settings=SETTINGS | READ_ONLY if readonly else SETTINGS,
        )
    except Exception as error:
        raise ClickHouseError(
            f"ClickHouse at {parts.hostname}:{parts.port or 8123} does not answer: {_root_cause(error)}"
        ) from error


def _root_cause(error: BaseException) -> str:
    """The root cause of an error: the driver wraps a refused connection four times, and each wrapper repeats all of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    reason = getattr(error, "reason", None)
    return str(reason or error)[:500]


def quoted(name: str) -> str:
    """A ClickHouse identifier, in backticks."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def error_code(error: BaseException) -> int | None:
    """ClickHouse's code of an error, None for one that is not its own (a lost connection)."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else None


def with_retries(
    attempt: Callable[[], T], stop: threading.Event, on_retry: Callable[[Exception, float], None], grace_s: float | None = None
) -> T:
    """What ``attempt`` returns, retried with growing pauses. Errors of the data are raised at once.

    ``on_retry`` gets each error and the pause after it. Once ``stop`` is set, it retries for ``grace_s`` seconds more (None: not
    at all), then raises the last error.
    """
    pause, stopped_at = RETRY_FIRST_S, None
    while True:
        try:
            return attempt()
        except Exception as error:
            if error_code(error) in DATA_ERRORS:
                raise
            if stop.is_set():
                stopped_at = stopped_at or time.monotonic()
                if grace_s is None or time.monotonic() - stopped_at > grace_s:
                    raise
            on_retry(error, pause)
            time.sleep(pause) if stop.is_set() else stop.wait(pause)
            pause = min(pause * 2, RETRY_MAX_S)
