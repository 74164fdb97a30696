from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import OPENED, state_key
from agents.debtor.state import encode
from agents.debtor.store.row_store import MIN_TAIL_BYTES, RowStore, pack_debtor
from tests.support.builders import Life, at, invoice, payment, received_events

changes = st.lists(
    st.tuples(
        st.sampled_from("abcdef"), st.dictionaries(st.sampled_from(["", "i/1", "i/2", "n/ä"]), st.none() | st.binary(max_size=9))
    )
)


@given(changes, st.integers(0, 5))
def test_a_row_store_is_a_dict_of_dicts_whatever_is_packed(
    changed: list[tuple[str, dict[str, bytes | None]]], max_open_rows: int
) -> None:
    store, plain = RowStore(max_open_rows), dict[str, dict[str, bytes]]()
    for customer_id, rows in changed:
        store.write(customer_id, rows)
        merged = plain.get(customer_id, {}) | rows
        plain[customer_id] = {row_key: value for row_key, value in merged.items() if value is not None}
        store.evict()
        assert sum(map(len, store._open.values())) == store._open_rows <= max(max_open_rows, 0)
    assert {customer_id: store.peek(customer_id) for customer_id in store} == plain
    assert {customer_id: store.load(customer_id) for customer_id in list(store)} == plain
    assert store.load("unknown") is None


def test_a_brain_decides_alike_with_its_debtors_open_and_packed() -> None:
    days = [(n, sorted({f"c-{n % 7}", f"c-{n % 5}"})) for n in range(0, 60, 3)]
    invoices = {n: [invoice(f"i-{n}-{c}", n, customer=c, due=10) for c in debtors] for n, debtors in days}
    payments = {n: [payment(f"p-{n}-{c}", n + 1, {f"i-{n}-{c}": "60.00"}, customer=c) for c in debtors] for n, debtors in days}

    def live(max_open_rows: int) -> Life:
        life = Life()
        life.brain._store = RowStore(max_open_rows)
        for n, _ in days:
            life.tell(*invoices[n], now=at(n))
            life.tell(*payments[n], now=at(n + 1))
        return life

    packed, plain = live(0), live(1 << 30)
    assert packed.brain._store._packed and not plain.brain._store._packed
    assert packed.outputs == plain.outputs
    assert dict(packed.brain.rows()) == dict(plain.brain.rows())


def test_what_is_restored_at_once_is_what_is_restored_row_by_row() -> None:
    life = Life()
    life.tell(*(invoice(f"i-{n}", 0, customer=f"c-{n % 3}") for n in range(9)), now=at(0))
    rows: dict[str, bytes] = {}
    result = life.brain.fold([], at(40), life.context, replay=False, max_deadlines=1 << 30)
    life.brain.on_committed(result)
    for customer_id in life.brain._store:
        rows |= {state_key(customer_id, row_key): value for row_key, value in life.brain._store.peek(customer_id).items()}
    at_once, one_by_one = DebtorBrain(), DebtorBrain()
    at_once.restore_snapshot(DebtorBrain.pack_snapshot(rows.items()))
    for key, value in rows.items():
        one_by_one.restore(key, value)
    assert dict(at_once.rows()) == dict(one_by_one.rows()) == dict(life.brain.rows())
    first, second = (
        brain.fold([], at(200), life.context, replay=False, max_deadlines=1 << 30, previous_tick=at(40))
        for brain in (at_once, one_by_one)
    )
    assert first.rows == second.rows and first.outputs == second.outputs and first.outputs


def test_a_debtor_at_rest_is_opened_only_for_rows_that_it_may_have() -> None:
    store = RowStore(0)
    store.add_packed({"c": pack_debtor({"": b"h", "i/1": b"1", "i/2": b"2"})})
    assert store.read("c", "") == b"h" and store.read("c", "n/new") is None
    store.write("c", {"": b"H"})
    store.write("c", {"n/new": b"3"})
    store.write("c", {"n/none": None})
    assert not store._open
    assert dict(store.headers()) == {"c": b"H"}
    assert store.peek("c") == {"": b"H", "i/1": b"1", "i/2": b"2", "n/new": b"3"}
    assert store.read("c", "n/new") == b"3" and store._open


def test_rows_that_come_late_are_packed_with_the_others_when_they_are_many() -> None:
    store, many = RowStore(0), {f"n/{n}": b"%050d" % n for n in range(100)}
    store.add_packed({"c": pack_debtor({"i/1": b"1"})})
    for row_key, value in many.items():
        store.write("c", {row_key: value})
        store.evict()
        assert len(store._packed["c"].tail) <= 2 * MIN_TAIL_BYTES
    assert store.peek("c") == {"i/1": b"1"} | many


def test_of_each_key_the_last_record_is_packed() -> None:
    brain = DebtorBrain()
    records = [("c\x1fi/1", b"{}"), ("c\x1fi/2", b"{}"), ("d\x1fi/1", b"{}"), ("c\x1fi/1", b'{"wake":9}'), ("d\x1fi/1", None)]
    brain.restore_snapshot(DebtorBrain.pack_snapshot([*records, ("c\x1fi/2", None)]))
    assert list(brain._store) == ["c"] and brain._store.peek("c") == {"i/1": b'{"wake":9}'}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=12), st.integers(0, 90))
def test_a_restored_brain_fires_as_one_that_lived_on(invoices: list[tuple[int, int, int]], cut: int) -> None:
    """Whenever it is taken over, by whatever way, and with a limit on what fires in a slice."""
    lived, day = Life(), 0
    for number, (debtor, later, due) in enumerate(invoices):
        day += later
        lived.tell(invoice(f"i-{number}", day, customer=f"c-{debtor}", due=10 + due), now=at(day))
        if due % 3 == 0:
            lived.tell(payment(f"p-{number}", day, {f"i-{number}": "100.00"}, customer=f"c-{debtor}"), now=at(day))
    lived.tell(now=at(day + cut))
    rows = {state_key(c, k): v for c in lived.brain._store for k, v in lived.brain._store.peek(c).items()}
    if lived.brain._opening is not None:
        rows[OPENED] = encode(lived.brain._opening)
    brains = (lived.brain, DebtorBrain(), DebtorBrain())
    brains[1].restore_snapshot(DebtorBrain.pack_snapshot(rows.items()))
    for key, value in rows.items():
        brains[2].restore(key, value)
    for later in (1, 3, 40, 41, 120, 500):
        records = received_events(invoice(f"z-{later}", day + cut + later, customer="c-1"))
        more = True
        while more:  # an index may hold an entry that no longer counts, and ask for a slice in which nothing fires
            results = [
                brain.fold(records, at(day + cut + later), lived.context, replay=False, max_deadlines=3) for brain in brains
            ]
            assert all((result.rows, result.outputs) == (results[0].rows, results[0].outputs) for result in results)
            for brain, result in zip(brains, results, strict=True):
                brain.on_committed(result)
            more, records = any(result.has_more for result in results), []
