"""Where the processor time goes: in this process (react) and in a worker on a backlog, by looking at the threads (sampler.py).

The worker is counted from its start, with everything that it loads; what only its threads in librdkafka use is a line of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from deploy.bench import kafka
from deploy.bench.figures import shares
from deploy.bench.parts.react import once
from deploy.bench.sampled import FILE
from deploy.bench.sampler import Sampler
from deploy.bench.workload import cuts, load
from streams.memory import keep_many_rows


def measure(folder: Path) -> dict[str, Any]:
    keep_many_rows()
    made = load(folder)
    slices = cuts(made)
    with Sampler() as sampler:
        once(slices, made.context)
    broker = kafka.broker(folder)
    settings = kafka.deployment(broker.bootstrap, folder, "where")
    kafka.send(settings, made.events)
    kafka.tick(settings, made)
    with kafka.workers(settings, folder, "deploy.bench.sampled") as running, kafka.journal(settings) as journal:
        running.start("debtor", "learner")
        journal.wait_for(len(made.events), running)
    counted: dict[str, int] = orjson.loads((Path(settings.data_dir) / FILE).read_bytes())
    return {"where_react": shares(sampler.spent_ns), "where_worker": shares(counted)}
