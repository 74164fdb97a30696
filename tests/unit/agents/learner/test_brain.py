"""The shared model: what an example does to it, and when the learner publishes it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.brain import Brain, FoldResult, Received
from agents.learner import decide as deciding
from agents.learner.brain import LearnerBrain
from agents.learner.decide import learn, learn_all, sort_examples, to_published
from agents.learner.state import KIND, SharedModel, from_row, to_row
from agents.score_model import BIAS_FLOOR, DRIFT, FEATURES, NEW, NEW_KEY, SHARED_PRIORS, sigmoid
from schemas.base import Contract
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event
from schemas.events.models import ExampleMatured, ModelPublished, StepEnded
from schemas.events.payments import InvoiceCancelled

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CONTEXT = ContextSet(version="1")


def example(
    number: int = 0,
    label: int = 1,
    day: int = 0,
    target: str = "late",
    keys: tuple[str, ...] = ("w:1", "gw:a:1", "gx:a:0"),
    **more: object,
) -> ExampleMatured:
    return ExampleMatured.model_validate({
        "customer_id": "c", "example_id": f"e{number}", "invoice_id": "i", "target": target, "label": label, "keys": keys,
        "row_logit": 0.25, "row_variance": 0.5, "scored_on": date(2026, 1, 1), "matured_on": date(2026, 2, 1) + timedelta(day),
        "x": [32, *((number * 37 + 11 * i) % 255 - 127 for i in range(1, len(FEATURES)))], **more,
    })  # fmt: skip


def rows_of(*models: SharedModel) -> list[bytes]:
    """All that a model holds, bit for bit."""
    return [to_row(model) for model in models]


examples = st.lists(
    st.builds(example, st.integers(0, 50), st.integers(0, 1), st.integers(0, 5)), unique_by=lambda e: e.example_id
)


def arrived(*bodies: Contract) -> list[Received]:
    return [
        Received("training-examples", 0, i, Event(f"id-{i}", type(b).__name__, "s", NOON, NOON + timedelta(seconds=i), b, ""))
        for i, b in enumerate(bodies)
    ]


def ended(step: int, partition: int, partitions: int = 2) -> StepEnded:
    return StepEnded(step=step, partition=partition, partitions=partitions)


def fold(brain: LearnerBrain, *bodies: Contract, replay: bool = False, keep: bool = True) -> FoldResult:
    folded = brain.fold(arrived(*bodies), NOON, CONTEXT, replay=replay)
    if keep:
        brain.on_committed(folded)
    return folded


def published(folded: FoldResult) -> list[ModelPublished]:
    return [output.data for output in folded.outputs if isinstance(output.data, ModelPublished)]


def forecast(model: SharedModel, e: ExampleMatured) -> float:
    return sigmoid(model.bias + sum(model.cells.get(k, (0.0, 0.0))[0] for k in e.keys) + e.row_logit)


@given(examples, st.integers(0, 1))
def test_a_label_moves_the_forecast_towards_itself(history: list[ExampleMatured], label: int) -> None:
    model, e = learn_all(SharedModel(), history), example(99, label)
    now = forecast(learn(model, e), e)
    assert now > forecast(model, e) if label else now < forecast(model, e)


@given(examples)
def test_one_by_one_or_at_once_is_the_same_bits(history: list[ExampleMatured]) -> None:
    history = [example(99), *history]
    model = SharedModel()
    for e in history:
        model = from_row(to_row(learn(model, e)))
    assert to_row(model) == to_row(learn_all(SharedModel(), history))


@given(examples)
def test_certainty_grows_but_the_bias_keeps_a_floor(history: list[ExampleMatured]) -> None:
    before, after = SharedModel(), learn_all(SharedModel(), history)
    assert BIAS_FLOOR <= after.bias_variance <= before.bias_variance
    assert all(0 < v <= 1.0 for _, v in after.cells.values())
    grown = (1 / 0.9999) ** len(history)
    for now, was in zip(np.diag(after.covariance), np.diag(before.covariance), strict=True):
        assert 0 < now <= was * grown + 1e-12
    assert np.allclose(after.covariance, after.covariance.T, atol=1e-12)
    assert -30 <= after.hedge <= 30


def newcomers(model: SharedModel) -> tuple[float, float]:
    """How little is known of them: variances of their cell and of their weight."""
    return model.cells[NEW_KEY][1], float(model.covariance[NEW, NEW])


def test_what_newcomers_are_like_goes_out_of_date_by_the_day() -> None:
    first = example(1, keys=("w:1", NEW_KEY), x=[0] * NEW + [32])
    model = learn(SharedModel(), first)
    same = learn(model, example(2, keys=("w:2",), x=[0] * len(FEATURES)))
    later = learn(model, example(2, day=100, keys=("w:2",), x=[0] * len(FEATURES)))
    gained = [now - before for now, before in zip(newcomers(later), newcomers(same), strict=True)]
    assert gained == pytest.approx([100 * DRIFT * 0.2] * 2, rel=1e-3)
    assert later.cells["w:1"] == same.cells["w:1"]
    assert np.count_nonzero(later.covariance != same.covariance) == 1
    assert later.day == same.day + 100


@pytest.mark.parametrize("days", [-400, 0])
def test_a_label_of_an_earlier_day_makes_nothing_out_of_date(days: int) -> None:
    model = learn(SharedModel(), example(1, keys=(NEW_KEY,), x=[0] * NEW + [32]))
    after = learn(model, example(2, day=days, keys=("w:2",), x=[0] * len(FEATURES)))
    assert newcomers(after)[0] == newcomers(model)[0]
    assert after.day == model.day


def test_after_a_century_newcomers_are_as_unknown_as_at_first() -> None:
    model = learn(SharedModel(), example(1, keys=(NEW_KEY,), x=[0] * NEW + [32]))
    after = learn(model, example(2, day=36_500, keys=("w:2",), x=[0] * len(FEATURES)))
    assert newcomers(after) == pytest.approx((SHARED_PRIORS["n"][1], FEATURES[NEW].variance), rel=1e-3)


def test_learning_leaves_the_model_it_came_from() -> None:
    model = learn(SharedModel(), example())
    copy = to_row(model)
    learn(model, example(1, 0))
    assert to_row(model) == copy


@given(examples, st.integers(0, 1))
def test_a_correction_goes_the_other_way_and_makes_nothing_surer(history: list[ExampleMatured], wrong: int) -> None:
    e = example(99, wrong)
    model = learn_all(SharedModel(), [*history, e])
    right = example(100, 1 - wrong, corrects="e99")
    after = learn(model, right)
    now, was = forecast(after, e), forecast(model, e)
    assert now < was if wrong else now > was
    x = deciding.state_vector(e)
    assert (deciding.state_logit(after, x) < deciding.state_logit(model, x)) is bool(wrong)
    assert (after.covariance == model.covariance).all()
    assert after.bias_variance == model.bias_variance
    assert all(after.cells[key][1] == variance for key, (_, variance) in model.cells.items())
    assert after.rates["all"][1] == model.rates["all"][1]
    assert after.hedge == model.hedge


def test_the_hedge_leans_to_the_expert_that_is_right_now() -> None:
    cells_right = example(keys=(), x=[32] + [0] * (len(FEATURES) - 1), row_logit=3.0)
    assert learn(SharedModel(), cells_right).hedge > 0
    assert learn(SharedModel(), example(label=0, keys=(), row_logit=3.0)).hedge < 0


def test_losses_and_payments_after_due_are_counted() -> None:
    paid = [example(i, int(i < 2), target="paid_after_due", keys=("h0", "h0:a")) for i in range(3)]
    model = learn_all(SharedModel(), [*paid, example(9, 1, target="loss", keys=(), share=0.4)])
    assert model.rates["h0"] == pytest.approx((0.9995**2 + 0.9995, 1 + 0.9995 + 0.9995**2))
    assert model.loss == (0.4, 1.0)
    assert model.cells == {}


def test_defaults_are_counted_per_class_and_slowly_forgotten() -> None:
    model = learn_all(SharedModel(), [example(i, int(i == 0), target="default", keys=("all", "all|none")) for i in range(3)])
    bad, seen = model.default_counts["all|none"]
    assert bad == pytest.approx(0.9995**2)
    assert seen == pytest.approx(1 + 0.9995 + 0.9995**2)
    assert (model.bias, model.cells, model.version) == (0.0, {}, f"{KIND}-3")


def test_a_key_of_an_unknown_family_is_left_alone() -> None:
    assert learn(SharedModel(), example(keys=("w:1", "zz:9", "nothing"))).cells.keys() == {"w:1"}


def test_examples_of_a_version_with_other_features_are_learned_for_those_that_both_know() -> None:
    usual = example(x=[32] + [0] * (len(FEATURES) - 1))
    fewer, more = (usual.model_copy(update={"x": x}) for x in (usual.x[:-1], (*usual.x, 5)))
    assert rows_of(learn(SharedModel(), fewer), learn(SharedModel(), more)) == rows_of(*[learn(SharedModel(), usual)] * 2)


def test_a_model_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "MAX_CELLS", 3)
    monkeypatch.setattr(deciding, "EVICTION_BATCH", 1)
    model = learn_all(SharedModel(), [example(i, keys=(f"w:{i % 5}",)) for i in range(8)])
    assert 3 <= len(model.cells) <= 4
    assert 3 <= len(model.rates) <= 4
    assert "all" in model.rates


def test_what_is_published_is_rounded_and_sorted() -> None:
    shown = to_published(learn_all(SharedModel(), [example(keys=("w:2", "gw:a:2")), example(keys=("w:1",))]))
    assert list(shown.cells) == sorted(shown.cells)
    assert all(round(m, 6) == m for m, _ in shown.cells.values())


def test_live_it_learns_in_the_order_of_the_log_and_publishes_once_a_fold() -> None:
    brain: Brain = LearnerBrain()
    folded = brain.fold(arrived(example(2, day=5), example(1, 0)), None, CONTEXT, replay=False)
    assert len(folded.outputs) == 1
    output = folded.outputs[0]
    assert (output.topic, output.key, output.causation_id, output.recorded) == (
        "models",
        "shared",
        "id-1",
        NOON + timedelta(seconds=1),
    )
    expected = learn_all(SharedModel(), [example(2, day=5), example(1, 0)])
    assert published(folded) == [to_published(expected)]
    days = [b"%d" % date(2026, 2, day).toordinal() for day in (6, 1)]
    assert folded.rows == {"model": to_row(expected), "taught/e2": days[0], "taught/e1": days[1]}


def test_live_nothing_is_published_without_examples() -> None:
    folded = fold(LearnerBrain(), ended(1, 0))
    assert (folded.outputs, folded.rows, folded.applied) == ([], {}, 1)


def test_memory_does_not_change_before_keep() -> None:
    brain = LearnerBrain()
    fold(brain, example(), keep=False)
    assert rows_of(brain.model) == rows_of(SharedModel())
    again = fold(brain, example())
    assert brain.model.examples == 1
    assert published(again)[0].examples == 1


def test_a_step_is_learned_when_all_partitions_have_ended_it() -> None:
    brain = LearnerBrain()
    assert not fold(brain, example(2), ended(0, 1), replay=True).outputs
    folded = fold(brain, example(1, 0), example(3, day=-1), ended(0, 0), replay=True)
    expected = learn_all(SharedModel(), [example(3, day=-1), example(1, 0), example(2)], 0)
    assert rows_of(brain.model) == rows_of(expected)
    assert published(folded) == [to_published(expected)]
    assert {key for key, value in folded.rows.items() if value is None} == {
        "pending/e1",
        "pending/e2",
        "pending/e3",
        "ended/0",
        "ended/1",
    }


@given(examples, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter_in_a_replay(history: list[ExampleMatured], random: Random) -> None:
    one, other = LearnerBrain(), LearnerBrain()
    fold(one, *history, ended(0, 0, 1), replay=True)
    shuffled = list(history)
    random.shuffle(shuffled)
    fold(other, *shuffled, ended(0, 0, 1), replay=True)
    assert rows_of(one.model) == rows_of(other.model)
    assert sort_examples(shuffled) == sort_examples(history)


def test_a_step_without_examples_is_answered_with_an_id_of_its_own() -> None:
    brain = LearnerBrain()
    outputs = [fold(brain, ended(step, 0, 1), replay=True).outputs for step in (0, 1)]
    assert [len(o) for o in outputs] == [1, 1]
    assert outputs[0][0].id != outputs[1][0].id
    assert brain.model.step == 1


def test_an_example_seen_twice_counts_once_and_an_old_marker_not_at_all() -> None:
    brain = LearnerBrain()
    folded = fold(brain, example(), example(), ended(0, 0, 1), ended(0, 0, 1), replay=True)
    assert (folded.applied, folded.duplicates, brain.model.examples, len(folded.outputs)) == (2, 2, 1, 1)


@given(examples, st.integers(0, 8))
def test_a_new_owner_goes_on_where_the_rows_end(history: list[ExampleMatured], cut: int) -> None:
    one, rows = LearnerBrain(), dict[str, bytes | None]()
    for part in (history[:cut], history[cut:]):
        other = LearnerBrain()
        for key in sorted(rows, reverse=True):
            other.restore(key, rows[key])
        bodies = [*part, ended(0, int(part is not history[:cut]))]
        fold(one, *bodies, replay=True)
        folded = other.fold(arrived(*bodies), NOON, CONTEXT, replay=True)
        rows.update(folded.rows)
        rows = {key: value for key, value in rows.items() if value is not None}
    names = {f"{kind}/{e.example_id}" for e in history for kind in ("pending", "taught")}
    assert rows.keys() <= {"model"} | {f"ended/{p}" for p in (0, 1)} | names
    last = LearnerBrain()
    for key, value in rows.items():
        last.restore(key, value)
    assert rows_of(last.model) == rows_of(one.model)


def test_keep_takes_the_rows_of_a_fold_that_is_not_the_last() -> None:
    brain = LearnerBrain()
    first = fold(brain, example(), keep=False)
    fold(brain, example(1), example(2), keep=False)
    brain.on_committed(first)
    assert brain.model.examples == 1


def test_a_record_of_another_kind_is_rejected() -> None:
    body = InvoiceCancelled(customer_id="c", invoice_id="i", cancelled_on=date(2026, 3, 1))
    for replay in (False, True):
        folded = fold(LearnerBrain(), body, replay=replay)
        assert len(folded.rejected) == 1
        assert folded.applied == 0


@pytest.mark.parametrize(("key", "value"), [("model", b"{"), ("pending/e", b"{}"), ("other", b"{}"), ("taught/e", b"soon")])
def test_a_row_that_cannot_be_read_stops_the_restore(key: str, value: bytes) -> None:
    with pytest.raises(ValueError, match="JSON|required|not a row|truncated|invalid literal"):
        LearnerBrain().restore(key, value)


def test_a_replayed_example_teaches_nothing_twice() -> None:
    brain = LearnerBrain()
    fold(brain, example(1), example(2, 0), example(1))
    again = fold(brain, example(2, 0), example(1))
    assert (again.duplicates, again.applied, again.outputs, brain.model.examples) == (2, 0, [], 2)
    other = LearnerBrain()
    for key, value in fold(LearnerBrain(), example(1), example(2, 0)).rows.items():
        other.restore(key, value)
    assert fold(other, example(1)).duplicates == 1


@pytest.mark.parametrize("replay", [False, True])
def test_a_copied_example_is_told_as_a_duplicate_of_its_topic(replay: bool) -> None:
    brain = LearnerBrain()
    fold(brain, example(1), replay=replay)
    folded = fold(brain, example(1), example(2), example(2), replay=replay)
    assert (folded.applied, folded.duplicates_of) == (1, {"training-examples": 2})


def test_an_old_marker_is_told_as_a_duplicate_of_its_topic() -> None:
    brain = LearnerBrain()
    fold(brain, ended(0, 0, 1), replay=True)
    assert fold(brain, ended(0, 0, 1), replay=True).duplicates_of == {"training-examples": 1}


def test_what_was_learned_is_remembered_for_a_horizon() -> None:
    brain = LearnerBrain()
    fold(brain, example(1))
    folded = fold(brain, example(2, day=deciding.HORIZON_DAYS + 1))
    assert folded.rows["taught/e1"] is None
    late = fold(brain, example(1), replay=True)
    assert [why.field for _, why in late.rejected] == ["matured_on"]
    assert brain.model.examples == 2


@pytest.mark.parametrize(("change", "what"), [
    ({"kind": "cells1"}, "recipe 'cells1'"), ({"bias": 1e999}, "cannot be read|not finite"),
    ({"bias_variance": 0.0}, "not positive"),
    ({"features": ["constant"]}, "features"), ({"covariance": [[1.0]]}, "covariance"),
    ({"cells": {"zz:1": [0.0, 1.0]}}, "no known family"),
    ({"cells": {"w:1": [0.0, -1.0]}}, "variance -1.0"), ({"rates": {"all": [3.0, 2.0]}}, "3.0 of 2.0"),
    ({"weights": None}, "cannot be read"),
])  # fmt: skip
def test_a_checkpoint_that_is_not_right_is_refused_with_the_mend(change: dict[str, Any], what: str) -> None:
    row = {**msgspec.json.decode(to_row(learn(SharedModel(), example()))), **change}
    with pytest.raises(ValueError, match=f"({what}).*learner-state"):
        LearnerBrain().restore("model", msgspec.json.encode(row))


@given(examples)
def test_a_checkpoint_read_again_has_the_same_bits(history: list[ExampleMatured]) -> None:
    row = to_row(learn_all(SharedModel(), history))
    assert to_row(from_row(row)) == row
