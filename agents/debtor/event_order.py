"""The order of events within a step of a replay (D3), so that a replay, a backtest and two years of living decide alike.

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

_RANK: dict[type, int] = {CustomerUpdated: 0, InvoiceIssued: 1, PaymentReceived: 2}
OTHERS = 3


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


def order_key(arrived: Received, zone: str) -> tuple[Any, ...]:
    """Sorts the events of one step. What is neither master data, invoice nor payment keeps the order in which it was recorded."""
    event = arrived.event
    rank = _RANK.get(type(event.data), OTHERS)
    day = local_day(event.recorded, zone)
    return (day, rank, event.recorded.isoformat() if rank == OTHERS else "", event.content)
