"""A restore that does not come to its end: the process that reads is killed, or the worker that started it, or that one stops."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from streams.kafka.topics import full_name
from streams.process.children import Child, spawn
from streams.settings import Settings
from tests.integration.support import slow_restore
from tests.integration.support.portfolio import deployment, payment, read_all, wait_for
from tests.kafka.broker import KafkaBroker

PAYMENTS = 60


def send(settings: Settings) -> None:
    producer = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random"})
    for number in range(PAYMENTS):
        value, headers = payment(number, f"c{number}")
        producer.produce(full_name(settings.prefix, "payments"), key=f"c{number}", value=value, headers=list(headers))
    assert producer.flush(20) == 0


def worker(settings: Settings, folder: Path, log: Path) -> Child:
    root = Path(__file__).resolve().parents[2]
    environment = {**settings.as_environment(), "PYTHONPATH": os.fspath(root), slow_restore.FOLDER: os.fspath(folder)}
    return spawn([sys.executable, *slow_restore.PROGRAM], environment, log, name="worker", cwd=root)


def reading(folder: Path) -> set[int]:
    """The processes that were caught reading and are still there."""
    return {int(path.name) for path in folder.glob("[0-9]*") if Path("/proc", path.name).exists()}


def judged(settings: Settings) -> tuple[int, int]:
    """How many payments were applied, and how many were known already."""
    slices = [orjson.loads(message.value() or b"") for message in read_all(settings, "journal")]
    debtor = [slice_ for slice_ in slices if slice_["agent"] == "debtor"]
    return sum(slice_["applied"] for slice_ in debtor), sum(slice_["duplicates"] for slice_ in debtor)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_nothing_stays_behind_and_the_partition_is_restored_by_whoever_comes_next(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path).changed(session_timeout_s=2.0)
    folder, log = tmp_path / "reading", tmp_path / "killed.log"
    folder.mkdir()
    send(settings)
    with worker(settings, folder, tmp_path / "first.log") as first:
        wait_for(lambda: judged(settings) == (PAYMENTS, 0), 60)
        assert first.stop(20) == 0
    assert not reading(folder)
    (folder / "wait").touch()
    with worker(settings, folder, log) as killed:
        wait_for(lambda: reading(folder), 30)
        process = min(reading(folder))
        os.kill(process, signal.SIGKILL)
        wait_for(lambda: "takeover.failed" in log.read_text(), 10)
        line = next(line for line in log.read_text().splitlines() if "takeover.failed" in line)
        assert "ReadingFailedError" in line
        assert "was killed by SIGKILL" in line
        wait_for(lambda: process not in reading(folder) and reading(folder), 20)
        # The worker alone: whoever kills the whole group leaves nothing anyway.
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(10)
        wait_for(lambda: not reading(folder), 5)
    with worker(settings, folder, log := tmp_path / "stopped.log") as stopped:
        wait_for(lambda: reading(folder), 30)
        assert stopped.stop(20) == 0  # though none that reads would ever come to its end
        assert not reading(folder)
        assert "warning" not in next(line for line in log.read_text().splitlines() if "takeover.failed" in line)
    (folder / "wait").unlink()
    send(settings)
    with worker(settings, folder, tmp_path / "next.log") as last:
        wait_for(lambda: judged(settings) == (PAYMENTS, PAYMENTS), 60)
        assert last.stop(20) == 0
