"""The rows of a debtor: what they are, and how they are written. One header, and a row of its own for whatever grows in number.

Row keys: ``""`` the header · ``m`` what the score has learned · ``i/<invoice>`` item · ``p/<payment>`` payment ·
``w/<invoice>`` money that waits for its invoice · ``s/<currency>/<day>`` sales · ``f/<invoice>`` features at scoring ·
``x/<cell>`` amount cell · ``n/<kind>/<id>`` something seen.
In the state topic the key is customer, U+001F, row key. Values are JSON that a person can read; floats round-trip exactly.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from agents.debtor.alerts.state import Alert
from agents.debtor.bank.state import Bank
from agents.debtor.insolvency.state import Insolvency
from agents.debtor.limits.state import Limit
from agents.debtor.payments.state import Balance, Item, Payment, SalesDay, Stub, Waiting
from agents.debtor.scoring.state import Cell, Features, LastScore, ScoreState

ROW_VERSION = 2
"""Written into each header; a later version reads what an earlier one wrote. 1: the header held what the row ``SCORE`` holds."""
SCORE = "m"
"""Key of the row ``ScoreState``: most events neither read nor change it, so they should not have to read and write it."""

SEPARATOR = "\x1f"


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


OPENED = f"{SEPARATOR}opened"
"""Key of the row ``Opened``: the one row of a partition that belongs to no debtor."""

Row = Header | ScoreState | Item | Payment | Waiting | SalesDay | Features | Cell | Stub

_KINDS: dict[str, type] = {
    "": Header, SCORE: ScoreState, "i": Item, "p": Payment, "w": Waiting, "s": SalesDay, "f": Features, "x": Cell, "n": Stub,
}  # fmt: skip
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(row) for kind, row in _KINDS.items()}
_ENCODER = msgspec.json.Encoder(decimal_format="string")


class _Wake(msgspec.Struct, frozen=True):
    wake: int = 0


class _Limit(msgspec.Struct, frozen=True):
    action: str = ""
    generation: int = 0


class _HeaderLimit(msgspec.Struct, frozen=True):
    limit: _Limit = _Limit()


_read_wake = msgspec.json.Decoder(_Wake).decode
_read_limit = msgspec.json.Decoder(_HeaderLimit).decode
read_opened = msgspec.json.Decoder(Opened).decode
"""The row ``Opened`` from JSON."""
WITHOUT_WAKE = frozenset(f"{SCORE}wx")
"""Kinds of rows that no deadline looks at."""


def wake_of(row_key: str, value: bytes) -> int:
    """The day on which a row wants to be looked at, 0 = none, without reading the rest of it."""
    kind = row_key[:1]
    if kind == "f":  # an array, which names no fields
        wake: int = _DECODERS[kind].decode(value).wake
        return wake
    return 0 if kind in WITHOUT_WAKE else _read_wake(value).wake


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


def split_key(key: str) -> tuple[str, str]:
    """Customer and row key of a key in the state topic."""
    customer_id, _, row_key = key.partition(SEPARATOR)
    return customer_id, row_key
