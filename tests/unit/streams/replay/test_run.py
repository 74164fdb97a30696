"""Parts of a replay that need no broker: where it runs, what it is called, how its children are watched."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from streams.connectors.records import partition_for, raw_record
from streams.errors import UsageError
from streams.process.children import Child, spawn
from streams.replay import local_stack as stack_module
from streams.replay.local_stack import PartFailedError, Stack
from streams.replay.run import Source, Target, settings_for
from streams.settings import Settings


@pytest.mark.parametrize(
    ("url", "dsn", "database"),
    [
        pytest.param(None, "chdb://", "duewatch", id="none is named"),
        pytest.param("clickhouse://u:p@h:8123", "clickhouse://u:p@h:8123", "duewatch", id="no database"),
        pytest.param("http://h:8123/trial", "http://h:8123", "trial", id="a database of one's own"),
        pytest.param("https://u:p@h", "https://u:p@h:8443", "duewatch", id="TLS"),
        pytest.param("https://u:p@h:9440/db", "https://u:p@h:9440", "db", id="TLS at a port of one's own"),
    ],
)
def test_where_a_replay_writes(url: str | None, dsn: str, database: str, tmp_path: Path) -> None:
    settings = settings_for(Target("k:9092", url, tmp_path), "replay-x", None)

    assert settings.clickhouse.get_secret_value().startswith(dsn)
    assert (settings.database, settings.prefix, settings.bootstrap) == (database, "replay-x", "k:9092")
    assert (settings.mode, settings.clock) == ("replay", "replay")


def test_a_password_is_not_shown() -> None:
    assert "secret" not in Target(clickhouse="clickhouse://u:secret@h:8123").option


def test_what_is_no_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="clickhouse://"):
        settings_for(Target(None, "h:8123", tmp_path), "replay-x", None)


def test_the_prefix_follows_all_that_decides_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in "ab":
        (tmp_path / folder / "payments.jsonl").write_text("{}\n")
    (tmp_path / "policy.json").write_text("{}")
    here = Source([tmp_path / "a"])

    assert here.prefix().startswith("replay-")
    assert here.prefix() == Source([tmp_path / "b"]).prefix()
    until = Source([tmp_path / "a"], until=date(2024, 1, 1))
    policy = Source([tmp_path / "a"], policy=tmp_path / "policy.json")
    assert len({here.prefix(), until.prefix(), policy.prefix()}) == 3


def test_records_without_a_key_lie_where_their_bytes_say() -> None:
    places = [partition_for(raw_record("payments", b"broken %d" % n, date(2024, 1, 1)), 4) for n in range(200)]

    assert places == [partition_for(raw_record("payments", b"broken %d" % n, date(2024, 1, 1)), 4) for n in range(200)]
    assert set(places) == {0, 1, 2, 3}
    assert partition_for(raw_record("rates", b"broken", date(2024, 1, 1)), 4) == 0


def supervise_for(seconds: float, stack: Stack) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stack.supervise()
        time.sleep(0.02)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """A stack whose parts are small programs; the code that they run may be changed."""
    code = {"worker": "import time; time.sleep(60)", "sink": "import time; time.sleep(60)"}

    def spawned(self: Stack, command: str, _settings: Settings) -> Child:
        return spawn([sys.executable, "-c", code[command]], log_path=self.logs / f"{command}.log", name=f"the {command}")

    monkeypatch.setattr(Stack, "_spawn", spawned)
    monkeypatch.setattr(stack_module, "CHECK_EVERY_S", 0.0)
    return code


def test_a_part_that_ends_is_started_again_with_a_notice(parts: dict[str, str], tmp_path: Path) -> None:
    notices: list[str] = []
    with Stack(Settings(), tmp_path, notify=notices.append) as stack:
        stack.start()
        before = stack.pid("worker")
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while not notices and time.monotonic() < deadline:
            stack.supervise()
            time.sleep(0.02)
        assert stack.pid("worker") != before
    assert "restarting it (1 of 5)" in notices[0]


def test_a_part_that_keeps_ending_is_told_with_the_end_of_its_log(
    parts: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_module, "MAX_RESTARTS", 1)
    parts["sink"] = "import sys; print('no room on the disk'); sys.exit(3)"
    with Stack(Settings(), tmp_path, notify=lambda _: None) as stack:
        stack.start()
        with pytest.raises(PartFailedError, match="no room on the disk"):
            supervise_for(8, stack)


def test_nothing_outlives_the_stack(parts: dict[str, str], tmp_path: Path) -> None:
    with Stack(Settings(), tmp_path, notify=lambda _: None) as stack:
        stack.start()
        children = [part.child for part in stack._parts]
    assert [child.running for child in children] == [False, False]
