"""A peer: the same `react` under stock Faust (stock_app.py). Judged as quixstreams is."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from streams.process.children import free_port, spawn
from tests.bench import kafka
from tests.bench.parts.quixstreams import OUTPUTS
from tests.bench.workload import PARTITIONS, load, load_size


def measure(folder: Path) -> dict[str, Any]:
    workload, size = load(folder), load_size(folder)
    broker, subfolder = kafka.broker(folder), kafka.run_folder(folder, "stock")
    topics = [f"{subfolder.name}-{name}" for name in ("events", *OUTPUTS, "rows-changelog")]
    kafka.make_topics(broker.bootstrap, dict.fromkeys(topics, PARTITIONS))
    kafka.produce(broker.bootstrap, ((f"{subfolder.name}-events", event) for event in workload.events))
    argv = [
        sys.executable,
        "-m",
        "tests.bench.stock_app",
        broker.bootstrap,
        os.fspath(subfolder),
        ",".join(OUTPUTS),
        str(free_port()),
    ]
    child = spawn(argv, log_path=subfolder / "log", name="stock Faust")
    result = kafka.finish(child, size.peer_s + 120, subfolder / "done.json")
    return {
        "stock_faust_events_s": round(result["events"] / (result["ended"] - result["began"])),
        "stock_faust_events": result["events"],
        "stock_faust_outputs_per_event": round(result["outputs"] / result["events"], 3),
    }
