"""Read a partition's rows back, as the agent's brain takes them over: here, or in a process of its own where they are many."""

from __future__ import annotations

import os
from collections.abc import Mapping
from threading import BoundedSemaphore

from agents.brain import Brain, RestoresAll
from streams.engine.restore_process import RestoredRows, RestoreProcesses, read
from streams.kafka.read import count_of

MANY_ROWS = 20_000
"""From so many records on a process of its own reads and packs a partition: Python uses one core, and memory that was torn to
pieces by millions of rows that came and went goes back as a whole."""
_HELPERS = BoundedSemaphore(max(1, (os.cpu_count() or 1)))


def read_state(kafka: Mapping[str, str], topic: str, partition: int, brain: Brain, processes: RestoreProcesses) -> RestoredRows:
    """A partition's rows as ``brain`` takes them over; ``processes`` read many. Raises KafkaException, ReadingFailedError."""
    prepare = brain.pack_snapshot if isinstance(brain, RestoresAll) else None
    if prepare is None or count_of(kafka, topic, partition) < MANY_ROWS:
        return read(kafka, topic, partition, prepare)
    with _HELPERS:
        return processes.read(kafka, topic, partition, prepare)
