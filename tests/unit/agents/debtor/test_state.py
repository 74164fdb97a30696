"""Rows that an earlier version wrote are read by this one, and rows are decoded only when they are touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import ROW_VERSION, SCORE, SEPARATOR, deadline_of, split_key
from agents.debtor.state import Header, decode, encode, opening_of
from schemas.events.payments import DunningSent
from tests.support.builders import Life, at, day, event, invoice, payment, received_events

VERSIONS = sorted(Path(__file__).parent.glob("rows-*.jsonl"))


def stored(path: Path) -> list[tuple[str, bytes]]:
    return [(row["key"], row["value"].encode()) for row in map(json.loads, path.read_text().splitlines())]


def _still_says(now: Any, was: Any) -> bool:
    """Later versions add fields to objects, and to the end of arrays."""
    if isinstance(was, dict):
        return all(_still_says(now.get(name), value) for name, value in was.items())
    if isinstance(was, list):
        return all(_still_says(new, value) for new, value in zip(now, was, strict=False)) and len(now) >= len(was)
    return bool(now == was)


def says(now: object, was: object) -> bool:
    """Whether a row says all that it said when it was stored; what is new comes with defaults, at the end of an array."""
    if isinstance(was, dict) and isinstance(now, dict):
        return all(name in now and says(now[name], was[name]) for name in was)
    if isinstance(was, list) and isinstance(now, list):
        return len(now) >= len(was) and all(map(says, now, was))
    return now == was


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_rows_of_every_version_so_far_load_with_what_they_said(path: Path) -> None:
    rows = stored(path)
    new_kinds = {"c", "d", "w"} if path.stem >= "rows-3" else set()
    assert {split_key(key)[1][:1] for key, _ in rows} | {SCORE} >= {"", "i", "m", "p", "s", "f", "x", "n"} | new_kinds
    for key, value in rows:
        _, row_key = split_key(key)
        row, was = decode(row_key, value), json.loads(value)
        now = json.loads(encode(row))
        assert says(now, was)
        assert deadline_of(row_key, value) == getattr(row, "next_deadline", 0)
        if isinstance(row, Header):
            assert opening_of(value) == (row.limit.action, row.limit.generation)


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_a_book_goes_on_with_rows_of_an_earlier_version(path: Path) -> None:
    life, n = Life(), 300
    for key, value in stored(path):
        life.brain.restore(key, value)
    customer = split_key(stored(path)[0][0])[0]
    life.tell(invoice("new", n, customer=customer), payment("p-new", n, {"new": "100.00"}, customer=customer), now=at(n))
    assert not life.rejections
    assert life.row("", customer).version == ROW_VERSION
    assert life.row("i/new", customer).closed == "settled"


def test_a_header_of_version_1_hands_over_what_the_score_had_learned_with_its_first_change() -> None:
    life, path = Life(), VERSIONS[0]
    for key, value in stored(path):
        life.brain.restore(key, value)
    key, value = next((key, value) for key, value in stored(path) if not split_key(key)[1])
    customer, held = split_key(key)[0], json.loads(value)["score"]
    last = held.pop("last")
    letter = DunningSent(customer_id=customer, dunning_id="d-1", level=1, sent_on=day(300))
    folded = life.brain.fold(received_events(event(letter, 300)), None, life.context, replay=False)
    header, learned = (json.loads(folded.rows[f"{customer}{SEPARATOR}{k}"] or b"") for k in ("", SCORE))
    assert says(learned, held)
    assert (header["last"], header["version"], "score" in header) == (last, ROW_VERSION, False)


def test_a_restored_row_stays_as_it_was_written_until_it_is_touched() -> None:
    book = DebtorBrain()
    book.restore("c-1\x1fi/never", b'{"wake":0,"this is":"no item"}')
    assert list(book._store) == ["c-1"]
    with pytest.raises(Exception, match="missing required field"):
        list(book.rows())
