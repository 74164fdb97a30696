"""What the tests of replays share: the command in a process of its own, its children, and what ClickHouse holds in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from streams.backtest.run import run_backtest

TABLES = {
    "scores": ("customer_id", "invoice_id", "p_late", "p_default", "band", "model_version"),
    "alerts": ("customer_id", "alert_id", "state", "alert_type", "severity", "model_version"),
    "limit_changes": ("customer_id", "generation", "sequence", "new_limit", "model_version"),
}
NUMBERS = {"p_late", "p_default", "new_limit"}
SUMS = """SELECT (SELECT count() FROM events) AS events, (SELECT count() FROM dead_letters) AS dead,
(SELECT sum(exposure) FROM debtors) AS exposure, (SELECT sum(expected_loss) FROM debtors) AS loss,
(SELECT sum(open_amount) FROM debtor_daily) AS open, (SELECT count() FROM training_examples) AS examples,
(SELECT count() FROM models) AS models, (SELECT count() FROM debtors) AS debtors"""

Decisions = dict[str, dict[str, tuple[str, ...]]]
"""Table -> id -> what was decided."""


@dataclass
class Replay:
    """`duewatch replay` as a process."""

    process: subprocess.Popen[str]
    data: Path

    def ended(self, timeout_s: float = 240.0) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, output

    def progress(self) -> int:
        """The last tick of which the sink knows; -1 before."""
        import urllib.request

        try:
            port = json.loads((self.data / "sink.json").read_text())["port"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=2) as answer:
                ticks = json.loads(answer.read())["ticks"].values()
        except (OSError, ValueError):
            return -1
        return min((tick["number"] for tick in ticks), default=-1)

    def wait_for_tick(self, number: int, timeout_s: float = 120.0) -> None:
        deadline = time.monotonic() + timeout_s
        while self.progress() < number:
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, f"tick {number} was not sunk in time"
            time.sleep(0.02)

    def child(self, command: str) -> int:
        """The pid of its worker or sink."""
        return next(pid for pid in children(self.process.pid) if command in command_of(pid))

    def kill(self, command: str | None = None) -> None:
        """kill -9 of a child, or of the driver itself."""
        os.kill(self.process.pid if command is None else self.child(command), signal.SIGKILL)


def start_replay(source: Path, data: Path, *options: str) -> Replay:
    command = [sys.executable, "-m", "streams.cli", "replay", str(source), "--data", str(data), *options]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return Replay(process, data)


def children(pid: int) -> list[int]:
    """All processes that a process has started, and theirs."""
    pids: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            pids += [child, *children(child)]
    return pids


def command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def have_ended(pids: list[int], timeout_s: float = 15.0) -> bool:
    """Whether none of them runs any more."""
    deadline = time.monotonic() + timeout_s
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def rows(data: Path, sql: str) -> list[dict[str, Any]]:
    """Asked in a process of its own: one process can open one embedded ClickHouse, and other tests have theirs."""
    command = [sys.executable, "-m", "streams.cli", "sql", sql, "--data", str(data), "--format", "JSONEachRow"]
    answer = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert answer.returncode == 0, answer.stderr.decode()
    return [orjson.loads(line) for line in answer.stdout.splitlines() if line]


def sunk(data: Path) -> Decisions:
    """The decisions that ClickHouse holds."""
    decisions: Decisions = {}
    for table, columns in TABLES.items():
        sql = f"SELECT id, {', '.join(columns)} FROM {table}"  # noqa: S608 - names from above
        decisions[table] = {row["id"]: _columns(row, columns) for row in rows(data, sql)}
    return decisions


def backtested(source: Path, out: Path, mapping: str | None = None) -> Decisions:
    """The decisions that the backtest makes."""
    run_backtest([source], mapping=mapping, out=out)
    decisions: Decisions = {}
    for table, columns in TABLES.items():
        lines = (out / f"{table.replace('_', '-')}.jsonl").read_bytes().splitlines()
        decisions[table] = {event["id"]: _columns(event["data"], columns) for event in map(orjson.loads, lines)}
    return decisions


def _columns(row: dict[str, Any], columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(float(row[name]) if name in NUMBERS else row[name]) for name in columns)
