"""The keys of a debtor's rows: every one is built and read here, and so is the day of a written row's next deadline.

Apart from what rows are, so that a process that only reads and packs them, or asks for their version, need not load every
contract first.

A row key is the kind of the row, one letter, and what tells rows of this kind apart:

* ``""`` the header, which is the only row without a letter
* ``m`` what the score has learned
* ``i/<invoice>`` an invoice; ``w/<invoice>`` money that waits for it; ``f/<invoice>`` its features at scoring
* ``p/<payment>`` a payment; ``c/<credit note>`` a credit note
* ``d/<rank>/<row key>`` a fact that counts from a later day on
* ``s/<currency>/<day>`` the sales of a day
* ``x/<cell>`` an amount cell of the score
* ``n/<what>/<id>`` a marker of something seen

A row of any other kind is one that a later version added: its bytes are kept, it is never read, and it has no deadline here.

In the state topic the key is customer, U+001F, row key. Keys that begin with U+0000 are
the engine's (``streams.engine.keys``).
"""

from __future__ import annotations

from typing import Any

import msgspec

ROW_VERSION = 3
"""Written into each header, and the ``row_format`` of the agent. A later version reads what an earlier one wrote; an earlier one
refuses the partitions of a later one, whose rows it would write without what it does not know ("Rows have a format" in
``streams/engine/README.md``). 1: the header held what the row ``SCORE`` holds. 2: amounts were posted in the
order of arrival, and unallocated credit lowered the open amount."""

SEPARATOR = "\x1f"
"""Between customer and row key in the state topic; no id of a customer holds it."""
OPENED = f"{SEPARATOR}opened"
"""Key in the state topic of the one row of a partition that belongs to no debtor."""

HEADER = ""
SCORE = "m"
"""Most events neither read nor change what the score has learned, so they should not have to read and write it."""
ITEM, PENDING, FEATURES, PAYMENT, CREDIT, SALES, CELL, SEEN, POSTPONED = "i", "w", "f", "p", "c", "s", "x", "n", "d"
RATES = "r"
"""No row: that the rates have changed is a cause of decisions about a debtor, and named like a row's deadline."""
KINDS_WITH_DEADLINE = frozenset((HEADER, ITEM, FEATURES, PAYMENT, CREDIT, SALES, SEEN, POSTPONED))

ITEM_PREFIX, PENDING_PREFIX, FEATURES_PREFIX, PAYMENT_PREFIX = f"{ITEM}/", f"{PENDING}/", f"{FEATURES}/", f"{PAYMENT}/"
SALES_PREFIX, CELL_PREFIX, SEEN_PREFIX, CREDIT_PREFIX = f"{SALES}/", f"{CELL}/", f"{SEEN}/", f"{CREDIT}/"
"""With a kind's prefix whoever builds or finds very many keys does without a call for each."""


# -- build
def rates_key(version: str) -> str:
    """The cause of what follows from new rates.

    >>> rates_key("1f0c")
    'r/1f0c'
    """
    return f"{RATES}/{version}"


def item_key(invoice_id: str) -> str:
    """The row of an invoice.

    >>> item_key("I-7")
    'i/I-7'
    """
    return ITEM_PREFIX + invoice_id


def pending_key(invoice_id: str) -> str:
    """The row of the money that waits for an invoice which is not known yet.

    >>> pending_key("I-7")
    'w/I-7'
    """
    return PENDING_PREFIX + invoice_id


def features_key(invoice_id: str) -> str:
    """The row of what an invoice looked like when it was scored.

    >>> features_key("I-7")
    'f/I-7'
    """
    return FEATURES_PREFIX + invoice_id


def payment_key(payment_id: str) -> str:
    """The row of a payment.

    >>> payment_key("P-1")
    'p/P-1'
    """
    return PAYMENT_PREFIX + payment_id


def credit_note_key(credit_note_id: str) -> str:
    """The row of a credit note.

    >>> credit_note_key("K-1")
    'c/K-1'
    """
    return CREDIT_PREFIX + credit_note_id


def postponed_key(rank: int, row_key: str) -> str:
    """The row of a fact that counts from a later day on, by the key of its own row. Of one day, lower ranks come first.

    >>> postponed_key(0, "i/I-7")
    'd/0/i/I-7'
    """
    return f"{POSTPONED}/{rank}/{row_key}"


def postponed_row_key(key: str) -> str:
    """The key of a postponed fact's own row.

    >>> postponed_row_key("d/0/i/I-7")
    'i/I-7'
    """
    return key[4:]


def sales_key(currency: str, day: int) -> str:
    """The row of what was invoiced in a currency on one day, an ordinal.

    >>> sales_key("EUR", 739000)
    's/EUR/739000'
    """
    return f"{SALES_PREFIX}{currency}/{day}"


def seen_prefix(what: str) -> str:
    """What the keys of all markers of one sort begin with; an id follows.

    >>> seen_prefix("dunning") + "M-1"
    'n/dunning/M-1'
    """
    return f"{SEEN_PREFIX}{what}/"


def state_key(customer_id: str, row_key: str) -> str:
    r"""The key of a debtor's row in the state topic.

    >>> state_key("C-1042", item_key("I-7"))
    'C-1042\x1fi/I-7'
    """
    return customer_id + SEPARATOR + row_key


# -- read
def kind_of(row_key: str) -> str:
    """The kind of a row, one letter; that of the header is empty.

    >>> kind_of("i/I-7"), kind_of(SCORE), kind_of(HEADER)
    ('i', 'm', '')
    """
    return row_key[:1]


def id_of(row_key: str) -> str:
    """The invoice of an invoice's row, or the payment of a payment's.

    >>> id_of("i/I-7"), id_of("f/2026/03/I-7"), id_of("p/P-1")
    ('I-7', '2026/03/I-7', 'P-1')
    """
    return row_key[2:]


def currency_and_day_of(sales_row_key: str) -> tuple[str, int]:
    """Currency and day (ordinal) of a row of sales.

    >>> currency_and_day_of("s/EUR/739000")
    ('EUR', 739000)
    """
    _, currency, day = sales_row_key.split("/")
    return currency, int(day)


def split_key(key: str) -> tuple[str, str]:
    r"""Customer and row key of a key in the state topic; of the row ``OPENED`` the customer is empty.

    >>> split_key("C-1042\x1fi/I-7"), split_key(OPENED)
    (('C-1042', 'i/I-7'), ('', 'opened'))
    """
    customer_id, _, row_key = key.partition(SEPARATOR)
    return customer_id, row_key


def customer_of(key: str) -> str:
    r"""The customer of a key in the state topic.

    >>> customer_of("C-1042\x1fi/I-7"), customer_of("C-1042\x1f")
    ('C-1042', 'C-1042')
    """
    return key.partition(SEPARATOR)[0]


# -- the deadline of a written row
class _Deadline(msgspec.Struct, frozen=True):
    next_deadline: int = msgspec.field(default=0, name="wake")


_FIELDS: list[Any] = [*((f"_{i}", msgspec.Raw, msgspec.Raw()) for i in range(11)), ("next_deadline", int, 0)]
_read_deadline = msgspec.json.Decoder(_Deadline).decode
_read_deadline_of_features: Any = msgspec.json.Decoder(msgspec.defstruct("_Features", _FIELDS, array_like=True)).decode
"""``scoring.state.Features`` is an array, which names no fields: the day of its next deadline is the twelfth."""


def deadline_of(row_key: str, value: bytes) -> int:
    """The day (ordinal) of a written row's next deadline, 0 = none, without reading the rest of the row.

    >>> deadline_of("i/I-7", b'{"open":"5.00","wake":739000}'), deadline_of("i/I-7", b'{"open":"5.00"}')
    (739000, 0)
    >>> deadline_of("f/I-7", b'[3,false,"small",null,false,"all",null,0.05,0,null,"0.00",739000]'), deadline_of(SCORE, b"{}")
    (739000, 0)

    A kind of a later version has none that we know of.

    >>> deadline_of("q/I-7", b'{"wake":739000}')
    0
    """
    kind = row_key[:1]
    if kind not in KINDS_WITH_DEADLINE:
        return 0
    day: int = (_read_deadline_of_features(value) if kind == FEATURES else _read_deadline(value)).next_deadline
    return day
