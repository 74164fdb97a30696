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
    made, size = load(folder), load_size(folder)
    broker, own = kafka.broker(folder), kafka.run_folder(folder, "quix")
    kafka.make_topics(broker.bootstrap, dict.fromkeys([f"{own.name}-{name}" for name in ("events", *OUTPUTS)], PARTITIONS))
    kafka.produce(broker.bootstrap, ((f"{own.name}-events", event) for event in made.events))
    argv = [
        os.fspath(VENV / "bin" / "python"),
        "-m",
        "tests.bench.quix_app",
        broker.bootstrap,
        os.fspath(own),
        ",".join(OUTPUTS),
    ]
    child = spawn(argv, {"PYTHONPATH": os.environ.get("PYTHONPATH", os.fspath(ROOT))}, own / "log", name="quixstreams", cwd=own)
    done = kafka.finish(child, size.peer_s + 120, own / "done.json")
    return {
        "quixstreams_events_s": round(done["events"] / (done["ended"] - done["began"])),
        "quixstreams_events": done["events"],
        "quixstreams_outputs_per_event": round(done["outputs"] / done["events"], 3),
    }
