"""What an agent asks of the engine that drives it: a channel of slices, and to apply each of them."""

from __future__ import annotations

from typing import Any, Protocol


class Slices(Protocol):
    """An agent's engine, as the short files that know Faust see it."""

    @property
    def slices(self) -> Any:
        """The channel on which slices come."""

    @property
    def concurrency(self) -> int:
        """How many slices, of different partitions, are in flight at once."""

    async def apply(self, work: Any) -> None:
        """Fold and commit one slice. Never raises: what fails begins again from what is committed."""
