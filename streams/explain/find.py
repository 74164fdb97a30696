"""Find a published decision by its id: where ClickHouse says that it lies, else by reading the topics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from confluent_kafka import TopicPartition

from schemas.base import Contract
from schemas.events.envelope import Event
from schemas.outputs.alerts import AlertChanged
from schemas.outputs.limits import LimitChanged
from schemas.outputs.scores import ScoreComputed
from streams.clickhouse.query import ClickHouse, escaped
from streams.errors import UserError
from streams.kafka.codec import decode
from streams.kafka.log import Log, LoggedRecord
from streams.kafka.read import reader, to_the_end
from streams.kafka.topics import full_name
from streams.recompute.decisions import DECISION_TOPICS, view_of

if TYPE_CHECKING:
    from streams.settings import Settings

Decision = ScoreComputed | AlertChanged | LimitChanged

ID_FIELDS = {"limit-changes": "limit_change_id", "limit-proposals": "limit_change_id", "alerts": "alert_id"}
"""Topic -> the field by which people know a decision, besides the id of its event."""


@dataclass(frozen=True, slots=True)
class PublishedDecision:
    """A decision as it was published; ``place`` is TOPIC/PARTITION/OFFSET, the topic without prefix."""

    topic: str
    place: str
    id: str
    type: str
    data: Decision
    record: LoggedRecord | None = None
    """The record in its topic; None where only ClickHouse has it."""


def find(settings: Settings, decision_id: str, clickhouse: ClickHouse | None = None) -> PublishedDecision:
    """The decision of that id. ClickHouse, where there is one, tells its place; else the topics are read. Raises UserError."""
    publication = (clickhouse and _find_by_place(settings, decision_id, clickhouse)) or _find_in_topics(settings, decision_id)
    if publication is None:
        raise UserError(
            f"no decision has the id {decision_id!r}: {', '.join(full_name(settings.prefix, t) for t in DECISION_TOPICS)} on"
            f" {settings.bootstrap} were read to their ends. Ids are in the views scores, alerts, limit_changes and"
            " limit_proposals of this deployment"
        )
    return publication


def id_condition(topic: str, decision_id: str) -> str:
    """The SQL condition by which a decision is found in the topic's table."""
    literal = f"'{escaped(decision_id)}'"
    return f"(id = {literal} OR {ID_FIELDS[topic]} = {literal})" if topic in ID_FIELDS else f"id = {literal}"


def parse_decision(contract: type[Contract], value: bytes) -> Decision:
    """A decision's body. Raises pydantic.ValidationError."""
    data = contract.model_validate_json(value)
    if not isinstance(data, Decision):
        raise TypeError(f"{contract.__name__} is not the contract of a decision")
    return data


def _find_by_place(settings: Settings, decision_id: str, clickhouse: ClickHouse) -> PublishedDecision | None:
    for topic in DECISION_TOPICS:
        table, condition = f"{view_of(topic)}_raw", id_condition(topic, decision_id)
        sql = f"SELECT partition, toString(offset) AS offset FROM {table} WHERE {condition} ORDER BY time LIMIT 1"  # noqa: S608
        for row in clickhouse.rows(sql):
            partition, offset = int(row["partition"]), int(row["offset"])
            with Log(settings, full_name(settings.prefix, topic), partition, offset) as log:
                record = log.next_record()
            if record is not None and has_id(topic, record, decision_id):
                return published_decision(topic, partition, record)
    return None  # of another broker, perhaps


def _find_in_topics(settings: Settings, decision_id: str) -> PublishedDecision | None:
    """Read the topics from their starts."""
    names = {full_name(settings.prefix, topic): topic for topic in DECISION_TOPICS}
    consumer = reader(settings.for_librdkafka())
    try:
        consumer.assign([TopicPartition(name, partition, 0) for name in names for partition in range(settings.partitions)])
        for message in to_the_end(consumer):
            record = LoggedRecord.from_message(message)
            topic = names[message.topic() or ""]
            if has_id(topic, record, decision_id):
                return published_decision(topic, message.partition() or 0, record)
    finally:
        consumer.close()
    return None


def has_id(topic: str, record: LoggedRecord, decision_id: str) -> bool:
    """Whether a record is the decision of that id: the event's, or the one by which people know it."""
    text = decision_id.encode()
    if ("ce_id", text) in record.headers:
        return True
    if topic not in ID_FIELDS or text not in (record.value or b""):
        return False
    return bool(orjson.loads(record.value or b"{}").get(ID_FIELDS[topic]) == decision_id)


def published_decision(topic: str, partition: int, record: LoggedRecord) -> PublishedDecision:
    """The decision in a record of its topic. Raises UserError where it cannot be read."""
    event, place = decode(topic, record.key, record.value, record.headers), f"{topic}/{partition}/{record.offset}"
    if not isinstance(event, Event) or not isinstance(event.data, Decision):
        raise UserError(f"{place} cannot be read: {event}")
    return PublishedDecision(topic, place, event.id, event.type, event.data, record)
