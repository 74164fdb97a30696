"""What facts do to open items: examples at the edges, and properties of all sums."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.debtor.payments.decide import (
    DEFAULT_DAY,
    MAX_PENDING,
    VOID,
    LedgerView,
    Posting,
    age_item,
    bucket_of,
    check_allocations,
    close_invoice,
    issue_credit_note,
    issue_invoice,
    next_deadline_of,
    receive_payment,
    return_payment,
    with_next_deadline,
    with_open,
    worst_days_past_due,
)
from agents.debtor.payments.state import ZERO, Balance, Item, Payment, PendingAllocations, SalesDay
from agents.debtor.state import Header
from schemas.events.envelope import Rejection
from schemas.events.payments import (
    Allocation,
    CreditNoteIssued,
    InvoiceIssued,
    PaymentReceived,
    PaymentReturned,
)
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


def test_a_return_of_an_unknown_payment_is_refused_with_what_to_do() -> None:
    life = Life()
    life.tell(payment_return("r1", 5, "p9", "10.00"))
    assert life.rejections == ["payment p9, which came back, is not known: send the payment first"]


def test_the_same_fact_twice_changes_nothing_and_is_counted() -> None:
    life = Life()
    first = invoice("i1", 0)
    life.tell(first, payment("p1", 1, {"i1": "30.00"}))
    before = dict(life.brain.rows())
    life.tell(first, payment("p1", 1, {"i1": "30.00"}))
    assert life.duplicates == 2 and dict(life.brain.rows()) == before


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


# -- tables of cases at the level of the pure functions
# Issued on day 100, due on day 130, forgotten on day 500 once it is closed; the alert counts from 15 days past due on.
ISSUED, DUE, EXPIRES, OVERDUE_DAYS, HORIZON = 100, 130, 500, 15, 400
SENT_ON = date(2026, 3, 2)


def item(**parts: Any) -> Item:
    """An open invoice of 100.00 EUR, with changes."""
    usual: dict[str, Any] = {
        "content": "", "amount": D("100.00"), "currency": "EUR", "issued": ISSUED, "due": DUE, "open": D("100.00"),
        "expires": EXPIRES,
    }  # fmt: skip
    return Item(**(usual | parts))


def settled(**parts: Any) -> Item:
    return item(**({"open": ZERO, "paid": D("100.00"), "closed": "settled", "closed_on": 120} | parts))


def balance(*buckets: str, **parts: Any) -> Balance:
    """Open amounts by bucket, the first ones."""
    amounts = [D(amount) for amount in buckets] + [ZERO] * (5 - len(buckets))
    return Balance(buckets=(amounts[0], amounts[1], amounts[2], amounts[3], amounts[4]), **parts)


def ledger(day: int, owed: Balance, **rows: Any) -> LedgerView:
    """A ledger with rows under ``i`` (I-7), ``w`` (what waits for it) and ``p`` (P-1)."""
    keys = {"i": "i/I-7", "w": "w/I-7", "p": "p/P-1"}
    return LedgerView({"EUR": owed}, {keys[name]: row for name, row in rows.items()}.get, day, OVERDUE_DAYS, HORIZON)


def money(amount: str, *allocations: tuple[str, str]) -> PaymentReceived:
    return PaymentReceived(
        customer_id="C-1",
        payment_id="P-1",
        amount=D(amount),
        currency="EUR",
        paid_on=SENT_ON,
        allocations=tuple(Allocation(invoice_id=i, amount=D(a)) for i, a in allocations),
    )


def came_back(amount: str, currency: str = "EUR") -> PaymentReturned:
    return PaymentReturned(
        customer_id="C-1", return_id="R-1", payment_id="P-1", amount=D(amount), currency=currency, returned_on=SENT_ON
    )


@pytest.mark.parametrize(
    ("invoice_item", "after", "deadline"),
    [
        pytest.param(item(), 100, DUE + 1, id="first it becomes late, the day after the due day"),
        pytest.param(item(issued=140), 140, 141, id="one that is issued after its due day is late a day later"),
        pytest.param(item(), 200, 201, id="what lies in the past is made up for on the next day"),
        pytest.param(item(late=1, bucket=1), 131, DUE + OVERDUE_DAYS, id="once late, the alert's day is next"),
        pytest.param(item(late=1, bucket=1, counted_overdue=True), 145, DUE + 31, id="once counted, the next bucket is next"),
        pytest.param(
            item(late=1, bucket=3, counted_overdue=True), 191, DUE + 91, id="the last bucket and the default fall together"
        ),
        pytest.param(
            item(late=1, bucket=4, counted_overdue=True, default=1), 221, 0, id="an open default has nothing left to fall due"
        ),
        pytest.param(settled(late=0), 120, DUE + DEFAULT_DAY, id="a settled one still learns that it did not default"),
        pytest.param(settled(late=0, default=0), 221, EXPIRES, id="a settled one that taught all it can is forgotten in the end"),
        pytest.param(settled(late=VOID, default=VOID, closed="cancelled"), 120, EXPIRES, id="a cancelled one is only forgotten"),
    ],
)
def test_the_next_deadline_of_an_item(invoice_item: Item, after: int, deadline: int) -> None:
    assert next_deadline_of(invoice_item, after, OVERDUE_DAYS) == deadline


@pytest.mark.parametrize(
    ("before", "day", "deadline"),
    [
        pytest.param(131, 130, 131, id="one that lies ahead is computed anew"),
        pytest.param(131, 131, 131, id="one that is due today has not fired yet and stays"),
        pytest.param(131, 140, 131, id="one that is overdue stays: it is judged as of its own day"),
        pytest.param(400, 120, 131, id="one that is too late is brought forward"),
        pytest.param(0, 140, 141, id="none is given the next"),
    ],
)
def test_a_deadline_that_has_not_fired_yet_is_kept(before: int, day: int, deadline: int) -> None:
    assert with_next_deadline(item(next_deadline=before), day, OVERDUE_DAYS).next_deadline == deadline


@pytest.mark.parametrize(
    ("invoice_item", "open_amount", "day", "item_after", "balance_after"),
    [
        pytest.param(
            item(), "40.00", 110, {"open": D("40.00"), "closed": "", "bucket": 0}, balance("40.00"),
            id="a part stays in its bucket",
        ),
        pytest.param(
            item(), "40.00", 140, {"open": D("40.00"), "bucket": 1}, balance("0.00", "40.00"),
            id="what stays open moves into the bucket of the day",
        ),
        pytest.param(
            item(), "0.00", 120, {"open": ZERO, "closed": "settled", "closed_on": 120}, balance("0.00"),
            id="nothing left settles it on that day",
        ),
        pytest.param(
            item(counted_overdue=True), "0.00", 150, {"counted_overdue": False}, balance("0.00", overdue_items=-1),
            id="a settled one no longer counts as overdue",
        ),
        pytest.param(
            settled(), "25.00", 125, {"open": D("25.00"), "closed": "", "closed_on": 0}, balance("125.00"),
            id="money that came back opens it again",
        ),
        pytest.param(
            item(closed="written_off"), "0.00", 150, {"closed": "written_off", "closed_on": 150}, balance("0.00"),
            id="a written-off one is not called settled",
        ),
    ],
)  # fmt: skip
def test_the_open_amount_and_the_balance_move_together(
    invoice_item: Item, open_amount: str, day: int, item_after: dict[str, Any], balance_after: Balance
) -> None:
    after, owed = with_open(invoice_item, D(open_amount), balance("100.00"), day, OVERDUE_DAYS)
    assert {name: getattr(after, name) for name in item_after} == item_after
    assert owed == balance_after


@pytest.mark.parametrize(
    ("days_past_due", "bucket", "is_counted"),
    [
        pytest.param(0, 0, False, id="on the due day nothing has happened"),
        pytest.param(1, 1, False, id="a day later it is overdue, too short for the alert"),
        pytest.param(14, 1, False, id="the day before the alert's"),
        pytest.param(15, 1, True, id="on the alert's day it counts"),
        pytest.param(31, 2, True, id="the second bucket"),
        pytest.param(91, 4, True, id="the last bucket"),
    ],
)
def test_an_open_item_ages(days_past_due: int, bucket: int, is_counted: bool) -> None:
    aged, owed = age_item(item(), balance("100.00"), DUE + days_past_due, OVERDUE_DAYS)
    assert (aged.bucket, aged.counted_overdue, owed.overdue_items) == (bucket, is_counted, int(is_counted))
    assert [i for i, amount in enumerate(owed.buckets) if amount] == [bucket]


def test_a_settled_item_does_not_age() -> None:
    assert age_item(settled(), balance(), DUE + 50, OVERDUE_DAYS) == (settled(), balance())


@pytest.mark.parametrize(
    ("parts", "item_after", "balance_after"),
    [
        pytest.param((), {"open": D("100.00")}, balance("100.00", sales_90d=D("100.00")), id="nothing waits for it"),
        pytest.param(
            (("P-1", D("30.00"), "EUR"),), {"open": D("70.00"), "paid": D("30.00")},
            balance("70.00", sales_90d=D("100.00"), unapplied=D("20.00")), id="a payment that waited settles a part",
        ),
        pytest.param(
            (("P-1", D("60.00"), "EUR"),), {"open": D("50.00"), "paid": D("50.00")},
            balance("50.00", sales_90d=D("100.00")), id="no more of a payment than is left of it after a return",
        ),
        pytest.param(
            (("", D("30.00"), "EUR"),), {"open": D("70.00"), "credited": D("30.00")},
            balance("70.00", sales_90d=D("100.00"), unapplied=D("20.00")), id="a credit note that waited settles a part",
        ),
        pytest.param(
            (("P-1", D("30.00"), "USD"),), {"open": D("100.00"), "paid": ZERO},
            balance("100.00", sales_90d=D("100.00"), unapplied=D("50.00")), id="money in another currency settles nothing",
        ),
        pytest.param(
            (("P-9", D("30.00"), "EUR"),), {"open": D("100.00"), "paid": ZERO},
            balance("100.00", sales_90d=D("100.00"), unapplied=D("50.00")), id="a payment that was forgotten settles nothing",
        ),
    ],
)  # fmt: skip
def test_money_that_waits_for_an_invoice_settles_it(
    parts: tuple[tuple[str, Decimal, str], ...], item_after: dict[str, Any], balance_after: Balance
) -> None:
    day = SENT_ON.toordinal()
    rows = {"w": PendingAllocations(parts), "p": Payment("", D("50.00"), "EUR", D("50.00"), (), next_deadline=0)} if parts else {}
    fact = InvoiceIssued(
        customer_id="C-1", invoice_id="I-7", amount=D("100.00"), currency="EUR", issued_on=SENT_ON, due_on=date(2026, 4, 1)
    )
    posting = issue_invoice(fact, "", ledger(day, balance(unapplied=D("50.00") if parts else ZERO), **rows))
    row = posting.rows["i/I-7"]
    assert {name: getattr(row, name) for name in item_after} == item_after
    assert posting.balances == {"EUR": balance_after}
    assert ("w/I-7" in posting.rows, posting.rows.get("w/I-7")) == (bool(parts), None)


@pytest.mark.parametrize(
    ("days_ago", "in_window", "deadline"),
    [
        pytest.param(0, True, 90, id="today's sales leave the window in 90 days"),
        pytest.param(89, True, 1, id="the last day of the window"),
        pytest.param(90, False, HORIZON - 90, id="older ones were never in it, and are forgotten"),
        pytest.param(450, False, 1, id="what should be forgotten already goes the next day"),
    ],
)
def test_a_sale_counts_in_the_window_of_90_days(days_ago: int, in_window: bool, deadline: int) -> None:
    day = SENT_ON.toordinal() + days_ago
    fact = InvoiceIssued(customer_id="C-1", invoice_id="I-7", amount=D("5.00"), currency="EUR", issued_on=SENT_ON, due_on=SENT_ON)
    posting = issue_invoice(fact, "", ledger(day, balance()))
    assert posting.rows[f"s/EUR/{SENT_ON.toordinal()}"] == SalesDay(D("5.00"), day + deadline, in_window)
    assert posting.balances["EUR"].sales_90d == (D("5.00") if in_window else ZERO)


@pytest.mark.parametrize(
    ("row_before", "how", "item_after", "balance_after"),
    [
        pytest.param(
            item(), "cancelled", {"late": VOID, "default": VOID}, balance("0.00"), id="a cancelled one owes and teaches nothing"
        ),
        pytest.param(
            item(open=D("40.00"), paid=D("60.00"), late=1), "cancelled", {"paid": ZERO, "late": 1, "default": VOID},
            balance("60.00", unapplied=D("60.00")), id="what was paid on a cancelled one is unapplied; what it taught stays",
        ),
        pytest.param(
            item(open=D("40.00"), paid=D("60.00")), "written_off", {"paid": D("60.00"), "late": -1, "default": -1},
            balance("60.00"), id="a written-off one keeps what was paid, and its labels mature",
        ),
    ],
)  # fmt: skip
def test_a_closed_invoice(row_before: Item, how: Any, item_after: dict[str, Any], balance_after: Balance) -> None:
    posting = close_invoice("I-7", how, ledger(120, balance("100.00"), i=row_before))
    assert isinstance(posting, Posting)
    row = posting.rows["i/I-7"]
    assert (row.open, row.closed) == (ZERO, how)
    assert {name: getattr(row, name) for name in item_after} == item_after
    assert posting.balances["EUR"] == balance_after


@pytest.mark.parametrize(
    ("row_before", "reason"),
    [
        pytest.param(None, "invoice I-7 is not known: send it first", id="unknown"),
        pytest.param(item(closed="cancelled"), "invoice I-7 is cancelled already", id="cancelled before"),
        pytest.param(item(closed="written_off"), "invoice I-7 is written off already", id="written off before"),
    ],
)
def test_an_invoice_that_cannot_be_closed(row_before: Item | None, reason: str) -> None:
    assert close_invoice("I-7", "cancelled", ledger(120, balance(), i=row_before)) == Rejection(reason, "invoice_id")


@pytest.mark.parametrize(
    ("row_before", "waiting", "currency", "is_refused"),
    [
        pytest.param(item(), 0, "EUR", False, id="an invoice in the money's currency"),
        pytest.param(item(), 0, "USD", True, id="an invoice in another currency"),
        pytest.param(None, 0, "USD", False, id="an unknown invoice, whatever the currency"),
        pytest.param(None, MAX_PENDING - 1, "EUR", False, id="one more may wait"),
        pytest.param(None, MAX_PENDING, "EUR", True, id="too many wait already"),
        pytest.param(item(), MAX_PENDING, "EUR", False, id="for a known invoice nothing has to wait"),
    ],
)
def test_which_allocations_can_be_taken(row_before: Item | None, waiting: int, currency: str, is_refused: bool) -> None:
    rows = {"i/I-7": row_before, "w/I-7": PendingAllocations((("P-2", D(1), "EUR"),) * waiting)}
    rejection = check_allocations([Allocation(invoice_id="I-7", amount=D(1))], currency, rows.get)
    assert (rejection is not None) == is_refused
    assert rejection is None or rejection.field == "allocations"


@pytest.mark.parametrize(
    ("row_before", "allotted", "item_after", "unapplied", "allocations"),
    [
        pytest.param(
            item(), "100.00", {"closed": "settled"}, "20.00", (("I-7", D("100.00")),), id="it settles, the rest is unapplied"
        ),
        pytest.param(item(), "30.00", {"open": D("70.00")}, "90.00", (("I-7", D("30.00")),), id="a part of it"),
        pytest.param(
            item(open=D("10.00")), "30.00", {"closed": "settled"}, "110.00", (("I-7", D("10.00")),), id="never more than is open"
        ),
        pytest.param(settled(), "30.00", None, "120.00", (), id="a settled invoice takes none"),
        pytest.param(
            item(open=ZERO, closed="written_off"), "30.00", {"open": ZERO, "paid": D("30.00")}, "90.00", (("I-7", D("30.00")),),
            id="a written-off one takes it as a recovery, and stays closed",
        ),
        pytest.param(None, "30.00", None, "120.00", (), id="an unknown invoice takes none yet"),
    ],
)  # fmt: skip
def test_a_payment_of_120_is_allocated(
    row_before: Item | None, allotted: str, item_after: dict[str, Any] | None, unapplied: str, allocations: tuple[Any, ...]
) -> None:
    posting = receive_payment(money("120.00", ("I-7", allotted)), "hash", ledger(120, balance("100.00"), i=row_before))
    row = posting.rows.get("i/I-7")
    assert (None if row is None else {name: getattr(row, name) for name in item_after or ()}) == item_after
    assert posting.rows["p/P-1"] == Payment("hash", D("120.00"), "EUR", D(unapplied), allocations, 120 + HORIZON)
    assert posting.balances["EUR"].unapplied == D(unapplied)
    assert ("w/I-7" in posting.rows) == (row_before is None)


def test_what_one_payment_allots_to_an_unknown_invoice_in_two_parts_waits_as_one() -> None:
    posting = receive_payment(money("50.00", ("I-7", "20.00"), ("I-7", "30.00")), "", ledger(120, balance()))
    assert posting.rows["w/I-7"].parts == (("P-1", D("50.00"), "EUR"),)


@pytest.mark.parametrize(
    ("row_before", "allotted", "credited", "credit", "unapplied"),
    [
        pytest.param(item(), "100.00", D("100.00"), "20.00", "0.00", id="the unallocated rest lowers the open amount"),
        pytest.param(item(open=D("10.00")), "100.00", D("10.00"), "20.00", "90.00", id="what finds nothing open is unapplied"),
        pytest.param(None, "100.00", None, "20.00", "100.00", id="for an unknown invoice it waits"),
    ],
)
def test_a_credit_note_of_120_is_allocated(
    row_before: Item | None, allotted: str, credited: Decimal | None, credit: str, unapplied: str
) -> None:
    fact = CreditNoteIssued(
        customer_id="C-1",
        credit_note_id="K-1",
        amount=D("120.00"),
        currency="EUR",
        issued_on=SENT_ON,
        allocations=(Allocation(invoice_id="I-7", amount=D(allotted)),),
    )
    posting = issue_credit_note(fact, ledger(120, balance("100.00"), i=row_before))
    row = posting.rows.get("i/I-7")
    assert (None if row is None else row.credited) == credited
    assert (posting.balances["EUR"].credit, posting.balances["EUR"].unapplied) == (D(credit), D(unapplied))


PAID = Payment("", D("120.00"), "EUR", D("20.00"), (("I-6", D("40.00")), ("I-7", D("60.00"))), next_deadline=EXPIRES)


@pytest.mark.parametrize(
    ("amount", "row_before", "open_", "unapplied", "allocations"),
    [
        pytest.param("15.00", settled(), None, "5.00", PAID.allocations, id="the unapplied rest goes first"),
        pytest.param(
            "50.00", settled(), D("30.00"), "0.00", (("I-6", D("40.00")), ("I-7", D("30.00"))), id="then a part of the last"
        ),
        pytest.param("80.00", settled(), D("60.00"), "0.00", (("I-6", D("40.00")),), id="then all of the last"),
        pytest.param(
            "80.00",
            item(closed="cancelled", open=ZERO),
            None,
            "-60.00",
            (("I-6", D("40.00")),),
            id="of a cancelled invoice the cash",
        ),
        pytest.param(
            "80.00", settled(closed="written_off"), ZERO, "0.00", (("I-6", D("40.00")),), id="a written-off one stays closed"
        ),
    ],
)
def test_a_payment_that_comes_back(
    amount: str, row_before: Item, open_: Decimal | None, unapplied: str, allocations: tuple[Any, ...]
) -> None:
    posting = return_payment(came_back(amount), ledger(125, balance(unapplied=D("20.00")), i=row_before, p=PAID))
    assert isinstance(posting, Posting)
    row, payment_after = posting.rows.get("i/I-7"), posting.rows["p/P-1"]
    assert (None if row is None else row.open) == open_
    assert (payment_after.allocations, payment_after.returned) == (allocations, D(amount))
    assert posting.balances["EUR"].unapplied == D(unapplied)


@pytest.mark.parametrize(
    ("fact", "row_before", "field"),
    [
        pytest.param(came_back("10.00"), None, "payment_id", id="of a payment that is not known"),
        pytest.param(came_back("10.00", "USD"), PAID, "currency", id="in another currency"),
        pytest.param(came_back("120.01"), PAID, "amount", id="more than was paid"),
        pytest.param(
            came_back("20.01"), replace(PAID, returned=D("100.00")), "amount", id="more than is left after another return"
        ),
    ],
)
def test_a_return_that_cannot_be(fact: PaymentReturned, row_before: Payment | None, field: str) -> None:
    rejection = return_payment(fact, ledger(125, balance(), p=row_before))
    assert isinstance(rejection, Rejection) and rejection.field == field


@pytest.mark.parametrize(
    ("balances", "days"),
    [
        pytest.param({}, 0, id="nothing is owed"),
        pytest.param({"EUR": balance("5.00")}, 0, id="nothing is due"),
        pytest.param({"EUR": balance("0.00", "5.00")}, 1, id="something is overdue"),
        pytest.param({"EUR": balance("0.00", "5.00", overdue_items=1)}, 15, id="late enough for the alert"),
        pytest.param({"EUR": balance("0.00", "0.00", "5.00")}, 31, id="over 30 days"),
        pytest.param(
            {"EUR": balance("0.00", "5.00"), "USD": balance("0.00", "0.00", "0.00", "5.00")}, 61, id="the worst of all currencies"
        ),
        pytest.param({"EUR": balance("0.00", "0.00", "0.00", "0.00", "5.00")}, 91, id="over 90 days"),
    ],
)
def test_the_worst_days_past_due(balances: dict[str, Balance], days: int) -> None:
    assert worst_days_past_due(balances) == days


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
    items = [row for _, row in life.brain.rows() if isinstance(row, Item)]
    balance = header.balances.get("EUR")
    if balance is None:
        assert not items
        return
    for bucket in range(5):
        assert balance.buckets[bucket] == sum((i.open for i in items if i.open and i.bucket == bucket), D(0))
    assert balance.overdue_items == sum(i.counted_overdue for i in items)
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
    items = [row for _, row in life.brain.rows() if isinstance(row, Item)]
    received = sum((row.amount - row.returned for _, row in life.brain.rows() if isinstance(row, Payment)), D(0))
    balance = header.balances["EUR"]
    assert balance.exposure == sum((i.amount for i in items), D(0)) - received
