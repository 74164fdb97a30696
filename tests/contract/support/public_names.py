"""Every name that outsiders rely on, as one nested dictionary: from topics and fields to commands, metrics and columns.

`python -m tests.contract.support.public_names` writes the committed list anew. A name that is gone from it breaks somebody's
dashboard, script or consumer: add names freely, remove or rename one only with a new version of its contract.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.registry import TOPICS
from streams.cli.main import duewatch
from streams.clickhouse.client import open_client
from streams.clickhouse.migrate import migrate
from streams.metrics import NAMES
from streams.settings import variables

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

COMMITTED = Path(__file__).parents[1] / "public_names.json"

Names = dict[str, Any]


def names_in_code() -> Names:
    """Topics with their contracts and fields, commands with their options, settings and metrics."""
    return {
        "topics": {topic.name: _topic(topic.name) for topic in TOPICS.values()},
        "commands": _commands(duewatch),
        "settings": sorted(variable for variable, _, _ in variables()),
        "metrics": sorted(NAMES),
    }


def names_in_clickhouse(client: Client, database: str) -> Names:
    """Tables and views of a migrated database, each with its columns and their types."""
    query = "SELECT table, name, type FROM system.columns WHERE database = {database:String} ORDER BY table, name"
    columns: Names = {}
    for table, column, kind in client.query(query, parameters={"database": database}).result_rows:
        columns.setdefault(table, {})[column] = kind
    return {"columns": columns}


def missing(committed: Names, present: Names, place: str = "") -> list[str]:
    """Paths of what is committed and no longer present, or present with another value.

    >>> missing({"a": ["x", "y"], "b": {"c": "Int"}}, {"a": ["y", "z"], "b": {"c": "Text", "d": ""}})
    ['a: x', "b.c: 'Int' is now 'Text'"]
    """
    gone = []
    for key, value in committed.items():
        path = f"{place}{key}"
        if key not in present:
            gone.append(path)
        elif isinstance(value, dict):
            gone += missing(value, present[key], f"{path}.")
        elif isinstance(value, list):
            gone += [f"{path}: {name}" for name in value if name not in present[key]]
        elif value != present[key]:
            gone.append(f"{path}: {value!r} is now {present[key]!r}")
    return gone


def _topic(name: str) -> Names:
    topic = TOPICS[name]
    settings = {"key": topic.key, "cleanup": topic.cleanup, "partitions": topic.partitions, "direction": topic.direction}
    return {**settings, "types": {kind: _fields(contract.model_json_schema()) for kind, contract in topic.contracts.items()}}


def _fields(schema: Names) -> list[str]:
    """Names of a contract's fields and their enumerated values; those of nested values behind their definition's name."""
    names = _properties(schema, "")
    for definition, nested in schema.get("$defs", {}).items():
        names += _properties(nested, f"{definition}.")
    return sorted(names)


def _properties(schema: Names, place: str) -> list[str]:
    names = [f"{place}={value}" for value in schema.get("enum", ())]
    for name, field in schema.get("properties", {}).items():
        names.append(f"{place}{name}")
        variants = [field, field.get("items", {}), *field.get("anyOf", ())]
        names += [f"{place}{name}={value}" for variant in variants for value in variant.get("enum", ())]
    return names


def _commands(group: click.Group, path: str = "") -> Names:
    rows: Names = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            rows |= _commands(command, f"{path}{name} ")
        else:
            rows[f"{path}{name}"] = sorted(option for parameter in command.params for option in _spellings(parameter))
    return rows


def _spellings(parameter: click.Parameter) -> list[str]:
    return [*parameter.opts, *parameter.secondary_opts] if isinstance(parameter, click.Option) else [f"<{parameter.name}>"]


def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        client = open_client(f"chdb://{folder}/clickhouse")
        migrate(client, "duewatch")
        names = names_in_code() | names_in_clickhouse(client, "duewatch")
        client.close()
    COMMITTED.write_text(json.dumps(names, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _main()
