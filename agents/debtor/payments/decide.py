"""What a fact does to open items and balances. Pure: rows come from ``get``, changed rows go back in a ``Posting``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from agents.debtor.payments.state import ZERO, Balance, Item, Payment, PendingAllocations, SalesDay
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
"""The trailing window of DSO."""
DEFAULT_DAY = 91
"""Days after the due day on whose morning 90 days past due are over: the label *default* matures (D8, CRR Art. 178)."""
VOID = 2
"""The label of an invoice that was cancelled: it is neither."""
MOST_WAITING = 500
"""So many payments may wait for one invoice that is not known: a row must fit a message (D1)."""
_NOTHING_WAITS = PendingAllocations(())
BUCKET_STARTS = (1, 31, 61, 91)
"""Days past due at which an open item moves on to the next bucket."""


@dataclass(slots=True)
class Posting:
    """Changed balances and rows (None = delete)."""

    balances: dict[str, Balance]
    rows: dict[str, Any] = field(default_factory=dict)


def bucket_of(days_past_due: int) -> int:
    """Index of the ageing bucket: 0 not due, 1 = 1-30, 2 = 31-60, 3 = 61-90, 4 = over 90 days past due.

    >>> [bucket_of(d) for d in (-3, 0, 1, 30, 31, 60, 61, 90, 91)]
    [0, 0, 1, 1, 2, 2, 3, 3, 4]
    """
    if days_past_due <= 0:
        return 0
    return min(4, (days_past_due - 1) // 30 + 1)


def next_wake(item: Item, after: int, overdue_days: int) -> int:
    """The first day after ``after`` on which something falls due for this item: label, bucket, alert, forgetting; 0 = none.

    Deadlines that lie before the item was known are made up for on the next day.
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
        if not item.alerting and (not first or due + overdue_days < first):
            first = due + overdue_days
    return max(first, after + 1) if first else 0


def _move(balance: Balance, bucket: int, amount: Decimal) -> Balance:
    buckets = list(balance.buckets)
    buckets[bucket] += amount
    return replace(balance, buckets=tuple(buckets))


def with_open(item: Item, new_open: Decimal, balance: Balance, day: int, overdue_days: int) -> tuple[Item, Balance]:
    """Set the open amount of an item and move the balance with it."""
    balance = _move(balance, item.bucket, new_open - item.open)
    if new_open:
        bucket = bucket_of(day - item.due)
        if bucket != item.bucket:
            balance = _move(_move(balance, item.bucket, -new_open), bucket, new_open)
        item = replace(item, open=new_open, closed="", closed_on=0, bucket=bucket)
    else:
        if item.alerting:
            balance = replace(balance, overdue_items=balance.overdue_items - 1)
        item = replace(item, open=ZERO, alerting=False, closed=item.closed or "settled", closed_on=item.closed_on or day)
    return rewoken(item, day, overdue_days), balance


def rewoken(item: Item, day: int, overdue_days: int) -> Item:
    """The item with its next deadline; one that is due by now and has not fired yet stays: it is judged as of its own day."""
    return item if 0 < item.wake <= day else replace(item, wake=next_wake(item, day, overdue_days))


def issue_invoice(
    fact: InvoiceIssued, content: str, balances: dict[str, Balance], get: Get, day: int, overdue_days: int, horizon: int
) -> Posting:
    """A new item; money that had been waiting for it settles it."""
    currency, issued, due = fact.currency, fact.issued_on.toordinal(), fact.due_on.toordinal()
    posting = Posting(dict(balances))
    balance = posting.balances.get(currency) or Balance()
    bucket = bucket_of(day - due)
    item = Item(
        content=content, amount=fact.amount, currency=currency, issued=issued, due=due, open=fact.amount,
        expires=day + horizon, bucket=bucket,
    )  # fmt: skip
    item = replace(item, wake=next_wake(item, day, overdue_days))
    balance = _move(balance, bucket, fact.amount)
    balance = _record_sale(posting, balance, get, currency, issued, fact.amount, day, horizon)
    key = f"i/{fact.invoice_id}"
    waiting = get(f"w/{fact.invoice_id}")
    if waiting is not None:
        posting.balances[currency] = balance
        posting.rows[key] = item
        _apply_waiting(posting, fact.invoice_id, waiting, get, day, overdue_days)
        return posting
    posting.balances[currency] = balance
    posting.rows[key] = item
    return posting


def _record_sale(
    posting: Posting, balance: Balance, get: Get, currency: str, issued: int, amount: Decimal, day: int, horizon: int
) -> Balance:
    """Add to the sales of the day of issue, and to the window if that day is still in it."""
    key = f"s/{currency}/{issued}"
    sales: SalesDay | None = get(key)
    if sales is not None:
        posting.rows[key] = replace(sales, amount=sales.amount + amount)
        in_window = sales.in_window
    else:
        in_window = issued > day - WINDOW_DAYS
        wake = max(issued + (WINDOW_DAYS if in_window else horizon), day + 1)
        posting.rows[key] = SalesDay(amount=amount, wake=wake, in_window=in_window)
    return replace(balance, sales_90d=balance.sales_90d + amount) if in_window else balance


def _apply_waiting(posting: Posting, invoice_id: str, waiting: PendingAllocations, get: Get, day: int, overdue_days: int) -> None:
    key, item_row = f"i/{invoice_id}", None
    for payment_id, amount, currency in waiting.parts:
        item_row = posting.rows[key]
        if currency != item_row.currency:
            continue  # it stays unapplied: money in one currency settles no invoice in another
        applied, payment_key = min(amount, item_row.open), f"p/{payment_id}"
        payment: Payment | None = (posting.rows.get(payment_key) or get(payment_key)) if payment_id else None
        if payment is not None:
            applied = min(applied, payment.unapplied)  # it may have come back while it waited
            posting.rows[payment_key] = replace(
                payment, unapplied=payment.unapplied - applied, allocations=(*payment.allocations, (invoice_id, applied))
            )
            item_row = replace(item_row, paid=item_row.paid + applied)
        elif not payment_id:
            item_row = replace(item_row, credited=item_row.credited + applied)
        else:
            continue  # forgotten: older than the horizon
        balance = posting.balances[currency]
        balance = replace(balance, unapplied=balance.unapplied - applied)
        posting.rows[key], posting.balances[currency] = with_open(item_row, item_row.open - applied, balance, day, overdue_days)
    posting.rows[f"w/{invoice_id}"] = None


def refused(allocations: Sequence[Allocation], currency: str, get: Get) -> Rejection | None:
    """Money in one currency settles no invoice in another, and not everything can wait for one: a person must sort it out."""
    for allocation in allocations:
        item: Item | None = get(f"i/{allocation.invoice_id}")
        if item is None and len((get(f"w/{allocation.invoice_id}") or _NOTHING_WAITS).parts) >= MOST_WAITING:
            return Rejection(
                f"{MOST_WAITING} payments wait for invoice {allocation.invoice_id}, which is not known: send the invoice first",
                "allocations",
            )
        if item is not None and item.currency != currency:
            return Rejection(
                f"invoice {allocation.invoice_id} is in {item.currency}, the money in {currency}: "
                "send the payment in the invoice's currency, or without the allocation",
                "allocations",
            )
    return None


def receive_payment(
    fact: PaymentReceived, content: str, balances: dict[str, Balance], get: Get, day: int, overdue_days: int, horizon: int
) -> Posting:
    """Allocate a payment; what finds no open invoice is unapplied cash, and waits where its invoice is not known yet."""
    posting = Posting(dict(balances))
    posting.balances.setdefault(fact.currency, Balance())
    applied: list[tuple[str, Decimal]] = []
    left = fact.amount
    for allocation in fact.allocations:
        done = _allocate(posting, allocation, fact.currency, fact.payment_id, get, day, overdue_days, is_credit=False)
        if done:
            applied.append((allocation.invoice_id, done))
            left -= done
    if left:
        balance = posting.balances[fact.currency]
        posting.balances[fact.currency] = replace(balance, unapplied=balance.unapplied + left)
    posting.rows[f"p/{fact.payment_id}"] = Payment(
        content=content,
        amount=fact.amount,
        currency=fact.currency,
        unapplied=left,
        allocations=tuple(applied),
        wake=day + horizon,
    )
    return posting


def issue_credit_note(fact: CreditNoteIssued, balances: dict[str, Balance], get: Get, day: int, overdue_days: int) -> Posting:
    """Settle invoices by a credit note. Its unallocated rest lowers the open amount; what finds nothing open is unapplied."""
    posting = Posting(dict(balances))
    posting.balances.setdefault(fact.currency, Balance())
    unallocated, unapplied = fact.amount, ZERO
    for allocation in fact.allocations:
        unallocated -= allocation.amount
        unapplied += allocation.amount
        unapplied -= _allocate(posting, allocation, fact.currency, "", get, day, overdue_days, is_credit=True)
    balance = posting.balances[fact.currency]
    posting.balances[fact.currency] = replace(
        balance, credit=balance.credit + unallocated, unapplied=balance.unapplied + unapplied
    )
    return posting


def _allocate(
    posting: Posting,
    allocation: Allocation,
    currency: str,
    payment_id: str,
    get: Get,
    day: int,
    overdue_days: int,
    *,
    is_credit: bool,
) -> Decimal:
    """Settle one invoice as far as it is open; returns what was used."""
    key = f"i/{allocation.invoice_id}"
    item: Item | None = posting.rows.get(key) or get(key)
    if item is None:
        waiting_key = f"w/{allocation.invoice_id}"
        waiting: PendingAllocations = posting.rows.get(waiting_key) or get(waiting_key) or PendingAllocations(())
        posting.rows[waiting_key] = PendingAllocations(_waiting_with(waiting.parts, payment_id, allocation.amount, currency))
        return ZERO
    if item.closed == "written_off":
        # Money on a claim that was given up settles nothing that is open: a recovery.
        applied = min(allocation.amount, item.amount - item.paid - item.credited)
        posting.rows[key] = replace(item, paid=item.paid + applied)
        return applied
    applied = min(allocation.amount, item.open)
    if applied:
        item = replace(item, credited=item.credited + applied) if is_credit else replace(item, paid=item.paid + applied)
        posting.rows[key], posting.balances[currency] = with_open(
            item, item.open - applied, posting.balances[currency], day, overdue_days
        )
    return applied


def _waiting_with(
    parts: tuple[tuple[str, Decimal, str], ...], payment_id: str, amount: Decimal, currency: str
) -> tuple[tuple[str, Decimal, str], ...]:
    """One more part; what one payment says of one invoice is one part.

    >>> _waiting_with((("p", Decimal(3), "EUR"),), "p", Decimal(4), "EUR")
    (('p', Decimal('7'), 'EUR'),)
    """
    if parts and parts[-1][0] == payment_id and parts[-1][2] == currency:
        return (*parts[:-1], (payment_id, parts[-1][1] + amount, currency))
    return (*parts, (payment_id, amount, currency))


def return_payment(
    fact: PaymentReturned, balances: dict[str, Balance], get: Get, day: int, overdue_days: int
) -> Posting | Rejection:
    """Undo a payment: its unapplied rest first, then its allocations, the last first; invoices open again."""
    key = f"p/{fact.payment_id}"
    payment: Payment | None = get(key)
    if payment is None:
        return Rejection(f"payment {fact.payment_id}, which came back, is not known: send the payment first", "payment_id")
    if fact.currency != payment.currency:
        return Rejection(f"payment {fact.payment_id} was in {payment.currency}, not {fact.currency}", "currency")
    if fact.amount > payment.amount - payment.returned:
        rest = payment.amount - payment.returned
        return Rejection(f"{fact.amount} came back of payment {fact.payment_id}, of which only {rest} is left", "amount")
    posting = Posting(dict(balances))
    currency, left = payment.currency, fact.amount
    from_cash = min(left, payment.unapplied)
    left -= from_cash
    kept = list(payment.allocations)
    while left:
        invoice_id, amount = kept.pop()
        undone = min(left, amount)
        left -= undone
        if undone < amount:
            kept.append((invoice_id, amount - undone))
        from_cash += _reopen(posting, invoice_id, undone, get, day, overdue_days)
    balance = posting.balances[currency]
    posting.balances[currency] = replace(balance, unapplied=balance.unapplied - from_cash)
    posting.rows[key] = replace(
        payment,
        unapplied=payment.unapplied - min(fact.amount, payment.unapplied),
        allocations=tuple(kept),
        returned=payment.returned + fact.amount,
    )
    return posting


def _reopen(posting: Posting, invoice_id: str, amount: Decimal, get: Get, day: int, overdue_days: int) -> Decimal:
    """Open an invoice again by ``amount``; returns what must come out of unapplied cash instead (its invoice was cancelled)."""
    key = f"i/{invoice_id}"
    item: Item | None = posting.rows.get(key) or get(key)
    if item is None or item.closed == "cancelled":
        return amount
    if item.closed == "written_off":
        posting.rows[key] = replace(item, paid=item.paid - amount)
        return ZERO
    item = replace(item, paid=item.paid - amount)
    balance = posting.balances[item.currency]
    posting.rows[key], posting.balances[item.currency] = with_open(item, item.open + amount, balance, day, overdue_days)
    return ZERO


def close_invoice(
    invoice_id: str, how: str, balances: dict[str, Balance], get: Get, day: int, overdue_days: int
) -> Posting | Rejection:
    """Cancel an invoice or write it off: nothing of it is open any more; what was paid on a cancelled one is unapplied again."""
    key = f"i/{invoice_id}"
    item: Item | None = get(key)
    if item is None:
        return Rejection(f"invoice {invoice_id} is not known: send it first", "invoice_id")
    if item.closed in ("cancelled", "written_off"):
        return Rejection(f"invoice {invoice_id} is {item.closed.replace('_', ' ')} already", "invoice_id")
    posting = Posting(dict(balances))
    balance = posting.balances[item.currency]
    if how == "cancelled" and item.paid:
        balance = replace(balance, unapplied=balance.unapplied + item.paid)
        item = replace(item, paid=ZERO)
    item = replace(item, closed=how)
    if how == "cancelled":  # a void invoice teaches nothing
        item = replace(item, late=VOID if item.late < 0 else item.late, default=VOID if item.default < 0 else item.default)
    posting.rows[key], posting.balances[item.currency] = with_open(item, ZERO, balance, day, overdue_days)
    return posting


def age_item(item: Item, balance: Balance, day: int, overdue_days: int) -> tuple[Item, Balance]:
    """Move an open item into the bucket of ``day`` and count it when it is overdue for as long as an alert wants."""
    if item.open:
        bucket = bucket_of(day - item.due)
        if bucket != item.bucket:
            balance = _move(_move(balance, item.bucket, -item.open), bucket, item.open)
            item = replace(item, bucket=bucket)
        if not item.alerting and day >= item.due + overdue_days:
            balance = replace(balance, overdue_items=balance.overdue_items + 1)
            item = replace(item, alerting=True)
    return item, balance


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


@dataclass(frozen=True, slots=True)
class Dso:
    """Days sales outstanding in four forms, rounded to 0.01; None when there were no sales in the window."""

    standard: Decimal | None
    best_possible: Decimal | None
    average_days_delinquent: Decimal | None
    countback: Decimal | None


_CENT = Decimal("0.01")


def countback(open_amount: Decimal, periods: Iterable[tuple[int, Decimal]]) -> Decimal | None:
    """Walk back: subtract each period's sales, add its days, the last one pro rata. None when the sales never cover the amount.

    ``periods`` are (days, sales), the newest first; a period without sales counts its days. The sample that Oracle prints for
    debtors of 12,000 is wrong: it is 166.33 days (peers.md iii.3).

    >>> countback(Decimal(7500), [(1, Decimal(5000)), (1, Decimal(0)), (1, Decimal(5000))])
    Decimal('2.5')
    """
    left, days = open_amount, Decimal(0)
    if left <= 0:
        return days
    for length, sold in periods:
        if sold >= left:
            return days + length * left / sold
        left -= sold
        days += length
    return None


def dso(
    open_amount: Decimal,
    not_due: Decimal,
    sales_by_day: Callable[[int], Decimal],
    day: int,
    oldest: int,
    window: int = WINDOW_DAYS,
) -> Dso:
    """The four forms at the end of ``day``; the window are the ``window`` days that end with it. Sources: peers.md iii.3.

    standard = open / sales x window; best possible with what is not overdue; average days delinquent = their difference;
    countback day by day. ``oldest`` is the first day that has sales, as an ordinal.

    >>> dso(Decimal(15000), Decimal(4000), {100: Decimal(10000)}.get, 100, 100, window=30)  # doctest: +ELLIPSIS
    Dso(standard=Decimal('45.00'), best_possible=Decimal('12.00'), average_days_delinquent=Decimal('33.00'), countback=None)
    """
    sales = sum((sales_by_day(d) or ZERO for d in range(day - window + 1, day + 1)), ZERO)
    if not sales:
        return Dso(None, None, None, None)
    standard, best = open_amount / sales * window, not_due / sales * window
    back = countback(open_amount, ((1, sales_by_day(d) or ZERO) for d in range(day, oldest - 1, -1)))
    return Dso(
        standard.quantize(_CENT),
        best.quantize(_CENT),
        (standard - best).quantize(_CENT),
        None if back is None else back.quantize(_CENT),
    )
