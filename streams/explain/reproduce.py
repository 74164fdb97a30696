"""Recompute a published decision from the journal, and compare both bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from agents.debtor.keys import SEPARATOR
from agents.version import CODE_VERSION
from schemas.events.envelope import Output
from streams.explain.find import PublishedDecision
from streams.kafka.codec import encode, partition_of
from streams.kafka.log import LoggedRecord
from streams.recompute.decisions import RecordedDecision, RecordingBrain
from streams.recompute.difference import compare_fields
from streams.recompute.journal import RecomputedSlice, recompute

if TYPE_CHECKING:
    from streams.settings import Settings


@dataclass(slots=True)
class Reproduction:
    """A decision as it was published and as it is recomputed here.

    ``recorded`` and ``slice_`` are None where it could not be recomputed; ``slice_`` also where there is no journal.
    """

    publication: PublishedDecision
    recorded: RecordedDecision | None
    slice_: RecomputedSlice | None
    versions: frozenset[str]
    """Versions of the code that this debtor's state came from, up to the decision."""
    differences: list[tuple[str, Any, Any]] = field(default_factory=list)
    """(field, as it was published, as it is recomputed)."""

    @property
    def is_own_code(self) -> bool:
        """Whether the code that decided is the code that runs here."""
        return self.versions <= {CODE_VERSION}

    @property
    def is_equal(self) -> bool | None:
        """Whether both are equal bit for bit; None: another version of the code decided, and its result need not be the same."""
        if not self.is_own_code:
            return None
        return self.recorded is not None and not self.differences


def reproduce(
    settings: Settings, publication: PublishedDecision, advance: Callable[[int], None] = lambda _: None
) -> Reproduction:
    """Fold the debtor up to the decision; where that does not give it, with all debtors of its partition, as the worker did."""
    alone = _reproduce(settings, publication, {publication.data.customer_id}, advance)
    return _reproduce(settings, publication, None, advance) if alone.is_equal is False else alone


def _reproduce(
    settings: Settings, publication: PublishedDecision, customers: set[str] | None, advance: Callable[[int], None]
) -> Reproduction:
    customer = publication.data.customer_id
    brain = RecordingBrain(publication.id)
    versions = {publication.data.code_version}
    deciding_slice: RecomputedSlice | None = None
    partition = partition_of(customer.encode(), settings.partitions)
    for slice_ in recompute(settings, "debtor", partition, customers=customers, brain=brain):
        advance(1)
        if any(key.partition(SEPARATOR)[0] == customer for key in slice_.result.rows):
            versions.add(slice_.journal.code_version)
        if brain.decision is not None:
            deciding_slice = slice_
            break
    differences = []
    if brain.decision is not None and publication.record is not None:
        differences = list(compare_bytes(publication.record, brain.decision.output))
    return Reproduction(publication, brain.decision, deciding_slice, frozenset(versions), differences)


def compare_bytes(record: LoggedRecord, output: Output) -> Iterator[tuple[str, Any, Any]]:
    """Field by field where the bytes are not the same: (field, as it was published, as it is recomputed)."""
    value, headers = encode(output)
    if value != record.value:
        fields = list(compare_fields(orjson.loads(record.value or b"null"), orjson.loads(value)))
        yield from fields or [("bytes", repr(record.value), repr(value))]
    for name in dict(headers).keys() | dict(record.headers).keys():
        before, after = dict(record.headers).get(name), dict(headers).get(name)
        if before != after:
            yield name, repr(before), repr(after)
    if (record.key or b"") != output.key.encode():
        yield "key", repr(record.key), repr(output.key)
