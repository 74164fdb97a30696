"""How sums of facts become open amounts and balances. Pure: it reads a ``LedgerView``, and what it changes is a ``Posting``.

Amounts are functions of the set of facts, never of their order. Per invoice: its amount (0 while cancelled), what credit notes
state, what payments state after returns; open = what is left of it, surplus = what is too much. Per payment: what it states, at
most the amount of an invoice that is known; its rest; what came back takes the rest first, then what the return names, then the
last allocation first. Unapplied = rests + unallocated credit + surpluses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec.structs import replace

from agents.debtor.keys import item_key, payment_key, pending_key, sales_key
from agents.debtor.payments.state import ZERO, Balance, CreditNote, Item, Payment, PendingAllocations, SalesDay

Get = Callable[[str], Any]
"""Row key -> row or None."""
Parts = tuple[tuple[str, Decimal], ...]
"""(invoice, amount), in the order of first mention."""

WINDOW_DAYS = 90
"""The trailing window of the sales."""
DEFAULT_DAY = 91
"""Days after the due day on whose morning 90 days past due are over: the label *default* matures (CRR Art. 178)."""
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
    tolerance: Callable[[Item], Decimal] = lambda _: ZERO
    """How much of an invoice may stay open without anybody being late: bank charges, rounding."""


@dataclass(slots=True)
class Posting:
    """What one fact changes in a ledger: the balances of all currencies, and rows by their keys (None = delete)."""

    ledger: LedgerView
    balances: dict[str, Balance]
    rows: dict[str, Any] = field(default_factory=dict)

    def get(self, row_key: str) -> Any:
        """A row as it is by now, or None."""
        return self.rows[row_key] if row_key in self.rows else self.ledger.get(row_key)

    def add_unapplied(self, currency: str, amount: Decimal) -> None:
        """Change the unapplied cash of a currency."""
        balance = self.balances[currency]
        self.balances[currency] = replace(balance, unapplied=balance.unapplied + amount)

    def put_item(self, invoice_id: str, before: Item | None, after: Item) -> None:
        """Replace an invoice whose sums have changed: its open part follows, and the balance of its currency moves along."""
        ledger = self.ledger
        after = settle(after, ledger.day, ledger.horizon_days)
        after, balance = move_item(before, after, self.balances[after.currency], ledger)
        self.balances[after.currency] = balance
        self.rows[item_key(invoice_id)] = after
        change = net_sale(after) - (net_sale(before) if before is not None else ZERO)
        if change or before is None:
            self._record_sale(after.currency, after.issued, change)

    def _record_sale(self, currency: str, issue_day: int, change: Decimal) -> None:
        """Change the sales of the day of issue, and those of the window if that day is still in it."""
        key, ledger = sales_key(currency, issue_day), self.ledger
        sales: SalesDay | None = self.get(key)
        if sales is not None:
            self.rows[key] = replace(sales, amount=sales.amount + change)
            in_window = sales.in_window
        else:
            in_window = issue_day > ledger.day - WINDOW_DAYS
            deadline = max(issue_day + (WINDOW_DAYS if in_window else ledger.horizon_days), ledger.day + 1)
            self.rows[key] = SalesDay(amount=change, next_deadline=deadline, in_window=in_window)
        if in_window:
            balance = self.balances[currency]
            self.balances[currency] = replace(balance, sales_90d=balance.sales_90d + change)


def posting_in(ledger: LedgerView, currency: str) -> Posting:
    """A posting of a fact in ``currency``, of which there may be no balance yet."""
    posting = Posting(ledger, dict(ledger.balances))
    posting.balances.setdefault(currency, Balance())
    return posting


# -- one invoice
def is_void(item: Item) -> bool:
    """Whether the last word is a cancellation."""
    return item.closed == "cancelled"


def surplus(item: Item) -> Decimal:
    """What payments and credit notes state beyond the invoice's amount: unapplied. All of it where the invoice is cancelled.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=ZERO, expires=500, paid=Decimal(4), credited=Decimal(3))
    >>> surplus(item), surplus(replace(item, closed="cancelled"))
    (Decimal('2'), Decimal('7'))
    """
    stated = item.credited + item.paid
    if item.closed == "cancelled":
        return stated
    return stated - item.amount if stated > item.amount else ZERO


def net_sale(item: Item) -> Decimal:
    """The invoice's turnover: its amount less what was credited, nothing where it is cancelled.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=ZERO, expires=500, credited=Decimal(3))
    >>> net_sale(item), net_sale(replace(item, credited=Decimal(9))), net_sale(replace(item, closed="cancelled"))
    (Decimal('2'), Decimal('0'), Decimal('0.00'))
    """
    if item.closed == "cancelled":
        return ZERO
    return item.amount - min(item.credited, item.amount)


def loss(item: Item) -> Decimal:
    """What a written-off invoice has cost: its unpaid rest less what was recovered; nothing of any other.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=ZERO, expires=500, paid=Decimal(2), closed="written_off")
    >>> loss(item), loss(replace(item, recovered=Decimal(1))), loss(replace(item, closed=""))
    (Decimal('3.00'), Decimal('2.00'), Decimal('0.00'))
    """
    if item.closed != "written_off":
        return ZERO
    return max(ZERO, item.amount - item.credited - item.paid - item.recovered)


def settle(item: Item, day: int, horizon_days: int) -> Item:
    """The invoice with its open part and what it is closed by, as its sums and last words say.

    >>> item = Item("", Decimal(5), "EUR", issued=100, due=130, open=Decimal(5), expires=500, paid=Decimal(5))
    >>> settled = settle(item, 120, horizon_days=400)
    >>> settled.open, settled.closed, settled.closed_on, settled.expires
    (Decimal('0.00'), 'settled', 120, 520)
    >>> settle(replace(settled, paid=Decimal(3)), 140, horizon_days=400).closed
    ''
    """
    if item.void_word is not None and not item.void_word[2]:
        open_amount, closed = ZERO, "cancelled"
    elif item.loss_word is not None and not item.loss_word[2]:
        open_amount, closed = ZERO, "written_off"
    else:
        rest = item.amount - item.credited - item.paid
        open_amount, closed = (rest, "") if rest > 0 else (ZERO, "settled")
    closed_on = 0 if not closed else item.closed_on if closed == item.closed and item.closed_on else day
    return replace(item, open=open_amount, closed=closed, closed_on=closed_on, expires=day + horizon_days)


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
        first = due + 1
    elif item.default >= 0 and not item.open:
        first = item.expires
    if item.default < 0 and (not first or due + DEFAULT_DAY < first):
        first = due + DEFAULT_DAY
    if item.open:
        if item.bucket < 4 and (not first or due + BUCKET_STARTS[item.bucket] < first):
            first = due + BUCKET_STARTS[item.bucket]
        if not item.counted_overdue and after < due + overdue_days and (not first or due + overdue_days < first):
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


def _counts_overdue(item: Item, ledger: LedgerView) -> bool:
    """Whether an alert counts it: late enough, undisputed, beyond the tolerance."""
    return (
        bool(item.open)
        and ledger.day >= item.due + ledger.overdue_days
        and not item.disputes
        and item.open > ledger.tolerance(item)
    )


def move_item(before: Item | None, after: Item, balance: Balance, ledger: LedgerView) -> tuple[Item, Balance]:
    """The item in its bucket as of today, and the balance in which it replaces ``before``."""
    bucket = bucket_of(ledger.day - after.due) if after.open else after.bucket
    after = replace(after, bucket=bucket, counted_overdue=_counts_overdue(after, ledger))
    if before is None:
        buckets = _moved(balance.buckets, bucket, ZERO, bucket, after.open)
        changes: dict[str, Any] = {"buckets": buckets, "unapplied": balance.unapplied + surplus(after)}
    else:
        changes = {"buckets": _moved(balance.buckets, before.bucket, before.open, bucket, after.open)}
        change = surplus(after) - surplus(before)
        if change:
            changes["unapplied"] = balance.unapplied + change
    was_counted, open_before = (before.counted_overdue, before.open) if before is not None else (False, ZERO)
    if was_counted or after.counted_overdue:
        changes["overdue_items"] = balance.overdue_items + after.counted_overdue - was_counted
        changes["overdue_sum"] = (
            balance.overdue_sum + (after.open if after.counted_overdue else ZERO) - (open_before if was_counted else ZERO)
        )
    if after.disputes or (before is not None and before.disputes):
        part_before = open_before if before is not None and before.disputes else ZERO
        part_after = after.open if after.disputes else ZERO
        changes["disputed"] = _moved(
            balance.disputed, before.bucket if before is not None else bucket, part_before, bucket, part_after
        )
    return with_next_deadline(after, ledger.day, ledger.overdue_days), replace(balance, **changes)


def _moved(sums: tuple[Decimal, ...], source: int, removed: Decimal, target: int, added: Decimal) -> tuple[Decimal, ...]:
    changed = list(sums)
    changed[source] -= removed
    changed[target] += added
    return tuple(changed)


# -- payments and credit notes
def merge_parts(allocations: Iterable[tuple[str, Decimal]]) -> Parts:
    """What is stated per invoice, in the order of first mention.

    >>> merge_parts([("I-1", Decimal(2)), ("I-2", Decimal(1)), ("I-1", Decimal(3))])
    (('I-1', Decimal('5')), ('I-2', Decimal('1')))
    """
    sums: dict[str, Decimal] = {}
    for invoice_id, amount in allocations:
        sums[invoice_id] = sums.get(invoice_id, ZERO) + amount if invoice_id in sums else amount
    return tuple(sums.items())


def split(payment: Payment, size_of: Callable[[str], Decimal | None]) -> tuple[Parts, Decimal]:
    """What a payment settles of each invoice after its returns, and its rest.

    ``size_of``: an invoice's amount, 0 while it is cancelled, None where it is not known. As long as nothing came back, nothing
    depends on it: what is stated beyond an invoice's amount is unapplied either way.

    >>> payment = Payment("", Decimal(10), "EUR", ZERO, (("I-1", Decimal(6)), ("I-2", Decimal(4))), next_deadline=0)
    >>> split(payment, {"I-1": Decimal(6)}.get)
    ((('I-1', Decimal('6')), ('I-2', Decimal('4'))), Decimal('0.00'))
    >>> split(replace(payment, returned=Decimal(5)), {"I-1": Decimal(6)}.get)
    ((('I-1', Decimal('5.00')), ('I-2', Decimal('0.00'))), Decimal('0.00'))
    >>> split(replace(payment, returned=Decimal(5), named=(("I-1", Decimal(5)),)), {"I-1": Decimal(6)}.get)
    ((('I-1', Decimal('1.00')), ('I-2', Decimal('4.00'))), Decimal('0.00'))
    """
    if not payment.returned:
        return payment.allocations, payment.amount - sum((part for _, part in payment.allocations), ZERO)
    parts = {i: part if (size := size_of(i)) is None else min(part, size) for i, part in payment.allocations}
    rest, back = payment.amount - sum(parts.values(), ZERO), payment.returned
    from_rest = min(rest, back)
    rest, back = rest - from_rest, back - from_rest
    for limits in (dict(payment.named), dict(parts)):
        for invoice_id in reversed(parts):
            undone = min(parts[invoice_id], limits.get(invoice_id, ZERO), back)
            parts[invoice_id], back = parts[invoice_id] - undone, back - undone
    return tuple(parts.items()), rest


def size_in(posting: Posting, currency: str) -> Callable[[str], Decimal | None]:
    """An invoice's amount as ``split`` wants it, for money in ``currency``."""

    def size_of(invoice_id: str) -> Decimal | None:
        item: Item | None = posting.get(item_key(invoice_id))
        if item is None or item.currency != currency:
            return None
        return ZERO if is_void(item) else item.amount

    return size_of


def post_payment(posting: Posting, payment_id: str, payment: Payment, before: tuple[Parts, Decimal] | None) -> None:
    """Write a payment whose list, returns or invoices have changed; ``before``: how it split until now, None where it is new."""
    parts, rest = split(payment, size_in(posting, payment.currency))
    old_parts, old_rest = before if before is not None else ((), ZERO)
    old = dict(old_parts)
    for invoice_id, part in parts:
        post_part(posting, invoice_id, payment.currency, part - old.pop(invoice_id, ZERO), "paid")
    for invoice_id, part in old.items():
        post_part(posting, invoice_id, payment.currency, -part, "paid")
    if rest != old_rest:
        posting.add_unapplied(payment.currency, rest - old_rest)
    posting.rows[payment_key(payment_id)] = replace(payment, unapplied=rest)
    if payment.returned:
        for invoice_id, _ in parts:
            _share(posting, invoice_id, payment_id)


def _share(posting: Posting, invoice_id: str, payment_id: str) -> None:
    """Remember with an invoice that the split of a payment depends on its amount."""
    key = item_key(invoice_id)
    row: Item | PendingAllocations | None = posting.get(key)
    if row is None:
        key = pending_key(invoice_id)
        row = posting.get(key) or PendingAllocations()
    if payment_id not in row.shared:
        posting.rows[key] = replace(row, shared=(*row.shared, payment_id))


def post_part(posting: Posting, invoice_id: str, currency: str, change: Decimal, sort: str) -> None:
    """Change what is ``paid`` or ``credited`` for an invoice; of one that is not known (in this currency) it is unapplied."""
    if not change:
        return
    item: Item | None = posting.get(item_key(invoice_id))
    if item is not None and item.currency == currency:
        amount = (item.paid if sort == "paid" else item.credited) + change
        posting.put_item(invoice_id, item, replace(item, **{sort: amount}))
        return
    key = pending_key(invoice_id)
    pending: PendingAllocations = posting.get(key) or PendingAllocations()
    sums = dict(pending.paid if sort == "paid" else pending.credited)
    sums[currency] = sums.get(currency, ZERO) + change
    if not sums[currency]:
        del sums[currency]  # such rows have no deadline: what is empty must go at once
    pending = replace(pending, **{sort: sums})
    posting.rows[key] = pending if pending != PendingAllocations() else None
    posting.add_unapplied(currency, change)


def splits_of(posting: Posting, payment_ids: Iterable[str]) -> dict[str, tuple[Payment, tuple[Parts, Decimal]]]:
    """How payments split before an invoice that they share changes its amount."""
    splits = {}
    for payment_id in payment_ids:
        payment: Payment | None = posting.get(payment_key(payment_id))
        if payment is not None and payment.returned:
            splits[payment_id] = (payment, split(payment, size_in(posting, payment.currency)))
    return splits


def split_anew(posting: Posting, splits: Mapping[str, tuple[Payment, tuple[Parts, Decimal]]]) -> None:
    """Post what a changed invoice means for the payments that share it."""
    for payment_id, (payment, before) in splits.items():
        post_payment(posting, payment_id, payment, before)


def parts_of(note: CreditNote) -> tuple[Parts, Decimal]:
    """What a credit note settles of each invoice, and its unallocated rest; nothing where it is void."""
    if note.is_void:
        return (), ZERO
    return note.allocations, note.amount - sum((part for _, part in note.allocations), ZERO)
