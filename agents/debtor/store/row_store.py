"""Where a partition's rows lie between slices, as they were written: open for debtors that move, packed for the others.

Most debtors of a large portfolio do not move for days. Such a debtor is packed: its header as it was written, for that is what
every event needs, and its other rows as one block that stays shut until one of them is asked for. New rows wait in a tail behind
the block, so that an event of a debtor at rest neither unpacks nor packs what it does not look at.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from zlib import crc32

import lz4.block  # type: ignore[import-untyped]
import msgspec

from agents.debtor.keys import HEADER

MAX_OPEN_ROWS = 100_000
"""So many rows of a partition lie open, some 30 MB; beyond it, whoever was not touched for longest is packed."""
MAX_PACKED_AT_ONCE = 500
"""Debtors that are packed after one slice at the most: no slice shall wait for housekeeping."""
MIN_TAIL_BYTES = 1024
"""So many bytes of new rows wait behind a small block before all is packed anew; behind a larger one as many as it has."""
MAX_HASHED_ROWS = 256
"""A debtor with more rows than that is opened whenever a row is asked for: searching its key hashes would take longer."""
_HASH_BYTES = 2
_DICTIONARY = (
    b'{"content":"","label":1,"wake":739282}[0,"738993",1.0,1.97,0.0]{"amount":"0.00","in_window":false,"wake":739282}'
    b'{"content":"","amount":"0.00","currency":"EUR","paid_on":738993,"rest":"0.00","wake":739393}'
    b'{"content":"","amount":"00.00","currency":"EUR","issued":738993,"due":739023,"paid":"0.00","closed":"settled",'
    b'"closed_on":739007,"open":"0.00","expires":739393,"bucket":1,"alerting":true,"late":1,"default":0,"lost":true,"wake":739024}'
    b'[2,true,"small",null,false,"all|1-14|good|clear|known","AAAAA=",0.05,-1,null,"0.00",739010]'
    b'[4,false,"medium",null,false,"all|none|unseen|clear|new","AAAAA=",0.05,0,null,"0.00",0]'
    b'{"content":"","amount":"00.00","currency":"EUR","issued":738949,"due":739009,"open":"00.00","expires":739349,"wake":739009}'
)
"""What rows usually look like: a block is packed as if it came behind this, or a debtor with few rows would hardly shrink."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def pack(rows: Mapping[str, bytes]) -> bytes:
    """Row key -> written row, as one block."""
    return bytes(lz4.block.compress(_encode(rows), dict=_DICTIONARY)) if rows else b""


def unpack(block: bytes) -> dict[str, bytes]:
    """The rows of a block.

    >>> unpack(pack({"i/1": b"{}"})), unpack(pack({}))
    ({'i/1': b'{}'}, {})
    """
    return _decode(lz4.block.decompress(block, dict=_DICTIONARY)) if block else {}


def hashes_of(row_keys: Iterable[str]) -> bytes:
    """Two bytes of hash for each key: they tell whether a row may be there, and nothing has to be unpacked for that."""
    return memoryview(array("I", map(crc32, map(str.encode, row_keys)))).cast("B").cast("H")[::2].tobytes()


def hash_of(row_key: str) -> bytes:
    """The two bytes of one key.

    >>> hash_of("i/1") == hashes_of(["i/1"])
    True
    """
    return crc32(row_key.encode()).to_bytes(4, sys.byteorder)[:_HASH_BYTES]


class PackedRows(msgspec.Struct, array_like=True, gc=False):
    """A debtor at rest. ``tail``: rows that came after ``block``, an open map in msgpack; ``key_hashes`` are of both."""

    header: bytes | None
    block: bytes = b""
    key_hashes: bytes = b""
    tail: bytes = b""

    def rows(self) -> dict[str, bytes]:
        """All of the debtor's rows."""
        rows = unpack(self.block)
        if self.tail:
            rows.update(_decode(self.tail))
        if self.header is not None:
            rows[HEADER] = self.header
        return rows

    def may_have(self, key_hash: bytes) -> bool:
        """False = there is no row, header apart, whose key has this hash."""
        return key_hash in self.key_hashes or len(self.key_hashes) > _HASH_BYTES * MAX_HASHED_ROWS

    def append(self, row_key: str, key_hash: bytes, value: bytes) -> None:
        """Add a row that is not there yet."""
        tail = self.tail
        count = int.from_bytes(tail[1:3], "big") + 1
        self.tail = b"".join((b"\xde", count.to_bytes(2, "big"), tail[3:], _encode(row_key), _encode(value)))
        self.key_hashes += key_hash

    @property
    def is_full(self) -> bool:
        """Whether the tail is so long that all should be packed anew."""
        return len(self.tail) > max(MIN_TAIL_BYTES, min(len(self.block), 1 << 15))


def pack_debtor(rows: dict[str, bytes]) -> PackedRows:
    """A debtor's rows, packed; takes the header out of ``rows``."""
    header = rows.pop(HEADER, None)
    return PackedRows(header, pack(rows), hashes_of(rows))


class RowStore:
    """Written rows by debtor. Not for two threads at once."""

    def __init__(self, max_open_rows: int = MAX_OPEN_ROWS) -> None:
        self._max_open_rows = max_open_rows
        self._open: dict[str, dict[str, bytes]] = {}
        """In the order in which they were last used."""
        self._packed: dict[str, PackedRows] = {}
        self._open_rows = 0
        """In ``_open``, as far as counted: when a debtor was opened or last written."""

    def __contains__(self, customer_id: str) -> bool:
        return customer_id in self._open or customer_id in self._packed

    def __iter__(self) -> Iterator[str]:
        yield from self._open
        yield from self._packed

    def mark_used(self, customer_id: str) -> None:
        """The debtor moves: if it lies open, it shall stay so for longer than others."""
        rows = self._open.pop(customer_id, None)
        if rows is not None:
            self._open[customer_id] = rows

    def load(self, customer_id: str) -> dict[str, bytes] | None:
        """All rows of the debtor, open from now on; None = unknown. Change them by ``write`` only."""
        rows = self._open.pop(customer_id, None)
        if rows is None:
            packed = self._packed.pop(customer_id, None)
            if packed is None:
                return None
            rows = packed.rows()
            self._open_rows += len(rows)
        self._open[customer_id] = rows
        return rows

    def peek(self, customer_id: str) -> dict[str, bytes]:
        """A debtor's rows, without opening it. Raises KeyError for an unknown one."""
        rows = self._open.get(customer_id)
        return self._packed[customer_id].rows() if rows is None else rows

    def read(self, customer_id: str, row_key: str) -> bytes | None:
        """One row of a debtor; None = there is none. The other rows stay packed where that can be told without them."""
        rows = self._open.get(customer_id)
        if rows is None:
            packed = self._packed.get(customer_id)
            if packed is None:
                return None
            if not row_key:
                return packed.header
            if not packed.may_have(hash_of(row_key)):
                return None
            rows = self.load(customer_id) or {}
        return rows.get(row_key)

    def headers(self) -> Iterator[tuple[str, bytes]]:
        """The header of every debtor that has one."""
        for customer_id, rows in self._open.items():
            if HEADER in rows:
                yield customer_id, rows[HEADER]
        for customer_id, packed in self._packed.items():
            if packed.header is not None:
                yield customer_id, packed.header

    def write(self, customer_id: str, changes: Mapping[str, bytes | None]) -> None:
        """Change rows of a debtor; None = delete the row."""
        packed = self._packed.get(customer_id)
        if packed is not None:
            changes = {key: value for key, value in changes.items() if not self._write_packed(packed, key, value)}
            if not changes:
                return
        rows = self.load(customer_id)
        if rows is None:
            rows = self._open[customer_id] = {}
        count_before = len(rows)
        for row_key, value in changes.items():
            if value is None:
                rows.pop(row_key, None)
            else:
                rows[row_key] = value
        self._open_rows += len(rows) - count_before

    @staticmethod
    def _write_packed(packed: PackedRows, row_key: str, value: bytes | None) -> bool:
        """Write a row without unpacking the others; tells whether that was possible."""
        if not row_key:
            packed.header = value
            return True
        key_hash = hash_of(row_key)
        if packed.may_have(key_hash) or packed.is_full:
            return False
        if value is not None:
            packed.append(row_key, key_hash, value)
        return True

    def add_packed(self, debtors: Mapping[str, PackedRows]) -> None:
        """Take over debtors that are not there yet."""
        self._packed.update(debtors)

    def evict(self) -> None:
        """Pack whoever was not used for longest, if more lies open than there is room for."""
        if self._open_rows <= self._max_open_rows:
            return
        for customer_id in list(islice(self._open, MAX_PACKED_AT_ONCE)):
            if self._open_rows <= self._max_open_rows:
                return
            rows = self._open.pop(customer_id)
            self._open_rows -= len(rows)
            self._packed[customer_id] = pack_debtor(rows)
