"""Pure `react`: decode, fold and encode in this process, no Kafka.

In it: reading each record (headers, JSON, validation, content hash), the debtor agent's brain (deadlines, rules of all domains,
score, limit, alerts), every changed row as bytes, every output as bytes and headers, and taking the changes over. Not in it:
fetching, producing, committing, the engine's own rows and journal, and the learner. Slices, order and ticks are the pipeline's on
a backlog. Once, as the pipeline's: a best of several would be compared with a single run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from agents.brain import Received
from agents.debtor.brain import DebtorBrain
from agents.learner.brain import LearnerBrain
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output
from streams.kafka.codec import decode, encode
from streams.process.garbage import tune_for_many_rows
from tests.bench.workload import PARTITIONS, Cut, build_ledger, count_types, cuts, decode_cut, load, load_size

EXAMPLES = 100


@dataclass(slots=True)
class Timings:
    """Seconds and counts; ``cpu_s`` is processor time. The whole is more than its parts: objects are freed as well."""

    whole_s: float = 0.0
    decode_s: float = 0.0
    fold_s: float = 0.0
    encode_s: float = 0.0
    cpu_s: float = 0.0
    events: int = 0
    outputs: int = 0
    rows: int = 0
    rejected: int = 0


def fold_once(slices: Sequence[Cut], context: ContextSet) -> Timings:
    """Decode, fold and encode all slices once, from empty brains."""
    times, books = Timings(), [DebtorBrain() for _ in range(PARTITIONS)]
    now: list[datetime | None] = [None] * PARTITIONS
    clock, cpu = time.perf_counter, time.process_time()
    start = clock()
    for cut in slices:
        began = clock()
        received = decode_cut(cut)
        times.decode_s += clock() - began
        times.events += len(received)
        if cut.tick is not None:
            now[cut.partition] = cut.tick.time
        unfinished = True
        while unfinished:
            began = clock()
            result = books[cut.partition].fold(received, now[cut.partition], context, replay=False)
            books[cut.partition].on_committed(result)
            folded_at = clock()
            for output in result.outputs:
                encode(output)
            times.encode_s += clock() - folded_at
            times.fold_s += folded_at - began
            times.outputs += len(result.outputs)
            times.rows += len(result.rows)
            times.rejected += len(result.rejected)
            received, unfinished = [], result.has_more
    times.whole_s, times.cpu_s = clock() - start, time.process_time() - cpu
    return times


def measure(folder: Path) -> dict[str, Any]:
    tune_for_many_rows()
    workload, size = load(folder), load_size(folder)
    fold_once(cuts(workload)[:8], workload.context)  # what is loaded and remembered with the first use of it
    times = fold_once(cuts(workload), workload.context)
    figures = {
        "react_events_s": round(times.events / times.whole_s),
        "react_us": micros(times.whole_s, times.events),
        "react_cpu_us": micros(times.cpu_s, times.events),
        "react_decode_us": micros(times.decode_s, times.events),
        "react_fold_us": micros(times.fold_s, times.events),
        "react_encode_us": micros(times.encode_s, times.events),
        "events": times.events,
        "outputs_per_event": round(times.outputs / times.events, 3),
        "rows_per_event": round(times.rows / times.events, 3),
        "rejected": times.rejected,
        "mix": count_types(workload.events),
        "portfolio": f"{size.debtors} debtors, {size.days} days, seed {size.seed}",
    }
    figures |= measure_learner(cuts(workload), workload.context)
    if size.ledger:
        ledger = build_ledger(Path(size.ledger))
        times = fold_once(cuts(ledger), ledger.context)
        figures |= {
            "ledger_react_events_s": round(times.events / times.whole_s),
            "ledger_react_us": micros(times.whole_s, times.events),
            "ledger_events": times.events,
            "ledger_outputs_per_event": round(times.outputs / times.events, 3),
        }
    return figures


def measure_learner(slices: Sequence[Cut], context: ContextSet) -> dict[str, float]:
    """What the learner spends on each example, a hundred at a time, and how many examples an event leads to."""
    books, outputs = [DebtorBrain() for _ in range(PARTITIONS)], []
    now: list[datetime | None] = [None] * PARTITIONS
    events = 0
    for cut in slices:
        now[cut.partition] = cut.tick.time if cut.tick else now[cut.partition]
        result = books[cut.partition].fold(decode_cut(cut), now[cut.partition], context, replay=False, max_deadlines=1 << 30)
        books[cut.partition].on_committed(result)
        outputs += [output for output in result.outputs if output.topic == "training-examples"]
        events += len(cut.events)
    learn(outputs, context)  # for what is loaded with the first label: river takes a second
    cpu = time.process_time()
    learn(outputs, context)
    seconds = time.process_time() - cpu
    return {
        "learner_cpu_us_per_example": micros(seconds, max(1, len(outputs))),
        "examples_per_event": round(len(outputs) / events, 4),
    }


def learn(outputs: Sequence[Output], context: ContextSet) -> None:
    """Read, learn and encode what is learned from so many examples, a hundred at a time."""
    learner = LearnerBrain()
    for number in range(0, len(outputs), EXAMPLES):
        received = []
        for output in outputs[number : number + EXAMPLES]:
            value, headers = encode(output)
            event = decode(output.topic, output.key.encode(), value, headers)
            if isinstance(event, Event):
                received.append(Received(output.topic, 0, 0, event))
        result = learner.fold(received, None, context, replay=False)
        learner.on_committed(result)
        for output in result.outputs:
            encode(output)


def micros(seconds: float, events: int) -> float:
    """Microseconds per event."""
    return round(1e6 * seconds / events, 1)
