"""The Faust timer ``clock``: on the leader, and only there, time becomes an event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import faust


def register(app: faust.App, tick: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Give the app the timer; ``tick`` never raises."""

    async def clock(_app: faust.App) -> None:
        await tick()

    app.timer(interval=seconds, on_leader=True, name="clock")(clock)
