"""What is published says the same to every reader: patterns in every dialect of regular expressions, AsyncAPI in draft 7."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Annotated, Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from pydantic import StringConstraints, TypeAdapter

from schemas.base import PositiveAmount, Rate, parse_positive, parse_rate
from schemas.generate import ASYNCAPI, GENERATED
from schemas.registry import CONTRACTS

ASYNCAPI_DOCUMENT: dict[str, Any] = json.loads((GENERATED / ASYNCAPI).read_text(encoding="utf-8"))
ABOVE_ZERO = [
    pytest.param(PositiveAmount, parse_positive, r"^(?=.*[1-9])[0-9]{1,13}(\.[0-9]{1,3})?$", id="amount"),
    pytest.param(Rate, parse_rate, r"^(?=.*[1-9])[0-9]{1,9}(\.[0-9]{1,12})?$", id="rate"),
]
ANNOTATIONS = {"$ref", "title", "description", "default", "examples"}


def short_texts(alphabet: str, most: int) -> Iterator[str]:
    """Every text of these characters, from the empty one to those of ``most`` characters."""
    for length in range(most + 1):
        yield from map("".join, itertools.product(alphabet, repeat=length))


def is_taken(parse: Callable[[Any], Decimal], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and all in it, as draft 7 finds them: what stands under a word that it does not know is no schema."""
    if not isinstance(schema, dict):
        return
    yield schema
    for word, value in schema.items():
        if word in {"properties", "patternProperties", "definitions"}:
            inner = list(value.values())
        elif word in {"items", "additionalItems", "additionalProperties", "allOf", "anyOf", "oneOf", "not"}:
            inner = value if isinstance(value, list) else [value]
        else:
            inner = []
        for part in inner:
            yield from subschemas(part)


def embedded_schemas() -> list[dict[str, Any]]:
    """Payloads, headers and keys of the AsyncAPI document."""
    components = ASYNCAPI_DOCUMENT["components"]
    messages = components["messages"].values()
    keys = [message["bindings"]["kafka"]["key"] for message in messages]
    return [*components["schemas"].values(), *(message["headers"] for message in messages), *keys]


def patterns(node: Any) -> Iterator[str]:
    """Every regular expression in a document."""
    if isinstance(node, list):
        for item in node:
            yield from patterns(item)
    elif isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        yield from node.get("patternProperties", {})
        for value in node.values():
            yield from patterns(value)


@pytest.mark.parametrize(("kind", "parse", "look_ahead"), ABOVE_ZERO)
def test_a_schema_above_zero_takes_what_the_code_takes_and_the_look_ahead_took(
    kind: Any, parse: Callable[[Any], Decimal], look_ahead: str
) -> None:
    schema = TypeAdapter(kind).json_schema(mode="serialization")
    parts = [re.compile(schema["pattern"]), *(re.compile(part["pattern"]) for part in schema["allOf"])]
    before = re.compile(look_ahead)
    for text in short_texts("019.-", 6):
        is_in_schema = all(part.search(text) for part in parts)
        assert is_in_schema == is_taken(parse, text) == bool(before.search(text)), text
    validator = Draft202012Validator(schema)
    for zeros, digit, tail in itertools.product(range(14), "05", ("", ".0", ".01", ".001", ".0000000000001")):
        text = "0" * zeros + digit + tail
        assert validator.is_valid(text) == bool(before.search(text)), text


def test_every_pattern_compiles_without_look_around_or_back_references() -> None:
    """pydantic's own engine is Rust's, which knows neither, as Go's does not."""
    documents = [json.loads((GENERATED / f"{event_type}.json").read_text()) for event_type in CONTRACTS]
    expressions = {pattern for document in [*documents, ASYNCAPI_DOCUMENT] for pattern in patterns(document)}
    assert len(expressions) >= 5
    for pattern in expressions:
        TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])


def test_asyncapi_embeds_no_word_that_draft_7_does_not_know() -> None:
    known = set(Draft7Validator.META_SCHEMA["properties"])
    for schema in embedded_schemas():
        Draft7Validator.check_schema(schema)
        for part in subschemas(schema):
            assert {word for word in part if not word.startswith("x-")} <= known


def test_asyncapi_says_nothing_beside_a_reference_that_draft_7_would_pass_over() -> None:
    parts = [part for schema in embedded_schemas() for part in subschemas(schema) if "$ref" in part]
    assert parts
    assert all(part.keys() <= ANNOTATIONS for part in parts)


def test_asyncapi_refuses_a_header_that_is_no_pair_of_texts() -> None:
    reference = {"$ref": "#/components/schemas/duewatch.record.rejected.v1/properties/headers"}
    headers = Draft7Validator({**reference, "components": ASYNCAPI_DOCUMENT["components"]})
    assert headers.is_valid([["ce_id", "YQ=="]])
    for wrong in ([1, {"x": 2}], ["ce_id"], ["ce_id", "YQ==", "YQ=="]):
        assert not headers.is_valid([wrong]), wrong
