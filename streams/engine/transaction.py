"""Compose what a slice writes, and write it in one transaction ("A slice is a transaction" in the README)."""

from __future__ import annotations

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
from schemas.outputs.operations import Run, SliceCommitted, SourcePauseChanged
from streams.engine.circuit_breaker import CircuitBreaker
from streams.engine.dead_letter import Origin, dead_letter
from streams.engine.keys import CONTEXT, PAUSED, POSITIONS
from streams.engine.partition_task import Checkpoint
from streams.engine.slicing import Order, Slice
from streams.kafka.codec import encode
from streams.kafka.record import KafkaRecord

if TYPE_CHECKING:
    from confluent_kafka import Producer

COMMIT_TIMEOUT_S = 60.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST_MS = 7_258_118_400_000
"""The year 2200: a record with a later time stamp counts as one without."""

Stage = Callable[[str], None]
"""Called with ``before``, ``written`` and ``committed``, as a transaction goes on: tests fail here like a broker or a kill."""


class OutgoingRecord(NamedTuple):
    """A message as it is produced; ``topic`` without prefix, ``partition`` -1 = by the key."""

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
    record: KafkaRecord
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class WriterId:
    """Who writes a slice: named in everything that the engine itself sends."""

    agent: str
    partition: int
    partitions: int
    prefix: str
    state_topic: str
    order: Order
    code_version: str
    row_format: int = 1


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
    writer: WriterId, slice_: Slice, after: Checkpoint, before: Checkpoint, folded: FoldResult, rejected: Sequence[Rejected]
) -> SliceWrites:
    """All that one slice writes: changed rows, the engine's rows, outputs, dead letters, the step's end, the journal."""
    rows = {**folded.rows, POSITIONS: after.position_row(writer.row_format, writer.code_version)}
    if slice_.context:
        rows[CONTEXT] = _as_row(slice_.context)
    time = after.tick.time if after.tick else EPOCH
    messages: list[OutgoingRecord] = []
    if after.paused != before.paused or slice_.resumed:
        rows[PAUSED] = orjson.dumps(sorted(after.paused))
        messages += _pause_changes(writer, slice_, after, before, time)
    messages += [_output(output) for output in folded.outputs]
    messages += [_dead_letter(writer, entry, time) for entry in rejected]
    if slice_.tick and writer.order == "replay":
        messages.append(_step_ended(writer, slice_.tick.step, time))
    messages.append(_journal(writer, slice_, after, folded, len(rejected), time))
    return SliceWrites(writer.state_topic, writer.partition, rows, messages)


def _output(output: Output, partition: int = -1) -> OutgoingRecord:
    value, headers = encode(output)
    return OutgoingRecord(output.topic, value, output.key.encode() or None, partition, cast("Any", headers))


def _engine_output(
    topic: str, key: str, name: str, output_id: str, time: datetime, data: Contract, partition: int = -1
) -> OutgoingRecord:
    return _output(Output(topic=topic, key=key, type=name, id=output_id, time=time, recorded=time, data=data), partition)


def _dead_letter(writer: WriterId, rejected: Rejected, time: datetime) -> OutgoingRecord:
    record = rejected.record
    # A sender may put anything into a time stamp.
    recorded_at = datetime.fromtimestamp(record.timestamp / 1000, UTC) if 0 < (record.timestamp or 0) < LATEST_MS else None
    origin = Origin(writer.prefix, rejected.topic, writer.partition, record.offset)
    letter = dead_letter(origin, record.key, record.headers, record.value, rejected.rejection, recorded_at=recorded_at, now=time)
    return _output(letter)


def _pause_changes(
    writer: WriterId, slice_: Slice, after: Checkpoint, before: Checkpoint, time: datetime
) -> Iterator[OutgoingRecord]:
    """Alerts for whoever runs the system, on ``dead-letters``: who reads there can fix what is broken."""
    for topic in slice_.resumed:
        yield _pause_change(writer, topic, "resumed", after, before, time)
    for topic in sorted(after.paused - (before.paused - set(slice_.resumed))):
        yield _pause_change(writer, topic, "paused", after, after, time)


def _pause_change(
    writer: WriterId, topic: str, state: Literal["paused", "resumed"], after: Checkpoint, judged: Checkpoint, time: datetime
) -> OutgoingRecord:
    breaker = judged.breakers.get(topic, CircuitBreaker())
    resume = f"duewatch dead-letters resume {topic} {writer.partition} --owner NAME"
    action = (
        f"find the fault with `duewatch dead-letters list`, have it fixed at the sender, then `{resume}`"
        if state == "paused"
        else "none"
    )
    data = SourcePauseChanged(
        topic=topic,
        partition=writer.partition,
        agent=writer.agent,
        state=state,
        offset=judged.positions[topic],
        broken=breaker.broken_count,
        judged=breaker.count,
        recommended_action=action,
        code_version=writer.code_version,
    )
    change_id = stable_id("pause", writer.prefix, topic, writer.partition, state, after.number)
    return _engine_output("dead-letters", "", "duewatch.source.pause_changed.v1", change_id, time, data)


def _step_ended(writer: WriterId, step: int, time: datetime) -> OutgoingRecord:
    data = StepEnded(step=step, partition=writer.partition, partitions=writer.partitions)
    marker_id = stable_id("step", writer.partition, step)
    return _engine_output("training-examples", str(writer.partition), "duewatch.step.ended.v1", marker_id, time, data)


def _journal(
    writer: WriterId, slice_: Slice, after: Checkpoint, folded: FoldResult, rejected: int, time: datetime
) -> OutgoingRecord:
    data = SliceCommitted(
        agent=writer.agent,
        partition=writer.partition,
        number=after.number,
        runs=tuple(Run(topic=run.topic, start=run.start, end=run.end) for run in slice_.runs),
        order=writer.order,
        tick=slice_.tick.number if slice_.tick else None,
        tick_offset=slice_.tick_offset,
        context_version=after.context.version if after.context else "none",
        code_version=writer.code_version,
        applied=folded.applied,
        duplicates=folded.duplicates,
        rejected=rejected,
        outputs=len(folded.outputs),
        paused=tuple(sorted(after.paused)),
        resumed=slice_.resumed,
    )
    slice_id = stable_id("slice", writer.prefix, writer.agent, writer.partition, after.number)
    return _engine_output("journal", str(writer.partition), "duewatch.slice.committed.v1", slice_id, time, data, writer.partition)


def commit(producer: Producer, writes: SliceWrites, names: Mapping[str, str], stage: Stage | None = None) -> None:
    """One transaction with all of it. Whatever it raises, the outcome counts as unknown."""
    if stage:
        stage("before")
    producer.begin_transaction()
    _produce(producer, writes, names)
    if stage:
        producer.flush()
        stage("written")
    producer.commit_transaction(COMMIT_TIMEOUT_S)
    if stage:
        stage("committed")


def _produce(producer: Producer, writes: SliceWrites, names: Mapping[str, str]) -> None:
    """Queue all messages. By position: the library takes three times as long to find arguments by their names."""
    produce, state, partition = producer.produce, names[writes.state], writes.partition
    for key, value in writes.rows.items():
        try:
            produce(state, value, key, partition)
        except BufferError:
            _produce_later(producer, state, value, key, partition)
    for topic, body, message_key, message_partition, headers in writes.messages:
        message = (names[topic], body, message_key, message_partition, None, None, 0, headers)
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
