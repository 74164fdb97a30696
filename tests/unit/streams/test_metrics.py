"""Metric names are a contract, labels stay few."""

from __future__ import annotations

import urllib.request

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from streams.errors import UserError
from streams.metrics import NAMES, Metrics
from streams.process.children import free_port


def families(metrics: Metrics) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}


def test_every_name_is_served_with_its_meaning() -> None:
    found = families(Metrics())
    for name in NAMES:
        family = found[name.removesuffix("_total")]
        assert family.documentation.endswith(".")


def test_nothing_of_ours_is_served_under_another_name() -> None:
    ours = {name for name in families(Metrics()) if name.startswith("duewatch_")}
    assert ours == {name.removesuffix("_total") for name in NAMES}


def test_no_series_tells_when_a_counter_or_a_histogram_began() -> None:
    metrics = Metrics()
    metrics.record("payments", "applied")
    metrics.commit.labels("debtor").observe(0.01)
    assert "_created" not in metrics.render().decode()


def test_outcomes_are_counted_by_topic() -> None:
    metrics = Metrics()
    metrics.record("payments", "applied", 3)
    metrics.record("payments", "duplicate")
    samples = families(metrics)["duewatch_events"].samples
    values = {sample.labels["outcome"]: sample.value for sample in samples if sample.name == "duewatch_events_total"}
    assert values == {"applied": 3, "duplicate": 1}


def test_the_lag_of_a_partition_that_went_elsewhere_is_forgotten() -> None:
    metrics = Metrics()
    metrics.set_lags(("payments",), {("payments", 0): 5, ("payments", 1): 7})
    metrics.set_lags(("training-examples",), {("training-examples", 0): 1})
    metrics.set_lags(("payments",), {("payments", 1): 6})
    samples = families(metrics)["duewatch_partition_lag"].samples
    values = {(sample.labels["topic"], sample.labels["partition"]): sample.value for sample in samples}
    assert values == {("payments", "1"): 6, ("training-examples", "0"): 1}


def test_they_are_served_and_a_port_that_is_taken_is_told() -> None:
    port = free_port()
    metrics = Metrics()
    metrics.serve(port, "127.0.0.1")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b"duewatch_sink_lag" in answer.read()
    with pytest.raises(UserError, match=rf"127.0.0.1:{port} \(Address already in use\): choose another --metrics-port"):
        metrics.serve(port, "127.0.0.1")


def test_pauses_are_told_of_every_topic() -> None:
    metrics = Metrics()
    metrics.set_paused(("payments", "decisions"), {"payments": [1, 3]})
    samples = families(metrics)["duewatch_paused"].samples
    assert {sample.labels["topic"]: sample.value for sample in samples} == {"payments": 2, "decisions": 0}


def test_processes_do_not_share_instruments() -> None:
    one, other = Metrics(), Metrics()
    one.sink_rows.labels("events").inc()
    assert "events" not in {sample.labels.get("table") for sample in families(other)["duewatch_sink_rows"].samples}


def test_no_label_could_hold_a_customer() -> None:
    allowed = {"topic", "outcome", "agent", "reason", "partition", "table", "kind"}
    metrics = Metrics()
    instruments = [value for value in vars(metrics).values() if hasattr(value, "_labelnames")]
    assert len(instruments) == len(NAMES)
    assert {label for instrument in instruments for label in instrument._labelnames} <= allowed
