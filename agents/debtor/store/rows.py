"""One debtor's rows while a slice is folded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agents.debtor.state import Row, decode
from agents.debtor.store.row_store import RowStore

_UNREAD: Any = object()


class SliceRows(Mapping[str, Row]):
    """One debtor's rows during a slice: as the store has them until they are asked for, with the slice's changes over them."""

    __slots__ = ("_customer_id", "_store", "changed_keys", "decoded", "encoded")

    def __init__(self, store: RowStore, customer_id: str, cached: Mapping[str, Row]) -> None:
        self._store, self._customer_id = store, customer_id
        self.decoded: dict[str, Row | None] = {**cached}
        """Every row that was asked for or changed; None = there is none."""
        self.changed_keys: set[str] = set()
        self.encoded: dict[str, bytes | None] = {}
        """What has changed, as it is written at the end of the slice."""

    def get(self, key: str, default: Row | None = None) -> Row | None:  # type: ignore[override]
        """The row or ``default``; this is called for every cell of every label."""
        row = self.decoded.get(key, _UNREAD)
        if row is _UNREAD:
            value = self._store.read(self._customer_id, key)
            row = self.decoded[key] = None if value is None else decode(key, value)
        return default if row is None else row

    def __getitem__(self, key: str) -> Row:
        row = self.get(key)
        if row is None:
            raise KeyError(key)
        return row

    def __iter__(self) -> Iterator[str]:
        stored = self._store.load(self._customer_id) or {}
        yield from (k for k in stored if self.decoded.get(k, True) is not None)
        yield from (k for k in self.changed_keys if self.decoded[k] is not None and k not in stored)

    def __len__(self) -> int:
        return sum(1 for _ in self)
