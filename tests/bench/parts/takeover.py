"""After a kill -9: how long until the other worker has committed a slice of each partition that the dead one had.

Two workers, debtors and learner in both, at a steady rate. One of them, each in turn, is killed, and a new one takes its place.
Counted is from the kill until a read-committed consumer has a journal record of the partition, with events in it, that was made
after the kill. Kafka learns of the death when the session times out: most of it is that. `takeover_s` is the worst of all
partitions and kills, `takeover_median_s` the median of the kills' worst.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer

from streams.kafka.topics import full_name
from streams.settings import Settings
from tests.bench import kafka
from tests.bench.parts.latency import Background, Sender, Traffic, send_policy
from tests.bench.workload import load, load_size

SETTLE_S = 3.0
PHASE_S = 0.7
"""Each kill comes so much later after all is settled than the one before: heartbeats are a quarter of the session apart."""
ROOM_S = 40.0
"""Seconds from one kill to the next at most: the events must last for so long."""
GIVE_UP_S = 90.0


class Outage(NamedTuple):
    """One kill: seconds until the other worker had committed something, by partition."""

    by_partition: dict[int, float]

    @property
    def worst(self) -> float:
        return max(self.by_partition.values())


def measure(folder: Path) -> dict[str, Any]:
    workload, size = load(folder), load_size(folder)
    settings = kafka.deployment(kafka.broker(folder).bootstrap, folder, "takeover", clock="leader")
    send_policy(settings, workload)
    traffic = Traffic(workload, int(size.takeover_rate * size.takeovers * ROOM_S))
    kafka.send(settings, traffic.before)
    with kafka.workers(settings, folder) as workers, kafka.journal(settings) as journal:
        workers.start("all", "all")
        workers.wait_until_ready()
        journal.wait_for(len(traffic.before), workers)
        wait_until_learned(journal)
        with Steady(settings, traffic, size.takeover_rate):
            outages = [measure_kill(workers, settings, number) for number in range(size.takeovers)]
    return summary(outages, settings.session_timeout_s)


def wait_until_learned(journal: kafka.Journal) -> None:
    """Return once the learner has nothing left of the history: while it folds, the debtors of its worker wait."""
    count = -1
    while journal.learned > count:
        count, until = journal.learned, time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            journal.read()


def summary(outages: list[Outage], session_timeout_s: float) -> dict[str, Any]:
    """The worst of all, the median of the kills, and a line for each."""
    return {
        "takeover_s": round(max(outage.worst for outage in outages), 1),
        "takeover_median_s": round(statistics.median(outage.worst for outage in outages), 1),
        "takeover_session_timeout_s": session_timeout_s,
        "takeovers": [
            {
                "kill": number,
                "partitions": ", ".join(map(str, sorted(outage.by_partition))),
                "first_s": round(min(outage.by_partition.values()), 1),
                "last_s": round(outage.worst, 1),
            }
            for number, outage in enumerate(outages, 1)
        ],
    }


def measure_kill(workers: kafka.Workers, settings: Settings, number: int) -> Outage:
    """Kill the older worker, wait for the other, and put a new one in its place."""
    time.sleep(SETTLE_S + number * PHASE_S)
    victim, port = workers.children.pop(0), workers.ports.pop(0)
    partitions = set(kafka.page(port, "/health/ready")["partitions"]["debtor"])
    topic = full_name(settings.prefix, "journal")
    # Opened before, so that what it reads after the kill is not late.
    consumer = kafka.follower(settings.bootstrap, [(topic, partition) for partition in partitions])
    try:
        drain(consumer)
        began = time.time()
        victim.kill()
        outage = Outage(wait_for_commits(consumer, partitions, began, time.time(), workers))
    finally:
        consumer.close()
    workers.start("all")
    workers.wait_until_ready()
    return outage


def drain(consumer: Consumer) -> None:
    """Read up to the present; more comes all the time."""
    now = time.time()
    while messages := consumer.consume(1_000, 0.5):
        if messages[-1].timestamp()[1] / 1000 >= now:
            return


def wait_for_commits(
    consumer: Consumer, partitions: set[int], began: float, dead: float, workers: kafka.Workers
) -> dict[int, float]:
    """Seconds from ``began`` to the first slice of each partition that was made when the killed worker was ``dead``."""
    seconds: dict[int, float] = {}
    while set(seconds) != partitions:
        workers.check()
        if time.time() - began > GIVE_UP_S:
            log = workers.children[0].log_tail()
            raise kafka.StalledError(
                f"{sorted(partitions - set(seconds))} idle {GIVE_UP_S:g} s after the kill. The other's log ends:\n{log}"
            )
        message = consumer.poll(0.1)
        if message is None or message.error() is not None or message.timestamp()[1] / 1000 <= dead:
            continue
        slice_ = orjson.loads(message.value() or b"")
        if slice_["agent"] == "debtor" and slice_["applied"]:
            seconds.setdefault(slice_["partition"], time.time() - began)
    return seconds


class Steady(Background):
    """A background that sends at the rate until it is left or out of events."""

    def __init__(self, settings: Settings, traffic: Traffic, rate: int) -> None:
        super().__init__()
        self._sender, self._rate, self._last = Sender(settings, traffic, rate), rate, len(traffic.during)
        self._sent = 0

    def run(self) -> None:
        while not self._ended.is_set() and self._sent < self._last:
            self._sent = min(self._last, self._sent + self._rate)
            self._sender.send(self._sent)
