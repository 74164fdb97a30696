from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import OPENED
from agents.debtor.state import encode
from agents.debtor.store.row_store import LATE_BYTES, RowStore, parcel_of
from tests.support.builders import Life, at, invoice, payment, received_events

changes = st.lists(
    st.tuples(
        st.sampled_from("abcdef"), st.dictionaries(st.sampled_from(["", "i/1", "i/2", "n/ä"]), st.none() | st.binary(max_size=9))
    )
)


@given(changes, st.integers(0, 5))
def test_a_shelf_is_a_dict_of_dicts_whatever_is_packed(changed: list[tuple[str, dict[str, bytes | None]]], at_hand: int) -> None:
    shelf, plain = RowStore(at_hand), dict[str, dict[str, bytes]]()
    for customer_id, rows in changed:
        shelf.write(customer_id, rows)
        merged = plain.get(customer_id, {}) | rows
        plain[customer_id] = {row_key: value for row_key, value in merged.items() if value is not None}
        shelf.tidy()
        assert sum(map(len, shelf._open.values())) == shelf._rows <= max(at_hand, 0)
    assert {customer_id: shelf.look(customer_id) for customer_id in shelf} == plain
    assert {customer_id: shelf.touch(customer_id) for customer_id in list(shelf)} == plain
    assert shelf.touch("unknown") is None


def test_a_book_decides_alike_with_its_debtors_at_hand_and_packed() -> None:
    days = [(n, sorted({f"c-{n % 7}", f"c-{n % 5}"})) for n in range(0, 60, 3)]
    issued = {n: [invoice(f"i-{n}-{c}", n, customer=c, due=10) for c in debtors] for n, debtors in days}
    paid = {n: [payment(f"p-{n}-{c}", n + 1, {f"i-{n}-{c}": "60.00"}, customer=c) for c in debtors] for n, debtors in days}

    def live(at_hand: int) -> Life:
        life = Life()
        life.book._shelf = RowStore(at_hand)
        for n, _ in days:
            life.tell(*issued[n], now=at(n))
            life.tell(*paid[n], now=at(n + 1))
        return life

    packed, plain = live(0), live(1 << 30)
    assert packed.book._shelf._parcels and not plain.book._shelf._parcels
    assert packed.outputs == plain.outputs
    assert dict(packed.book.rows()) == dict(plain.book.rows())


def test_what_is_restored_at_once_is_what_is_restored_row_by_row() -> None:
    life = Life()
    life.tell(*(invoice(f"i-{n}", 0, customer=f"c-{n % 3}") for n in range(9)), now=at(0))
    rows: dict[str, bytes] = {}
    folded = life.book.fold([], at(40), life.context, replay=False, wakes=1 << 30)
    life.book.keep(folded)
    for customer_id in life.book._shelf:
        rows |= {f"{customer_id}\x1f{row_key}": value for row_key, value in life.book._shelf.look(customer_id).items()}
    at_once, one_by_one = DebtorBrain(), DebtorBrain()
    at_once.restore_all(DebtorBrain.prepare(rows.items()))
    for key, value in rows.items():
        one_by_one.restore(key, value)
    assert dict(at_once.rows()) == dict(one_by_one.rows()) == dict(life.book.rows())
    ahead = [book.fold([], at(200), life.context, replay=False, wakes=1 << 30, before=at(40)) for book in (at_once, one_by_one)]
    assert ahead[0].rows == ahead[1].rows and ahead[0].outputs == ahead[1].outputs and ahead[0].outputs


def test_a_debtor_at_rest_is_opened_only_for_rows_that_it_may_have() -> None:
    shelf = RowStore(0)
    shelf.put_away({"c": parcel_of({"": b"h", "i/1": b"1", "i/2": b"2"})})
    assert shelf.read("c", "") == b"h" and shelf.read("c", "n/new") is None
    shelf.write("c", {"": b"H"})
    shelf.write("c", {"n/new": b"3"})
    shelf.write("c", {"n/none": None})
    assert not shelf._open
    assert dict(shelf.headers()) == {"c": b"H"}
    assert shelf.look("c") == {"": b"H", "i/1": b"1", "i/2": b"2", "n/new": b"3"}
    assert shelf.read("c", "n/new") == b"3" and shelf._open


def test_rows_that_come_late_are_packed_with_the_others_when_they_are_many() -> None:
    shelf, many = RowStore(0), {f"n/{n}": b"%050d" % n for n in range(100)}
    shelf.put_away({"c": parcel_of({"i/1": b"1"})})
    for row_key, value in many.items():
        shelf.write("c", {row_key: value})
        shelf.tidy()
        assert len(shelf._parcels["c"].late) <= 2 * LATE_BYTES
    assert shelf.look("c") == {"i/1": b"1"} | many


def test_of_each_key_the_last_record_is_prepared() -> None:
    book = DebtorBrain()
    told = [("c\x1fi/1", b"{}"), ("c\x1fi/2", b"{}"), ("d\x1fi/1", b"{}"), ("c\x1fi/1", b'{"wake":9}'), ("d\x1fi/1", None)]
    book.restore_all(DebtorBrain.prepare([*told, ("c\x1fi/2", None)]))
    assert list(book._shelf) == ["c"] and book._shelf.look("c") == {"i/1": b'{"wake":9}'}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=12), st.integers(0, 90))
def test_a_restored_book_fires_as_one_that_lived_on(issued: list[tuple[int, int, int]], cut: int) -> None:
    """Whenever it is taken over, by whatever way, and with a limit on what fires in a slice."""
    lived, day = Life(), 0
    for number, (debtor, later, due) in enumerate(issued):
        day += later
        lived.tell(invoice(f"i-{number}", day, customer=f"c-{debtor}", due=10 + due), now=at(day))
        if due % 3 == 0:
            lived.tell(payment(f"p-{number}", day, {f"i-{number}": "100.00"}, customer=f"c-{debtor}"), now=at(day))
    lived.tell(now=at(day + cut))
    rows = {f"{c}\x1f{k}": v for c in lived.book._shelf for k, v in lived.book._shelf.look(c).items()}
    if lived.book._opened is not None:
        rows[OPENED] = encode(lived.book._opened)
    books = (lived.book, DebtorBrain(), DebtorBrain())
    books[1].restore_all(DebtorBrain.prepare(rows.items()))
    for key, value in rows.items():
        books[2].restore(key, value)
    for later in (1, 3, 40, 41, 120, 500):
        told = received_events(invoice(f"z-{later}", day + cut + later, customer="c-1"))
        more = True
        while more:  # an index may hold an entry that no longer counts, and ask for a slice in which nothing fires
            folded = [book.fold(told, at(day + cut + later), lived.context, replay=False, wakes=3) for book in books]
            assert all((one.rows, one.outputs) == (folded[0].rows, folded[0].outputs) for one in folded)
            for book, one in zip(books, folded, strict=True):
                book.keep(one)
            more, told = any(one.more for one in folded), []
