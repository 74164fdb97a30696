"""What a slice is folded with besides its records: one rule for the engine, for recomputation and for the backtest.

Which time is "now" and which was "before", how many deadlines may fire, and what is paused decide what comes out. So whoever
folds a slice, live or later, does it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from agents.brain import Brain, FoldResult, Received
from schemas.events.clock import ContextSet

MAX_DEADLINES, ALL_DEADLINES = 500, 10**9
"""Deadlines that fire with one slice: live there are a few hundred, so that no slice takes long; a replay fires all of a step."""


class Tick(Protocol):
    """A tick, as the clock wrote it or as a checkpoint keeps it; ``step`` is -1 in a live deployment."""

    @property
    def time(self) -> datetime: ...
    @property
    def step(self) -> int: ...


def fold_slice(
    brain: Brain,
    received: Sequence[Received],
    context: ContextSet,
    *,
    before: Tick | None,
    tick: Tick | None,
    replay: bool,
    paused: frozenset[str] = frozenset(),
    resumed: Iterable[str] = (),
) -> FoldResult:
    """Fold a slice; the brain's memory stays as it is until the slice is committed.

    ``before``: the tick in force before the slice. ``tick``: the one that the slice ends with, None where it has none.
    ``paused``: the topics that were paused before the slice; those that it has ``resumed`` no longer are.
    """
    now = tick or before
    return brain.fold(
        received,
        now.time if now else None,
        context,
        replay=replay,
        step=tick.step if tick else -1,
        max_deadlines=ALL_DEADLINES if replay else MAX_DEADLINES,
        paused=paused.difference(resumed),
        previous_tick=before.time if before else None,
    )
