"""The engine on Apache Kafka: kills, failed commits and zombies lose and double nothing, and no tick precedes its cut."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.settings import Settings
from tests.integration.support.portfolio import Load, deployment, header, read_all, rows, toy_worker, truth, wait_for
from tests.kafka.broker import KafkaBroker


def outputs(settings: Settings) -> list[str]:
    return [header(message, "ce_causationid") for message in read_all(settings, "alerts")]


def journal(settings: Settings) -> list[dict[str, Any]]:
    return [orjson.loads(message.value() or b"") for message in read_all(settings, "journal")]


def assert_exactly_once(settings: Settings, expected: int) -> None:
    causes = outputs(settings)
    assert len(causes) == len(set(causes)) == expected
    assert rows(settings) == truth(settings)


def assert_runs_join(settings: Settings) -> None:
    """Each slice begins where the one before ended, and its number follows."""
    for partition in range(settings.partitions):
        slices = sorted(
            (s for s in journal(settings) if s["agent"] == "debtor" and s["partition"] == partition), key=lambda s: s["number"]
        )
        assert [s["number"] for s in slices] == list(range(1, len(slices) + 1))
        at: dict[str, int] = {}
        for slice_ in slices:
            for run in slice_["runs"]:
                assert run["start"] == at.get(run["topic"], 0)
                at[run["topic"]] = run["end"]


def assert_ticks_follow_their_cuts(settings: Settings) -> None:
    ends = {}
    for message in read_all(settings, "clock"):
        if header(message, "ce_type") == "duewatch.clock.ticked.v1":
            tick = orjson.loads(message.value() or b"")
            ends[message.partition(), tick["number"]] = tick["ends"]
    applied = 0
    for partition in range(settings.partitions):
        slices = sorted(
            (s for s in journal(settings) if s["agent"] == "debtor" and s["partition"] == partition), key=lambda s: s["number"]
        )
        at, last = {}, -1
        for slice_ in slices:
            at.update({run["topic"]: run["end"] for run in slice_["runs"]})
            if slice_["tick"] is not None:
                applied += 1
                assert slice_["tick"] > last
                last = slice_["tick"]
                assert all(at.get(topic, 0) >= end for topic, end in ends[partition, slice_["tick"]].items())
    assert applied > 0


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_when_workers_die_freeze_and_commits_fail(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    chance = random.Random(7)
    workers = [toy_worker(settings, tmp_path / f"w{i}.log", 0.02) for i in (0, 1)]
    load = Load(settings, per_second=400)
    load.start()
    try:
        wait_for(lambda: len(outputs(settings)) > 1000, 60)
        for fault, number in (("kill", 0), ("freeze", 1), ("kill", 1), ("stop", 0)):
            match fault:
                case "kill":
                    workers[number].kill()
                case "stop":
                    assert workers[number].stop(20) == 0
                case "freeze":
                    workers[number].signal(signal.SIGSTOP)
                    time.sleep(9)
                    workers[number].signal(signal.SIGCONT)
            if not workers[number].running:
                workers[number] = toy_worker(settings, tmp_path / f"w{number}.log", 0.02)
            time.sleep(chance.uniform(3, 6))
        load.stop()
        wait_for(lambda: len(outputs(settings)) >= load.sent, 60, 1.0)
        time.sleep(2)
    finally:
        load.ended.set()
        for worker in workers:
            worker.kill()
    assert_exactly_once(settings, load.sent)
    assert_runs_join(settings)
    assert_ticks_follow_their_cuts(settings)
