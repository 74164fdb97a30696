"""What the engine asks of an agent's brain: restore rows, fold a slice, and keep the result once it is committed.

A brain is the memory of one partition. It does no I/O, reads no clock and knows no Kafka; it is driven by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol, runtime_checkable

from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output, Rejection


class NewerRowError(Exception):
    """A row was written by a later version of the code; whoever goes on would drop what it does not know.

    A fold lets it through: neither the event nor the deadline that met the row is to blame, and nothing may be written.
    """


class Received(NamedTuple):
    """A decoded record and where it lay (topic without prefix)."""

    topic: str
    partition: int
    offset: int
    event: Event


@dataclass(slots=True)
class FoldResult:
    """What one slice changes. ``rows``: key in the state topic -> encoded row, None = delete.

    ``rejected`` are records that could not be applied (dead letters). ``has_more``: deadlines that are due by the tick are left,
    so fold again, without records. ``duplicates_of`` counts the duplicates by topic, for metrics. ``failures`` describe deadlines
    on which our own code failed: they are announced on ``dead-letters`` and tried again a day later, so that one of them holds
    nobody up.
    """

    rows: dict[str, bytes | None] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    rejected: list[tuple[Received, Rejection]] = field(default_factory=list)
    applied: int = 0
    duplicates: int = 0
    duplicates_of: dict[str, int] = field(default_factory=dict)
    has_more: bool = False
    failures: list[str] = field(default_factory=list)

    def count_duplicate(self, topic: str) -> None:
        """One more record of the topic was known already."""
        self.duplicates += 1
        self.duplicates_of[topic] = self.duplicates_of.get(topic, 0) + 1


@runtime_checkable
class RestoresAll(Protocol):
    """A brain whose rows may be millions: they are packed all at once, in whatever process reads them, and then taken over."""

    @staticmethod
    def pack_snapshot(records: Iterable[tuple[str, bytes | None]]) -> bytes:
        """What ``restore_snapshot`` takes, of rows by their keys: of each key the last counts, None = deleted.

        A function of a module, so that another process finds it by its name.
        """

    def restore_snapshot(self, packed: bytes) -> None:
        """The same as ``restore`` for each row; called once, before the first ``fold``."""


class Brain(Protocol):
    """The memory of one partition of one agent. Its rows' keys never begin with U+0000: such rows are the engine's own.

    A row of a kind that it does not know, it leaves as it is: it neither reads nor deletes it.
    """

    def restore(self, key: str, value: bytes | None) -> None:
        """Take over a row as it was written (None = deleted). Rows come in any order, before the first ``fold``."""

    def fold(
        self,
        records: Sequence[Received],
        now: datetime | None,
        context: ContextSet,
        *,
        replay: bool,
        step: int = -1,
        max_deadlines: int = 500,
        paused: frozenset[str] = frozenset(),
        previous_tick: datetime | None = None,
    ) -> FoldResult:
        """Fold records, then what is due by the tick ``now`` (None before the first). Total: never raises for what a record says.

        It raises NewerRowError where a row that it has to change was written by a later version.

        ``previous_tick`` is the one that was applied before this slice (the same as ``now`` where the slice has none): records
        are judged as of it, for they lie before the cut of ``now``. Live: records in the order in which they came, then at most
        ``max_deadlines`` deadlines that are due by ``now``. Replay: ``records`` are a whole step up to the tick ``now``; they are
        put into the order of a replay ("The order of a replay" in ``streams/engine/README.md``), and all deadlines up to ``now``
        fire, each on its day.
        ``paused`` are the topics of this partition that are not read for now: what they would say is unknown.
        ``step`` is the replay's step when a tick is applied, -1 otherwise. The memory does not change before ``on_committed``.
        """

    def on_committed(self, result: FoldResult) -> None:
        """The slice is committed: the memory takes its changes over."""


class Slices(Protocol):
    """An agent's engine, as the short files that know Faust see it."""

    @property
    def slices(self) -> Any:
        """The channel on which slices come."""

    @property
    def concurrency(self) -> int:
        """How many slices, of different partitions, are in flight at once."""

    async def apply(self, work: Any) -> None:
        """Fold and commit one slice. Never raises: after a failure the partition starts again from what is committed."""
