"""The rows of one partition's debtors, their deadlines, and the fold of a slice: the brain that the engine drives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from agents.brain import FoldResult, NewerRowError, Received
from agents.debtor.event_order import local_day, order_key
from agents.debtor.keys import (
    HEADER,
    KINDS_WITH_DEADLINE,
    OPENED,
    SCORE,
    SEPARATOR,
    deadline_of,
    rates_key,
    split_key,
    state_key,
)
from agents.debtor.outputs.failures import deadline_failed
from agents.debtor.react import react
from agents.debtor.rejudging import place_of, version_of, waiting, with_rates
from agents.debtor.state import Opening, Row, decode, decode_opening, encode, is_known, opening_of
from agents.debtor.store.deadline_index import DeadlineIndex
from agents.debtor.store.row_store import RowStore
from agents.debtor.store.rows import SliceRows
from agents.debtor.store.snapshot import pack_snapshot, read_snapshot
from agents.debtor.unit_of_work import Deadline, Reaction
from schemas.events.clock import ContextSet
from schemas.events.envelope import Rejection
from schemas.events.rates import RatesPublished

CACHED_ROWS = (HEADER, SCORE)
"""Rows that stay decoded between slices; all others are kept as they are written, and decoded when they are asked for."""
MAX_CACHED_DEBTORS = 20_000
MAX_DAYS_AHEAD = 400
"""An event recorded so many days after the applied tick is a typing error: no clock was ever away for so long. Its debtor's
deadlines, and in a replay everybody's, would wait until then."""
_ALL_DEADLINES = 1 << 30


def _too_far_ahead(day: int) -> Rejection:
    return Rejection(
        f"recorded more than {MAX_DAYS_AHEAD} days after {date.fromordinal(day)}, the day of the clock: correct recordedtime",
        "recordedtime",
    )


class DebtorBrain:
    """One partition's debtors. Implements ``agents.brain.Brain``.

    The deadlines run ahead of ``on_committed``: a brain whose fold was not committed is to be thrown away, as the engine does
    with everything of a partition that it no longer owns.
    """

    react = staticmethod(react)
    """Replaced by whoever records how a decision comes about."""
    pack_snapshot = staticmethod(pack_snapshot)

    def __init__(self) -> None:
        self._store = RowStore()
        self._cache: dict[str, dict[str, Row]] = {}
        self._slice: dict[str, SliceRows] = {}
        """The debtors that the slice being folded has touched."""
        self._deadlines = DeadlineIndex(self._deadlines_of)
        self._opening: Opening | None = None
        self._to_open: set[str] = set()
        """Debtors that have no limit of the present opening yet."""
        self._is_restored = False
        self._rates: RatesPublished | UnsetType | None = UNSET
        """Those of the last slice."""
        self._to_judge: list[str] = []
        """Debtors with foreign balances that were not judged by these rates yet, the next one last."""

    # -- restore
    def restore(self, key: str, value: bytes | None) -> None:
        """Take over a row as it was written."""
        customer_id, row_key = split_key(key)
        self._is_restored = True
        if not customer_id:
            if key == OPENED:
                self._opening = None if value is None else decode_opening(value)
            return
        self._store.write(customer_id, {row_key: value})
        if value is not None and (day := deadline_of(row_key, value)):
            self._deadlines.add(customer_id, row_key, day)

    def restore_snapshot(self, packed: bytes) -> None:
        """Take over all rows as ``pack_snapshot`` packed them."""
        snapshot = read_snapshot(packed)
        self._is_restored = True
        if snapshot.opening is not None:
            self._opening = decode_opening(snapshot.opening)
        self._store.add_packed(snapshot.debtors)
        for day, customer_ids in snapshot.first_deadlines.items():
            self._deadlines.add_first(day, customer_ids)

    def _deadlines_of(self, customer_id: str) -> Iterator[tuple[str, int]]:
        """The rows of a debtor that have a deadline, and its day."""
        for row_key, value in (self._store.load(customer_id) or {}).items():
            if day := deadline_of(row_key, value):
                yield row_key, day

    def rows(self) -> Iterable[tuple[str, Row]]:
        """All debtors' rows with their keys in the state topic, for ``state.jsonl`` and the audit; only of kinds that we know."""
        for customer_id in self._store:
            for row_key, value in self._store.peek(customer_id).items():
                if is_known(row_key):
                    yield state_key(customer_id, row_key), decode(row_key, value)

    # -- fold
    def fold(
        self,
        records: Sequence[Received],
        now: datetime | None,
        context: ContextSet,
        *,
        replay: bool,
        step: int = -1,  # noqa: ARG002 - the learner's brain tells steps apart, this one only their ends
        max_deadlines: int = 500,
        paused: frozenset[str] = frozenset(),
        previous_tick: datetime | None = None,
    ) -> FoldResult:
        """Apply a slice; see ``agents.brain.Brain.fold``."""
        result = FoldResult()
        zone = context.policy.time_zone
        if previous_tick is not None:
            self._deadlines.advance(local_day(previous_tick, zone))
        tick_day = local_day(now, zone) if now is not None else 0
        self._open_all_if_new(context, now, tick_day, result)
        if replay:
            records = sorted(records, key=lambda r: order_key(r, zone))
        for record in records:
            self._apply(record, context, zone, result, replay=replay, paused=paused, tick_day=tick_day)
        if now is not None:
            self._deadlines.advance(tick_day)
            result.has_more = self._fire_all(context, result, max_deadlines, paused)
            if self._judge_by_new_rates(context, result, max_deadlines, paused):
                result.has_more = True
        self._encode_changes(result)
        return result

    def _encode_changes(self, result: FoldResult) -> None:
        for customer_id, rows in self._slice.items():
            decoded, prefix = rows.decoded, customer_id + SEPARATOR  # ``state_key`` without a call for each row
            for row_key in rows.changed_keys:
                row = decoded[row_key]
                result.rows[prefix + row_key] = rows.encoded[row_key] = None if row is None else encode(row)

    def on_committed(self, result: FoldResult) -> None:  # noqa: ARG002 - what it holds is kept here by debtor
        """The slice is committed."""
        cache, store = self._cache, self._store
        for customer_id, rows in self._slice.items():
            if rows.encoded:
                store.write(customer_id, rows.encoded)
            cache.pop(customer_id, None)  # the last used last
            cache[customer_id] = {key: row for key in CACHED_ROWS if (row := rows.decoded.get(key)) is not None}
        if len(cache) > MAX_CACHED_DEBTORS:
            for customer_id in list(islice(cache, len(cache) - MAX_CACHED_DEBTORS + MAX_CACHED_DEBTORS // 20)):
                del cache[customer_id]
        self._slice.clear()
        store.evict()

    def _open_all_if_new(self, context: ContextSet, now: datetime | None, day: int, result: FoldResult) -> None:
        """Going live, acting instead of observing, a new generation: every debtor gets its first limit, not only who moves.

        When that began is a row of its own: whoever takes the partition over goes on where this one stopped.
        """
        if now is None:
            return  # without a tick there is no day on which to look
        live_from, policy = context.live_from, context.policy
        is_live = live_from is None or day >= local_day(live_from, policy.time_zone)
        opening = self._opening
        if opening is None or (opening.action, opening.generation, opening.live) != (policy.action, context.generation, is_live):
            present = Opening(policy.action, context.generation, is_live, day)
            if opening is not None:
                rates, before, place = opening.rates, opening.rates_before, opening.judged_up_to
                present = replace(present, rates=rates, rates_before=before, judged_up_to=place)
            opening = self._opening = present
            result.rows[OPENED] = encode(opening)
        elif not self._is_restored:
            return
        self._is_restored = False
        self._to_open.clear()
        if is_live:
            current = (opening.action, opening.generation)
            self._to_open.update(c for c, header in self._store.headers() if opening_of(header) != current)
            for customer_id in self._to_open:
                self._deadlines.add(customer_id, HEADER, opening.day)

    def _rows_of(self, customer_id: str) -> SliceRows:
        rows = self._slice.get(customer_id)
        if rows is None:
            self._store.mark_used(customer_id)
            rows = SliceRows(self._store, customer_id, self._cache.get(customer_id, {}))
            self._slice[customer_id] = rows
        return rows

    def _apply(
        self,
        record: Received,
        context: ContextSet,
        zone: str,
        result: FoldResult,
        *,
        replay: bool,
        paused: frozenset[str],
        tick_day: int,
    ) -> None:
        event = record.event
        customer_id = event.customer_id
        if customer_id is None:
            rejection = Rejection(f"{event.type} names no customer: send it to its own topic", "customer_id")
            result.rejected.append((record, rejection))
            return
        deadlines = self._deadlines
        recorded = local_day(event.recorded, zone)
        # By the tick that the slice ends with, where there is one: else nothing could be said of a partition's first events.
        clock_day = tick_day or deadlines.day
        if clock_day and recorded > clock_day + MAX_DAYS_AHEAD:
            result.rejected.append((record, _too_far_ahead(clock_day)))
            return
        day = max(deadlines.day, recorded)
        if replay:
            deadlines.advance(day)
        # An event first fires its own debtor's deadlines: what was due before it is judged without it.
        self._fire(customer_id, context, result, _ALL_DEADLINES, paused, deadlines.day)
        rows = self._rows_of(customer_id)
        try:
            reaction = self.react(rows, event, context, customer_id, day, paused)
        except NewerRowError:
            raise
        except Exception as error:  # noqa: BLE001 - our fault, not the event's: it is kept, and the good ones behind it go on
            reaction = Reaction(
                rejection=Rejection(f"duewatch failed on this event ({type(error).__name__}: {error}): report it"[:2000])
            )
        if reaction.rejection is not None:
            result.rejected.append((record, reaction.rejection))
        elif reaction.duplicate:
            result.count_duplicate(record.topic)
        else:
            result.applied += 1
            self._take(customer_id, rows, reaction, result)

    def _take(self, customer_id: str, rows: SliceRows, reaction: Reaction, result: FoldResult) -> None:
        """Take over what one cause has changed; new deadlines go into the index."""
        changes = reaction.changes
        for row_key, row in changes.items():
            if row is None or row_key[:1] not in KINDS_WITH_DEADLINE:
                continue
            day: int = row.next_deadline  # type: ignore[union-attr] # all other kinds have one
            if day and ((row_before := rows.get(row_key)) is None or day != row_before.next_deadline):  # type: ignore[union-attr]
                self._deadlines.add(customer_id, row_key, day)
        rows.decoded.update(changes)
        rows.changed_keys.update(changes)
        if reaction.outputs:
            result.outputs += reaction.outputs

    # -- deadlines
    def _fire_all(self, context: ContextSet, result: FoldResult, budget: int, paused: frozenset[str]) -> bool:
        """Fire all deadlines that are due, at most ``budget``; tells whether any are left."""
        # A day at a time: an entry that no longer counts must not draw its debtor's later deadlines forward. Then the order
        # follows from the rows alone, and whoever has restored them fires the same in a slice as who has lived on.
        while (first := self._deadlines.next_debtor()) is not None:
            if budget <= 0:
                return True
            day, customer_id = first
            budget -= self._fire(customer_id, context, result, budget, paused, day)
        return False

    def _fire(
        self, customer_id: str, context: ContextSet, result: FoldResult, budget: int, paused: frozenset[str], last_day: int
    ) -> int:
        """Fire one debtor's deadlines up to ``last_day``, in the order of day and row key; returns how many fired."""
        if not self._deadlines.has_due(customer_id):
            return 0
        count, rows = 0, self._rows_of(customer_id)
        while count < budget and (first := self._deadlines.pop(customer_id, last_day)) is not None:
            day, row_key = first
            if not self._counts(customer_id, rows, row_key, day):
                continue
            if row_key == HEADER:
                self._to_open.discard(customer_id)
            count += 1
            try:
                reaction = self.react(rows, Deadline(row_key, day), context, customer_id, day, paused)
            except NewerRowError:
                raise
            except Exception as error:  # noqa: BLE001 - our fault: announced, tried again the next day, and those behind it fire
                result.failures.append(
                    f"deadline {row_key or 'of the debtor'} of {customer_id}: {type(error).__name__}: {error}"[:500]
                )
                result.outputs.append(deadline_failed(customer_id, row_key, day, error, context.policy.time_zone))
                postponed: Any = replace(rows[row_key], next_deadline=day + 1)
                reaction = Reaction({row_key: postponed})
            self._take(customer_id, rows, reaction, result)
        return count

    # -- rates
    def _judge_by_new_rates(self, context: ContextSet, result: FoldResult, budget: int, paused: frozenset[str]) -> bool:
        """Judge debtors with foreign balances by new rates, at most ``budget``; tells whether any are left. With a tick only."""
        opening = self._opening
        assert opening is not None  # noqa: S101 - for the type checker: a slice with a time has opened what is to be opened
        if context.rates is not self._rates:
            self._rates = context.rates
            opening = with_rates(opening, context.rates)
            self._to_judge = waiting(opening, self._store.headers(), context.policy.currency)
        count = min(budget, len(self._to_judge))
        for _ in range(count):
            customer_id = self._to_judge.pop()
            self._judge_by_rates(customer_id, opening, context, result, paused)
            opening = replace(opening, judged_up_to=place_of(customer_id))
        if not self._to_judge and opening.judged_up_to is not None:
            opening = replace(opening, judged_up_to=None)
        if opening != self._opening:
            self._opening = opening
            result.rows[OPENED] = encode(opening)
        return bool(self._to_judge)

    def _judge_by_rates(
        self, customer_id: str, opening: Opening, context: ContextSet, result: FoldResult, paused: frozenset[str]
    ) -> None:
        rows, day = self._rows_of(customer_id), self._deadlines.day
        cause = Deadline(rates_key(version_of(opening.rates)), day, opening.rates_before)
        try:
            reaction = self.react(rows, cause, context, customer_id, day, paused)
        except Exception as error:  # noqa: BLE001 - our fault: announced, and the debtor is looked at again the next day
            result.failures.append(f"rates of {customer_id}: {type(error).__name__}: {error}"[:500])
            result.outputs.append(deadline_failed(customer_id, cause.row_key, day, error, context.policy.time_zone))
            postponed: Any = replace(rows[HEADER], next_deadline=day + 1)
            reaction = Reaction({HEADER: postponed})
        self._take(customer_id, rows, reaction, result)

    def _counts(self, customer_id: str, rows: SliceRows, row_key: str, day: int) -> bool:
        """Whether an entry of the index still stands: its row may have another deadline by now, or be gone."""
        if getattr(rows.get(row_key), "next_deadline", 0) == day:
            return True
        return row_key == HEADER and customer_id in self._to_open and self._opening is not None and day == self._opening.day
