"""The ceiling: what librdkafka and the broker do when nobody thinks. The same events are consumed, and what the pipeline would
write for them (as many messages, as large) is produced, one transaction per slice, a producer and a thread per partition.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from agents.debtor.brain import DebtorBrain
from streams.engine.restore import fenced_producer
from streams.kafka.codec import encode
from streams.process.garbage import tune_for_many_rows
from tests.bench import kafka
from tests.bench.figures import Commit, commit_rate
from tests.bench.workload import PARTITIONS, Workload, cuts, decoded, load

JOURNAL_BYTES, POSITION_BYTES = 500, 250
"""Of the two records that the engine itself adds to each slice, about."""

Written = list[tuple[int, int, int]]
"""Of each message of a slice: bytes of its key, its value, its headers."""


class Slice(tuple[int, Written]):
    """Number of events, and what is written for them."""

    __slots__ = ()


def written(made: Workload) -> list[list[Slice]]:
    """By partition: what each slice writes."""
    books, found = [DebtorBrain() for _ in range(PARTITIONS)], [list[Slice]() for _ in range(PARTITIONS)]
    now: list[datetime | None] = [None] * PARTITIONS
    for cut in cuts(made):
        if cut.tick is not None:
            now[cut.partition] = cut.tick.time
        folded = books[cut.partition].fold(decoded(cut), now[cut.partition], made.context, replay=False, wakes=1 << 30)
        books[cut.partition].keep(folded)
        sizes: Written = [(len(key), len(value or b""), 0) for key, value in folded.rows.items()]
        for output in folded.outputs:
            value, headers = encode(output)
            sizes.append((len(output.key), len(value), sum(len(name) + len(text) for name, text in headers)))
        sizes += [(12, POSITION_BYTES, 0), (1, JOURNAL_BYTES, 250)]
        found[cut.partition].append(Slice((len(cut.events), sizes)))
    return found


def run(bootstrap: str, name: str, partition: int, slices: Sequence[Slice], commits: list[Commit]) -> None:
    """Consume and write one partition's slices."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": name, "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(f"{name}-events", partition, 0)])
    producer = fenced_producer({"bootstrap.servers": bootstrap}, f"{name}-{partition}")
    filler = b"x" * (1 << 20)
    held = 0
    for count, sizes in slices:
        while held < count:
            held += len(consumer.consume(count - held, 1.0))
        held -= count
        producer.begin_transaction()
        for key, value, headers in sizes:
            told: list[tuple[str, str | bytes | None]] | None = [("ce", filler[:headers])] if headers else None
            producer.produce(f"{name}-written", filler[:value], filler[:key], partition, headers=told)
        producer.commit_transaction(60.0)
        commits.append(Commit(time.time(), count))
    consumer.close()


def measure(folder: Path) -> dict[str, Any]:
    tune_for_many_rows()
    made = load(folder)
    slices = written(made)
    broker, name = kafka.broker(folder), kafka.run_folder(folder, "ceiling").name
    kafka.make_topics(broker.bootstrap, {f"{name}-events": PARTITIONS, f"{name}-written": PARTITIONS})
    kafka.produce(broker.bootstrap, ((f"{name}-events", event) for event in made.events))
    commits: list[Commit] = []
    threads = [
        threading.Thread(target=run, args=(broker.bootstrap, name, partition, own, commits), daemon=True)
        for partition, own in enumerate(slices)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    messages = sum(len(sizes) for own in slices for _, sizes in own)
    return {
        "ceiling_events_s": round(commit_rate(commits)),
        "messages_per_event": round(messages / len(made.events), 2),
        "bytes_per_event": round(sum(sum(size) for own in slices for _, sizes in own for size in sizes) / len(made.events)),
    }
