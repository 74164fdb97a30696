"""What debtor and learner share: the step of one label, and vectors of another version."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.score_model import FEATURES, NO_FEATURES, align_features, kalman_gain, logit, share_of_cells, sigmoid

SIZE = len(FEATURES)


@pytest.mark.parametrize("length", [0, 1, SIZE - 1, SIZE, SIZE + 1, SIZE + 7])
def test_a_vector_of_another_version_keeps_its_features_and_misses_none(length: int) -> None:
    numbers = tuple(range(1, length + 1))
    aligned = align_features(numbers, NO_FEATURES)
    assert len(aligned) == SIZE
    assert aligned[:length] == numbers[:SIZE] and not any(aligned[length:])


@given(st.floats(-20, 20), st.floats(1e-4, 20), st.integers(0, 1))
def test_a_label_moves_towards_itself_and_makes_surer(z: float, variance: float, label: int) -> None:
    gain, shrink = kalman_gain(z, variance, label)
    assert gain > 0 if label else gain < 0
    assert 0 < variance - variance * variance * shrink < variance


@given(st.floats(-20, 20), st.floats(0.01, 2), st.floats(0.01, 2))
def test_the_step_is_shared_by_uncertainty(z: float, variance: float, other: float) -> None:
    gain, _ = kalman_gain(z, variance + other, 1)
    small, large = sorted((variance, other))
    assert small * gain <= large * gain <= large * kalman_gain(z, large, 1)[0]


@pytest.mark.parametrize(("hedge", "expected"), [(0.0, 0.5), (30.0, 0.952574), (-30.0, 0.047426)])
def test_both_experts_keep_a_say(hedge: float, expected: float) -> None:
    assert share_of_cells(hedge) == pytest.approx(expected, abs=1e-6)


@given(st.floats(1e-6, 1 - 1e-6))
def test_log_odds_and_back(p: float) -> None:
    assert sigmoid(logit(p)) == pytest.approx(p)
