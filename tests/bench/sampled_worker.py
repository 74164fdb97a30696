"""`duewatch worker` under the sampler, which writes processor time by drawer into a file when the worker ends.

`python -m tests.bench.sampled_worker worker`; used by parts/where.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import orjson

from streams.settings import load_settings
from streams.worker.run import run
from tests.bench.sampler import Sampler

FILE = "samples.json"


def main() -> None:
    settings = load_settings()
    with Sampler() as sampler:
        status = run(settings)
    folder = Path(settings.data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(orjson.dumps(sampler.spent_ns))
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
