"""Which scorer is in force: the learned model, or the plain late rate where that has been better for a set time."""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import NamedTuple

from msgspec import Struct

from schemas.events.models import Scorer

WINDOW_DAYS = 28
"""The time for which one must have been better: four weeks, so that every weekday and most pay runs are in it."""
MIN_LABELS = 500
CHANCE_MARGIN = 1.64
"""Standard errors (of daily sums: what matures on one day goes together) by which it must be better: one chance in twenty."""


class Guard(Struct, frozen=True, omit_defaults=True):
    """``since``: the day (ordinal) of the last change, or of the first label; 0 = no label yet."""

    in_force: Scorer = "hedge"
    since: int = 0


class DayLosses(NamedTuple):
    """Labels of one day, and the log losses that the learned model (``model``) and the late rate had on them."""

    labels: int
    model: float
    late_rate: float


def judge(guard: Guard, day: int, window: Iterable[DayLosses]) -> Guard:
    """The guard after ``day``, from the days of the window up to it. It moves once per ``WINDOW_DAYS`` at most.

    >>> worse = [DayLosses(50, 30.0, 25.0)] * 28
    >>> judge(Guard(since=100), 128, worse), judge(Guard(since=101), 128, worse).in_force
    (Guard(in_force='late_rate', since=128), 'hedge')
    """
    if day - guard.since < WINDOW_DAYS:
        return guard
    days = [d for d in window if d.labels]
    if sum(d.labels for d in days) < MIN_LABELS:
        return guard
    gaps = [d.model - d.late_rate for d in days]
    gap, noise = sum(gaps), sqrt(sum(g * g for g in gaps))
    if guard.in_force == "late_rate":
        gap = -gap
    if gap <= CHANCE_MARGIN * noise:
        return guard
    return Guard("late_rate" if guard.in_force == "hedge" else "hedge", day)
