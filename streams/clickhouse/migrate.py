"""Bring ClickHouse's tables and views to the newest shape: numbered files, each applied once, none ever changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from schemas.ids import content_hash
from streams.clickhouse.client import open_client, quoted
from streams.errors import UserError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from streams.settings import Settings

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql\Z")
_END = re.compile(r";[ \t]*(?:\n|\Z)")
_COMMENT = re.compile(r"^[ \t]*--.*\n?", re.MULTILINE)
MIGRATIONS_TABLE = """CREATE TABLE IF NOT EXISTS {database}.schema_migrations (
    number UInt32, name String, checksum String, status LowCardinality(String), at DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(at) ORDER BY (number, name)"""


class MigrationError(UserError):
    """The migration files do not fit what the database remembers of them."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A file of SQL statements, each of which may be run again."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return content_hash(self.text.encode())

    def statements(self, database: str) -> list[str]:
        """The statements for this database: each ends with a semicolon at the end of a line; comments are left out."""
        parts = (part.strip() for part in _END.split(_COMMENT.sub("", self.text)))
        return [part.replace("{database}", quoted(database)) for part in parts if part]


def read_migrations(folder: Any = None) -> list[Migration]:
    """The migrations in the order of their numbers. Raises MigrationError when a number is missing, or there twice."""
    migrations = []
    for file in (folder or files("schemas.clickhouse")).iterdir():
        if not file.name.endswith(".sql"):
            continue
        match = _NAME.match(file.name)
        if match is None:
            raise MigrationError(f"{file.name} is not the name of a migration: call it NNNN_what_it_does.sql")
        migrations.append(Migration(int(match[1]), file.name, file.read_text()))
    migrations.sort(key=lambda migration: migration.name)
    for expected, migration in enumerate(migrations, 1):
        if migration.number != expected:
            kind = "is there twice" if migration.number < expected else "is missing"
            raise MigrationError(
                f"migration {min(expected, migration.number):04d} {kind} (at {migration.name}): numbers run without gaps"
            )
    return migrations


def pending(client: Client, database: str, migrations: list[Migration]) -> list[Migration]:
    """The migrations that the database has not finished. Raises MigrationError when an applied file was changed or is gone."""
    by_name = {migration.name: migration for migration in migrations}
    applied = _applied(client, database)
    for name, (checksum, status) in applied.items():
        if name not in by_name:
            raise MigrationError(f"{database} was migrated by {name}, which this version does not have: use the newer version")
        if status == "done" and by_name[name].checksum != checksum:
            raise MigrationError(
                f"{name} was changed after it had been applied to {database}: undo the change, and add a new migration"
            )
    return [migration for migration in migrations if applied.get(migration.name, ("", ""))[1] != "done"]


def _applied(client: Client, database: str) -> dict[str, tuple[str, str]]:
    tables = client.query(
        "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'schema_migrations'",
        parameters={"database": database},
    ).result_rows
    if not tables[0][0]:
        return {}
    rows = client.query(f"SELECT name, checksum, status FROM {quoted(database)}.schema_migrations FINAL").result_rows  # noqa: S608 - a quoted name
    return {name: (checksum, status) for name, checksum, status in rows}


def migrate(client: Client, database: str, migrations: list[Migration] | None = None) -> list[Migration]:
    """Apply the pending migrations and return them. An interrupted one is run again, which its statements allow."""
    to_do = pending(client, database, read_migrations() if migrations is None else migrations)
    if not to_do:
        return []
    client.command(f"CREATE DATABASE IF NOT EXISTS {quoted(database)}")
    client.command(MIGRATIONS_TABLE.replace("{database}", quoted(database)))
    for migration in to_do:
        _record_status(client, database, migration, "started")
        for statement in migration.statements(database):
            client.command(statement)
        _record_status(client, database, migration, "done")
    return to_do


def _record_status(client: Client, database: str, migration: Migration, status: str) -> None:
    row = [migration.number, migration.name, migration.checksum, status, datetime.now(UTC)]
    client.insert("schema_migrations", [row], ["number", "name", "checksum", "status", "at"], database=database)


def run_migrate(settings: Settings, *, dry_run: bool = False) -> Iterator[str]:
    """Migrate the database of the settings, yielding a line for each migration; with ``dry_run`` the SQL that would run."""
    client = open_client(settings.clickhouse.get_secret_value(), "default")  # its own is made here; the statements name it
    try:
        if dry_run:
            yield from _statements(pending(client, settings.database, read_migrations()), settings.database)
            return
        applied = migrate(client, settings.database)
        for migration in applied:
            yield f"{settings.database}: applied {migration.name}"
        if not applied:
            yield f"{settings.database}: nothing to do"
    finally:
        client.close()


def _statements(migrations: list[Migration], database: str) -> Iterator[str]:
    for migration in migrations:
        yield f"-- {migration.name}"
        for statement in migration.statements(database):
            yield f"{statement};\n"
