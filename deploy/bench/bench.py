"""Events per second of `react` alone, of the whole pipeline, and their ratio: `make bench`.

One run, one machine, the same events: a ledger (or a simulated portfolio) is decoded and folded by the brain in this process, as
the worker does it, and then replayed through the embedded broker, worker, sink and ClickHouse. The ratio is what the pipeline
leaves of the brain's speed. Figures hold for the machine that printed them; compare ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from agents.brain import Arrived
from streams.backtest import Fold
from streams.connectors.source import Step
from streams.memory import keep_many_rows
from streams.replay import Source, Summary, Target, drive, started
from streams.progress import progress_bar
from streams.simulate import simulate

LEDGER = Path(__file__).parents[3] / "shared/data/ledgers/highradius_dev.csv"
GOAL = 10_000


def source_of(args: argparse.Namespace, folder: Path) -> Source:
    """The ledger that is named, the development ledger if it is there, or a simulated portfolio."""
    if args.source:
        return Source([Path(args.source)], args.mapping)
    if LEDGER.exists():
        return Source([LEDGER], "highradius")
    simulate(600, 365, 1, folder)
    return Source([folder])


class Timed(Fold):
    """The backtest's fold with a stopwatch around decoding and around the brain."""

    decoding = folding = 0.0

    def step(self, step: Step) -> list[Any]:
        began = time.perf_counter()
        arrived = [one for record in step.records if isinstance(one := self._decode(record), Arrived)]
        decoded = time.perf_counter()
        folded = self._book.fold(arrived, step.end, self.context, replay=True, step=step.number)
        self._book.keep(folded)
        ended = time.perf_counter()
        self.decoding += decoded - began
        self.folding += ended - decoded
        self._learn([o for o in folded.outputs if o.topic == "training-examples"], step)
        return folded.outputs


def brain(source: Source) -> dict[str, float]:
    """Decode and fold in this process; best of three, because other processes only ever make it slower."""
    given = source.read()
    best: dict[str, float] = {}
    for _ in range(3):
        fold, outputs = Timed(given.context), 0
        for step in given.steps:
            outputs += len(fold.step(step))
        if not best or fold.folding < best["fold_s"]:
            best = {"events": given.records, "outputs": outputs, "decode_s": fold.decoding, "fold_s": fold.folding}
    return best


def pipeline(source: Source, folder: Path, kafka: str | None) -> Summary:
    """The same events through broker, worker, sink and ClickHouse."""
    given, target = source.read(), Target(kafka=kafka, data=folder)
    with started(target, source.prefix()) as stack, progress_bar("pipeline", given.records) as bar:
        return drive(stack, given, target, bar)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", help="a ledger CSV or a folder of JSON lines")
    parser.add_argument("--mapping", help="for a ledger: a name or a file")
    parser.add_argument("--kafka", help="HOST:PORT of a Kafka instead of the embedded broker")
    args = parser.parse_args()
    keep_many_rows()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = source_of(args, folder / "portfolio")
        alone = brain(source)
        whole = pipeline(source, folder / "data", args.kafka)
    react, both = alone["events"] / alone["fold_s"], alone["events"] / (alone["fold_s"] + alone["decode_s"])
    rate = whole.events / whole.seconds
    result = {
        "pipeline_to_react": round(rate / react, 3),
        "react_events_s": round(react),
        "react_and_decode_events_s": round(both),
        "pipeline_events_s": round(rate),
        "react_us": round(1e6 / react, 1),
        "react_goal_events_s": GOAL,
        "events": int(alone["events"]),
        "outputs": int(alone["outputs"]),
        "source": ", ".join(path.name for path in source.paths),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }
    for key, value in result.items():
        print(f"{key:28} {value:,}" if isinstance(value, int) else f"{key:28} {value}")
    (Path(__file__).parent / "bench.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
