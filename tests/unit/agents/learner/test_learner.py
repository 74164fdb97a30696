"""The shared model: what an example does to it, and when the learner publishes it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.brain import Arrived, Brain, Folded
from agents.learner import decide as deciding
from agents.learner.decide import for_publication, in_order, learn, learn_all
from agents.learner.fold import LearnerBrain
from agents.logistic import BIAS_FLOOR, sigmoid
from schemas.base import Contract
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event
from schemas.events.models import ExampleMatured, ModelPublished, StepEnded
from schemas.events.payments import InvoiceCancelled

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
CONTEXT = ContextSet(version="1")


def example(
    number: int = 0, label: int = 1, day: int = 0, target: str = "late", keys: tuple[str, ...] = ("w:1", "gw:a:1", "gx:a:0")
):
    return ExampleMatured.model_validate({
        "customer_id": "c", "example_id": f"e{number}", "invoice_id": "i", "target": target, "label": label, "keys": keys,
        "row_logit": 0.25, "row_variance": 0.5, "scored_on": date(2026, 1, 1), "matured_on": date(2026, 2, 1) + timedelta(day),
    })  # fmt: skip


examples = st.lists(
    st.builds(example, st.integers(0, 50), st.integers(0, 1), st.integers(0, 5)), unique_by=lambda e: e.example_id
)


def arrived(*bodies: Contract) -> list[Arrived]:
    return [
        Arrived(
            "training-examples", 0, i, None, Event(f"id-{i}", type(b).__name__, "s", NOON, NOON + timedelta(seconds=i), b, "")
        )
        for i, b in enumerate(bodies)
    ]


def ended(step: int, partition: int, partitions: int = 2) -> StepEnded:
    return StepEnded(step=step, partition=partition, partitions=partitions)


def fold(brain: LearnerBrain, *bodies: Contract, replay: bool = False, keep: bool = True) -> Folded:
    folded = brain.fold(arrived(*bodies), NOON, CONTEXT, replay=replay)
    if keep:
        brain.keep(folded)
    return folded


def published(folded: Folded) -> list[ModelPublished]:
    return [output.data for output in folded.outputs if isinstance(output.data, ModelPublished)]


def forecast(model: ModelPublished, e: ExampleMatured) -> float:
    return sigmoid(model.bias + sum(model.cells.get(k, (0.0, 0.0))[0] for k in e.keys) + e.row_logit)


@given(examples, st.integers(0, 1))
def test_a_label_moves_the_forecast_towards_itself(history, label):
    model, e = learn_all(ModelPublished(), history), example(99, label)
    now = forecast(learn(model, e), e)
    assert now > forecast(model, e) if label else now < forecast(model, e)


@given(examples)
def test_one_by_one_or_at_once_is_the_same_bits(history):
    history = [example(99), *history]
    model = ModelPublished()
    for e in history:
        model = ModelPublished.model_validate_json(learn(model, e).model_dump_json())
    assert model == learn_all(ModelPublished(), history)


@given(examples)
def test_certainty_grows_but_the_bias_keeps_a_floor(history):
    before, after = ModelPublished(), learn_all(ModelPublished(), history)
    assert BIAS_FLOOR <= after.bias_variance <= before.bias_variance
    assert all(0 < v <= 1.0 for _, v in after.cells.values())


def test_learning_leaves_the_model_it_came_from():
    model = learn(ModelPublished(), example())
    copy = model.model_copy(deep=True)
    learn(model, example(1, 0))
    assert model == copy


def test_defaults_are_counted_per_class_and_slowly_forgotten():
    model = learn_all(ModelPublished(), [example(i, int(i == 0), target="default", keys=("all", "all|none")) for i in range(3)])
    bad, seen = model.default_counts["all|none"]
    assert bad == pytest.approx(0.9995**2)
    assert seen == pytest.approx(1 + 0.9995 + 0.9995**2)
    assert (model.bias, model.cells, model.version) == (0.0, {}, "cells1-3")


def test_a_key_of_an_unknown_family_is_left_alone():
    assert learn(ModelPublished(), example(keys=("w:1", "zz:9", "nothing"))).cells.keys() == {"w:1"}


def test_a_model_is_bounded(monkeypatch):
    monkeypatch.setattr(deciding, "MOST_CELLS", 3)
    model = learn_all(ModelPublished(), [example(i, keys=(f"w:{i % 5}",)) for i in range(8)])
    assert model.cells.keys() == {"w:0", "w:1", "w:2"}


def test_what_is_published_is_rounded_and_sorted():
    shown = for_publication(learn_all(ModelPublished(), [example(keys=("w:2", "gw:a:2")), example(keys=("w:1",))]))
    assert list(shown.cells) == sorted(shown.cells)
    assert all(round(m, 6) == m for m, _ in shown.cells.values())


def test_live_it_learns_in_the_order_of_the_log_and_publishes_once_a_fold():
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
    expected = learn_all(ModelPublished(), [example(2, day=5), example(1, 0)])
    assert published(folded) == [for_publication(expected)]
    assert folded.rows == {"model": expected.model_dump_json().encode()}


def test_live_nothing_is_published_without_examples():
    folded = fold(LearnerBrain(), ended(1, 0))
    assert (folded.outputs, folded.rows, folded.applied) == ([], {}, 1)


def test_memory_does_not_change_before_keep():
    brain = LearnerBrain()
    fold(brain, example(), keep=False)
    assert brain.model == ModelPublished()
    again = fold(brain, example())
    assert brain.model.examples == 1
    assert published(again)[0].examples == 1


def test_a_step_is_learned_when_all_partitions_have_ended_it():
    brain = LearnerBrain()
    assert not fold(brain, example(2), ended(0, 1), replay=True).outputs
    folded = fold(brain, example(1, 0), example(3, day=-1), ended(0, 0), replay=True)
    expected = learn_all(ModelPublished(), [example(3, day=-1), example(1, 0), example(2)], 0)
    assert brain.model == expected
    assert published(folded) == [for_publication(expected)]
    assert {key for key, value in folded.rows.items() if value is None} == {
        "pending/e1",
        "pending/e2",
        "pending/e3",
        "ended/0",
        "ended/1",
    }


@given(examples, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter_in_a_replay(history, random):
    one, other = LearnerBrain(), LearnerBrain()
    fold(one, *history, ended(0, 0, 1), replay=True)
    shuffled = list(history)
    random.shuffle(shuffled)
    fold(other, *shuffled, ended(0, 0, 1), replay=True)
    assert one.model == other.model
    assert in_order(shuffled) == in_order(history)


def test_a_step_without_examples_is_answered_with_an_id_of_its_own():
    brain = LearnerBrain()
    outputs = [fold(brain, ended(step, 0, 1), replay=True).outputs for step in (0, 1)]
    assert [len(o) for o in outputs] == [1, 1]
    assert outputs[0][0].id != outputs[1][0].id
    assert brain.model.step == 1


def test_an_example_seen_twice_counts_once_and_an_old_marker_not_at_all():
    brain = LearnerBrain()
    folded = fold(brain, example(), example(), ended(0, 0, 1), ended(0, 0, 1), replay=True)
    assert (folded.applied, folded.duplicates, brain.model.examples, len(folded.outputs)) == (2, 2, 1, 1)


@given(examples, st.integers(0, 8))
def test_a_new_owner_goes_on_where_the_rows_end(history, cut):
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
    assert rows.keys() <= {"model"} | {f"ended/{p}" for p in (0, 1)} | {f"pending/{e.example_id}" for e in history}
    last = LearnerBrain()
    for key, value in rows.items():
        last.restore(key, value)
    assert last.model == one.model


def test_keep_takes_the_rows_of_a_fold_that_is_not_the_last():
    brain = LearnerBrain()
    first = fold(brain, example(), keep=False)
    fold(brain, example(1), example(2), keep=False)
    brain.keep(first)
    assert brain.model.examples == 1


def test_a_record_of_another_kind_is_rejected():
    body = InvoiceCancelled(customer_id="c", invoice_id="i", cancelled_on=date(2026, 3, 1))
    for replay in (False, True):
        folded = fold(LearnerBrain(), body, replay=replay)
        assert len(folded.rejected) == 1
        assert folded.applied == 0


@pytest.mark.parametrize(("key", "value"), [("model", b"{"), ("pending/e", b"{}"), ("other", b"{}")])
def test_a_row_that_cannot_be_read_stops_the_restore(key, value):
    with pytest.raises(ValueError, match="JSON|required|no row"):
        LearnerBrain().restore(key, value)
