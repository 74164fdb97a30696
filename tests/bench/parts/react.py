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
from tests.bench.workload import PARTITIONS, Cut, build_ledger, cuts, decoded, load, load_size, mix

EXAMPLES = 100


@dataclass(slots=True)
class Spent:
    """Seconds and counts; ``cpu_s`` is what the processor gave. The whole is more than its parts: what was made must go."""

    whole_s: float = 0.0
    decode_s: float = 0.0
    fold_s: float = 0.0
    encode_s: float = 0.0
    cpu_s: float = 0.0
    events: int = 0
    outputs: int = 0
    rows: int = 0
    rejected: int = 0


def once(slices: Sequence[Cut], context: ContextSet) -> Spent:
    """Everything once, from empty books."""
    spent, books = Spent(), [DebtorBrain() for _ in range(PARTITIONS)]
    now: list[datetime | None] = [None] * PARTITIONS
    clock, cpu = time.perf_counter, time.process_time()
    start = clock()
    for cut in slices:
        began = clock()
        arrived = decoded(cut)
        spent.decode_s += clock() - began
        spent.events += len(arrived)
        if cut.tick is not None:
            now[cut.partition] = cut.tick.time
        more = True
        while more:
            began = clock()
            folded = books[cut.partition].fold(arrived, now[cut.partition], context, replay=False)
            books[cut.partition].keep(folded)
            ended = clock()
            for output in folded.outputs:
                encode(output)
            spent.encode_s += clock() - ended
            spent.fold_s += ended - began
            spent.outputs += len(folded.outputs)
            spent.rows += len(folded.rows)
            spent.rejected += len(folded.rejected)
            arrived, more = [], folded.more
    spent.whole_s, spent.cpu_s = clock() - start, time.process_time() - cpu
    return spent


def measure(folder: Path) -> dict[str, Any]:
    tune_for_many_rows()
    made, size = load(folder), load_size(folder)
    once(cuts(made)[:8], made.context)  # what is loaded and remembered with the first use of it
    spent = once(cuts(made), made.context)
    measured = {
        "react_events_s": round(spent.events / spent.whole_s),
        "react_us": us(spent.whole_s, spent.events),
        "react_cpu_us": us(spent.cpu_s, spent.events),
        "react_decode_us": us(spent.decode_s, spent.events),
        "react_fold_us": us(spent.fold_s, spent.events),
        "react_encode_us": us(spent.encode_s, spent.events),
        "events": spent.events,
        "outputs_per_event": round(spent.outputs / spent.events, 3),
        "rows_per_event": round(spent.rows / spent.events, 3),
        "rejected": spent.rejected,
        "mix": mix(made.events),
        "portfolio": f"{size.debtors} debtors, {size.days} days, seed {size.seed}",
    }
    measured |= learning(cuts(made), made.context)
    if size.ledger:
        ledger = build_ledger(Path(size.ledger))
        spent = once(cuts(ledger), ledger.context)
        measured |= {
            "ledger_react_events_s": round(spent.events / spent.whole_s),
            "ledger_react_us": us(spent.whole_s, spent.events),
            "ledger_events": spent.events,
            "ledger_outputs_per_event": round(spent.outputs / spent.events, 3),
        }
    return measured


def learning(slices: Sequence[Cut], context: ContextSet) -> dict[str, float]:
    """What the learner spends on each example, a hundred at a time, and how many examples an event leads to."""
    books, outputs = [DebtorBrain() for _ in range(PARTITIONS)], []
    now: list[datetime | None] = [None] * PARTITIONS
    events = 0
    for cut in slices:
        now[cut.partition] = cut.tick.time if cut.tick else now[cut.partition]
        folded = books[cut.partition].fold(decoded(cut), now[cut.partition], context, replay=False, wakes=1 << 30)
        books[cut.partition].keep(folded)
        outputs += [output for output in folded.outputs if output.topic == "training-examples"]
        events += len(cut.events)
    learn(outputs, context)  # for what is loaded with the first label: river takes a second
    cpu = time.process_time()
    learn(outputs, context)
    spent = time.process_time() - cpu
    return {
        "learner_cpu_us_per_example": us(spent, max(1, len(outputs))),
        "examples_per_event": round(len(outputs) / events, 4),
    }


def learn(outputs: Sequence[Output], context: ContextSet) -> None:
    """Read, learn and encode what is learned from so many examples, a hundred at a time."""
    learner = LearnerBrain()
    for number in range(0, len(outputs), EXAMPLES):
        arrived = []
        for output in outputs[number : number + EXAMPLES]:
            value, headers = encode(output)
            event = decode(output.topic, output.key.encode(), value, headers)
            if isinstance(event, Event):
                arrived.append(Received(output.topic, 0, 0, event))
        learned = learner.fold(arrived, None, context, replay=False)
        learner.keep(learned)
        for output in learned.outputs:
            encode(output)


def us(seconds: float, events: int) -> float:
    """Microseconds per event."""
    return round(1e6 * seconds / events, 1)
