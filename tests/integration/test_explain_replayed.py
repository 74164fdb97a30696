"""What the embedded broker has forgotten is recomputed from ClickHouse, and compared with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from streams.settings import Settings
from streams.simulate import simulate
from tests.integration.support.replays import rows, start_replay
from tests.integration.test_audit import alter, duewatch

pytestmark = [pytest.mark.embedded, pytest.mark.slow]
NOBODY = "127.0.0.1:1"
"""No Kafka answers there."""


def explained(ident: str, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streams.cli", "explain", ident, "--data", str(data), "--kafka", NOBODY, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_decision_of_an_embedded_replay_is_made_again_from_clickhouse(tmp_path: Path) -> None:
    simulate(10, 120, 3, tmp_path / "portfolio")
    status, output = start_replay(tmp_path / "portfolio", tmp_path / "data").ended()
    assert status == 0, output

    for table in ("scores", "alerts", "limit_changes"):
        sql = f"SELECT id FROM {table} ORDER BY time DESC, id LIMIT 1"  # noqa: S608 - names from above
        ident = rows(tmp_path / "data", sql)[0]["id"]
        ran = explained(ident, tmp_path / "data")
        assert ran.returncode == 0, ran.stderr
        report = json.loads(ran.stdout)
        assert (report["id"], report["made_again"]["equal"], report["slice"]) == (ident, True, None)
        assert report["after"]

    ran = explained("no-such-id", tmp_path / "data")
    assert ran.returncode == 1
    assert "no decision has the id 'no-such-id'" in ran.stderr


def test_what_an_embedded_replay_has_left_is_audited_and_what_was_altered_is_named(tmp_path: Path) -> None:
    simulate(10, 120, 3, tmp_path / "portfolio")
    data = tmp_path / "data"
    local = Settings(clickhouse=SecretStr(f"chdb://{data}/clickhouse"), data_dir=data)
    status, output = start_replay(tmp_path / "portfolio", data).ended()
    assert status == 0, output

    def audited() -> tuple[int, Any]:
        status, output, errors = duewatch("audit", "--data", str(data), "--kafka", NOBODY, "--json")
        assert output, errors
        return status, json.loads(output)

    status, report = audited()
    assert (status, report["differences"], report["not_judged"]) == (0, [], {})
    assert report["looked_at"]["outputs"] > 100

    change = rows(data, "SELECT id, customer_id, toString(new_limit) AS new_limit FROM limit_changes ORDER BY time LIMIT 1")[0]
    where = f"id = '{change['id']}' SETTINGS mutations_sync = 2"
    alter(local, f"ALTER TABLE limit_changes_raw UPDATE new_limit = new_limit + 1 WHERE {where}")
    posting = rows(data, "SELECT customer_id, invoice_id FROM postings WHERE entry = 'invoice' ORDER BY day DESC LIMIT 1")[0]
    where = f"invoice_id = '{posting['invoice_id']}' AND entry = 'invoice' SETTINGS mutations_sync = 2"
    alter(local, f"ALTER TABLE postings UPDATE amount = amount + 7 WHERE {where}")
    status, report = audited()
    assert status == 1
    differences = {
        (d["subject"], d["where"], d["field"]): (float(d["expected"]), float(d["found"])) for d in report["differences"]
    }
    expected, actual = differences[change["customer_id"], f"limit_changes {change['id']}", "new_limit"]
    assert actual == expected + 1
    assert report["counts"]["outputs"] == 1
    expected, actual = differences[posting["customer_id"], "debtors EUR", "exposure"]
    assert actual == pytest.approx(expected + 7)
    assert {subject for subject, *_ in differences} == {change["customer_id"], posting["customer_id"]}

    event = rows(data, "SELECT id, customer_id FROM events WHERE topic = 'payments' LIMIT 1")[0]
    where = f"id = '{event['id']}' SETTINGS mutations_sync = 2"
    alter(local, f"ALTER TABLE events_raw UPDATE data = replace(data, '0', '1') WHERE {where}")
    status, report = audited()
    assert [(d["kind"], d["subject"], d["field"]) for d in report["differences"]] == [
        ("events", event["customer_id"], "hash of data")
    ]


def test_without_log_and_data_it_is_told_what_is_needed(tmp_path: Path) -> None:
    ran = explained("any", tmp_path)
    assert ran.returncode == 1
    assert "holds no ClickHouse data" in ran.stderr
    assert NOBODY in ran.stderr
