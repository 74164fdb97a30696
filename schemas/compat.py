"""Compatibility: whether a changed JSON Schema still reads all that was written under an older one, and if not, what to do.

Covers what pydantic generates for our contracts: objects, arrays, tuples, dictionaries, choices, and limits on values. What it
does not know and finds changed, it refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

_WORDS_ONLY = {"$schema", "$id", "$defs", "title", "description", "examples", "default", "deprecated", "x-schema-id"}
_LOWER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_UPPER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_OBJECT = {"properties", "required", "additionalProperties", "patternProperties"}
_JUDGED = _WORDS_ONLY | _LOWER | _UPPER | _OBJECT | {"type", "enum", "const", "items", "prefixItems", "anyOf"}


@dataclass(frozen=True, slots=True)
class Break:
    """One reason why a change is not compatible, and how to fix it."""

    event_type: str
    field: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.event_type}: {self.field or 'the body'} {self.what}; {self.fix}"


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two versions of a schema, and the field that is being compared."""

    event_type: str
    old: Schema
    new: Schema
    field: str = ""

    def at(self, field: str) -> _Pair:
        return _Pair(self.event_type, self.old, self.new, field)

    def broken(self, what: str, fix: str = "") -> list[Break]:
        return [Break(self.event_type, self.field, what, fix or f"keep it as it was or publish {next_version(self.event_type)}")]


def next_version(event_type: str) -> str:
    """The type under which an incompatible change is published.

    >>> next_version("duewatch.invoice.issued.v1")
    'duewatch.invoice.issued.v2'
    """
    stem, _, version = event_type.rpartition(".v")
    return f"{stem}.v{int(version) + 1}"


def breaks(event_type: str, old: Schema, new: Schema) -> list[Break]:
    """Why readers of ``new`` cannot read what was written under ``old``; empty = they can.

    >>> text = {"type": "string"}
    >>> old = {"type": "object", "properties": {"a": text}, "required": ["a"]}
    >>> new = {"type": "object", "properties": {"a": text, "b": text}, "required": ["a", "b"]}
    >>> print(*breaks("duewatch.invoice.issued.v1", old, new))
    duewatch.invoice.issued.v1: b is new and required; make it optional or publish duewatch.invoice.issued.v2
    """
    return _compare(_Pair(event_type, old, new), old, new)


def _compare(pair: _Pair, old: Schema, new: Schema) -> list[Break]:
    old, new = _resolve(old, pair.old), _resolve(new, pair.new)
    if "anyOf" in old or "anyOf" in new:
        return _compare_choices(pair, old, new)
    if not _types(old) <= _types(new):
        return pair.broken(f"was a {_name(old)} and is a {_name(new)}")
    return [
        *_compare_words(pair, old, new),
        *_compare_limits(pair, old, new),
        *_compare_fields(pair, old, new),
        *_compare_rest(pair, old, new),
    ]


def _resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = {**root["$defs"][schema["$ref"].removeprefix("#/$defs/")]}
    return schema


def _types(schema: Schema) -> set[str]:
    if "type" not in schema:
        return {_json_type(value) for value in [*schema.get("enum", []), *([schema["const"]] if "const" in schema else [])]}
    types = schema["type"]
    names = {types} if isinstance(types, str) else set(types)
    return names | ({"integer"} if "number" in names else set())


def _json_type(value: object) -> str:
    return {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}[type(value)]


def _name(schema: Schema) -> str:
    names = schema.get("type", "choice")
    return names if isinstance(names, str) else " or ".join(names)


def _choices(schema: Schema) -> list[Schema]:
    choices: list[Schema] = schema.get("anyOf", [schema])
    return choices


def _compare_choices(pair: _Pair, old: Schema, new: Schema) -> list[Break]:
    """Each of the old choices must be readable as one of the new ones."""
    broken: list[Break] = []
    for choice in _choices(old):
        tried = [_compare(pair, choice, other) for other in _choices(new)]
        if all(tried):
            null = _types(_resolve(choice, pair.old)) == {"null"}
            # The nearest choice says most: the one with the fewest differences, of equals the first (null comes last).
            nearest = min(tried, key=len)
            broken += pair.broken("could be null and no longer can") if null else nearest
    return broken


def _compare_words(pair: _Pair, old: Schema, new: Schema) -> list[Break]:
    """Words that could be sent must still be readable; new ones are welcome."""
    allowed = _words(new)
    if allowed is None:
        return []
    before = _words(old)
    if before is None:
        return pair.broken("was free and is now one of a list")
    missing = [word for word in before if word not in allowed]
    return pair.broken(f"no longer takes {', '.join(map(repr, missing))}") if missing else []


def _words(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _compare_limits(pair: _Pair, old: Schema, new: Schema) -> list[Break]:
    broken: list[Break] = []
    for limit in sorted((_LOWER | _UPPER) & set(new)):
        before, after = old.get(limit), new[limit]
        if before is None or (after > before if limit in _LOWER else after < before):
            broken += pair.broken(f"has a tighter {limit}: {after} instead of {'none' if before is None else before}")
    return broken


def _compare_fields(pair: _Pair, old: Schema, new: Schema) -> list[Break]:
    """Objects: fields stay, keep their meaning, and what is new is optional."""
    before, after = old.get("properties", {}), new.get("properties", {})
    broken: list[Break] = []
    for name in before:
        here = pair.at(_join(pair.field, name))
        if name in after:
            broken += _compare(here, before[name], after[name])
        else:
            fix = f"keep it (a better name can stand beside it, optional) or publish {next_version(pair.event_type)}"
            broken += here.broken("was removed or renamed", fix)
    for name in new.get("required", []):
        if name not in old.get("required", []):
            what = "was optional and is required" if name in before else "is new and required"
            fix = f"make it optional or publish {next_version(pair.event_type)}"
            broken += pair.at(_join(pair.field, name)).broken(what, fix)
    return broken


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _compare_rest(pair: _Pair, old: Schema, new: Schema) -> list[Break]:
    """Compare items, tuples and dictionaries; every keyword that is not judged elsewhere must be the same."""
    broken: list[Break] = []
    item = pair.at(f"{pair.field}[]")
    if "items" in new:
        broken += _compare(item, old["items"], new["items"]) if "items" in old else item.broken("are now of one type only")
    broken += _compare_tuples(pair, old.get("prefixItems", []), new.get("prefixItems", []))
    broken += _compare_dictionaries(pair, old, new)
    for keyword in sorted((set(old) | set(new)) - _JUDGED):
        if keyword in new and old.get(keyword) != new[keyword]:
            broken += pair.broken(f"has another {keyword}: {new[keyword]} instead of {old.get(keyword, 'none')}")
    return broken


def _compare_tuples(pair: _Pair, old: list[Schema], new: list[Schema]) -> list[Break]:
    if len(old) != len(new):
        return pair.broken(f"has {len(new)} elements instead of {len(old)}")
    places = [pair.at(f"{pair.field}[{n}]") for n in range(len(old))]
    return [one_break for place, a, b in zip(places, old, new, strict=True) for one_break in _compare(place, a, b)]


def _compare_dictionaries(pair: _Pair, old: Schema, new: Schema) -> list[Break]:
    """Compare the values of dictionaries. A closed object may be opened; an open one may not be closed."""
    before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
    value = pair.at(f"{pair.field}.*")
    broken: list[Break] = []
    if isinstance(before, dict) and isinstance(after, dict):
        broken += _compare(value, before, after)
    elif before is not False and after is not True and before != after:
        broken += value.broken("were free and are no longer")
    patterns = new.get("patternProperties", {})
    if set(patterns) != set(old.get("patternProperties", {})):
        return broken + pair.broken("has other rules for the names of its entries")
    for pattern, schema in patterns.items():
        broken += _compare(value, old["patternProperties"][pattern], schema)
    return broken
