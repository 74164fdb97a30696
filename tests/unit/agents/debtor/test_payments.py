"""What facts do to open items: examples at the edges, and properties of all sums."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.debtor.payments.decide import bucket_of, countback, dso
from agents.debtor.payments.state import Balance, Item, Payment
from agents.debtor.state import Header
from tests.support.builders import Life, cancellation, credit_note, invoice, payment, payment_return, write_off

D = Decimal


def eur(life: Life) -> Balance:
    header: Header = life.row("")
    return header.balances["EUR"]


def test_a_partial_payment_leaves_the_rest_open() -> None:
    life = Life()
    life.tell(invoice("i1", 0, amount="100.00"), payment("p1", 3, {"i1": "40.00"}))
    assert life.row("i/i1").open == D("60.00")
    assert eur(life).open_amount == D("60.00") and eur(life).unapplied == 0


def test_what_is_paid_above_the_invoice_is_unapplied_cash() -> None:
    life = Life()
    life.tell(invoice("i1", 0, amount="100.00"), payment("p1", 3, {"i1": "130.00"}))
    assert life.row("i/i1").closed == "settled"
    assert eur(life).open_amount == 0 and eur(life).unapplied == D("30.00") and eur(life).exposure == D("-30.00")


def test_a_payment_before_its_invoice_waits_and_settles_it() -> None:
    life = Life()
    life.tell(payment("p1", 0, {"i1": "100.00"}))
    assert eur(life).unapplied == D("100.00")
    life.tell(invoice("i1", 2, amount="80.00"))
    assert life.row("i/i1").closed == "settled"
    assert eur(life).unapplied == D("20.00") and eur(life).open_amount == 0
    assert life.row("w/i1") is None


def test_a_credit_note_settles_its_invoice_and_the_rest_lowers_the_open_amount() -> None:
    life = Life()
    life.tell(invoice("i1", 0), invoice("i2", 0, amount="50.00"), credit_note("k1", 1, "120.00", {"i1": "100.00"}))
    assert life.row("i/i1").closed == "settled"
    assert eur(life).credit == D("20.00") and eur(life).open_amount == D("30.00")


def test_a_cancelled_invoice_owes_nothing_and_its_money_is_unapplied_again() -> None:
    life = Life()
    life.tell(invoice("i1", 0), payment("p1", 1, {"i1": "60.00"}), cancellation("i1", 2))
    assert eur(life).open_amount == 0 and eur(life).unapplied == D("60.00")
    life.until(200)
    assert not [e for e in life.bodies("training-examples") if e.invoice_id == "i1"], "a void invoice teaches nothing"


def test_a_write_off_is_a_default_that_is_learned_when_the_good_ones_are() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10), write_off("i1", 20))
    assert eur(life).open_amount == 0
    life.until(100)
    assert [e.target for e in life.bodies("training-examples")] == ["late"]
    life.until(101)
    assert [(e.target, e.label) for e in life.bodies("training-examples")][1:] == [("default", 1)]


def test_a_payment_on_a_written_off_invoice_settles_nothing_open() -> None:
    life = Life()
    life.tell(invoice("i1", 0), write_off("i1", 20), payment("p1", 25, {"i1": "100.00"}))
    assert eur(life).open_amount == 0
    assert eur(life).unapplied == 0


def test_a_returned_debit_opens_the_invoice_again() -> None:
    life = Life()
    life.tell(invoice("i1", 0), invoice("i2", 0), payment("p1", 3, {"i1": "100.00", "i2": "100.00"}, amount="210.00"))
    life.tell(payment_return("r1", 5, "p1", "150.00"))
    assert life.row("i/i2").open == D("100.00"), "the last allocation is undone first, after the unapplied rest"
    assert life.row("i/i1").open == D("40.00")
    assert eur(life).unapplied == 0 and eur(life).open_amount == D("140.00")


def test_a_return_of_an_unknown_payment_is_refused_with_the_mend() -> None:
    life = Life()
    life.tell(payment_return("r1", 5, "p9", "10.00"))
    assert life.rejections == ["payment p9, which came back, is not known: send the payment first"]


def test_the_same_fact_twice_changes_nothing_and_is_counted() -> None:
    life = Life()
    first = invoice("i1", 0)
    life.tell(first, payment("p1", 1, {"i1": "30.00"}))
    before = dict(life.book.rows())
    life.tell(first, payment("p1", 1, {"i1": "30.00"}))
    assert life.duplicates == 2 and dict(life.book.rows()) == before


def test_a_known_id_with_other_content_is_refused() -> None:
    life = Life()
    life.tell(invoice("i1", 0), invoice("i1", 0, amount="101.00"))
    assert life.row("i/i1").amount == D("100.00")
    assert "invoice i1 is known with other content" in life.rejections[0]


def test_money_in_another_currency_is_refused() -> None:
    life = Life()
    life.tell(invoice("i1", 0), payment("p1", 1, {"i1": "30.00"}, currency="USD"))
    assert "invoice i1 is in EUR" in life.rejections[0]


def test_a_closed_invoice_that_is_sent_again_after_its_payment_does_not_open_again() -> None:
    life = Life()
    sent = invoice("i1", 0)
    life.tell(sent, payment("p1", 1, {"i1": "100.00"}))
    life.until(300)
    life.tell(sent, now=None)
    assert life.duplicates == 1 and eur(life).open_amount == 0


def test_what_is_older_than_the_horizon_is_refused_as_too_old_to_tell() -> None:
    life = Life()
    life.tell(invoice("i1", 0))
    life.until(500)
    life.tell(invoice("i0", 0))
    assert "too old to tell" in life.rejections[0]


@pytest.mark.parametrize(("days", "bucket"), [(0, 0), (1, 1), (30, 1), (31, 2), (60, 2), (61, 3), (90, 3), (91, 4), (400, 4)])
def test_an_open_item_moves_through_the_ageing_buckets_on_its_day(days: int, bucket: int) -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10))
    life.until(10 + days)
    assert bucket_of(days) == bucket
    assert [i for i, amount in enumerate(eur(life).buckets) if amount] == [bucket]


def test_the_late_label_is_learned_on_the_day_after_the_due_day() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10), invoice("i2", 0, due=10))
    life.tell(payment("p1", 10, {"i1": "100.00"}), now=None)
    life.until(10)
    assert life.bodies("training-examples") == []
    life.until(11)
    assert sorted((e.invoice_id, e.label) for e in life.bodies("training-examples")) == [("i1", 0), ("i2", 1)]


def test_a_payment_after_the_due_day_that_arrives_before_the_tick_is_late_all_the_same() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10))
    life.tell(payment("p1", 11, {"i1": "100.00"}))
    life.until(11)
    assert [e.label for e in life.bodies("training-examples")] == [1]


def test_sales_leave_the_window_after_90_days() -> None:
    life = Life()
    life.tell(invoice("i1", 0), invoice("i2", 1))
    life.until(89)
    assert eur(life).sales_90d == D("200.00")
    life.until(90)
    assert eur(life).sales_90d == D("100.00")
    life.until(91)
    assert eur(life).sales_90d == 0


# Golden vectors: reference/peers.md iii.3 (creditguru, yaypay; Oracle's own sample for countback is wrong).
def test_dso_standard_best_possible_and_delinquent_days() -> None:
    result = dso(D(15000), D(4000), {1: D(10000)}.get, 1, 1, window=30)  # type: ignore[arg-type]
    assert (result.standard, result.best_possible, result.average_days_delinquent) == (D("45.00"), D("12.00"), D("33.00"))


def test_countback_corrects_the_printed_sample() -> None:
    months = [(30, D(1500)), (31, D(1000)), (30, D(2000)), (31, D(2000)), (30, D(4500)), (30, D(2250))]
    by_hand = 30 + 31 + 30 + 31 + 30 + D(30) * D(1000) / D(2250)
    assert countback(D(12000), months) == by_hand


def test_dso_is_undefined_without_sales() -> None:
    assert dso(D(100), D(100), {}.get, 1, 1).standard is None  # type: ignore[arg-type]


def test_countback_is_undefined_when_the_sales_never_cover_the_amount() -> None:
    assert countback(D(100), [(1, D(10))]) is None


# -- properties
amounts = st.integers(1, 20_000).map(lambda cents: f"{cents / 100:.2f}")
ids = st.sampled_from(["i1", "i2", "i3"])


@st.composite
def facts(draw: st.DrawFn) -> list[tuple[int, tuple[str, str, Any, Any]]]:
    """A list of (kind, arguments) in the order in which they arrive, some of them impossible."""
    kinds = st.one_of(
        st.tuples(st.just("invoice"), ids, amounts, st.integers(0, 60)),
        st.tuples(st.just("payment"), st.sampled_from(["p1", "p2", "p3"]), st.dictionaries(ids, amounts, max_size=3), amounts),
        st.tuples(st.just("credit"), st.sampled_from(["k1", "k2"]), st.dictionaries(ids, amounts, max_size=2), amounts),
        st.tuples(st.just("return"), st.sampled_from(["p1", "p2"]), amounts, st.just(0)),
        st.tuples(st.just("cancel"), ids, st.just(0), st.just(0)),
        st.tuples(st.just("write off"), ids, st.just(0), st.just(0)),
    )
    return draw(st.lists(st.tuples(st.integers(0, 40), kinds), max_size=14))


def _play(life: Life, steps: list[tuple[int, tuple[str, str, Any, Any]]]) -> None:
    n = 0
    for index, (gap, (kind, a, b, c)) in enumerate(steps):
        n += gap
        life.until(n)
        if kind == "invoice":
            life.tell(invoice(a, n, amount=b, due=c))
        elif kind == "payment":
            total = sum((D(x) for x in b.values()), D(0)) + D(c)
            life.tell(payment(a, n, b, amount=str(total)))
        elif kind == "credit":
            total = sum((D(x) for x in b.values()), D(0)) + D(c)
            life.tell(credit_note(a, n, str(total), b))
        elif kind == "return":
            life.tell(payment_return(f"r{index}", n, a, b))
        elif kind == "cancel":
            life.tell(cancellation(a, n))
        else:
            life.tell(write_off(a, n))
    life.until(n)


@settings(max_examples=150, deadline=None)
@given(facts())
def test_balances_equal_the_sum_of_their_items_whatever_happens(steps: list[tuple[int, tuple[str, str, Any, Any]]]) -> None:
    life = Life()
    _play(life, steps)
    header = life.row("")
    if header is None:
        return
    items = [row for _, row in life.book.rows() if isinstance(row, Item)]
    balance = header.balances.get("EUR")
    if balance is None:
        assert not items
        return
    for bucket in range(5):
        assert balance.buckets[bucket] == sum((i.open for i in items if i.open and i.bucket == bucket), D(0))
    assert balance.overdue_items == sum(i.alerting for i in items)
    assert balance.unapplied >= 0 and balance.credit >= 0
    for item in items:
        assert item.open >= 0 and item.paid >= 0 and item.credited >= 0
        if item.closed not in ("cancelled", "written_off"):
            assert item.open + item.paid + item.credited == item.amount


@settings(max_examples=60, deadline=None)
@given(facts())
def test_money_is_neither_made_nor_lost(steps: list[tuple[int, tuple[str, str, Any, Any]]]) -> None:
    life = Life()
    _play(life, [s for s in steps if s[1][0] in ("invoice", "payment", "return")])
    header = life.row("")
    if header is None or "EUR" not in header.balances:
        return
    items = [row for _, row in life.book.rows() if isinstance(row, Item)]
    received = sum((row.amount - row.returned for _, row in life.book.rows() if isinstance(row, Payment)), D(0))
    balance = header.balances["EUR"]
    assert balance.exposure == sum((i.amount for i in items), D(0)) - received
