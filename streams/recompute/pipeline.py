"""Debtors and learner in one process, without Kafka: events in, decisions out, a step at a time, as the pipeline decides them.

The backtest judges what comes out; explanation and audit of a replay make its decisions again from the events that it left.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, time

from agents.brain import FoldResult, Received
from agents.debtor.brain import DebtorBrain
from agents.learner.brain import LearnerBrain
from agents.version import CODE_VERSION
from schemas.base import Contract
from schemas.cloudevents import SOURCE
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output, Rejection
from schemas.events.models import ExampleMatured, ModelPublished, StepEnded
from schemas.ids import stable_id
from schemas.outputs.operations import RecordRejected
from schemas.registry import DEBTOR_SOURCES
from streams.connectors.records import Record
from streams.kafka.codec import decode, with_contract
from streams.kafka.embedded import PARTITIONS
from streams.replay.context import with_model, with_published
from streams.replay.driver import partition_for
from streams.replay.sources import Step


class Fold:
    """What worker, learner and clock do together; ``rows`` is the debtors' state after the last step."""

    def __init__(
        self, context: ContextSet, on_event: Callable[[Event], None] = lambda _: None, debtors: DebtorBrain | None = None
    ) -> None:
        """``on_event`` gets every event that could be decoded, before it is applied; ``debtors``: a brain that is recorded."""
        self.context = context
        self.rows: dict[str, bytes] = {}
        self.applied = self.duplicates = 0
        self._on_event = on_event
        self._debtors, self._learner = debtors or DebtorBrain(), LearnerBrain()
        self._next_offsets: Counter[tuple[str, int]] = Counter()

    def step(self, step: Step) -> list[Output]:
        """Fold a step and learn from it; returns what goes out, dead letters among it."""
        self.context = with_published(self.context, step.records)
        outputs: list[Output] = []
        events: list[Received] = []
        records: dict[tuple[str, int, int], Record] = {}
        for record in step.records:
            if record.topic not in DEBTOR_SOURCES:
                continue  # the context, read by the clock
            decoded = self._decode(record)
            if isinstance(decoded, Received):
                events.append(decoded)
                records[decoded.topic, decoded.partition, decoded.offset] = record
            else:
                outputs.append(decoded)
        while True:
            folded = self._debtors.fold(events, step.end, self.context, replay=True, step=step.number)
            outputs += self._commit(folded)
            for event, rejection in folded.rejected:
                record = records[event.topic, event.partition, event.offset]
                outputs.append(_dead_letter(record, event.partition, event.offset, rejection))
            if not folded.more:
                break
            events = []
        return outputs + self._learn([output for output in outputs if output.topic == "training-examples"], step)

    def _decode(self, record: Record) -> Received | Output:
        """The event of a record, or the dead letter that it becomes."""
        partition = partition_for(record, PARTITIONS)
        offset = self._next_offsets[record.topic, partition]
        self._next_offsets[record.topic, partition] += 1
        event = decode(record.topic, record.key, record.value, record.headers)
        if isinstance(event, Rejection):
            return _dead_letter(record, partition, offset, event)
        self._on_event(event)
        return Received(record.topic, partition, offset, event)

    def _commit(self, folded: FoldResult) -> list[Output]:
        """Take what a fold changed into the state; returns its outputs."""
        self._debtors.keep(folded)
        self.applied += folded.applied
        self.duplicates += folded.duplicates
        for key, row in folded.rows.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        return [with_contract(output) for output in folded.outputs]

    def _learn(self, examples: list[Output], step: Step) -> list[Output]:
        """Let the learner learn the step's examples; its model is in force from the next step on.

        Returns the learner's other outputs.
        """
        step_end = StepEnded(step=step.number, partition=0, partitions=1)
        events = [_event(o.id, o.type, o.time, o.data) for o in examples if isinstance(o.data, ExampleMatured)]
        events.append(_event(f"step-{step.number}", "duewatch.step.ended.v1", step.end, step_end))
        received = [Received("training-examples", 0, n, event) for n, event in enumerate(events)]
        folded = self._learner.fold(received, step.end, self.context, replay=True, step=step.number)
        self._learner.keep(folded)
        for output in folded.outputs:
            if isinstance(output.data, ModelPublished):
                self.context = with_model(self.context, output.data)
        return [output for output in folded.outputs if not isinstance(output.data, ModelPublished)]


def _event(event_id: str, event_type: str, at: datetime, data: Contract) -> Event:
    return Event(event_id, event_type, SOURCE, at, at, data, "")


def _dead_letter(record: Record, partition: int, offset: int, rejection: Rejection) -> Output:
    """What the engine would send to ``dead-letters``; ``offset`` counts the records of the topic's partition."""
    at = datetime.combine(record.day, time(), tzinfo=UTC)
    data = RecordRejected(
        topic=record.topic,
        partition=partition,
        offset=offset,
        reason=rejection.reason[:2000],
        field=rejection.field,
        raw=b64encode(record.value).decode(),
        key=None if record.key is None else b64encode(record.key).decode(),
        headers=tuple((name, b64encode(value).decode()) for name, value in record.headers),
        recorded_at=at,
        code_version=CODE_VERSION,
    )
    letter_id = stable_id("dead-letter", "backtest", record.topic, partition, offset)
    return Output("dead-letters", "", "duewatch.record.rejected.v1", letter_id, at, at, data)
