"""A decision is watched as it is made again, and told: before, cause, after, what was looked at, rule, equality."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from agents.version import CODE_VERSION
from schemas.events.envelope import Output
from schemas.outputs.limits import LimitChanged
from streams.explain import describe, render, reproduce
from streams.explain.reproduce import Explained, PublishedDecision, RecordingBrain
from streams.kafka.codec import encode
from streams.recompute.journal import LoggedRecord
from tests.support.builders import Life, context, invoice

FIRST = invoice("I-1", 0, amount="900.00", due=10)


def live(life: Life) -> Life:
    """A debtor whose invoice falls overdue: scores, an opening limit, a cut, an alert."""
    life.tell(FIRST)
    life.until(60)
    return life


LIFE = live(Life(context()))


def record(output: Output) -> LoggedRecord:
    value, headers = encode(output)
    return LoggedRecord(5, output.key.encode(), value, headers, 0)


def emitted(output: Output) -> PublishedDecision:
    return reproduce._emitted(output.topic, 0, record(output))


def made_again(output: Output, versions: frozenset[str] = frozenset({CODE_VERSION})) -> Explained:
    witness = RecordingBrain(output.id)
    life = Life(context())
    life.book = witness
    live(life)
    seen = witness.seen
    went_out = emitted(output)
    differs = list(reproduce.differences(record(output), seen.output)) if seen else []
    return Explained(went_out, seen, None, versions, differs)


def of(topic: str, nth: int = 0) -> Output:
    return [o for o in LIFE.outputs if o.topic == topic][nth]


@pytest.mark.parametrize(
    "output", [o for o in LIFE.outputs if o.topic in reproduce.TOPICS], ids=lambda o: f"{o.topic} {o.id[:8]}"
)
def test_a_decision_is_made_again_bit_for_bit(output: Output) -> None:
    made = made_again(output)
    assert made.is_equal
    assert made.differs == []


def test_the_witness_has_the_debtor_before_and_after_the_cause() -> None:
    seen = made_again(of("limit-changes", -1)).seen
    assert seen is not None
    changed = {(row, field): (before, after) for row, field, before, after in describe.changes(seen)}
    assert changed["header", "limit.overdue_acted"] == (None, True)
    before, after = changed["header", "limit.amount"]
    assert float(after) < float(before)


def looked_at(output: Output) -> dict[str, Any]:
    seen = made_again(output).seen
    assert seen is not None
    return describe.looked_at(seen, emitted(output).data)


def test_what_the_rules_looked_at_and_their_parameters() -> None:
    alert, change, score = of("alerts"), of("limit-changes", -1), of("scores")
    assert looked_at(alert)["overdue_items"] == 1
    assert looked_at(change)["is_overdue"] is True
    assert looked_at(score)["weekday"] >= 0
    assert describe.parameters(context(), emitted(alert).data)["alerts.overdue_days"] == "15"
    assert describe.parameters(context(), emitted(change).data)["limits.weak_factor"] == "0.5"
    assert "bands.late_weak_from" in describe.parameters(context(), emitted(score).data)


def test_a_decision_that_comes_out_otherwise_is_told_field_by_field() -> None:
    output = of("limit-changes", -1)
    value, headers = encode(output)
    other = orjson.dumps(orjson.loads(value) | {"new_limit": "1.00"})
    lies = LoggedRecord(5, b"c-1", other, headers, 0)
    went_out = reproduce._emitted(output.topic, 0, lies)
    seen = made_again(output).seen
    assert seen is not None

    differs = list(reproduce.differences(lies, seen.output))

    assert [(field, before) for field, before, _ in differs] == [("new_limit", "1.00")]
    made = Explained(went_out, seen, None, frozenset({CODE_VERSION}), differs)
    assert made.is_equal is False
    assert "it differs from what went out" in render.rendered(made)


def test_other_code_is_named_and_nothing_asserted() -> None:
    made = made_again(of("alerts"), frozenset({CODE_VERSION, "0.0.1"}))
    assert made.is_equal is None
    shown = render.rendered(made)
    assert "Decided by version 0.0.1" in shown
    assert "Nothing is asserted" in shown


def test_a_decision_that_does_not_come_out_again_is_told() -> None:
    made = Explained(emitted(of("alerts")), None, None, frozenset({CODE_VERSION}))
    assert made.is_equal is False
    assert "does not come out" in render.rendered(made)
    assert describe.as_dict(made)["made_again"]["reproduced"] is False


def test_decisions_are_found_by_the_id_that_people_know() -> None:
    output = of("limit-changes")
    lies, data = record(output), emitted(output).data
    assert isinstance(data, LimitChanged)
    assert reproduce._is_named("limit-changes", lies, output.id)
    assert reproduce._is_named("limit-changes", lies, data.limit_change_id)
    assert not reproduce._is_named("limit-changes", lies, data.customer_id)


def test_days_are_told_as_days_and_ids_are_left_alone() -> None:
    assert render.readable(738000) == "2021-07-29"
    assert render.readable("738000") == "738000"
