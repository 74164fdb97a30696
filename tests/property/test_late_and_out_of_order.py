"""The named cases of README's table: what comes late, out of order or twice, and what it means for the debtor."""

from __future__ import annotations

from decimal import Decimal

import pytest

from agents.debtor.payments.state import Balance
from agents.debtor.state import Header
from schemas.events.payments import DisputeClosed, DisputeOpened
from tests.support.builders import Life, at, cancellation, credit_note, day, event, invoice, payment, payment_return

D = Decimal


def eur(life: Life) -> Balance:
    header: Header = life.row("")
    return header.balances["EUR"]


def test_a_payment_before_its_invoice_is_unapplied_cash_that_waits() -> None:
    life = Life()
    life.tell(payment("p1", 0, {"i1": "100.00"}))
    assert (eur(life).unapplied, eur(life).exposure) == (D("100.00"), D("-100.00"))
    life.tell(invoice("i1", 2))
    assert life.row("i/i1").closed == "settled"
    assert (eur(life).unapplied, eur(life).exposure) == (D(0), D(0))


def test_a_credit_note_before_its_invoice_waits_too() -> None:
    life = Life()
    life.tell(credit_note("k1", 0, "30.00", {"i1": "30.00"}))
    assert eur(life).exposure == D("-30.00")
    life.tell(invoice("i1", 2))
    assert life.row("i/i1").open == D("70.00")
    assert (eur(life).unapplied, eur(life).exposure) == (D(0), D("70.00"))


def test_a_return_before_its_payment_is_refused_and_taken_once_it_is_sent_again() -> None:
    life, back = Life(), payment_return("r1", 1, "p1", "40.00")
    life.tell(back)
    assert "send the payment first" in life.rejections[0]
    life.tell(invoice("i1", 0), payment("p1", 1, {"i1": "100.00"}), back, back)
    assert life.row("i/i1").open == D("40.00")
    assert life.duplicates == 1


def test_the_end_of_a_dispute_before_its_opening_is_refused_and_taken_once_it_is_sent_again() -> None:
    life = Life()
    opening = event(DisputeOpened(customer_id="c-1", dispute_id="d1", invoice_id="i1", opened_on=day(3)), 3)
    end = event(DisputeClosed(customer_id="c-1", dispute_id="d1", invoice_id="i1", closed_on=day(4), outcome="rejected"), 4)
    life.tell(invoice("i1", 0), end)
    assert "send its opening first" in life.rejections[0]
    life.tell(opening)
    assert life.row("i/i1").disputes == ("d1",)
    life.tell(end)
    assert life.row("i/i1").disputes == ()


def test_a_cancellation_before_its_invoice_is_refused() -> None:
    life = Life()
    life.tell(cancellation("i1", 0))
    assert "invoice i1 is not known: send it first" in life.rejections[0]


def test_a_payment_on_a_cancelled_invoice_is_unapplied_cash() -> None:
    life = Life()
    life.tell(invoice("i1", 0), cancellation("i1", 2), payment("p1", 3, {"i1": "100.00"}))
    assert not life.rejections
    assert (eur(life).open_amount, eur(life).unapplied) == (D(0), D("100.00"))


def test_a_payment_that_is_known_after_its_label_has_matured_counts_from_the_day_it_is_known() -> None:
    """The label was learned from what was known when it matured, and stays; the money clears the alert at once."""
    life = Life()
    life.tell(invoice("i1", 0, due=10, amount="5000.00"))
    life.until(30)
    assert [a.state for a in life.bodies("alerts")] == ["raised"]
    paid_in_time = payment("p1", 9, {"i1": "5000.00"})
    life.tell(paid_in_time._replace(recorded=at(31)), now=at(31))
    assert [a.state for a in life.bodies("alerts")] == ["raised", "cleared"]
    assert eur(life).open_amount == 0
    life.until(110)
    late = [e.label for e in life.bodies("training-examples") if e.target == "late"]
    assert late[0] == 1


def test_a_correction_after_maturity_is_a_cancellation_and_another_invoice() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10))
    life.until(20)
    life.tell(cancellation("i1", 20), invoice("i1-a", 20, amount="80.00", due=10), now=at(20))
    life.until(40)
    assert eur(life).open_amount == D("80.00")
    assert [(e.invoice_id, e.label) for e in life.bodies("training-examples") if e.target == "late"] == [("i1", 1), ("i1-a", 1)]


@pytest.mark.parametrize("days", [399, 400, 401])
def test_an_event_recorded_before_the_horizon_is_refused(days: int) -> None:
    life = Life()
    life.until(days)
    life.tell(invoice("i1", 0), now=at(days))
    assert bool(life.rejections) == (days > 400)
    if life.rejections:
        assert "too old to tell whether it is known" in life.rejections[0]


def test_a_resent_event_is_counted_as_a_duplicate_even_after_settlement() -> None:
    life, debt, money = Life(), invoice("i1", 0), payment("p1", 5, {"i1": "100.00"})
    life.tell(debt, money)
    life.until(390)
    life.tell(debt, money, now=at(390))
    assert life.duplicates == 2
    assert eur(life).open_amount == 0 and eur(life).unapplied == 0


def test_the_same_id_with_other_content_is_refused_and_the_first_stands() -> None:
    life = Life()
    life.tell(invoice("i1", 0), invoice("i1", 0, amount="90.00"))
    assert "known with other content" in life.rejections[0]
    assert eur(life).open_amount == D("100.00")


def test_a_resent_invoice_that_was_cancelled_does_not_open_again() -> None:
    life, debt = Life(), invoice("i1", 0, due=10)
    life.tell(debt, now=at(0))
    life.until(5)
    life.tell(cancellation("i1", 12), now=at(5))
    life.until(13)
    life.tell(debt, now=at(13))
    assert eur(life).open_amount == 0
