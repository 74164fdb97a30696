"""The cells model of being late (score_quality.md 3.2): which cells an invoice activates, what they say, what a label does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import lru_cache
from math import log, sqrt

from agents.debtor.scoring.calendar import day_class
from agents.debtor.scoring.state import Active, Cell, Features, Learned, Logit, ScoreState, Surprise
from agents.logistic import SHARED_PRIORS, sigmoid, step
from schemas.events.models import ModelPublished

VARIANCES = (1.0, 0.4, 0.2, 0.1, 0.1, 0.3, 0.1, 0.05)
"""Prior variances of the debtor's cells: calendar c, cx, cw; amounts ca, cA, cE, cxa, cwa."""
REOPENED = (2.0, *(v / 2.0 for v in VARIANCES[1:]))
"""Variances at least this large after an alarm of the CUSUM: 2.0 for c, half the prior for the others."""
DRIFT = 0.0003
"""Per day since it was last touched, a debtor's cell regains this share of its prior variance."""
CUSUM_SLACK, CUSUM_BAR, SIBLINGS = 0.7, 5.0, 0.2
"""CUSUM per maturity day: slack and bar in standard deviations; correlation of one day's labels (siblings are paid together)."""

_SHARED_VARIANCES = tuple(SHARED_PRIORS[family][1] for family in ("w", "gw", "gx", "s"))
_SHOCK_MEAN = SHARED_PRIORS["s"][0]

Get = Callable[[str], Cell | None]
"""The amount cell of a cell key (the row's key without ``ROW_PREFIX``), or None."""


def active(due_on: date, amount: Decimal, country: str | None, group_id: str | None, *, shock: bool = False) -> Active:
    """The cells of an invoice, from what is known at issue. Never the issue day: estimated issue dates know the outcome (8.2).

    >>> active(date(2026, 3, 31), Decimal("100.00"), "DE", "retail").shared
    ('w:1', 'gw:retail:1', 'gx:retail:0')
    """
    weekday, closed = day_class(due_on, country)
    return activate(Features(weekday, closed, group_id or "-", amount, shock))


def activate(features: Features) -> Active:
    """The cells of an invoice that was scored before, from the features kept with it."""
    value = float(features.amount)
    size = log(value) if value > 1.0 else 0.0
    weekday, closed, coarse = features.weekday, int(features.closed), int(size / 1.2)
    amounts = (
        f"ca:{int(size / 0.7)}",
        f"cA:{int(size / 0.15)}",
        f"cE:{round(value * 100.0)}",  # exact: amounts are below 1e13, so cents are below 2**53
        f"cxa:{closed}:{coarse}",
        f"cwa:{weekday}:{coarse}",
    )
    return Active(_shared(features.group, weekday, closed, features.shock), _calendar(weekday, closed), amounts, features)


def shock_mean(model: ModelPublished) -> float:
    """What a cash-flow shock adds to the log-odds, in the model in force."""
    known = model.cells.get("s:shock")
    return _SHOCK_MEAN if known is None else known[0]


@lru_cache(maxsize=65536)
def _shared(group: str, weekday: int, closed: int, shock: bool) -> tuple[str, ...]:
    keys = (f"w:{weekday}", f"gw:{group}:{weekday}", f"gx:{group}:{closed}")
    return (*keys, "s:shock") if shock else keys


@lru_cache(maxsize=64)
def _calendar(weekday: int, closed: int) -> tuple[str, ...]:
    return "c", f"cx:{closed}", f"cw:{weekday}"


def late_logit(active: Active, score: ScoreState, get: Get, model: ModelPublished) -> Logit:
    """Log-odds that the invoice is not settled at the end of its due day.

    No damping by uncertainty: it costs 0.0012 log loss (score_quality.md 3.2). ``total`` is the sum of the contributions.
    """
    cells, own = model.cells, score.cells
    shared = [0.0, 0.0, 0.0, 0.0]
    for i, key in enumerate(active.shared):
        known = cells.get(key)
        if known is not None:
            shared[i] = known[0]
        elif i == 3:
            shared[3] = _SHOCK_MEAN
    calendar = [0.0, 0.0, 0.0]
    for i, key in enumerate(active.calendar):
        cell = own.get(key)
        if cell is not None:
            calendar[i] = cell.mean
    amounts = 0.0
    for key in active.amounts:
        cell = get(key)
        if cell is not None:
            amounts += cell.mean
    weekday, group = shared[0] + calendar[1] + calendar[2], shared[1] + shared[2]
    contributions = (model.bias, weekday, group, calendar[0], amounts, shared[3])
    total = model.bias + weekday + group + calendar[0] + amounts + shared[3]
    return Logit(total, calendar[0] + calendar[1] + calendar[2] + amounts, contributions)


def _shared_part(active: Active, model: ModelPublished) -> tuple[float, float]:
    """Sum of means and of variances of the bias and the shared cells in force; what has no label yet has its prior."""
    z, variance, cells = model.bias, model.bias_variance, model.cells
    for i, key in enumerate(active.shared):
        if key:
            mean, v = cells.get(key) or (_SHOCK_MEAN if i == 3 else 0.0, _SHARED_VARIANCES[i])
            z += mean
            variance += v
    return z, variance


def _as_of(day: int, epoch: int, cells: list[Cell | None]) -> list[tuple[float, float]]:
    """Mean and variance of the debtor's cells on ``day``: new, reopened since their last label, or drifted."""
    found = []
    for cell, prior, reopened in zip(cells, VARIANCES, REOPENED, strict=True):
        if cell is None:
            found.append((0.0, prior))
            continue
        variance = cell.variance
        if epoch > cell.epoch:
            variance = max(variance, reopened)
        elif day > cell.day:
            variance = min(variance + DRIFT * prior * (day - cell.day), prior)
        found.append((cell.mean, variance))
    return found


def learn_late(active: Active, label: int, day: int, score: ScoreState, get: Get, model: ModelPublished) -> Learned:
    """Learn a label that matures on ``day`` (ordinal): one joint step in which only the debtor's cells move.

    The shared part is that of the model in force; the learner moves it later by the example (D7), which costs nothing (10).
    """
    epoch, own = score.epoch, score.cells
    before = _as_of(day, epoch, [*map(own.get, active.calendar), *map(get, active.amounts)])
    row = row_variance = 0.0
    for m, v in before:
        row += m
        row_variance += v
    z, variance = _shared_part(active, model)
    z += row
    gain, shrink = step(z, variance + row_variance, label)
    after = [Cell(m + v * gain, v - v * v * shrink, epoch, day) for m, v in before]
    cells = {**own, **dict(zip(active.calendar, after, strict=False))}  # the first three; the others are rows of their own
    rows = dict(zip(active.amounts, after[len(active.calendar) :], strict=True))
    surprise, epoch = _surprised(score.surprise, epoch, day, label, sigmoid(z))
    learned = ScoreState(cells, surprise, epoch, score.labels + 1, score.usual, score.last)
    return Learned(learned, rows, row, row_variance)


def _surprised(state: Surprise, epoch: int, day: int, label: int, q: float) -> tuple[Surprise, int]:
    """Add a residual to its maturity day; the first label of another day closes the day and may raise the epoch.

    Page's CUSUM (1954), two-sided, on the day's standardised sum of residuals.
    """
    residual, noise, labels, up, down = state.residual, state.noise, state.labels, state.up, state.down
    if day != state.day and labels:
        u = residual / sqrt(max(noise, 0.05) * (1.0 + SIBLINGS * (labels - 1)))
        u = max(-3.0, min(3.0, u))
        up, down = max(0.0, up + u - CUSUM_SLACK), max(0.0, down - u - CUSUM_SLACK)
        if up > CUSUM_BAR or down > CUSUM_BAR:
            epoch, up, down = epoch + 1, 0.0, 0.0
        residual, noise, labels = 0.0, 0.0, 0
    return Surprise(day, residual + (label - q), noise + q * (1.0 - q), labels + 1, up, down), epoch
