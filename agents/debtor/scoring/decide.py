"""The score of an invoice and of a debtor: two probabilities, a band, reasons, and what they cost."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from math import exp

from msgspec.structs import replace

from agents.debtor.scoring.assessments import assessed, take_note, take_rating
from agents.debtor.scoring.cell_model import (
    KEEP_DAYS,
    SHOCK_KEY,
    SWEEP_DAYS,
    Cells,
    Get,
    activate,
    active,
    cell_parts,
    cell_row,
    cells_of,
    correct_late,
    learn_late,
    no_invoice,
    shared_mean,
)
from agents.debtor.scoring.counterfactual import otherwise
from agents.debtor.scoring.default import cash_class, example_keys, least_default, p_default, risk_class
from agents.debtor.scoring.hazard import (
    INTERVALS,
    UP_TO_30,
    first_interval,
    interval_keys,
    learn_interval,
    next_interval,
    payment_days,
    still_open,
)
from agents.debtor.scoring.reasons import CODES, ReasonInputs
from agents.debtor.scoring.state import Active, Features, LastScore, Logit, Scored, ScoreInputs, ScoreState, TypicalInvoice
from agents.debtor.scoring.state_model import Prepared, features, prepared, state_parts, whole_numbers
from agents.score_model import NEW_KEY, logit, sigmoid
from schemas.events.models import ModelPublished
from schemas.events.policies import Bands
from schemas.outputs.scores import Band

__all__ = [
    "INTERVALS",
    "KEEP_DAYS",
    "SWEEP_DAYS",
    "WORKOUT_DAYS",
    "activate",
    "active",
    "assessed",
    "band",
    "cash_class",
    "cells_of",
    "correct_late",
    "example_keys",
    "expected_loss",
    "first_interval",
    "interval_keys",
    "issued",
    "late_logit",
    "learn_interval",
    "learn_late",
    "least_default",
    "loss_given_default",
    "moved",
    "next_interval",
    "otherwise",
    "published",
    "score_debtor",
    "score_invoice",
    "share_lost",
    "slow_average",
    "take_note",
    "take_rating",
    "thresholds",
    "usual_moved",
    "whole_numbers",
]

MOVED = 0.01
"""A debtor's score goes out again when a probability moved by this much (DESIGN section 5)."""
_MOVED = MOVED - 5e-7
"""The same for differences of what is rounded to six decimals: floats have no exact 0.01."""
GREW, SEEN = 1.25, 0.002
"""And when that of default grew (or fell) by this factor, from or to ``SEEN`` at least: ``MOVED`` is blind to what is rare."""
USUAL_INVOICES = 12
"""Invoices over which the running means of ``TypicalInvoice`` reach: about a quarter of a weekly customer."""
AVERAGE_DAYS = 30.0
"""Half-life of the slow average of p_late."""

LATE_RATE_LABELS = 5.0
"""Pseudo-labels of all debtors in the plain late rate of one (score_quality.md 2)."""
LOSS_LABELS = 20.0
"""Defaults that the policy's loss given default is worth."""
WORKOUT_DAYS = 180
"""After a default has matured, what came in so many days counts as recovered, for all alike: an assumption (workouts of banks
take years, but trade claims that are collected at all are collected in the first half-year)."""
NO_PARTS = (0.0,) * (len(CODES) - 4)

_CENT = Decimal("0.01")


def score_invoice(
    active: Active,
    score: ScoreState,
    facts: ScoreInputs,
    get: Get,
    model: ModelPublished,
    *,
    bands: Bands,
    previous: Band | None = None,
) -> Scored:
    """Score an invoice at issue. ``previous``: the band that hysteresis holds on to, if there is one.

    Keep ``Scored.features`` with the open item: its labels are learned with them.
    """
    own = cells_of(active, score, get)
    forecast = late_logit(active, own, score, facts, model)
    return _scored(forecast, active.features, score, facts, model, bands, previous)


def late_logit(active: Active, own: Cells, score: ScoreState, facts: ScoreInputs, model: ModelPublished) -> Logit:
    """Log-odds that the invoice is not settled at the end of its due day: cells and state model, hedged (3.5)."""
    base = prepared(model)
    x = features(active, own, score, facts, base)
    cells = cell_parts(active, own, model, new=not score.labels)
    row = cell_row(own)
    if model.scorer == "late_rate":
        parts = _late_rate_parts(score, base)
    else:
        parts = _mixed(cells, state_parts(x, base), base.cells_share)
    return Logit(sum(parts), row, parts, x)


def _mixed(cells: tuple[float, ...], state: tuple[float, ...], share: float) -> tuple[float, ...]:
    """The mean on the log-odds scale is linear, so that it mixes contributions as it mixes the whole."""
    rest = 1.0 - share
    a, b, c, d, e, f, g = cells
    u, v, w, x, y, z, *others, new = state
    return (
        share * a + rest * u, share * b + rest * v, share * c + rest * w, share * d + rest * x, share * e + rest * y,
        share * f + rest * z, *[rest * other for other in others], share * g + rest * new,
    )  # fmt: skip


def _late_rate_parts(score: ScoreState, base: Prepared) -> tuple[float, ...]:
    """The plain late rate of the debtor, smoothed: what takes over when the model fails (issue of the champion)."""
    rate = (score.late + LATE_RATE_LABELS * base.all_rate) / (score.labels + LATE_RATE_LABELS)
    return base.all_logit, 0.0, 0.0, logit(min(max(rate, 0.002), 0.998)) - base.all_logit, *NO_PARTS


def score_debtor(
    score: ScoreState,
    last: LastScore | None,
    facts: ScoreInputs,
    model: ModelPublished,
    *,
    bands: Bands,
    group_id: str | None = None,
) -> Scored:
    """The score of the debtor's usual next invoice, with hysteresis on its last published band.

    Its own level, what is overdue and what others say are those of now, the rest is what its invoices usually bring along
    (``TypicalInvoice``). With no invoice yet it is the prior: all debtors, terms, ratings, bank data, insolvency; ``ready``
    tells.
    """
    usual, base = score.usual or _NOTHING_USUAL, prepared(model)
    if model.scorer == "late_rate":
        forecast = Logit(sum(parts := _late_rate_parts(score, base)), 0.0, parts)
    else:
        forecast = _usual_logit(score, facts, usual, base, group_id or "-")
    features = Features(-1, False, group_id or "-", shock=facts.shock)
    return _scored(forecast, features, score, facts, model, bands, last.band if last else None, last)


def _usual_logit(score: ScoreState, facts: ScoreInputs, usual: TypicalInvoice, base: Prepared, group: str) -> Logit:
    level = score.cells.get("c")
    own: Cells = [level, None, None, None, None, None, None, None]
    state = state_parts(features(no_invoice(group, facts.shock), own, score, facts, base), base)
    shock = shared_mean(base.model, SHOCK_KEY) if facts.shock else 0.0
    new = 0.0 if score.labels else shared_mean(base.model, NEW_KEY)
    mean = 0.0 if level is None else level.mean
    parts = _mixed((base.model.bias, 0.0, 0.0, mean, 0.0, shock, new), state, base.cells_share)
    if usual.invoices:
        parts = (parts[0], usual.weekday, usual.group, parts[3], usual.amounts, *parts[5:])
    return Logit(sum(parts), mean, parts)


_NOTHING_USUAL = TypicalInvoice(0.0, 0.0, 0.0, 0)


def _scored(
    forecast: Logit,
    f: Features,
    score: ScoreState,
    facts: ScoreInputs,
    model: ModelPublished,
    bands: Bands,
    previous: Band | None,
    last: LastScore | None = None,
) -> Scored:
    """``last``: what was published of the debtor; what says nothing new is not worked out to the end, for it never goes out."""
    p_late = round(sigmoid(forecast.total), 6)
    risk = risk_class(facts, score.labels)
    default = round(p_default(p_late, risk, facts, model), 6)
    # A certain insolvency delays payment too, which no cell can know: p_late is lifted, and the reason says by how much.
    lift = 0.0
    if default > p_late:
        lift, p_late = logit(default) - forecast.total, default
    features = Features(f.weekday, f.closed, f.group, None, f.shock, risk, forecast.x, p_late)
    ready, grade = _is_ready(score, facts), band(bands, p_late, default, previous)
    if not ready and grade == "strong":
        grade = "medium"  # nothing is known of it: no reason to refuse, and none to trust
    because = ReasonInputs(facts, score.labels, score.change, model.scorer)
    if last is not None and not _is_news(last, p_late, default, grade, ready=ready):
        return Scored(p_late, default, ready, grade, features, forecast, because, lift, 0.0)
    still = still_open(score, f.group, model)
    days = payment_days(p_late, still, score) if forecast.x else None
    return Scored(p_late, default, ready, grade, features, forecast, because, lift, round(p_late * still[UP_TO_30 - 1], 6), days)


def _is_ready(score: ScoreState, facts: ScoreInputs) -> bool:
    return (
        score.labels > 0 or facts.bank or facts.shock or facts.days_past_due > 0 or facts.stage != "none" or facts.rating != 0.0
    )


def band(bands: Bands, p_late: float, p_default: float, previous: Band | None) -> Band:
    """The worse of what the two probabilities say. A band is left only when a threshold is passed by a margin.

    The margin is ``bands.hysteresis`` at a threshold of 0.5 and the same distance in log-odds elsewhere: 0.05 moves 0.60 to
    0.551 and 0.647, and 0.03 to 0.025 and 0.036.

    >>> band(Bands(), 0.62, 0.01, None), band(Bands(), 0.62, 0.01, "strong"), band(Bands(), 0.58, 0.01, "medium")
    ('medium', 'strong', 'medium')
    """
    late_strong, default_strong, late_weak, default_weak = thresholds(bands, previous)
    if p_late >= late_weak or p_default >= default_weak:
        return "weak"
    return "medium" if p_late >= late_strong or p_default >= default_strong else "strong"


def thresholds(bands: Bands, previous: Band | None) -> tuple[float, float, float, float]:
    """The policy's, moved by the margin that holds on to ``previous``: strong below the first two, weak from the last two on."""
    return _thresholds(
        bands.late_strong_below,
        bands.default_strong_below,
        bands.late_weak_from,
        bands.default_weak_from,
        margin=4.0 * bands.hysteresis,
        previous=previous,
    )


@lru_cache(maxsize=64)
def _thresholds(
    late_strong: float, default_strong: float, late_weak: float, default_weak: float, *, margin: float, previous: Band | None
) -> tuple[float, float, float, float]:
    """Thresholds towards a better band are lowered, towards a worse one raised, by ``margin`` in log-odds."""
    if previous is None:
        return late_strong, default_strong, late_weak, default_weak
    strong = margin if previous == "strong" else -margin
    weak = -margin if previous == "weak" else margin
    return _shift(late_strong, strong), _shift(default_strong, strong), _shift(late_weak, weak), _shift(default_weak, weak)


def _shift(p: float, by: float) -> float:
    odds = p * exp(by)
    return round(odds / (1.0 - p + odds), 6)


def expected_loss(p_default: float, open_amount: Decimal, lgd: float) -> Decimal:
    """Probability of default x open amount x loss given default, to the cent; nothing is open below zero.

    >>> expected_loss(0.02, Decimal("1000.00"), 0.6)
    Decimal('12.00')
    """
    if open_amount <= 0:
        return Decimal("0.00")
    return (Decimal(str(p_default)) * open_amount * Decimal(str(lgd))).quantize(_CENT, ROUND_HALF_UP)


def loss_given_default(model: ModelPublished, prior: float) -> float:
    """The share of a defaulted amount that is lost: the policy's until recoveries teach it (worth ``LOSS_LABELS`` of them).

    >>> loss_given_default(ModelPublished(), 0.6), loss_given_default(ModelPublished(loss=(6.0, 20.0)), 0.6)
    (0.6, 0.45)
    """
    return _smoothed_loss(*model.loss, prior)


@lru_cache(maxsize=64)
def _smoothed_loss(lost: float, seen: float, prior: float) -> float:
    return round((lost + LOSS_LABELS * prior) / (seen + LOSS_LABELS), 6)


def share_lost(features: Features, unpaid: Decimal) -> float | None:
    """Of what was owed at default, the share that is still missing when ``WORKOUT_DAYS`` are over; None if nothing was owed."""
    if not features.owed:
        return None
    return round(float(max(Decimal(0), min(Decimal(1), (unpaid - features.recovered) / features.owed))), 6)


def issued(score: ScoreState, forecast: Logit) -> ScoreState:
    """Let an issued invoice move what is usual for the debtor, by one ``USUAL_INVOICES``-th (more while it has had fewer)."""
    usual = score.usual or _NOTHING_USUAL
    _, weekday, group, _, amounts = forecast.contributions[:5]
    weight = max(1.0 / USUAL_INVOICES, 1.0 / (usual.invoices + 1))
    usual = TypicalInvoice(
        usual.weekday + weight * (weekday - usual.weekday),
        usual.group + weight * (group - usual.group),
        usual.amounts + weight * (amounts - usual.amounts),
        usual.invoices + 1,
    )
    return replace(score, usual=usual)


def usual_moved(score: ScoreState) -> bool:
    """Whether what is usual may have moved by much: with the first invoice, and when their number has doubled.

    >>> [n for n in range(1, 40) if usual_moved(ScoreState(usual=Usual(0.0, 0.0, 0.0, n)))]
    [1, 2, 4, 8, 16]
    """
    count = score.usual.invoices if score.usual is not None else 0
    return count.bit_count() == 1 and count < 2 * USUAL_INVOICES


def moved(last: LastScore | None, scored: Scored) -> bool:
    """Whether the debtor's score is news: the first one, another band or readiness, or a probability moved."""
    return last is None or _is_news(last, scored.p_late, scored.p_default, scored.band, ready=scored.ready)


def _is_news(last: LastScore, p_late: float, p_default: float, grade: Band, *, ready: bool) -> bool:
    if last.band != grade or last.ready != ready:
        return True
    if abs(last.p_late - p_late) >= _MOVED or abs(last.p_default - p_default) >= _MOVED:
        return True
    low, high = min(last.p_default, p_default), max(last.p_default, p_default)
    return high >= SEEN and high >= GREW * low


def published(last: LastScore | None, scored: Scored, day: int) -> LastScore:
    """The debtor's score as published on ``day`` (ordinal), after ``last``. The average starts anew when the prior ends."""
    average = slow_average(last, day) if last is not None and last.ready else None
    return LastScore(
        scored.p_late,
        scored.p_default,
        scored.band,
        scored.ready,
        day,
        scored.p_late if average is None else average,
    )


def slow_average(last: LastScore | None, day: int) -> float | None:
    """The average of the published p_late over time as of ``day`` (ordinal), half-life ``AVERAGE_DAYS``; None = never published.

    Weighted by the days for which a score was in force, so it does not matter how often the same score was published.
    """
    if last is None:
        return None
    kept: float = 0.5 ** (max(0, day - last.day) / AVERAGE_DAYS)
    return round(last.p_late + (last.average - last.p_late) * kept, 6)
