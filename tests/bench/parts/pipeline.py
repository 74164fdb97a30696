"""The pipeline on Apache Kafka: a backlog, one worker process; then the sink alone over all that is there by then.

The rate counts from the first to the last commit of the debtor agent, by the time stamps of its journal. The learner has a worker
of its own. Both and the broker run on the same machine, and what each takes of the processor is measured.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streams.clickhouse.discovery import running_sink
from streams.process.children import Child, spawn
from streams.settings import Settings
from tests.bench import kafka
from tests.bench.figures import commit_rate
from tests.bench.machine import Stopwatch
from tests.bench.parts.react import micros
from tests.bench.workload import Workload, load

SINK_S = 180.0


def measure(folder: Path) -> dict[str, Any]:
    workload = load(folder)
    broker = kafka.broker(folder)
    subfolder = kafka.run_folder(folder, "bench")
    settings = kafka.deployment(broker.bootstrap, subfolder, subfolder.name)
    kafka.send(settings, workload.events)
    kafka.tick(settings, workload)
    figures = work(settings, subfolder, workload, broker.pid)
    return figures | sink(settings, subfolder)


def work(settings: Settings, folder: Path, workload: Workload, broker_pid: int, count: int = 1) -> dict[str, Any]:
    """Measure workers on a backlog, from their start until all of it is committed."""
    with kafka.workers(settings, folder) as workers, kafka.journal(settings) as journal:
        began = time.perf_counter()
        workers.start(*["debtor"] * count, "learner")
        journal.wait_for(1, workers)
        first_s = time.perf_counter() - began
        pids = [(child.name, child.pid) for child in workers.children]
        watch, before = Stopwatch([("broker", broker_pid), *pids]), journal.events
        journal.wait_for(len(workload.events), workers)
        seconds = watch.read()
        events = journal.events - before
        return {
            "pipeline_events_s": round(commit_rate(journal.commits)),
            "pipeline_first_commit_s": round(first_s, 1),
            "pipeline_slices": len(journal.commits),
            "pipeline_rejected": journal.rejected,
            **({"pipeline_rejected_because": kafka.first_rejection(settings)} if journal.rejected else {}),
            "worker_cpu_us": micros(sum(seconds[name] for name, _ in pids[:-1]), events),
            "learner_cpu_us": micros(seconds[pids[-1][0]], events),
            "broker_cpu_us": micros(seconds["broker"], events),
        }


def sink(settings: Settings, folder: Path) -> dict[str, Any]:
    """Rows per second of the sink on its own: events, outputs, journal into ClickHouse in the process (chDB), on disk."""
    with running_sink_of(settings, folder / "sink") as (child, port):
        watch, began = Stopwatch([("sink", child.pid)]), time.perf_counter()
        rows, moved_at, cpu_s = 0.0, began, 0.0
        while True:
            is_done = kafka.page(port, "/progress")["drained"]
            if sink_rows(port) > rows:
                rows, moved_at, cpu_s = sink_rows(port), time.perf_counter(), watch.read()["sink"]
            elif rows and is_done:
                break
            if time.perf_counter() - began > SINK_S or not child.running:
                raise RuntimeError(f"the sink did not get through. Its log ends:\n{child.log_tail()}")
            time.sleep(0.1)
    return {
        "sink_rows": round(rows),
        "sink_rows_s": round(rows / (moved_at - began)),
        "sink_cpu_us_per_row": micros(cpu_s, round(rows)),
    }


@contextmanager
def running_sink_of(settings: Settings, data: Path) -> Iterator[tuple[Child, int]]:
    """A sink of the deployment with a ClickHouse of its own, and its port."""
    changed_settings = settings.changed(data_dir=data, clickhouse=f"chdb://{data / 'clickhouse'}")
    log = data.with_suffix(".log")
    with spawn([sys.executable, "-m", "streams.cli", "sink"], changed_settings.as_environment(), log, name="the sink") as child:
        child.wait_until(lambda: running_sink(data) is not None, 60)
        yield child, running_sink(data) or 0


def sink_rows(port: int) -> float:
    """Rows that a running sink has written, as its metrics tell."""
    return kafka.metric(kafka.text(port, "/metrics"), "duewatch_sink_rows_total{")
