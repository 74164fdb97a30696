"""The score of an invoice and of a debtor: two probabilities, a band, reasons, and what they cost."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from math import exp

from agents.debtor.scoring.cells import Get, activate, active, late_logit, learn_late, shock_mean
from agents.debtor.scoring.default import example_keys, p_default, risk_class
from agents.debtor.scoring.state import Active, Facts, Features, LastScore, Logit, Scored, ScoreState, Usual
from agents.logistic import logit, sigmoid
from schemas.events.models import ModelPublished
from schemas.events.policies import Bands
from schemas.outputs.scores import Band

__all__ = [
    "activate",
    "active",
    "band",
    "example_keys",
    "expected_loss",
    "issued",
    "late_logit",
    "learn_late",
    "moved",
    "published",
    "score_debtor",
    "score_invoice",
    "slow_average",
]

MOVED = 0.01
"""A debtor's score goes out again when a probability moved by this much (DESIGN section 5)."""
USUAL_INVOICES = 12
"""Invoices over which the running means of ``Usual`` reach: about a quarter of a weekly customer."""
AVERAGE_DAYS = 30.0
"""Half-life of the slow average of p_late."""

_CENT = Decimal("0.01")


def score_invoice(
    active: Active,
    score: ScoreState,
    facts: Facts,
    get: Get,
    model: ModelPublished,
    *,
    bands: Bands,
    previous: Band | None = None,
) -> Scored:
    """Score an invoice at issue. ``previous``: the band that hysteresis holds on to, if there is one.

    Keep ``Scored.features`` with the open item: its labels are learned with them.
    """
    forecast = late_logit(active, score, get, model)
    return _scored(forecast, active.features, score, facts, model, bands, previous)


def score_debtor(score: ScoreState, facts: Facts, model: ModelPublished, *, bands: Bands, group_id: str | None = None) -> Scored:
    """The score of the debtor's usual next invoice, with hysteresis on its last published band.

    Its own level and the shared bias are those of now, the rest is what its invoices usually bring along (``Usual``). With no
    invoice yet it is the prior: the shared bias, bank data and insolvency facts; ``ready`` tells.
    """
    usual = score.usual or _NOTHING_USUAL
    own = score.cells.get("c")
    level = own.mean if own is not None else 0.0
    shock = shock_mean(model) if facts.shock else 0.0
    total = model.bias + usual.weekday + usual.group + level + usual.amounts + shock
    contributions = (model.bias, usual.weekday, usual.group, level, usual.amounts, shock)
    features = Features(-1, False, group_id or "-", Decimal(0), facts.shock)
    previous = score.last.band if score.last else None
    return _scored(Logit(total, level, contributions), features, score, facts, model, bands, previous)


_NOTHING_USUAL = Usual(0.0, 0.0, 0.0, 0)


def _scored(
    forecast: Logit, f: Features, score: ScoreState, facts: Facts, model: ModelPublished, bands: Bands, previous: Band | None
) -> Scored:
    p_late = round(sigmoid(forecast.total), 6)
    risk = risk_class(facts, score.labels)
    default = round(p_default(p_late, risk, facts, model), 6)
    # A certain insolvency delays payment too, which no cell can know: p_late is lifted, and the reason says by how much.
    lift = 0.0
    if default > p_late:
        lift, p_late = logit(default) - forecast.total, default
    features = Features(f.weekday, f.closed, f.group, f.amount, f.shock, risk)
    ready, grade = _is_ready(score, facts), band(bands, p_late, default, previous)
    if not ready and grade == "strong":
        grade = "medium"  # nothing is known of it: no reason to refuse, and none to trust
    return Scored(p_late, default, ready, grade, features, forecast, score.labels, facts, lift)


def _is_ready(score: ScoreState, facts: Facts) -> bool:
    return score.labels > 0 or facts.bank or facts.shock or facts.days_past_due > 0 or facts.stage != "none"


def band(bands: Bands, p_late: float, p_default: float, previous: Band | None) -> Band:
    """The worse of what the two probabilities say. A band is left only when a threshold is passed by a margin.

    The margin is ``bands.hysteresis`` at a threshold of 0.5 and the same distance in log-odds elsewhere: 0.05 moves 0.60 to
    0.551 and 0.647, and 0.03 to 0.025 and 0.036.

    >>> band(Bands(), 0.62, 0.01, None), band(Bands(), 0.62, 0.01, "strong"), band(Bands(), 0.58, 0.01, "medium")
    ('medium', 'strong', 'medium')
    """
    late_strong, default_strong, late_weak, default_weak = _thresholds(
        bands.late_strong_below,
        bands.default_strong_below,
        bands.late_weak_from,
        bands.default_weak_from,
        margin=4.0 * bands.hysteresis,
        previous=previous,
    )
    if p_late >= late_weak or p_default >= default_weak:
        return "weak"
    return "medium" if p_late >= late_strong or p_default >= default_strong else "strong"


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


def issued(score: ScoreState, forecast: Logit) -> ScoreState:
    """Let an issued invoice move what is usual for the debtor, by one ``USUAL_INVOICES``-th (more while it has had fewer)."""
    usual = score.usual or _NOTHING_USUAL
    _, weekday, group, _, amounts, _ = forecast.contributions
    weight = max(1.0 / USUAL_INVOICES, 1.0 / (usual.invoices + 1))
    usual = Usual(
        usual.weekday + weight * (weekday - usual.weekday),
        usual.group + weight * (group - usual.group),
        usual.amounts + weight * (amounts - usual.amounts),
        usual.invoices + 1,
    )
    return ScoreState(score.cells, score.surprise, score.epoch, score.labels, usual, score.last)


def moved(last: LastScore | None, scored: Scored) -> bool:
    """Whether the debtor's score is news: the first one, another band or readiness, or a probability moved by ``MOVED``."""
    if last is None or last.band != scored.band or last.ready != scored.ready:
        return True
    return round(abs(last.p_late - scored.p_late), 6) >= MOVED or round(abs(last.p_default - scored.p_default), 6) >= MOVED


def published(score: ScoreState, scored: Scored, day: int) -> ScoreState:
    """Remember the debtor's score as published on ``day`` (ordinal). The average starts anew when the prior ends."""
    average = slow_average(score, day) if score.last is not None and score.last.ready else None
    last = LastScore(
        scored.p_late,
        scored.p_default,
        scored.band,
        scored.ready,
        day,
        scored.p_late if average is None else average,
    )
    return ScoreState(score.cells, score.surprise, score.epoch, score.labels, score.usual, last)


def slow_average(score: ScoreState, day: int) -> float | None:
    """The average of the published p_late over time as of ``day`` (ordinal), half-life ``AVERAGE_DAYS``; None = never published.

    Weighted by the days for which a score was in force, so it does not matter how often the same score was published.
    """
    last = score.last
    if last is None:
        return None
    kept: float = 0.5 ** (max(0, day - last.day) / AVERAGE_DAYS)
    return round(last.p_late + (last.average - last.p_late) * kept, 6)
