"""The brains alone over a history, without Kafka: the decisions of the whole pipeline, in one process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, time

from agents.brain import FoldResult, Received
from agents.clock.context import compose
from agents.debtor.brain import DebtorBrain
from agents.learner.brain import LearnerBrain
from schemas.base import Contract
from schemas.cloudevents import SOURCE
from schemas.events.clock import ContextSet, Ticked
from schemas.events.envelope import Event, Output, Rejection
from schemas.events.models import ExampleMatured, ModelPublished, StepEnded
from schemas.registry import DEBTOR_SOURCES
from streams.connectors.records import Record, partition_for
from streams.engine.dead_letter import Origin, dead_letter
from streams.engine.fold import fold_slice
from streams.kafka.codec import decode, with_contract
from streams.kafka.embedded import PARTITIONS
from streams.recompute.journal import apply_changes
from streams.replay.context import with_published
from streams.replay.steps import Step


class Fold:
    """Debtors and learner in one process, a step at a time: what worker, learner and clock do together in a replay."""

    def __init__(
        self, context: ContextSet, on_event: Callable[[Event], None] = lambda _: None, debtors: DebtorBrain | None = None
    ) -> None:
        """``on_event`` is called with every event that was not refused, before its outputs; ``debtors``: one to observe."""
        self.context = context
        self._on_event = on_event
        self.rows: dict[str, bytes] = {}
        self.applied = self.duplicates = 0
        self._debtors, self._learner = debtors or DebtorBrain(), LearnerBrain()
        self._tick: Ticked | None = None
        self._offsets: Counter[tuple[str, int]] = Counter()

    def step(self, step: Step) -> list[Output]:
        """Fold a step and learn from it; returns all outputs, dead letters among them."""
        self.context = with_published(self.context, step.records)
        before, self._tick = self._tick, Ticked(number=step.number, time=step.end, ends={}, step=step.number)
        received, outputs, raw = self._receive(step)
        result = fold_slice(self._debtors, received, self.context, before=before, tick=self._tick, replay=True)
        rejections = {(record.topic, record.partition, record.offset) for record, _ in result.rejected}
        for record in received:
            if (record.topic, record.partition, record.offset) not in rejections:
                self._on_event(record.event)
        outputs += self._commit(result)
        examples = [output for output in outputs if output.topic == "training-examples"]
        for record, reason in result.rejected:
            place = (record.topic, record.partition, record.offset)
            outputs.append(_dead_letter(raw[place], record.partition, record.offset, reason))
        return outputs + self._learn(examples, step, before)

    def _receive(self, step: Step) -> tuple[list[Received], list[Output], dict[tuple[str, int, int], Record]]:
        """A step's events, dead letters of what is not one, and each event's record by its place."""
        received: list[Received] = []
        dead_letters: list[Output] = []
        raw: dict[tuple[str, int, int], Record] = {}
        for record in step.records:
            if record.topic not in DEBTOR_SOURCES:
                continue  # the context, read by the clock
            partition = partition_for(record, PARTITIONS)
            offset = self._offsets[record.topic, partition]
            self._offsets[record.topic, partition] += 1
            event = decode(record.topic, record.key, record.value, record.headers)
            if isinstance(event, Rejection):
                dead_letters.append(_dead_letter(record, partition, offset, event))
                continue
            received.append(Received(record.topic, partition, offset, event))
            raw[record.topic, partition, offset] = record
        return received, dead_letters, raw

    def _commit(self, result: FoldResult) -> list[Output]:
        self._debtors.on_committed(result)
        self.applied += result.applied
        self.duplicates += result.duplicates
        apply_changes(self.rows, result.rows)
        return [with_contract(output) for output in result.outputs]

    def _learn(self, examples: list[Output], step: Step, before: Ticked | None) -> list[Output]:
        """Let the learner learn a step's examples; its model is in force from the next step on.

        Returns what else it publishes.
        """
        ended = StepEnded(step=step.number, partition=0, partitions=1)
        events = [_event(o.id, o.type, o.time, o.data) for o in examples if isinstance(o.data, ExampleMatured)]
        events.append(_event(f"step-{step.number}", "duewatch.step.ended.v1", step.end, ended))
        received = [Received("training-examples", 0, n, event) for n, event in enumerate(events)]
        result = fold_slice(self._learner, received, self.context, before=before, tick=self._tick, replay=True)
        self._learner.on_committed(result)
        for output in result.outputs:
            if isinstance(output.data, ModelPublished):
                self.context = compose(self.context, model=output.data)
        return [output for output in result.outputs if not isinstance(output.data, ModelPublished)]


def _dead_letter(record: Record, partition: int, offset: int, reason: Rejection) -> Output:
    """What the engine would send to ``dead-letters``; ``offset`` counts the records of the topic's partition."""
    recorded_at = datetime.combine(record.day, time(), tzinfo=UTC)
    origin = Origin("backtest", record.topic, partition, offset)
    return dead_letter(origin, record.key, record.headers, record.value, reason, recorded_at=recorded_at, now=recorded_at)


def _event(event_id: str, event_type: str, at: datetime, data: Contract) -> Event:
    return Event(event_id, event_type, SOURCE, at, at, data, "")
