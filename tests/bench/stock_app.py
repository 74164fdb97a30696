"""`react` under Faust as it comes: a table for the rows, `await topic.send` for each output, at-least-once.

Run by parts/stock_faust.py.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import faust
import orjson

from schemas.events.envelope import Event
from schemas.registry import TOPIC_OF_TYPE
from streams.kafka.codec import decode, encode
from streams.process.garbage import tune_for_many_rows
from tests.bench.rules import Debtors
from tests.bench.workload import PARTITIONS, load, load_size


def _make_app(bootstrap: str, folder: Path, port: int) -> faust.App:
    return faust.App(
        folder.name,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=folder / "faust",
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        web_bind="127.0.0.1",
        web_port=port,
        key_serializer="raw",
        value_serializer="raw",
        producer_linger=0.02,
        stream_buffer_maxsize=8192,
        topic_disable_leader=True,
    )


def build(bootstrap: str, folder: Path, topics: list[str], port: int) -> faust.App:
    """The app; its agent ends the process when it is done."""
    workload, size = load(folder.parent), load_size(folder.parent)
    debtors, total = Debtors(workload.context), len(workload.events)
    app = _make_app(bootstrap, folder, port)
    source = app.topic(f"{folder.name}-events", key_type=bytes, value_type=bytes)
    targets = {name: app.topic(f"{folder.name}-{name}", key_type=bytes, value_type=bytes) for name in topics}
    table = app.Table("rows", default=None, partitions=PARTITIONS, key_type=str, value_type=bytes)
    result = {"events": 0, "outputs": 0, "began": 0.0, "ended": 0.0}

    @app.agent(source)
    async def apply(stream: Any) -> None:
        async for record in stream.events():
            result["began"] = result["began"] or time.perf_counter()
            key, headers = record.message.key, record.message.headers
            event = decode(TOPIC_OF_TYPE[dict(headers)["ce_type"].decode()], key, record.message.value, headers)
            if not isinstance(event, Event):
                raise TypeError(event.reason)
            customer_id = key.decode()

            def read(name: str, customer_id: str = customer_id) -> bytes | None:
                value: bytes | None = table.get(f"{customer_id}\x1f{name}")
                return value

            def write(name: str, row: bytes | None, customer_id: str = customer_id) -> None:
                if row is None:
                    table.pop(f"{customer_id}\x1f{name}", None)
                else:
                    table[f"{customer_id}\x1f{name}"] = row

            for output in debtors.apply(customer_id, event, read, write):
                value, output_headers = encode(output)
                await targets[output.topic].send(key=key, value=value, headers=output_headers)
                result["outputs"] += 1
            result["events"] += 1
            if result["events"] == total or time.perf_counter() - result["began"] > size.peer_s:
                result["ended"] = time.perf_counter()
                (folder / "done.json").write_bytes(orjson.dumps(result))
                os._exit(0)

    return app


def main() -> None:
    bootstrap, folder, topics, port = sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(","), int(sys.argv[4])
    tune_for_many_rows()
    app = build(bootstrap, folder, topics, port)
    app.finalize()
    faust.Worker(app, loglevel="WARNING", quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main()
