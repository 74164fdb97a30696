"""Replays through the small broker, worker and sink: they decide as the backtest does, and may be repeated."""

from __future__ import annotations

import signal
from pathlib import Path

import orjson
import pytest

from streams.simulate import simulate
from tests.integration.support.replays import SUMS, backtested, children, have_ended, rows, start_replay, sunk

pytestmark = [pytest.mark.embedded, pytest.mark.slow]


@pytest.fixture(scope="module")
def portfolio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portfolio")
    simulate(20, 150, 5, folder)
    return folder


@pytest.fixture(scope="module")
def replayed(portfolio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    status, output = start_replay(portfolio, data).ended()
    assert status == 0, output
    return data


def test_the_pipeline_decides_as_the_backtest_does(portfolio: Path, replayed: Path, tmp_path: Path) -> None:
    assert sunk(replayed) == backtested(portfolio, tmp_path)


def test_every_event_is_in_clickhouse_once(portfolio: Path, replayed: Path) -> None:
    ids = [orjson.loads(line)["id"] for path in portfolio.glob("*.jsonl") for line in path.read_bytes().splitlines()]

    assert sorted(row["id"] for row in rows(replayed, "SELECT id FROM events")) == sorted(ids)


def test_the_same_replay_again_changes_nothing_and_another_ledger_lies_beside_it(
    portfolio: Path, replayed: Path, tmp_path: Path
) -> None:
    before, decided = rows(replayed, SUMS), sunk(replayed)

    assert start_replay(portfolio, replayed).ended()[0] == 0
    assert rows(replayed, SUMS) == before
    assert sunk(replayed) == decided

    simulate(5, 120, 6, tmp_path / "other")
    assert start_replay(tmp_path / "other", replayed).ended()[0] == 0
    after = sunk(replayed)
    assert all(after[table].items() >= decided[table].items() for table in decided)
    assert rows(replayed, SUMS)[0]["debtors"] == before[0]["debtors"] + 5


def test_ctrl_c_stops_everything_and_says_how_to_go_on(portfolio: Path, tmp_path: Path) -> None:
    replay = start_replay(portfolio, tmp_path)
    replay.wait_for_tick(1)
    started = children(replay.process.pid)
    assert len(started) >= 3
    replay.process.send_signal(signal.SIGINT)
    status, output = replay.ended(60)

    assert status == 130, output
    assert "starts over" in output
    assert "Traceback" not in output
    assert have_ended(started)


def test_broken_records_end_as_dead_letters_and_the_others_are_applied(portfolio: Path, tmp_path: Path) -> None:
    good = (portfolio / "payments.jsonl").read_bytes().splitlines()[:200]
    event = orjson.loads(good[0])
    broken = [
        {**event, "id": "b1", "data": {**event["data"], "amount": "-5.00"}},
        {**event, "id": "b2", "data": {**event["data"], "currency": "XXL"}},
        {**event, "id": "b3", "data": {**event["data"], "due_on": "2024-02-31"}},
        {**event, "id": "b4", "type": "duewatch.nonsense.v1"},
        {**event, "data": {**event["data"], "amount": "77.00"}},
        {**event, "id": "b6", "partitionkey": "somebody-else"},
    ]
    source = tmp_path / "payments.jsonl"
    source.write_bytes(b"\n".join([*good, *map(orjson.dumps, broken), b"{broken", good[5], b""]))

    status, output = start_replay(source, tmp_path / "data").ended()

    assert status == 0, output
    letters = rows(tmp_path / "data", "SELECT reason, raw FROM dead_letters")
    assert len(letters) == 7
    assert all(len(letter["reason"]) > 20 for letter in letters)
    assert rows(tmp_path / "data", "SELECT count() AS n FROM events")[0]["n"] in {200, "200"}
    journal = rows(tmp_path / "data", "SELECT sum(applied) AS a, sum(duplicates) AS d FROM journal WHERE agent = 'debtor'")[0]
    assert (int(journal["a"]), int(journal["d"])) == (200, 1)
