"""Fold what a partition has applied again, from the journal and the logs that it names: what its state must be (D5).

The journal tells in which slices records, ticks and contexts were applied, so the same brain gives the same rows and outputs, bit
for bit. Only Kafka is read, read-committed, and nothing is written. Audit, explain and the chaos tests judge by it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from agents.brain import Brain, FoldResult, Received
from agents.debtor.brain import DebtorBrain
from agents.learner.brain import LearnerBrain
from schemas.events.clock import ContextSet, Ticked
from schemas.outputs.operations import Run, SliceCommitted
from streams.engine.apply import ALL_DEADLINES, MAX_DEADLINES, decoded
from streams.engine.restore import reader
from streams.engine.spec import AgentSpec
from streams.engine.transaction import Rejected
from streams.errors import UsageError, UserError
from streams.kafka.headers import read_headers
from streams.kafka.topics import full_name
from streams.worker.app import specs

if TYPE_CHECKING:
    from confluent_kafka import Message

    from streams.settings import Settings

BATCH = 2_000
POLL_S = 0.03
SILENCE_S = 60.0
QUEUED_KBYTES = "16384"
"""Read ahead per topic: an agent's topics are read side by side, and memory stays bounded."""
TICK, CONTEXT, SLICE = (
    ("ce_type", f"duewatch.{name}.v1".encode()) for name in ("clock.ticked", "context.set", "slice.committed")
)


class RefoldError(UserError):
    """The logs do not hold what the journal names; the message says where."""


class LoggedRecord(NamedTuple):
    """A record as the log holds it (``streams.engine.slicing.Record``)."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp: int

    @classmethod
    def of(cls, message: Message) -> LoggedRecord:
        """What a consumer got."""
        return cls(message.offset() or 0, message.key(), message.value(), read_headers(message), message.timestamp()[1])


@dataclass(frozen=True, slots=True)
class RecomputedSlice:
    """One slice, folded again. Its rows are in the brain once the next one is asked for.

    ``rejected``: what could not be decoded, then what the brain refused. ``at_ms``: when the journal record was written, by the
    clock of the worker.
    """

    journal: SliceCommitted
    folded: FoldResult
    rejected: Sequence[Rejected]
    arrived: Sequence[Received]
    tick: Ticked | None
    """The tick in force after the slice."""
    context: ContextSet
    at_ms: int

    @property
    def number(self) -> int:
        """Of the slice, from 1."""
        return self.journal.number


def refold(
    settings: Settings,
    agent: str,
    partition: int,
    *,
    customers: Collection[str] | None = None,
    until: int | None = None,
    brain: Brain | None = None,
) -> Iterator[RecomputedSlice]:
    """Fold the slices of one partition of an agent again, from the first one to ``until`` or the journal's present end.

    ``customers``: apply only records with these keys; others are skipped before they are decoded. Live, a slice fires at most 500
    deadlines, so a debtor folded without the others may meet its deadline a slice earlier. ``brain``: instead of the agent's own.
    Raises RefoldError where the logs no longer hold what is needed, UsageError for an unknown agent, KafkaException.
    """
    spec = _spec(settings, agent)
    fold = _Fold(spec, partition, brain or spec.brain(), None if customers is None else {key.encode() for key in customers})
    with _Logs(settings, partition) as logs:
        last = 0
        for at_ms, told in _slices(logs, spec.name, partition):
            if told.number != last + 1:
                raise _broken_journal(logs, told, last)
            yield fold.again(logs, told, at_ms)
            last = told.number
            if until is not None and last >= until:
                return
    if until is not None:
        raise RefoldError(f"the journal of {agent} {partition} ends with slice {last}, before {until}")


def take_rows(rows: dict[str, bytes], changes: Mapping[str, bytes | None]) -> None:
    """Lay a slice's changes over the rows before it."""
    for key, value in changes.items():
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value


def agent_specs(settings: Settings) -> tuple[AgentSpec, ...]:
    """The agents of a deployment."""
    return specs(settings, DebtorBrain, LearnerBrain)


def _spec(settings: Settings, agent: str) -> AgentSpec:
    known = {spec.name: spec for spec in agent_specs(settings)}
    if agent not in known:
        raise UsageError(f"there is no agent {agent!r}: {', '.join(known)}")
    return known[agent]


def _slices(logs: _Logs, agent: str, partition: int) -> Iterator[tuple[int, SliceCommitted]]:
    """The slices in the journal, with the time of each. An agent of one partition journals beside partition 0 of the other."""
    while (record := logs["journal"].next()) is not None:
        if SLICE in record.headers and record.value:
            told = SliceCommitted.model_validate_json(record.value)
            if (told.agent, told.partition) == (agent, partition):
                yield record.timestamp, told


def _broken_journal(logs: _Logs, told: SliceCommitted, last: int) -> RefoldError:
    name = logs["journal"].place
    if last == 0:
        first = logs["journal"].first()
        return RefoldError(
            f"retention has taken the first slices of {told.agent} {told.partition}: {name} begins at offset {first},"
            f" with slice {told.number}. What was decided since cannot be made again"
        )
    return RefoldError(f"{name}: slice {told.number} of {told.agent} follows on {last}: the journal is damaged")


class _Fold:
    """The memory of the fold: brain, tick and context in force."""

    def __init__(self, spec: AgentSpec, partition: int, brain: Brain, keys: set[bytes] | None) -> None:
        self._spec, self._partition, self._brain, self._keys = spec, partition, brain, keys
        self._context: ContextSet | None = None
        self._tick: Ticked | None = None
        self._before: FoldResult | None = None
        self._paused: frozenset[str] = frozenset()

    def again(self, logs: _Logs, told: SliceCommitted, at_ms: int) -> RecomputedSlice:
        """As ``Engine`` folds: decode, fold with what was in force; kept when the next slice comes."""
        if self._before is not None:
            self._brain.on_committed(self._before)
        clock = logs.clock(self._spec.clock)
        before = self._tick.time if self._tick else None
        if told.tick_offset is not None:
            self._tick = clock.tick(told.tick_offset)
        if self._context is None or self._context.version != told.context_version:
            self._context = clock.context(told.context_version)
        # The learner applies what arrives in a replay too: there the ticks tell one from a live deployment.
        replay = told.order == "replay" or (self._tick.step >= 0 if self._tick else clock.begins_a_replay())
        records = [(run, logs[run.topic].take(run.start, run.end)) for run in told.runs]
        _check_count(logs, told, records)
        keys = self._keys
        wanted = ((run.topic, [one for one in read if keys is None or one.key in keys]) for run, read in records)
        arrived, rejected = decoded(wanted, self._partition, self._spec.partitions)
        folded = self._brain.fold(
            arrived,
            self._tick.time if self._tick else None,
            self._context,
            replay=replay,
            step=self._tick.step if self._tick and told.tick_offset is not None else -1,
            max_deadlines=ALL_DEADLINES if replay else MAX_DEADLINES,
            paused=self._paused - set(told.resumed),
            previous_tick=before,
        )
        raw = {(run.topic, record.offset): record for run, read in records for record in read} if folded.rejected else {}
        rejected += [Rejected(one.topic, raw[one.topic, one.offset], reason) for one, reason in folded.rejected]
        self._before, self._paused = folded, frozenset(told.paused)
        return RecomputedSlice(told, folded, rejected, arrived, self._tick, self._context, at_ms)


def _check_count(logs: _Logs, told: SliceCommitted, records: Sequence[tuple[Run, Sequence[LoggedRecord]]]) -> None:
    """A slice tells of how many records it consisted: fewer are left where retention or compaction was there since."""
    there, were = sum(len(read) for _, read in records), told.applied + told.duplicates + told.rejected
    if there == were:
        return
    for run in told.runs:
        first = logs[run.topic].first()
        if first > run.start:
            raise RefoldError(
                f"retention has taken records that slice {told.number} of {told.agent} {told.partition} applied:"
                f" {logs[run.topic].place} begins at offset {first}, and {run.start} is needed"
            )
    places = ", ".join(f"{logs[run.topic].place} [{run.start}, {run.end})" for run in told.runs)
    raise RefoldError(
        f"slice {told.number} of {told.agent} {told.partition} applied {were} records, and {there} are there: {places}."
        " A compacted topic loses what was replaced since: `duewatch topics` tells which keeps it for too short a time"
    )


# -- reading
class _Logs:
    """The topics of one partition, each read once from its start to its end. A context manager."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._settings, self._partition = settings, partition
        self._logs: dict[str, Log] = {}
        self._clock: _Clock | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for log in self._logs.values():
            log.close()

    def __getitem__(self, topic: str) -> Log:
        if topic not in self._logs:
            self._logs[topic] = Log(self._settings, full_name(self._settings.prefix, topic), self._partition)
        return self._logs[topic]

    def clock(self, topic: str) -> _Clock:
        """The clock's topic."""
        if self._clock is None:
            self._clock = _Clock(self[topic])
        return self._clock


class Log:
    """One partition of a topic, read-committed and in order. ``name`` with the prefix. A context manager."""

    def __init__(self, settings: Settings, name: str, partition: int, start: int = 0) -> None:
        self.name, self.partition = name, partition
        self._consumer = reader({**settings.for_librdkafka(), "queued.max.messages.kbytes": QUEUED_KBYTES})
        self._consumer.assign([TopicPartition(self.name, partition, start)])
        self._records: deque[LoggedRecord] = deque()
        self._end = -1
        """Where the log ended when its end was last met."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.name}/{self.partition}"

    def close(self) -> None:
        self._consumer.close()

    def first(self) -> int:
        """The oldest offset that the log still has."""
        return self._consumer.get_watermark_offsets(TopicPartition(self.name, self.partition), timeout=10.0)[0]

    def take(self, start: int, end: int) -> list[LoggedRecord]:
        """The records in [start, end); ranges must ascend. Raises RefoldError when they do not come."""
        return list(self.each(start, end))

    def each(self, start: int, end: int) -> Iterator[LoggedRecord]:
        """The same, one by one."""
        while start < end and (record := self.next(end)) is not None:
            if record.offset >= end:
                self._records.appendleft(record)
                return
            if record.offset >= start:
                yield record

    def next(self, end: int = 0) -> LoggedRecord | None:
        """The next record; None where the log ends at or behind ``end``. Raises RefoldError when the broker is silent."""
        deadline = monotonic() + SILENCE_S
        while not self._records:
            if self._end >= end:
                return None
            for message in self._consumer.consume(BATCH, POLL_S):
                self._take(message)
            if not self._records and monotonic() > deadline:
                raise RefoldError(
                    f"{self.place} brings nothing beyond offset {self._end}, and {end} is needed: the broker is silent,"
                    " or the end of the log was lost"
                )
        return self._records.popleft()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            self._records.append(LoggedRecord.of(message))
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's spelling
            self._end = message.offset() or 0
        else:
            raise KafkaException(error)


class _Named(msgspec.Struct):
    """Of a context only its version: it is large, and most were never in force."""

    version: str


class _Clock:
    """Ticks and contexts in their order."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._ahead: deque[LoggedRecord] = deque()
        self._contexts: dict[str, bytes] = {}

    def tick(self, offset: int) -> Ticked:
        """Go to the tick at an offset. Raises RefoldError when it is not there."""
        while (record := self._next(offset + 1)) is not None and record.offset <= offset:
            self._note(record)
            if record.offset == offset and TICK in record.headers:
                return Ticked.model_validate_json(record.value or b"")
        raise self._missing(f"the tick at offset {offset}")

    def context(self, version: str) -> ContextSet:
        """The context of that name that came last, or comes next. Raises RefoldError when there is none."""
        while version not in self._contexts:
            record = self._next(0)
            if record is None:
                raise self._missing(f"the context {version}")
            self._note(record)
        found = self._contexts[version]
        self._contexts.clear()
        return ContextSet.model_validate_json(found)

    def begins_a_replay(self) -> bool:
        """Whether the next tick is a replay's."""
        while (record := self._log.next(0)) is not None:
            self._ahead.append(record)
            if TICK in record.headers:
                return Ticked.model_validate_json(record.value or b"").step >= 0
        return False

    def _next(self, end: int) -> LoggedRecord | None:
        return self._ahead.popleft() if self._ahead else self._log.next(end)

    def _note(self, record: LoggedRecord) -> None:
        if CONTEXT in record.headers and record.value:
            self._contexts[msgspec.json.decode(record.value, type=_Named).version] = record.value

    def _missing(self, what: str) -> RefoldError:
        return RefoldError(
            f"{self._log.place} does not hold {what}, which the journal names: it begins at offset {self._log.first()}"
        )
