"""How far the sink is, told by one thread and asked by another."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from schemas.clickhouse.rows import Row
from schemas.clickhouse.tables import TABLES

Place = tuple[str, int, int]
"""Topic without prefix, partition, next offset."""

IDLE_S = 0.5
_TICK = TABLES["ticks"].index
_JOURNAL = TABLES["journal_raw"].index


@dataclass(frozen=True, slots=True)
class Cut:
    """What a batch brings: the places that it reaches, and its rows that are told once they are written."""

    places: list[Place]
    told: list[tuple[str, Row]]


@dataclass(slots=True)
class _Partition:
    read: int
    written: int
    at_end: bool = False


class Progress:
    """``read`` is what is gathered, ``written`` what ClickHouse has. Snapshots only tell what is written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self._ticks: dict[int, dict[str, Any]] = {}
        self._journal: dict[str, int] = {}
        self._gathered: list[tuple[str, Row]] = []
        self._last_record = time.monotonic()
        self._records = 0

    def add(self, topic: str, partition: int, offset: int) -> None:
        with self._lock:
            self._partitions[topic, partition] = _Partition(offset, offset)

    def read(self, topic: str, partition: int, next_offset: int) -> None:
        with self._lock:
            place = self._partitions[topic, partition]
            place.read, place.at_end = next_offset, False
            self._last_record = time.monotonic()
            self._records += 1

    def at_end(self, topic: str, partition: int, offset: int) -> None:
        """The end of the partition was met at ``offset``: markers and holes before it are passed."""
        with self._lock:
            place = self._partitions[topic, partition]
            place.read, place.at_end = max(place.read, offset), True

    def places(self) -> list[tuple[str, int, int, int]]:
        """Topic, partition, and the next offsets: behind what is gathered, behind what ClickHouse has."""
        with self._lock:
            return [(topic, partition, place.read, place.written) for (topic, partition), place in self._partitions.items()]

    def gathered(self, table: str, row: Row) -> None:
        """A tick or journal row, to be told once it is written."""
        self._gathered.append((table, row))

    @property
    def unwritten(self) -> bool:
        """Whether anything was read that ClickHouse does not have."""
        with self._lock:
            return any(place.read != place.written for place in self._partitions.values())

    def cut(self) -> Cut:
        """Partitions that have moved since they were last written. What is gathered from now on belongs to the next batch."""
        with self._lock:
            told, self._gathered = self._gathered, []
            return Cut([(t, n, place.read) for (t, n), place in self._partitions.items() if place.read != place.written], told)

    def written(self, cut: Cut) -> None:
        """A batch is in ClickHouse up to its cut."""
        with self._lock:
            for topic, partition, offset in cut.places:
                self._partitions[topic, partition].written = offset
            for table, row in cut.told:
                self._tell(table, row)

    def _tell(self, table: str, row: Row) -> None:
        if table == "ticks":
            number, at, step, last = (row[_TICK(name)] for name in ("number", "time", "step", "last"))
            self._ticks[row[_TICK("partition")]] = {"number": number, "time": at, "step": step, "last": last}
        elif row[_JOURNAL("tick")] is not None:
            self._journal[f"{row[_JOURNAL('agent')]}/{row[_JOURNAL('agent_partition')]}"] = row[_JOURNAL("tick")]

    def recall_tick(self, partition: int, number: int, at: str, step: int, last: bool) -> None:
        with self._lock:
            self._ticks[partition] = {"number": number, "time": at, "step": step, "last": last}

    def recall_journal(self, agent: str, partition: int, tick: int) -> None:
        with self._lock:
            self._journal[f"{agent}/{partition}"] = tick

    def snapshot(self) -> dict[str, Any]:
        """JSON for GET /progress. ``drained``: the end of every partition was met, all is written, and nothing came for 0.5 s."""
        with self._lock:
            idle_s = time.monotonic() - self._last_record
            places = self._partitions
            topics: dict[str, dict[str, Any]] = {}
            for (topic, partition), place in sorted(places.items()):
                told = {"next_offset": place.written, "at_end": place.at_end and place.read == place.written}
                topics.setdefault(topic, {})[str(partition)] = told
            ended = bool(places) and all(place.at_end and place.read == place.written for place in places.values())
            return {
                "topics": topics,
                "records": self._records,
                "idle_s": round(idle_s, 3),
                "drained": ended and idle_s >= IDLE_S,
                "ticks": {str(partition): dict(tick) for partition, tick in sorted(self._ticks.items())},
                "journal": dict(self._journal),
            }
