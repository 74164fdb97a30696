"""Compare two places that should say the same; a difference names the debtor, the field and both values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

import orjson

from schemas.events.envelope import Output
from streams.kafka.codec import json_of

Kind = Literal["state", "journal", "clickhouse", "events", "outputs"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Difference:
    """Two places that should say the same. ``subject``: the debtor, or what else it is about; ``where``: row or record."""

    kind: Kind
    subject: str
    where: str
    field: str
    expected: str
    """What follows from the log."""
    found: str


def read_json(value: bytes | None) -> Any:
    """A value as JSON; bytes that are not JSON are returned as Python writes them."""
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return repr(value)


def compare_fields(expected: Any, actual: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(field, expected, actual) of all that differs between two JSON values.

    >>> list(compare_fields({"a": {"b": "1.00"}, "c": [1, 2]}, {"a": {"b": "2.00"}, "c": [1, 2]}))
    [('a.b', '1.00', '2.00')]
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in sorted(expected.keys() | actual.keys()):
            yield from compare_fields(expected.get(key), actual.get(key), f"{name}.{key}" if name else key)
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for number, (left, right) in enumerate(zip(expected, actual, strict=True)):
            yield from compare_fields(left, right, f"{name}[{number}]")
    elif expected != actual:
        yield name or "row", expected, actual


def display(value: Any) -> str:
    """A JSON value as people read it.

    >>> display(None), display("12.00"), display([1, 2])
    ('absent', '12.00', '[1,2]')
    """
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else orjson.dumps(value).decode()


# -- what ClickHouse keeps of an output
def columns_of(output: Output) -> dict[str, Any]:
    """What ClickHouse keeps of an output, by column: its body, its id and its causes."""
    causes = {"id": output.id, "causation_id": output.causation_id, "correlation_id": output.correlation_id}
    return dict(orjson.loads(json_of(output.data))) | causes


def is_alike(column: Any, value: Any) -> bool:
    """Whether a column of ClickHouse says the same as our JSON; what the column does not hold is not compared.

    >>> is_alike(91100, "91100.00"), is_alike("2024-07-11 00:00:00.000000", "2024-07-11T00:00:00Z")
    (True, True)
    >>> is_alike([{"code": "overdue"}], [{"code": "overdue", "family": "delays"}])
    True
    """
    if isinstance(column, dict) and isinstance(value, dict):
        return all(is_alike(part, value.get(name)) for name, part in column.items())
    if isinstance(column, list) and isinstance(value, list):
        return len(column) == len(value) and all(map(is_alike, column, value))
    return bool(column == value or _typed(column) == _typed(value))


def _typed(value: Any) -> Any:
    """A number or an instant as such, in whichever of the two ways it is written."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        return Decimal(str(value))
    except InvalidOperation:
        pass
    try:
        instant = datetime.fromisoformat(str(value))
    except ValueError:
        return value
    return instant.replace(tzinfo=instant.tzinfo or UTC)
