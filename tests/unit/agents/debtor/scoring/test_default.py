"""P(default given late) per risk class, the classes themselves, and the floor of a certain insolvency."""

from __future__ import annotations

import pytest

from agents.debtor.scoring.default import (
    BASE_RATE,
    PARENT_DEFAULTS,
    STAGE_FLOORS,
    cash_class,
    class_rate,
    levels,
    p_default,
    p_default_floor,
    risk_class,
)
from agents.debtor.scoring.values import ScoreInputs
from schemas.events.insolvency import STAGES, Stage
from schemas.events.models import ModelPublished


@pytest.mark.parametrize(("days", "expected"), [
    (0, "none"), (1, "1-14"), (14, "1-14"), (15, "15-30"), (30, "15-30"), (31, "31-60"), (60, "31-60"), (61, "61-90"),
    (90, "61-90"), (91, ">90"), (4000, ">90"),
])  # fmt: skip
def test_days_past_due_fall_into_the_buckets_of_a_provision_matrix(days: int, expected: str) -> None:
    assert risk_class(ScoreInputs(days_past_due=days), 9).split("|")[1] == expected


@pytest.mark.parametrize(("has_bank", "shock", "falling", "cushion", "expected"), [
    (False, False, False, None, "unseen|untold"), (True, False, False, None, "steady|untold"),
    (True, False, True, None, "falling|untold"), (True, True, True, None, "shock|untold"),
    (True, False, False, -0.1, "steady|overdrawn"), (True, False, False, 0.0, "steady|thin"),
    (True, False, False, 1.0, "steady|short"), (True, False, False, 2.0, "steady|enough"),
    (True, False, False, 4.0, "steady|ample"),
])  # fmt: skip
def test_the_account_has_two_levels_its_inflow_and_its_cushion(
    has_bank: bool, shock: bool, falling: bool, cushion: float | None, expected: str
) -> None:
    assert cash_class(has_bank, shock, falling, cushion) == expected


@pytest.mark.parametrize(("stage", "certain", "expected"), [
    ("none", False, "clear"), ("closed", True, "clear"), ("petition", True, "petition"), ("petition", False, "suspected"),
    ("opened", True, "opened"), ("opened", False, "suspected"), ("plan", True, "plan"),
])  # fmt: skip
def test_a_stage_is_a_class_of_its_own_when_certain_and_suspected_when_not(stage: Stage, certain: bool, expected: str) -> None:
    assert risk_class(ScoreInputs(stage=stage, certain=certain), 9).split("|")[4] == expected


@pytest.mark.parametrize(("labels", "rating", "expected"), [
    (0, 0.0, "new"), (4, 0.49, "new"), (0, 0.5, "new-poor"), (4, 2.0, "new-poor"), (0, -0.5, "new-good"), (5, 2.0, "known"),
])  # fmt: skip
def test_ratings_are_a_class_while_the_debtor_has_few_labels_of_its_own(labels: int, rating: float, expected: str) -> None:
    assert risk_class(ScoreInputs(rating=rating), labels).split("|")[5] == expected


@pytest.mark.parametrize(("defaults", "labels"), [(0.0, 0.0), (0.0, 2000.0), (40.0, 2000.0), (400.0, 2000.0)])
def test_the_rate_of_all_starts_at_its_prior_and_is_worth_twenty_defaults(defaults: float, labels: float) -> None:
    model = ModelPublished(default_counts={"all": (defaults, labels)})
    assert class_rate(model, "all") == pytest.approx((defaults + PARENT_DEFAULTS) / (labels + PARENT_DEFAULTS / BASE_RATE))


def test_a_level_multiplies_the_odds_of_its_parent_before_any_label() -> None:
    assert dict(levels("all|31-60|falling")) == {"all|31-60": 6.0, "all|31-60|falling": 2.0}
    rate = class_rate(ModelPublished(), "all|31-60|falling")
    assert rate / (1.0 - rate) == pytest.approx(BASE_RATE / (1.0 - BASE_RATE) * 12.0)


@pytest.mark.parametrize("stage", STAGES)
def test_only_a_certain_insolvency_sets_a_floor(stage: Stage) -> None:
    assert p_default_floor(ScoreInputs(stage=stage, certain=True)) == STAGE_FLOORS.get(stage, 0.0)
    assert p_default_floor(ScoreInputs(stage=stage, certain=False)) == 0.0


@pytest.mark.parametrize(("p_late", "stage", "certain", "expected"), [
    (0.0, "none", False, 0.0), (1.0, "none", False, 0.01), (0.2, "none", False, 0.002), (0.0, "plan", True, 0.25),
    (1.0, "opened", True, 0.99), (0.0, "opened", False, 0.0),
])  # fmt: skip
def test_p_default_is_the_product_or_the_floor_whichever_is_higher(
    p_late: float, stage: Stage, certain: bool, expected: float
) -> None:
    inputs = ScoreInputs(stage=stage, certain=certain)
    assert p_default(p_late, "all|none", inputs, ModelPublished()) == pytest.approx(expected)
