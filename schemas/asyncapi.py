"""The AsyncAPI 3.0 document of all topics: channels, operations and messages with their CloudEvents headers."""

from __future__ import annotations

from typing import Any

from schemas.base import Contract
from schemas.json_schema import schema_id
from schemas.registry import TOPICS, Topic

_TEXT = {"type": "string", "minLength": 1}
_TIME = {"type": "string", "format": "date-time"}
_HEADERS: dict[str, dict[str, Any]] = {
    "content-type": {"type": "string", "const": "application/json"},
    "ce_specversion": {"type": "string", "const": "1.0"},
    "ce_id": {**_TEXT, "description": "Of this event; the same id with the same content is the same event."},
    "ce_source": {**_TEXT, "description": "Who sent it."},
    "ce_subject": {**_TEXT, "description": "The customer_id, where it is about a debtor."},
    "ce_time": {**_TIME, "description": "When it happened, in UTC."},
    "ce_recordedtime": {**_TIME, "description": "When it was known, in UTC; dates are judged against it."},
    "ce_partitionkey": {**_TEXT, "description": "The key of the record."},
    "ce_causationid": {**_TEXT, "description": "The id of the event that caused this one."},
    "ce_correlationid": {**_TEXT, "description": "Shared by all that follows from one event."},
}
_REQUIRED = ["content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_recordedtime"]
_KEYS = {
    "customer": {"type": "string", "minLength": 1, "maxLength": 128, "description": "customer_id; partitioned with murmur2"},
    "partition": {"type": "string", "description": "the partition's number: a record is written to each"},
    "none": {"type": "string", "description": "anything that names the record; the topic has one partition"},
}


def document(schemas: dict[str, dict[str, Any]], examples: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The whole document. ``schemas`` and ``examples`` (structured CloudEvents) are by type."""
    topics = [topic for topic in TOPICS.values() if topic.contracts]
    messages: dict[str, Any] = {}
    for topic in topics:
        for event_type, contract in topic.contracts.items():
            messages[event_type] = _message(event_type, contract, topic, examples[event_type])
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "duewatch",
            "version": "1.0.0",  # of this document; every contract has its own in its type (.v1)
            "description": (
                "A risk monitor for B2B receivables. Records are CloudEvents 1.0 in binary mode. Topics are written without the "
                "prefix of their deployment; where no partitions are named, the deployment's own count holds (12 by default)."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in topics},
        "operations": {name: operation for topic in topics for name, operation in _operations(topic).items()},
        "components": {"messages": messages, "schemas": {name: _embedded(name, schema) for name, schema in schemas.items()}},
    }


def _channel(topic: Topic) -> dict[str, Any]:
    """A topic. A topic of N partitions (the deployment's own count) names none."""
    settings = topic.broker_config()
    known = {name: int(settings[name]) for name in ("retention.ms", "max.message.bytes") if name in settings}
    kafka: dict[str, Any] = {"topic": topic.name, "bindingVersion": "0.5.0"}
    if topic.partitions is not None:
        kafka["partitions"] = topic.partitions
    kafka["topicConfiguration"] = {"cleanup.policy": [topic.cleanup], **known}
    return {
        "address": topic.name,
        "description": topic.about,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in topic.contracts},
        "bindings": {"kafka": kafka},
    }


def _operations(topic: Topic) -> dict[str, Any]:
    """As duewatch sees it: it receives what is in, sends what is out, and does both with what it tells itself."""
    actions = {"in": ("receive",), "out": ("send",), "internal": ("receive", "send")}[topic.direction]
    return {
        f"{action}-{topic.name}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{topic.name}"},
            "summary": topic.about,
            "messages": [{"$ref": f"#/channels/{topic.name}/messages/{name}"} for name in topic.contracts],
        }
        for action in actions
    }


def _message(event_type: str, contract: type[Contract], topic: Topic, examples: list[dict[str, Any]]) -> dict[str, Any]:
    headers = {**_HEADERS, "ce_type": {"type": "string", "const": event_type}}
    return {
        "name": event_type,
        "title": contract.__name__,
        "summary": (contract.__doc__ or "").split("\n", 1)[0],
        "contentType": "application/json",
        "headers": {"type": "object", "properties": dict(sorted(headers.items())), "required": _REQUIRED},
        "payload": {"$ref": f"#/components/schemas/{event_type}"},
        "bindings": {"kafka": {"key": _KEYS[topic.key], "bindingVersion": "0.5.0"}},
        "examples": [{"headers": _headers_of(example), "payload": example["data"]} for example in examples],
    }


def _headers_of(example: dict[str, Any]) -> dict[str, Any]:
    """Binary mode: every attribute but the body and its content type becomes a header ``ce_NAME``."""
    attributes = {f"ce_{name}": value for name, value in example.items() if name not in {"data", "datacontenttype"}}
    return {"content-type": "application/json", **attributes}


def _embedded(event_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without its own identity, with local references that hold inside the document, in the words of draft 7.

    AsyncAPI 3.0 reads a schema that names no format as draft 7, to which the words of 2020-12 mean nothing.
    """
    body = {key: value for key, value in schema.items() if key not in {"$schema", "$id"}}
    return {**_as_draft_7(body, f"#/components/schemas/{event_type}/definitions/"), "x-schema-id": schema_id(event_type)}


def _as_draft_7(node: Any, base: str) -> Any:
    """The schema under ``node``. A field that is called like a word of JSON Schema would be taken for it: no contract has one."""
    if isinstance(node, list):
        return [_as_draft_7(item, base) for item in node]
    if not isinstance(node, dict):
        return node
    words: dict[str, Any] = {}
    for word, value in node.items():
        if word == "$ref":
            words[word] = base + value.removeprefix("#/$defs/")
        elif word == "$defs":
            words["definitions"] = _as_draft_7(value, base)
        elif word == "prefixItems":  # a tuple, and nothing after it: pydantic never writes what may follow
            words |= {"items": _as_draft_7(value, base), "additionalItems": False}
        else:
            words[word] = _as_draft_7(value, base)
    return words
