"""What the embedded broker has forgotten is made again from ClickHouse."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from streams.simulate import simulate
from tests.integration.replays import rows, start_replay

pytestmark = [pytest.mark.embedded, pytest.mark.slow]
NOBODY = "127.0.0.1:1"
"""No Kafka answers there."""


def explained(ident, data):
    command = [sys.executable, "-m", "streams.cli", "explain", ident, "--data", str(data), "--kafka", NOBODY, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_decision_of_an_embedded_replay_is_made_again_from_clickhouse(tmp_path):
    simulate(10, 120, 3, tmp_path / "portfolio")
    status, output = start_replay(tmp_path / "portfolio", tmp_path / "data").ended()
    assert status == 0, output

    for table in ("scores", "alerts", "limit_changes"):
        asked = f"SELECT id FROM {table} ORDER BY time DESC, id LIMIT 1"  # noqa: S608 - names from above
        ident = rows(tmp_path / "data", asked)[0]["id"]
        ran = explained(ident, tmp_path / "data")
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout)
        assert (told["id"], told["made_again"]["equal"], told["slice"]) == (ident, True, None)
        assert told["after"]

    ran = explained("no-such-id", tmp_path / "data")
    assert ran.returncode == 1
    assert "no decision has the id 'no-such-id'" in ran.stderr


def test_without_log_and_data_it_is_told_what_is_needed(tmp_path):
    ran = explained("any", tmp_path)
    assert ran.returncode == 1
    assert "holds no ClickHouse data" in ran.stderr
    assert NOBODY in ran.stderr
