"""Ask ClickHouse: a running sink, the data that it left, or a server."""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from streams.clickhouse import ClickHouseError, open_client
from streams.sink_file import DEFAULT_DATA, running_sink

DATABASE = "duewatch"
_FORMAT = re.compile(r"\sFORMAT\s+(\w+)\Z", re.IGNORECASE)
FOR_PEOPLE, FOR_PROGRAMS = "PrettyCompactMonoBlock", "TabSeparatedWithNames"


def run_query(sql: str, *, data: Path | None = None, clickhouse: str | None = None, output: str | None = None) -> str:
    """The answer as text; without a format, a table on a terminal and tab-separated values elsewhere. Raises ClickHouseError."""
    wanted = output or (FOR_PEOPLE if sys.stdout.isatty() else FOR_PROGRAMS)
    return query(sql, data, clickhouse, wanted).decode("utf-8", "replace")


def query(sql: str, data_dir: Path | None = None, clickhouse: str | None = None, format: str = FOR_PEOPLE) -> bytes:  # noqa: A002
    """The answer in one of ClickHouse's formats; nothing can be written. Raises ClickHouseError with what to do.

    ``clickhouse`` is a URL; otherwise the sink that runs on ``data_dir`` is asked, and when none does, its data is opened.
    """
    text = sql.strip().rstrip(";")
    if not text:
        raise ClickHouseError("there is no question: write a query such as: select * from debtors limit 10")
    named = _FORMAT.search(text)
    if named is not None:  # the query's own word on it counts
        text, format = text[: named.start()], named[1]  # noqa: A001
    if clickhouse is not None:
        return _ask_server(text, clickhouse, format)
    folder = data_dir or DEFAULT_DATA
    sink = running_sink(folder)
    if sink is not None:
        return _ask_sink(text, sink, format)
    if not (folder / "clickhouse").is_dir():
        raise ClickHouseError(f"{folder} holds no ClickHouse data: run duewatch demo or replay with --data {folder} first")
    return _ask(text, f"chdb://{(folder / 'clickhouse').absolute()}", DATABASE, format)


def _ask_server(sql: str, url: str, output: str) -> bytes:
    named = urllib.parse.urlsplit(url).path.strip("/")
    return _ask(sql, url, named or DATABASE, output)


def _ask(sql: str, dsn: str, database: str, output: str) -> bytes:
    client = open_client(dsn, database, readonly=True)
    try:
        return bytes(client.raw_query(sql, fmt=output))
    except Exception as error:
        raise ClickHouseError(explained(str(error))) from error
    finally:
        client.close()


def _ask_sink(sql: str, port: int, output: str) -> bytes:
    url = f"http://127.0.0.1:{port}/?" + urllib.parse.urlencode({"format": output})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=sql.encode(), method="POST")) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise ClickHouseError(explained(error.read().decode("utf-8", "replace"))) from None
    except OSError as error:
        raise ClickHouseError(
            f"the sink on port {port} does not answer ({error}): is it still starting, or just stopping?"
        ) from None


def explained(text: str) -> str:
    """ClickHouse's own words, without the version and the trace."""
    shown = text.split("(version ", maxsplit=1)[0].split("Stack trace", maxsplit=1)[0].strip()
    if "READONLY" in text or "readonly" in text:
        return f"only questions are answered here, nothing is written and no files are read: {shown[:500]}"
    return shown[:2000]
