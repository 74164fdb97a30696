"""A rebalance on Apache Kafka: what stays with a worker goes on, what moves is taken over properly, nothing is lost."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest

from tests.integration.support.portfolio import Load, deployment, toy_worker, wait_for
from tests.integration.test_engine import assert_exactly_once, assert_runs_join, outputs
from tests.kafka.broker import KafkaBroker


def logged(log_path: Path, event: str) -> list[int]:
    """The partitions of the debtor agent that a worker's log names with an event, in order."""
    lines = [line for line in log_path.read_text().splitlines() if f" {event} " in line and "agent=debtor" in line]
    return [int(re.findall(r"partition=(\d+)", line)[0]) for line in lines]


def kept_partitions(log_path: Path) -> list[list[int]]:
    """Of each assignment, the partitions that the debtor agent kept."""
    lines = [line for line in log_path.read_text().splitlines() if "partitions.assigned" in line and "agent=debtor" in line]
    return [kept_in(line) for line in lines]


def kept_in(line: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", line.partition("kept=[")[2].partition("]")[0])]


def holds(log_path: Path) -> set[int]:
    """The partitions that the debtor agent has and runs, by the worker's log."""
    partitions: set[int] = set()
    for line in log_path.read_text().splitlines():
        if "agent=debtor" not in line:
            continue
        if "partitions.assigned" in line:
            partitions = set(kept_in(line))
        elif match := re.search(r" partition\.(restored|dropped) .*\bpartition=(\d+)", line):
            (partitions.add if match[1] == "restored" else partitions.discard)(int(match[2]))
    return partitions


@pytest.mark.slow
def test_a_worker_that_comes_takes_its_share_and_the_other_goes_on_with_the_rest(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    logs = [tmp_path / "w0.log", tmp_path / "w1.log"]
    load = Load(settings, per_second=200)
    with toy_worker(settings, logs[0]) as first:
        wait_for(lambda: sorted(logged(logs[0], "partition.restored")) == [0, 1, 2, 3], 60)
        load.start()
        with toy_worker(settings, logs[1]) as second:
            wait_for(lambda: len(logged(logs[1], "partition.restored")) == 2, 60)
            moved_partitions = sorted(logged(logs[1], "partition.restored"))
            stayed = sorted({0, 1, 2, 3} - set(moved_partitions))
            wait_for(lambda: kept_partitions(logs[0])[-1] == stayed, 30)
            time.sleep(1)
            # When the second goes, the first takes back what it had, and keeps what it has.
            assert second.stop(20) == 0
        wait_for(lambda: len(logged(logs[0], "partition.restored")) == 6, 60)
        load.stop()
        wait_for(lambda: len(outputs(settings)) >= load.sent, 60, 1.0)
        assert first.stop(20) == 0
    assert sorted(logged(logs[0], "partition.restored")) == sorted([0, 1, 2, 3, *moved_partitions])
    # What moved may be fenced before its old owner hears of it; what stayed was never dropped.
    assert set(logged(logs[0], "partition.dropped")) <= set(moved_partitions)
    assert_exactly_once(settings, load.sent)
    assert_runs_join(settings)


@pytest.mark.slow
def test_after_a_kill_the_other_has_all_partitions_soon_after_the_session_timeout(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    logs = [tmp_path / "w0.log", tmp_path / "w1.log"]
    workers = [toy_worker(settings, log) for log in logs]
    load = Load(settings, per_second=200)
    try:
        wait_for(lambda: [len(holds(log)) for log in logs] == [2, 2], 90)
        load.start()
        wait_for(lambda: len(outputs(settings)) > 100, 60)
        workers[1].kill()
        killed = time.monotonic()
        wait_for(lambda: len(holds(logs[0])) == 4, 60, 0.05)
        print(
            f"taken over {time.monotonic() - killed:.1f} s after the kill; the session time-out is {settings.session_timeout_s} s"
        )
        load.stop()
        wait_for(lambda: len(outputs(settings)) >= load.sent, 60, 1.0)
        assert workers[0].stop(20) == 0
    finally:
        load.ended.set()
        for worker in workers:
            worker.kill()
    assert_exactly_once(settings, load.sent)
    assert_runs_join(settings)


@pytest.mark.slow
def test_a_partition_that_another_had_meanwhile_is_taken_over_anew(kafka: KafkaBroker, tmp_path: Path) -> None:
    """A worker freezes, the other takes all, writes and dies: the first comes back to rows that are not what it remembers."""
    settings = deployment(kafka.bootstrap, tmp_path)
    logs = [tmp_path / "w0.log", tmp_path / "w1.log"]
    load = Load(settings, per_second=200, customers=50)
    first = toy_worker(settings, logs[0])
    second = None
    try:
        wait_for(lambda: sorted(logged(logs[0], "partition.restored")) == [0, 1, 2, 3], 60)
        load.start()
        wait_for(lambda: len(outputs(settings)) > 100, 60)
        first.signal(signal.SIGSTOP)
        second = toy_worker(settings, logs[1])
        wait_for(lambda: sorted(logged(logs[1], "partition.restored")) == [0, 1, 2, 3], 60)
        count_before = len(outputs(settings))
        wait_for(lambda: len(outputs(settings)) > count_before + 100, 60)
        second.kill()
        first.signal(signal.SIGCONT)
        load.stop()
        wait_for(lambda: len(outputs(settings)) >= load.sent, 90, 1.0)
        time.sleep(1)
        assert len(logged(logs[0], "partition.restored")) >= 8
        assert first.stop(20) == 0
    finally:
        load.ended.set()
        first.kill()
        if second is not None:
            second.kill()
    assert_exactly_once(settings, load.sent)
    assert_runs_join(settings)
