"""Ranking and calibration of predictions."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.backtest.statistics import (
    Floats,
    Ints,
    area_under_curve,
    ece_if_calibrated,
    quality,
    reliability,
    sibling_correlation,
)

PAIRS = st.lists(st.tuples(st.integers(0, 1), st.floats(0.0, 1.0)), min_size=1, max_size=60)


@given(PAIRS)
def test_auc_is_the_share_of_pairs_ranked_rightly_ties_counting_half(pairs: list[tuple[int, float]]) -> None:
    labels, scores = np.array([y for y, _ in pairs]), np.array([p for _, p in pairs])
    positives, negatives = scores[labels == 1], scores[labels == 0]
    found = area_under_curve(labels, scores)

    if not len(positives) or not len(negatives):
        assert found is None
    else:
        wins = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
        assert found == pytest.approx(wins / (len(positives) * len(negatives)))


def test_log_loss_and_brier_of_known_values() -> None:
    found = quality([1, 0], [0.8, 0.4])

    assert found is not None
    assert found.log_loss == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2, abs=1e-6)
    assert found.brier == pytest.approx((0.04 + 0.16) / 2)


def test_a_certain_mistake_costs_much_but_not_infinitely_much() -> None:
    found = quality([1], [0.0])

    assert found is not None
    assert 20 < found.log_loss < 30


def test_nothing_to_judge_is_told_as_nothing() -> None:
    assert quality([], []) is None


@given(PAIRS)
def test_bins_hold_every_prediction_once_in_rising_order(pairs: list[tuple[int, float]]) -> None:
    bins = reliability([y for y, _ in pairs], [p for _, p in pairs], 10)

    assert sum(b.count for b in bins) == len(pairs)
    assert all(low.high <= high.low for low, high in pairwise(bins))


def _error(labels: Ints, said: Floats) -> float:
    found = quality(labels, said)
    assert found is not None
    return found.ece


def test_the_calibration_error_of_an_honest_forecaster_is_what_chance_says_and_that_of_a_liar_is_not() -> None:
    rng = np.random.default_rng(1)
    said = rng.beta(1.0, 2.0, 4_000)
    chance = ece_if_calibrated(said)
    honest = [_error((rng.random(len(said)) < said).astype(int), said) for _ in range(40)]
    assert np.mean(honest) == pytest.approx(chance.mean, rel=0.1)
    assert sum(error > chance.below for error in honest) <= 8
    assert _error((rng.random(len(said)) < said**2).astype(int), said) > 3 * chance.below


def test_outcomes_that_go_together_leave_more_to_chance_and_their_likeness_is_found() -> None:
    rng = np.random.default_rng(2)
    siblings = np.arange(4_000) // 5
    said = rng.beta(1.0, 2.0, 800)[siblings]

    def drawn() -> Ints:
        shared = rng.random(len(said)) < np.sqrt(0.6)
        return (np.where(shared, rng.random(800)[siblings], rng.random(len(said))) < said).astype(int)

    honest = [drawn() for _ in range(40)]
    assert np.mean([sibling_correlation(labels, said, siblings) for labels in honest]) == pytest.approx(0.6, abs=0.05)
    alone, together = ece_if_calibrated(said), ece_if_calibrated(said, siblings, 0.6)
    assert together.mean > 1.5 * alone.mean
    errors = [_error(labels, said) for labels in honest]
    assert np.mean(errors) == pytest.approx(together.mean, rel=0.15)
    assert sum(error > together.below for error in errors) <= 8
