"""The sink's small local web server: queries in SQL, progress, metrics."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

import structlog
from aiohttp import web

from streams.clickhouse.client import ClickHouseError, open_client
from streams.clickhouse.discovery import SINK_FILE
from streams.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from streams.metrics import Metrics
    from streams.settings import Settings
    from streams.sink.progress import Progress

log = structlog.get_logger(__name__)

DEFAULT_FORMAT = "PrettyCompact"
MAX_QUERY_BYTES = 1 << 20
START_S = 20.0


class SinkServer:
    """A context manager that listens on 127.0.0.1; DIR/sink.json holds {"port", "pid"} as long as it does."""

    def __init__(self, settings: Settings, progress: Progress, metrics: Metrics) -> None:
        self._settings = settings
        self._progress = progress
        self._metrics = metrics
        self._file = Path(settings.data_dir) / SINK_FILE
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="sink-web", daemon=True)
        self._listening = threading.Event()
        self._error: BaseException | None = None
        self._query_lock = asyncio.Lock()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait(START_S)
        if self._error is not None or not self.port:
            raise ClickHouseError(f"the sink's web server cannot start: {self._error}")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps({"port": self.port, "pid": os.getpid()}))
        temporary.replace(self._file)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.unlink(missing_ok=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner: web.AppRunner | None = None
        try:
            self._client = self._open()
            runner = web.AppRunner(self._app(), access_log=None)
            self._loop.run_until_complete(runner.setup())
            site = web.TCPSite(runner, "127.0.0.1", 0)
            self._loop.run_until_complete(site.start())
            self.port = runner.addresses[0][1]
            self._listening.set()
            self._loop.run_forever()
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits for it
            self._error = error
            self._listening.set()
        finally:
            if runner is not None:
                self._loop.run_until_complete(runner.cleanup())
            if hasattr(self, "_client"):
                self._client.close()
            self._loop.close()

    def _reopen(self) -> None:
        self._client.close()
        self._client = self._open()

    def _open(self) -> Client:
        """A client of its own that cannot write, so that queries do not wait for batches."""
        return open_client(self._settings.clickhouse.get_secret_value(), self._settings.database, readonly=True)

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_QUERY_BYTES)
        app.router.add_post("/", self._query)
        app.router.add_get("/progress", self._show_progress)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/health", self._show_health)
        return app

    async def _query(self, request: web.Request) -> web.Response:
        sql = (await request.text()).strip().rstrip(";")
        output_format = request.query.get("format", DEFAULT_FORMAT)
        async with self._query_lock:
            try:
                body = await asyncio.to_thread(self._client.raw_query, sql, fmt=output_format)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with a query is for its author to read
                # chDB 26.9: what a failed query had written already would stand at the head of the handle's next answer.
                await asyncio.to_thread(self._reopen)
                return web.Response(status=400, text=str(error))
        return web.Response(body=body, content_type="text/plain", charset="utf-8")

    async def _show_progress(self, _request: web.Request) -> web.Response:
        return web.json_response(self._progress.snapshot())

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def _show_health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})
