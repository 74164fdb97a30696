"""A sink whose ClickHouse refuses inserts, or cuts them off, when it is ordered: `python -m tests.chaos.sink FOLDER`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.chaos.control import InjectedError, Orders


class Unreliable:
    """A ClickHouse client; what it is ordered to refuse ends as a lost connection does, with an error that is no data's fault."""

    def __init__(self, client: Any, orders: Orders) -> None:
        self._client, self._orders = client, orders
        self._refuses_until = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def raw_insert(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse before, for some seconds, or break off after some of the rows or all of them are there."""
        refuses_s = self._orders.claim("refuse-inserts")
        if refuses_s is not None:
            self._refuses_until = time.monotonic() + refuses_s
        if time.monotonic() < self._refuses_until:
            raise InjectedError("ClickHouse refuses inserts")
        if self._orders.claim("cut-insert") is not None:
            lines = kwargs["insert_block"].split(b"\n")
            half = b"\n".join(lines[: max(1, len(lines) // 2)])
            self._client.raw_insert(*args, **{**kwargs, "insert_block": half})
            raise InjectedError("the connection to ClickHouse broke off half-way")
        answer = self._client.raw_insert(*args, **kwargs)
        if self._orders.claim("lose-insert") is not None:
            raise InjectedError("ClickHouse took the insert, and its answer was lost")
        return answer


def main(folder: str) -> int:
    import streams.sink.run
    from streams.settings import load_settings

    orders = Orders(Path(folder))
    opened = streams.sink.run._open
    with patch.object(streams.sink.run, "_open", lambda *args: Unreliable(opened(*args), orders)):
        return streams.sink.run.run(load_settings())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
