"""One tenure of one partition, the rows that the engine itself keeps in its state topic, and how they are read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from agents.brain import Brain, RestoresAll
from schemas.base import format_time, parse_time
from schemas.events.clock import ContextSet
from streams.engine.circuit_breaker import CircuitBreaker, read_outcomes
from streams.engine.slicing import Applied, Rules, SliceBuffer
from streams.process.garbage import trim_heap

if TYPE_CHECKING:
    from confluent_kafka import Producer

    from streams.engine.restore_process import RestoredRows

POSITIONS, CONTEXT, PAUSED = "\x00positions", "\x00context", "\x00paused"
"""Keys of the engine's own rows; those of a brain never begin with NUL."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a partition stands: committed with every slice. ``number`` is that of the last slice."""

    positions: Mapping[str, int] = field(default_factory=dict)
    applied: Applied | None = None
    number: int = 0
    context: ContextSet | None = None
    paused: frozenset[str] = frozenset()
    outcomes: Mapping[str, CircuitBreaker] = field(default_factory=dict)
    """Per source topic, of its last records (D10)."""

    def position_row(self) -> bytes:
        """Value of the row POSITIONS."""
        tick = None
        if self.applied:
            tick = {"number": self.applied.number, "time": format_time(self.applied.time), "step": self.applied.step}
        outcomes = {topic: outcomes.as_row() for topic, outcomes in self.outcomes.items()}
        return orjson.dumps({"positions": dict(self.positions), "tick": tick, "number": self.number, "outcomes": outcomes})


def read_standing(rows: Mapping[str, bytes]) -> Checkpoint:
    """The standing that the engine's own rows tell; a new partition's when there are none."""
    row: dict[str, Any] = orjson.loads(rows.get(POSITIONS, b"{}"))
    tick = row.get("tick")
    return Checkpoint(
        positions=row.get("positions", {}),
        applied=Applied(tick["number"], parse_time(tick["time"]), tick["step"]) if tick else None,
        number=row.get("number", 0),
        context=ContextSet.model_validate_json(rows[CONTEXT]) if CONTEXT in rows else None,
        paused=frozenset(orjson.loads(rows.get(PAUSED, b"[]"))),
        outcomes={topic: read_outcomes(one) for topic, one in row.get("outcomes", {}).items()},
    )


@dataclass(eq=False)
class PartitionTask:
    """A partition while it is ours. Every take-over makes a new one, so that what is left of an old one is recognised."""

    partition: int
    brain: Brain
    producer: Producer
    standing: Checkpoint
    gathering: SliceBuffer
    clock: str
    clock_fetched: int = 0
    busy: bool = False
    more: bool = False
    resting: set[str] = field(default_factory=set)
    """Topics that are not fetched at present, because enough is held of them."""

    def move(self, topic: str, offset: int) -> None:
        """Stand at a later offset than what is committed: the log does not reach back so far."""
        self.standing = replace(self.standing, positions={**self.standing.positions, topic: offset})
        if topic == self.clock:
            self.clock_fetched = offset
        else:
            self.gathering.positions[topic] = self.gathering.fetched[topic] = offset


def begin(
    partition: int,
    brain: Brain,
    producer: Producer,
    found: RestoredRows,
    sources: tuple[str, ...],
    clock: str,
    rules: Rules,
) -> PartitionTask:
    """A tenure from what was restored: the brain gets its rows, the engine reads its own."""
    standing = read_standing(found.own)
    if isinstance(brain, RestoresAll) and found.prepared is not None:
        brain.restore_all(found.prepared)
        found.prepared = None
        trim_heap()
    for key, value in found.rows.items():
        brain.restore(key, value)
    # A topic that is new to the agent begins at its start.
    standing = replace(standing, positions=dict.fromkeys((*sources, clock), 0) | dict(standing.positions))
    gathering = SliceBuffer(
        sources=sources,
        rules=rules,
        positions={topic: standing.positions[topic] for topic in sources},
        applied=standing.applied,
        knows_context=standing.context is not None,
        paused=set(standing.paused),
    )
    return PartitionTask(partition, brain, producer, standing, gathering, clock, standing.positions[clock])
