"""What an agent is to the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agents.brain import Brain
from streams.engine.slicing import Order


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """Topics without prefix."""

    name: str
    sources: tuple[str, ...]
    clock: str
    state: str
    partitions: int
    order: Order
    replay: bool
    """Of the deployment: an agent may apply what arrives in a replay, too, and tell its steps apart by itself."""
    brain: Callable[[], Brain]
    with_tick: bool = False
    """See ``plan.Rules``."""
    most: int | None = None
    """Records of a slice at most, where that is fewer than the deployment's."""

    @property
    def topics(self) -> tuple[str, ...]:
        return (*self.sources, self.clock)
