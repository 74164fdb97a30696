"""Migrations from empty, again, interrupted, changed, missing; and their columns are those of the row builders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schemas.clickhouse.tables import TABLES
from streams.clickhouse.migrate import Migration, MigrationError, migrate, pending, read_migrations

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

pytestmark = pytest.mark.embedded
VIEWS = (
    *("events", "dead_letters", "debtors", "debtor_daily", "portfolio_daily", "scores", "alerts", "limit_changes"),
    *("credit_decisions", "collection_actions", "model_quality", "failed_deadlines"),
)


@pytest.fixture
def empty(chdb: Client, request: pytest.FixtureRequest) -> str:
    name = f"migrated_{abs(hash(request.node.name))}"
    chdb.command(f"DROP DATABASE IF EXISTS {name}")
    return name


def test_from_empty_every_table_has_the_columns_of_its_rows(chdb, empty):
    assert migrate(chdb, empty) == read_migrations()
    assert migrate(chdb, empty) == []
    for table, columns in TABLES.items():
        found = chdb.query(f"SELECT name FROM system.columns WHERE database = '{empty}' AND table = '{table}'").result_rows  # noqa: S608
        assert {name for (name,) in found} == set(columns), table
    for view in VIEWS:
        assert chdb.query(f"SELECT count() FROM {empty}.{view}").result_rows == [(0,)]  # noqa: S608


def test_the_reasons_that_were_there_before_a_column_got_wider_are_kept(chdb, empty):
    files = read_migrations()
    migrate(chdb, empty, files[:7])
    chdb.command(f"INSERT INTO {empty}.scores_raw (id, reasons) VALUES ('s', [('late', 0.5, 'pays late', ['e1'])])")  # noqa: S608
    migrate(chdb, empty, files)
    [(reasons, change)] = chdb.query(f"SELECT reasons, would_change FROM {empty}.scores").result_rows  # noqa: S608
    assert reasons == [
        {"code": "late", "contribution": 0.5, "text": "pays late", "evidence": ["e1"], "text_de": None, "family": ""}
    ]
    assert change["band"] == ""


def test_an_interrupted_migration_is_run_again(chdb, empty):
    text = "CREATE TABLE IF NOT EXISTS {database}.a (x UInt8) ENGINE = Memory;\nSELECT nonsense;\n"
    broken = Migration(1, "0001_a.sql", text)
    with pytest.raises(Exception, match="nonsense"):
        migrate(chdb, empty, [broken])
    assert migrate(chdb, empty, [replace(broken, text=text.replace("nonsense", "1"))])


def test_a_changed_or_vanished_migration_is_refused(chdb, empty):
    first = Migration(1, "0001_a.sql", "SELECT 1;")
    migrate(chdb, empty, [first])
    with pytest.raises(MigrationError, match=r"0001_a\.sql was changed"):
        pending(chdb, empty, [replace(first, text="SELECT 2;")])
    with pytest.raises(MigrationError, match="does not have"):
        pending(chdb, empty, [])


@pytest.mark.parametrize(
    ("names", "said"), [(("0001_a", "0003_b"), "0002 is missing"), (("0001_a", "0001_b"), "0001 is there twice")]
)
def test_numbers_run_without_gaps_or_doubles(tmp_path: Path, names, said):
    for name in names:
        (tmp_path / f"{name}.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=said):
        read_migrations(tmp_path)
