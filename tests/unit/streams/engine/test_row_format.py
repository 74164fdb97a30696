"""The positions of a partition state the format of its rows; a newer one is refused, also by code that asks for none."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from agents.version import CODE_VERSION
from schemas.base import parse_time
from schemas.events.clock import ContextSet
from streams.engine.circuit_breaker import CircuitBreaker
from streams.engine.context import UnreadableContextError
from streams.engine.keys import CONTEXT, POSITIONS
from streams.engine.partition_task import Checkpoint, read_checkpoint
from streams.engine.row_format import NewerFormatError
from streams.engine.slicing import AppliedTick

TICK = AppliedTick(7, datetime(2026, 3, 2, 9, tzinfo=UTC), -1)
CHECKPOINT = Checkpoint({"payments": 42, "clock": 9}, TICK, 12, breakers={"payments": CircuitBreaker(3, 5)})
BEFORE_FORMATS = (
    b'{"positions":{"payments":42,"clock":9},"tick":{"number":7,"time":"2026-03-02T09:00:00Z","step":-1},"number":12,'
    b'"outcomes":{"payments":[3,"5"]}}'
)


def test_a_checkpoint_is_read_as_it_was_written_by_the_same_format_or_a_later_one() -> None:
    for checkpoint in (CHECKPOINT, Checkpoint({"payments": 3})):
        row = checkpoint.position_row(2, CODE_VERSION)
        assert read_checkpoint({POSITIONS: row}, 2, "debtor 3") == checkpoint == read_checkpoint({POSITIONS: row}, 3, "debtor 3")


def test_what_was_written_before_there_were_formats_is_read_by_every_format() -> None:
    assert read_checkpoint({POSITIONS: BEFORE_FORMATS}, 1, "debtor 3") == CHECKPOINT
    assert read_checkpoint({}, 1, "debtor 3") == Checkpoint()


def test_a_newer_format_is_refused_and_says_who_wrote_it_and_what_to_do() -> None:
    row = CHECKPOINT.position_row(3, "9.1.0")
    with pytest.raises(NewerFormatError) as refusal:
        read_checkpoint({POSITIONS: row, CONTEXT: b"what a newer version keeps here"}, 2, "debtor 3")
    assert str(refusal.value) == (
        f"the rows of debtor 3 are of format 3, written by duewatch 9.1.0; duewatch {CODE_VERSION} knows them up to format 2 and"
        ' would drop what is new: start that version or a later one instead (deploy/README.md, "Update and roll back")'
    )
    assert refusal.value.exit_code == 3


def test_code_from_before_there_were_formats_cannot_read_the_positions_whatever_they_are() -> None:
    for checkpoint in (CHECKPOINT, Checkpoint()):
        tick = orjson.loads(checkpoint.position_row(1, CODE_VERSION))["tick"]
        with pytest.raises(ValueError, match="a newer duewatch wrote this: update me"):
            parse_time(tick["time"])


def test_a_context_in_force_that_cannot_be_read_is_no_reason_to_decide_without_it() -> None:
    rows = {POSITIONS: CHECKPOINT.position_row(1, CODE_VERSION), CONTEXT: ContextSet(version="v1").model_dump_json().encode()}
    assert read_checkpoint(rows, 1, "debtor 3").context == ContextSet(version="v1")
    for broken in (b"", b"{", b"{}", b'{"version":"v1","policy":7}'):
        with pytest.raises(UnreadableContextError, match="the context in force of debtor 3 cannot be read"):
            read_checkpoint({**rows, CONTEXT: broken}, 1, "debtor 3")
