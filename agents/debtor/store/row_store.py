"""Where a partition's rows lie between slices, as they were written: at hand for debtors that move, packed for the others.

Most debtors of a large portfolio do not move for days. Such a debtor is a parcel: its header as it was written, for that is what
every event needs, and its other rows as one packed block that stays shut until one of them is asked for. New rows join the
parcel behind the block, so that an event of a debtor at rest neither unpacks nor packs what it does not look at.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from zlib import crc32

import lz4.block  # type: ignore[import-untyped]
import msgspec

ROWS_AT_HAND = 100_000
"""So many rows of a partition lie open, some 30 MB; beyond it, whoever was not touched for longest is packed."""
PACKED_AT_ONCE = 500
"""Debtors that are packed after one slice at the most: no slice shall wait for housekeeping."""
LATE_BYTES = 1024
"""So many bytes of new rows wait behind a small block before all is packed anew; behind a larger one as many as it has."""
MARKED_ROWS = 256
"""A debtor with more rows than that is opened whenever a row is asked for: looking through its marks would take longer."""
_MARK = 2
_USUAL = (
    b'{"content":"","label":1,"wake":739282}[0,"738993",1.0,1.97,0.0]{"amount":"0.00","in_window":false,"wake":739282}'
    b'{"content":"","amount":"0.00","currency":"EUR","paid_on":738993,"rest":"0.00","wake":739393}'
    b'{"content":"","amount":"00.00","currency":"EUR","issued":738993,"due":739023,"paid":"0.00","closed":"settled",'
    b'"closed_on":739007,"open":"0.00","expires":739393,"bucket":1,"alerting":true,"late":1,"default":0,"lost":true,"wake":739024}'
    b'[2,true,"small",null,false,"all|1-14|good|clear|known","AAAAA=",0.05,-1,null,"0.00",739010]'
    b'[4,false,"medium",null,false,"all|none|unseen|clear|new","AAAAA=",0.05,0,null,"0.00",0]'
    b'{"content":"","amount":"00.00","currency":"EUR","issued":738949,"due":739009,"open":"00.00","expires":739349,"wake":739009}'
)
"""What rows usually say: a block is packed as if it came behind this, or a debtor with few rows would hardly shrink."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def pack(rows: Mapping[str, bytes]) -> bytes:
    """Row key -> written row, as one block."""
    return bytes(lz4.block.compress(_encode(rows), dict=_USUAL)) if rows else b""


def unpack(block: bytes) -> dict[str, bytes]:
    """The rows of a block.

    >>> unpack(pack({"i/1": b"{}"})), unpack(pack({}))
    ({'i/1': b'{}'}, {})
    """
    return _decode(lz4.block.decompress(block, dict=_USUAL)) if block else {}


def marks_of(row_keys: Iterable[str]) -> bytes:
    """Two bytes of hash for each key: whether a row may be there is told without unpacking any."""
    return memoryview(array("I", map(crc32, map(str.encode, row_keys)))).cast("B").cast("H")[::2].tobytes()


def mark_of(row_key: str) -> bytes:
    """That of one key.

    >>> mark_of("i/1") == marks_of(["i/1"])
    True
    """
    return crc32(row_key.encode()).to_bytes(4, sys.byteorder)[:_MARK]


class PackedRows(msgspec.Struct, array_like=True, gc=False):
    """A debtor at rest. ``late``: rows that came after ``block``, an open map in msgpack; ``marks`` are of both."""

    header: bytes | None
    block: bytes = b""
    marks: bytes = b""
    late: bytes = b""

    def rows(self) -> dict[str, bytes]:
        """All of the debtor's rows."""
        rows = unpack(self.block)
        if self.late:
            rows.update(_decode(self.late))
        if self.header is not None:
            rows[""] = self.header
        return rows

    def may_have(self, mark: bytes) -> bool:
        """False = there is no row with this mark, header apart."""
        return mark in self.marks or len(self.marks) > _MARK * MARKED_ROWS

    def append(self, row_key: str, mark: bytes, value: bytes) -> None:
        """Add a row that is not there yet."""
        late = self.late
        count = int.from_bytes(late[1:3], "big") + 1
        self.late = b"".join((b"\xde", count.to_bytes(2, "big"), late[3:], _encode(row_key), _encode(value)))
        self.marks += mark

    @property
    def is_full(self) -> bool:
        """Whether so much came late that all should be packed anew."""
        return len(self.late) > max(LATE_BYTES, min(len(self.block), 1 << 15))


def parcel_of(rows: dict[str, bytes]) -> PackedRows:
    """Put a debtor's rows away; takes the header out of ``rows``."""
    header = rows.pop("", None)
    return PackedRows(header, pack(rows), marks_of(rows))


class RowStore:
    """Written rows by debtor. Not for two threads at once."""

    def __init__(self, at_hand: int = ROWS_AT_HAND) -> None:
        self._at_hand = at_hand
        self._open: dict[str, dict[str, bytes]] = {}
        """The last touched last."""
        self._parcels: dict[str, PackedRows] = {}
        self._rows = 0
        """In ``_open``, as far as counted: when a debtor was opened or last written."""

    def __contains__(self, customer_id: str) -> bool:
        return customer_id in self._open or customer_id in self._parcels

    def __iter__(self) -> Iterator[str]:
        yield from self._open
        yield from self._parcels

    def use(self, customer_id: str) -> None:
        """The debtor moves: if it lies open, let it."""
        rows = self._open.pop(customer_id, None)
        if rows is not None:
            self._open[customer_id] = rows

    def touch(self, customer_id: str) -> dict[str, bytes] | None:
        """All rows of the debtor, at hand from now on; None = unknown. Change them by ``write`` only."""
        rows = self._open.pop(customer_id, None)
        if rows is None:
            parcel = self._parcels.pop(customer_id, None)
            if parcel is None:
                return None
            rows = parcel.rows()
            self._rows += len(rows)
        self._open[customer_id] = rows
        return rows

    def look(self, customer_id: str) -> dict[str, bytes]:
        """A debtor's rows, without touching it. Raises KeyError for an unknown one."""
        rows = self._open.get(customer_id)
        return self._parcels[customer_id].rows() if rows is None else rows

    def read(self, customer_id: str, row_key: str) -> bytes | None:
        """One row of a debtor; None = there is none. The other rows stay packed where that can be told without them."""
        rows = self._open.get(customer_id)
        if rows is None:
            parcel = self._parcels.get(customer_id)
            if parcel is None:
                return None
            if not row_key:
                return parcel.header
            if not parcel.may_have(mark_of(row_key)):
                return None
            rows = self.touch(customer_id) or {}
        return rows.get(row_key)

    def headers(self) -> Iterator[tuple[str, bytes]]:
        """The header of every debtor that has one."""
        for customer_id, rows in self._open.items():
            if "" in rows:
                yield customer_id, rows[""]
        for customer_id, parcel in self._parcels.items():
            if parcel.header is not None:
                yield customer_id, parcel.header

    def write(self, customer_id: str, changed: Mapping[str, bytes | None]) -> None:
        """Keep a debtor's rows; None = delete it."""
        parcel = self._parcels.get(customer_id)
        if parcel is not None:
            changed = {key: value for key, value in changed.items() if not self._write_packed(parcel, key, value)}
            if not changed:
                return
        rows = self.touch(customer_id)
        if rows is None:
            rows = self._open[customer_id] = {}
        before = len(rows)
        for row_key, value in changed.items():
            if value is None:
                rows.pop(row_key, None)
            else:
                rows[row_key] = value
        self._rows += len(rows) - before

    @staticmethod
    def _write_packed(parcel: PackedRows, row_key: str, value: bytes | None) -> bool:
        """Whether the row could be written without unpacking the others."""
        if not row_key:
            parcel.header = value
            return True
        mark = mark_of(row_key)
        if parcel.may_have(mark) or parcel.is_full:
            return False
        if value is not None:
            parcel.append(row_key, mark, value)
        return True

    def put_away(self, parcels: Mapping[str, PackedRows]) -> None:
        """Keep debtors that are not there yet."""
        self._parcels.update(parcels)

    def tidy(self) -> None:
        """Pack whoever was not touched for longest, if more lies open than there is room for."""
        if self._rows <= self._at_hand:
            return
        for customer_id in list(islice(self._open, PACKED_AT_ONCE)):
            if self._rows <= self._at_hand:
                return
            rows = self._open.pop(customer_id)
            self._rows -= len(rows)
            self._parcels[customer_id] = parcel_of(rows)
