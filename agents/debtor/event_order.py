"""The order of events within a step of a replay, so that a replay, a backtest and two years of living decide alike.

See "The order of a replay" in ``streams/engine/README.md``.

Day of ``recordedtime``; then master data (an invoice is scored with the group it belongs to), invoices, payments, the rest;
then a hash of the content (id, amount, due date and all), never the file's order or an id's size: they may tell the outcome.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from agents.brain import Received
from schemas.events.customers import CustomerUpdated
from schemas.events.payments import InvoiceIssued, PaymentReceived

_RANKS: dict[type, int] = {CustomerUpdated: 0, InvoiceIssued: 1, PaymentReceived: 2}
_LAST_RANK = 3


@lru_cache(maxsize=8)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def local_day(at: datetime, zone: str) -> int:
    """The ordinal of the creditor's day at an instant.

    >>> from datetime import UTC, date
    >>> date.fromordinal(local_day(datetime(2026, 3, 31, 23, 30, tzinfo=UTC), "Europe/Berlin")).isoformat()
    '2026-04-01'
    """
    return at.toordinal() if zone == "UTC" else at.astimezone(_zone(zone)).toordinal()


def order_key(received: Received, zone: str) -> tuple[Any, ...]:
    """Sorts the events of one step. What is neither master data, invoice nor payment keeps the order in which it was recorded.

    >>> from datetime import UTC
    >>> from schemas.events.envelope import Event
    >>> at, body = datetime(2026, 3, 31, 23, 30, tzinfo=UTC), CustomerUpdated(customer_id="C-1", name="Muster GmbH")
    >>> event = Event("e-1", "duewatch.customer.updated.v1", "erp", at, at, body, content="hash of the content")
    >>> order_key(Received("customers", 0, 7, event), "Europe/Berlin")
    (739707, 0, '', 'hash of the content')
    """
    event = received.event
    rank = _RANKS.get(type(event.data), _LAST_RANK)
    day = local_day(event.recorded, zone)
    return (day, rank, event.recorded.isoformat() if rank == _LAST_RANK else "", event.content)
