"""The JSON Schema (draft 2020-12) of a contract as it is written: closed, with patterns for money."""

from __future__ import annotations

from typing import Any

from schemas.base import Contract

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NAMED = {"properties", "patternProperties", "$defs"}
_LISTED = {"anyOf", "prefixItems"}
_NESTED = {"items", "additionalProperties"}
_ORDER = ("title", "description", "$ref", "type", "enum", "properties", "required", "additionalProperties", "$defs")


def schema_id(event_type: str) -> str:
    """What ``dataschema`` and ``$ref`` call the schema of an event's type.

    >>> schema_id("duewatch.invoice.issued.v1")
    'urn:duewatch:schema:duewatch.invoice.issued.v1'
    """
    return f"urn:duewatch:schema:{event_type}"


def schema_of(event_type: str, contract: type[Contract]) -> dict[str, Any]:
    """The schema of the body (``data``) of events of this type.

    Writers keep to it, nothing more and nothing less; readers pass over fields that they do not know.
    """
    body: dict[str, Any] = _tidy(contract.model_json_schema(mode="serialization"))
    return {"$schema": DIALECT, "$id": schema_id(event_type), **body}


def _tidy(schema: Any) -> Any:
    """The same, with every object closed, what it is first, and no titles that only repeat a field's name."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "object":
        schema = {"additionalProperties": False, **schema}
    tidied = {key: _tidied(key, schema[key]) for key in sorted(schema, key=_place)}
    for field in tidied.get("properties", {}).values():
        field.pop("title", None)
    return tidied


def _tidied(key: str, value: Any) -> Any:
    if key in _NAMED:
        return {name: _tidy(schema) for name, schema in value.items()}
    if key in _LISTED:
        return [_tidy(schema) for schema in value]
    return _tidy(value) if key in _NESTED else value


def _place(key: str) -> tuple[int, str]:
    return (_ORDER.index(key) if key in _ORDER else len(_ORDER) - 4, key)
