"""Two places that should say the same and do not: debtor, field, both values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import orjson

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
    """A value as JSON; bytes that are none are shown as they are."""
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return repr(value)


def compare_fields(expected: Any, found: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(field, expected, found) of all that differs between two JSON values.

    >>> list(compare_fields({"a": {"b": "1.00"}, "c": [1, 2]}, {"a": {"b": "2.00"}, "c": [1, 2]}))
    [('a.b', '1.00', '2.00')]
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            yield from compare_fields(expected.get(key), found.get(key), f"{name}.{key}" if name else key)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from compare_fields(one, other, f"{name}[{number}]")
    elif expected != found:
        yield name or "row", expected, found


def shown(value: Any) -> str:
    """A JSON value in words."""
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else orjson.dumps(value).decode()
