"""The Faust agent of every agent whose events the engine applies: slices come in on a channel.

Its concurrency is the number of commits in flight.
"""

from __future__ import annotations

from typing import Any

import faust

from agents.brain import Slices


def register(app: faust.App, name: str, engine: Slices) -> None:
    """Give the app the agent of this name."""

    async def apply_slices(slices: faust.StreamT[Any]) -> None:
        async for job in slices:
            await engine.apply(job)

    app.agent(engine.slices, name=name, concurrency=engine.concurrency)(apply_slices)
