"""The demo: it ends well, tells figures that ClickHouse has, and leaves nothing running."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from tests.integration.support.replays import children, have_ended, rows

pytestmark = [pytest.mark.embedded, pytest.mark.slow]


def demo(data: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "streams.cli", "demo", "--data", str(data), "--debtors", "25", "--days", "240", *options]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_the_demo_shows_what_was_found_and_leaves_nothing_running(tmp_path: Path) -> None:
    process = demo(tmp_path, "--seed", "1")
    output, _ = process.communicate(timeout=200)

    assert process.returncode == 0, output
    for title in ("Alerts, against the truth", "Limits:", "Ten debtors to look at", "Ageing", "Score:", "Ask ClickHouse"):
        assert title in output
    truth = orjson.loads((tmp_path / "portfolio" / "truth.json").read_bytes())
    told = re.search(r"([\d,]+) events in .* s: [\d,]+ events/s", output)
    assert told is not None
    assert int(told[1].replace(",", "")) == truth["events"]
    raised = rows(tmp_path, "SELECT count() AS n FROM alerts WHERE state = 'raised'")[0]["n"]
    assert re.search(rf"any +{int(raised):,} ", output)
    assert not (tmp_path / "sink.json").exists()


def test_every_line_that_it_says_to_type_works(tmp_path: Path) -> None:
    process = demo(tmp_path, "--seed", "2")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    lines = [line.strip() for line in output.splitlines() if line.strip().startswith("duewatch sql")]

    assert len(lines) >= 3
    for line in lines:
        shell = line.replace("duewatch", f"{sys.executable} -m streams.cli", 1)
        result = subprocess.run(shell, shell=True, capture_output=True, text=True, check=False)  # noqa: S602 - as a user types it
        assert result.returncode == 0, result.stderr
        assert len(result.stdout.splitlines()) > 1


def test_keep_keeps_it_up_until_ctrl_c(tmp_path: Path) -> None:
    process = demo(tmp_path, "--keep")
    deadline = time.monotonic() + 200
    output = ""
    while "Ctrl-C stops everything" not in output:
        assert time.monotonic() < deadline
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, output
        output += line
    started = children(process.pid)
    assert len(started) >= 3
    assert "Look at the topics" in output
    assert rows(tmp_path, "SELECT count() AS n FROM events")

    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)

    assert process.returncode == 0, rest
    assert have_ended(started)
