"""Rows that a later version wrote: never written back without what this one does not know, never lost, never decoded."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest

import agents.debtor.state
from agents.brain import NewerRowError
from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import HEADER, OPENED, ROW_VERSION, SCORE, item_key, state_key
from agents.debtor.state import Opening, decode
from agents.debtor.store.row_store import RowStore
from agents.registry import AGENTS
from tests.support.builders import Life, at, invoice, payment, received_events

STORED = {2: "0e3473cbcca2b7fe", 3: "75856a6cd1241ceb"}
"""Version of the rows -> a hash of what is stored in them."""


def rows_of(life: Life) -> dict[str, bytes]:
    """All rows as they are written, by their keys in the state topic."""
    store = life.brain._store
    return {state_key(customer_id, key): value for customer_id in store for key, value in store.peek(customer_id).items()}


def life_that_has_learned() -> Life:
    life = Life()
    life.tell(*(invoice(f"i-{n}", 0) for n in range(5)), now=at(0))
    for n in range(1, 60):
        life.until(n)
    assert len(life.row(SCORE).cells) > 0
    return life


def restore(rows: dict[str, bytes], *, at_once: bool) -> DebtorBrain:
    brain = DebtorBrain()
    if at_once:
        brain.restore_snapshot(DebtorBrain.pack_snapshot(rows.items()))
    else:
        for key, value in rows.items():
            brain.restore(key, value)
    return brain


@pytest.mark.parametrize("at_once", [True, False])
def test_a_debtor_of_a_later_version_is_never_written_back_by_this_one(*, at_once: bool) -> None:
    life = life_that_has_learned()
    rows = rows_of(life)
    header = json.loads(rows["c-1\x1f"])
    rows["c-1\x1f"] = json.dumps({**header, "version": ROW_VERSION + 1, "new_field": "what a later version keeps here"}).encode()
    with pytest.raises(NewerRowError, match=f"of version {ROW_VERSION + 1}, and this code knows them up to {ROW_VERSION}"):
        restore(rows, at_once=at_once).fold(
            received_events(invoice("i-99", 60)), None, life.context, replay=False, previous_tick=at(59)
        )
    with pytest.raises(NewerRowError):
        restore(rows, at_once=at_once).fold([], at(200), life.context, replay=False, previous_tick=at(59))


def test_a_header_of_a_version_between_keeps_what_the_score_has_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    life = life_that_has_learned()
    rows = rows_of(life)
    header = json.loads(rows["c-1\x1f"])
    rows["c-1\x1f"] = json.dumps({**header, "version": 2}).encode()
    monkeypatch.setattr(agents.debtor.state, "ROW_VERSION", ROW_VERSION + 1)
    brain = restore(rows, at_once=False)
    folded = brain.fold(received_events(invoice("i-99", 60)), None, life.context, replay=False, previous_tick=at(59))
    assert json.loads(folded.rows["c-1\x1f"] or b"")["version"] == ROW_VERSION + 1
    score_row = folded.rows.get(state_key("c-1", SCORE)) or rows[state_key("c-1", SCORE)]
    assert decode(SCORE, score_row).cells == life.row(SCORE).cells  # type: ignore[union-attr]


@pytest.mark.parametrize("max_open_rows", [0, 1 << 30])
@pytest.mark.parametrize("at_once", [True, False])
def test_rows_of_unknown_kinds_keep_their_bytes_and_change_no_decision(max_open_rows: int, *, at_once: bool) -> None:
    """Restored, packed, opened, fired beside and appended to: they stay what they were, and nothing writes or deletes them."""
    earlier = life_that_has_learned()
    rows = rows_of(earlier)
    unknown = {
        state_key("c-1", "q/new"): json.dumps({"wake": at(61).date().toordinal()}).encode(),
        state_key("c-1", "Z"): b"\x00 no JSON at all",
        state_key("c-8", "q/of a debtor without a header"): b"\xff",
        "\x1fother": b"a row of the partition that this version does not know",
    }
    lives = Life(), Life()
    for life, extra in zip(lives, ({}, unknown), strict=True):
        life.brain = restore({**rows, **extra}, at_once=at_once)
        life.brain._store._max_open_rows = max_open_rows
    changed: set[str] = set()
    for n in range(60, 130, 5):
        events = [invoice(f"i-{n}", n), invoice(f"o-{n}", n, customer=f"c-{n}"), payment(f"p-{n}", n, {f"i-{n}": "100.00"})]
        for life in lives:
            folded = life.brain.fold(received_events(*events), at(n), life.context, replay=False, previous_tick=at(n - 5))
            life.brain.on_committed(folded)
            life.outputs += folded.outputs
            assert not folded.rejected and not folded.failures
            changed |= folded.rows.keys()
    plain, other = lives
    assert plain.outputs == other.outputs and len(plain.outputs) > 10
    assert changed.isdisjoint(unknown)
    rows_after = rows_of(other)
    assert {key: value for key, value in rows_after.items() if key in unknown} == {
        k: v for k, v in unknown.items() if k != "\x1fother"
    }
    assert {key: value for key, value in rows_after.items() if key not in unknown} == rows_of(plain)
    assert dict(other.brain.rows()) == dict(plain.brain.rows())


def test_a_row_of_an_unknown_kind_stays_beside_new_rows_of_a_packed_debtor() -> None:
    store = RowStore(0)
    store.write("c-1", {HEADER: b"{}", "q/new": b"\x00"})
    store.evict()
    for n in range(300):
        store.write("c-1", {item_key(f"i-{n}"): b"x" * 20})
        store.evict()
    assert store.peek("c-1")["q/new"] == b"\x00" and len(store.peek("c-1")) == 302


# -- that nobody changes rows without saying so


def stored_shape(info: Any) -> Any:
    """What is written of a type: the names of fields as they are stored (of arrays only their order), and their types."""
    if isinstance(info, msgspec.inspect.StructType):
        return [[None if info.array_like else field.encode_name, stored_shape(field.type)] for field in info.fields]
    parts = [getattr(info, name, ()) for name in ("types", "item_types", "item_type", "key_type", "value_type", "values")]
    flat = [part for entry in parts for part in (entry if isinstance(entry, tuple) else [entry])]
    return [type(info).__name__, *(stored_shape(part) if isinstance(part, msgspec.inspect.Type) else part for part in flat)]


def test_whoever_changes_what_rows_hold_raises_their_version() -> None:
    """Without that an older worker would take the partition over, and drop the new field with its next write."""
    kinds_of_rows = {**agents.debtor.state._KINDS, OPENED: Opening}
    kinds = {kind: stored_shape(msgspec.inspect.type_info(row)) for kind, row in kinds_of_rows.items()}
    digest = hashlib.sha256(msgspec.json.encode(kinds, order="sorted")).hexdigest()[:16]
    assert STORED.get(ROW_VERSION) == digest, (
        "what rows hold has changed: raise ROW_VERSION in agents/debtor/keys.py, unless that is done already, and enter"
        f' {{{ROW_VERSION}: "{digest}"}}, with the new number, in STORED'
    )


def test_the_registry_states_the_version_of_the_rows() -> None:
    assert AGENTS["debtor"].row_format == ROW_VERSION
