"""Latency at a steady rate: from `produce` of an event to a read-committed consumer that has the output which it caused.

Broker, worker (with its clock and learner) and this process share the machine. The rows of the portfolio are there before:
the history is sent first, except that of every fourth debtor, so that limits are opened while it is measured. Events are recorded
now, and come mixed, as from a portfolio that has so many; ``in_runs`` is what happens when all invoices of a day come in one run.
``latency_*`` is that of limit changes, ``latency_any_*`` of the first output of an event, whatever it is.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from confluent_kafka import Producer

from schemas.events.envelope import Output
from schemas.registry import TOPICS
from streams.kafka.codec import encode, partition_of
from streams.kafka.producer import send as send_one
from streams.kafka.topics import full_name, partitions_of
from streams.settings import Settings
from tests.bench import kafka
from tests.bench.figures import percentile
from tests.bench.machine import Stopwatch
from tests.bench.workload import PARTITIONS, Size, SourceRecord, Workload, load, load_size, postpone, spread_over_days, stamp

ANSWERS = ("limit-changes", "scores", "alerts")
SETTLE_S = 3.0
WARM_UP_S = 3.0
"""Seconds at the rate before anything counts."""
OTHERS = (12, 48)


class Traffic:
    """The history that is sent beforehand, and the events that are sent at the rate: spread over their days, or ``in_runs``."""

    def __init__(self, workload: Workload, count: int, *, in_runs: bool = False) -> None:
        days = (datetime.now(UTC) - workload.events[-1].recorded).days
        count = min(count, len(workload.events) * 3 // 4)
        self.before = [postpone(e, days) for e in workload.events[:-count] if partition_of(e.key, 4) != 0]
        # Moved beforehand: while it is measured, this process should take little of the machine.
        during = workload.events[-count:]
        self.during = [postpone(e, days) for e in (during if in_runs else spread_over_days(during))]

    def now(self, number: int) -> SourceRecord:
        """The event of that number, recorded now."""
        return stamp(self.during[number], datetime.now(UTC))


def measure(folder: Path) -> dict[str, Any]:
    workload, size = load(folder), load_size(folder)
    broker = kafka.broker(folder)
    turns = [at_rate(broker, folder, workload, size, PARTITIONS, size.latency_s) for _ in range(size.latency_turns)]
    main = sorted(turns, key=lambda turn: turn["latency_p99_ms"])[len(turns) // 2]
    table = [row(PARTITIONS, main)]
    table += [row(n, at_rate(broker, folder, workload, size, n, size.other_latency_s)) for n in OTHERS]
    runs = at_rate(broker, folder, workload, size, PARTITIONS, size.other_latency_s, in_runs=True)
    table.append(row(f"{PARTITIONS}, in runs", runs))
    figures = {name: value for name, value in main.items() if name.startswith("latency")}
    return figures | {"latency_p99_ms_by_turn": [turn["latency_p99_ms"] for turn in turns], "partitions": table}


def row(partitions: int | str, figures: dict[str, Any]) -> dict[str, Any]:
    """A line of the table."""
    cells = {name: value for name, value in figures.items() if name != "latency_answers"}
    return {"partitions": partitions, **cells}


def at_rate(
    broker: kafka.Broker, folder: Path, workload: Workload, size: Size, partitions: int, seconds: float, *, in_runs: bool = False
) -> dict[str, Any]:
    """Measure one deployment: send the history, then events at the rate."""
    subfolder = kafka.run_folder(folder, f"at{partitions}")
    settings = kafka.deployment(broker.bootstrap, subfolder, subfolder.name, partitions=partitions, clock="leader")
    send_policy(settings, workload)
    traffic = Traffic(workload, int(size.rate * (seconds + WARM_UP_S)), in_runs=in_runs)
    kafka.send(settings, [in_partition(event, partitions) for event in traffic.before])
    with kafka.workers(settings, subfolder) as workers:
        workers.start("debtor", "learner")
        with kafka.journal(settings) as journal:
            journal.wait_for(len(traffic.before), workers)
        time.sleep(SETTLE_S)
        pids = [("worker", workers.children[0].pid), ("learner", workers.children[-1].pid), ("broker", broker.pid)]
        pids.append(("bench", os.getpid()))
        with Listener(settings) as listener:
            sender = Sender(settings, traffic, size.rate)
            sender.send(int(size.rate * WARM_UP_S))
            watch, committed = Stopwatch(pids), commits(workers.ports[0])
            sender.send(len(traffic.during))
            usage, done = watch.read(), commits(workers.ports[0]).since(committed)
            time.sleep(SETTLE_S)
    sent_at = {event_id: at for event_id, at in sender.sent.items() if at >= sender.counts_from}
    answers = listener.latencies(sent_at)
    return {
        **percentiles("latency", answers["limit-changes"]),
        **percentiles("latency_any", first_answers(answers.values())),
        "latency_answers": {topic: len(ms) for topic, ms in answers.items()},
        "events_s": round(len(sent_at) / usage["wall"]),
        "slices_s": round(done.slices / usage["wall"]),
        "commit_ms": round(1000 * done.seconds / max(1, done.slices), 1),
        "worker_cpu_percent": round(100 * usage["worker"] / usage["wall"]),
        "learner_cpu_percent": round(100 * usage["learner"] / usage["wall"]),
        "broker_cpu_percent": round(100 * usage["broker"] / usage["wall"]),
        "bench_cpu_percent": round(100 * usage["bench"] / usage["wall"]),
    }


class Commits(NamedTuple):
    """A number of slices' transactions, and how long they took together."""

    slices: float
    seconds: float

    def since(self, before: Commits) -> Commits:
        return Commits(self.slices - before.slices, self.seconds - before.seconds)


def commits(port: int) -> Commits:
    """What a worker has committed for the debtor agent, by its own metrics."""
    text = kafka.text(port, "/metrics")
    return Commits(*(kafka.metric(text, f'duewatch_commit_seconds_{name}{{agent="debtor"}}') for name in ("count", "sum")))


def percentiles(name: str, ms: dict[str, float]) -> dict[str, float]:
    values = list(ms.values())
    return {f"{name}_p50_ms": round(percentile(values, 0.5), 1), f"{name}_p99_ms": round(percentile(values, 0.99), 1)}


def first_answers(answers: Iterable[dict[str, float]]) -> dict[str, float]:
    """Latency of the first output of each event, whichever topic it went to."""
    first: dict[str, float] = {}
    for by_event in answers:
        for event_id, ms in by_event.items():
            first[event_id] = min(ms, first.get(event_id, ms))
    return first


def in_partition(event: SourceRecord, partitions: int) -> SourceRecord:
    """The event in the partition that it has among so many."""
    return event._replace(partition=partition_of(event.key, partitions))


def send_policy(settings: Settings, workload: Workload) -> None:
    """The workload's policy, which acts: a new deployment only proposes limits."""
    at = datetime.now(UTC)
    policy = workload.context.policy.model_copy(update={"action": "act"})
    value, headers = encode(Output("credit-policies", "", "duewatch.policy.published.v1", "bench-policy", at, at, policy))
    send_one(settings, "credit-policies", b"policy", value, headers)


class Sender:
    """Sends at a rate; ``sent``: event id -> when (seconds)."""

    def __init__(self, settings: Settings, traffic: Traffic, rate: int) -> None:
        self._settings, self._traffic, self._rate = settings, traffic, rate
        self._producer = Producer({"bootstrap.servers": settings.bootstrap, "linger.ms": 1, "enable.idempotence": True})
        self._number = 0
        self.sent: dict[str, float] = {}
        self.counts_from = 0.0
        self.done = False

    def send(self, until: int) -> None:
        """Send events up to that number, each when its time has come. What was sent before this call does not count."""
        began, first = time.perf_counter(), self._number
        self.counts_from = time.time()
        while self._number < until:
            due = min(until, first + int((time.perf_counter() - began) * self._rate))
            while self._number < due:
                self._send_one(in_partition(self._traffic.now(self._number), self._settings.partitions))
            self._producer.poll(0)
            time.sleep(0.001)
        self._producer.flush()
        self.done = until == len(self._traffic.during)

    def _send_one(self, event: SourceRecord) -> None:
        topic = full_name(self._settings.prefix, event.topic)
        self.sent[dict(event.headers)["ce_id"].decode()] = time.time()
        self._producer.produce(topic, event.value, event.key, event.partition, headers=list(event.headers))
        self._number += 1


class Background(threading.Thread):
    """A thread that runs inside a ``with`` block; leaving the block sets ``_ended`` and waits for it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


class Listener(Background):
    """Notes when the first committed output of each cause arrived, by topic."""

    def __init__(self, settings: Settings, topics: Sequence[str] = ANSWERS) -> None:
        super().__init__()
        self._names = {full_name(settings.prefix, topic): topic for topic in topics}
        places = [
            (name, number) for name, topic in self._names.items() for number in range(partitions_of(TOPICS[topic], settings))
        ]
        self._consumer = kafka.follower(settings.bootstrap, places, wait_ms=10)
        self._arrivals: dict[str, dict[str, float]] = {topic: {} for topic in topics}

    def run(self) -> None:
        while not self._ended.is_set():
            # One at a time: consume() would wait for more, and that would count as latency.
            message = self._consumer.poll(0.05)
            if message is not None and message.error() is None:
                cause = dict(message.headers() or [])["ce_causationid"].decode()  # type: ignore[union-attr]
                self._arrivals[self._names[message.topic() or ""]].setdefault(cause, time.time())
        self._consumer.close()

    def latencies(self, sent_at: dict[str, float]) -> dict[str, dict[str, float]]:
        """Milliseconds by topic and event."""
        return {
            topic: {event_id: 1000 * (at - sent_at[event_id]) for event_id, at in arrivals.items() if event_id in sent_at}
            for topic, arrivals in self._arrivals.items()
        }
