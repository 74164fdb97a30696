"""Take-over: how long until a worker serves debtors and open items that it finds in Kafka, and what they weigh in memory.

`restore_s` counts from the start of the process until `/health/ready` says that all partitions are served: Python, Faust, joining
the group, fencing, reading. `restore_empty_s` is the same with nothing to read. Bytes are differences of the worker's resident
memory: headers only against nothing, then headers and items against headers only. Rows are clones of those that the workload
leaves behind; an open item is its own row and that of its features.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Producer

from agents.debtor.keys import SEPARATOR
from streams.kafka.codec import partition_of
from streams.kafka.topics import full_name
from streams.settings import Settings
from tests.bench import kafka
from tests.bench.machine import resident_bytes
from tests.bench.rows import Templates, clone_rows, make_templates
from tests.bench.workload import PARTITIONS, load, load_size
from tests.kafka.broker import KafkaBroker

SETTLE_S = 1.0


class TakeOver(NamedTuple):
    seconds: float
    rows: int
    resident: int
    mean_bytes: float
    """The mean size of a row's key and value as they are written."""


def measure(folder: Path) -> dict[str, Any]:
    size, clones = load_size(folder), make_templates(load(folder))
    debtors, items = size.restore_debtors, size.restore_items
    # A broker of its own, warm as that of the other parts, which does not wait for more members: there is one.
    with KafkaBroker() as broker:
        kafka.warm_up(broker.bootstrap, size.warm_up_s / 2)
        empty = take_over(broker, folder, clones, 0, 0)
        headers = take_over(broker, folder, clones, debtors, 0)
        full = take_over(broker, folder, clones, debtors, items)
    return {
        "restore_s": round(full.seconds, 1),
        "restore_rows": full.rows,
        "restore_empty_s": round(empty.seconds, 1),
        "restore_debtors": debtors,
        "restore_items": items,
        "restore_mean_row_bytes": round(full.mean_bytes),
        "bytes_per_debtor": round((headers.resident - empty.resident) / debtors),
        "bytes_per_item": round((full.resident - headers.resident) / items),
        "restore_resident_mb": round(full.resident / (1 << 20)),
    }


def take_over(broker: KafkaBroker, folder: Path, clones: Templates, debtors: int, items: int) -> TakeOver:
    """Measure a worker that takes over a deployment with so many rows."""
    settings = kafka.deployment(broker.bootstrap, folder, f"restore-{debtors}-{items}")
    rows, size = fill(settings, clones, debtors, items)
    with kafka.workers(settings, folder) as workers:
        began = time.perf_counter()
        workers.start("all")
        workers.wait_until_ready()
        seconds = time.perf_counter() - began
        time.sleep(SETTLE_S)
        return TakeOver(seconds, rows, resident_bytes(workers.children[0].pid), size / max(1, rows))


def fill(settings: Settings, clones: Templates, debtors: int, items: int) -> tuple[int, int]:
    """Write the rows into the state topic; returns how many, and how many bytes."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap,
            "linger.ms": 50,
            "batch.size": 1 << 20,
            "queue.buffering.max.messages": 5_000_000,
        }
    )
    topic = full_name(settings.prefix, "debtor-state")
    rows = size = 0
    if debtors:
        for own_key, value in clones.own:
            for partition in range(PARTITIONS):
                producer.produce(topic, value, own_key.encode(), partition)
    for customer, row_key, value in clone_rows(clones, debtors, items):
        key = f"{customer}{SEPARATOR}{row_key}".encode()
        producer.produce(topic, value, key, partition_of(customer.encode(), PARTITIONS))
        rows += 1
        size += len(key) + len(value)
        if rows % 20_000 == 0:
            producer.poll(0)
    if missing := producer.flush(120):
        raise RuntimeError(f"the broker did not take {missing} of {rows} rows within two minutes")
    return rows, size
