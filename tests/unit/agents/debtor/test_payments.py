"""What facts do to open items: examples at the edges, and properties of all sums."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.debtor.payments.decide import (
    VOID,
    age_item,
    allocate_credit_note,
    allocate_payment,
    amend_invoice,
    cancel_credit_note,
    check_allocations,
    contest,
    issue_credit_note,
    issue_invoice,
    receive_payment,
    recover,
    return_payment,
    uncovered,
    void_invoice,
    worst_days_past_due,
    write_off_invoice,
)
from agents.debtor.payments.posting import (
    DEFAULT_DAY,
    LedgerView,
    Posting,
    bucket_of,
    loss,
    move_item,
    net_sale,
    next_deadline_of,
    settle,
    split,
    surplus,
    with_next_deadline,
)
from agents.debtor.payments.state import ZERO, Balance, CreditNote, Item, Payment, PendingAllocations, SalesDay
from agents.debtor.state import Header
from schemas.base import Contract
from schemas.events.envelope import Event, Rejection
from schemas.events.payments import (
    Allocation,
    CreditNoteAllocated,
    CreditNoteCancelled,
    CreditNoteIssued,
    DisputeClosed,
    DisputeOpened,
    InvoiceAmended,
    InvoiceCancelled,
    InvoiceIssued,
    InvoiceReinstated,
    InvoiceWrittenOff,
    PaymentAllocated,
    PaymentReceived,
    PaymentReturned,
    RecoveryReceived,
    WriteOffReversed,
)
from tests.support.builders import Life, at, cancellation, credit_note, day, event, invoice, payment, payment_return, write_off

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


def test_a_credit_note_settles_its_invoice_and_the_rest_is_unapplied() -> None:
    life = Life()
    life.tell(invoice("i1", 0), invoice("i2", 0, amount="50.00"), credit_note("k1", 1, "120.00", {"i1": "100.00"}))
    assert life.row("i/i1").closed == "settled"
    assert (eur(life).unapplied, eur(life).open_amount, eur(life).exposure) == (D("20.00"), D("50.00"), D("30.00"))
    assert eur(life).sales_90d == D("50.00"), "what is credited leaves the turnover"


def test_a_cancelled_invoice_owes_nothing_and_its_money_is_unapplied_again() -> None:
    life = Life()
    life.tell(invoice("i1", 0), payment("p1", 1, {"i1": "60.00"}), cancellation("i1", 2))
    assert eur(life).open_amount == 0 and eur(life).unapplied == D("60.00")
    life.until(200)
    assert not [e for e in life.bodies("training-examples") if e.invoice_id == "i1"], "a void invoice teaches nothing"


def test_a_write_off_is_a_default_that_is_learned_when_the_good_ones_are() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10, amount="500.00"), write_off("i1", 20))
    assert eur(life).open_amount == 0
    life.until(100)
    assert [e.target for e in life.bodies("training-examples")] == ["late"]
    life.until(101)
    assert [(e.target, e.label) for e in life.bodies("training-examples")][1:] == [("default", 1)]


def test_a_write_off_of_too_little_is_no_default() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10, amount="499.99"), write_off("i1", 20))
    life.until(101)
    assert [(e.target, e.label) for e in life.bodies("training-examples")][1:] == [("default", 0)]


def test_a_payment_on_a_written_off_invoice_settles_nothing_open() -> None:
    life = Life()
    life.tell(invoice("i1", 0), write_off("i1", 20), payment("p1", 25, {"i1": "100.00"}))
    assert eur(life).open_amount == 0
    assert eur(life).unapplied == 0


def test_a_settled_invoice_cannot_be_written_off() -> None:
    life = Life()
    life.tell(invoice("i1", 0), payment("p1", 5, {"i1": "100.00"}), write_off("i1", 20))
    assert life.rejections == ["invoice i1 is settled: nothing of it is left to write off"]


def reversal(invoice_id: str, n: int) -> Event:
    return event(WriteOffReversed(customer_id="c-1", invoice_id=invoice_id, reversed_on=day(n)), n)


def test_a_write_off_after_its_reversal_is_a_default_in_whatever_order_they_come() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10, amount="900.00"), write_off("i1", 12), write_off("i1", 20), reversal("i1", 15))
    assert life.row("i/i1").closed == "written_off"
    life.until(101)
    assert [e.label for e in life.bodies("training-examples") if e.target == "default"] == [1]


@pytest.mark.parametrize(
    ("due", "labels"),
    [
        pytest.param(30, [1, 0], id="time that was given before the due day, and is not over: it was not late"),
        pytest.param(12, [1], id="that is over as well: it was late all the same"),
    ],
)
def test_an_amendment_that_comes_late_corrects_the_label(due: int, labels: list[int]) -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10), now=at(15))
    fact = InvoiceAmended(customer_id="c-1", amendment_id="a1", invoice_id="i1", amended_on=day(9), due_on=day(due))
    life.tell(event(fact, 15), now=at(15))
    assert [e.label for e in life.bodies("training-examples") if e.target == "late"] == labels


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


def reinstatement(invoice_id: str, n: int) -> Event:
    return event(InvoiceReinstated(customer_id="c-1", invoice_id=invoice_id, reinstated_on=day(n)), n)


@pytest.mark.parametrize(
    ("known", "other", "advice", "remedy", "after"),
    [
        pytest.param(
            invoice("i1", 0), invoice("i1", 0, amount="90.00"), "send a credit note for another amount",
            credit_note("k1", 1, "10.00", {"i1": "10.00"}), "90.00",
            id="an invoice of another amount: a credit note lowers it",
        ),
        pytest.param(
            payment("p1", 0, {"i1": "60.00"}), payment("p1", 0, {"i1": "50.00", "i2": "10.00"}),
            "send duewatch.payment.allocated.v1 for other invoices",
            event(
                PaymentAllocated(
                    customer_id="c-1", payment_id="p1", allocation_id="l1", currency="EUR", allocated_on=day(1),
                    allocations=(Allocation(invoice_id="i1", amount=D(50)), Allocation(invoice_id="i2", amount=D(10))),
                ), 1,
            ),
            "50.00", id="a payment with another list: a new list replaces it",
        ),
        pytest.param(
            payment("p1", 0, {"i1": "60.00"}), payment("p1", 0, {"i1": "40.00"}),
            "duewatch.payment.returned.v1 for money that went back", payment_return("r1", 1, "p1", "20.00"), "60.00",
            id="a payment of another amount: a return lowers it",
        ),
        pytest.param(
            credit_note("k1", 0, "30.00", {"i1": "30.00"}), credit_note("k1", 0, "10.00", {"i1": "10.00"}),
            "duewatch.credit_note.cancelled.v1 and another one under a number of its own",
            event(CreditNoteCancelled(customer_id="c-1", credit_note_id="k1", cancelled_on=day(1)), 1), "100.00",
            id="a credit note of another amount: it is cancelled first",
        ),
    ],
)  # fmt: skip
def test_the_advice_for_a_known_id_with_other_content_works(
    known: Event, other: Event, advice: str, remedy: Event, after: str
) -> None:
    life = Life()
    life.tell(*([] if isinstance(known.data, InvoiceIssued) else [invoice("i1", 0)]), known, other)
    assert len(life.rejections) == 1 and "is known with other content: " in life.rejections[0] and advice in life.rejections[0]
    life.tell(remedy)
    assert len(life.rejections) == 1 and life.row("i/i1").open == D(after)


def test_a_cancelled_invoice_that_is_sent_again_is_refused_with_what_to_do() -> None:
    life, sent = Life(), invoice("i1", 0)
    life.tell(sent, cancellation("i1", 1), sent)
    assert life.rejections == ["invoice i1 is cancelled: send duewatch.invoice.reinstated.v1 if it is owed again"]
    life.tell(reinstatement("i1", 2), sent)
    assert (len(life.rejections), life.duplicates, eur(life).open_amount) == (1, 1, D("100.00"))


def test_a_fact_that_is_dated_ahead_counts_from_its_value_date() -> None:
    life = Life()
    life.tell(invoice("i1", 0), now=at(0))
    ahead = payment("p1", 5, {"i1": "100.00"})
    told_early = Event(ahead.id, ahead.type, "test", at(1), at(1), ahead.data, content=ahead.content)
    life.tell(told_early, told_early, now=at(1))
    assert life.duplicates == 1, "it is known as long as it waits"
    assert eur(life).open_amount == D("100.00") and life.row("d/0/p/p1") is not None
    life.until(4)
    assert eur(life).open_amount == D("100.00")
    life.until(5)
    assert eur(life).open_amount == 0 and life.row("d/0/p/p1") is None and life.row("i/i1").closed_on == day(5).toordinal()


def test_what_follows_on_a_postponed_invoice_waits_for_it() -> None:
    life = Life()
    life.tell(payment("p0", 0, {}, amount="1.00"), now=at(0))
    sent, void = invoice("i1", 5), cancellation("i1", 6)
    life.tell(*(Event(e.id, e.type, "test", at(0), at(0), e.data, content=e.content) for e in (void, sent, void)), now=at(0))
    assert life.rejections == ["invoice i1 is not known: send it first"], "before it is known, even as one that waits"
    life.until(5)
    assert eur(life).open_amount == D("100.00")
    life.until(6)
    assert eur(life).open_amount == 0 and life.row("i/i1").closed == "cancelled"


def test_unapplied_cash_keeps_an_invoice_from_being_late() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10), payment("p1", 3, {}, amount="100.00"))
    life.until(40)
    assert [e.label for e in life.bodies("training-examples")] == [0]
    assert not life.bodies("alerts")
    assert eur(life).overdue == D("100.00"), "the ageing stays gross"


@pytest.mark.parametrize(
    ("paid", "label"),
    [
        pytest.param("94.99", 1, id="more than five short"),
        pytest.param("95.00", 0, id="five short, as bank charges are"),
    ],
)
def test_a_small_difference_makes_nobody_late(paid: str, label: int) -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10), payment("p1", 3, {"i1": paid}))
    life.until(30)
    assert [e.label for e in life.bodies("training-examples") if e.target == "late"] == [label]
    assert eur(life).overdue_items == label


def test_a_disputed_invoice_teaches_nothing_and_alerts_nobody() -> None:
    life = Life()
    contested = DisputeOpened(customer_id="c-1", invoice_id="i1", dispute_id="d1", opened_on=day(2))
    life.tell(invoice("i1", 0, due=10, amount="9000.00"), event(contested, 2))
    life.until(200)
    assert not life.bodies("training-examples") and not life.bodies("alerts")
    assert eur(life).disputed_amount == eur(life).overdue == D("9000.00")


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


def test_money_is_never_refused_for_its_age_alone() -> None:
    life = Life()
    life.tell(invoice("i1", 450))
    life.until(500)
    life.tell(payment("p1", 0, {"i1": "40.00"}))
    assert not life.rejections and life.row("i/i1").open == D("60.00")


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


def cancelled(**parts: Any) -> Item:
    usual = {"open": ZERO, "closed": "cancelled", "closed_on": 110, "void_word": (110, "", 0), "late": VOID, "default": VOID}
    return item(**(usual | parts))


def given_up(**parts: Any) -> Item:
    return item(**({"open": ZERO, "closed": "written_off", "closed_on": 110, "loss_word": (110, "", 0)} | parts))


def balance(*buckets: str, **parts: Any) -> Balance:
    """Open amounts by bucket, the first ones."""
    amounts = [D(amount) for amount in buckets] + [ZERO] * (5 - len(buckets))
    return Balance(buckets=(amounts[0], amounts[1], amounts[2], amounts[3], amounts[4]), **parts)


def disputed(*buckets: str) -> tuple[Decimal, ...]:
    return balance(*buckets).buckets


def ledger(day: int, owed: Balance, *, tolerance: str = "0.00", **rows: Any) -> LedgerView:
    """A ledger: rows under ``i`` (I-7), ``j`` (I-6), ``w`` (what waits for I-7), ``p`` (P-1), ``k`` (K-1) and ``s`` (sales)."""
    keys = {"i": "i/I-7", "j": "i/I-6", "w": "w/I-7", "p": "p/P-1", "k": "c/K-1", "s": f"s/EUR/{ISSUED}"}
    get = {keys[name]: row for name, row in rows.items()}.get
    return LedgerView({"EUR": owed}, get, day, OVERDUE_DAYS, HORIZON, lambda _: D(tolerance))


C = TypeVar("C", bound=Contract)


def posted(posting: Posting | Rejection) -> Posting:
    assert isinstance(posting, Posting), posting
    return posting


def parts_of(row: Any, names: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def money(amount: str, *allocations: tuple[str, str]) -> PaymentReceived:
    return PaymentReceived(
        customer_id="C-1",
        payment_id="P-1",
        amount=D(amount),
        currency="EUR",
        paid_on=SENT_ON,
        allocations=tuple(Allocation(invoice_id=i, amount=D(a)) for i, a in allocations),
    )


def came_back(amount: str, currency: str = "EUR", *allocations: tuple[str, str]) -> PaymentReturned:
    return PaymentReturned(
        customer_id="C-1",
        return_id="R-1",
        payment_id="P-1",
        amount=D(amount),
        currency=currency,
        returned_on=SENT_ON,
        allocations=tuple(Allocation(invoice_id=i, amount=D(a)) for i, a in allocations),
    )


def credit(amount: str, *allocations: tuple[str, str]) -> CreditNoteIssued:
    return CreditNoteIssued(
        customer_id="C-1",
        credit_note_id="K-1",
        amount=D(amount),
        currency="EUR",
        issued_on=SENT_ON,
        allocations=tuple(Allocation(invoice_id=i, amount=D(a)) for i, a in allocations),
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
    ("invoice_item", "open_amount", "closed", "closed_on"),
    [
        pytest.param(item(), "100.00", "", 0, id="nothing was stated for it"),
        pytest.param(item(paid=D("60.00")), "40.00", "", 0, id="what is paid leaves the rest open"),
        pytest.param(item(credited=D("30.00"), paid=D("60.00")), "10.00", "", 0, id="credit and money add up"),
        pytest.param(item(credited=D("40.00"), paid=D("60.00")), "0.00", "settled", 125, id="nothing left settles it, today"),
        pytest.param(item(paid=D("130.00")), "0.00", "settled", 125, id="too much never makes it negative"),
        pytest.param(settled(), "0.00", "settled", 120, id="it stays settled since the day on which it was"),
        pytest.param(settled(paid=D("75.00")), "25.00", "", 0, id="money that came back opens it again"),
        pytest.param(item(void_word=(120, "", 0)), "0.00", "cancelled", 125, id="cancelled, nothing is owed"),
        pytest.param(cancelled(void_word=(120, "", 1)), "100.00", "", 0, id="the cancellation was taken back"),
        pytest.param(item(loss_word=(120, "", 0), paid=D("60.00")), "0.00", "written_off", 125, id="its rest was given up"),
        pytest.param(given_up(loss_word=(120, "", 1), paid=D("60.00")), "40.00", "", 0, id="the write-off was taken back"),
        pytest.param(given_up(void_word=(120, "", 0)), "0.00", "cancelled", 125, id="a cancellation comes before a write-off"),
        pytest.param(given_up(paid=D("100.00")), "0.00", "written_off", 110, id="paid after all, it stays written off"),
    ],
)
def test_what_is_open_of_an_invoice_follows_from_its_sums_and_last_words(
    invoice_item: Item, open_amount: str, closed: str, closed_on: int
) -> None:
    after = settle(invoice_item, 125, HORIZON)
    assert (after.open, after.closed, after.closed_on, after.expires) == (D(open_amount), closed, closed_on, 125 + HORIZON)
    assert settle(after, 125, HORIZON) == after


@pytest.mark.parametrize(
    ("invoice_item", "too_much", "sale", "lost"),
    [
        pytest.param(item(), "0.00", "100.00", "0.00", id="open: all of it is turnover"),
        pytest.param(item(paid=D("130.00")), "30.00", "100.00", "0.00", id="paid too much: that is unapplied"),
        pytest.param(item(credited=D("30.00")), "0.00", "70.00", "0.00", id="credited: that is no turnover any more"),
        pytest.param(item(credited=D("130.00")), "30.00", "0.00", "0.00", id="credited too much: turnover is never negative"),
        pytest.param(cancelled(paid=D("60.00"), credited=D("5.00")), "65.00", "0.00", "0.00", id="cancelled: all is unapplied"),
        pytest.param(given_up(paid=D("60.00")), "0.00", "100.00", "40.00", id="written off: the rest is lost"),
        pytest.param(given_up(paid=D("60.00"), recovered=D("50.00")), "0.00", "100.00", "0.00", id="recovered: less is lost"),
        pytest.param(given_up(paid=D("130.00")), "30.00", "100.00", "0.00", id="written off and paid: nothing is lost"),
    ],
)
def test_what_is_too_much_what_is_turnover_and_what_is_lost(invoice_item: Item, too_much: str, sale: str, lost: str) -> None:
    assert (surplus(invoice_item), net_sale(invoice_item), loss(invoice_item)) == (D(too_much), D(sale), D(lost))


LATE = DUE + OVERDUE_DAYS


@pytest.mark.parametrize(
    ("before", "after", "day", "owed", "item_after", "balance_after"),
    [
        pytest.param(
            None, item(), 110, balance("5.00"), {"bucket": 0}, balance("105.00"), id="a new one is added",
        ),
        pytest.param(
            None, settled(paid=D("130.00")), 110, balance("5.00"), {}, balance("5.00", unapplied=D("30.00")),
            id="of a new one that is paid already only what is too much",
        ),
        pytest.param(
            item(), item(open=D("40.00")), 110, balance("100.00"), {"bucket": 0}, balance("40.00"), id="a part stays where it is",
        ),
        pytest.param(
            item(), item(open=D("40.00")), 140, balance("100.00"), {"bucket": 1}, balance("0.00", "40.00"),
            id="what stays open moves into the bucket of the day",
        ),
        pytest.param(
            settled(bucket=1), item(bucket=1, open=D("25.00"), paid=D("75.00")), 125, balance("100.00"), {"bucket": 0},
            balance("125.00"), id="what opens again is in the bucket of the day",
        ),
        pytest.param(
            settled(paid=D("130.00")), settled(paid=D("110.00")), 125, balance(unapplied=D("30.00")), {},
            balance(unapplied=D("10.00")), id="less of it is too much",
        ),
        pytest.param(
            item(bucket=1), item(bucket=1), LATE, balance("0.00", "100.00"), {"counted_overdue": True},
            balance("0.00", "100.00", overdue_items=1, overdue_sum=D("100.00")), id="late enough for the alert it counts",
        ),
        pytest.param(
            item(bucket=1), item(bucket=1, open=D("2.00")), LATE, balance("0.00", "100.00"), {"counted_overdue": False},
            balance("0.00", "2.00"), id="within the tolerance it does not",
        ),
        pytest.param(
            item(bucket=1, counted_overdue=True), item(bucket=1, counted_overdue=True, open=D("40.00")), LATE,
            balance("0.00", "100.00", overdue_items=1, overdue_sum=D("100.00")), {"counted_overdue": True},
            balance("0.00", "40.00", overdue_items=1, overdue_sum=D("40.00")), id="a part lowers what counts",
        ),
        pytest.param(
            item(bucket=1, counted_overdue=True), settled(bucket=1, counted_overdue=True), LATE,
            balance("0.00", "100.00", overdue_items=1, overdue_sum=D("100.00")), {"counted_overdue": False}, balance("0.00"),
            id="a settled one no longer counts as overdue",
        ),
        pytest.param(
            item(bucket=1, counted_overdue=True), item(bucket=1, counted_overdue=True, disputes=("D-1",)), LATE,
            balance("0.00", "100.00", overdue_items=1, overdue_sum=D("100.00")), {"counted_overdue": False},
            balance("0.00", "100.00", disputed=disputed("0.00", "100.00")), id="nor does a disputed one",
        ),
        pytest.param(
            item(disputes=("D-1",)), item(disputes=("D-1",)), DUE + 31, balance("100.00", disputed=disputed("100.00")),
            {"bucket": 2}, balance("0.00", "0.00", "100.00", disputed=disputed("0.00", "0.00", "100.00")),
            id="what is disputed ages along",
        ),
    ],
)  # fmt: skip
def test_an_item_and_its_balance_move_together(
    before: Item | None, after: Item, day: int, owed: Balance, item_after: dict[str, Any], balance_after: Balance
) -> None:
    moved, balance_moved = move_item(before, after, owed, ledger(day, owed, tolerance="2.00"))
    assert parts_of(moved, item_after) == item_after
    assert balance_moved == balance_after


SPREAD = (("I-6", D("40.00")), ("I-7", D("60.00")))


@pytest.mark.parametrize(
    ("back", "named", "sizes", "parts", "rest"),
    [
        pytest.param("0.00", (), {"I-7": "50.00"}, ("40.00", "60.00"), "20.00", id="nothing came back: as it was stated"),
        pytest.param("15.00", (), {}, ("40.00", "60.00"), "5.00", id="the rest goes first"),
        pytest.param("50.00", (), {}, ("40.00", "30.00"), "0.00", id="then a part of the last"),
        pytest.param("100.00", (), {}, ("20.00", "0.00"), "0.00", id="then the one before"),
        pytest.param("120.00", (), {}, ("0.00", "0.00"), "0.00", id="all of it"),
        pytest.param("50.00", (("I-6", "40.00"),), {}, ("10.00", "60.00"), "0.00", id="what the return names comes first"),
        pytest.param("90.00", (("I-6", "30.00"),), {}, ("10.00", "20.00"), "0.00", id="and the last takes what is left of it"),
        pytest.param("15.00", (("I-6", "15.00"),), {}, ("40.00", "60.00"), "5.00", id="the rest goes before what is named"),
        pytest.param("50.00", (), {"I-7": "50.00"}, ("40.00", "30.00"), "0.00", id="more than the invoice's amount is rest"),
        pytest.param("50.00", (), {"I-7": "0.00"}, ("40.00", "0.00"), "30.00", id="all of it where the invoice is cancelled"),
        pytest.param("50.00", (("I-9", "50.00"),), {}, ("40.00", "30.00"), "0.00", id="an invoice it never stated is not heeded"),
    ],
)  # fmt: skip
def test_a_payment_of_120_is_split(
    back: str, named: tuple[tuple[str, str], ...], sizes: dict[str, str], parts: tuple[str, str], rest: str
) -> None:
    returns = tuple((invoice_id, D(part)) for invoice_id, part in named)
    paid = Payment("", D("120.00"), "EUR", D("20.00"), SPREAD, next_deadline=EXPIRES, returned=D(back), named=returns)
    shares, left = split(paid, {name: D(size) for name, size in sizes.items()}.get)
    assert (dict(shares), left) == ({"I-6": D(parts[0]), "I-7": D(parts[1])}, D(rest))
    if sizes == {}:
        assert sum(dict(shares).values(), left) == paid.amount - paid.returned


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
    owed = balance("100.00")
    aged, owed = age_item(item(), owed, ledger(DUE + days_past_due, owed))
    assert (aged.bucket, aged.counted_overdue, owed.overdue_items) == (bucket, is_counted, int(is_counted))
    assert owed.overdue_sum == (D("100.00") if is_counted else ZERO)
    assert [i for i, amount in enumerate(owed.buckets) if amount] == [bucket]


def test_a_settled_item_does_not_age() -> None:
    assert age_item(settled(), balance(), ledger(DUE + 50, balance())) == (settled(), balance())


USD_WAITS = PendingAllocations(paid={"USD": D("30.00")})


@pytest.mark.parametrize(
    ("pending", "item_after", "balance_after", "left"),
    [
        pytest.param(None, {"open": D("100.00")}, balance("100.00", sales_90d=D("100.00")), None, id="nothing waits for it"),
        pytest.param(
            PendingAllocations(paid={"EUR": D("30.00")}), {"open": D("70.00"), "paid": D("30.00")},
            balance("70.00", sales_90d=D("100.00"), unapplied=D("20.00")), None, id="a payment that waited settles a part",
        ),
        pytest.param(
            PendingAllocations(paid={"EUR": D("130.00")}), {"open": ZERO, "paid": D("130.00"), "closed": "settled"},
            balance("0.00", sales_90d=D("100.00"), unapplied=D("-50.00")), None, id="what is too much stays unapplied",
        ),
        pytest.param(
            PendingAllocations(credited={"EUR": D("30.00")}), {"open": D("70.00"), "credited": D("30.00")},
            balance("70.00", sales_90d=D("70.00"), unapplied=D("20.00")), None,
            id="a credit note that waited settles a part, which is no turnover",
        ),
        pytest.param(
            USD_WAITS, {"open": D("100.00"), "paid": ZERO}, balance("100.00", sales_90d=D("100.00"), unapplied=D("50.00")),
            USD_WAITS, id="money in another currency settles nothing and goes on waiting",
        ),
        pytest.param(
            PendingAllocations((("P-1", D("30.00"), "EUR"),)), {"open": D("70.00"), "paid": D("30.00")},
            balance("70.00", sales_90d=D("100.00"), unapplied=D("20.00")), None, id="version 2: a payment that waited",
        ),
        pytest.param(
            PendingAllocations((("P-1", D("60.00"), "EUR"),)), {"open": D("50.00"), "paid": D("50.00")},
            balance("50.00", sales_90d=D("100.00")), None, id="version 2: no more of a payment than is left of it after a return",
        ),
        pytest.param(
            PendingAllocations((("", D("30.00"), "EUR"),)), {"open": D("70.00"), "credited": D("30.00")},
            balance("70.00", sales_90d=D("70.00"), unapplied=D("20.00")), None, id="version 2: a credit note that waited",
        ),
        pytest.param(
            PendingAllocations((("P-9", D("30.00"), "EUR"),)), {"open": D("100.00"), "paid": ZERO},
            balance("100.00", sales_90d=D("100.00"), unapplied=D("50.00")), None,
            id="version 2: a payment that was forgotten settles nothing",
        ),
    ],
)  # fmt: skip
def test_money_that_waits_for_an_invoice_settles_it(
    pending: PendingAllocations | None, item_after: dict[str, Any], balance_after: Balance, left: PendingAllocations | None
) -> None:
    day = SENT_ON.toordinal()
    waiting = {"w": pending, "p": Payment("", D("50.00"), "EUR", D("50.00"), (), next_deadline=0)}
    rows: dict[str, Any] = {} if pending is None else waiting
    fact = InvoiceIssued(
        customer_id="C-1", invoice_id="I-7", amount=D("100.00"), currency="EUR", issued_on=SENT_ON, due_on=date(2026, 4, 1)
    )
    posting = issue_invoice(fact, "", ledger(day, balance(unapplied=D("50.00") if rows else ZERO), **rows))
    assert parts_of(posting.rows["i/I-7"], item_after) == item_after
    assert posting.balances == {"EUR": balance_after}
    assert ("w/I-7" in posting.rows, posting.rows.get("w/I-7")) == (bool(rows), left)


def test_a_payment_that_came_back_is_split_anew_when_the_amount_of_its_invoice_is_known() -> None:
    """It states 90 of an invoice of 50: what is too much is rest, and that goes back first."""
    paid = Payment("", D("90.00"), "EUR", ZERO, (("I-7", D("90.00")),), next_deadline=0, returned=D("30.00"))
    pending = PendingAllocations(paid={"EUR": D("60.00")}, shared=("P-1",))
    fact = InvoiceIssued(customer_id="C-1", invoice_id="I-7", amount=D(50), currency="EUR", issued_on=SENT_ON, due_on=SENT_ON)
    posting = issue_invoice(fact, "", ledger(SENT_ON.toordinal(), balance(unapplied=D("60.00")), w=pending, p=paid))
    assert (posting.rows["i/I-7"].paid, posting.rows["i/I-7"].closed) == (D("50.00"), "settled")
    assert posting.rows["p/P-1"].unapplied == posting.balances["EUR"].unapplied == D("10.00")


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


# -- words that can be taken back
def on(ordinal: int) -> date:
    return date.fromordinal(ordinal)


def bare(contract: type[C], **fields: Any) -> C:
    """A fact of C-1 about I-7, unchecked: the days of these tables are small numbers, which no sender may use."""
    construct: Any = contract.model_construct
    fact: C = construct(customer_id="C-1", invoice_id="I-7", **fields)
    return fact


def void(day: int) -> InvoiceCancelled:
    return bare(InvoiceCancelled, cancelled_on=on(day))


def reinstated(day: int) -> InvoiceReinstated:
    return bare(InvoiceReinstated, reinstated_on=on(day))


def loss_of(day: int) -> InvoiceWrittenOff:
    return bare(InvoiceWrittenOff, written_off_on=on(day))


def loss_reversed(day: int) -> WriteOffReversed:
    return bare(WriteOffReversed, reversed_on=on(day))


NO_SALES = SalesDay(ZERO, ISSUED + 90)


@pytest.mark.parametrize(
    ("row_before", "fact", "owed", "item_after", "balance_after"),
    [
        pytest.param(
            item(), void(120), balance("100.00", sales_90d=D("100.00")),
            {"open": ZERO, "closed": "cancelled", "late": VOID, "default": VOID}, balance("0.00"),
            id="a cancelled one owes nothing, teaches nothing and is no turnover",
        ),
        pytest.param(
            item(open=D("40.00"), paid=D("60.00"), late=1), void(120), balance("40.00", sales_90d=D("100.00")),
            {"paid": D("60.00"), "late": 1, "default": VOID}, balance("0.00", unapplied=D("60.00")),
            id="what was paid on it is unapplied; what it taught stays",
        ),
        pytest.param(
            cancelled(paid=D("60.00")), reinstated(120), balance(unapplied=D("60.00")),
            {"open": D("40.00"), "closed": "", "late": -1, "default": -1}, balance("40.00", sales_90d=D("100.00")),
            id="reinstated before its due day it is as if nothing had been",
        ),
        pytest.param(
            cancelled(due=115), reinstated(120), balance(), {"open": D("100.00"), "late": VOID, "default": VOID},
            balance("0.00", "100.00", sales_90d=D("100.00")), id="reinstated after its due day it teaches nothing",
        ),
        pytest.param(
            given_up(), void(120), balance(sales_90d=D("100.00")), {"open": ZERO, "closed": "cancelled"}, balance(),
            id="what was written off can be cancelled still",
        ),
    ],
)  # fmt: skip
def test_a_cancellation_and_its_reinstatement(
    row_before: Item,
    fact: InvoiceCancelled | InvoiceReinstated,
    owed: Balance,
    item_after: dict[str, Any],
    balance_after: Balance,
) -> None:
    sales = SalesDay(net_sale(row_before), ISSUED + 90)
    posting = posted(void_invoice(fact, "2026", ledger(120, owed, i=row_before, s=sales)))
    assert parts_of(posting.rows["i/I-7"], item_after) == item_after
    assert posting.balances["EUR"] == balance_after


@pytest.mark.parametrize(
    ("row_before", "fact", "owed", "item_after", "balance_after"),
    [
        pytest.param(
            item(open=D("40.00"), paid=D("60.00")), loss_of(120), balance("40.00"),
            {"open": ZERO, "closed": "written_off", "paid": D("60.00"), "late": -1, "default": -1}, balance("0.00"),
            id="a written-off one keeps what was paid, and its labels mature",
        ),
        pytest.param(
            given_up(paid=D("60.00")), loss_reversed(120), balance(), {"open": D("40.00"), "closed": ""}, balance("40.00"),
            id="taken back, its rest is open again",
        ),
        pytest.param(
            given_up(), loss_of(120), balance(), {"open": ZERO, "loss_word": (120, "2026", 0)}, balance(),
            id="written off again later, the later word counts",
        ),
    ],
)  # fmt: skip
def test_a_write_off_and_its_reversal(
    row_before: Item,
    fact: InvoiceWrittenOff | WriteOffReversed,
    owed: Balance,
    item_after: dict[str, Any],
    balance_after: Balance,
) -> None:
    posting = posted(write_off_invoice(fact, "2026", ledger(120, owed, i=row_before)))
    assert parts_of(posting.rows["i/I-7"], item_after) == item_after
    assert posting.balances["EUR"] == balance_after


@pytest.mark.parametrize(
    ("row_before", "word"),
    [
        pytest.param(cancelled(void_word=(115, "2026", 0)), reinstated(110), id="a reinstatement before the cancellation"),
        pytest.param(cancelled(void_word=(110, "2027", 0)), reinstated(110), id="one of the same day that was recorded earlier"),
        pytest.param(cancelled(void_word=(115, "2026", 0)), void(112), id="an earlier cancellation"),
        pytest.param(item(void_word=(115, "2026", 1)), void(112), id="a cancellation before the reinstatement"),
        pytest.param(given_up(loss_word=(115, "2026", 0)), loss_reversed(112), id="a reversal before the write-off"),
        pytest.param(item(loss_word=(115, "2026", 1)), loss_of(112), id="a write-off before its reversal"),
    ],
)
def test_an_earlier_word_changes_nothing_whenever_it_comes(row_before: Item, word: Any) -> None:
    act: Any = void_invoice if isinstance(word, InvoiceCancelled | InvoiceReinstated) else write_off_invoice
    posting = posted(act(word, "2026", ledger(120, balance("7.00"), i=row_before)))
    assert (posting.rows, posting.balances) == ({}, {"EUR": balance("7.00")})


@pytest.mark.parametrize(
    ("row_before", "fact", "reason"),
    [
        pytest.param(None, void(120), "invoice I-7 is not known: send it first", id="an unknown one is cancelled"),
        pytest.param(None, loss_of(120), "invoice I-7 is not known: send it first", id="an unknown one is written off"),
        pytest.param(
            item(), reinstated(120), "invoice I-7 is not cancelled: send its cancellation first", id="nothing to reinstate"
        ),
        pytest.param(
            item(), loss_reversed(120), "invoice I-7 is not written off: send its write-off first", id="no write-off to reverse"
        ),
        pytest.param(
            settled(), loss_of(120), "invoice I-7 is settled: nothing of it is left to write off", id="a settled one is given up"
        ),
        pytest.param(
            cancelled(), loss_of(120), "invoice I-7 is cancelled: nothing of it is left to write off",
            id="a cancelled one is written off",
        ),
    ],
)  # fmt: skip
def test_a_word_that_contradicts_what_is_known(row_before: Item | None, fact: Any, reason: str) -> None:
    act: Any = void_invoice if isinstance(fact, InvoiceCancelled | InvoiceReinstated) else write_off_invoice
    assert act(fact, "2026", ledger(120, balance(), i=row_before)) == Rejection(reason, "invoice_id")


def amendment(day: int, due: int | None) -> InvoiceAmended:
    return bare(InvoiceAmended, amendment_id="A-1", amended_on=on(day), due_on=on(due) if due else None)


SECOND_MONTH = balance("0.00", "0.00", "100.00", overdue_items=1, overdue_sum=D("100.00"))


@pytest.mark.parametrize(
    ("row_before", "fact", "due", "balance_after"),
    [
        pytest.param(item(bucket=1), amendment(140, 150), 150, balance("100.00"), id="more time: it is not overdue any more"),
        pytest.param(item(bucket=1), amendment(140, 105), 105, SECOND_MONTH, id="less time: it is older"),
        pytest.param(item(bucket=1), amendment(140, 90), ISSUED, SECOND_MONTH, id="never before its issue"),
        pytest.param(
            item(bucket=1, due_word=(140, "2025")), amendment(140, 150), 150, balance("100.00"), id="of one day the later record"
        ),
        pytest.param(
            item(bucket=1, due_word=(141, "")),
            amendment(140, 150),
            DUE,
            balance("0.00", "100.00"),
            id="an earlier one is too late",
        ),
        pytest.param(item(bucket=1), amendment(140, None), DUE, balance("0.00", "100.00"), id="one that says nothing of the day"),
    ],
)
def test_an_amendment_gives_another_due_day(row_before: Item, fact: InvoiceAmended, due: int, balance_after: Balance) -> None:
    posting = posted(amend_invoice(fact, "2026", ledger(140, balance("0.00", "100.00"), i=row_before)))
    assert posting.rows.get("i/I-7", row_before).due == due
    assert posting.balances["EUR"] == balance_after


def test_an_unknown_invoice_cannot_be_amended() -> None:
    refused = amend_invoice(amendment(140, 150), "", ledger(140, balance()))
    assert refused == Rejection("invoice I-7 is not known: send it first", "invoice_id")


def dispute(dispute_id: str) -> DisputeOpened:
    return bare(DisputeOpened, dispute_id=dispute_id)


def dispute_over(dispute_id: str, outcome: str = "rejected") -> DisputeClosed:
    return bare(DisputeClosed, dispute_id=dispute_id, outcome=outcome)


IN_DISPUTE = disputed("0.00", "100.00")


@pytest.mark.parametrize(
    ("row_before", "fact", "disputes", "labels", "in_dispute"),
    [
        pytest.param(item(bucket=1), dispute("D-1"), ("D-1",), (-1, -1), IN_DISPUTE, id="one is opened"),
        pytest.param(
            item(bucket=1, disputes=("D-1",)), dispute("D-2"), ("D-1", "D-2"), (-1, -1), IN_DISPUTE, id="a second one counts once"
        ),
        pytest.param(
            item(bucket=1, disputes=("D-1", "D-2")), dispute_over("D-1"), ("D-2",), (-1, -1), IN_DISPUTE, id="one of two is over"
        ),
        pytest.param(
            item(bucket=1, disputes=("D-1",)), dispute_over("D-1"), (), (-1, -1), disputed(), id="the last is over: it is owed"
        ),
        pytest.param(
            item(bucket=1, late=1, disputes=("D-1",)), dispute_over("D-1", "upheld"), (), (1, VOID), disputed(),
            id="upheld: what it has not taught yet it never will",
        ),
    ],
)  # fmt: skip
def test_a_dispute(
    row_before: Item, fact: Any, disputes: tuple[str, ...], labels: tuple[int, int], in_dispute: tuple[Decimal, ...]
) -> None:
    owed = balance("0.00", "100.00", disputed=IN_DISPUTE if row_before.disputes else disputed())
    posting = posted(contest(fact, ledger(140, owed, i=row_before)))
    row, after = posting.rows["i/I-7"], posting.balances["EUR"]
    assert (row.disputes, (row.late, row.default)) == (disputes, labels)
    assert (after.buckets, after.disputed) == (owed.buckets, in_dispute)


@pytest.mark.parametrize(
    ("row_before", "fact", "field"),
    [
        pytest.param(None, dispute("D-1"), "invoice_id", id="of an unknown invoice"),
        pytest.param(item(disputes=("D-2",)), dispute_over("D-1"), "dispute_id", id="the end of one that was never opened"),
    ],
)
def test_a_dispute_that_cannot_be(row_before: Item | None, fact: Any, field: str) -> None:
    refused = contest(fact, ledger(140, balance(), i=row_before))
    assert isinstance(refused, Rejection) and refused.field == field


@pytest.mark.parametrize(
    ("row_before", "currency", "recovered"),
    [
        pytest.param(given_up(), "EUR", "30.00", id="money on a written-off claim"),
        pytest.param(given_up(recovered=D("20.00")), "EUR", "50.00", id="more of it"),
        pytest.param(given_up(), "USD", "0.00", id="in another currency it is only remembered"),
        pytest.param(item(bucket=1, loss_word=(110, "", 1)), "EUR", "30.00", id="the write-off was taken back meanwhile"),
        pytest.param(None, "EUR", None, id="an invoice that nobody remembers changes nothing"),
    ],
)
def test_a_recovery_settles_nothing_that_is_open(row_before: Item | None, currency: str, recovered: str | None) -> None:
    fact = bare(RecoveryReceived, recovery_id="V-1", amount=D("30.00"), currency=currency)
    owed = balance("0.00", "107.00")
    posting = posted(recover(fact, ledger(140, owed, i=row_before)))
    row = posting.rows.get("i/I-7", row_before)
    assert (None if row is None else row.recovered) == (None if recovered is None else D(recovered))
    assert posting.balances.get("USD", Balance()) == Balance()
    assert posting.balances["EUR"] == owed


def test_money_on_a_claim_that_was_not_given_up_is_a_payment() -> None:
    fact = bare(RecoveryReceived, recovery_id="V-1", amount=D("30.00"), currency="EUR")
    refused = recover(fact, ledger(140, balance("100.00"), i=item()))
    assert refused == Rejection("invoice I-7 is not written off: send the money as a payment", "invoice_id")


@pytest.mark.parametrize(
    ("owed", "bucket", "amount"),
    [
        pytest.param(balance("100.00"), 0, "100.00", id="no cash: all of it"),
        pytest.param(balance("100.00", unapplied=D("30.00")), 0, "70.00", id="cash covers a part"),
        pytest.param(balance("100.00", unapplied=D("300.00")), 0, "0.00", id="never less than nothing"),
        pytest.param(balance("100.00", "50.00", unapplied=D("30.00")), 0, "100.00", id="what is older takes the cash first"),
        pytest.param(balance("100.00", "50.00", unapplied=D("80.00")), 0, "70.00", id="and leaves what it does not need"),
        pytest.param(
            balance("100.00", "50.00", unapplied=D("80.00"), disputed=disputed("0.00", "50.00")), 0, "20.00",
            id="what is in dispute needs none",
        ),
        pytest.param(balance("0.00", "150.00", unapplied=D("80.00")), 1, "70.00", id="it is among what is overdue already"),
    ],
)  # fmt: skip
def test_what_is_owed_beyond_unapplied_cash_which_covers_the_oldest_first(owed: Balance, bucket: int, amount: str) -> None:
    assert uncovered(item(bucket=bucket), owed) == D(amount)


# -- money
@pytest.mark.parametrize(
    ("row_before", "currency", "is_refused"),
    [
        pytest.param(item(), "EUR", False, id="an invoice in the money's currency"),
        pytest.param(item(), "USD", True, id="an invoice in another currency"),
        pytest.param(cancelled(), "EUR", False, id="a cancelled one: it is unapplied"),
        pytest.param(None, "USD", False, id="an unknown invoice, whatever the currency"),
    ],
)
def test_which_allocations_can_be_taken(row_before: Item | None, currency: str, is_refused: bool) -> None:
    rejection = check_allocations([Allocation(invoice_id="I-7", amount=D(1))], currency, {"i/I-7": row_before}.get)
    assert (rejection is not None) == is_refused
    assert rejection is None or rejection.field == "allocations"


@pytest.mark.parametrize(
    ("row_before", "allotted", "item_after", "rest", "unapplied"),
    [
        pytest.param(item(), "100.00", {"closed": "settled"}, "20.00", "20.00", id="it settles, the rest is unapplied"),
        pytest.param(item(), "30.00", {"open": D("70.00")}, "90.00", "90.00", id="a part of it"),
        pytest.param(
            item(open=D("10.00"), paid=D("90.00")), "30.00", {"closed": "settled", "paid": D("120.00")}, "90.00", "110.00",
            id="what is more than is open is unapplied",
        ),
        pytest.param(
            settled(), "30.00", {"paid": D("130.00"), "closed_on": 120}, "90.00", "120.00", id="of a settled invoice all of it"
        ),
        pytest.param(
            given_up(), "30.00", {"open": ZERO, "paid": D("30.00")}, "90.00", "90.00",
            id="a written-off one takes it as a recovery, and stays closed",
        ),
        pytest.param(cancelled(), "30.00", {"open": ZERO, "paid": D("30.00")}, "90.00", "120.00", id="void, it needs none"),
        pytest.param(None, "30.00", None, "90.00", "120.00", id="for an unknown invoice it waits, unapplied"),
    ],
)  # fmt: skip
def test_a_payment_of_120_is_allocated(
    row_before: Item | None, allotted: str, item_after: dict[str, Any] | None, rest: str, unapplied: str
) -> None:
    stated = (("I-7", D(allotted)),)
    posting = receive_payment(money("120.00", ("I-7", allotted)), "hash", ledger(120, balance("100.00"), i=row_before))
    row = posting.rows.get("i/I-7")
    assert (None if row is None else parts_of(row, item_after or ())) == item_after
    assert posting.rows["p/P-1"] == Payment("hash", D("120.00"), "EUR", D(rest), stated, 120 + HORIZON)
    assert posting.balances["EUR"].unapplied == D(unapplied)
    assert posting.rows.get("w/I-7") == (PendingAllocations(paid={"EUR": D(allotted)}) if row_before is None else None)


def test_what_one_payment_allots_to_an_unknown_invoice_in_two_parts_waits_as_one() -> None:
    posting = receive_payment(money("50.00", ("I-7", "20.00"), ("I-7", "30.00")), "", ledger(120, balance()))
    assert posting.rows["w/I-7"] == PendingAllocations(paid={"EUR": D("50.00")})
    assert posting.rows["p/P-1"].allocations == (("I-7", D("50.00")),)


def test_nothing_is_left_to_wait_where_a_payment_for_an_unknown_invoice_is_allocated_elsewhere() -> None:
    waits = PendingAllocations(paid={"EUR": D("60.00")})
    paid = Payment("", D("60.00"), "EUR", ZERO, (("I-7", D("60.00")),), next_deadline=EXPIRES)
    posting = posted(allocate_payment(new_list(120), "", ledger(125, balance(unapplied=D("60.00")), w=waits, p=paid)))
    assert posting.rows["w/I-7"] is None and posting.balances["EUR"].unapplied == D("60.00")


PAID = Payment("", D("120.00"), "EUR", D("20.00"), SPREAD, next_deadline=EXPIRES)
"""40 for I-6 and 60 for I-7, and 20 that are unapplied."""
I_6 = settled(amount=D("40.00"), paid=D("40.00"))


def new_list(day: int, *allocations: tuple[str, str], currency: str = "EUR") -> PaymentAllocated:
    return bare(
        PaymentAllocated,
        payment_id="P-1",
        allocation_id="L-1",
        currency=currency,
        allocated_on=on(day),
        allocations=tuple(Allocation(invoice_id=i, amount=D(a)) for i, a in allocations),
    )


@pytest.mark.parametrize(
    ("row_before", "fact", "paid", "rest", "unapplied"),
    [
        pytest.param(
            PAID, new_list(120, ("I-7", "100.00")), ("0.00", "100.00"), "20.00", "20.00", id="all goes to the other one"
        ),
        pytest.param(
            PAID, new_list(120, ("I-7", "120.00")), ("0.00", "120.00"), "0.00", "20.00", id="what is too much is unapplied"
        ),
        pytest.param(PAID, new_list(120), ("0.00", "0.00"), "120.00", "120.00", id="an empty list: all is unapplied"),
        pytest.param(
            replace(PAID, list_word=(119, "2030")),
            new_list(120),
            ("0.00", "0.00"),
            "120.00",
            "120.00",
            id="the later list counts",
        ),
        pytest.param(
            replace(PAID, list_word=(121, "")), new_list(120), ("40.00", "60.00"), "20.00", "20.00", id="an earlier one does not"
        ),
    ],
)
def test_a_new_list_of_allocations_replaces_the_one_in_force(
    row_before: Payment, fact: PaymentAllocated, paid: tuple[str, str], rest: str, unapplied: str
) -> None:
    seven = item(open=D("40.00"), paid=D("60.00"))
    owed = balance("40.00", unapplied=D("20.00"))
    posting = posted(allocate_payment(fact, "2026", ledger(125, owed, i=seven, j=I_6, p=row_before)))
    rows = (posting.get("i/I-6"), posting.get("i/I-7"))
    assert tuple(row.paid for row in rows) == (D(paid[0]), D(paid[1]))
    assert (posting.get("p/P-1").unapplied, posting.balances["EUR"].unapplied) == (D(rest), D(unapplied))
    assert posting.balances["EUR"].open_amount == sum((row.open for row in rows), ZERO)


def test_a_new_list_of_a_payment_that_came_back_is_undone_by_as_much() -> None:
    paid = replace(PAID, returned=D("50.00"), unapplied=ZERO)
    seven = item(open=D("70.00"), paid=D("30.00"), shared=("P-1",))
    posting = posted(
        allocate_payment(new_list(120, ("I-7", "100.00")), "", ledger(125, balance("70.00"), i=seven, j=I_6, p=paid))
    )
    assert (posting.rows["i/I-6"].open, posting.rows["i/I-7"].open) == (D("40.00"), D("30.00"))
    assert (posting.rows["p/P-1"].unapplied, posting.balances["EUR"].unapplied) == (ZERO, ZERO)


@pytest.mark.parametrize(
    ("row_before", "fact", "field"),
    [
        pytest.param(None, new_list(120), "payment_id", id="of a payment that is not known"),
        pytest.param(PAID, new_list(120, currency="USD"), "currency", id="in another currency"),
        pytest.param(PAID, new_list(120, ("I-7", "120.01")), "allocations", id="more than the payment"),
        pytest.param(
            replace(PAID, currency="USD"), new_list(120, ("I-7", "5.00"), currency="USD"), "allocations",
            id="an invoice in another currency",
        ),
    ],
)  # fmt: skip
def test_a_list_of_allocations_that_cannot_be(row_before: Payment | None, fact: PaymentAllocated, field: str) -> None:
    refused = allocate_payment(fact, "", ledger(125, balance(), i=item(), p=row_before))
    assert isinstance(refused, Rejection) and refused.field == field


@pytest.mark.parametrize(
    ("row_before", "allotted", "credited", "unapplied", "sales"),
    [
        pytest.param(item(), "100.00", D("100.00"), "20.00", "0.00", id="the unallocated rest is unapplied"),
        pytest.param(item(), "30.00", D("30.00"), "90.00", "70.00", id="what is credited leaves the turnover"),
        pytest.param(
            item(open=D("10.00"), paid=D("90.00")),
            "100.00",
            D("100.00"),
            "110.00",
            "0.00",
            id="what finds nothing open is unapplied",
        ),
        pytest.param(None, "100.00", None, "120.00", "100.00", id="for an unknown invoice it waits, unapplied"),
    ],
)
def test_a_credit_note_of_120_is_allocated(
    row_before: Item | None, allotted: str, credited: Decimal | None, unapplied: str, sales: str
) -> None:
    owed, sold = balance("100.00", sales_90d=D("100.00")), SalesDay(D("100.00"), ISSUED + 90)
    posting = issue_credit_note(credit("120.00", ("I-7", allotted)), "hash", ledger(120, owed, i=row_before, s=sold))
    row = posting.rows.get("i/I-7")
    assert (None if row is None else row.credited) == credited
    assert (posting.balances["EUR"].unapplied, posting.balances["EUR"].sales_90d) == (D(unapplied), D(sales))
    assert posting.balances["EUR"].credit == 0
    assert posting.rows["c/K-1"] == CreditNote("hash", D("120.00"), "EUR", (("I-7", D(allotted)),), 120 + HORIZON)


CREDITED = CreditNote("", D("120.00"), "EUR", (("I-7", D("100.00")),), next_deadline=EXPIRES)


@pytest.mark.parametrize(
    ("row_before", "fact", "open_amount", "unapplied"),
    [
        pytest.param(CREDITED, bare(CreditNoteCancelled, credit_note_id="K-1"), "100.00", "0.00", id="cancelled"),
        pytest.param(
            CREDITED,
            bare(CreditNoteAllocated, credit_note_id="K-1", currency="EUR", allocated_on=on(120),
                allocations=(Allocation(invoice_id="I-7", amount=D(30)),),
            ),
            "70.00", "90.00", id="with another list",
        ),
        pytest.param(
            replace(CREDITED, list_word=(121, "")),
            bare(CreditNoteAllocated, credit_note_id="K-1", currency="EUR", allocated_on=on(120), allocations=()),
            "0.00", "20.00", id="with a list that another has replaced already",
        ),
    ],
)  # fmt: skip
def test_a_credit_note_is_void_or_settles_others(row_before: CreditNote, fact: Any, open_amount: str, unapplied: str) -> None:
    rows: dict[str, Any] = {"i": settled(paid=ZERO, credited=D("100.00")), "k": row_before, "s": NO_SALES}
    view = ledger(125, balance(unapplied=D("20.00")), **rows)
    is_list = isinstance(fact, CreditNoteAllocated)
    posting = posted(allocate_credit_note(fact, "", view) if is_list else cancel_credit_note(fact, view))
    assert posting.get("i/I-7").open == posting.balances["EUR"].open_amount == D(open_amount)
    assert posting.balances["EUR"].unapplied == D(unapplied)
    assert posting.balances["EUR"].sales_90d == net_sale(posting.get("i/I-7"))


@pytest.mark.parametrize(
    ("fact", "row_before", "paid", "open_", "unapplied"),
    [
        pytest.param(came_back("15.00"), settled(), ("40.00", "100.00"), "0.00", "5.00", id="the unapplied rest goes first"),
        pytest.param(came_back("50.00"), settled(), ("40.00", "70.00"), "30.00", "0.00", id="then a part of the last"),
        pytest.param(came_back("80.00"), settled(), ("40.00", "40.00"), "60.00", "0.00", id="then all of the last"),
        pytest.param(
            came_back("50.00", "EUR", ("I-6", "40.00")), settled(), ("10.00", "100.00"), "30.00", "0.00", id="first what it names"
        ),
        pytest.param(
            came_back("80.00"),
            cancelled(paid=D("60.00")),
            ("40.00", "0.00"),
            "0.00",
            "0.00",
            id="of a cancelled invoice the cash",
        ),
        pytest.param(
            came_back("80.00"), given_up(paid=D("60.00")), ("40.00", "0.00"), "0.00", "0.00", id="a written-off one stays closed"
        ),
    ],
)
def test_a_payment_that_comes_back(
    fact: PaymentReturned, row_before: Item, paid: tuple[str, str], open_: str, unapplied: str
) -> None:
    owed = balance(unapplied=D("20.00") + surplus(row_before))
    posting = posted(return_payment(fact, ledger(125, owed, i=row_before, j=I_6, p=PAID)))
    six, seven = posting.get("i/I-6"), posting.get("i/I-7")
    assert (six.paid, seven.paid) == (D(paid[0]), D(paid[1]))
    assert six.open + seven.open == posting.balances["EUR"].open_amount == D(open_)
    assert seven.closed == (row_before.closed if row_before.closed != "settled" or not seven.open else "")
    assert (posting.rows["p/P-1"].allocations, posting.rows["p/P-1"].returned) == (SPREAD, fact.amount)
    assert posting.balances["EUR"].unapplied == D(unapplied)
    assert six.shared == seven.shared == ("P-1",), "how it splits depends on their amounts from now on"


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
        pytest.param({"EUR": balance("0.00", "5.00", overdue_items=1, overdue_sum=D(5))}, 15, id="late enough for the alert"),
        pytest.param({"EUR": balance("0.00", "5.00", unapplied=D(5))}, 0, id="unapplied cash covers all of it"),
        pytest.param({"EUR": balance("0.00", "5.00", "5.00", unapplied=D(5))}, 1, id="it covers the oldest first"),
        pytest.param(
            {"EUR": balance("0.00", "5.00", "5.00", unapplied=D(4))}, 31, id="what it does not cover is as old as it is"
        ),
        pytest.param({"EUR": balance("0.00", "5.00", disputed=disputed("0.00", "5.00"))}, 0, id="all of it is in dispute"),
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
    assert balance.unapplied >= 0 and balance.credit == 0
    assert balance.overdue_sum == sum((i.open for i in items if i.counted_overdue), ZERO)
    for item in items:
        assert item.open >= 0 and item.paid >= 0 and item.credited >= 0
        is_given_up = item.closed in ("cancelled", "written_off")
        assert item.open == (0 if is_given_up else max(ZERO, item.amount - item.credited - item.paid))


@settings(max_examples=60, deadline=None)
@given(facts())
def test_money_is_neither_made_nor_lost(steps: list[tuple[int, tuple[str, str, Any, Any]]]) -> None:
    life = Life()
    _play(life, [step for step in steps if step[1][0] != "write off"])
    header = life.row("")
    if header is None or "EUR" not in header.balances:
        return
    rows = [row for _, row in life.brain.rows()]
    owed = sum((row.amount for row in rows if isinstance(row, Item) and row.closed != "cancelled"), D(0))
    received = sum((row.amount - row.returned for row in rows if isinstance(row, Payment)), D(0))
    credited = sum((row.amount for row in rows if isinstance(row, CreditNote)), D(0))
    assert header.balances["EUR"].exposure == owed - received - credited
