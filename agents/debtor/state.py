"""The rows of a debtor: what they are, and how they are written. One header, and a row of its own for whatever grows in number.

Values are JSON that a person can read; floats round-trip exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from agents.brain import NewerRowError
from agents.debtor.alerts.state import Alert
from agents.debtor.bank.state import Bank
from agents.debtor.insolvency.state import Insolvency
from agents.debtor.keys import (
    CELL,
    CREDIT,
    FEATURES,
    HEADER,
    ITEM,
    ITEM_PREFIX,
    PAYMENT,
    PENDING,
    POSTPONED,
    ROW_VERSION,
    SALES,
    SCORE,
    SEEN,
)
from agents.debtor.limits.state import Limit
from agents.debtor.payments.state import (
    ZERO,
    Balance,
    CreditNote,
    Item,
    Payment,
    PendingAllocations,
    PostponedFact,
    SalesDay,
    SeenMarker,
)
from agents.debtor.scoring.state import Cell, Features, LastScore, ScoreState


class Master(msgspec.Struct, frozen=True, omit_defaults=True):
    """Master data that decisions look at, a hash of the whole record, and when it was recorded (RFC 3339)."""

    content: str = ""
    recorded: str = ""
    group: str | None = None
    country: str | None = None
    segment: str | None = None
    terms_days: int = 0
    """Usual days to pay; 0 = not known."""


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is known of a debtor and does not grow with its invoices. Days are ordinals."""

    version: int = 1
    first_day: int = msgspec.field(default=0, name="seen")
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
    next_deadline: int = msgspec.field(default=0, name="wake")
    """The next day on which bank, limit or alerts need a look, 0 = none."""
    score: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Of version 1 only."""


class RatesInForce(msgspec.Struct, frozen=True):
    """What one unit of other currencies is worth in the currency ``base``."""

    base: str
    rates: dict[str, Decimal]


class Opening(msgspec.Struct, frozen=True, omit_defaults=True):
    """Since which ``day`` (ordinal) the debtors of a partition get their limits under this action and generation.

    And by which rates those with balances in foreign currencies were judged. The row ``keys.OPENED``.
    """

    action: str
    generation: int
    live: bool
    day: int
    rates: RatesInForce | None = None
    rates_before: RatesInForce | None = None
    judged_up_to: str | None = None
    """How far the judging by ``rates`` has come, in the order of ``rejudging.place_of``; None = all have been judged."""


Row = (
    Header
    | ScoreState
    | Item
    | Payment
    | CreditNote
    | PendingAllocations
    | SalesDay
    | Features
    | Cell
    | SeenMarker
    | PostponedFact
)

_KINDS: dict[str, type] = {
    HEADER: Header, SCORE: ScoreState, ITEM: Item, PAYMENT: Payment, PENDING: PendingAllocations, SALES: SalesDay,
    FEATURES: Features, CELL: Cell, SEEN: SeenMarker, CREDIT: CreditNote, POSTPONED: PostponedFact,
}  # fmt: skip
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(row) for kind, row in _KINDS.items()}
_ENCODER = msgspec.json.Encoder(decimal_format="string")


class _LimitOpening(msgspec.Struct, frozen=True):
    action: str = ""
    generation: int = 0


class _HeaderOpening(msgspec.Struct, frozen=True):
    limit: _LimitOpening = _LimitOpening()


class _HeaderBalances(msgspec.Struct, frozen=True):
    balances: dict[str, msgspec.Raw] = {}


_read_balances = msgspec.json.Decoder(_HeaderBalances).decode
_read_header_opening = msgspec.json.Decoder(_HeaderOpening).decode
decode_opening = msgspec.json.Decoder(Opening).decode
"""An ``Opening`` from JSON. Raises msgspec.DecodeError."""


def opening_of(header: bytes) -> tuple[str, int]:
    """Action and generation of the limit in a written header, without reading the rest of it.

    >>> opening_of(b'{"version":2,"limit":{"action":"act","generation":3}}')
    ('act', 3)
    """
    limit = _read_header_opening(header).limit
    return limit.action, limit.generation


def has_foreign_balance(header: bytes, currency: str) -> bool:
    """Whether anything is owed, paid or sold in another currency, by a written header, without reading the rest of it.

    >>> [has_foreign_balance(b'{"balances":{"EUR":{},"USD":{"exposure":"5.00"}}}', home) for home in ("EUR", "USD")]
    [True, False]
    """
    return any(other != currency and bytes(balance) != b"{}" for other, balance in _read_balances(header).balances.items())


def encode(row: Row | Opening) -> bytes:
    """A row as JSON; what has its default is left out.

    >>> encode(SeenMarker("hash of the content", 739000))
    b'{"content":"hash of the content","wake":739000}'
    """
    return _ENCODER.encode(row)


def encode_rates(rates: RatesInForce | None) -> bytes:
    """Rates as JSON, the currencies in order."""
    return _ENCODER.encode(None if rates is None else [rates.base, sorted(rates.rates.items())])


def decode(row_key: str, value: bytes) -> Row:
    """A row from JSON. Raises msgspec.DecodeError where it cannot be read, KeyError for an unknown kind of row.

    >>> decode("n/dunning/M-1", b'{"content":"hash of the content","wake":739000}')
    SeenMarker(content='hash of the content', next_deadline=739000)
    """
    row: Row = _DECODERS[row_key[:1]].decode(value)
    return row


def is_known(row_key: str) -> bool:
    """Whether this version knows the kind of a row. Of others the bytes are kept, and nothing else is done with them.

    >>> is_known("i/I-7"), is_known("q/I-7")
    (True, False)
    """
    return row_key[:1] in _DECODERS


# -- rows of earlier versions
class _ScoreOfVersion1(msgspec.Struct, frozen=True):
    last: LastScore | None = None


_read_score_of_version_1 = msgspec.json.Decoder(_ScoreOfVersion1).decode


def open_header(rows: Mapping[str, Row], day: int) -> tuple[Header, dict[str, Row | None]]:
    """A debtor's header as this version writes it, and the rows that change by that; a new header where there is none yet.

    Raises NewerRowError for a header of a later version: written again from here, it would lose what this one does not know.

    >>> header, changes = open_header({}, 739000)
    >>> header.version, header.first_day, changes
    (3, 739000, {})
    """
    row = rows.get(HEADER)
    if not isinstance(row, Header):
        return Header(version=ROW_VERSION, first_day=day), {}
    if row.version == ROW_VERSION:
        return row, {}
    if row.version > ROW_VERSION:
        raise NewerRowError(
            f"a debtor's rows are of version {row.version}, and this code knows them up to {ROW_VERSION}: update it"
        )
    changes: dict[str, Row | None] = {}
    if row.version == 1:
        row, changes[SCORE] = split_score(row)
    items = [item for key in rows if key.startswith(ITEM_PREFIX) and isinstance(item := rows.get(key), Item)]
    header = changes[HEADER] = upgrade(row, items)
    return header, changes


def split_score(header: Header) -> tuple[Header, ScoreState]:
    """A header of version 1 as version 2 writes it, and what the score had learned, which is a row of its own since then."""
    score = header.score or b"{}"
    current = replace(header, version=2, last=_read_score_of_version_1(score).last, score=msgspec.UNSET)
    return current, _DECODERS[SCORE].decode(score)


def upgrade(header: Header, items: Iterable[Item]) -> Header:
    """A header of version 2 as this version writes it: unallocated credit is unapplied, and disputed and overdue sums are kept.

    >>> from decimal import Decimal
    >>> upgrade(Header(version=2, balances={"EUR": Balance(credit=Decimal(5))}), ()).balances["EUR"].unapplied
    Decimal('5.00')
    """
    balances = {
        currency: replace(balance, unapplied=balance.unapplied + balance.credit, credit=ZERO)
        for currency, balance in header.balances.items()
    }
    for item in items:
        balance = balances.get(item.currency)
        if balance is not None and item.open:
            disputed = list(balance.disputed)
            disputed[item.bucket] += item.open if item.disputes else ZERO
            late = item.open if item.counted_overdue else ZERO
            balances[item.currency] = replace(balance, disputed=tuple(disputed), overdue_sum=balance.overdue_sum + late)
    return replace(header, version=ROW_VERSION, balances=balances)
