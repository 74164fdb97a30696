"""The keys of a debtor's rows, and on which day a written row wants to be looked at.

Apart from what rows are, so that a process that only reads and packs them need not load every contract first.

Row keys: ``""`` the header · ``m`` what the score has learned · ``i/<invoice>`` item · ``p/<payment>`` payment ·
``w/<invoice>`` money that waits for its invoice · ``s/<currency>/<day>`` sales · ``f/<invoice>`` features at scoring ·
``x/<cell>`` amount cell · ``n/<kind>/<id>`` something seen.
In the state topic the key is customer, U+001F, row key.
"""

from __future__ import annotations

from typing import Any

import msgspec

SEPARATOR = "\x1f"
OPENED = f"{SEPARATOR}opened"
"""Key of the one row of a partition that belongs to no debtor."""
SCORE = "m"
"""Most events neither read nor change what the score has learned, so they should not have to read and write it."""
WITHOUT_WAKE = frozenset(f"{SCORE}wx")
"""Kinds of rows that no deadline looks at."""


class _Wake(msgspec.Struct, frozen=True):
    wake: int = 0


_FIELDS: list[Any] = [*((f"_{i}", msgspec.Raw, msgspec.Raw()) for i in range(11)), ("wake", int, 0)]
_read_wake = msgspec.json.Decoder(_Wake).decode
_read_wake_of_features: Any = msgspec.json.Decoder(msgspec.defstruct("_Features", _FIELDS, array_like=True)).decode
"""``scoring.state.Features`` is an array, which names no fields: ``wake`` is its twelfth."""


def wake_of(row_key: str, value: bytes) -> int:
    """The day (ordinal) on which a row wants to be looked at, 0 = none, without reading the rest of it."""
    kind = row_key[:1]
    if kind in WITHOUT_WAKE:
        return 0
    wake: int = (_read_wake_of_features(value) if kind == "f" else _read_wake(value)).wake
    return wake


def split_key(key: str) -> tuple[str, str]:
    """Customer and row key of a key in the state topic."""
    customer_id, _, row_key = key.partition(SEPARATOR)
    return customer_id, row_key
