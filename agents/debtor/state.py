"""The rows of a debtor: what they are, and how they are written. One header, and a row of its own for whatever grows in number.

Values are JSON that a person can read; floats round-trip exactly.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from agents.debtor.alerts.state import Alert
from agents.debtor.bank.state import Bank
from agents.debtor.insolvency.state import Insolvency
from agents.debtor.keys import SCORE
from agents.debtor.limits.state import Limit
from agents.debtor.payments.state import Balance, Item, Payment, PendingAllocations, SalesDay, SeenMarker
from agents.debtor.scoring.state import Cell, Features, LastScore, ScoreState

ROW_VERSION = 2
"""Written into each header; a later version reads what an earlier one wrote. 1: the header held what the row ``SCORE`` holds."""


class Master(msgspec.Struct, frozen=True, omit_defaults=True):
    """Master data that decisions look at, a hash of the whole record, and when it was recorded (RFC 3339)."""

    content: str = ""
    recorded: str = ""
    group: str | None = None
    country: str | None = None
    segment: str | None = None
    terms_days: int = 0
    """Usual days to pay; 0 = not told."""


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is known of a debtor and does not grow with its invoices. ``wake``: the next day it needs a look, 0 = none."""

    version: int = 1
    seen: int = 0
    """The first day."""
    oldest_sale: int = 0
    master: Master = Master()
    balances: dict[str, Balance] = {}
    bank: Bank = Bank()
    insolvency: Insolvency = Insolvency()
    last: LastScore | None = None
    limit: Limit = Limit()
    alerts: dict[str, Alert] = {}
    overdue_ids: tuple[str, ...] = ()
    """The invoices that made the last overdue alert, as evidence; at most three."""
    wake: int = 0
    score: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Of version 1 only."""


class Opened(msgspec.Struct, frozen=True):
    """Since which ``day`` (ordinal) the debtors of a partition get their limits under this action and generation."""

    action: str
    generation: int
    live: bool
    day: int


Row = Header | ScoreState | Item | Payment | PendingAllocations | SalesDay | Features | Cell | SeenMarker

_KINDS: dict[str, type] = {
    "": Header, SCORE: ScoreState, "i": Item, "p": Payment, "w": PendingAllocations, "s": SalesDay, "f": Features,
    "x": Cell, "n": SeenMarker,
}  # fmt: skip
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(row) for kind, row in _KINDS.items()}
_ENCODER = msgspec.json.Encoder(decimal_format="string")


class _Limit(msgspec.Struct, frozen=True):
    action: str = ""
    generation: int = 0


class _HeaderLimit(msgspec.Struct, frozen=True):
    limit: _Limit = _Limit()


_read_limit = msgspec.json.Decoder(_HeaderLimit).decode
read_opened = msgspec.json.Decoder(Opened).decode
"""The row ``Opened`` from JSON."""


def opening_of(header: bytes) -> tuple[str, int]:
    """Action and generation of the limit in a header, without reading the rest of it."""
    limit = _read_limit(header).limit
    return limit.action, limit.generation


def encode(row: Row | Opened) -> bytes:
    """A row as JSON."""
    return _ENCODER.encode(row)


def decode(row_key: str, value: bytes) -> Row:
    """A row from JSON. Raises msgspec.DecodeError where it is none, KeyError for an unknown kind of row."""
    row: Row = _DECODERS[row_key[:1]].decode(value)
    return row


class _First(msgspec.Struct, frozen=True):
    last: LastScore | None = None


_read_first = msgspec.json.Decoder(_First).decode


def upgraded(header: Header) -> tuple[Header, ScoreState]:
    """A header of an earlier version as this one writes it, and what the score had learned."""
    written = header.score or b"{}"
    now = replace(header, version=ROW_VERSION, last=_read_first(written).last, score=msgspec.UNSET)
    return now, _DECODERS[SCORE].decode(written)
