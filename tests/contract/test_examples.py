"""Golden messages: the good ones fit their contracts in every way, the bad ones are refused for the reason they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft202012Validator, FormatChecker

from schemas.events.envelope import Event, Rejection, impossible_date
from schemas.generate import EXAMPLES, GENERATED
from schemas.registry import CONTRACTS, TOPICS
from streams.kafka.codec import decode, to_structured

GOOD = sorted(path for path in EXAMPLES.glob("*/*.json") if path.parent.name != "bad")
BAD = sorted((EXAMPLES / "bad").glob("*.json"))
ONE_OF = {"duewatch.invoice.amended.v1": ("due_on",)}
"""Types of which one of several optional fields must be there: the one that their minimal example has."""
STRUCTURED = [("content-type", b"application/cloudevents+json")]


def _id(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _validator(event_type: str) -> Draft202012Validator:
    return Draft202012Validator(_load(GENERATED / f"{event_type}.json"), format_checker=FormatChecker())


good = pytest.mark.parametrize("path", GOOD, ids=_id)


@good
def test_good_example_has_the_type_of_its_folder(path: Path) -> None:
    assert _load(path)["type"] == path.parent.name


@good
def test_good_example_fits_its_contract_and_comes_back_equal(path: Path) -> None:
    contract, data = CONTRACTS[path.parent.name], _load(path)["data"]
    read = contract.model_validate(data)
    assert contract.model_validate(read.model_dump(mode="json")) == read
    assert contract.model_validate_json(read.model_dump_json()) == read


@good
def test_good_example_fits_the_json_schema_as_sent_and_as_written(path: Path) -> None:
    event_type, data = path.parent.name, _load(path)["data"]
    _validator(event_type).validate(data)
    _validator(event_type).validate(CONTRACTS[event_type].model_validate(data).model_dump(mode="json"))


@good
def test_good_example_is_read_in_each_topic_of_its_type(path: Path) -> None:
    envelope = _load(path)
    for topic in TOPICS.values():
        if envelope["type"] in topic.contracts:
            event = decode(topic.name, envelope["partitionkey"].encode(), path.read_bytes(), STRUCTURED)
            assert isinstance(event, Event), event
            assert impossible_date(event.data, event.recorded) is None


@good
def test_good_example_keeps_its_envelope(path: Path) -> None:
    envelope = _load(path)
    topic = next(topic.name for topic in TOPICS.values() if envelope["type"] in topic.contracts)
    event = decode(topic, envelope["partitionkey"].encode(), path.read_bytes(), STRUCTURED)
    assert isinstance(event, Event), event
    actual = to_structured(event)
    optional = {"partitionkey"} if "subject" not in envelope else set()
    assert {k: v for k, v in envelope.items() if k != "data" and k not in optional} == {
        k: v for k, v in actual.items() if k != "data"
    } | ({"recordedtime": envelope["recordedtime"]})


@good
def test_good_example_is_a_cloud_event_to_the_official_library(path: Path) -> None:
    event = from_structured(KafkaMessage(headers=dict(STRUCTURED), key=None, value=path.read_bytes()), JSONFormat())
    assert (event.get_id(), event.get_type(), event.get_source()) == tuple(_load(path)[name] for name in ("id", "type", "source"))


@pytest.mark.parametrize("event_type", CONTRACTS)
def test_minimal_example_has_just_what_is_required_and_full_all_there_is(event_type: str) -> None:
    schema = _load(GENERATED / f"{event_type}.json")
    minimal = _load(EXAMPLES / event_type / "1-minimal.json")["data"]
    full = _load(EXAMPLES / event_type / "2-full.json")["data"]
    assert set(minimal) == {*schema.get("required", []), *ONE_OF.get(event_type, ())}
    assert full == CONTRACTS[event_type].model_validate(full).model_dump(mode="json"), (
        "the full example is in wire form, nothing left out"
    )


def test_every_folder_of_examples_is_a_type() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == {*CONTRACTS, "bad"}


def test_ids_of_good_examples_are_unique_within_their_type() -> None:
    for event_type in CONTRACTS:
        ids = [_load(path)["id"] for path in GOOD if path.parent.name == event_type]
        assert len(ids) == len(set(ids)) >= 2


@pytest.mark.parametrize("path", BAD, ids=_id)
def test_bad_example_is_refused_for_the_reason_it_names(path: Path) -> None:
    case = _load(path)
    value = case["text"].encode() if "text" in case else json.dumps(case["event"]).encode()
    rejection = decode(case["topic"], case["key"] and case["key"].encode(), value, STRUCTURED)
    assert isinstance(rejection, Rejection), f"taken, although it holds {case['what']}"
    assert rejection.field == case["field"]
    assert case["reason"] in rejection.reason


def test_there_are_some_fifty_bad_examples() -> None:
    assert len(BAD) >= 50
