"""Pipeline and backtest make the same decisions: on a real ledger, on Apache Kafka, with two workers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from streams.process.children import free_port, spawn
from streams.replay.run import Source, Target, settings_for
from tests.integration.support.replays import backtested, start_replay, sunk
from tests.kafka.broker import KafkaBroker

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

LEDGER = Path(__file__).parents[3] / "shared/data/ledgers/ibm_accounts_receivable.csv"


@pytest.mark.skipif(not LEDGER.exists(), reason=f"the development ledger {LEDGER.name} is not beside the repository")
def test_two_workers_decide_as_the_backtest_does(kafka: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    target, prefix = Target(kafka=kafka.bootstrap, data=data), Source([LEDGER], "ibm").prefix()
    settings = settings_for(target, prefix, None).changed(web_port=free_port())

    replay = start_replay(LEDGER, data, "--mapping", "ibm", "--kafka", kafka.bootstrap)
    replay.wait_for_tick(1)
    log = tmp_path / "second.log"
    second = spawn([sys.executable, "-m", "streams.cli", "worker"], settings.as_environment(), log, name="the second worker")
    try:
        status, output = replay.ended()
    finally:
        second.stop()

    assert status == 0, output
    assert "partition.restored" in log.read_text(), "the second worker took no partition over"
    assert sunk(data) == backtested(LEDGER, tmp_path / "backtest", mapping="ibm")
