"""``duewatch sink``: copy every event, in and out, into ClickHouse; one process per prefix, which goes on where it stopped."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import structlog

from streams.clickhouse.client import open_client, with_retries
from streams.clickhouse.migrate import migrate
from streams.logs import configure_logs
from streams.metrics import Metrics
from streams.process.garbage import tune_for_many_rows
from streams.sink.loop import Sink
from streams.sink.server import SinkServer
from streams.sink.start import SinkError, log_retry

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from streams.settings import Settings

log = structlog.get_logger(__name__)


def run(settings: Settings, metrics_port: int | None = None) -> int:
    """Run until SIGTERM or Ctrl-C; 0 when all that was read is in ClickHouse. Raises UserError when it cannot start."""
    configure_logs(settings.log_format, settings.log_level)
    tune_for_many_rows()
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    with ExitStack() as resources:
        client = _open(settings, stop)
        resources.callback(client.close)
        for migration in migrate(client, settings.database):
            log.info("clickhouse.migrated", migration=migration.name)
        metrics = Metrics()
        if metrics_port is not None:
            metrics.serve(metrics_port, settings.web_bind)
        sink = Sink(settings, client, metrics, stop)
        resources.callback(sink.close)
        resources.enter_context(SinkServer(settings, sink.progress, metrics))
        try:
            sink.open()
        except SinkError:
            if stop.is_set():
                return 0
            raise
        sink.run()
    log.info("sink.stopped")
    return 0


def _open(settings: Settings, stop: threading.Event) -> Client:
    """A server may be away for a while; the engine in this process is there, or says why not.

    Not on the sink's own database, which may not be there yet: the statements name it.
    """
    dsn = settings.clickhouse.get_secret_value()
    if dsn.startswith("chdb:"):
        return open_client(dsn)
    return with_retries(lambda: open_client(dsn, "default"), stop, log_retry)
