"""The rows of one partition, sorted by debtor and packed: wherever they are read, so that a book only has to take them over."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from agents.debtor.keys import OPENED, SEPARATOR, wake_of
from agents.debtor.store.row_store import PackedRows, parcel_of


class Snapshot(msgspec.Struct, array_like=True):
    """``firsts``: day -> the debtors whose first deadline is on it. ``opened``: the partition's row of that name."""

    parcels: dict[str, PackedRows]
    firsts: dict[int, list[str]]
    opened: bytes | None


read_prepared = msgspec.msgpack.Decoder(Snapshot).decode
"""What ``prepare`` wrote."""


def prepare(records: Iterable[tuple[str, bytes | None]]) -> bytes:
    """Sort and pack rows, by their keys in the state topic: of each key the last counts, None = deleted."""
    debtors: dict[str, dict[str, bytes]] = {}
    for key, value in records:
        customer_id, _, row_key = key.partition(SEPARATOR)
        mine = debtors.get(customer_id)
        if mine is None:
            mine = debtors[customer_id] = {}
        if value is None:
            mine.pop(row_key, None)
        else:
            mine[row_key] = value
    opened = debtors.pop("", {}).get(OPENED.removeprefix(SEPARATOR))
    prepared = Snapshot({}, {}, opened)
    while debtors:  # what is packed is let go at once
        customer_id, mine = debtors.popitem()
        if first := min(filter(None, map(wake_of, mine, mine.values())), default=0):
            prepared.firsts.setdefault(first, []).append(customer_id)
        if mine:
            prepared.parcels[customer_id] = parcel_of(mine)
    return msgspec.msgpack.encode(prepared)
