"""When a topic-partition pauses: more than half of its last 200 records, of at least 20, were broken."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.circuit_breaker import MIN_RECORDS, WINDOW, CircuitBreaker, read_breaker


@dataclass(frozen=True)
class Read:
    offset: int
    key: bytes | None = None
    value: bytes | None = b""
    headers: tuple[str, ...] = ()
    timestamp: int = 0


def breaker_after(*runs: list[bool]) -> CircuitBreaker:
    """The breaker after slices; True = broken."""
    breaker, offset = CircuitBreaker(), 0
    for run in runs:
        records = [Read(offset + number) for number in range(len(run))]
        breaker = breaker.with_records(records, {record.offset for record, broken in zip(records, run, strict=True) if broken})
        offset += len(run)
    return breaker


@pytest.mark.parametrize(
    ("run", "pauses"),
    [
        pytest.param([True] * 19, False, id="19 broken ones are too few to tell"),
        pytest.param([True] * 20, True, id="20 broken ones"),
        pytest.param([True, False] * 10, False, id="exactly half"),
        pytest.param([True, False] * 10 + [True], True, id="one more than half"),
        pytest.param([False] * 200 + [True] * 100, False, id="half of the last 200"),
        pytest.param([False] * 200 + [True] * 101, True, id="101 of the last 200"),
        pytest.param([True] * 101 + [False] * 200, False, id="broken ones that left the window"),
    ],
)
def test_it_pauses_when_more_than_half_are_broken(run: list[bool], pauses: bool) -> None:
    assert breaker_after(run).is_open is pauses


@given(st.lists(st.lists(st.booleans(), max_size=300), max_size=5))
def test_however_slices_fell_the_same_records_leave_the_same_breaker(runs: list[list[bool]]) -> None:
    together = [broken for run in runs for broken in run]
    last = together[-WINDOW:]
    breaker = breaker_after(*runs)
    assert breaker == breaker_after(together)
    assert (breaker.count, breaker.broken_count) == (len(last), sum(last))
    assert breaker.is_open is (len(last) >= MIN_RECORDS and sum(last) > len(last) / 2)
    assert read_breaker(breaker.as_row()) == breaker
