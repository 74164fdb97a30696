"""A short chaos run on Apache Kafka and ClickHouse; `make chaos` is the long one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from streams.process.children import FAULT_HANDLER, spawn
from tests.chaos.control import FIRST_DAY, FastClock, InjectedError, Orders, stage_of
from tests.chaos.events import plan
from tests.chaos.faults import KINDS, LONG, ROOT, schedule
from tests.chaos.verify import Findings, _compare_ids, _compare_row

FAULTS, SECONDS = 10, 40


@pytest.mark.kafka
@pytest.mark.slow
def test_what_a_disturbed_deployment_wrote_follows_from_its_logs(tmp_path: Path) -> None:
    out = tmp_path / "chaos.json"
    # A process of its own: one process can open one embedded ClickHouse.
    options = ["--faults", str(FAULTS), "--minutes", str(SECONDS / 60), "--debtors", "40", "--days", "120", "--out", str(out)]
    command = [sys.executable, "-m", "tests.chaos", *options]
    with spawn(command, {**FAULT_HANDLER, "COLUMNS": "120"}, tmp_path / "log", cwd=ROOT) as ran:
        try:
            status = ran.wait(280)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it does not end:\n{ran.stacks()}")
        assert status == 0, ran.log_tail(600)
    figures = json.loads(out.read_text())
    assert {name: figures[name] for name in ("lost", "twice", "wrong_rows", "wrong_cents")} == {
        "lost": 0,
        "twice": 0,
        "wrong_rows": 0,
        "wrong_cents": 0,
    }
    assert figures["faults"] == sum(figures["faults_by_kind"].values()) >= FAULTS // 2
    assert figures["events"] > 500


def test_a_long_schedule_has_every_kind_and_a_short_one_none_that_takes_long() -> None:
    long, short = schedule(110, 600, 1), schedule(10, 40, 1)
    assert {fault.kind for fault in long} == set(KINDS)
    assert Counter(fault.kind for fault in long)["the broker is gone"] == 1
    assert not {fault.kind for fault in short} & set(LONG)
    assert [fault.at for fault in long] == sorted(fault.at for fault in long)
    assert long == schedule(110, 600, 1) != schedule(110, 600, 2)


def test_a_portfolio_has_every_kind_of_event_and_what_nobody_can_apply() -> None:
    planned = plan(60, 200, 1)
    headers = [dict(entry.record.headers) for entry in planned]
    kinds = {pairs.get("ce_type", b"").decode() for pairs in headers}
    expected = {"invoice.issued", "payment.received", "payment.returned", "credit_note.issued", "invoice.cancelled"}
    expected |= {"invoice.written_off", "recovery.received", "dispute.opened", "dispute.closed", "promise.made", "dunning.sent"}
    expected |= {"bank_transaction.booked", "bank_balance.reported", "insolvency.matched", "customer.updated", "decision.made"}
    assert {f"duewatch.{name}.v1" for name in expected} <= kinds
    ids = Counter(pairs["ce_id"] for pairs in headers if "ce_id" in pairs)
    assert max(ids.values()) > 1
    assert any(not pairs.get("ce_type") for pairs in headers)


def test_what_is_missing_doubled_or_from_nowhere_is_counted_and_named() -> None:
    findings = Findings()
    _compare_ids("outputs", "alerts", {"a", "b"}, ["a", "a", "c"], findings)
    assert (findings.lost, findings.twice, findings.wrong["outputs"], findings.right) == (1, 1, 3, False)
    assert findings.deviations == [
        "outputs: alerts: b is missing",
        "outputs: alerts: c follows from nothing",
        "outputs: alerts: a is there 2 times",
    ]


def test_a_cent_is_a_deviation() -> None:
    findings, no_findings = Findings(), Findings()
    expected = {"open_amount": Decimal("10.00"), "dso": None}
    _compare_row("debtors", "C1 EUR", expected, {"open_amount": "10.01", "dso": None}, expected, findings)
    _compare_row("debtors", "C1 EUR", expected, {"open_amount": 10, "dso": None}, expected, no_findings)
    assert (findings.wrong_cents, no_findings.wrong_cents, no_findings.right) == (1, 0, True)
    assert findings.deviations == ["debtors: C1 EUR, open_amount: expected 10.00, is 10.01"]


def test_an_order_is_claimed_once(tmp_path: Path) -> None:
    orders = Orders(tmp_path)
    orders.give("commit-before", 1)
    stage = stage_of(Orders(tmp_path))
    stage("written")
    with pytest.raises(InjectedError, match="before"):
        stage("before")
    stage("before")
    assert [claim["kind"] for claim in orders.claimed()] == ["commit-before"]
    orders.give("cut-insert", 2)
    orders.withdraw()
    assert orders.claim("cut-insert") is None


def test_the_fast_clock_passes_days_in_seconds_and_waits_for_none_that_is_over() -> None:
    clock = FastClock(datetime.now(UTC).timestamp() - 10, 86_400)
    day = clock.as_datetime().now(UTC)
    assert timedelta(days=10) <= day - FIRST_DAY < timedelta(days=12)
    assert clock.wait_s(FIRST_DAY) < -9
    ended = FastClock(clock.began - 100, 86_400, lasts=5)
    assert timedelta(days=5) < ended.now() - FIRST_DAY < timedelta(days=5, minutes=5)
