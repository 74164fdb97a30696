"""Find a decision in its topic, make it again from the journal, and hold both against each other bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import TopicPartition

from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import customer_of
from agents.debtor.react import react
from agents.debtor.state import Row
from agents.debtor.unit_of_work import Deadline, Reaction
from agents.version import CODE_VERSION
from schemas.base import Contract
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output
from schemas.outputs.alerts import AlertChanged
from schemas.outputs.limits import LimitChanged
from schemas.outputs.scores import ScoreComputed
from streams.clickhouse.query import ClickHouse, escaped
from streams.engine.restore_process import reader, to_the_end
from streams.errors import UserError
from streams.kafka.codec import decode, encode, partition_of
from streams.kafka.topics import full_name
from streams.recompute.difference import compare_fields
from streams.recompute.journal import Log, LoggedRecord, RecomputedSlice, refold

if TYPE_CHECKING:
    from streams.settings import Settings

Decided = ScoreComputed | AlertChanged | LimitChanged

TOPICS = ("limit-changes", "limit-proposals", "alerts", "scores")
NAMED_BY = {"limit-changes": "limit_change_id", "limit-proposals": "limit_change_id", "alerts": "alert_id"}
"""Topic -> the field by which people know a decision, besides the id of its event."""


@dataclass(frozen=True, slots=True)
class PublishedDecision:
    """A decision as it went out; ``place`` is TOPIC/PARTITION/OFFSET, the topic without prefix."""

    topic: str
    place: str
    id: str
    type: str
    data: Decided
    record: LoggedRecord | None = None
    """As it lies in its topic; None where only ClickHouse has it."""


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """One run of ``react`` that led to the decision."""

    before: Mapping[str, Row]
    cause: Event | Deadline
    day: int
    context: ContextSet
    reaction: Reaction
    output: Output
    score: Output | None
    """The debtor's own score as it was by then."""

    @property
    def after(self) -> dict[str, Row]:
        """The debtor's rows after the cause."""
        rows = dict(self.before)
        for key, row in self.reaction.changes.items():
            rows.pop(key, None)
            if row is not None:
                rows[key] = row
        return rows


class RecordingBrain(DebtorBrain):
    """A book that looks on while it is folded, until the decision comes out."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self._wanted = wanted
        self._score: Output | None = None
        self.seen: RecordedDecision | None = None
        self.react = self._look_on

    def _look_on(
        self,
        state: Mapping[str, Row],
        cause: Event | Deadline,
        context: ContextSet,
        customer_id: str,
        day: int,
        paused: frozenset[str] = frozenset(),
    ) -> Reaction:
        before = dict(state) if self.seen is None else {}
        reaction = react(state, cause, context, customer_id, day, paused)
        for output in reaction.outputs:
            if output.topic == "scores" and getattr(output.data, "invoice_id", "") is None:
                self._score = output
            if output.id == self._wanted and self.seen is None:
                self.seen = RecordedDecision(before, cause, day, context, reaction, output, self._score)
        return reaction


@dataclass(slots=True)
class Explained:
    """A decision, and how it came about. ``seen`` and ``slice_`` are None where it could not be made again."""

    emitted: PublishedDecision
    seen: RecordedDecision | None
    slice_: RecomputedSlice | None
    versions: frozenset[str]
    """Of the code that this debtor's state came from, up to the decision."""
    differs: list[tuple[str, Any, Any]] = field(default_factory=list)
    """(field, as it went out, as it is made now)."""

    @property
    def code_is_ours(self) -> bool:
        """Whether the code that decided is the code that runs here."""
        return self.versions <= {CODE_VERSION}

    @property
    def is_equal(self) -> bool | None:
        """Bit for bit; None: another version of the code decided, nothing is asserted."""
        if not self.code_is_ours:
            return None
        return self.seen is not None and not self.differs


# -- the decision
def find(settings: Settings, wanted: str, clickhouse: ClickHouse | None = None) -> PublishedDecision:
    """The decision of that id. ClickHouse, where there is one, tells its place; else the topics are read. Raises UserError."""
    found = (clickhouse and _place(settings, wanted, clickhouse)) or _scan(settings, wanted)
    if found is None:
        raise UserError(
            f"no decision has the id {wanted!r}: {', '.join(full_name(settings.prefix, t) for t in TOPICS)} on"
            f" {settings.bootstrap} were read to their ends. Ids are in the views scores, alerts, limit_changes and"
            " limit_proposals of this deployment"
        )
    return found


def asked_for(topic: str, wanted: str) -> str:
    """The condition by which a decision is found in the topic's table."""
    quoted = f"'{escaped(wanted)}'"
    return f"(id = {quoted} OR {NAMED_BY[topic]} = {quoted})" if topic in NAMED_BY else f"id = {quoted}"


def _place(settings: Settings, wanted: str, clickhouse: ClickHouse) -> PublishedDecision | None:
    for topic in TOPICS:
        table, condition = topic.replace("-", "_") + "_raw", asked_for(topic, wanted)
        asked = f"SELECT partition, toString(offset) AS offset FROM {table} WHERE {condition} ORDER BY time LIMIT 1"  # noqa: S608
        for row in clickhouse.rows(asked):
            partition, offset = int(row["partition"]), int(row["offset"])
            with Log(settings, full_name(settings.prefix, topic), partition, offset) as log:
                record = log.next()
            if record is not None and _is_named(topic, record, wanted):
                return _emitted(topic, partition, record)
    return None  # of another broker, perhaps


def _scan(settings: Settings, wanted: str) -> PublishedDecision | None:
    """Look for it in the topics, from their starts."""
    names = {full_name(settings.prefix, topic): topic for topic in TOPICS}
    places = [TopicPartition(name, partition, 0) for name in names for partition in range(settings.partitions)]
    consumer = reader(settings.for_librdkafka())
    try:
        consumer.assign(places)
        for message in to_the_end(consumer):
            record = LoggedRecord.of(message)
            topic = names[message.topic() or ""]
            if _is_named(topic, record, wanted):
                return _emitted(topic, message.partition() or 0, record)
    finally:
        consumer.close()
    return None


def _is_named(topic: str, record: LoggedRecord, wanted: str) -> bool:
    name = wanted.encode()
    if ("ce_id", name) in record.headers:
        return True
    if topic not in NAMED_BY or name not in (record.value or b""):
        return False
    return bool(orjson.loads(record.value or b"{}").get(NAMED_BY[topic]) == wanted)


def _emitted(topic: str, partition: int, record: LoggedRecord) -> PublishedDecision:
    event = decode(topic, record.key, record.value, record.headers)
    if not isinstance(event, Event) or not isinstance(event.data, Decided):
        raise UserError(f"{topic}/{partition}/{record.offset} cannot be read: {event}")
    return PublishedDecision(topic, f"{topic}/{partition}/{record.offset}", event.id, event.type, event.data, record)


def decided(contract: type[Contract], value: bytes) -> Decided:
    """A decision's body. Raises pydantic.ValidationError."""
    data = contract.model_validate_json(value)
    if not isinstance(data, Decided):
        raise TypeError(f"{contract.__name__} is no decision")
    return data


# -- made again
def explain(settings: Settings, emitted: PublishedDecision, advance: Callable[[int], None] = lambda _: None) -> Explained:
    """Fold the debtor up to the decision; where that does not give it, with all debtors of its partition, as the worker did."""
    made = _again(settings, emitted, {emitted.data.customer_id}, advance)
    if made.is_equal is False:
        return _again(settings, emitted, None, advance)
    return made


def _again(
    settings: Settings, emitted: PublishedDecision, customers: set[str] | None, advance: Callable[[int], None]
) -> Explained:
    customer = emitted.data.customer_id
    witness = RecordingBrain(emitted.id)
    versions = {emitted.data.code_version}
    found: RecomputedSlice | None = None
    partition = partition_of(customer.encode(), settings.partitions)
    for one in refold(settings, "debtor", partition, customers=customers, brain=witness):
        advance(1)
        if any(customer_of(key) == customer for key in one.folded.rows):
            versions.add(one.journal.code_version)
        if witness.seen is not None:
            found = one
            break
    differs = []
    if witness.seen is not None and emitted.record is not None:
        differs = list(differences(emitted.record, witness.seen.output))
    return Explained(emitted, witness.seen, found, frozenset(versions), differs)


def differences(record: LoggedRecord, output: Output) -> Iterator[tuple[str, Any, Any]]:
    """Field by field where the bytes are not the same: (field, as it went out, as it is made now)."""
    value, headers = encode(output)
    if value != record.value:
        fields = list(compare_fields(orjson.loads(record.value or b"null"), orjson.loads(value)))
        yield from fields or [("bytes", repr(record.value), repr(value))]
    for name in dict(headers).keys() | dict(record.headers).keys():
        went_out, now = dict(record.headers).get(name), dict(headers).get(name)
        if went_out != now:
            yield name, repr(went_out), repr(now)
    if (record.key or b"") != output.key.encode():
        yield "key", repr(record.key), repr(output.key)
