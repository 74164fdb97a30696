"""Which ClickHouse is asked: as the options say, else as the variables do, else what was left here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams import DEFAULT_DATA
from streams.cli.main import duewatch
from streams.clickhouse import query
from streams.clickhouse.client import ClickHouseError
from streams.clickhouse.query import ClickHouse, clickhouse_of, clickhouse_or_leftover
from streams.dead_letters import resend
from streams.dead_letters.resend import Correction
from streams.dead_letters.selection import Selection
from streams.settings import Settings, load_settings

SERVER = "clickhouse://u:p@host:8123"
QUESTIONS = [
    pytest.param(["sql", "select 1"], id="sql"),
    pytest.param(["review", "list"], id="review list"),
    pytest.param(["dead-letters", "list"], id="dead-letters list"),
    pytest.param(["dead-letters", "show", "payments/3/1"], id="dead-letters show"),
    pytest.param(["dead-letters", "replay", "--all"], id="dead-letters replay"),
]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(DSN, database) of each question, which nothing answers."""
    asked: list[tuple[str, str]] = []

    def ask(_sql: str, dsn: str, database: str, _output: str) -> bytes:
        asked.append((dsn, database))
        return b""

    monkeypatch.setattr(query, "_ask", ask)
    return asked


@pytest.mark.parametrize("words", QUESTIONS)
def test_a_question_goes_where_the_variables_say(
    words: list[str], opened: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUEWATCH_CLICKHOUSE", SERVER)
    monkeypatch.setenv("DUEWATCH_DATABASE", "ours")
    CliRunner().invoke(duewatch, words)

    assert set(opened) == {(SERVER, "ours")}


@pytest.mark.parametrize("words", QUESTIONS)
def test_an_option_counts_more_than_a_variable(
    words: list[str], opened: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DUEWATCH_CLICKHOUSE", SERVER)
    (tmp_path / "clickhouse").mkdir()
    CliRunner().invoke(duewatch, [*words, "--data", str(tmp_path)])
    CliRunner().invoke(duewatch, [*words, "--clickhouse", "http://other:8123/theirs"])

    assert set(opened) == {(f"chdb://{tmp_path}/clickhouse", "duewatch"), ("http://other:8123/theirs", "theirs")}


@pytest.mark.parametrize("words", QUESTIONS)
def test_what_was_left_here_is_asked_where_nothing_is_said(
    words: list[str], opened: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(duewatch, words)
    assert isinstance(result.exception, ClickHouseError)
    assert f"{DEFAULT_DATA} holds no ClickHouse data" in str(result.exception)

    (tmp_path / DEFAULT_DATA / "clickhouse").mkdir(parents=True)
    CliRunner().invoke(duewatch, words)
    assert set(opened) == {(f"chdb://{tmp_path / DEFAULT_DATA}/clickhouse", "duewatch")}


@pytest.mark.parametrize("words", QUESTIONS)
def test_the_help_says_where_a_question_goes(words: list[str]) -> None:
    told = " ".join(CliRunner().invoke(duewatch, [*words, "--help"]).output.split())

    assert "Without --data and --clickhouse, the one in DUEWATCH_CLICKHOUSE and DUEWATCH_DATABASE" in told
    assert str(DEFAULT_DATA) in told


def test_letters_are_sent_to_the_kafka_of_the_deployment_whose_clickhouse_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def resent(settings: Settings, _choice: Selection, _mend: Correction, asked: ClickHouse, **_: Any) -> tuple[list[str], bool]:
        given.extend((settings, asked))
        return [], True

    monkeypatch.setattr(resend, "resend", resent)
    monkeypatch.setenv("DUEWATCH_BOOTSTRAP", "broker:9092")
    monkeypatch.setenv("DUEWATCH_CLICKHOUSE", SERVER)
    CliRunner().invoke(duewatch, ["dead-letters", "replay", "--all", "--prefix", "trial"])

    settings, asked = given
    assert (settings.bootstrap, settings.prefix, asked.url) == ("broker:9092", "trial", SERVER)


def test_a_question_whose_place_is_named_needs_no_environment(
    opened: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUEWATCH_PARTITIONS", "many")

    assert CliRunner().invoke(duewatch, ["sql", "select 1", "--clickhouse", SERVER]).exit_code == 0


# -- the pieces
def test_clickhouse_is_where_the_options_say_and_else_where_the_settings_do(tmp_path: Path) -> None:
    server = Settings(clickhouse=SERVER, database="ours")
    assert clickhouse_of(server, None, None) == ClickHouse(None, SERVER, "ours")
    assert clickhouse_of(server, tmp_path, None) == ClickHouse(tmp_path, None)
    embedded = Settings(clickhouse="chdb:///somewhere/clickhouse", data_dir=Path("/elsewhere"))
    assert clickhouse_of(embedded, None, None) == ClickHouse(Path("/elsewhere"), "chdb:///somewhere/clickhouse")


@pytest.mark.parametrize(
    ("url", "told", "database"),
    [(SERVER, {"database": "ours"}, "ours"), (f"{SERVER}/", {"database": "ours"}, "ours"), (f"{SERVER}/theirs", {}, "theirs")],
)
def test_the_database_is_that_of_the_url_or_of_the_settings(
    opened: list[tuple[str, str]], url: str, told: dict[str, str], database: str
) -> None:
    clickhouse_of(Settings(clickhouse=url, **told), None, None).rows("select 1")

    assert opened == [(url, database)]


def test_settings_still_know_what_was_set_once_others_are_changed() -> None:
    unset, one = load_settings({}).changed(prefix="trial"), load_settings({"DUEWATCH_DATABASE": "ours"}).changed(prefix="trial")

    assert clickhouse_or_leftover(unset, None, None) == ClickHouse(DEFAULT_DATA, None)
    assert clickhouse_or_leftover(one, None, None) == ClickHouse(None, "clickhouse://127.0.0.1:8123", "ours")


def test_embedded_data_is_asked_where_the_url_says_once_no_sink_has_it_open(
    opened: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = clickhouse_of(Settings(clickhouse=f"chdb://{tmp_path}/held", database="ours", data_dir=tmp_path / "d"), None, None)
    with pytest.raises(ClickHouseError, match="holds no ClickHouse data"):
        asked.rows("select 1")
    (tmp_path / "held").mkdir()
    asked.rows("select 1")
    assert opened == [(f"chdb://{tmp_path}/held", "ours")]

    monkeypatch.setattr(query, "running_sink", lambda folder: 4711 if folder == tmp_path / "d" else None)
    monkeypatch.setattr(query, "_ask_sink", lambda _sql, port, _output: b'{"port": %d}' % port)
    assert asked.rows("select 1") == [{"port": 4711}]
