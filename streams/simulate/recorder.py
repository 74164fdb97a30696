"""The events of one debtor's life: structured CloudEvents with ids that reveal nothing, some of them recorded late."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

import orjson

from schemas.cloudevents import build_attributes, structured
from schemas.ids import stable_id
from schemas.registry import TOPIC_OF_TYPE
from streams.simulate.days import iso

SOURCE = "duewatch/simulate"
RECORDED_LATE_SHARE = 0.03
"""The share of events that are recorded one to five days after they happened."""


class SimulatedEvent(NamedTuple):
    """An event as a line of JSON, and the fields by which events are sorted."""

    topic: str
    recorded: str
    id: str
    line: bytes


class EventRecorder:
    """Records a debtor's events up to the last day of the portfolio; what would be recorded later is left out."""

    def __init__(self, rng: Random, customer_id: str, ends: int, first_number: int = 0) -> None:
        self._rng = rng
        self._customer_id = customer_id
        self._ends = ends
        self._number = first_number
        self.events: list[SimulatedEvent] = []

    def new_id(self, kind: str) -> str:
        """A business id that reveals neither order nor outcome."""
        self._number += 1
        return f"{kind}-{stable_id(self._customer_id, kind, self._number)[:13]}"

    def record(self, kind: str, day: int, hour: int, /, *, punctual: bool = False, **body: Any) -> int | None:
        """Record that something happened on ``day``; returns the day of the record, or None where that lies beyond the end."""
        self._number += 1
        rng = self._rng
        recorded = day
        if not punctual and rng.random() < RECORDED_LATE_SHARE:
            recorded += rng.randint(1, 5)
        minute = rng.randrange(3300)
        if recorded > self._ends:
            return None
        name = f"duewatch.{kind}.v1"
        event_id = stable_id("simulated", self._customer_id, self._number)
        at = f"T{hour:02}:{minute // 60:02}:{minute % 60:02}Z"
        recorded_time = f"{iso(recorded)}T{hour:02}:{55 + minute % 5:02}:00Z"
        own = self._customer_id
        attributes = build_attributes(event_id, name, SOURCE, iso(day) + at, recorded_time, subject=own, partition_key=own)
        line = orjson.dumps(structured(attributes, {"customer_id": own, **body}))
        self.events.append(SimulatedEvent(TOPIC_OF_TYPE[name], recorded_time, event_id, line))
        return recorded


def money(cents: int) -> str:
    """An amount in cents as a decimal string.

    >>> money(-123405)
    '-1234.05'
    """
    sign, cents = ("-", -cents) if cents < 0 else ("", cents)
    return f"{sign}{cents // 100}.{cents % 100:02}"
