"""A peer: the same `react` under quixstreams, stateful and exactly-once (quix_app.py), in an environment of its own.

Judged by the events that it has dealt with from its first to its last; its final commit is not counted against it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from schemas.registry import TOPICS
from streams.process.children import spawn
from tests.bench import kafka
from tests.bench.workload import PARTITIONS, load, load_size

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / ".cache" / "bench-venv"
OUTPUTS = [name for name, topic in TOPICS.items() if topic.direction == "out" or name == "training-examples"]


def measure(folder: Path) -> dict[str, Any]:
    if not (VENV / ".ready").exists():
        raise RuntimeError("its environment could not be installed: `make bench` does it where a package index can be reached")
    workload, size = load(folder), load_size(folder)
    broker, subfolder = kafka.broker(folder), kafka.run_folder(folder, "quix")
    kafka.make_topics(broker.bootstrap, dict.fromkeys([f"{subfolder.name}-{name}" for name in ("events", *OUTPUTS)], PARTITIONS))
    kafka.produce(broker.bootstrap, ((f"{subfolder.name}-events", event) for event in workload.events))
    argv = [
        os.fspath(VENV / "bin" / "python"),
        "-m",
        "tests.bench.quix_app",
        broker.bootstrap,
        os.fspath(subfolder),
        ",".join(OUTPUTS),
    ]
    child = spawn(
        argv, {"PYTHONPATH": os.environ.get("PYTHONPATH", os.fspath(ROOT))}, subfolder / "log", name="quixstreams", cwd=subfolder
    )
    result = kafka.finish(child, size.peer_s + 120, subfolder / "done.json")
    return {
        "quixstreams_events_s": round(result["events"] / (result["ended"] - result["began"])),
        "quixstreams_events": result["events"],
        "quixstreams_outputs_per_event": round(result["outputs"] / result["events"], 3),
    }
