"""Frozen values of what a debtor owes. Days are proleptic ordinals (``date.toordinal``); amounts are in the row's currency.

Where an attribute and the field in the stored row have different names, the stored one is given by ``name``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

ZERO = Decimal("0.00")

Closed = Literal["", "settled", "cancelled", "written_off"]


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """An invoice, open or remembered. Row key ``i/<invoice_id>``.

    amount = open + paid + credited while it is neither cancelled nor written off. ``late`` and ``default`` are the labels,
    -1 until they mature. ``next_deadline`` is the next day on which something follows from the calendar alone, 0 = none.
    ``counted_overdue``: it is one of ``Balance.overdue_items``. ``expires``: the day on which it is forgotten once it is closed.
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


class Payment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A payment and where it went, so that it can be undone. Row key ``p/<payment_id>``."""

    content: str
    amount: Decimal
    currency: str
    unapplied: Decimal
    allocations: tuple[tuple[str, Decimal], ...]
    next_deadline: int = msgspec.field(name="wake")
    returned: Decimal = ZERO


class PendingAllocations(msgspec.Struct, frozen=True, omit_defaults=True):
    """Money for an invoice that is not known yet. Row key ``w/<invoice_id>``; (payment id, "" for a credit; amount; currency)."""

    parts: tuple[tuple[str, Decimal, str], ...]


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


class Balance(msgspec.Struct, frozen=True, omit_defaults=True):
    """Running sums of one currency, as of the last deadline that fired.

    ``buckets``: open invoices not due, 1-30, 31-60, 61-90 and over 90 days past due. ``credit``: credit notes that belong to no
    invoice. ``sales_90d``: invoiced in the last 90 days. ``overdue_items``: invoices that are overdue for as long as the policy's
    alert wants.
    """

    buckets: tuple[Decimal, Decimal, Decimal, Decimal, Decimal] = (ZERO, ZERO, ZERO, ZERO, ZERO)
    unapplied: Decimal = ZERO
    credit: Decimal = ZERO
    sales_90d: Decimal = ZERO
    overdue_items: int = 0

    @property
    def open_amount(self) -> Decimal:
        """Open invoices less credit notes."""
        a, b, c, d, e = self.buckets
        return a + b + c + d + e - self.credit

    @property
    def overdue(self) -> Decimal:
        """Open invoices past their due day."""
        _, b, c, d, e = self.buckets
        return b + c + d + e

    @property
    def exposure(self) -> Decimal:
        """Open invoices - unapplied cash - credit notes."""
        return self.open_amount - self.unapplied
