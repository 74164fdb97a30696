"""Frozen values of what a debtor owes. Days are proleptic ordinals (``date.toordinal``); amounts are in the row's currency.

Where an attribute and the field in the stored row have different names, the stored one is given by ``name``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

ZERO = Decimal("0.00")

Closed = Literal["", "settled", "cancelled", "written_off"]


Word = tuple[int, str, int]
"""What was last said of something that can be taken back: value date, recorded time, 1 = taken back. The greatest is in force."""


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """An invoice, open or remembered: the sums of what was said of it. Row key ``i/<invoice_id>``.

    ``credited``: what credit notes state for it; ``paid``: what payments state for it, after returns. ``open`` follows from them.
    ``late`` and ``default`` are the labels, -1 until they mature. ``next_deadline`` is the next day on which something follows
    from the calendar alone, 0 = none. ``counted_overdue``: it is one of ``Balance.overdue_items``. ``expires``: the day on which
    it is forgotten once it is closed; every fact of it postpones that day.
    """

    content: str
    amount: Decimal
    currency: str
    issued: int
    due: int
    open: Decimal
    expires: int
    paid: Decimal = ZERO
    credited: Decimal = ZERO
    closed: Closed = ""
    closed_on: int = 0
    bucket: int = 0
    counted_overdue: bool = msgspec.field(default=False, name="alerting")
    late: int = -1
    default: int = -1
    defaulted_early: bool = msgspec.field(default=False, name="lost")
    """Written off, or open when the debtor became insolvent: a default, whatever is paid later; learned when it matures."""
    disputes: tuple[str, ...] = ()
    next_deadline: int = msgspec.field(default=0, name="wake")
    void_word: Word | None = None
    """The last cancellation or reinstatement."""
    loss_word: Word | None = None
    """The last write-off or reversal of one."""
    due_word: tuple[int, str] | None = None
    """Value date and recorded time of the amendment that gave the due day."""
    recovered: Decimal = ZERO
    """What came in after the write-off."""
    shared: tuple[str, ...] = ()
    """Payments that came back, at least in part, and name this invoice: how they split depends on its amount."""


class Payment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A payment and what it states: per invoice, in the order of first mention. Row key ``p/<payment_id>``.

    ``unapplied``: its rest, after returns. ``named``: what its returns name, per invoice.
    """

    content: str
    amount: Decimal
    currency: str
    unapplied: Decimal
    allocations: tuple[tuple[str, Decimal], ...]
    next_deadline: int = msgspec.field(name="wake")
    returned: Decimal = ZERO
    named: tuple[tuple[str, Decimal], ...] = ()
    list_word: tuple[int, str] | None = None
    """Value date and recorded time of the list of allocations in force, where it replaced the first one."""


class CreditNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """A credit note and what it states, per invoice. Row key ``c/<credit_note_id>``."""

    content: str
    amount: Decimal
    currency: str
    allocations: tuple[tuple[str, Decimal], ...]
    next_deadline: int = msgspec.field(name="wake")
    is_void: bool = False
    list_word: tuple[int, str] | None = None


class PendingAllocations(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is stated for an invoice that is not known yet, by currency; all of it is unapplied. Row key ``w/<invoice_id>``.

    ``parts``: rows of version 2 list payments (payment id, "" for a credit; amount; currency), which do not state them yet.
    """

    parts: tuple[tuple[str, Decimal, str], ...] = ()
    paid: dict[str, Decimal] = {}
    credited: dict[str, Decimal] = {}
    shared: tuple[str, ...] = ()


class PostponedFact(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fact that counts from a later day on: its type and body as they came. Row key ``d/`` and the key of its own row."""

    content: str
    type: str
    data: str
    recorded: str
    next_deadline: int = msgspec.field(name="wake")


class SalesDay(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was invoiced on one day. Row key ``s/<currency>/<day>``.

    Its deadlines: it leaves the window of 90 days, and later it is forgotten.
    """

    amount: Decimal
    next_deadline: int = msgspec.field(name="wake")
    in_window: bool = True


class SeenMarker(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fact was applied: row key ``n/<what>/<id>``, the hash of its content, and as a deadline the day to forget it."""

    content: str
    next_deadline: int = msgspec.field(name="wake")


NO_BUCKETS = (ZERO, ZERO, ZERO, ZERO, ZERO)


class Balance(msgspec.Struct, frozen=True, omit_defaults=True):
    """Running sums of one currency, as of the last deadline that fired.

    ``buckets``: open parts of invoices not due, 1-30, 31-60, 61-90 and over 90 days past due; ``disputed``: those among them that
    are in open dispute. ``unapplied``: rests of payments, unallocated credit, and what is too much on invoices. ``sales_90d``:
    invoiced in the last 90 days, less what was cancelled or credited. ``overdue_items``, ``overdue_sum``: invoices that are
    overdue for as long as the policy's alert wants, beyond its tolerance and undisputed. ``credit``: rows of version 2 only.
    """

    buckets: tuple[Decimal, Decimal, Decimal, Decimal, Decimal] = NO_BUCKETS
    unapplied: Decimal = ZERO
    credit: Decimal = ZERO
    sales_90d: Decimal = ZERO
    overdue_items: int = 0
    disputed: tuple[Decimal, Decimal, Decimal, Decimal, Decimal] = NO_BUCKETS
    overdue_sum: Decimal = ZERO

    @property
    def open_amount(self) -> Decimal:
        """The invoices' open parts, never below zero."""
        a, b, c, d, e = self.buckets
        return a + b + c + d + e

    @property
    def overdue(self) -> Decimal:
        """Open parts of invoices past their due day, gross."""
        _, b, c, d, e = self.buckets
        return b + c + d + e

    @property
    def disputed_amount(self) -> Decimal:
        """Open parts of invoices in open dispute."""
        a, b, c, d, e = self.disputed
        return a + b + c + d + e

    @property
    def overdue_net(self) -> Decimal:
        """What is overdue beyond dispute and not covered by unapplied cash, which covers the oldest due first."""
        _, b, c, d, e = self.disputed
        return max(ZERO, self.overdue - (b + c + d + e) - self.unapplied)

    @property
    def late_items(self) -> int:
        """The items that an overdue alert counts: none where unapplied cash covers all of them."""
        return self.overdue_items if self.overdue_sum > self.unapplied else 0

    @property
    def exposure(self) -> Decimal:
        """Open parts less unapplied cash and credit."""
        return self.open_amount - self.unapplied
