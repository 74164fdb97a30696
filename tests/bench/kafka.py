"""Apache Kafka with a deployment of ours on it: events sent, the clock's ticks, workers as processes, what they committed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.clock.writer import ClockWriter
from streams.kafka.producer import fenced_producer
from streams.kafka.topics import create_topics, full_name
from streams.process.affinity import CORES
from streams.process.children import FAULT_HANDLER, Child, free_port, spawn
from streams.settings import Settings
from tests.bench.figures import Commit
from tests.bench.workload import PARTITIONS, SourceRecord, Workload
from tests.kafka.broker import KafkaBroker

READY_S = 90.0
BROKER = "broker.json"
STALLED_S = 60.0
ANYWHERE = "BENCH_ANYWHERE"
"""Where this variable is set, no worker stays on a core: to see what ``DUEWATCH_CORE`` gives."""


class StalledError(RuntimeError):
    """No progress: nothing more was committed. The message holds the end of the worker's log."""


class Broker(NamedTuple):
    """A running broker: its address and its process id."""

    bootstrap: str
    pid: int


@contextmanager
def shared_broker(folder: Path, warm_up_s: float) -> Iterator[None]:
    """Start one broker for all parts of a run, found through ``folder``; the names of topics keep the parts apart.

    One that runs for long has compiled what it does often. A fresh JVM spends as much on that as on its work, for a minute, and
    would be measured instead; so it gets something to do first, alike for all that follow. It waits for the members of a group
    before it assigns partitions, and has a heap of 1 GB, as Kafka does and has by default.
    """
    with KafkaBroker(heap="1g", settings={"group.initial.rebalance.delay.ms": "3000"}) as kafka:
        (folder / BROKER).write_bytes(orjson.dumps([kafka.bootstrap, kafka.pid]))
        warm_up(kafka.bootstrap, warm_up_s)
        yield


def broker(folder: Path) -> Broker:
    """The broker that ``shared_broker`` started for this run."""
    return Broker(*orjson.loads((folder / BROKER).read_bytes()))


def warm_up(bootstrap: str, seconds: float) -> None:
    """Work like that of the parts: small and large transactions over a few topics, a plain producer, and a reader of it all."""
    topics = [f"warm-up-{number}" for number in range(4)]
    make_topics(bootstrap, dict.fromkeys(topics, PARTITIONS))
    reader = follower(bootstrap, [(topic, number) for topic in topics for number in range(PARTITIONS)])
    producers = [fenced_producer({"bootstrap.servers": bootstrap}, f"warm-up-{number}") for number in range(PARTITIONS)]
    plain = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "enable.idempotence": True})
    sizes = cycle([5] * 20 + [1_000])
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for number in range(100):
            plain.produce(topics[number % len(topics)], b"x" * 700, b"key", number % PARTITIONS)
        plain.poll(0)
        count = next(sizes)
        for number, producer in enumerate(producers):
            producer.begin_transaction()
            for topic in topics:
                for _ in range(count):
                    producer.produce(topic, b"x" * 500, b"key", number)
            producer.commit_transaction()
        reader.consume(1000, 0.0)
    plain.flush(60)
    reader.close()


def deployment(bootstrap: str, folder: Path, prefix: str = "bench", **changes: Any) -> Settings:
    """A prefix with its topics. By default no worker writes ticks: they are the workload's, in its own time."""
    values = {"partitions": PARTITIONS, "clock": "replay", "mode": "live", "data_dir": folder / prefix} | changes
    settings = Settings(prefix=prefix, bootstrap=bootstrap, **values)
    create_topics(settings)
    return settings


def run_folder(folder: Path, name: str) -> Path:
    """A new folder, whose name is free on the broker, too: parts are measured in turns."""
    path = folder / f"{name}-{uuid4().hex[:8]}"
    path.mkdir()
    return path


def send(settings: Settings, events: Sequence[SourceRecord]) -> None:
    """Send events to the deployment's topics as fast as possible, each to the partition that it names."""
    names = {event.topic: full_name(settings.prefix, event.topic) for event in events}
    produce(settings.bootstrap, ((names[event.topic], event) for event in events))


def produce(bootstrap: str, records: Iterator[tuple[str, SourceRecord]]) -> None:
    """Send events to the given topics as fast as possible."""
    # Idempotent: without it a retry may put a batch behind the one that follows it.
    limits = {"enable.idempotence": True, "queue.buffering.max.messages": 2_000_000}
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, **limits})
    for number, (topic, event) in enumerate(records):
        producer.produce(topic, event.value, event.key, event.partition, headers=list(event.headers))
        if number % 10_000 == 0:
            producer.poll(0)
    missing = producer.flush(60)
    if missing:
        raise RuntimeError(f"the broker did not take {missing} of the events within a minute")


def tick(settings: Settings, workload: Workload) -> None:
    """Write the context and all of the workload's ticks."""
    clock = ClockWriter(settings)
    for number, first in enumerate(workload.ticks[0]):
        ends = [ticks[number].ends for ticks in workload.ticks]
        clock.write(number, first.time, ends, {}, workload.context)


def make_topics(bootstrap: str, partitions: dict[str, int], config: dict[str, str] | None = None) -> None:
    """Create topics outside the registry: those of the peers and of the ceiling."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = [NewTopic(name, count, 1, config=config or {}) for name, count in partitions.items()]
    for answer in admin.create_topics(topics).values():
        answer.result()


@dataclass
class Workers:
    """Workers of a deployment as processes, each with a web server of its own."""

    settings: Settings
    logs: Path
    module: str = "streams.cli"
    children: list[Child] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    started: int = 0

    def start(self, *runs: str) -> None:
        """Start a worker for each of ``runs``: all, debtor or learner."""
        for agents in runs:
            number, self.started = self.started, self.started + 1
            cores = [] if os.environ.get(ANYWHERE) else sorted(CORES)
            core = cores[number % len(cores)] if cores else None
            settings = self.settings.changed(web_port=free_port(), agents=agents, core=core)
            log = self.logs / f"{self.settings.prefix}-worker-{number}.log"
            argv = [sys.executable, "-m", "streams.cli" if agents == "learner" else self.module, "worker"]
            self.children.append(spawn(argv, settings.as_environment() | FAULT_HANDLER, log, name=f"{agents} {number}"))
            self.ports.append(settings.web_port)

    def wait_until_ready(self) -> None:
        """Return once all partitions are restored, by whichever worker has them."""
        deadline = time.monotonic() + READY_S
        while not self.ready():
            self.check()
            if time.monotonic() > deadline:
                raise StalledError(f"no worker was ready after {READY_S:g} s. The log ends:\n{self.children[0].log_tail()}")
            time.sleep(0.05)

    def ready(self) -> bool:
        owned: list[int] = []
        for port in self.ports:
            status = page(port, "/health/ready")
            if status is None or not status["ready"]:
                return False
            owned += status["partitions"].get("debtor", [])
        return len(owned) == self.settings.partitions

    def check(self) -> None:
        """Raise StalledError when a worker has ended."""
        for child in self.children:
            if not child.running:
                raise StalledError(f"{child.name} ended with status {child.returncode}. Its log ends:\n{child.log_tail()}")

    def first_stacks(self) -> str:
        """The stacks of the first worker's threads; the worker ends."""
        return self.children[0].stacks() + "\n" if self.children else ""

    def stop(self) -> None:
        for child in self.children:
            child.stop(20.0)
        self.children.clear()
        self.ports.clear()


@contextmanager
def workers(settings: Settings, logs: Path, module: str = "streams.cli") -> Iterator[Workers]:
    """Workers that are stopped in the end, whatever happens."""
    processes = Workers(settings, logs, module)
    try:
        yield processes
    finally:
        processes.stop()


def page(port: int, path: str) -> Any:
    """A page of a local web server as JSON; None when it does not answer yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with suppress(ValueError):
            return json.loads(error.read())
        return None
    except (OSError, ValueError):
        return None


def text(port: int, path: str) -> str:
    """A page of a local web server. Raises OSError."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return str(answer.read().decode())


def metric(text: str, beginning: str) -> float:
    """The sum of all of Prometheus' lines that begin so.

    >>> metric('a_total{x="1"} 2.0' + chr(10) + 'a_total{x="2"} 3.0', "a_total{")
    5.0
    """
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(beginning))


def follower(bootstrap: str, places: Sequence[tuple[str, int]], wait_ms: int = 20) -> Consumer:
    """A consumer of these topic-partitions from their beginnings: committed records only, outside any group."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": wait_ms,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in places])
    return consumer


class Journal:
    """What the debtor agent has committed, as its journal tells.

    See "The journal makes it repeatable" in streams/engine/README.md.
    """

    def __init__(self, settings: Settings) -> None:
        topic = full_name(settings.prefix, "journal")
        self._consumer = follower(settings.bootstrap, [(topic, number) for number in range(settings.partitions)])
        self.commits: list[Commit] = []
        self.partitions: dict[int, int] = {}
        """Events by partition."""
        self.outputs = self.rejected = self.events = self.learned = 0

    def read(self, wait_s: float = 0.1) -> int:
        """Take what there is; returns how many events have been committed by now."""
        for message in self._consumer.consume(2_000, wait_s):
            self._take(message)
        return self.events

    def _take(self, message: Message) -> None:
        if message.error() is not None:
            raise KafkaException(message.error())
        entry = orjson.loads(message.value() or b"")
        count = entry["applied"] + entry["duplicates"] + entry["rejected"]
        if entry["agent"] != "debtor":
            self.learned += count
            return
        self.events += count
        self.outputs += entry["outputs"]
        self.rejected += entry["rejected"]
        self.partitions[entry["partition"]] = self.partitions.get(entry["partition"], 0) + count
        if count:
            self.commits.append(Commit(message.timestamp()[1] / 1000, count))

    def wait_for(self, events: int, processes: Workers) -> None:
        """Read until so many events are committed. Raises StalledError when there is no progress any more."""
        last, moved_at = self.events, time.monotonic()
        while self.read() < events:
            processes.check()
            if self.events > last:
                last, moved_at = self.events, time.monotonic()
            if time.monotonic() - moved_at > STALLED_S:
                raise StalledError(
                    f"{processes.first_stacks()}{self.events} of {events} events came, then none for {STALLED_S:g} s"
                )

    def close(self) -> None:
        self._consumer.close()


def first_rejection(settings: Settings) -> str:
    """The reason of the first dead letter: the workload has no broken events."""
    consumer = follower(settings.bootstrap, [(full_name(settings.prefix, "dead-letters"), 0)])
    try:
        message = consumer.poll(5.0)
        return str(orjson.loads(message.value() or b"{}").get("reason")) if message is not None else "no dead letter"
    finally:
        consumer.close()


def finish(child: Child, seconds: float, result: Path) -> Any:
    """What a program wrote into ``result`` before it ended. Raises StalledError with the end of its log where it did not."""
    with child, suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    if child.returncode or not result.exists():
        raise StalledError(f"{child.name} ended with status {child.returncode}. Its log ends:\n{child.log_tail()}")
    return orjson.loads(result.read_bytes())


@contextmanager
def journal(settings: Settings) -> Iterator[Journal]:
    with ExitStack() as stack:
        reader = Journal(settings)
        stack.callback(reader.close)
        yield reader
