"""How far the sink has got: set by the thread that copies, read by the web server's."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from schemas.clickhouse.rows import Row
from schemas.clickhouse.tables import TABLES

NextOffset = tuple[str, int, int]
"""Topic without prefix, partition, next offset."""

IDLE_S = 0.5
REPORTED_TABLES = frozenset({"ticks", "journal_raw"})
"""Tables whose rows are progress of their own: how far time, and each agent, has got in ClickHouse."""
_tick_column = TABLES["ticks"].index
_journal_column = TABLES["journal_raw"].index


@dataclass(frozen=True, slots=True)
class BatchEnd:
    """What a batch reaches: the next offsets, and its rows that are reported once they are written."""

    offsets: list[NextOffset]
    rows: list[tuple[str, Row]]


@dataclass(slots=True)
class _Partition:
    next_unread: int
    next_unwritten: int
    at_end: bool = False


class Progress:
    """Per partition how far records were read, and how far ClickHouse has them. Snapshots only show what is written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._partitions: dict[tuple[str, int], _Partition] = {}
        self._ticks: dict[int, dict[str, Any]] = {}
        self._journal: dict[str, int] = {}
        self._pending_rows: list[tuple[str, Row]] = []
        self._last_record = time.monotonic()
        self._records = 0

    def add_partition(self, topic: str, partition: int, offset: int) -> None:
        with self._lock:
            self._partitions[topic, partition] = _Partition(offset, offset)

    def on_record(self, topic: str, partition: int, next_offset: int) -> None:
        """A record was read."""
        with self._lock:
            state = self._partitions[topic, partition]
            state.next_unread, state.at_end = next_offset, False
            self._last_record = time.monotonic()
            self._records += 1

    def on_end(self, topic: str, partition: int, offset: int) -> None:
        """The end of a partition was met at ``offset``: markers and holes before it are passed."""
        with self._lock:
            state = self._partitions[topic, partition]
            state.next_unread, state.at_end = max(state.next_unread, offset), True

    def on_row(self, table: str, row: Row) -> None:
        """A row of one of ``REPORTED_TABLES``, to be reported once it is written."""
        self._pending_rows.append((table, row))

    def offsets(self) -> list[tuple[str, int, int, int]]:
        """Topic, partition, and the next offsets: behind what was read, behind what ClickHouse has."""
        with self._lock:
            return [
                (topic, partition, state.next_unread, state.next_unwritten)
                for (topic, partition), state in self._partitions.items()
            ]

    @property
    def has_unwritten(self) -> bool:
        """Whether anything was read that ClickHouse does not have."""
        with self._lock:
            return any(state.next_unread != state.next_unwritten for state in self._partitions.values())

    def end_batch(self) -> BatchEnd:
        """Where the batch that was read so far ends; what is read from now on belongs to the next one."""
        with self._lock:
            rows, self._pending_rows = self._pending_rows, []
            return BatchEnd(
                [
                    (t, n, state.next_unread)
                    for (t, n), state in self._partitions.items()
                    if state.next_unread != state.next_unwritten
                ],
                rows,
            )

    def on_written(self, batch_end: BatchEnd) -> None:
        """A batch is in ClickHouse."""
        with self._lock:
            for topic, partition, offset in batch_end.offsets:
                self._partitions[topic, partition].next_unwritten = offset
            for table, row in batch_end.rows:
                self._report(table, row)

    def _report(self, table: str, row: Row) -> None:
        if table == "ticks":
            number, at, step, last = (row[_tick_column(name)] for name in ("number", "time", "step", "last"))
            self._ticks[row[_tick_column("partition")]] = {"number": number, "time": at, "step": step, "last": last}
        elif row[_journal_column("tick")] is not None:
            agent = f"{row[_journal_column('agent')]}/{row[_journal_column('agent_partition')]}"
            self._journal[agent] = row[_journal_column("tick")]

    def recall_tick(self, partition: int, number: int, at: str, step: int, last: bool) -> None:
        """The last tick that an earlier run had written."""
        with self._lock:
            self._ticks[partition] = {"number": number, "time": at, "step": step, "last": last}

    def recall_journal(self, agent: str, partition: int, tick: int) -> None:
        """The last tick of an agent's partition whose journal record an earlier run had written."""
        with self._lock:
            self._journal[f"{agent}/{partition}"] = tick

    def snapshot(self) -> dict[str, Any]:
        """JSON for GET /progress. ``drained``: the end of every partition was met, all is written, and nothing came for 0.5 s."""
        with self._lock:
            idle_s = time.monotonic() - self._last_record
            topics: dict[str, dict[str, Any]] = {}
            for (topic, partition), state in sorted(self._partitions.items()):
                position = {
                    "next_offset": state.next_unwritten,
                    "at_end": state.at_end and state.next_unread == state.next_unwritten,
                }
                topics.setdefault(topic, {})[str(partition)] = position
            states = self._partitions.values()
            is_complete = bool(states) and all(state.at_end and state.next_unread == state.next_unwritten for state in states)
            return {
                "topics": topics,
                "records": self._records,
                "idle_s": round(idle_s, 3),
                "drained": is_complete and idle_s >= IDLE_S,
                "ticks": {str(partition): dict(tick) for partition, tick in sorted(self._ticks.items())},
                "journal": dict(self._journal),
            }
