"""The rows of one partition's debtors, their deadlines, and the fold of a slice: the brain that the engine drives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from heapq import heappop, heappush
from itertools import islice
from typing import Any

from msgspec.structs import replace

from agents.brain import FoldResult, Received
from agents.debtor.event_order import local_day, order_key
from agents.debtor.keys import OPENED, SCORE, SEPARATOR, WITHOUT_WAKE, split_key, wake_of
from agents.debtor.outputs.failures import deadline_failed
from agents.debtor.react import react
from agents.debtor.state import Opened, Row, decode, encode, opening_of, read_opened
from agents.debtor.store.row_store import RowStore
from agents.debtor.store.snapshot import prepare, read_prepared
from agents.debtor.unit_of_work import Deadline, Reaction
from schemas.events.clock import ContextSet
from schemas.events.envelope import Rejection

AT_HAND = ("", SCORE)
"""Rows that stay decoded between slices; all others are kept as they are written, and decoded when they are touched."""
DEBTORS_AT_HAND = 20_000
"""Of so many debtors."""


MOST_AHEAD = 400
"""An event recorded so many days after the applied tick is a typing error: no clock was ever away for so long. Its debtor's
deadlines, and in a replay everybody's, would wait until then."""

_UNSEEN: Any = object()


class Rows(Mapping[str, Row]):
    """One debtor's rows during a slice: as written until they are touched, with the slice's changes over them."""

    __slots__ = ("_customer_id", "_shelf", "changed", "seen", "written")

    def __init__(self, shelf: RowStore, customer_id: str, at_hand: Mapping[str, Row]) -> None:
        self._shelf, self._customer_id = shelf, customer_id
        self.seen: dict[str, Row | None] = {**at_hand}
        self.changed: set[str] = set()
        self.written: dict[str, bytes | None] = {}
        """What changed, as it is written in the end."""

    def get(self, key: str, default: Row | None = None) -> Row | None:  # type: ignore[override]
        """The row or ``default``; this is called for every cell of every label."""
        row = self.seen.get(key, _UNSEEN)
        if row is _UNSEEN:
            value = self._shelf.read(self._customer_id, key)
            row = self.seen[key] = None if value is None else decode(key, value)
        return default if row is None else row

    def __getitem__(self, key: str) -> Row:
        row = self.get(key)
        if row is None:
            raise KeyError(key)
        return row

    def __iter__(self) -> Iterator[str]:
        written = self._shelf.touch(self._customer_id) or {}
        yield from (k for k in written if self.seen.get(k, True) is not None)
        yield from (k for k in self.changed if self.seen[k] is not None and k not in written)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _ahead(day: int) -> Rejection:
    return Rejection(
        f"recorded more than {MOST_AHEAD} days after {date.fromordinal(day)}, the day of the clock: correct recordedtime",
        "recordedtime",
    )


UNREAD = "\0"
"""Stands for those of a debtor's deadlines that are not in the index: after the header's of that day, before any other row's."""


class Deadlines:
    """Who has to be looked at on which day: an index over the rows' ``wake``. An entry counts only if its row still says so.

    What lies ahead is a list per day, two references an entry; what is due by ``day`` is a heap per debtor, so that an event can
    fire its own debtor's deadlines first. Of a debtor that was restored only the first deadline is known, by one reference: when
    it is due, ``wakes_of`` tells the debtor's rows and their days, and the first of those that are not yet due takes its place.
    """

    def __init__(self, wakes_of: Callable[[str], Iterable[tuple[str, int]]]) -> None:
        self.day = 0
        self._wakes_of = wakes_of
        self._ahead: dict[int, list[str]] = {}
        self._unread: dict[int, list[str]] = {}
        self._due: dict[str, list[tuple[int, str]]] = {}
        self._debtors: list[tuple[int, str]] = []

    def watch(self, customer_id: str, row_key: str, wake: int) -> None:
        if wake > self.day:
            self._ahead.setdefault(wake, []).extend((customer_id, row_key))
        else:
            self._is_due(customer_id, row_key, wake)

    def watch_first(self, wake: int, customer_ids: list[str]) -> None:
        """These debtors have their first deadline on that day; takes the list over. Before any day has passed."""
        self._unread.setdefault(wake, []).extend(customer_ids)

    def _is_due(self, customer_id: str, row_key: str, wake: int) -> None:
        own = self._due.setdefault(customer_id, [])
        if not own or wake < own[0][0]:
            heappush(self._debtors, (wake, customer_id))
        heappush(own, (wake, row_key))

    def advance(self, day: int) -> None:
        """Days never go back."""
        if day <= self.day:
            return
        self.day = day
        for wake in sorted(d for d in self._ahead if d <= day):
            entries = iter(self._ahead.pop(wake))
            for customer_id, row_key in zip(entries, entries, strict=True):
                self._is_due(customer_id, row_key, wake)
        for wake in sorted(d for d in self._unread if d <= day):
            for customer_id in self._unread.pop(wake):
                self._is_due(customer_id, UNREAD, wake)

    def _index(self, customer_id: str, own: list[tuple[int, str]]) -> None:
        """Read a debtor's deadlines: what is due joins ``own``; of what is not, the first stands for all."""
        first = 0
        for row_key, wake in self._wakes_of(customer_id):
            if wake <= self.day:
                heappush(own, (wake, row_key))
            elif not first or wake < first:
                first = wake
        if first:
            self._unread.setdefault(first, []).append(customer_id)

    def has(self, customer_id: str) -> bool:
        """Whether anything of the debtor is due."""
        return customer_id in self._due

    def next_debtor(self) -> tuple[int, str] | None:
        """Who may have the earliest deadline that is due, and its day; the first by id where several have."""
        while self._debtors:
            wake, customer_id = self._debtors[0]
            own = self._due.get(customer_id)
            if own and own[0][0] == wake:
                return wake, customer_id
            heappop(self._debtors)
        return None

    def pop(self, customer_id: str, last: int) -> tuple[int, str] | None:
        """The debtor's earliest deadline that is due up to the day ``last``, by day and row key."""
        own = self._due.get(customer_id)
        if not own or own[0][0] > last:
            return None
        before = own[0][0]
        found = None
        while own and own[0][0] <= last:
            first = heappop(own)
            if first[1] != UNREAD:
                found = first
                break
            self._index(customer_id, own)
        if not own:
            del self._due[customer_id]
        elif own[0][0] > before:
            heappush(self._debtors, (own[0][0], customer_id))
        return found


class DebtorBrain:
    """One partition's debtors. Implements ``agents.brain.Brain``.

    The deadlines run ahead of ``keep``; a book whose fold was not kept is to be thrown away, as the engine does with everything
    of a tenure that has ended.
    """

    react = staticmethod(react)
    """Whoever explains a decision looks on here."""
    prepare = staticmethod(prepare)

    def __init__(self) -> None:
        self._shelf = RowStore()
        self._at_hand: dict[str, dict[str, Row]] = {}
        self._folding: dict[str, Rows] = {}
        self._deadlines = Deadlines(self._wakes_of)
        self._opened: Opened | None = None
        self._to_open: set[str] = set()
        self._is_restored = False

    # -- restore
    def restore(self, key: str, value: bytes | None) -> None:
        """Take over a row as it was written."""
        customer_id, row_key = split_key(key)
        self._is_restored = True
        if not customer_id:
            self._opened = None if value is None else read_opened(value)
            return
        self._shelf.write(customer_id, {row_key: value})
        if value is not None and (wake := wake_of(row_key, value)):
            self._deadlines.watch(customer_id, row_key, wake)

    def restore_all(self, prepared: bytes) -> None:
        """Take over what ``prepare`` made of all rows."""
        found = read_prepared(prepared)
        self._is_restored = True
        if found.opened is not None:
            self._opened = read_opened(found.opened)
        self._shelf.put_away(found.parcels)
        for wake, customer_ids in found.firsts.items():
            self._deadlines.watch_first(wake, customer_ids)

    def _wakes_of(self, customer_id: str) -> Iterator[tuple[str, int]]:
        """The rows of a debtor that have a deadline, and its day."""
        for row_key, value in (self._shelf.touch(customer_id) or {}).items():
            if wake := wake_of(row_key, value):
                yield row_key, wake

    def rows(self) -> Iterable[tuple[str, Row]]:
        """All debtors' rows with their keys in the state topic, for ``state.jsonl`` and the audit."""
        for customer_id in self._shelf:
            for row_key, value in self._shelf.look(customer_id).items():
                yield f"{customer_id}{SEPARATOR}{row_key}", decode(row_key, value)

    # -- fold
    def fold(
        self,
        arrived: Sequence[Received],
        now: datetime | None,
        context: ContextSet,
        *,
        replay: bool,
        step: int = -1,  # noqa: ARG002 - the learner's brain tells steps apart, this one only their ends
        wakes: int = 500,
        paused: frozenset[str] = frozenset(),
        before: datetime | None = None,
    ) -> FoldResult:
        """Apply a slice; see ``agents.brain.Brain.fold``."""
        folded = FoldResult()
        zone = context.policy.time_zone
        if before is not None:
            self._deadlines.advance(local_day(before, zone))
        tick_day = local_day(now, zone) if now is not None else 0
        self._open_all_if_new(context, now, tick_day, folded)
        if replay:
            arrived = sorted(arrived, key=lambda a: order_key(a, zone))
        for one in arrived:
            self._apply(one, context, zone, folded, replay=replay, paused=paused)
        if now is not None:
            self._deadlines.advance(tick_day)
            folded.more = self._fire_all(context, folded, wakes, paused)
        self._write(folded)
        return folded

    def _write(self, folded: FoldResult) -> None:
        for customer_id, rows in self._folding.items():
            seen, start = rows.seen, customer_id + SEPARATOR
            for row_key in rows.changed:
                row = seen[row_key]
                folded.rows[start + row_key] = rows.written[row_key] = None if row is None else encode(row)

    def keep(self, folded: FoldResult) -> None:  # noqa: ARG002 - what it holds is at hand here, by debtor
        """The slice is committed."""
        at_hand, shelf = self._at_hand, self._shelf
        for customer_id, rows in self._folding.items():
            if rows.written:
                shelf.write(customer_id, rows.written)
            at_hand.pop(customer_id, None)  # the last touched last
            at_hand[customer_id] = {key: row for key in AT_HAND if (row := rows.seen.get(key)) is not None}
        if len(at_hand) > DEBTORS_AT_HAND:
            for customer_id in list(islice(at_hand, len(at_hand) - DEBTORS_AT_HAND + DEBTORS_AT_HAND // 20)):
                del at_hand[customer_id]
        self._folding.clear()
        shelf.tidy()

    def _open_all_if_new(self, context: ContextSet, now: datetime | None, day: int, folded: FoldResult) -> None:
        """Going live, acting instead of observing, a new generation: every debtor gets its first limit, not only who moves.

        When that began is a row of its own: whoever takes the partition over goes on where this one stopped.
        """
        if now is None:
            return  # without a tick there is no day on which to look
        live_from, policy = context.live_from, context.policy
        is_live = live_from is None or day >= local_day(live_from, policy.time_zone)
        last = self._opened
        if last is None or (last.action, last.generation, last.live) != (policy.action, context.generation, is_live):
            last = self._opened = Opened(policy.action, context.generation, is_live, day)
            folded.rows[OPENED] = encode(last)
        elif not self._is_restored:
            return
        self._is_restored = False
        self._to_open.clear()
        if is_live:
            opening = (last.action, last.generation)
            self._to_open.update(c for c, header in self._shelf.headers() if opening_of(header) != opening)
            for customer_id in self._to_open:
                self._deadlines.watch(customer_id, "", last.day)

    def _rows_of(self, customer_id: str) -> Rows:
        rows = self._folding.get(customer_id)
        if rows is None:
            self._shelf.use(customer_id)
            rows = Rows(self._shelf, customer_id, self._at_hand.get(customer_id, {}))
            self._folding[customer_id] = rows
        return rows

    def _apply(
        self, one: Received, context: ContextSet, zone: str, folded: FoldResult, *, replay: bool, paused: frozenset[str]
    ) -> None:
        event = one.event
        customer_id = event.customer_id
        if customer_id is None:
            folded.rejected.append((one, Rejection(f"{event.type} names no customer: send it to its own topic", "customer_id")))
            return
        deadlines = self._deadlines
        recorded = local_day(event.recorded, zone)
        if deadlines.day and recorded > deadlines.day + MOST_AHEAD:
            folded.rejected.append((one, _ahead(deadlines.day)))
            return
        day = max(deadlines.day, recorded)
        if replay:
            deadlines.advance(day)
        # An event first fires its own debtor's deadlines: what was due before it is judged without it.
        self._fire(customer_id, context, folded, 1 << 30, paused, deadlines.day)
        rows = self._rows_of(customer_id)
        try:
            reaction = self.react(rows, event, context, customer_id, day, paused)
        except Exception as error:  # noqa: BLE001 - our fault, not the event's: it is kept, and the good ones behind it go on
            reaction = Reaction(
                rejection=Rejection(f"duewatch failed on this event ({type(error).__name__}: {error}): report it"[:2000])
            )
        if reaction.rejection is not None:
            folded.rejected.append((one, reaction.rejection))
        elif reaction.duplicate:
            folded.count_duplicate(one.topic)
        else:
            folded.applied += 1
            self._take(customer_id, rows, reaction, folded)

    def _take(self, customer_id: str, rows: Rows, reaction: Reaction, folded: FoldResult) -> None:
        changes, seen = reaction.changes, rows.seen
        for row_key, row in changes.items():
            if row_key[:1] in WITHOUT_WAKE or row is None:
                continue
            wake: int = row.wake  # type: ignore[union-attr] # all other kinds have one
            if wake and ((before := rows.get(row_key)) is None or wake != before.wake):  # type: ignore[union-attr]
                self._deadlines.watch(customer_id, row_key, wake)
        seen.update(changes)
        rows.changed.update(changes)
        if reaction.outputs:
            folded.outputs += reaction.outputs

    # -- deadlines
    def _fire_all(self, context: ContextSet, folded: FoldResult, budget: int, paused: frozenset[str]) -> bool:
        """Fire all deadlines that are due, at most ``budget``; tells whether any are left."""
        # A day at a time: an entry that no longer counts must not draw its debtor's later deadlines forward. Then the order
        # follows from the rows alone, and whoever has restored them fires the same in a slice as who has lived on.
        while (first := self._deadlines.next_debtor()) is not None:
            if budget <= 0:
                return True
            day, customer_id = first
            budget -= self._fire(customer_id, context, folded, budget, paused, day)
        return False

    def _fire(
        self, customer_id: str, context: ContextSet, folded: FoldResult, budget: int, paused: frozenset[str], last: int
    ) -> int:
        """Fire one debtor's deadlines up to the day ``last``, in the order of day and row key; returns how many fired."""
        if not self._deadlines.has(customer_id):
            return 0
        fired, rows = 0, self._rows_of(customer_id)
        while fired < budget and (first := self._deadlines.pop(customer_id, last)) is not None:
            day, row_key = first
            if getattr(rows.get(row_key), "wake", 0) != day and not (row_key == "" and self._is_to_open(customer_id, day)):
                continue  # the row has changed its mind since
            if not row_key:
                self._to_open.discard(customer_id)
            fired += 1
            try:
                reaction = self.react(rows, Deadline(row_key, day), context, customer_id, day, paused)
            except Exception as error:  # noqa: BLE001 - our fault: it is told, tried again the next day, and those behind it fire
                folded.failed.append(
                    f"deadline {row_key or 'of the debtor'} of {customer_id}: {type(error).__name__}: {error}"[:500]
                )
                folded.outputs.append(deadline_failed(customer_id, row_key, day, error, context.policy.time_zone))
                later: Any = replace(rows[row_key], wake=day + 1)
                self._take(customer_id, rows, Reaction({row_key: later}), folded)
            else:
                self._take(customer_id, rows, reaction, folded)
        return fired

    def _is_to_open(self, customer_id: str, day: int) -> bool:
        return customer_id in self._to_open and self._opened is not None and day == self._opened.day
