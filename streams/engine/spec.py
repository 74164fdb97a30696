"""What an agent is to the engine in one deployment, and what the engine asks of the app that it runs in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from agents.brain import Brain
from streams.engine.slicing import Order
from streams.errors import UserError


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """An agent as a deployment runs it (``agents.registry.Agent`` is what it is in all of them). Topics without prefix."""

    name: str
    sources: tuple[str, ...]
    clock: str
    state: str
    partitions: int
    order: Order
    replay: bool
    """Of the deployment: an agent may apply what arrives in a replay, too, and tell its steps apart by itself."""
    brain: Callable[[], Brain]
    row_format: int = 1
    """Of the rows that ``brain`` writes; rows of a newer one are refused (``row_format``)."""
    with_tick: bool = False
    """See ``slicing.Rules``."""
    max_slice: int | None = None
    """Records of a slice at most, where that is fewer than the deployment's."""

    @property
    def topics(self) -> tuple[str, ...]:
        """All that it reads."""
        return (*self.sources, self.clock)


class Gauges(Protocol):
    """Something with gauges that the app has set every few seconds."""

    def measure(self) -> None:
        """Set them; called in the event loop."""


class HostApp(Protocol):
    """The app that an engine runs in: in a worker Faust's (``worker.membership.SliceApp``), in tests a simulated one."""

    receivers: list[Gauges]
    on_partitions_assigned: Any
    on_before_shutdown: Any

    def channel(self, *, maxsize: int | None = None) -> Any:
        """A queue to an agent; ``maxsize`` 0 = without a bound."""

    @property
    def consumer_generation_id(self) -> int:
        """Number of the group's last rebalance."""

    async def crash(self, reason: BaseException) -> None:
        """End the worker, as failed."""

    def shut_down(self, reason: UserError) -> None:
        """End the worker in order, and tell people why: it must not go on, and nothing has failed."""
