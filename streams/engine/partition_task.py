"""One partition while it is ours, the rows that the engine itself keeps in its state topic, and how they are read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from agents.brain import Brain, RestoresAll
from schemas.base import format_time, parse_time
from schemas.events.clock import ContextSet
from streams.engine.circuit_breaker import CircuitBreaker, read_breaker
from streams.engine.context import read_context
from streams.engine.keys import CONTEXT, PAUSED, POSITIONS
from streams.engine.row_format import MARK_FOR_UNSTATED, require_format
from streams.engine.slicing import AppliedTick, Rules, SliceBuffer
from streams.process.garbage import trim_heap

if TYPE_CHECKING:
    from confluent_kafka import Producer

    from streams.engine.restore_process import RestoredRows


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a partition is: committed with every slice. ``number`` is that of the last slice, ``tick`` the one in force."""

    positions: Mapping[str, int] = field(default_factory=dict)
    tick: AppliedTick | None = None
    number: int = 0
    context: ContextSet | None = None
    paused: frozenset[str] = frozenset()
    breakers: Mapping[str, CircuitBreaker] = field(default_factory=dict)
    """Per source topic, of its last records."""

    def position_row(self, row_format: int, code_version: str) -> bytes:
        """Value of the row POSITIONS; ``row_format``: of all rows of the partition, which ``code_version`` wrote last."""
        tick = None
        if self.tick:
            tick = {"number": self.tick.number, "time": format_time(self.tick.time), "step": self.tick.step}
        breakers = {topic: breaker.as_row() for topic, breaker in self.breakers.items()}
        return orjson.dumps(
            {
                "format": row_format,
                "code_version": code_version,
                "positions": dict(self.positions),
                "applied_tick": tick,
                "number": self.number,
                "outcomes": breakers,
                **MARK_FOR_UNSTATED,
            }
        )


def read_checkpoint(rows: Mapping[str, bytes], row_format: int, holder: str) -> Checkpoint:
    """The checkpoint in the engine's own rows; a new partition's when there are none. ``holder``: agent and partition.

    Raises NewerFormatError for rows of a newer format than ``row_format``, UnreadableContextError.
    """
    row: dict[str, Any] = orjson.loads(rows.get(POSITIONS, b"{}"))
    require_format(row, row_format, holder)
    tick = row["applied_tick"] if "format" in row else row.get("tick")
    return Checkpoint(
        positions=row.get("positions", {}),
        tick=AppliedTick(tick["number"], parse_time(tick["time"]), tick["step"]) if tick else None,
        number=row.get("number", 0),
        context=read_context(rows[CONTEXT], holder) if CONTEXT in rows else None,
        paused=frozenset(orjson.loads(rows.get(PAUSED, b"[]"))),
        breakers={topic: read_breaker(breaker) for topic, breaker in row.get("outcomes", {}).items()},
    )


@dataclass(eq=False)
class PartitionTask:
    """A partition while it is ours. Every take-over makes a new one, so that what is left of an old one is recognised."""

    partition: int
    brain: Brain
    producer: Producer
    checkpoint: Checkpoint
    buffer: SliceBuffer
    clock: str
    clock_fetched: int = 0
    busy: bool = False
    """A slice of it is in flight."""
    more: bool = False
    """Deadlines of the applied tick are left."""
    throttled: set[str] = field(default_factory=set)
    """Topics that are not fetched at present, because enough is held of them."""

    def skip_to(self, topic: str, offset: int) -> None:
        """Go on at a later offset than what is committed: the log does not reach back so far."""
        self.checkpoint = replace(self.checkpoint, positions={**self.checkpoint.positions, topic: offset})
        if topic == self.clock:
            self.clock_fetched = offset
        else:
            self.buffer.positions[topic] = self.buffer.fetched[topic] = offset


def new_task(
    partition: int,
    brain: Brain,
    producer: Producer,
    restored: RestoredRows,
    sources: tuple[str, ...],
    clock: str,
    rules: Rules,
    checkpoint: Checkpoint,
) -> PartitionTask:
    """A task from what was restored: the brain gets its rows, the engine has read its own."""
    if isinstance(brain, RestoresAll) and restored.prepared is not None:
        brain.restore_snapshot(restored.prepared)
        restored.prepared = None
        trim_heap()
    for key, value in restored.rows.items():
        brain.restore(key, value)
    # A topic that is new to the agent begins at its start.
    checkpoint = replace(checkpoint, positions=dict.fromkeys((*sources, clock), 0) | dict(checkpoint.positions))
    buffer = SliceBuffer(
        sources=sources,
        rules=rules,
        positions={topic: checkpoint.positions[topic] for topic in sources},
        tick=checkpoint.tick,
        knows_context=checkpoint.context is not None,
        paused=set(checkpoint.paused),
    )
    return PartitionTask(partition, brain, producer, checkpoint, buffer, clock, checkpoint.positions[clock])
