"""A decision is recorded as it is recomputed, and described: before, cause, after, inputs of the rule, rule, equality."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from agents.version import CODE_VERSION
from schemas.events.envelope import Output
from schemas.outputs.limits import LimitChanged
from streams.explain import describe, find, render, reproduce
from streams.explain.find import PublishedDecision
from streams.explain.reproduce import Reproduction
from streams.kafka.codec import encode
from streams.kafka.log import LoggedRecord
from streams.recompute.decisions import DECISION_TOPICS, RecordingBrain
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


def published(output: Output) -> PublishedDecision:
    return find.published_decision(output.topic, 0, record(output))


def reproduced(output: Output, versions: frozenset[str] = frozenset({CODE_VERSION})) -> Reproduction:
    brain = RecordingBrain(output.id)
    life = Life(context())
    life.brain = brain
    live(life)
    differences = list(reproduce.compare_bytes(record(output), brain.decision.output)) if brain.decision else []
    return Reproduction(published(output), brain.decision, None, versions, differences)


def of(topic: str, nth: int = 0) -> Output:
    return [o for o in LIFE.outputs if o.topic == topic][nth]


@pytest.mark.parametrize("output", [o for o in LIFE.outputs if o.topic in DECISION_TOPICS], ids=lambda o: f"{o.topic} {o.id[:8]}")
def test_a_decision_is_made_again_bit_for_bit(output: Output) -> None:
    reproduction = reproduced(output)
    assert reproduction.is_equal
    assert reproduction.differences == []


def test_the_witness_has_the_debtor_before_and_after_the_cause() -> None:
    recorded = reproduced(of("limit-changes", -1)).recorded
    assert recorded is not None
    changed = {(row, field): (before, after) for row, field, before, after in describe.changes(recorded)}
    assert changed["header", "limit.overdue_acted"] == (None, True)
    before, after = changed["header", "limit.amount"]
    assert float(after) < float(before)


def rule_inputs(output: Output) -> dict[str, Any]:
    recorded = reproduced(output).recorded
    assert recorded is not None
    return describe.rule_inputs(recorded, published(output).data)


def test_what_the_rules_looked_at_and_their_parameters() -> None:
    alert, change, score = of("alerts"), of("limit-changes", -1), of("scores")
    assert rule_inputs(alert)["overdue_items"] == 1
    assert rule_inputs(change)["is_overdue"] is True
    assert rule_inputs(score)["weekday"] >= 0
    assert describe.parameters(context(), published(alert).data)["alerts.overdue_days"] == "15"
    assert describe.parameters(context(), published(change).data)["limits.weak_factor"] == "0.5"
    assert "bands.late_weak_from" in describe.parameters(context(), published(score).data)


def test_a_decision_that_comes_out_otherwise_is_told_field_by_field() -> None:
    output = of("limit-changes", -1)
    value, headers = encode(output)
    other = orjson.dumps(orjson.loads(value) | {"new_limit": "1.00"})
    altered = LoggedRecord(5, b"c-1", other, headers, 0)
    wrong = find.published_decision(output.topic, 0, altered)
    recorded = reproduced(output).recorded
    assert recorded is not None

    differences = list(reproduce.compare_bytes(altered, recorded.output))

    assert [(field, before) for field, before, _ in differences] == [("new_limit", "1.00")]
    reproduction = Reproduction(wrong, recorded, None, frozenset({CODE_VERSION}), differences)
    assert reproduction.is_equal is False
    assert "it differs from what was published" in render.render(reproduction)


def test_other_code_is_named_and_nothing_asserted() -> None:
    reproduction = reproduced(of("alerts"), frozenset({CODE_VERSION, "0.0.1"}))
    assert reproduction.is_equal is None
    text = render.render(reproduction)
    assert "Version 0.0.1 of the code made this decision" in text
    assert "proves nothing either way" in text


def test_a_decision_that_does_not_come_out_again_is_told() -> None:
    reproduction = Reproduction(published(of("alerts")), None, None, frozenset({CODE_VERSION}))
    assert reproduction.is_equal is False
    assert "do not lead to this decision" in render.render(reproduction)
    assert describe.as_dict(reproduction)["made_again"]["reproduced"] is False


def test_decisions_are_found_by_the_id_that_people_know() -> None:
    output = of("limit-changes")
    altered, data = record(output), published(output).data
    assert isinstance(data, LimitChanged)
    assert find.has_id("limit-changes", altered, output.id)
    assert find.has_id("limit-changes", altered, data.limit_change_id)
    assert not find.has_id("limit-changes", altered, data.customer_id)


def test_days_are_told_as_days_and_ids_are_left_alone() -> None:
    assert render.readable(738000) == "2021-07-29"
    assert render.readable("738000") == "738000"
