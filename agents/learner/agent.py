"""The Faust agent ``learner``: slices come in on a channel, its concurrency is the number of commits in flight."""

from __future__ import annotations

from typing import Any

import faust

from agents.brain import Slices


def register(app: faust.App, engine: Slices) -> None:
    """Give the app this agent."""

    @app.agent(engine.slices, name="learner", concurrency=engine.concurrency)
    async def learner(slices: faust.StreamT[Any]) -> None:
        async for work in slices:
            await engine.apply(work)
