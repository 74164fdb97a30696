"""What is generated is committed, closed, and consistent with the registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from schemas import generate
from schemas.json_schema import DIALECT, schema_id
from schemas.registry import CONTRACTS, TOPICS


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    return generate.documents()


@pytest.fixture(scope="module")
def asyncapi(documents: dict[str, str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(documents[generate.ASYNCAPI])
    return document


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(child)


def _resolve(document: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


def test_committed_files_are_those_of_the_contracts(documents: dict[str, str]) -> None:
    present = generate.read(generate.GENERATED)
    assert [name for name in documents.keys() | present.keys() if documents.get(name) != present.get(name)] == [], generate.FIX


def test_generating_twice_gives_the_same_bytes(documents: dict[str, str]) -> None:
    assert generate.documents() == documents


def test_check_prints_what_differs_and_the_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], documents: dict[str, str]
) -> None:
    generate.write(tmp_path, documents)
    assert generate.main(["--check"], tmp_path) == 0
    name = "duewatch.rates.published.v1.json"
    (tmp_path / name).write_text(documents[name].replace("Rates", "Courses"))
    assert generate.main(["--check"], tmp_path) == 1
    output = capsys.readouterr().out
    assert f"committed/{name}" in output
    assert "make schemas" in output


def test_writing_removes_what_is_no_longer_generated(tmp_path: Path) -> None:
    generate.write(tmp_path, {"a.json": "{}", "b.json": "{}"})
    generate.write(tmp_path, {"b.json": "[]"})
    assert generate.read(tmp_path) == {"b.json": "[]"}


@pytest.mark.parametrize("event_type", CONTRACTS)
def test_schema_is_valid_named_and_closed(event_type: str, documents: dict[str, str]) -> None:
    schema = json.loads(documents[f"{event_type}.json"])
    Draft202012Validator.check_schema(schema)
    assert (schema["$schema"], schema["$id"]) == (DIALECT, schema_id(event_type))
    assert all(node.get("additionalProperties") is not None for node in _nodes(schema) if node.get("type") == "object")


@pytest.mark.parametrize("event_type", CONTRACTS)
def test_every_decimal_has_a_pattern(event_type: str) -> None:
    schema = json.loads((generate.GENERATED / f"{event_type}.json").read_text())
    for node in _nodes(schema):
        default = node.get("default")
        if node.get("type") == "string" and isinstance(default, str) and default.replace(".", "").isdigit():
            assert "pattern" in node


@pytest.mark.parametrize("event_type", CONTRACTS)
def test_every_contract_says_what_it_is(event_type: str) -> None:
    schema = json.loads((generate.GENERATED / f"{event_type}.json").read_text())
    assert len(schema["description"]) >= 20
    assert all(len(definition["description"]) >= 20 for definition in schema.get("$defs", {}).values())


def test_asyncapi_names_every_topic_that_carries_contracts(asyncapi: dict[str, Any]) -> None:
    assert asyncapi["asyncapi"] == "3.0.0"
    assert set(asyncapi["channels"]) == {topic.name for topic in TOPICS.values() if topic.contracts}
    for name, channel in asyncapi["channels"].items():
        kafka = channel["bindings"]["kafka"]
        assert kafka.get("partitions") == TOPICS[name].partitions
        assert kafka["topicConfiguration"]["cleanup.policy"] == [TOPICS[name].cleanup]
        assert set(channel["messages"]) == set(TOPICS[name].contracts)


def test_asyncapi_references_lead_somewhere(asyncapi: dict[str, Any]) -> None:
    references = [node["$ref"] for node in _nodes(asyncapi) if isinstance(node.get("$ref"), str)]
    assert references
    for reference in references:
        assert isinstance(_resolve(asyncapi, reference), dict), reference


def test_asyncapi_operations_say_who_sends_what(asyncapi: dict[str, Any]) -> None:
    operations = {(o["channel"]["$ref"].removeprefix("#/channels/"), o["action"]) for o in asyncapi["operations"].values()}
    actions = {"in": ["receive"], "out": ["send"], "internal": ["send", "receive"]}
    assert operations == {(t.name, action) for t in TOPICS.values() if t.contracts for action in actions[t.direction]}


def test_asyncapi_examples_fit_their_headers_and_payload(asyncapi: dict[str, Any]) -> None:
    for name, message in asyncapi["components"]["messages"].items():
        headers = Draft7Validator(message["headers"])
        payload = Draft7Validator({"$ref": f"#/components/schemas/{name}", "components": asyncapi["components"]})
        for example in message["examples"]:
            headers.validate(example["headers"])
            payload.validate(example["payload"])


def test_last_commit_is_the_baseline_and_without_git_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert generate.committed(tmp_path) == {"a.json": "{}"}
