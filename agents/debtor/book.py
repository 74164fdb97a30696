"""The rows of one partition's debtors, their deadlines, and the fold of a slice: the brain that the engine drives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from heapq import heappop, heappush

from agents.brain import Arrived, Folded
from agents.debtor.case import Reaction, Wake
from agents.debtor.order import local_day, order_key
from agents.debtor.react import react
from agents.debtor.state import SEPARATOR, Row, decode, encode, split_key
from schemas.events.clock import ContextSet
from schemas.events.envelope import Rejection

_NO_ROWS: Mapping[str, Row] = {}


class Overlay(Mapping[str, Row]):
    """A debtor's rows with the changes of the slice in work laid over them."""

    __slots__ = ("base", "changes")

    def __init__(self, base: Mapping[str, Row]) -> None:
        self.base, self.changes = base, dict[str, Row | None]()

    def __getitem__(self, key: str) -> Row:
        row = self.changes[key] if key in self.changes else self.base[key]
        if row is None:
            raise KeyError(key)
        return row

    def get(self, key: str, default: Row | None = None) -> Row | None:  # type: ignore[override]
        """The row, without the detour of an exception: this is called for every cell of every label."""
        if key in self.changes:
            return self.changes[key]
        return self.base.get(key, default)

    def __iter__(self) -> Iterator[str]:
        yield from (k for k in self.base if self.changes.get(k, True) is not None)
        yield from (k for k, row in self.changes.items() if row is not None and k not in self.base)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Book:
    """One partition's debtors. Implements ``agents.brain.Brain``.

    ``_deadlines`` (day, customer) and each debtor's own heap (day, row key) are indexes over the rows' ``wake``: an entry counts
    only if its row still says so. They run ahead of ``keep``; a book whose fold was not kept is to be thrown away, as the engine
    does with everything of a tenure that has ended.
    """

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Row]] = {}
        self._own: dict[str, list[tuple[int, str]]] = {}
        self._deadlines: list[tuple[int, str]] = []
        self._folding: dict[str, Overlay] = {}
        self._day = 0
        self._opened: tuple[object, ...] | None = None
        self._to_open: set[str] = set()

    # -- restore
    def restore(self, key: str, value: bytes | None) -> None:
        """Take over a row as it was written."""
        customer_id, row_key = split_key(key)
        rows = self._rows.setdefault(customer_id, {})
        if value is None:
            rows.pop(row_key, None)
            return
        rows[row_key] = row = decode(row_key, value)
        wake = getattr(row, "wake", 0)
        if wake:
            self._watch(customer_id, row_key, wake)

    def _watch(self, customer_id: str, row_key: str, wake: int) -> None:
        own = self._own.get(customer_id)
        if own is None:
            own = self._own[customer_id] = []
        if not own or wake < own[0][0]:
            heappush(self._deadlines, (wake, customer_id))
        heappush(own, (wake, row_key))

    def rows(self) -> Iterable[tuple[str, Row]]:
        """All rows with their keys in the state topic, for ``state.jsonl`` and the audit."""
        for customer_id, rows in self._rows.items():
            for row_key, row in rows.items():
                yield f"{customer_id}{SEPARATOR}{row_key}", row

    # -- fold
    def fold(
        self,
        arrived: Sequence[Arrived],
        now: datetime | None,
        context: ContextSet,
        *,
        replay: bool,
        step: int = -1,  # noqa: ARG002 - the learner's brain tells steps apart, this one only their ends
        wakes: int = 500,
        paused: frozenset[str] = frozenset(),  # noqa: ARG002 - nothing follows from it yet
    ) -> Folded:
        """Apply a slice; see ``agents.brain.Brain.fold``."""
        folded = Folded()
        zone = context.policy.time_zone
        tick_day = local_day(now, zone) if now is not None else 0
        self._look_at_all_if_opened(context, now, tick_day)
        if replay:
            arrived = sorted(arrived, key=lambda a: order_key(a, zone))
        else:
            self._day = max(self._day, tick_day)
        for one in arrived:
            self._apply(one, context, zone, folded, replay=replay)
        if now is not None:
            self._day = max(self._day, tick_day)
            folded.more = self._fire(tick_day, context, folded, wakes)
        for customer_id, overlay in self._folding.items():
            for row_key, row in overlay.changes.items():
                folded.rows[f"{customer_id}{SEPARATOR}{row_key}"] = None if row is None else encode(row)
        return folded

    def keep(self, folded: Folded) -> None:  # noqa: ARG002 - the overlays hold the same changes, decoded
        """The slice is committed."""
        for customer_id, overlay in self._folding.items():
            rows = self._rows.setdefault(customer_id, {})
            for row_key, row in overlay.changes.items():
                if row is None:
                    rows.pop(row_key, None)
                else:
                    rows[row_key] = row
        self._folding.clear()

    def _look_at_all_if_opened(self, context: ContextSet, now: datetime | None, day: int) -> None:
        """Going live, acting instead of observing, a new generation: every debtor gets its first limit, not only who moves."""
        is_live = context.live_from is None or (now is not None and day >= local_day(context.live_from, context.policy.time_zone))
        opened = (context.policy.action, context.generation, is_live)
        if opened != self._opened:
            if self._opened is not None:
                self._to_open.update(self._rows)
                for customer_id in self._rows:
                    self._own.setdefault(customer_id, [])
                    heappush(self._own[customer_id], (day, ""))
                    heappush(self._deadlines, (day, customer_id))
            self._opened = opened

    def _overlay(self, customer_id: str) -> Overlay:
        overlay = self._folding.get(customer_id)
        if overlay is None:
            overlay = self._folding[customer_id] = Overlay(self._rows.get(customer_id, _NO_ROWS))
        return overlay

    def _apply(self, one: Arrived, context: ContextSet, zone: str, folded: Folded, *, replay: bool) -> None:
        event = one.event
        customer_id = event.customer_id
        if customer_id is None:
            folded.rejected.append((one, Rejection(f"{event.type} names no customer: send it to its own topic", "customer_id")))
            return
        day = max(self._day, local_day(event.recorded, zone))
        if replay:
            self._day = day
        # An event first fires its own debtor's deadlines: what was due before it is judged without it.
        self._fire_debtor(customer_id, self._day, context, folded, 1 << 30)
        overlay = self._overlay(customer_id)
        try:
            reaction = react(overlay, event, context, customer_id, day)
        except Exception as error:  # noqa: BLE001 - our fault, not the event's: it is kept, and the good ones behind it go on
            reaction = Reaction(
                rejection=Rejection(f"duewatch failed on this event ({type(error).__name__}: {error}): report it"[:2000])
            )
        if reaction.rejection is not None:
            folded.rejected.append((one, reaction.rejection))
        elif reaction.duplicate:
            folded.duplicates += 1
        else:
            folded.applied += 1
            self._take(customer_id, overlay, reaction, folded)

    def _take(self, customer_id: str, overlay: Overlay, reaction: Reaction, folded: Folded) -> None:
        for row_key, row in reaction.changes.items():
            wake = getattr(row, "wake", 0)
            if wake and wake != getattr(overlay.get(row_key), "wake", 0):
                self._watch(customer_id, row_key, wake)
            overlay.changes[row_key] = row
        folded.outputs.extend(reaction.outputs)

    # -- deadlines
    def _fire(self, day: int, context: ContextSet, folded: Folded, budget: int) -> bool:
        """Fire all deadlines up to ``day``, at most ``budget``; tells whether any are left."""
        while self._deadlines and self._deadlines[0][0] <= day:
            if budget <= 0:
                return True
            _, customer_id = heappop(self._deadlines)
            budget -= self._fire_debtor(customer_id, day, context, folded, budget)
        return False

    def _fire_debtor(self, customer_id: str, day: int, context: ContextSet, folded: Folded, budget: int) -> int:
        """Fire one debtor's deadlines up to ``day``, each on its day, in the order of day and row key; returns how many fired."""
        own = self._own.get(customer_id)
        if not own or own[0][0] > day:
            return 0
        fired, overlay = 0, self._overlay(customer_id)
        while own and own[0][0] <= day:
            if fired >= budget:
                break
            wake_day, row_key = heappop(own)
            row = overlay.get(row_key)
            if getattr(row, "wake", 0) != wake_day:
                if row_key or customer_id not in self._to_open:
                    continue  # the row has changed its mind since
                self._to_open.discard(customer_id)
            fired += 1
            self._take(customer_id, overlay, react(overlay, Wake(row_key, wake_day), context, customer_id, wake_day), folded)
        if own:
            heappush(self._deadlines, (own[0][0], customer_id))
        return fired
