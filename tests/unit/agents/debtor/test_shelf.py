from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.debtor.book import Book
from agents.debtor.shelf import Shelf
from tests.builders import Life, at, invoice, payment

changes = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", "i/1", "i/2", "n/ä"]), st.none() | st.binary(max_size=9))
)


@given(changes, st.integers(0, 5))
def test_a_shelf_is_a_dict_of_dicts_whatever_is_packed(changed, at_hand):
    shelf, plain = Shelf(at_hand), dict[str, dict[str, bytes]]()
    for customer_id, row_key, value in changed:
        shelf.write(customer_id, row_key, value)
        rows = plain.setdefault(customer_id, {})
        if value is None:
            rows.pop(row_key, None)
        else:
            rows[row_key] = value
        shelf.tidy()
        assert sum(map(len, shelf._open.values())) == shelf._rows <= max(at_hand, 0)
    assert {customer_id: shelf.look(customer_id) for customer_id in shelf} == plain
    assert {customer_id: shelf.touch(customer_id) for customer_id in list(shelf)} == plain
    assert shelf.touch("unknown") is None


def test_a_book_decides_alike_with_its_debtors_at_hand_and_packed():
    days = [(n, sorted({f"c-{n % 7}", f"c-{n % 5}"})) for n in range(0, 60, 3)]
    issued = {n: [invoice(f"i-{n}-{c}", n, customer=c, due=10) for c in debtors] for n, debtors in days}
    paid = {n: [payment(f"p-{n}-{c}", n + 1, {f"i-{n}-{c}": "60.00"}, customer=c) for c in debtors] for n, debtors in days}

    def live(at_hand: int) -> Life:
        life = Life()
        life.book._shelf = Shelf(at_hand)
        for n, _ in days:
            life.tell(*issued[n], now=at(n))
            life.tell(*paid[n], now=at(n + 1))
        return life

    packed, plain = live(0), live(1 << 30)
    assert packed.book._shelf._packed and not plain.book._shelf._packed
    assert packed.outputs == plain.outputs
    assert dict(packed.book.rows()) == dict(plain.book.rows())


def test_what_is_restored_at_once_is_what_is_restored_row_by_row():
    life = Life()
    life.tell(*(invoice(f"i-{n}", 0, customer=f"c-{n % 3}") for n in range(9)), now=at(0))
    rows: dict[str, bytes] = {}
    folded = life.book.fold([], at(40), life.context, replay=False, wakes=1 << 30)
    life.book.keep(folded)
    for customer_id in life.book._shelf:
        rows |= {f"{customer_id}\x1f{row_key}": value for row_key, value in life.book._shelf.look(customer_id).items()}
    at_once, one_by_one = Book(), Book()
    at_once.restore_all(rows)
    for key, value in rows.items():
        one_by_one.restore(key, value)
    assert dict(at_once.rows()) == dict(one_by_one.rows()) == dict(life.book.rows())
    ahead = [book.fold([], at(200), life.context, replay=False, wakes=1 << 30, before=at(40)) for book in (at_once, one_by_one)]
    assert ahead[0].rows == ahead[1].rows and ahead[0].outputs == ahead[1].outputs and ahead[0].outputs
