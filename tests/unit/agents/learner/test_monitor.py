"""The watch over the model: its figures, river's parts restored from JSON, the guard, and that slices do not matter."""

from __future__ import annotations

import random
from datetime import date, timedelta
from functools import partial
from math import log
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import drift, linear_model, metrics, optim, preprocessing

from agents.learner.decide import forecasts, learn_all
from agents.learner.fallback import MIN_LABELS, WINDOW_DAYS, DayLosses, Guard, judge
from agents.learner.monitor import SCORERS, MonitorState, QualityMonitor, restore_row
from agents.learner.river_models import (
    LEARNING_RATE,
    SLACK,
    THRESHOLD,
    WARM_UP_LABELS,
    Challenger,
    Drift,
    LiveChallenger,
    LiveDrift,
)
from agents.learner.state import SharedModel
from agents.learner.tallies import Tally, figures
from agents.score_model import FEATURES, logit
from schemas.base import Contract
from schemas.events.models import ExampleMatured
from schemas.outputs.quality import ModelAlerted, ModelMeasured

START = date(2026, 1, 5)
PAIRS = st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(0, 1)), min_size=2, max_size=200)


def tally_of(pairs: list[tuple[float, int]]) -> Tally:
    tally = Tally(bins={})
    for p, label in pairs:
        tally.add(p, logit(p), -log(p if label else 1 - p), label)
    return tally


def example(
    number: int,
    label: int,
    *,
    day: int,
    p: float,
    x: tuple[int, ...] | None = None,
    row: float = 0.0,
    labels: int = 50,
    late: int = 10,
    group: str = "g1",
) -> ExampleMatured:
    return ExampleMatured(
        customer_id=f"c-{number % 7}",
        example_id=f"e-{number}",
        invoice_id=f"i-{number}",
        target="late",
        label=label,
        keys=("w:1", f"gw:{group}:1", f"gx:{group}:0"),
        row_logit=row,
        row_variance=0.1,
        row_labels=labels,
        row_late=late,
        x=x or tuple([32] + [0] * (len(FEATURES) - 1)),
        p=p,
        scored_on=START,
        matured_on=START + timedelta(days=day),
    )


def stream(days: int, per_day: int, rate: float, p: float, seed: int = 1, first: int = 0, **fields: Any) -> list[ExampleMatured]:
    rng = random.Random(seed)
    width = len(FEATURES) - 1
    return [
        example(
            1000 * day + n,
            int(rng.random() < rate),
            day=day,
            p=p,
            x=(32, *(rng.randrange(-60, 60) for _ in range(width))),
            **fields,
        )
        for day in range(first, first + days)
        for n in range(per_day)
    ]


def _look(watch: QualityMonitor, model: SharedModel, one: ExampleMatured) -> None:
    watch.observe(model, one, forecasts)


def watched_over(
    examples: list[ExampleMatured], cuts: tuple[int, ...] = ()
) -> tuple[list[Contract], dict[str, bytes], SharedModel]:
    """The watch over a log in slices that end at ``cuts``; returns what it said, its rows and the models."""
    watched, model, said, rows = MonitorState(), SharedModel(), list[Contract](), dict[str, bytes | None]()
    for start, end in zip((0, *cuts), (*cuts, len(examples)), strict=True):
        ahead = watched.copy()
        watch = QualityMonitor(ahead)
        model = learn_all(model, examples[start:end], -1, partial(_look, watch))
        rows |= watch.rows()
        said += watch.outputs
        watched = ahead
    return said, {key: row for key, row in rows.items() if row is not None}, model


def _subject(data: Contract) -> tuple[str, str, int]:
    """What a measurement is about."""
    assert isinstance(data, ModelMeasured)
    return data.segment, data.scorer, data.labels


@given(PAIRS)
def test_figures_are_those_of_rivers_metrics(pairs: list[tuple[float, int]]) -> None:
    found = figures([tally_of(pairs)])
    loss, brier = metrics.LogLoss(), sum((p - y) ** 2 for p, y in pairs) / len(pairs)
    for p, y in pairs:
        loss.update(bool(y), p)

    assert found is not None
    assert found.log_loss == pytest.approx(loss.get(), abs=1e-6)
    assert found.brier == pytest.approx(brier, abs=1e-6)
    assert 0.0 <= found.ece <= 1.0


def test_the_area_of_the_bins_is_that_of_the_scores() -> None:
    rng = random.Random(3)
    pairs = [(p, int(rng.random() < p)) for p in (rng.betavariate(1.2, 2.0) for _ in range(4_000)) if 0 < p < 1]
    exact = metrics.RollingROCAUC(len(pairs))
    for p, y in pairs:
        exact.update(bool(y), p)

    found = figures([tally_of(pairs)])
    assert found is not None and found.auc == pytest.approx(exact.get(), abs=5e-4)
    assert found.ece < 0.03


def test_labels_of_one_kind_have_no_area() -> None:
    found = figures([tally_of([(0.3, 0), (0.4, 0)])])
    assert found is not None and found.auc is None


def test_the_challenger_restored_from_json_is_rivers_own_bit_for_bit() -> None:
    rng = random.Random(5)
    scaler, model = preprocessing.StandardScaler(), linear_model.LogisticRegression(optimizer=optim.SGD(LEARNING_RATE))
    numbers = Challenger()
    for n in range(600):
        row = tuple(rng.gauss(0, 1) if i else 1.0 for i in range(6))
        label = int(rng.random() < 0.5 + 0.2 * (row[1] > 0))
        features = dict(enumerate(row))
        expected = model.predict_proba_one(scaler.transform_one(features)).get(True, 0.5)
        scaler.learn_one(features)
        model.learn_one(scaler.transform_one(features), bool(label))

        live = LiveChallenger(numbers)
        assert live.predict_and_learn(row, label) == expected, n
        numbers = msgspec.json.decode(msgspec.json.encode(live.numbers()), type=Challenger)


def test_the_detector_restored_from_json_is_rivers_own_bit_for_bit() -> None:
    rng = random.Random(7)
    own = drift.PageHinkley(min_instances=WARM_UP_LABELS, delta=SLACK, threshold=THRESHOLD, alpha=1.0, mode="up")
    numbers, found = Drift(), []
    for n in range(3_000):
        value = rng.gauss(0.0 if n < 1_500 else 0.5, 0.5)
        own.update(value)
        live = LiveDrift(numbers)
        assert live.update(value) == own.drift_detected
        numbers = msgspec.json.decode(msgspec.json.encode(live.numbers()), type=Drift)
        if own.drift_detected:
            found.append(n)
    assert len(found) >= 1 and 1_500 < found[0] < 1_800


def test_nothing_is_said_of_a_day_before_the_next_begins() -> None:
    said, rows, _ = watched_over(stream(1, 20, 0.3, 0.3))
    assert said == [] and "watch" in rows

    said, _, _ = watched_over(stream(2, 20, 0.3, 0.3))
    measured = [one for one in said if isinstance(one, ModelMeasured)]
    assert {one.day for one in measured} == {START}
    assert {one.scorer for one in measured if one.segment == "all"} == set(SCORERS)
    assert {one.segment for one in measured} == {"all", "warm", "group:g1"}
    assert all(one.labels == 20 for one in measured)


def test_where_slices_end_changes_neither_figures_nor_rows_nor_the_model() -> None:
    examples = stream(9, 13, 0.4, 0.4)
    whole = watched_over(examples)
    for cuts in ((1, 2, 3), (13, 26), (50,), tuple(range(1, len(examples)))):
        said, rows, model = watched_over(examples, cuts)
        assert said and [_subject(one) for one in said] == [_subject(one) for one in whole[0]]
        assert [one.model_dump() for one in said] == [one.model_dump() for one in whole[0]]
        assert rows == whole[1]
        assert model.bias == whole[2].bias


def test_a_watch_restored_from_its_rows_goes_on_as_if_it_had_never_stopped() -> None:
    examples = stream(8, 11, 0.4, 0.35)
    said, rows, _ = watched_over(examples)
    first, half, model = watched_over(examples[:50])
    again = MonitorState()
    for key, row in half.items():
        restore_row(again, key, row)
    watch = QualityMonitor(again)
    learn_all(model, examples[50:], -1, lambda m, e: watch.observe(m, e, forecasts))

    assert first + watch.outputs == said
    assert {**half, **watch.rows()} == rows


def test_a_label_that_comes_late_has_its_day_measured_again() -> None:
    examples = stream(2, 10, 0.4, 0.35)
    straggler = example(9_999, 1, day=0, p=0.4)
    said, _, _ = watched_over([*examples, straggler, example(10_000, 0, day=2, p=0.4)])
    of_day_0 = [
        one.labels
        for one in said
        if isinstance(one, ModelMeasured) and (one.segment, one.scorer) == ("all", "hedge") and one.day == START
    ]
    assert of_day_0 == [10, 11]


def test_days_behind_the_window_are_forgotten() -> None:
    said, rows, _ = watched_over(stream(WINDOW_DAYS + 12, 3, 0.4, 0.4))
    assert sum(key.startswith("quality/") for key in rows) <= 2 * WINDOW_DAYS  # deleted ones were None and are left out
    last = [one for one in said if isinstance(one, ModelMeasured)][-1]
    assert last.labels <= 3 * WINDOW_DAYS


def test_drift_is_told_when_what_is_said_no_longer_comes() -> None:
    honest, wrong = stream(30, 40, 0.2, 0.2), stream(15, 40, 0.8, 0.2, seed=2, first=30)
    said, _, _ = watched_over(honest + wrong)
    alarms = [one for one in said if isinstance(one, ModelAlerted) and one.alert_type == "drift"]
    assert alarms and alarms[0].day >= START + timedelta(days=30)


def test_a_learned_model_that_fails_for_four_weeks_hands_over_and_takes_over_again() -> None:
    # Its own debtors' part says the contrary of what comes; the late rate is right.
    failing = [
        example(1000 * day + n, int(n % 5 == 0), day=day, p=0.2, row=8.0 if n % 5 else -8.0, labels=50, late=10)
        for day in range(40)
        for n in range(25)
    ]
    said, _, model = watched_over(failing)
    alarms = [one for one in said if isinstance(one, ModelAlerted) and one.alert_type == "fallback"]
    assert len(alarms) == 1 and model.scorer == "late_rate"
    assert alarms[0].day == START + timedelta(days=WINDOW_DAYS)
    assert alarms[0].labels >= MIN_LABELS
    assert alarms[0].log_loss is not None and alarms[0].late_rate_log_loss is not None
    assert alarms[0].log_loss > alarms[0].late_rate_log_loss

    mended = [
        example(1000 * day + n, int(n % 5 == 0), day=day, p=0.2, row=3.0 if n % 5 == 0 else -3.0, labels=50, late=10)
        for day in range(40, 110)
        for n in range(25)
    ]
    said, _, model = watched_over(failing + mended)
    back = [one for one in said if isinstance(one, ModelAlerted) and one.alert_type == "recovered"]
    assert len(back) == 1 and model.scorer == "hedge"
    assert back[0].day >= alarms[0].day + timedelta(days=WINDOW_DAYS)


@pytest.mark.parametrize(
    ("days", "labels", "gap", "expected"),
    [
        pytest.param(WINDOW_DAYS, MIN_LABELS, 1.0, "late_rate", id="worse for the whole time"),
        pytest.param(WINDOW_DAYS - 1, MIN_LABELS, 1.0, "hedge", id="a day too short"),
        pytest.param(WINDOW_DAYS, MIN_LABELS - 1, 1.0, "hedge", id="a label too few"),
        pytest.param(WINDOW_DAYS, MIN_LABELS, -1.0, "hedge", id="better"),
    ],
)
def test_the_guard_moves_after_a_set_time_with_enough_labels(days: int, labels: int, gap: float, expected: str) -> None:
    window = [DayLosses(labels - 27 * (labels // 28), 10.0 + gap, 10.0)] + [DayLosses(labels // 28, 10.0 + gap, 10.0)] * 27
    assert judge(Guard(since=100), 100 + days, window).in_force == expected


def test_the_guard_does_not_move_for_what_may_be_chance() -> None:
    window = [DayLosses(30, 10.0 + gap, 10.0) for gap in [1.0, -0.9] * 14]
    assert judge(Guard(since=1), 100, window) == Guard(since=1)


def test_corrections_and_other_targets_are_not_judged() -> None:
    one = example(1, 1, day=0, p=0.4)
    others = [one.model_copy(update={"corrects": "e-0"}), one.model_copy(update={"target": "loss"})]
    watch = QualityMonitor(MonitorState())
    learn_all(SharedModel(), others, -1, lambda m, e: watch.observe(m, e, forecasts))
    assert watch.rows() == {} and watch.outputs == []
