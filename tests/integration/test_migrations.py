"""Migrations from empty, again, interrupted, changed, missing; and their columns are those of the row builders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schemas.clickhouse.tables import TABLES
from streams.clickhouse.migrate import Migration, MigrationError, migrate, pending, read_migrations, run_migrate
from streams.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

pytestmark = pytest.mark.embedded
VIEWS = (
    *("events", "dead_letters", "debtors", "debtor_daily", "portfolio_daily", "scores", "alerts", "limit_changes"),
    *("credit_decisions", "collection_actions", "model_quality", "failed_deadlines"),
)


@pytest.fixture
def empty(clickhouse: Client, request: pytest.FixtureRequest) -> str:
    name = f"migrated_{abs(hash(request.node.name))}"
    clickhouse.command(f"DROP DATABASE IF EXISTS {name}")
    return name


def test_from_empty_every_table_has_the_columns_of_its_rows(clickhouse: Client, empty: str) -> None:
    assert migrate(clickhouse, empty) == read_migrations()
    assert migrate(clickhouse, empty) == []
    for table, columns in TABLES.items():
        found = clickhouse.query(f"SELECT name FROM system.columns WHERE database = '{empty}' AND table = '{table}'").result_rows  # noqa: S608
        assert {name for (name,) in found} == set(columns), table
    for view in VIEWS:
        assert clickhouse.query(f"SELECT count() FROM {empty}.{view}").result_rows == [(0,)]  # noqa: S608


def test_the_command_makes_a_database_that_the_url_names_and_is_not_there_yet(clickhouse_dsn: str, empty: str) -> None:
    is_server = clickhouse_dsn.startswith("clickhouse:")  # a chdb:// URL names a folder, and no database
    settings = Settings(clickhouse=f"{clickhouse_dsn}/{empty}" if is_server else clickhouse_dsn, database=empty)
    assert list(run_migrate(settings)) == [f"{empty}: applied {migration.name}" for migration in read_migrations()]
    assert list(run_migrate(settings)) == [f"{empty}: nothing to do"]


def test_the_reasons_that_were_there_before_a_column_got_wider_are_kept(clickhouse: Client, empty: str) -> None:
    files = read_migrations()
    migrate(clickhouse, empty, files[:7])
    clickhouse.command(f"INSERT INTO {empty}.scores_raw (id, reasons) VALUES ('s', [('late', 0.5, 'pays late', ['e1'])])")  # noqa: S608
    migrate(clickhouse, empty, files)
    [(reasons, change)] = clickhouse.query(f"SELECT reasons, would_change FROM {empty}.scores").result_rows  # noqa: S608
    assert reasons == [
        {"code": "late", "contribution": 0.5, "text": "pays late", "evidence": ["e1"], "text_de": None, "family": ""}
    ]
    assert change["band"] == ""


def test_an_interrupted_migration_is_run_again(clickhouse: Client, empty: str) -> None:
    text = "CREATE TABLE IF NOT EXISTS {database}.a (x UInt8) ENGINE = Memory;\nSELECT nonsense;\n"
    broken = Migration(1, "0001_a.sql", text)
    with pytest.raises(Exception, match="nonsense"):
        migrate(clickhouse, empty, [broken])
    assert migrate(clickhouse, empty, [replace(broken, text=text.replace("nonsense", "1"))])


def test_a_changed_or_vanished_migration_is_refused(clickhouse: Client, empty: str) -> None:
    first = Migration(1, "0001_a.sql", "SELECT 1;")
    migrate(clickhouse, empty, [first])
    with pytest.raises(MigrationError, match=r"0001_a\.sql was changed"):
        pending(clickhouse, empty, [replace(first, text="SELECT 2;")])
    with pytest.raises(MigrationError, match="does not have"):
        pending(clickhouse, empty, [])


@pytest.mark.parametrize(
    ("names", "said"), [(("0001_a", "0003_b"), "0002 is missing"), (("0001_a", "0001_b"), "0001 is there twice")]
)
def test_numbers_run_without_gaps_or_doubles(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        (tmp_path / f"{name}.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=said):
        read_migrations(tmp_path)
