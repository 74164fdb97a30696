"""The rows of one partition, sorted by debtor and packed: wherever they are read, so that a brain only has to take them over."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from agents.debtor.keys import OPENED, SEPARATOR, deadline_of, split_key
from agents.debtor.store.row_store import PackedRows, pack_debtor


class Snapshot(msgspec.Struct, array_like=True):
    """Packed rows by debtor; by day, the debtors whose first deadline is on it; and the partition's row ``keys.OPENED``."""

    debtors: dict[str, PackedRows]
    first_deadlines: dict[int, list[str]]
    opening: bytes | None


read_snapshot = msgspec.msgpack.Decoder(Snapshot).decode
"""What ``pack_snapshot`` wrote."""


def pack_snapshot(records: Iterable[tuple[str, bytes | None]]) -> bytes:
    r"""Sort and pack rows, by their keys in the state topic: of each key the last counts, None = deleted.

    >>> records = [("C-1\x1fi/I-7", b'{"wake":739000}'), ("C-2\x1fi/I-8", b"{}"), ("C-2\x1fi/I-8", None)]
    >>> snapshot = read_snapshot(pack_snapshot(records))
    >>> list(snapshot.debtors), snapshot.first_deadlines
    (['C-1'], {739000: ['C-1']})
    """
    debtors: dict[str, dict[str, bytes]] = {}
    for key, value in records:
        customer_id, _, row_key = key.partition(SEPARATOR)  # ``split_key`` without its call: there are millions
        rows = debtors.get(customer_id)
        if rows is None:
            rows = debtors[customer_id] = {}
        if value is None:
            rows.pop(row_key, None)
        else:
            rows[row_key] = value
    opening = debtors.pop("", {}).get(split_key(OPENED)[1])
    snapshot = Snapshot({}, {}, opening)
    while debtors:  # what is packed is let go at once
        customer_id, rows = debtors.popitem()
        if first := min(filter(None, map(deadline_of, rows, rows.values())), default=0):
            snapshot.first_deadlines.setdefault(first, []).append(customer_id)
        if rows:
            snapshot.debtors[customer_id] = pack_debtor(rows)
    return msgspec.msgpack.encode(snapshot)
