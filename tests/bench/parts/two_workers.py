"""The same backlog, two worker processes, two partitions each. On two cores they share them with the broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench import kafka
from tests.bench.parts.pipeline import work
from tests.bench.workload import load


def measure(folder: Path) -> dict[str, Any]:
    workload = load(folder)
    broker = kafka.broker(folder)
    subfolder = kafka.run_folder(folder, "two")
    settings = kafka.deployment(broker.bootstrap, subfolder, subfolder.name)
    kafka.send(settings, workload.events)
    kafka.tick(settings, workload)
    figures = work(settings, subfolder, workload, broker.pid, count=2)
    return {
        "pipeline_two_workers_events_s": figures["pipeline_events_s"],
        "two_workers_cpu_us": figures["worker_cpu_us"],
        "two_workers_broker_cpu_us": figures["broker_cpu_us"],
    }
