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
from streams.kafka.codec import encode
from streams.kafka.producer import fenced_producer
from streams.process.garbage import tune_for_many_rows
from tests.bench import kafka
from tests.bench.figures import Commit, commit_rate
from tests.bench.workload import PARTITIONS, Workload, cuts, decode_cut, load

JOURNAL_BYTES, POSITION_BYTES = 500, 250
"""About the sizes of the two records that the engine itself adds to each slice."""

MessageSizes = list[tuple[int, int, int]]
"""For each message of a slice: bytes of its key, its value and its headers."""


class Slice(tuple[int, MessageSizes]):
    """The number of a slice's events, and the sizes of what is written for them."""

    __slots__ = ()


def writes_by_partition(workload: Workload) -> list[list[Slice]]:
    """For each partition, what each of its slices writes."""
    books, slices = [DebtorBrain() for _ in range(PARTITIONS)], [list[Slice]() for _ in range(PARTITIONS)]
    now: list[datetime | None] = [None] * PARTITIONS
    for cut in cuts(workload):
        if cut.tick is not None:
            now[cut.partition] = cut.tick.time
        result = books[cut.partition].fold(
            decode_cut(cut), now[cut.partition], workload.context, replay=False, max_deadlines=1 << 30
        )
        books[cut.partition].on_committed(result)
        sizes: MessageSizes = [(len(key), len(value or b""), 0) for key, value in result.rows.items()]
        for output in result.outputs:
            value, headers = encode(output)
            sizes.append((len(output.key), len(value), sum(len(name) + len(text) for name, text in headers)))
        sizes += [(12, POSITION_BYTES, 0), (1, JOURNAL_BYTES, 250)]
        slices[cut.partition].append(Slice((len(cut.events), sizes)))
    return slices


def run(bootstrap: str, name: str, partition: int, slices: Sequence[Slice], commits: list[Commit]) -> None:
    """Consume and write one partition's slices."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": name, "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(f"{name}-events", partition, 0)])
    producer = fenced_producer({"bootstrap.servers": bootstrap}, f"{name}-{partition}")
    filler = b"x" * (1 << 20)
    count_waiting = 0
    for count, sizes in slices:
        while count_waiting < count:
            count_waiting += len(consumer.consume(count - count_waiting, 1.0))
        count_waiting -= count
        producer.begin_transaction()
        for key, value, headers in sizes:
            filler_headers: list[tuple[str, str | bytes | None]] | None = [("ce", filler[:headers])] if headers else None
            producer.produce(f"{name}-written", filler[:value], filler[:key], partition, headers=filler_headers)
        producer.commit_transaction(60.0)
        commits.append(Commit(time.time(), count))
    consumer.close()


def measure(folder: Path) -> dict[str, Any]:
    tune_for_many_rows()
    workload = load(folder)
    slices = writes_by_partition(workload)
    broker, name = kafka.broker(folder), kafka.run_folder(folder, "ceiling").name
    kafka.make_topics(broker.bootstrap, {f"{name}-events": PARTITIONS, f"{name}-written": PARTITIONS})
    kafka.produce(broker.bootstrap, ((f"{name}-events", event) for event in workload.events))
    commits: list[Commit] = []
    threads = [
        threading.Thread(target=run, args=(broker.bootstrap, name, partition, part, commits), daemon=True)
        for partition, part in enumerate(slices)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    messages = sum(len(sizes) for part in slices for _, sizes in part)
    return {
        "ceiling_events_s": round(commit_rate(commits)),
        "messages_per_event": round(messages / len(workload.events), 2),
        "bytes_per_event": round(sum(sum(size) for part in slices for _, sizes in part for size in sizes) / len(workload.events)),
    }
