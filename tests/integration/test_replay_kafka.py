"""Replays on Apache Kafka that are killed half-way end in the same tables as one that is not."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from streams.simulate import simulate
from tests.integration.support.replays import SUMS, Decisions, backtested, children, have_ended, rows, start_replay, sunk
from tests.kafka.broker import KafkaBroker

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture(scope="module")
def portfolio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portfolio")
    simulate(15, 200, 7, folder)
    return folder


@pytest.fixture(scope="module")
def expected(portfolio: Path, tmp_path_factory: pytest.TempPathFactory) -> Decisions:
    return backtested(portfolio, tmp_path_factory.mktemp("backtest"))


@pytest.fixture
def source(portfolio: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The same events in a file with another end, so that every test has a prefix, a clock and topics of its own."""
    folder = tmp_path / "portfolio"
    folder.mkdir()
    for path in portfolio.glob("*.jsonl"):
        (folder / path.name).write_bytes(path.read_bytes() + b"\n" * (1 + len(request.node.name)))
    return folder


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_stopped_driver_goes_on_where_the_clock_stands(
    kafka: KafkaBroker, source: Path, expected: Decisions, tmp_path: Path, how: signal.Signals
) -> None:
    data = tmp_path / "data"
    first = start_replay(source, data, "--kafka", kafka.bootstrap)
    first.wait_for_tick(4)
    started = children(first.process.pid)
    first.process.send_signal(how)
    status, output = first.ended(60)
    assert have_ended(started)
    if how == signal.SIGINT:
        assert status == 130, output
        assert "continues where this one stopped" in output

    status, output = start_replay(source, data, "--kafka", kafka.bootstrap).ended()

    assert status == 0, output
    assert sunk(data) == expected


@pytest.mark.parametrize("part", ["worker", "sink"])
def test_a_killed_part_is_started_again_and_nothing_is_lost_or_doubled(
    kafka: KafkaBroker, source: Path, expected: Decisions, tmp_path: Path, part: str
) -> None:
    data = tmp_path / "data"
    replay = start_replay(source, data, "--kafka", kafka.bootstrap)
    replay.wait_for_tick(3)
    replay.kill(part)

    status, output = replay.ended()

    assert status == 0, output
    assert "restarting it (1 of 5)" in output
    assert sunk(data) == expected


def test_a_finished_replay_started_again_sends_nothing(
    kafka: KafkaBroker, source: Path, expected: Decisions, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    assert start_replay(source, data, "--kafka", kafka.bootstrap).ended()[0] == 0
    before = rows(data, SUMS)

    status, output = start_replay(source, data, "--kafka", kafka.bootstrap).ended()

    assert status == 0, output
    assert rows(data, SUMS) == before
    assert sunk(data) == expected
