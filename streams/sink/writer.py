"""Write batches of rows to ClickHouse, then the positions they reach; nothing is lost while it is away."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import structlog

from schemas.clickhouse.rows import Row
from schemas.clickhouse.tables import TABLES
from streams.clickhouse.client import DATA_ERRORS, SETTINGS, error_code, with_retries

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from streams.metrics import Metrics

log = structlog.get_logger(__name__)

FORMAT = "JSONCompactEachRow"
# After a signal to stop, ClickHouse has this long to take the last batch; it is read again otherwise.
LAST_RETRIES_S = 10.0


class Batch:
    """Rows by table, in the order in which they came. Writing any of them twice changes nothing."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.count = 0

    def add(self, rows: Iterable[tuple[str, Row]]) -> None:
        for table, row in rows:
            self.rows[table].append(row)
            self.count += 1


class BatchWriter:
    """Writes batches to one database. Use it from one thread."""

    def __init__(self, client: Client, database: str, metrics: Metrics, stop: threading.Event) -> None:
        self._client = client
        self._database = database
        self._metrics = metrics
        self._stop = stop

    def write(self, batch: Batch, positions: Iterable[Row]) -> None:
        """Write all rows, events first, then the positions; retries until ClickHouse has them.

        After ``stop`` it retries for some seconds only, then raises the last error.
        """
        for table in filter(batch.rows.__contains__, TABLES):
            rows = batch.rows[table]
            self._write_table(table, rows)
            self._metrics.sink_rows.labels(table).inc(len(rows))
        position_rows = list(positions)
        if position_rows:
            self._write_table("sink_positions", position_rows)

    def _write_table(self, table: str, rows: list[Row]) -> None:
        """Write the rows of a table; what ClickHouse (or JSON) refuses is found by halving and kept in ``sink_refused``."""
        if not rows:
            return
        try:
            block = b"\n".join(map(orjson.dumps, rows))
            with_retries(lambda: self._insert(table, block), self._stop, self._log_retry, LAST_RETRIES_S)
        except Exception as error:
            is_of_the_data = isinstance(error, orjson.JSONEncodeError) or error_code(error) in DATA_ERRORS
            if not is_of_the_data or table == "sink_refused":
                raise
            if len(rows) == 1:
                self._refuse(table, rows[0], error)
                return
            half = len(rows) // 2
            self._write_table(table, rows[:half])
            self._write_table(table, rows[half:])

    def _insert(self, table: str, block: bytes) -> None:
        self._client.raw_insert(
            f"`{self._database}`.{table}",
            column_names=TABLES[table],
            insert_block=block,
            settings=SETTINGS,
            fmt=FORMAT,
        )

    def _refuse(self, table: str, row: Row, error: Exception) -> None:
        log.error("sink.row_refused", table=table, error=str(error)[:500])
        refusal = [table, _as_text(row), str(error)[:2000], datetime.now(UTC).isoformat()]
        self._write_table("sink_refused", [refusal])

    def _log_retry(self, error: Exception, pause_s: float) -> None:
        log.warning("clickhouse.away", error=str(error)[:300], again_in_s=pause_s)


def _as_text(row: Row) -> str:
    try:
        return orjson.dumps(row).decode()
    except orjson.JSONEncodeError:
        return repr(row)
