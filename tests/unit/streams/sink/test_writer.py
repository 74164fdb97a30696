"""The writer against a ClickHouse that is away, slow, or refuses a row."""

from __future__ import annotations

import threading
from typing import Any

import orjson
import pytest

from schemas.clickhouse.tables import TABLES
from streams.clickhouse import client as clickhouse
from streams.metrics import Metrics
from streams.sink.progress import Progress
from streams.sink.writer import Batch, BatchWriter


class _RefusedError(Exception):
    code = 27


class FakeClient:
    """Keeps what it is given; fails as often as it is told, and always for a row that holds "bad"."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.written: list[tuple[str, list[Any]]] = []

    def raw_insert(self, table: str, *, insert_block: bytes, **_: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("away")
        rows = [orjson.loads(line) for line in insert_block.splitlines()]
        if any("bad" in row for row in rows):
            raise _RefusedError("cannot parse")
        self.written += [(table.split(".")[1], row) for row in rows]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clickhouse, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr(clickhouse, "RETRY_MAX_S", 0.002)


def _batch(*values: str) -> Batch:
    batch = Batch()
    batch.add(("closures", [value]) for value in values)
    return batch


def _writer(client: FakeClient, stop: threading.Event | None = None) -> BatchWriter:
    return BatchWriter(client, "d", Metrics(), stop or threading.Event())  # type: ignore[arg-type]


def test_what_cannot_be_written_now_is_written_later_and_positions_come_last() -> None:
    client = FakeClient(failures=5)
    _writer(client).write(_batch("a", "b"), [["position"]])
    assert client.written == [("closures", ["a"]), ("closures", ["b"]), ("sink_positions", ["position"])]


def test_a_refused_row_is_kept_apart_and_the_others_go_in() -> None:
    client = FakeClient()
    _writer(client).write(_batch("a", "bad", "b", "c"), [])
    assert [row[0] for table, row in client.written if table == "closures"] == ["a", "b", "c"]
    [refused] = [dict(zip(TABLES[table], row, strict=True)) for table, row in client.written if table == "sink_refused"]
    assert (refused["table"], refused["row"]) == ("closures", '["bad"]')


def test_stopping_while_clickhouse_is_away_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.sink.writer.LAST_RETRIES_S", 0.05)
    stop = threading.Event()
    stop.set()
    with pytest.raises(ConnectionError):
        _writer(FakeClient(failures=10**9), stop).write(_batch("a"), [["position"]])


def test_progress_is_drained_only_when_all_is_written_and_all_ends_were_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.sink.progress.IDLE_S", 0.0)
    progress = Progress()
    progress.add_partition("payments", 0, 0)
    progress.add_partition("payments", 1, 0)
    progress.on_end("payments", 1, 0)
    progress.on_record("payments", 0, 5)
    assert not progress.snapshot()["drained"]
    progress.on_end("payments", 0, 6)  # a transaction's marker lies at 5
    assert not progress.snapshot()["drained"]
    progress.on_written(progress.end_batch())
    told = progress.snapshot()
    assert (told["drained"], told["topics"]["payments"]["0"]) == (True, {"next_offset": 6, "at_end": True})
    progress.on_record("payments", 0, 7)
    assert not progress.snapshot()["drained"]


def test_a_tick_is_told_only_when_it_is_written() -> None:
    progress = Progress()
    progress.add_partition("clock", 0, 0)
    progress.on_row("ticks", ["p", 0, 4, "2026-01-01T00:00:00Z", -1, False])
    progress.on_record("clock", 0, 1)
    assert progress.snapshot()["ticks"] == {}
    progress.on_written(progress.end_batch())
    assert progress.snapshot()["ticks"]["0"]["number"] == 4
