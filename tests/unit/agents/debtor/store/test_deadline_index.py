"""Which deadline comes next: by day, by debtor, and for debtors whose rows were not read yet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.debtor.store.deadline_index import DeadlineIndex

Rows = dict[str, dict[str, int]]
"""Customer -> row key -> day of its deadline."""


def index_of(rows: Rows, *, restored: bool = False) -> DeadlineIndex:
    """With every deadline, or as after a restore: with the first of each debtor only."""
    index = DeadlineIndex(lambda customer_id: rows[customer_id].items())
    for customer_id, days in rows.items():
        if restored:
            index.add_first(min(days.values()), [customer_id])
        else:
            for row_key, day in days.items():
                index.add(customer_id, row_key, day)
    return index


def fire_all(index: DeadlineIndex) -> list[tuple[int, str, str]]:
    """All that is due as (day, customer, row key), in the order in which the brain fires it."""
    entries = []
    while (first := index.next_debtor()) is not None:
        day, customer_id = first
        while (entry := index.pop(customer_id, day)) is not None:
            entries.append((entry[0], customer_id, entry[1]))
    return entries


def test_nothing_is_due_before_its_day() -> None:
    index = index_of({"c-1": {"i/1": 5}})
    index.advance(4)
    assert (index.has_due("c-1"), index.next_debtor(), index.pop("c-1", 9)) == (False, None, None)
    index.advance(5)
    assert (index.has_due("c-1"), index.next_debtor(), index.pop("c-1", 9)) == (True, (5, "c-1"), (5, "i/1"))
    assert (index.has_due("c-1"), index.next_debtor()) == (False, None)


def test_a_debtor_is_popped_up_to_a_day_only() -> None:
    index = index_of({"c-1": {"i/1": 3, "i/2": 5}})
    index.advance(9)
    assert [index.pop("c-1", 3), index.pop("c-1", 3), index.pop("c-1", 5)] == [(3, "i/1"), None, (5, "i/2")]


def test_on_one_day_the_header_comes_before_all_other_rows_and_debtors_follow_their_ids() -> None:
    index = index_of({"c-2": {"i/1": 5, "": 5}, "c-1": {"f/1": 5}})
    index.advance(5)
    assert fire_all(index) == [(5, "c-1", "f/1"), (5, "c-2", ""), (5, "c-2", "i/1")]


def test_a_deadline_that_is_added_for_a_day_in_the_past_is_due_at_once() -> None:
    index = index_of({})
    index.advance(9)
    index.add("c-1", "i/1", 4)
    assert fire_all(index) == [(4, "c-1", "i/1")]


def test_days_never_go_back() -> None:
    index = index_of({"c-1": {"i/1": 5}})
    index.advance(9)
    index.advance(2)
    assert index.day == 9


rows_of_debtors = st.dictionaries(
    st.sampled_from(["c-1", "c-2", "c-3"]),
    st.dictionaries(st.sampled_from(["", "f/1", "i/1", "i/2", "s/EUR/1"]), st.integers(1, 30), min_size=1),
)


@given(rows_of_debtors, st.lists(st.integers(1, 40), max_size=5))
def test_a_restored_index_fires_the_same_in_the_same_order(rows: Rows, days: list[int]) -> None:
    pending = {customer_id: dict(deadlines) for customer_id, deadlines in rows.items()}
    live, restored = index_of(rows), index_of(pending, restored=True)
    for day in sorted(days):
        live.advance(day)
        restored.advance(day)
        entries = fire_all(live)
        assert fire_all(restored) == entries == sorted(entries, key=lambda entry: entry[:2])
        for _, customer_id, row_key in entries:
            del pending[customer_id][row_key]  # the row has no deadline any more, so a debtor that is read later has none
