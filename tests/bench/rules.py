"""The debtor agent's `react` over somebody else's key-value store: what a user of another framework would write around it.

Generous to that framework: a row has a key of its own, so an event reads and writes only what it touches; deadlines of a debtor
are looked up by day, and those that only forget are left out; nobody's deadlines fire but those of the debtor whose event it is;
no journal, no dead letters, no ticks, no learner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from agents.debtor.event_order import local_day
from agents.debtor.payments.state import Payment, SeenMarker
from agents.debtor.react import react
from agents.debtor.state import Row, decode, encode
from agents.debtor.unit_of_work import Deadline
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output

Read = Callable[[str], bytes | None]
Write = Callable[[str, bytes | None], None]

DAY, DUE = "d", "due/"
"""Keys of our own beside the rows: the last day whose deadlines fired, and the row keys that are due on a day."""
ROW = "r/"
_LIST = msgspec.json.Decoder(list[str])


class Rows(Mapping[str, Row]):
    """One debtor's rows, read from the store when they are asked for, and what has changed since."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._known: dict[str, Row | None] = {}
        self.changed: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        if key not in self._known:
            value = self._read(ROW + key)
            self._known[key] = None if value is None else decode(key, value)
        row = self._known[key]
        return default if row is None else row

    def __getitem__(self, key: str) -> Row:
        row: Row | None = self.get(key)
        if row is None:
            raise KeyError(key)
        return row

    def set_row(self, key: str, row: Row | None) -> None:
        self._known[key] = row
        self.changed.add(key)

    def __iter__(self) -> Iterator[str]:
        """Only the rows that have been touched: the stores cannot list a debtor's keys. Seldom asked (a new insolvency)."""
        return (key for key, row in self._known.items() if row is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def write(self, write: Write) -> None:
        """Write every changed row to the store, as bytes."""
        for key in self.changed:
            row = self._known[key]
            write(ROW + key, None if row is None else encode(row))


class Debtors:
    """Applies events to debtors whose rows lie in a store. ``day`` is the latest day that any event has told, as in a stream."""

    def __init__(self, context: ContextSet) -> None:
        self._context = context
        self._zone = context.policy.time_zone
        self._day = 0

    def apply(self, customer_id: str, event: Event, read: Read, write: Write) -> list[Output]:
        """Fire what is due, apply the event, write what changed; returns what goes out."""
        self._day = max(self._day, local_day(event.recorded, self._zone))
        rows, due = Rows(read), dict[int, list[str]]()
        outputs = self._fire(customer_id, rows, due, read, write)
        outputs += self._take(rows, due, react(rows, event, self._context, customer_id, self._day))
        rows.write(write)
        for day, keys in due.items():
            value = read(f"{DUE}{day}")
            write(f"{DUE}{day}", msgspec.json.encode((_LIST.decode(value) if value else []) + keys))
        return outputs

    def _fire(self, customer_id: str, rows: Rows, due: dict[int, list[str]], read: Read, write: Write) -> list[Output]:
        """The deadlines of the days since the debtor's last event, each on its day."""
        last_day = read(DAY)
        outputs: list[Output] = []
        for day in range(int(last_day) + 1 if last_day else self._day, self._day + 1):
            value = read(f"{DUE}{day}")
            for key in sorted({*(_LIST.decode(value) if value else ()), *due.pop(day, ())}):
                if getattr(rows.get(key), "next_deadline", 0) == day:
                    outputs += self._take(rows, due, react(rows, Deadline(key, day), self._context, customer_id, day))
            if value:
                write(f"{DUE}{day}", None)
        if last_day is None or int(last_day) < self._day:
            write(DAY, str(self._day).encode())
        return outputs

    @staticmethod
    def _take(rows: Rows, due: dict[int, list[str]], reaction: Any) -> list[Output]:
        for key, row in reaction.changes.items():
            deadline = getattr(row, "next_deadline", 0)
            if deadline and not isinstance(row, SeenMarker | Payment) and deadline != getattr(rows.get(key), "next_deadline", 0):
                due.setdefault(deadline, []).append(key)
            rows.set_row(key, row)
        outputs: list[Output] = reaction.outputs
        return outputs
