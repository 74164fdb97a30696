"""The command line: it answers fast, teaches, and tells expected failures in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.errors import UsageError, UserError

HEAVY = ("faust", "confluent_kafka", "pydantic", "clickhouse_connect", "chdb", "numpy", "rich")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(main.duewatch)), ids=" ".join)
def test_every_command_says_what_it_is_for_and_shows_an_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main.duewatch, [*path, "--help"])

    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"duewatch {' '.join(path)}" in result.output
    assert len(result.output.split("Example")[0].splitlines()) > 3


def test_every_command_of_the_design_is_listed_in_the_overview() -> None:
    result = CliRunner().invoke(main.duewatch, ["--help"])

    listed = {name for names in main.SECTIONS.values() for name in names}
    assert set(main.duewatch.commands) <= listed
    for name in main.duewatch.commands:
        assert f"\n  {name} " in result.output


def test_help_loads_nothing_heavy() -> None:
    code = f"import sys, streams.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        pytest.param(["replay", "no-such-file.csv"], 2, "no-such-file.csv", id="a source that is not there"),
        pytest.param(["backtest", "ledger.csv", "--out", "out"], 1, "--mapping", id="a ledger without a mapping"),
        pytest.param(
            ["backtest", "ledger.csv", "--until", "31.3.2026", "--out", "o"], 2, "2026-03-31", id="a day in other words"
        ),
        pytest.param(["sql", "select 1", "--data", "nowhere"], 1, "duewatch demo", id="no data yet"),
        pytest.param(["dead-letters", "show", "payments"], 2, "TOPIC/PARTITION/OFFSET", id="no place"),
        pytest.param(["replay", "ledger.csv", "--mapping", "ibm", "--clickhouse", "nowhere"], 2, "clickhouse://", id="no URL"),
        pytest.param(["audit", "--data", "left", "--every", "1h"], 2, "no Kafka is named", id="again what stays as it is"),
        pytest.param(["demo", "--debtors", "many"], 2, "--debtors", id="no number"),
        pytest.param(["dmeo"], 2, "dmeo", id="no such command"),
    ],
)
def test_expected_failures_are_told_in_one_line(arguments: list[str], status: int, told: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.csv").write_text("a,b\n1,2\n")
    command = [sys.executable, "-m", "streams.cli", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert result.returncode == status, result.stderr
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_environment_is_told_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUEWATCH_PARTITIONS", "many")
    command = [sys.executable, "-m", "streams.cli", "topics"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert result.returncode == 2
    assert "DUEWATCH_PARTITIONS" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_variable_but_a_setting_changes_how_a_failure_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DUEWATCH_DEBUG", "1")  # which the settings refuse
    monkeypatch.setattr(sys, "argv", ["duewatch", "sql", "select 1", "--data", str(tmp_path)])

    with pytest.raises(SystemExit) as ended:
        main.main()

    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("Error: ")


def test_usage_errors_and_others_have_their_own_exit_codes() -> None:
    assert (UserError.exit_code, UsageError.exit_code) == (1, 2)
