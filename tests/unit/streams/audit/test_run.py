"""Differences are found field by field, reported for people and for programs, and counted for alarms."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import orjson
import pytest

from agents.brain import FoldResult
from agents.debtor.limits.state import Limit
from agents.debtor.payments.state import Balance
from agents.debtor.state import Header
from agents.version import CODE_VERSION
from schemas.outputs.operations import Run, SliceCommitted
from streams.audit import amounts, run, state
from streams.audit.report import Report, as_json, as_text
from streams.errors import UsageError, UserError
from streams.kafka import topics
from streams.metrics import Metrics
from streams.recompute.difference import Difference
from streams.recompute.journal import RecomputedSlice
from streams.settings import Settings
from tests.support.builders import context

ZERO = Decimal("0.00")
OWES = Header(
    balances={
        "EUR": Balance(
            buckets=(Decimal("80.00"), Decimal("20.00"), ZERO, ZERO, ZERO),
            disputed=(Decimal("15.00"), ZERO, ZERO, ZERO, ZERO),
            unapplied=Decimal("30.00"),
        )
    }
)
TOLD = {"exposure": "70", "open_amount": "100", "unapplied": "30", "disputed_amount": "15.000", "overdue_amount": "20"}


def test_rows_are_compared_field_by_field() -> None:
    expected = {"c-1\x1f": b'{"limit":{"amount":"100.00"},"seen":1}', "c-1\x1fi/1": b'{"open":"5.00"}'}
    stored = {"c-1\x1f": b'{"limit":{"amount":"900.00"},"seen":1}', "c-2\x1fi/2": b'{"open":"1.00"}'}

    differences = [(d.subject, d.where, d.field, d.expected, d.found) for d in state.compare_rows(expected, stored, "debtor 0")]

    assert differences == [
        ("c-1", "header", "limit.amount", "100.00", "900.00"),
        ("c-1", "i/1", "row", '{"open":"5.00"}', "absent"),
        ("c-2", "i/2", "row", "absent", '{"open":"1.00"}'),
    ]


def test_the_same_values_in_other_bytes_are_a_difference() -> None:
    differences = list(state.compare_rows({"c\x1f": b'{"a":1}'}, {"c\x1f": b'{"a": 1}'}, "debtor 0"))
    assert [d.field for d in differences] == ["bytes"]


def test_bytes_that_are_no_json_are_shown() -> None:
    differences = list(state.compare_rows({"c\x1f": b'{"a":1}'}, {"c\x1f": b"\xff"}, "debtor 0"))
    assert differences[0].found == "b'\\xff'"


def test_what_a_debtor_owes_is_compared_by_currency() -> None:
    text = {("c-1", "EUR"): TOLD | {"exposure": "69.5", "disputed_amount": "14"}, ("c-1", "USD"): TOLD}

    differences = list(amounts.compare_amounts("c-1", OWES, text, {"EUR", "USD"}))

    assert Difference("clickhouse", "c-1", "debtors EUR", "exposure", "70.00", "69.50") in differences
    assert Difference("clickhouse", "c-1", "debtors EUR", "disputed_amount", "15.00", "14.00") in differences
    assert {d.where for d in differences} == {"debtors EUR", "debtors USD"}
    assert not list(amounts.compare_amounts("c-1", OWES, {("c-1", "EUR"): TOLD}, {"EUR"}))


def test_the_last_limit_is_compared_with_the_announced_one() -> None:
    header = Header(limit=Limit(action="act", generation=2, sequence=3, amount=Decimal("500.00")))
    text = {"last": [2, 3], "credit_limit": "500", "hold": False}

    assert not list(amounts.compare_limit("c-1", header, text))
    assert not list(amounts.compare_limit("c-1", Header(), None))
    [wrong] = amounts.compare_limit("c-1", header, text | {"credit_limit": "600"})
    assert (wrong.where, wrong.field, wrong.expected, wrong.found) == ("limit_changes", "credit_limit", "500.00", "600.00")
    assert {d.found for d in amounts.compare_limit("c-1", header, None)} == {"absent"}


def test_a_hole_between_runs_is_a_difference() -> None:
    run_ends: dict[str, int] = {}
    assert not list(state._check_runs(run_ends, [Run(topic="payments", start=0, end=5)], "debtor 0", 1))
    [hole] = state._check_runs(run_ends, [Run(topic="payments", start=7, end=9)], "debtor 0", 2)
    assert (hole.where, hole.field, hole.expected, hole.found) == ("slice 2", "payments.start", "5", "7")


def report(*differences: Difference) -> Report:
    example = Report(max_differences=2)
    example.add(differences)
    example.compared["rows"] = 1_000
    return example


def test_a_report_names_debtor_field_and_both_values_and_counts_the_rest() -> None:
    differences = [Difference("state", f"c-{n}", "header", "limit.amount", "100.00", "900.00") for n in range(3)]

    text = as_text(report(*differences), limit=1)

    assert text.splitlines()[1].split() == ["state", "c-0", "header", "limit.amount", "100.00", "900.00"]
    assert "and 2 more" in text
    assert "Differences: 3 in state." in text
    assert "No difference. Compared 1,000 rows" in as_text(report(), limit=1)


def test_programs_get_all_of_it() -> None:
    text = orjson.loads(as_json(report(Difference("events", "c-1", "payments/0/7", "id", "e-7", "absent"))))
    assert (text["clean"], text["counts"]["events"], text["differences"][0]["found"]) == (False, 1, "absent")


def test_metrics_tell_outcome_and_differences_by_kind() -> None:
    metrics = Metrics()
    run.record_outcome(metrics, report(Difference("state", "c", "r", "f", "1", "2")))
    run.record_outcome(metrics, None)
    served = metrics.render().decode()
    assert 'duewatch_audit_differences{kind="state"} 1.0' in served
    assert 'duewatch_audit_differences{kind="events"} 0.0' in served
    assert 'duewatch_audit_time_seconds{outcome="failed"}' in served
    assert 'outcome="clean"' not in served


@pytest.mark.parametrize("text", ["1", "h", "0h", "1.5h", "soon"])
def test_a_span_that_is_none_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="15m or 1h"):
        run.seconds_of(text)


def test_a_prefix_that_is_not_there_is_told_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    partitions = {"a-debtor-state": 4, "a-payments": 4, "b-debtor-state": 8}
    monkeypatch.setattr(topics, "existing_partitions", lambda _: partitions)
    monkeypatch.setattr(topics, "require_kafka", lambda _: None)
    assert topics.deployed(Settings(prefix="b")).partitions == 8
    with pytest.raises(UserError, match="There are: a, b"):
        topics.deployed(Settings(prefix="c"))


def slice_of(code_version: str, *customers: str) -> RecomputedSlice:
    journal = SliceCommitted(
        agent="debtor", partition=0, number=1, runs=(), order="arrival", tick=None, tick_offset=None, context_version="c",
        code_version=code_version, applied=0, duplicates=0, rejected=0, outputs=0,
    )  # fmt: skip
    result = FoldResult(rows={f"{customer}\x1f": b"{}" for customer in customers})
    return RecomputedSlice(journal, result, (), (), None, context(), 0)


def test_of_what_other_code_decided_nothing_is_asserted_and_that_is_told() -> None:
    foreign = state._ForeignCode("debtor 0")
    foreign.add(slice_of("0.0.9", "c-old"))
    foreign.add(slice_of(CODE_VERSION, "c-new"))
    differences = [Difference("state", customer, "header", "seen", "1", "2") for customer in ("c-old", "c-old", "c-new")]

    certain, unclear = foreign.split(differences)

    assert [difference.subject for difference in certain] == ["c-new"]
    assert unclear == {f"against the log: version 0.0.9 of the code decided on them, this is {CODE_VERSION}": 1}
    example = report()
    example.debtors_not_judged += unclear
    assert "1 debtors could not be judged against the log: version 0.0.9" in as_text(example, limit=1)


def test_topics_that_are_paused_are_named_beside_a_clean_outcome() -> None:
    example = report()
    for partition in (1, 3):
        example.add_partition(state.PartitionAudit(paused=frozenset({"payments"})), partition)

    text = as_text(example, limit=1)

    assert "payments is paused in partition 1, 3: records that wait there were not compared" in text
    assert "No difference" in text
    assert orjson.loads(as_json(example))["paused"] == {"payments": [1, 3]}


def test_outputs_that_are_not_judged_are_counted_by_why() -> None:
    example = report()
    example.add_partition(state.PartitionAudit(outputs_not_judged=Counter({"against ClickHouse: version 0.0.9": 7})), 0)
    example.add_partition(state.PartitionAudit(outputs_not_judged=Counter({"against ClickHouse: version 0.0.9": 5})), 1)
    assert "12 outputs could not be judged against ClickHouse: version 0.0.9" in as_text(example, limit=1)
    assert orjson.loads(as_json(example))["outputs_not_judged"] == {"against ClickHouse: version 0.0.9": 12}


def test_who_was_decided_on_by_other_code_is_not_judged_from_then_on() -> None:
    foreign = state._ForeignCode("debtor 0")
    foreign.add(slice_of(CODE_VERSION, "c-old"))
    assert foreign.can_judge("c-old")
    foreign.add(slice_of("0.0.9", "c-old"))
    foreign.add(slice_of(CODE_VERSION, "c-old", "c-new"))
    assert (foreign.can_judge("c-old"), foreign.can_judge("c-new")) == (False, True)


def test_of_what_this_code_decided_all_is_asserted() -> None:
    same = state._ForeignCode("debtor 0")
    same.add(slice_of(CODE_VERSION, "c"))
    differences = [Difference("state", "c", "header", "seen", "1", "2")]
    assert same.split(differences) == (differences, {})
