"""Compose what a slice writes, and write it in one transaction."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import orjson

from agents.brain import FoldResult
from schemas.base import Contract
from schemas.events.clock import ContextSet
from schemas.events.envelope import Output, Rejection
from schemas.events.models import StepEnded
from schemas.ids import stable_id
from schemas.outputs.operations import RecordRejected, Run, SliceCommitted, SourcePauseChanged, truncate
from streams.engine.circuit_breaker import CircuitBreaker
from streams.engine.partition_task import CONTEXT, PAUSED, POSITIONS, Checkpoint
from streams.engine.slicing import Order, Record, Slice
from streams.kafka.codec import encode

if TYPE_CHECKING:
    from confluent_kafka import Producer

COMMIT_TIMEOUT_S = 60.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_MS = 7_258_118_400_000
"""The year 2200: a later time stamp of a record is none."""

Stage = Callable[[str], None]
"""Called with ``before``, ``written`` and ``committed``: tests raise here what a broker or a kill would do."""


class OutgoingRecord(NamedTuple):
    """``topic`` without prefix; ``partition`` -1 = by the key."""

    topic: str
    value: bytes
    key: bytes | None
    partition: int
    headers: list[tuple[str, str | bytes | None]]


class SliceWrites(NamedTuple):
    """All that one slice writes: ``rows`` into ``partition`` of the topic ``state`` (None = delete), and ``messages``."""

    state: str
    partition: int
    rows: Mapping[str, bytes | None]
    messages: Sequence[OutgoingRecord]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is not applied, and why."""

    topic: str
    record: Record
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class WriterId:
    """Who writes: quoted in everything that the engine itself sends."""

    agent: str
    partition: int
    partitions: int
    prefix: str
    state_topic: str
    order: Order
    code_version: str


_last_context: tuple[ContextSet | None, bytes] = (None, b"")


def _as_row(context: ContextSet) -> bytes:
    """The context as a row. Every partition writes the same one: it is put into JSON once."""
    global _last_context  # noqa: PLW0603 - a memo of one entry; two threads at worst both fill it
    last, text = _last_context
    if last is not context:
        text = context.model_dump_json().encode()
        _last_context = (context, text)
    return text


def compose(
    origin: WriterId, made: Slice, after: Checkpoint, before: Checkpoint, folded: FoldResult, rejected: Sequence[Rejected]
) -> SliceWrites:
    """All that one slice writes: changed rows, the engine's rows, outputs, dead letters, the step's end, the journal."""
    rows = {**folded.rows, POSITIONS: after.position_row()}
    if made.context:
        rows[CONTEXT] = _as_row(made.context)
    time = after.applied.time if after.applied else EPOCH
    messages: list[OutgoingRecord] = []
    if after.paused != before.paused or made.resumed:
        rows[PAUSED] = orjson.dumps(sorted(after.paused))
        messages += _pause_changes(origin, made, after, before, time)
    messages += [_output(output) for output in folded.outputs]
    messages += [_dead_letter(origin, one, time) for one in rejected]
    if made.tick and origin.order == "replay":
        messages.append(_step_ended(origin, made.tick.step, time))
    messages.append(_journal(origin, made, after, folded, len(rejected), time))
    return SliceWrites(origin.state_topic, origin.partition, rows, messages)


def _output(output: Output, partition: int = -1) -> OutgoingRecord:
    value, headers = encode(output)
    return OutgoingRecord(output.topic, value, output.key.encode() or None, partition, cast("Any", headers))


def _own(topic: str, key: str, name: str, output_id: str, time: datetime, data: Contract, partition: int = -1) -> OutgoingRecord:
    return _output(Output(topic=topic, key=key, type=name, id=output_id, time=time, recorded=time, data=data), partition)


def _dead_letter(origin: WriterId, one: Rejected, time: datetime) -> OutgoingRecord:
    record = one.record
    # A sender may put anything into a time stamp.
    recorded_at = datetime.fromtimestamp(record.timestamp / 1000, UTC) if 0 < (record.timestamp or 0) < LATEST_MS else None
    key, headers, value = truncate(record.key, record.headers or (), record.value)
    is_cut = len(value) < len(record.value or b"")
    data = RecordRejected(
        topic=one.topic,
        partition=origin.partition,
        offset=record.offset,
        reason=one.rejection.reason[:1900] + (f" (of it the first {len(value)} bytes are kept)" if is_cut else ""),
        field=one.rejection.field,
        raw=b64encode(value).decode(),
        key=None if key is None else b64encode(key).decode(),
        headers=tuple((name, b64encode(text).decode()) for name, text in headers),
        recorded_at=recorded_at,
        code_version=origin.code_version,
    )
    letter_id = stable_id("dead-letter", origin.prefix, one.topic, origin.partition, record.offset)
    return _own("dead-letters", "", "duewatch.record.rejected.v1", letter_id, recorded_at or time, data)


def _pause_changes(
    origin: WriterId, made: Slice, after: Checkpoint, before: Checkpoint, time: datetime
) -> Iterator[OutgoingRecord]:
    """Alerts for whoever runs the system, on ``dead-letters``: who reads there is who can mend what is broken."""
    for topic in made.resumed:
        yield _pause_change(origin, topic, "resumed", after, before, time)
    for topic in sorted(after.paused - (before.paused - set(made.resumed))):
        yield _pause_change(origin, topic, "paused", after, after, time)


def _pause_change(
    origin: WriterId, topic: str, state: Literal["paused", "resumed"], after: Checkpoint, judged: Checkpoint, time: datetime
) -> OutgoingRecord:
    outcomes = judged.outcomes.get(topic, CircuitBreaker())
    resume = f"duewatch dead-letters resume {topic} {origin.partition} --owner NAME"
    action = f"see `duewatch dead-letters list`, have the sender mended, then `{resume}`" if state == "paused" else "none"
    data = SourcePauseChanged(
        topic=topic,
        partition=origin.partition,
        agent=origin.agent,
        state=state,
        offset=judged.positions[topic],
        broken=outcomes.broken,
        judged=outcomes.count,
        recommended_action=action,
        code_version=origin.code_version,
    )
    change_id = stable_id("pause", origin.prefix, topic, origin.partition, state, after.number)
    return _own("dead-letters", "", "duewatch.source.pause_changed.v1", change_id, time, data)


def _step_ended(origin: WriterId, step: int, time: datetime) -> OutgoingRecord:
    data = StepEnded(step=step, partition=origin.partition, partitions=origin.partitions)
    marker_id = stable_id("step", origin.partition, step)
    return _own("training-examples", str(origin.partition), "duewatch.step.ended.v1", marker_id, time, data)


def _journal(
    origin: WriterId, made: Slice, after: Checkpoint, folded: FoldResult, rejected: int, time: datetime
) -> OutgoingRecord:
    data = SliceCommitted(
        agent=origin.agent,
        partition=origin.partition,
        number=after.number,
        runs=tuple(Run(topic=run.topic, start=run.start, end=run.end) for run in made.runs),
        order=origin.order,
        tick=made.tick.number if made.tick else None,
        tick_offset=made.tick_offset,
        context_version=after.context.version if after.context else "none",
        code_version=origin.code_version,
        applied=folded.applied,
        duplicates=folded.duplicates,
        rejected=rejected,
        outputs=len(folded.outputs),
        paused=tuple(sorted(after.paused)),
        resumed=made.resumed,
    )
    slice_id = stable_id("slice", origin.prefix, origin.agent, origin.partition, after.number)
    return _own("journal", str(origin.partition), "duewatch.slice.committed.v1", slice_id, time, data, origin.partition)


def commit(producer: Producer, written: SliceWrites, names: Mapping[str, str], stage: Stage | None = None) -> None:
    """One transaction with all of it. Whatever it raises, the outcome counts as unknown."""
    if stage:
        stage("before")
    producer.begin_transaction()
    _produce(producer, written, names)
    if stage:
        producer.flush()
        stage("written")
    producer.commit_transaction(COMMIT_TIMEOUT_S)
    if stage:
        stage("committed")


def _produce(producer: Producer, written: SliceWrites, names: Mapping[str, str]) -> None:
    """Queue all messages. By position: the library takes three times as long to find arguments by their names."""
    produce, state, partition = producer.produce, names[written.state], written.partition
    for key, value in written.rows.items():
        try:
            produce(state, value, key, partition)
        except BufferError:
            _produce_later(producer, state, value, key, partition)
    for topic, body, own_key, own_partition, headers in written.messages:
        message = (names[topic], body, own_key, own_partition, None, None, 0, headers)
        try:
            produce(*message)
        except BufferError:
            _produce_later(producer, *message)


def _produce_later(producer: Producer, *message: Any) -> None:
    """The queue is full: let the broker take some."""
    while True:
        producer.poll(0.1)
        with suppress(BufferError):
            producer.produce(*message)
            return
