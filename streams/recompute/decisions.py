"""Observe one decision while it is recomputed: the debtor before its cause, the cause, and what followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agents.debtor.brain import DebtorBrain
from agents.debtor.react import react
from agents.debtor.state import Row
from agents.debtor.unit_of_work import Deadline, Reaction
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output

DECISION_TOPICS = ("limit-changes", "limit-proposals", "alerts", "scores")
"""Topics of what the debtor's agent decides, each with a view of the same name in ClickHouse."""


def view_of(topic: str) -> str:
    """The view in ClickHouse that holds a topic's decisions.

    >>> view_of("limit-changes")
    'limit_changes'
    """
    return topic.replace("-", "_")


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """The run of ``react`` that led to the decision."""

    before: Mapping[str, Row]
    cause: Event | Deadline
    day: int
    context: ContextSet
    reaction: Reaction
    output: Output
    paused: frozenset[str] = frozenset()
    """Topics of the debtor's partition that were paused."""
    score: Output | None = None
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
    """A debtor's brain that records the decision of one id when it comes out."""

    def __init__(self, decision_id: str) -> None:
        super().__init__()
        self._decision_id = decision_id
        self._score: Output | None = None
        self.decision: RecordedDecision | None = None
        self.react = self._react_and_record

    def _react_and_record(
        self,
        state: Mapping[str, Row],
        cause: Event | Deadline,
        context: ContextSet,
        customer_id: str,
        day: int,
        paused: frozenset[str] = frozenset(),
    ) -> Reaction:
        before = dict(state) if self.decision is None else {}
        reaction = react(state, cause, context, customer_id, day, paused)
        for output in reaction.outputs:
            if output.topic == "scores" and getattr(output.data, "invoice_id", "") is None:
                self._score = output
            if output.id == self._decision_id and self.decision is None:
                self.decision = RecordedDecision(before, cause, day, context, reaction, output, paused, self._score)
        return reaction
