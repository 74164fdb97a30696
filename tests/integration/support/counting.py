"""A third agent, as a newcomer would add it, and a worker with it: `python -m tests.integration.support.counting`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from agents.brain import FoldResult, Received
from agents.registry import AGENTS, Agent
from schemas.events.clock import ContextSet
from schemas.registry import TOPICS, Topic


class CounterBrain:
    """How many events there have been, in one row."""

    def __init__(self) -> None:
        self.count = 0

    def restore(self, key: str, value: bytes | None) -> None:
        self.count = int(value or 0)

    def fold(
        self,
        records: Sequence[Received],
        now: datetime | None,
        context: ContextSet,
        *,
        replay: bool,
        step: int = -1,
        max_deadlines: int = 500,
        paused: frozenset[str] = frozenset(),
        previous_tick: datetime | None = None,
    ) -> FoldResult:
        return FoldResult(rows={"count": str(self.count + len(records)).encode()} if records else {}, applied=len(records))

    def on_committed(self, result: FoldResult) -> None:
        for key, value in result.rows.items():
            self.restore(key, value)


AGENT = Agent(name="counter", brain=CounterBrain, sources=("training-examples",))
STATE: Topic = replace(TOPICS["learner-state"], name=AGENT.state)


def main() -> int:
    """Run a worker in which the agent's row and topic are part of the registries."""
    from streams.settings import load_settings
    from streams.worker.run import run

    AGENTS[AGENT.name], TOPICS[STATE.name] = AGENT, STATE
    return run(load_settings())


if __name__ == "__main__":
    sys.exit(main())
