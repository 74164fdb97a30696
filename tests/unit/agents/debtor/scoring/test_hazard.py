"""When a late invoice is paid: hazards smoothed from all to the debtor, risk sets, and quantiles of the payment day."""

from __future__ import annotations

from itertools import pairwise

import pytest

from agents.debtor.scoring.hazard import (
    BEYOND_90,
    INTERVALS,
    PaymentDays,
    interval_keys,
    join_first_interval,
    join_next_interval,
    learn_interval,
    payment_days,
    survival,
)
from agents.debtor.scoring.state import Features, ScoreState
from schemas.events.models import ModelPublished

DUE = 1000
NEVER_PAID, PAID_AT_ONCE = ((1.0,) * 6, (0.0,) * 6)


@pytest.mark.parametrize(("today", "interval", "wake"), [
    (DUE + 1, 0, DUE + 4), (DUE + 3, 0, DUE + 4), (DUE + 4, 1, DUE + 8), (DUE + 8, 2, DUE + 15), (DUE + 15, 3, DUE + 31),
    (DUE + 31, 4, DUE + 61), (DUE + 61, 5, DUE + 91), (DUE + 90, 5, DUE + 91),
])  # fmt: skip
def test_a_late_invoice_joins_the_first_interval_that_has_not_ended(today: int, interval: int, wake: int) -> None:
    features = join_first_interval(Features(1, False, "-"), DUE, today)
    assert (features.interval, features.next_deadline) == (interval, wake)


def test_an_invoice_that_is_late_by_more_than_all_intervals_joins_none() -> None:
    features = Features(1, False, "-")
    assert join_first_interval(features, DUE, DUE + 91) is features


@pytest.mark.parametrize(("interval", "wake"), [(0, DUE + 8), (1, DUE + 15), (4, DUE + 91), (5, 0)])
def test_what_is_still_open_joins_the_next_interval_and_after_the_last_one_none(interval: int, wake: int) -> None:
    features = join_next_interval(Features(1, False, "-", interval=interval), DUE)
    assert (features.interval, features.next_deadline) == (interval + 1, wake)


def test_a_group_has_keys_of_its_own_beside_those_of_all() -> None:
    assert interval_keys("g:1") == tuple((f"h{end}", f"h{end}:g:1") for end in INTERVALS)


@pytest.mark.parametrize(("rates", "counts", "expected"), [
    ({}, (), 0.5),  # before any label: one half
    ({"h3": (95.0, 95.0)}, (), 0.025),  # all are paid: 2.5 of 100
    ({"h3": (0.0, 95.0)}, (), 0.975),
    ({"h3:g": (0.0, 6.0)}, (), 0.75),  # the group has as many labels as its parent is worth
    ({"h3:other": (0.0, 6.0)}, (), 0.5),
    ({}, (0.0, 4.0, *(0.0,) * 10), 0.75),  # and so has the debtor
    ({"h3:g": (0.0, 6.0)}, (0.0, 4.0, *(0.0,) * 10), 0.875),
])  # fmt: skip
def test_a_hazard_is_smoothed_from_all_to_the_group_to_the_debtor(
    rates: dict[str, tuple[float, float]], counts: tuple[float, ...], expected: float
) -> None:
    assert survival(ScoreState(hazard_counts=counts), "g", ModelPublished(rates=rates))[0] == pytest.approx(expected)


def test_survival_only_falls() -> None:
    curve = survival(ScoreState(), "g", ModelPublished(rates={"h14": (3.0, 9.0), "h60": (1.0, 50.0)}))
    assert len(curve) == len(INTERVALS)
    assert all(0.0 < later <= earlier <= 1.0 for earlier, later in pairwise(curve))


@pytest.mark.parametrize(("is_paid", "expected"), [(1, (1.0, 1.0)), (0, (0.0, 1.0))])
def test_a_label_of_an_interval_counts_there_only(is_paid: int, expected: tuple[float, float]) -> None:
    counts = learn_interval(ScoreState(), 2, is_paid).hazard_counts
    assert counts[4:6] == expected
    assert counts[:4] == (0.0,) * 4 and counts[6:] == (0.0,) * 6


def test_older_labels_of_an_interval_are_worth_three_per_cent_less() -> None:
    score = learn_interval(learn_interval(ScoreState(), 0, 1), 0, 0)
    assert score.hazard_counts[:2] == pytest.approx((0.97, 1.97))


@pytest.mark.parametrize(("p_late", "still_open", "days", "expected"), [
    (0.0, PAID_AT_ONCE, (0.0, 0.0, 0.0, 0.0, 0.0, 99.0, 0.0), (0, 0, 0)),  # always on the due day
    (0.0, PAID_AT_ONCE, (0.0, 0.0, 99.0, 0.0, 0.0, 0.0, 0.0), (-4, -3, -3)),
    (1.0, PAID_AT_ONCE, (0.0,) * 7, (1, 2, 3)),  # late for certain, paid in the first interval
    (1.0, NEVER_PAID, (0.0,) * 7, (BEYOND_90, BEYOND_90, BEYOND_90)),
    (0.3, NEVER_PAID, (0.0, 0.0, 0.0, 0.0, 0.0, 99.0, 0.0), (0, 0, BEYOND_90)),
])  # fmt: skip
def test_the_payment_day_follows_the_histogram_before_and_the_hazards_after_the_due_day(
    p_late: float, still_open: tuple[float, ...], days: tuple[float, ...], expected: PaymentDays
) -> None:
    assert payment_days(p_late, still_open, ScoreState(days=days)) == expected  # type: ignore[arg-type]
