"""The same backlog, two worker processes, two partitions each. On two cores they share them with the broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench import kafka
from tests.bench.parts.pipeline import work
from tests.bench.workload import load


def measure(folder: Path) -> dict[str, Any]:
    made = load(folder)
    broker = kafka.broker(folder)
    own = kafka.run_folder(folder, "two")
    settings = kafka.deployment(broker.bootstrap, own, own.name)
    kafka.send(settings, made.events)
    kafka.tick(settings, made)
    measured = work(settings, own, made, broker.pid, count=2)
    return {
        "pipeline_two_workers_events_s": measured["pipeline_events_s"],
        "two_workers_cpu_us": measured["worker_cpu_us"],
        "two_workers_broker_cpu_us": measured["broker_cpu_us"],
    }
