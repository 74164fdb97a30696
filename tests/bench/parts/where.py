"""Where the processor time goes: in this process (react) and in a worker on a backlog, by looking at the threads (sampler.py).

The worker is counted from its start, with everything that it loads; what only its threads in librdkafka use is a line of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from streams.process.garbage import tune_for_many_rows
from tests.bench import kafka
from tests.bench.figures import shares
from tests.bench.parts.react import fold_once
from tests.bench.sampled_worker import FILE
from tests.bench.sampler import Sampler
from tests.bench.workload import cuts, load


def measure(folder: Path) -> dict[str, Any]:
    tune_for_many_rows()
    workload = load(folder)
    slices = cuts(workload)
    with Sampler() as sampler:
        fold_once(slices, workload.context)
    broker = kafka.broker(folder)
    settings = kafka.deployment(broker.bootstrap, folder, "where")
    kafka.send(settings, workload.events)
    kafka.tick(settings, workload)
    with kafka.workers(settings, folder, "tests.bench.sampled_worker") as workers, kafka.journal(settings) as journal:
        workers.start("debtor", "learner")
        journal.wait_for(len(workload.events), workers)
    samples: dict[str, int] = orjson.loads((Path(settings.data_dir) / FILE).read_bytes())
    return {"where_react": shares(sampler.spent_ns), "where_worker": shares(samples)}
