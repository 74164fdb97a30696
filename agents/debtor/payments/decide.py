"""What a fact does to open items and balances. Pure: it reads a ``LedgerView``, and what it changes is a ``Posting``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec.structs import replace

from agents.debtor.keys import item_key, payment_key, pending_key, sales_key
from agents.debtor.payments.state import ZERO, Balance, Closed, Item, Payment, PendingAllocations, SalesDay
from schemas.events.envelope import Rejection
from schemas.events.payments import (
    Allocation,
    CreditNoteIssued,
    InvoiceIssued,
    PaymentReceived,
    PaymentReturned,
)

Get = Callable[[str], Any]
"""Row key -> row or None."""

WINDOW_DAYS = 90
"""The trailing window of the sales."""
DEFAULT_DAY = 91
"""Days after the due day on whose morning 90 days past due are over: the label *default* matures (CRR Art. 178)."""
VOID = 2
"""The label of an invoice that was cancelled: it is neither late nor in time, neither a default nor none."""
MAX_PENDING = 500
"""So many payments may wait for one invoice that is not known: a row must fit into a message."""
_NO_PENDING = PendingAllocations(())
BUCKET_STARTS = (1, 31, 61, 91)
"""Days past due at which an open item moves on to the next bucket."""


class LedgerView(NamedTuple):
    """What a debtor owes just before a fact is applied, and what postings depend on besides. Days are ordinals."""

    balances: dict[str, Balance]
    """By currency."""
    get: Get
    """The debtor's rows."""
    day: int
    """The creditor's day."""
    overdue_days: int
    """From so many days past due on an open invoice counts as overdue for the alert."""
    horizon_days: int
    """So long facts are remembered."""


@dataclass(slots=True)
class Posting:
    """What one fact changes in a ledger: the balances of all currencies, and rows by their keys (None = delete)."""

    ledger: LedgerView
    balances: dict[str, Balance]
    rows: dict[str, Any] = field(default_factory=dict)

    def get(self, row_key: str) -> Any:
        """A row as it is by now, or None."""
        return self.rows.get(row_key) or self.ledger.get(row_key)

    def set_open(self, row_key: str, item: Item, open_amount: Decimal) -> None:
        """Set the open amount of an item, and move the balance of its currency with it."""
        ledger, currency = self.ledger, item.currency
        self.rows[row_key], self.balances[currency] = with_open(
            item, open_amount, self.balances[currency], ledger.day, ledger.overdue_days
        )


def _posting_in(ledger: LedgerView, currency: str) -> Posting:
    """A posting of a fact in ``currency``, of which there may be no balance yet."""
    posting = Posting(ledger, dict(ledger.balances))
    posting.balances.setdefault(currency, Balance())
    return posting


def bucket_of(days_past_due: int) -> int:
    """Index of the ageing bucket: 0 not due, 1 = 1-30, 2 = 31-60, 3 = 61-90, 4 = over 90 days past due.

    >>> [bucket_of(d) for d in (-3, 0, 1, 30, 31, 60, 61, 90, 91)]
    [0, 0, 1, 1, 2, 2, 3, 3, 4]
    """
    if days_past_due <= 0:
        return 0
    return min(4, (days_past_due - 1) // 30 + 1)


def next_deadline_of(item: Item, after: int, overdue_days: int) -> int:
    """The first day after ``after`` on which something follows for this item: label, bucket, alert, forgetting; 0 = none.

    Deadlines that lie before the item was known are made up for on the next day.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> next_deadline_of(item, 100, overdue_days=15), next_deadline_of(item, 140, overdue_days=15)
    (131, 141)
    """
    due, first = item.due, 0
    if item.late < 0:
        first = max(due, item.issued) + 1
    elif item.default >= 0 and not item.open:
        first = item.expires
    if item.default < 0 and (not first or due + DEFAULT_DAY < first):
        first = due + DEFAULT_DAY
    if item.open:
        if item.bucket < 4 and (not first or due + BUCKET_STARTS[item.bucket] < first):
            first = due + BUCKET_STARTS[item.bucket]
        if not item.counted_overdue and (not first or due + overdue_days < first):
            first = due + overdue_days
    return max(first, after + 1) if first else 0


def with_next_deadline(item: Item, day: int, overdue_days: int) -> Item:
    """The item with its next deadline; one that is due by ``day`` and has not fired yet stays: it is judged as of its own day.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500, next_deadline=131)
    >>> [with_next_deadline(item, day, overdue_days=15).next_deadline for day in (100, 130, 131, 140)]
    [131, 131, 131, 131]
    >>> with_next_deadline(replace(item, late=1, bucket=1, next_deadline=0), 131, overdue_days=15).next_deadline
    145
    """
    if 0 < item.next_deadline <= day:
        return item
    return replace(item, next_deadline=next_deadline_of(item, day, overdue_days))


def _add_to_bucket(balance: Balance, bucket: int, amount: Decimal) -> Balance:
    buckets = list(balance.buckets)
    buckets[bucket] += amount
    return replace(balance, buckets=tuple(buckets))


def with_open(item: Item, open_amount: Decimal, balance: Balance, day: int, overdue_days: int) -> tuple[Item, Balance]:
    """Set the open amount of an item, and move the balance with it; at zero the item is settled unless it was closed otherwise.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> item, balance = with_open(item, Decimal(2), Balance(buckets=(Decimal(5), ZERO, ZERO, ZERO, ZERO)), 120, overdue_days=15)
    >>> item.open, balance.open_amount
    (Decimal('2'), Decimal('2.00'))
    >>> item, balance = with_open(item, ZERO, balance, 125, overdue_days=15)
    >>> item.closed, item.closed_on, balance.open_amount
    ('settled', 125, Decimal('0.00'))
    """
    balance = _add_to_bucket(balance, item.bucket, open_amount - item.open)
    if open_amount:
        bucket = bucket_of(day - item.due)
        if bucket != item.bucket:
            balance = _add_to_bucket(_add_to_bucket(balance, item.bucket, -open_amount), bucket, open_amount)
        item = replace(item, open=open_amount, closed="", closed_on=0, bucket=bucket)
    else:
        if item.counted_overdue:
            balance = replace(balance, overdue_items=balance.overdue_items - 1)
        item = replace(item, open=ZERO, counted_overdue=False, closed=item.closed or "settled", closed_on=item.closed_on or day)
    return with_next_deadline(item, day, overdue_days), balance


def age_item(item: Item, balance: Balance, day: int, overdue_days: int) -> tuple[Item, Balance]:
    """Move an open item into the bucket of ``day``, and count it as overdue once it is late enough for an alert.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> item, balance = age_item(item, Balance(buckets=(Decimal(5), ZERO, ZERO, ZERO, ZERO)), 145, overdue_days=15)
    >>> item.bucket, item.counted_overdue, balance.overdue_items, balance.overdue
    (1, True, 1, Decimal('5.00'))
    """
    if item.open:
        bucket = bucket_of(day - item.due)
        if bucket != item.bucket:
            balance = _add_to_bucket(_add_to_bucket(balance, item.bucket, -item.open), bucket, item.open)
            item = replace(item, bucket=bucket)
        if not item.counted_overdue and day >= item.due + overdue_days:
            balance = replace(balance, overdue_items=balance.overdue_items + 1)
            item = replace(item, counted_overdue=True)
    return item, balance


# -- invoices
def issue_invoice(fact: InvoiceIssued, content: str, ledger: LedgerView) -> Posting:
    """A new item, its sale, and the settlement by money that had been waiting for it.

    >>> from datetime import date
    >>> days = {"issued_on": date(2026, 3, 2), "due_on": date(2026, 4, 1)}
    >>> fact = InvoiceIssued(customer_id="C-1", invoice_id="I-7", amount=Decimal(100), currency="EUR", **days)
    >>> ledger = LedgerView({}, {}.get, date(2026, 3, 2).toordinal(), overdue_days=15, horizon_days=400)
    >>> posting = issue_invoice(fact, "hash of the content", ledger)
    >>> posting.rows["i/I-7"].open, posting.balances["EUR"].open_amount, posting.balances["EUR"].sales_90d
    (Decimal('100'), Decimal('100.00'), Decimal('100.00'))
    """
    currency, issue_day, due = fact.currency, fact.issued_on.toordinal(), fact.due_on.toordinal()
    day, invoice_id = ledger.day, fact.invoice_id
    bucket = bucket_of(day - due)
    item = Item(
        content=content, amount=fact.amount, currency=currency, issued=issue_day, due=due, open=fact.amount,
        expires=day + ledger.horizon_days, bucket=bucket,
    )  # fmt: skip
    item = replace(item, next_deadline=next_deadline_of(item, day, ledger.overdue_days))
    posting = _posting_in(ledger, currency)
    balance = _add_to_bucket(posting.balances[currency], bucket, fact.amount)
    posting.balances[currency] = _record_sale(posting, balance, currency, issue_day, fact.amount)
    posting.rows[item_key(invoice_id)] = item
    pending = ledger.get(pending_key(invoice_id))
    if pending is not None:
        _apply_pending(posting, invoice_id, pending)
    return posting


def _record_sale(posting: Posting, balance: Balance, currency: str, issue_day: int, amount: Decimal) -> Balance:
    """Add to the sales of the day of issue, and to the window if that day is still in it."""
    key, ledger = sales_key(currency, issue_day), posting.ledger
    sales: SalesDay | None = ledger.get(key)
    if sales is not None:
        posting.rows[key] = replace(sales, amount=sales.amount + amount)
        in_window = sales.in_window
    else:
        in_window = issue_day > ledger.day - WINDOW_DAYS
        deadline = max(issue_day + (WINDOW_DAYS if in_window else ledger.horizon_days), ledger.day + 1)
        posting.rows[key] = SalesDay(amount=amount, next_deadline=deadline, in_window=in_window)
    return replace(balance, sales_90d=balance.sales_90d + amount) if in_window else balance


def _apply_pending(posting: Posting, invoice_id: str, pending: PendingAllocations) -> None:
    """Settle a new invoice by the money that waited for it, in the order in which it came."""
    key = item_key(invoice_id)
    for payment_id, amount, currency in pending.parts:
        item: Item = posting.rows[key]
        if currency != item.currency:
            continue  # it stays unapplied: money in one currency settles no invoice in another
        applied, payment_row_key = min(amount, item.open), payment_key(payment_id)
        payment: Payment | None = posting.get(payment_row_key) if payment_id else None
        if payment is not None:
            applied = min(applied, payment.unapplied)  # it may have come back while it waited
            posting.rows[payment_row_key] = replace(
                payment, unapplied=payment.unapplied - applied, allocations=(*payment.allocations, (invoice_id, applied))
            )
            item = replace(item, paid=item.paid + applied)
        elif not payment_id:
            item = replace(item, credited=item.credited + applied)
        else:
            continue  # forgotten: older than the horizon
        balance = posting.balances[currency]
        posting.balances[currency] = replace(balance, unapplied=balance.unapplied - applied)
        posting.set_open(key, item, item.open - applied)
    posting.rows[pending_key(invoice_id)] = None


def close_invoice(invoice_id: str, how: Closed, ledger: LedgerView) -> Posting | Rejection:
    """Cancel an invoice or write it off: nothing of it stays open; what was paid on a cancelled one is unapplied again.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(3), expires=500, paid=Decimal(2))
    >>> balances = {"EUR": Balance(buckets=(Decimal(3), ZERO, ZERO, ZERO, ZERO))}
    >>> ledger = LedgerView(balances, {"i/I-7": item}.get, day=120, overdue_days=15, horizon_days=400)
    >>> posting = close_invoice("I-7", "cancelled", ledger)
    >>> posting.rows["i/I-7"].closed, posting.balances["EUR"].open_amount, posting.balances["EUR"].unapplied
    ('cancelled', Decimal('0.00'), Decimal('2.00'))
    """
    key = item_key(invoice_id)
    item: Item | None = ledger.get(key)
    if item is None:
        return Rejection(f"invoice {invoice_id} is not known: send it first", "invoice_id")
    if item.closed in ("cancelled", "written_off"):
        return Rejection(f"invoice {invoice_id} is {item.closed.replace('_', ' ')} already", "invoice_id")
    posting = Posting(ledger, dict(ledger.balances))
    if how == "cancelled":
        if item.paid:
            balance = posting.balances[item.currency]
            posting.balances[item.currency] = replace(balance, unapplied=balance.unapplied + item.paid)
            item = replace(item, paid=ZERO)
        # A void invoice teaches nothing.
        item = replace(item, late=VOID if item.late < 0 else item.late, default=VOID if item.default < 0 else item.default)
    posting.set_open(key, replace(item, closed=how), ZERO)
    return posting


# -- money
def check_allocations(allocations: Sequence[Allocation], currency: str, get: Get) -> Rejection | None:
    """Why money cannot be allocated: an invoice is in another currency, or too much waits for one that is not known.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> allocation = Allocation(invoice_id="I-7", amount=Decimal(5))
    >>> check_allocations([allocation], "EUR", {"i/I-7": item}.get), check_allocations([allocation], "EUR", {}.get)
    (None, None)
    >>> check_allocations([allocation], "USD", {"i/I-7": item}.get).field
    'allocations'
    """
    for allocation in allocations:
        invoice_id = allocation.invoice_id
        item: Item | None = get(item_key(invoice_id))
        if item is None and len((get(pending_key(invoice_id)) or _NO_PENDING).parts) >= MAX_PENDING:
            return Rejection(
                f"{MAX_PENDING} payments wait for invoice {invoice_id}, which is not known: send the invoice first", "allocations"
            )
        if item is not None and item.currency != currency:
            return Rejection(
                f"invoice {invoice_id} is in {item.currency}, the money in {currency}: "
                "send the payment in the invoice's currency, or without the allocation",
                "allocations",
            )
    return None


def receive_payment(fact: PaymentReceived, content: str, ledger: LedgerView) -> Posting:
    """Allocate a payment; what finds no open invoice is unapplied cash, and waits where its invoice is not known yet.

    >>> from datetime import date
    >>> sent = {"customer_id": "C-1", "payment_id": "P-1", "currency": "EUR", "paid_on": date(2026, 3, 2)}
    >>> fact = PaymentReceived(amount=Decimal(7), allocations=(Allocation(invoice_id="I-7", amount=Decimal(5)),), **sent)
    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> balances = {"EUR": Balance(buckets=(Decimal(5), ZERO, ZERO, ZERO, ZERO))}
    >>> posting = receive_payment(fact, "", LedgerView(balances, {"i/I-7": item}.get, 120, overdue_days=15, horizon_days=400))
    >>> posting.rows["i/I-7"].closed, posting.rows["p/P-1"].unapplied, posting.balances["EUR"].unapplied
    ('settled', Decimal('2'), Decimal('2.00'))
    """
    posting = _posting_in(ledger, fact.currency)
    allocated: list[tuple[str, Decimal]] = []
    rest = fact.amount
    for allocation in fact.allocations:
        applied = _allocate(posting, allocation, fact.currency, fact.payment_id)
        if applied:
            allocated.append((allocation.invoice_id, applied))
            rest -= applied
    if rest:
        balance = posting.balances[fact.currency]
        posting.balances[fact.currency] = replace(balance, unapplied=balance.unapplied + rest)
    posting.rows[payment_key(fact.payment_id)] = Payment(
        content=content,
        amount=fact.amount,
        currency=fact.currency,
        unapplied=rest,
        allocations=tuple(allocated),
        next_deadline=ledger.day + ledger.horizon_days,
    )
    return posting


def issue_credit_note(fact: CreditNoteIssued, ledger: LedgerView) -> Posting:
    """Settle invoices by a credit note. Its unallocated rest lowers the open amount; what finds nothing open is unapplied.

    >>> from datetime import date
    >>> sent = {"customer_id": "C-1", "credit_note_id": "K-1", "currency": "EUR", "issued_on": date(2026, 3, 2)}
    >>> fact = CreditNoteIssued(amount=Decimal(7), allocations=(Allocation(invoice_id="I-7", amount=Decimal(6)),), **sent)
    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500)
    >>> balances = {"EUR": Balance(buckets=(Decimal(5), ZERO, ZERO, ZERO, ZERO))}
    >>> posting = issue_credit_note(fact, LedgerView(balances, {"i/I-7": item}.get, 120, overdue_days=15, horizon_days=400))
    >>> posting.rows["i/I-7"].credited, posting.balances["EUR"].credit, posting.balances["EUR"].unapplied
    (Decimal('5.00'), Decimal('1.00'), Decimal('1.00'))
    """
    posting = _posting_in(ledger, fact.currency)
    unallocated, unapplied = fact.amount, ZERO
    for allocation in fact.allocations:
        unallocated -= allocation.amount
        unapplied += allocation.amount
        unapplied -= _allocate(posting, allocation, fact.currency)
    balance = posting.balances[fact.currency]
    posting.balances[fact.currency] = replace(
        balance, credit=balance.credit + unallocated, unapplied=balance.unapplied + unapplied
    )
    return posting


def _allocate(posting: Posting, allocation: Allocation, currency: str, payment_id: str = "") -> Decimal:
    """Settle one invoice as far as it is open; returns what was used. Without ``payment_id`` by a credit note."""
    key = item_key(allocation.invoice_id)
    item: Item | None = posting.get(key)
    if item is None:
        pending_row_key = pending_key(allocation.invoice_id)
        pending: PendingAllocations = posting.get(pending_row_key) or _NO_PENDING
        posting.rows[pending_row_key] = PendingAllocations(_with_part(pending.parts, payment_id, allocation.amount, currency))
        return ZERO
    if item.closed == "written_off":
        # Money on a claim that was given up settles nothing that is open: a recovery.
        applied = min(allocation.amount, item.amount - item.paid - item.credited)
        posting.rows[key] = replace(item, paid=item.paid + applied)
        return applied
    applied = min(allocation.amount, item.open)
    if applied:
        item = replace(item, paid=item.paid + applied) if payment_id else replace(item, credited=item.credited + applied)
        posting.set_open(key, item, item.open - applied)
    return applied


def _with_part(
    parts: tuple[tuple[str, Decimal, str], ...], payment_id: str, amount: Decimal, currency: str
) -> tuple[tuple[str, Decimal, str], ...]:
    """One more part of what waits for an invoice; what one payment allots to it is one part.

    >>> _with_part((("p", Decimal(3), "EUR"),), "p", Decimal(4), "EUR")
    (('p', Decimal('7'), 'EUR'),)
    """
    if parts and parts[-1][0] == payment_id and parts[-1][2] == currency:
        return (*parts[:-1], (payment_id, parts[-1][1] + amount, currency))
    return (*parts, (payment_id, amount, currency))


def return_payment(fact: PaymentReturned, ledger: LedgerView) -> Posting | Rejection:
    """Undo a payment: its unapplied rest first, then its allocations, the last first; invoices open again.

    >>> from datetime import date
    >>> sent = {"customer_id": "C-1", "return_id": "R-1", "currency": "EUR", "returned_on": date(2026, 3, 9)}
    >>> fact = PaymentReturned(payment_id="P-1", amount=Decimal(4), **sent)
    >>> rows = {
    ...     "i/I-7": Item("", Decimal(5), "EUR", issued=100, due=130, open=ZERO, expires=500, paid=Decimal(5), closed="settled"),
    ...     "p/P-1": Payment("", Decimal(6), "EUR", Decimal(1), (("I-7", Decimal(5)),), next_deadline=500),
    ... }
    >>> balances = {"EUR": Balance(unapplied=Decimal(1))}
    >>> posting = return_payment(fact, LedgerView(balances, rows.get, 120, overdue_days=15, horizon_days=400))
    >>> posting.rows["i/I-7"].open, posting.rows["p/P-1"].allocations, posting.balances["EUR"].unapplied
    (Decimal('3.00'), (('I-7', Decimal('2')),), Decimal('0.00'))
    """
    key = payment_key(fact.payment_id)
    payment: Payment | None = ledger.get(key)
    if payment is None:
        return Rejection(f"payment {fact.payment_id}, which came back, is not known: send the payment first", "payment_id")
    if fact.currency != payment.currency:
        return Rejection(f"payment {fact.payment_id} was in {payment.currency}, not {fact.currency}", "currency")
    rest = payment.amount - payment.returned
    if fact.amount > rest:
        return Rejection(f"{fact.amount} came back of payment {fact.payment_id}, of which only {rest} is left", "amount")
    posting = Posting(ledger, dict(ledger.balances))
    currency, rest = payment.currency, fact.amount
    from_cash = min(rest, payment.unapplied)
    rest -= from_cash
    allocations = list(payment.allocations)
    while rest:
        invoice_id, amount = allocations.pop()
        undone = min(rest, amount)
        rest -= undone
        if undone < amount:
            allocations.append((invoice_id, amount - undone))
        from_cash += _reopen(posting, invoice_id, undone)
    balance = posting.balances[currency]
    posting.balances[currency] = replace(balance, unapplied=balance.unapplied - from_cash)
    posting.rows[key] = replace(
        payment,
        unapplied=payment.unapplied - min(fact.amount, payment.unapplied),
        allocations=tuple(allocations),
        returned=payment.returned + fact.amount,
    )
    return posting


def _reopen(posting: Posting, invoice_id: str, amount: Decimal) -> Decimal:
    """Open an invoice again by ``amount``; returns what must come out of unapplied cash instead (its invoice was cancelled)."""
    key = item_key(invoice_id)
    item: Item | None = posting.get(key)
    if item is None or item.closed == "cancelled":
        return amount
    item = replace(item, paid=item.paid - amount)
    if item.closed == "written_off":
        posting.rows[key] = item
    else:
        posting.set_open(key, item, item.open + amount)
    return ZERO


def worst_days_past_due(balances: dict[str, Balance]) -> int:
    """A lower bound of the worst days past due over all currencies: 0, 1, 15, 31, 61 or 91.

    >>> worst_days_past_due({"EUR": Balance(buckets=(ZERO, ZERO, Decimal(5), ZERO, ZERO))})
    31
    """
    worst = 0
    for balance in balances.values():
        _, up_to_30, up_to_60, up_to_90, over_90 = balance.buckets
        if over_90:
            return 91
        days = 61 if up_to_90 else 31 if up_to_60 else 15 if balance.overdue_items else 1 if up_to_30 else 0
        worst = max(worst, days)
    return worst
