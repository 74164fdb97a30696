"""The order of events within a step of a replay, so that a replay, a backtest and two years of living decide alike.

Day of ``recordedtime``; then master data (an invoice is scored with the group it belongs to), invoices, payments, the rest: what
a day's payments tell is not known to the invoices of that day, for bank statements come in the evening. Then a hash of the
content (id, amount, due date and all), never the file's order or an id's size: they may tell the outcome. See
streams/engine/README.md, "The order of a replay".
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from agents.brain import Received

_RANKS = {"duewatch.customer.updated.v1": 0, "duewatch.invoice.issued.v1": 1, "duewatch.payment.received.v1": 2}
OTHER_RANK = 3
"""What is neither master data, invoice nor payment; such events keep the order in which they were recorded."""


def rank_of(event_type: str) -> int:
    """The place of an event's kind within its day: what ranks lower comes first.

    >>> rank_of("duewatch.invoice.issued.v1") < rank_of("duewatch.payment.received.v1") < rank_of("duewatch.dunning.sent.v1")
    True
    """
    return _RANKS.get(event_type, OTHER_RANK)


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
    """Sorts the events of one step."""
    event = received.event
    rank = _RANKS.get(event.type, OTHER_RANK)
    day = local_day(event.recorded, zone)
    return (day, rank, event.recorded.isoformat() if rank == OTHER_RANK else "", event.content)
