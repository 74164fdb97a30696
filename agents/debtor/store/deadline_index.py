"""Which debtor has a deadline on which day: an index over the rows of a partition, so that no slice goes through all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush

UNREAD = "\0"
"""Stands for those of a debtor's deadlines that are not in the index: after the header's of that day, before any other row's."""


class DeadlineIndex:
    """The deadlines of all debtors by day. An entry counts only if its row still says so: whoever fires it looks there.

    What lies ahead is a list per day, two references an entry; what is due by ``day`` is a heap per debtor, so that an event can
    fire its own debtor's deadlines first. Of a debtor that was restored only the first deadline is known, by one reference: when
    it is due, ``deadlines_of`` lists the debtor's rows and their days, and the first of those that are not yet due takes its
    place.
    """

    def __init__(self, deadlines_of: Callable[[str], Iterable[tuple[str, int]]]) -> None:
        self.day = 0
        self._deadlines_of = deadlines_of
        self._future: dict[int, list[str]] = {}
        """Day -> customer, row key, customer, row key, and so on."""
        self._unread: dict[int, list[str]] = {}
        self._due: dict[str, list[tuple[int, str]]] = {}
        self._debtors: list[tuple[int, str]] = []
        """A heap of those in ``_due`` by their first day; an entry counts only if that is still its debtor's first day."""

    def add(self, customer_id: str, row_key: str, day: int) -> None:
        """A row of the debtor has its next deadline on that day."""
        if day > self.day:
            self._future.setdefault(day, []).extend((customer_id, row_key))
        else:
            self._add_due(customer_id, row_key, day)

    def add_first(self, day: int, customer_ids: list[str]) -> None:
        """These debtors have their first deadline on that day; takes the list over. Before any day has passed."""
        self._unread.setdefault(day, []).extend(customer_ids)

    def _add_due(self, customer_id: str, row_key: str, day: int) -> None:
        heap = self._due.setdefault(customer_id, [])
        if not heap or day < heap[0][0]:
            heappush(self._debtors, (day, customer_id))
        heappush(heap, (day, row_key))

    def advance(self, day: int) -> None:
        """What lies up to ``day`` is due now. Days never go back: an earlier one changes nothing."""
        if day <= self.day:
            return
        self.day = day
        for due_day in sorted(d for d in self._future if d <= day):
            entries = iter(self._future.pop(due_day))
            for customer_id, row_key in zip(entries, entries, strict=True):
                self._add_due(customer_id, row_key, due_day)
        for due_day in sorted(d for d in self._unread if d <= day):
            for customer_id in self._unread.pop(due_day):
                self._add_due(customer_id, UNREAD, due_day)

    def _read(self, customer_id: str, heap: list[tuple[int, str]]) -> None:
        """Read a debtor's deadlines: what is due joins its ``heap``; of what is not, the first stands for all."""
        first = 0
        for row_key, day in self._deadlines_of(customer_id):
            if day <= self.day:
                heappush(heap, (day, row_key))
            elif not first or day < first:
                first = day
        if first:
            self._unread.setdefault(first, []).append(customer_id)

    def has_due(self, customer_id: str) -> bool:
        """Whether anything of the debtor is due."""
        return customer_id in self._due

    def next_debtor(self) -> tuple[int, str] | None:
        """Who may have the earliest deadline that is due, and its day; the first by id where several have."""
        while self._debtors:
            day, customer_id = self._debtors[0]
            heap = self._due.get(customer_id)
            if heap and heap[0][0] == day:
                return day, customer_id
            heappop(self._debtors)
        return None

    def pop(self, customer_id: str, last_day: int) -> tuple[int, str] | None:
        """The debtor's earliest deadline that is due up to ``last_day``, as day and row key."""
        heap = self._due.get(customer_id)
        if not heap or heap[0][0] > last_day:
            return None
        day_before = heap[0][0]
        deadline = None
        while heap and heap[0][0] <= last_day:
            entry = heappop(heap)
            if entry[1] != UNREAD:
                deadline = entry
                break
            self._read(customer_id, heap)
        if not heap:
            del self._due[customer_id]
        elif heap[0][0] > day_before:
            heappush(self._debtors, (heap[0][0], customer_id))
        return deadline
