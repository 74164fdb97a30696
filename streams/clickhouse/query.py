"""Query ClickHouse: through a running sink, in the data that it left, or on a server."""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from streams import DEFAULT_DATA
from streams.clickhouse.client import ClickHouseError, embedded_path, open_client
from streams.clickhouse.discovery import running_sink

if TYPE_CHECKING:
    from streams.settings import Settings

DATABASE = "duewatch"
_FORMAT = re.compile(r"\sFORMAT\s+(\w+)\Z", re.IGNORECASE)
FOR_PEOPLE, FOR_PROGRAMS = "PrettyCompactMonoBlock", "TabSeparatedWithNames"


@dataclass(frozen=True, slots=True)
class ClickHouse:
    """The ClickHouse that is queried, as ``query`` takes it."""

    data: Path | None
    url: str | None
    database: str = DATABASE

    def ask(self, sql: str, output: str) -> bytes:
        """The answer in one of ClickHouse's formats. Raises ClickHouseError."""
        return query(sql, self.data, self.url, output, self.database)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.ask(sql, "JSONEachRow").splitlines() if line]


def clickhouse_of(settings: Settings, data: Path | None, url: str | None) -> ClickHouse:
    """The ClickHouse that the options name; without any, the one in the settings."""
    if data is not None or url is not None:
        return ClickHouse(data, url)
    dsn = settings.clickhouse.get_secret_value()
    return ClickHouse(settings.data_dir if dsn.startswith("chdb:") else None, dsn, settings.database)


def clickhouse_or_leftover(settings: Settings, data: Path | None, url: str | None) -> ClickHouse:
    """The same; but where neither options nor variables name one, the data that a demo or a replay has left."""
    if data is None and url is None and not settings.model_fields_set & {"clickhouse", "database"}:
        return ClickHouse(settings.data_dir, None)
    return clickhouse_of(settings, data, url)


def run_query(sql: str, clickhouse: ClickHouse, output: str | None = None) -> str:
    """The answer as text; without a format, a table on a terminal and tab-separated values elsewhere. Raises ClickHouseError."""
    output_format = output or (FOR_PEOPLE if sys.stdout.isatty() else FOR_PROGRAMS)
    return clickhouse.ask(sql, output_format).decode("utf-8", "replace")


def query(
    sql: str,
    data_dir: Path | None = None,
    clickhouse: str | None = None,
    format: str = FOR_PEOPLE,  # noqa: A002
    database: str = DATABASE,
) -> bytes:
    """The answer in one of ClickHouse's formats; nothing can be written. Raises ClickHouseError with what to do.

    ``clickhouse`` is the URL of a server, whose own database counts if it names one. Otherwise the sink that runs on
    ``data_dir`` is asked, and when none does, its data is opened: where a chdb:// URL says, else in ``data_dir``.
    """
    text = sql.strip().rstrip(";")
    if not text:
        raise ClickHouseError("the query is empty: write one such as: select * from debtors limit 10")
    format_clause = _FORMAT.search(text)
    if format_clause is not None:  # the query's own FORMAT clause wins
        text, format = text[: format_clause.start()], format_clause[1]  # noqa: A001
    if clickhouse is not None and not clickhouse.startswith("chdb:"):
        return _ask_server(text, clickhouse, database, format)
    folder = data_dir or (DEFAULT_DATA if clickhouse is None else embedded_path(clickhouse).parent)
    sink = running_sink(folder)
    if sink is not None:
        return _ask_sink(text, sink, format)
    path = folder / "clickhouse" if clickhouse is None else embedded_path(clickhouse)
    if not path.is_dir():  # and opening it would make one
        raise ClickHouseError(
            f"{path.parent} holds no ClickHouse data: run duewatch demo or replay with --data {path.parent} first"
        )
    return _ask(text, f"chdb://{path.absolute()}", database, format)


def _ask_server(sql: str, url: str, database: str, output: str) -> bytes:
    database_of_url = urllib.parse.urlsplit(url).path.strip("/")
    return _ask(sql, url, database_of_url or database, output)


def _ask(sql: str, dsn: str, database: str, output: str) -> bytes:
    client = open_client(dsn, database, readonly=True)
    try:
        return bytes(client.raw_query(sql, fmt=output))
    except Exception as error:
        raise ClickHouseError(explain_error(str(error))) from error
    finally:
        client.close()


def _ask_sink(sql: str, port: int, output: str) -> bytes:
    url = f"http://127.0.0.1:{port}/?" + urllib.parse.urlencode({"format": output})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=sql.encode(), method="POST")) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise ClickHouseError(explain_error(error.read().decode("utf-8", "replace"))) from None
    except OSError as error:
        raise ClickHouseError(f"the sink on port {port} does not answer ({error}): it may be starting or stopping") from None


def escaped(text: str) -> str:
    r"""A text as it is written between single quotes in SQL.

    >>> print(escaped("O'Hara"))
    O\'Hara
    """
    return text.replace("\\", "\\\\").replace("'", "\\'")


def explain_error(text: str) -> str:
    """ClickHouse's error message without its version and stack trace."""
    message = text.split("(version ", maxsplit=1)[0].split("Stack trace", maxsplit=1)[0].strip()
    if "READONLY" in text or "readonly" in text:
        return f"only reading queries are answered here, which write nothing and open no files: {message[:500]}"
    return message[:2000]
