"""What is decided of a score: two probabilities and a band for an invoice and for a debtor, when a score is news, what it costs.

The probabilities come from ``cell_model``, ``state_model``, ``hazard`` and ``default``; the words from ``reasons`` and
``counterfactual``. README.md tells the recipe.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from math import exp

from msgspec.structs import replace

from agents.debtor.scoring.cell_model import SHOCK_KEY, cell_parts, debtor_cells, row_logit, shared_mean, unknown_invoice
from agents.debtor.scoring.default import p_default, risk_class
from agents.debtor.scoring.hazard import UP_TO_30, payment_days, survival
from agents.debtor.scoring.reasons import CODES
from agents.debtor.scoring.state import Features, LastScore, ScoreState, TypicalInvoice
from agents.debtor.scoring.state_model import PreparedModel, feature_vector, prepare_model, state_parts
from agents.debtor.scoring.values import CellKeys, CellReader, DebtorCells, Logit, ReasonInputs, Scored, ScoreInputs
from agents.score_model import NEW_KEY, logit, sigmoid
from schemas.events.models import ModelPublished
from schemas.events.policies import Bands
from schemas.outputs.scores import Band

NEWS_DIFFERENCE = 0.01
"""A debtor's score goes out again when a probability moved by this much: less would say the same again."""
_NEWS_DIFFERENCE = NEWS_DIFFERENCE - 5e-7
"""The same for differences of what is rounded to six decimals: floats have no exact 0.01."""
NEWS_FACTOR, NEWS_FLOOR = 1.25, 0.002
"""And when that of default grew (or fell) by this factor, from or to ``NEWS_FLOOR`` at least: a hundredth is much for what is
rare."""
TYPICAL_INVOICES = 12
"""Invoices over which the running means of ``TypicalInvoice`` reach: about a quarter of a weekly customer."""
AVERAGE_DAYS = 30.0
"""Half-life of the slow average of p_late."""

LATE_RATE_LABELS = 5.0
"""What the rate of all debtors is worth in the plain late rate of one, in labels."""
LOSS_LABELS = 20.0
"""Defaults that the policy's loss given default is worth."""
WORKOUT_DAYS = 180
"""After a default has matured, what came in so many days counts as recovered, for all alike: an assumption (workouts of banks
take years, but trade claims that are collected at all are collected in the first half-year)."""
_NO_PARTS = (0.0,) * (len(CODES) - 4)

_CENT = Decimal("0.01")
_NO_INVOICE = TypicalInvoice()


# -- the score of an invoice
def score_invoice(
    keys: CellKeys,
    score: ScoreState,
    inputs: ScoreInputs,
    read: CellReader,
    model: ModelPublished,
    *,
    bands: Bands,
    previous: Band | None = None,
) -> Scored:
    """The score of an invoice at issue. ``previous``: the band that hysteresis holds on to, if there is one.

    Keep ``Scored.features`` with the open item: its labels are learned with them.

    >>> from agents.debtor.scoring.cell_model import cell_keys
    >>> from datetime import date
    >>> keys = cell_keys(date(2026, 3, 31), Decimal("100.00"), "DE", "retail")
    >>> scored = score_invoice(keys, ScoreState(), ScoreInputs(), lambda key: None, ModelPublished(), bands=Bands())
    >>> scored.p_late, scored.p_default, scored.band, scored.ready
    (0.5, 0.005, 'medium', False)
    """
    own = debtor_cells(keys, score, read)
    forecast = late_logit(keys, own, score, inputs, model)
    return _to_score(forecast, keys.features, score, inputs, model, bands, previous)


def late_logit(keys: CellKeys, own: DebtorCells, score: ScoreState, inputs: ScoreInputs, model: ModelPublished) -> Logit:
    """Log-odds that the invoice is not settled at the end of its due day: cell model and state model, hedged.

    >>> from agents.debtor.scoring.cell_model import cell_keys
    >>> from datetime import date
    >>> keys = cell_keys(date(2026, 3, 31), Decimal("100.00"), "DE", "retail")
    >>> late_logit(keys, [None] * 8, ScoreState(labels=1), ScoreInputs(), ModelPublished(bias=-1.0)).contributions[0]
    -0.5
    """
    basis = prepare_model(model)
    vector = feature_vector(keys, own, score, inputs, basis)
    of_cells = cell_parts(keys, own, model, is_new=not score.labels)
    if model.scorer == "late_rate":
        parts = _late_rate_parts(score, basis)
    else:
        parts = _mix(of_cells, state_parts(vector, basis), basis.cells_share)
    return Logit(sum(parts), row_logit(own), parts, vector)


def _mix(of_cells: tuple[float, ...], of_state: tuple[float, ...], cells_share: float) -> tuple[float, ...]:
    """The weighted contributions of both models: a mean of log-odds is linear, so it mixes the parts as it mixes the sum.

    >>> _mix((1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0), (0.0,) * len(CODES), 0.5)
    (0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    """
    a, b = cells_share, 1.0 - cells_share
    bias, weekday, group, debtor, amounts, shock, new_debtor = of_cells
    base_rate, weekday_rates, group_rates, debtor_rates, amount_rates, cash_flow, *no_cells, new_feature = of_state
    return (
        a * bias + b * base_rate,
        a * weekday + b * weekday_rates,
        a * group + b * group_rates,
        a * debtor + b * debtor_rates,
        a * amounts + b * amount_rates,
        a * shock + b * cash_flow,
        *[b * part for part in no_cells],  # what no cell knows of: overdue now, terms, rating, note
        a * new_debtor + b * new_feature,
    )


def _late_rate_parts(score: ScoreState, model: PreparedModel) -> tuple[float, ...]:
    """The plain late rate of the debtor, smoothed: what takes over when the learned model fails."""
    rate = (score.late + LATE_RATE_LABELS * model.all_rate) / (score.labels + LATE_RATE_LABELS)
    return model.all_logit, 0.0, 0.0, logit(min(max(rate, 0.002), 0.998)) - model.all_logit, *_NO_PARTS


# -- the score of a debtor
def score_debtor(
    score: ScoreState,
    last: LastScore | None,
    inputs: ScoreInputs,
    model: ModelPublished,
    *,
    bands: Bands,
    group_id: str | None = None,
) -> Scored:
    """The score of the debtor's usual next invoice, with hysteresis on its last published band.

    Its own level, what is overdue and what others say are those of now, the rest is what its invoices usually bring along
    (``TypicalInvoice``). With no invoice yet it is the prior (all debtors, terms, ratings, bank data, insolvency); then ``ready``
    says whether anything is known.

    >>> scored = score_debtor(ScoreState(), None, ScoreInputs(bank=True, shock=True), ModelPublished(), bands=Bands())
    >>> scored.p_late > 0.5, scored.p_default, scored.ready
    (True, 0.024173, True)
    """
    basis = prepare_model(model)
    if model.scorer == "late_rate":
        forecast = Logit(sum(parts := _late_rate_parts(score, basis)), 0.0, parts)
    else:
        forecast = _typical_logit(score, inputs, basis, group_id or "-")
    features = Features(-1, False, group_id or "-", shock=inputs.shock)
    return _to_score(forecast, features, score, inputs, model, bands, last.band if last else None, last)


def _typical_logit(score: ScoreState, inputs: ScoreInputs, basis: PreparedModel, group: str) -> Logit:
    model, typical, level = basis.model, score.typical_invoice or _NO_INVOICE, score.cells.get("c")
    own: DebtorCells = [level, None, None, None, None, None, None, None]
    of_state = state_parts(feature_vector(unknown_invoice(group, inputs.shock), own, score, inputs, basis), basis)
    shock = shared_mean(model, SHOCK_KEY) if inputs.shock else 0.0
    new_debtor = 0.0 if score.labels else shared_mean(model, NEW_KEY)
    mean = 0.0 if level is None else level.mean
    parts = _mix((model.bias, 0.0, 0.0, mean, 0.0, shock, new_debtor), of_state, basis.cells_share)
    if typical.invoices:
        parts = (parts[0], typical.weekday, typical.group, parts[3], typical.amounts, *parts[5:])
    return Logit(sum(parts), mean, parts)


def record_issue(score: ScoreState, forecast: Logit) -> ScoreState:
    """Let an invoice that is issued move the typical one, by a ``TYPICAL_INVOICES``-th (more while there were fewer).

    >>> issue = Logit(0.0, 0.0, (0.0, 1.0, 0.5, 0.0, -1.0))
    >>> record_issue(ScoreState(), issue).typical_invoice
    TypicalInvoice(weekday=1.0, group=0.5, amounts=-1.0, invoices=1)
    """
    typical = score.typical_invoice or _NO_INVOICE
    _, weekday, group, _, amounts = forecast.contributions[:5]
    weight = max(1.0 / TYPICAL_INVOICES, 1.0 / (typical.invoices + 1))
    typical = TypicalInvoice(
        typical.weekday + weight * (weekday - typical.weekday),
        typical.group + weight * (group - typical.group),
        typical.amounts + weight * (amounts - typical.amounts),
        typical.invoices + 1,
    )
    return replace(score, typical_invoice=typical)


def needs_rescore(score: ScoreState) -> bool:
    """Whether the typical invoice may have moved by much: with the first invoice, and when their number has doubled.

    >>> [n for n in range(1, 40) if needs_rescore(ScoreState(typical_invoice=TypicalInvoice(0.0, 0.0, 0.0, n)))]
    [1, 2, 4, 8, 16]
    """
    count = score.typical_invoice.invoices if score.typical_invoice is not None else 0
    return count.bit_count() == 1 and count < 2 * TYPICAL_INVOICES


# -- from log-odds to a score
def _to_score(
    forecast: Logit,
    at_issue: Features,
    score: ScoreState,
    inputs: ScoreInputs,
    model: ModelPublished,
    bands: Bands,
    previous: Band | None,
    last: LastScore | None = None,
) -> Scored:
    """``last``: the debtor's published score; one that says nothing new is not worked out to the end, for it never goes out."""
    p_late = round(sigmoid(forecast.total), 6)
    risk = risk_class(inputs, score.labels)
    default = round(p_default(p_late, risk, inputs, model), 6)
    # A certain insolvency delays payment too, which no cell can know: p_late is lifted, and the reason says by how much.
    lift = 0.0
    if default > p_late:
        lift, p_late = logit(default) - forecast.total, default
    features = Features(at_issue.weekday, at_issue.closed, at_issue.group, None, at_issue.shock, risk, forecast.vector, p_late)
    ready, grade = _is_ready(score, inputs), band(bands, p_late, default, previous)
    if not ready and grade == "strong":
        grade = "medium"  # nothing is known of it: no reason to refuse, and none to trust
    reason_inputs = ReasonInputs(inputs, score.labels, score.change, model.scorer)
    if last is not None and not _differs(last, p_late, default, grade, ready=ready):
        return Scored(p_late, default, ready, grade, features, forecast, reason_inputs, lift, 0.0)
    still_open = survival(score, at_issue.group, model)
    days = payment_days(p_late, still_open, score) if forecast.vector else None
    p_late_30 = round(p_late * still_open[UP_TO_30 - 1], 6)
    return Scored(p_late, default, ready, grade, features, forecast, reason_inputs, lift, p_late_30, days)


def _is_ready(score: ScoreState, inputs: ScoreInputs) -> bool:
    return (
        score.labels > 0
        or inputs.bank
        or inputs.shock
        or inputs.days_past_due > 0
        or inputs.stage != "none"
        or inputs.rating != 0.0
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
    """The policy's, moved by the margin that holds on to ``previous``: strong below the first two, weak from the last two on.

    >>> thresholds(Bands(), None), thresholds(Bands(), "strong")[0]
    ((0.6, 0.03, 0.97, 0.15), 0.646906)
    """
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


# -- what a default costs
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
def _smoothed_loss(losses: float, defaults: float, prior: float) -> float:
    return round((losses + LOSS_LABELS * prior) / (defaults + LOSS_LABELS), 6)


def share_lost(features: Features, unpaid: Decimal) -> float | None:
    """Of what was owed at default, the share that is still missing when ``WORKOUT_DAYS`` are over; None if nothing was owed.

    >>> share_lost(Features(1, False, "-", owed=Decimal(100), recovered=Decimal(20)), Decimal(70))
    0.5
    """
    if not features.owed:
        return None
    return round(float(max(Decimal(0), min(Decimal(1), (unpaid - features.recovered) / features.owed))), 6)


# -- the published score
def is_news(last: LastScore | None, scored: Scored) -> bool:
    """Whether the debtor's score goes out: it is the first one, its band or readiness changed, or a probability moved.

    >>> scored = score_debtor(ScoreState(), None, ScoreInputs(), ModelPublished(), bands=Bands())
    >>> is_news(None, scored), is_news(to_last_score(None, scored, 1), scored)
    (True, False)
    """
    return last is None or _differs(last, scored.p_late, scored.p_default, scored.band, ready=scored.ready)


def _differs(last: LastScore, p_late: float, p_default: float, grade: Band, *, ready: bool) -> bool:
    if last.band != grade or last.ready != ready:
        return True
    if abs(last.p_late - p_late) >= _NEWS_DIFFERENCE or abs(last.p_default - p_default) >= _NEWS_DIFFERENCE:
        return True
    low, high = min(last.p_default, p_default), max(last.p_default, p_default)
    return high >= NEWS_FLOOR and high >= NEWS_FACTOR * low


def to_last_score(last: LastScore | None, scored: Scored, day: int) -> LastScore:
    """What a score leaves behind when it is published on ``day`` (ordinal), after ``last``.

    The slow average starts again when the prior ends, that is with the first score of which anything is known.

    >>> scored = score_debtor(ScoreState(), None, ScoreInputs(bank=True), ModelPublished(), bands=Bands())
    >>> last = to_last_score(LastScore(0.9, 0.01, "medium", True, 1, 0.9), scored, 31)
    >>> last.p_late == scored.p_late, last.average
    (True, 0.9)
    """
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

    >>> slow_average(LastScore(0.6, 0.01, "medium", True, 100, 0.2), 130)
    0.4
    """
    if last is None:
        return None
    weight: float = 0.5 ** (max(0, day - last.day) / AVERAGE_DAYS)
    return round(last.p_late + (last.average - last.p_late) * weight, 6)
