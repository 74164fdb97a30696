"""The rules of the shared model as functions: the hedge, the counts that a label moves, what may be evicted."""

from __future__ import annotations

from datetime import date
from typing import Literal

import pytest

from agents.learner.decide import HEDGE_CAP, learn, log_loss, sort_examples, update_hedge
from agents.learner.state import SharedModel
from schemas.events.models import ExampleMatured, Target

DAY = date(2026, 4, 1)


def example(
    target: Target = "late",
    label: Literal[0, 1] = 1,
    keys: tuple[str, ...] = (),
    *,
    share: float | None = None,
    matured_on: date = DAY,
    number: int = 0,
) -> ExampleMatured:
    return ExampleMatured(
        customer_id="c", example_id=f"e{number}", invoice_id="i", target=target, label=label, keys=keys, share=share,
        scored_on=date(2026, 3, 2), matured_on=matured_on,
    )  # fmt: skip


@pytest.mark.parametrize(("hedge", "z_cells", "z_state", "label", "expected"), [
    (0.0, 1.0, 1.0, 1, 0.0), (0.0, 2.0, -2.0, 1, 2.0), (0.0, 2.0, -2.0, 0, -2.0), (10.0, 0.0, 0.0, 1, 9.98),
    (HEDGE_CAP, 25.0, -25.0, 1, HEDGE_CAP), (-HEDGE_CAP, -25.0, 25.0, 1, -HEDGE_CAP),
])  # fmt: skip
def test_the_hedge_leans_to_whoever_was_right_and_forgets(
    hedge: float, z_cells: float, z_state: float, label: int, expected: float
) -> None:
    assert update_hedge(hedge, z_cells, z_state, label) == pytest.approx(expected)


@pytest.mark.parametrize(("z", "label", "expected"), [
    (0.0, 1, 0.693147), (0.0, 0, 0.693147), (2.0, 1, 0.126928), (2.0, 0, 2.126928), (50.0, 0, 50.0), (-50.0, 1, 50.0),
    (1000.0, 1, 0.0), (1000.0, 0, 1000.0),
])  # fmt: skip
def test_log_loss_is_defined_for_whatever_is_forecast(z: float, label: int, expected: float) -> None:
    assert log_loss(z, label) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("keys", "rates"), [
    ((), {"all"}), (("w:1",), {"all", "w:1"}), (("gw:a:b:1",), {"all", "gw:a:b:1"}), (("gx:a:b:0",), {"all", "g:a:b", "x:0"}),
    (("s:shock", "n:new"), {"all"}), (("other:1",), {"all"}),
])  # fmt: skip
def test_a_label_moves_the_late_rates_of_its_cells(keys: tuple[str, ...], rates: set[str]) -> None:
    assert set(learn(SharedModel(), example(keys=keys)).rates) == rates


@pytest.mark.parametrize(("target", "label", "keys", "share", "table", "expected"), [
    ("default", 1, ("all", "all|none"), None, "default_counts", {"all": (1.0, 1.0), "all|none": (1.0, 1.0)}),
    ("default", 0, ("all", "all"), None, "default_counts", {"all": (0.0, 1.0)}),  # a key counts once
    ("paid_after_due", 1, ("h3", "h3:g"), None, "rates", {"h3": (1.0, 1.0), "h3:g": (1.0, 1.0)}),
    ("loss", 1, (), 0.25, "loss", (0.25, 1.0)), ("loss", 1, (), None, "loss", (0.0, 0.0)),
])  # fmt: skip
def test_other_targets_are_counted(
    target: Target, label: Literal[0, 1], keys: tuple[str, ...], share: float | None, table: str, expected: object
) -> None:
    model = learn(SharedModel(), example(target, label, keys, share=share))
    assert getattr(model, table) == expected
    assert (model.bias, model.hedge) == (0.0, 0.0)


def test_a_step_is_learned_by_day_and_then_by_id() -> None:
    late, second, first = (example(matured_on=date(2026, 4, day), number=number) for day, number in ((2, 0), (1, 2), (1, 1)))
    assert sort_examples([late, second, first]) == [first, second, late]
