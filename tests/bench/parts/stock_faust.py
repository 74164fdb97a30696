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
    made, size = load(folder), load_size(folder)
    broker, own = kafka.broker(folder), kafka.run_folder(folder, "stock")
    topics = [f"{own.name}-{name}" for name in ("events", *OUTPUTS, "rows-changelog")]
    kafka.make_topics(broker.bootstrap, dict.fromkeys(topics, PARTITIONS))
    kafka.produce(broker.bootstrap, ((f"{own.name}-events", event) for event in made.events))
    argv = [
        sys.executable,
        "-m",
        "tests.bench.stock_app",
        broker.bootstrap,
        os.fspath(own),
        ",".join(OUTPUTS),
        str(free_port()),
    ]
    child = spawn(argv, log_path=own / "log", name="stock Faust")
    done = kafka.finish(child, size.peer_s + 120, own / "done.json")
    return {
        "stock_faust_events_s": round(done["events"] / (done["ended"] - done["began"])),
        "stock_faust_events": done["events"],
        "stock_faust_outputs_per_event": round(done["outputs"] / done["events"], 3),
    }
