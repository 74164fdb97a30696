"""Published outputs are in ClickHouse once and as they are recomputed; what is missing, altered or made up is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.registry import AGENTS
from schemas.base import parse_time
from schemas.events.envelope import Output
from schemas.registry import CONTRACTS
from streams.audit import outputs
from streams.audit.outputs import ExpectedRow, View, compare_output, row_of
from streams.recompute.difference import Difference

Row = dict[str, Any]


def pages(rows: Iterable[Row]) -> Callable[[int, str], Sequence[Row]]:
    """As ClickHouse gives them: in the order of offset and id, behind the last one."""
    ordered = sorted(rows, key=lambda row: (row["offset"], row["id"]))

    def page(offset: int, ident: str) -> Sequence[Row]:
        return [row for row in ordered if (row["offset"], row["id"]) > (offset, ident)][: outputs.PAGE]

    return page


def alert(number: int, severity: str = "info", **more: Any) -> Row:
    return {"id": f"a-{number}", "customer_id": f"c-{number}", "severity": severity, "offset": number} | more


def expected(row: Row, *, judged: bool = True) -> ExpectedRow:
    return ExpectedRow(row.get("customer_id", "learner 0"), {k: v for k, v in row.items() if k != "offset"}, judged)


def differences_in(
    view: View, fold: Iterable[ExpectedRow], since: int = 0, end: int = 0, judged: bool = True
) -> list[Difference]:
    """All that a view and the outputs differ in."""
    differences = [difference for output in fold for difference in view.add(output)]
    return [*differences, *view.finish(), *view.unknown(since, end, lambda _: judged)]


def as_tuples(differences: Iterable[Difference]) -> list[tuple[str, ...]]:
    return [(d.subject, d.where, d.field, d.expected, d.found) for d in differences]


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "PAGE", 3)


@pytest.mark.parametrize("count", [0, 1, 3, 7, 12])
def test_what_is_there_once_and_alike_is_no_difference(count: int) -> None:
    rows = [alert(number) for number in range(count)]
    assert differences_in(View("alerts", "debtor 0", pages(rows)), map(expected, rows)) == []


def test_little_waits_for_the_other_side() -> None:
    rows = [alert(number) for number in range(100)]
    view = View("alerts", "debtor 0", pages(rows))
    for row in rows:
        assert not list(view.add(expected(row)))
        assert len(view._expected) < outputs.PAGE
        assert not view._actual


def test_missing_altered_and_made_up_are_named_with_debtor_field_and_both_values() -> None:
    rows = [alert(0), alert(1, "critical"), alert(3), alert(4, id="made-up"), alert(5)]

    differences = differences_in(View("alerts", "debtor 0", pages(rows)), map(expected, map(alert, (0, 1, 2, 3, 5))))

    assert {difference.kind for difference in differences} == {"outputs"}
    assert sorted(as_tuples(differences)) == [
        ("c-1", "alerts a-1", "severity", "info", "critical"),
        ("c-2", "alerts a-2", "id", "a-2", "absent"),
        ("c-4", "alerts made-up", "id", "absent", "made-up"),
    ]


@pytest.mark.parametrize("apart", [1, 9], ids=["in one page", "pages apart"])
def test_a_row_that_a_view_shows_twice_is_named(apart: int) -> None:
    rows = [alert(number) for number in range(12)]
    duplicate = alert(1, customer_id="c-other", offset=1 + apart)
    [difference] = differences_in(View("alerts", "debtor 0", pages([*rows, duplicate])), map(expected, rows))
    assert (difference.where, difference.subject) == ("alerts a-1", "c-other")


def test_a_row_that_a_later_slice_may_have_written_is_not_judged_and_one_behind_the_log_is() -> None:
    rows = [alert(number) for number in range(6)]
    differences = differences_in(View("alerts", "debtor 0", pages(rows)), map(expected, rows[:3]), since=3, end=5)
    assert as_tuples(differences) == [("c-5", "alerts a-5", "id", "absent", "a-5")]


def test_of_what_other_code_decided_nothing_is_asserted() -> None:
    rows = [alert(0, "critical"), alert(1)]
    unjudged = [expected(alert(number), judged=False) for number in (0, 2)]
    assert differences_in(View("alerts", "debtor 0", pages(rows)), unjudged, judged=False) == []


def quality(ident: str, labels: int, offset: int, day: str = "2026-03-01") -> Row:
    key = {"target": "late", "segment": "all", "scorer": "hedge", "day": day}
    return {"id": ident, "labels": labels, "offset": offset, **key}


def test_of_a_day_that_was_measured_again_the_last_one_counts() -> None:
    first, last = quality("q-0", 10, 0), quality("q-9", 12, 9)
    other_days = [quality(f"q-{number}", 5, number, f"2026-02-0{number}") for number in range(1, 9)]

    assert (
        differences_in(View("model_quality", "learner 0", pages([*other_days, last])), map(expected, [first, *other_days, last]))
        == []
    )
    stale = differences_in(View("model_quality", "learner 0", pages([first])), map(expected, [first, last]))
    assert as_tuples(stale) == [("learner 0", "model_quality q-0", "id", "q-9", "q-0")]


def output(kind: str, topic: str, name: str = "2-full") -> Output:
    """A golden example as the brain sends it."""
    envelope = orjson.loads(Path(f"schemas/examples/{kind}/{name}.json").read_bytes())
    data = CONTRACTS[kind].model_validate_json(orjson.dumps(envelope["data"]))
    at = parse_time(envelope["time"])
    return Output(topic, envelope.get("partitionkey", ""), kind, envelope["id"], at, at, data, causation_id="cause-1")


@pytest.mark.parametrize(
    ("kind", "topic", "view"),
    [
        ("duewatch.score.computed.v1", "scores", "scores"),
        ("duewatch.alert.raised.v1", "alerts", "alerts"),
        ("duewatch.limit.changed.v1", "limit-changes", "limit_changes"),
        ("duewatch.limit.proposed.v1", "limit-proposals", "limit_proposals"),
        ("duewatch.example.matured.v1", "training-examples", "training_examples"),
        ("duewatch.deadline.failed.v1", "dead-letters", "failed_deadlines"),
        ("duewatch.model.measured.v1", "model-quality", "model_quality"),
        ("duewatch.model.alerted.v1", "model-quality", "model_alerts"),
    ],
)
def test_an_output_is_compared_as_the_sink_writes_it(kind: str, topic: str, view: str) -> None:
    example = output(kind, topic)

    name, row = row_of(example, 3) or ("", {})

    assert name == view
    assert any(topic == views.get(view) for views in (agent.views for agent in AGENTS.values()))
    assert (row["id"], row["partition"]) == (example.id, 3)
    assert "offset" not in row


def test_what_has_no_table_is_left_alone() -> None:
    assert row_of(output("duewatch.source.pause_changed.v1", "dead-letters"), 0) is None


def test_values_are_compared_and_not_how_they_are_written() -> None:
    recomputed = expected({"id": "i", "new_limit": "91100.00", "at": "2026-03-01T00:00:00Z", "would_change": None, "hold": False})
    other = {"band": "", "p": 0}
    stored = {"id": "i", "new_limit": 91100, "at": "2026-03-01 00:00:00.000000", "would_change": other, "hold": False}

    assert not list(compare_output("limit_changes i", recomputed, stored))
    [difference] = compare_output("limit_changes i", recomputed, stored | {"new_limit": 91100.01})
    assert (difference.field, difference.expected, difference.found) == ("new_limit", "91100.00", "91100.01")
    [difference] = compare_output("limit_changes i", recomputed, stored | {"would_change": {"band": "weak", "p": 0}})
    assert (difference.field, difference.expected) == ("would_change", "absent")
