"""The engine broken on purpose, one rule at a time: the simulation must notice each within few seeds.

Each mutant is a context in which one decision is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from streams.engine import apply, partition_task, slicing
from streams.engine.engine import Engine
from streams.engine.ownership import Ownership
from streams.engine.slicing import SliceBuffer
from streams.engine.transaction import commit
from tests.simulation import broker, parts

Mutant = Callable[[], Any]


def no_fence() -> Any:
    """Who takes a partition over does not fence the one before."""
    return patch.object(broker.SimBroker, "fence", _begin_beside)


def _begin_beside(self: broker.SimBroker, name: str) -> int:
    return self.epochs[name]


def position_of_last_record() -> Any:
    """A run ends after its last record, not where the fetch ended: markers and holes are never passed."""
    original = SliceBuffer._slice

    def shorter(self: SliceBuffer, runs: Any, tick: Any) -> Any:
        cut = [slicing.Run(r.topic, r.start, r.records[-1].offset + 1 if r.records else r.start, r.records) for r in runs]
        return original(self, cut, tick)

    return patch.object(SliceBuffer, "_slice", shorter)


def tick_before_its_cut() -> Any:
    """A tick is applied as soon as it is read."""
    return patch.object(slicing, "is_reached", lambda *_: True)


def stale_ticks_count() -> Any:
    """A tick that goes back in time is applied like any other."""

    def skip(self: SliceBuffer) -> None:
        tick, self.tick = self.tick, None
        original(self)
        self.tick = tick

    original = SliceBuffer._skip_to_tick
    return patch.object(SliceBuffer, "_skip_to_tick", skip)


def keep_before_commit() -> Any:
    """Memory changes when a slice is folded, not when it is committed."""
    original = parts.SimBrain.fold

    def fold(self: parts.SimBrain, *args: Any, **kwargs: Any) -> Any:
        folded = original(self, *args, **kwargs)
        self.on_committed(folded)
        return folded

    return patch.object(parts.SimBrain, "fold", fold)


def retake_without_restore() -> Any:
    """A partition that comes back begins with the rows and positions that this worker remembers."""
    original = Ownership._restore

    def restore(self: Ownership, number: int) -> Any:
        task = original(self, number)
        remembered: dict[int, Any] = self.__dict__.setdefault("remembered", {})
        old = remembered.get(number)
        if old is not None and old.checkpoint.number < task.checkpoint.number:
            task = replace(task, brain=old.brain, checkpoint=old.checkpoint, buffer=old.buffer, clock_fetched=old.clock_fetched)
            task.buffer.records = {topic: type(r)() for topic, r in task.buffer.records.items()}
            task.buffer.positions = {topic: old.checkpoint.positions[topic] for topic in task.buffer.sources}
            task.buffer.fetched = dict(task.buffer.positions)
        remembered[number] = task
        return task

    return patch.object(Ownership, "_restore", restore)


def go_on_after_a_failed_commit() -> Any:
    """A commit that failed does not end the task: the next slice is applied as if nothing had happened."""

    def give_up(self: Engine, task: Any, _error: Exception, *_: Any, **__: Any) -> None:
        task.busy = False
        self._offer(task)

    return patch.multiple(Engine, _give_up=give_up)


@contextmanager
def go_on_and_close_the_gap() -> Iterator[None]:
    """The same, and whether a slice continues where the partition stands is not looked at."""
    with go_on_after_a_failed_commit(), patch.object(apply, "continues", lambda *_: True):
        yield


def apply_twice_after_a_lost_answer() -> Any:
    """A slice whose commit failed is written once more, without looking whether it was committed."""
    original = commit

    def commit_twice(producer: Any, *args: Any) -> None:
        try:
            original(producer, *args)
        except Exception:  # noqa: BLE001 - that is the fault
            original(producer, *args)

    return patch.object(apply, "commit", commit_twice)


def read_on_while_paused() -> Any:
    """What is held of a paused topic is applied all the same."""
    return patch.object(SliceBuffer, "_open_sources", lambda self: self.sources)


def wait_for_a_lost_consumer() -> Any:
    """A consumer that has lost the broker is not replaced."""
    return patch.object(parts.SimFetcher, "_renew", lambda _self: None)


def write_over_newer_rows() -> Any:
    """Nobody looks at the format of the rows that are taken over."""
    return patch.object(partition_task, "require_format", lambda *_: None)


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        no_fence,
        position_of_last_record,
        tick_before_its_cut,
        stale_ticks_count,
        keep_before_commit,
        retake_without_restore,
        go_on_after_a_failed_commit,
        go_on_and_close_the_gap,
        apply_twice_after_a_lost_answer,
        read_on_while_paused,
        wait_for_a_lost_consumer,
        write_over_newer_rows,
    )
}
