"""The state model of being late (score_quality.md 3.3): the features of an invoice at issue, and what each part of them says.

Late rates, each smoothed towards its parent, as log-odds; a histogram of days late; counts; what is overdue now; what others say.
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from math import log, log1p
from typing import NamedTuple

import numpy as np

from agents.debtor.scoring.cell_model import Cells
from agents.debtor.scoring.model_cache import per_model
from agents.debtor.scoring.state import Active, ScoreInputs, ScoreState
from agents.score_model import ALL_LABELS, ALL_LATE, FEATURES, PRIOR_WEIGHTS, UNIT, fitted, share_of_cells
from schemas.events.models import ModelPublished

FADING = 5.0
"""A debtor's own labels after which what others say of it counts half."""
NO_HISTOGRAM = (0.0, 0.15, 0.15, 0.1, 0.1, 0.15, 0.35)
"""Shares of days late before any label, worth one label."""
USUAL_TERMS = 30.0
"""Days of payment that say nothing either way."""

_CENTRES = tuple(f.centre for f in FEATURES)
_CENTRE_OF, _FACTOR_OF = np.array(_CENTRES), np.array([UNIT / f.scale for f in FEATURES])
_LEAST, _MOST = -127, 127
_RATES = tuple(range(1, 13))
_BACK = tuple(f.scale / UNIT for f in FEATURES)


class Prepared(NamedTuple):
    """What follows from a model alone, once per model. ``branch``: weight of a late rate and of all that build on it."""

    model: ModelPublished
    cells_share: float
    weights: tuple[float, ...]
    """Per 1/32."""
    branch: tuple[float, ...]
    """Per unit of log-odds; in the order of the first thirteen features."""
    base: float
    all_rate: float
    all_logit: float


def prepared(model: ModelPublished) -> Prepared:
    """What follows from the model alone."""
    return _prepared(model, "")


@per_model
def _prepared(model: ModelPublished, _: str) -> Prepared:
    weights = fitted(model.weights, PRIOR_WEIGHTS)
    late, labels = model.rates.get("all", (ALL_LATE, ALL_LABELS))
    rate = late / labels
    all_logit = _log_odds(rate)
    w = [weight / feature.scale for weight, feature in zip(weights[:13], FEATURES[:13], strict=True)]
    amount, lately, weekday_lately, closed_amount, weekday_amount = w[8], w[3], w[7], w[9], w[10]
    weekday = w[6] + weekday_lately + weekday_amount
    closed = w[5] + weekday + closed_amount
    debtor = w[2] + lately + closed + amount
    group = w[1] + debtor + w[4]
    branch = (
        0.0,
        group,
        debtor,
        lately,
        w[4],
        closed,
        weekday,
        weekday_lately,
        amount,
        closed_amount,
        weekday_amount,
        w[11],
        w[12],
    )
    centres = sum(a * f.centre for a, f in zip(w[1:], FEATURES[1:13], strict=True))
    base = weights[0] + (group + w[11] + w[12]) * all_logit - centres
    return Prepared(
        model, share_of_cells(model.hedge), tuple(v / UNIT for v in weights), branch, base, rate, all_logit
    )  # fmt: skip


def _log_odds(p: float) -> float:
    p = 0.002 if p < 0.002 else min(p, 0.998)
    return log(p / (1.0 - p))


@lru_cache(maxsize=4096)
def _days_past_due(days: int) -> float:
    return log1p(days)


def features(active: Active, own: Cells, score: ScoreState, facts: ScoreInputs, base: Prepared) -> bytes:
    """The state features of an invoice as it is issued, a signed byte each, in the order of ``FEATURES``."""
    lately = score.lately
    every = base.all_rate
    g, gw, w, x = map(base.model.rates.get, active.rates)
    r_group = every if g is None else (g[0] + 6.0 * every) / (g[1] + 6.0)
    r_group_weekday = r_group if gw is None else (gw[0] + 6.0 * r_group) / (gw[1] + 6.0)
    r_weekday = every if w is None else (w[0] + 20.0 * every) / (w[1] + 20.0)
    r_closed_day = every if x is None else (x[0] + 20.0 * every) / (x[1] + 20.0)
    c, cx, cw, _, c_amount, _, cxa, cwa = own
    labels = 0.0 if c is None else c.seen
    r_debtor = r_group if c is None else (c.late + 4.0 * r_group) / (labels + 4.0)
    quick = lately.get("c")
    r_lately = r_debtor if quick is None else (quick[0] + 3.0 * r_debtor) / (quick[1] + 3.0)
    r_cx = r_debtor if cx is None else (cx.late + 3.0 * r_debtor) / (cx.seen + 3.0)
    r_cw = r_cx if cw is None else (cw.late + 3.0 * r_cx) / (cw.seen + 3.0)
    quick = lately.get(active.calendar[2])
    r_cw_lately = r_cw if quick is None else (quick[0] + 2.0 * r_cw) / (quick[1] + 2.0)
    r_amount = r_debtor if c_amount is None else (c_amount.late + 4.0 * r_debtor) / (c_amount.seen + 4.0)
    r_cxa = r_cx if cxa is None else (cxa.late + 4.0 * r_cx) / (cxa.seen + 4.0)
    r_cwa = r_cw if cwa is None else (cwa.late + 4.0 * r_cw) / (cwa.seen + 4.0)
    rates = (
        r_group, r_debtor, r_lately, r_group_weekday, r_cx, r_cw, r_cw_lately, r_amount, r_cxa, r_cwa, r_weekday, r_closed_day,
    )  # fmt: skip
    days, prior = score.days, NO_HISTOGRAM
    total = 1.0 + sum(days)
    fade = FADING / (FADING + score.labels)
    terms = active.terms_days or facts.terms_days
    values = (
        1.0,
        *[log(p / (1.0 - p)) if 0.002 < p < 0.998 else _log_odds(p) for p in rates],
        base.all_logit,
        (days[5] + prior[5]) / total,
        (days[4] + prior[4]) / total,
        (days[2] + prior[2]) / total,
        (days[1] + prior[1]) / total,
        score.mean_days,
        log1p(labels),
        0.0 if cw is None else log1p(cw.seen),
        0.0 if g is None else log1p(g[1]),
        _days_past_due(facts.days_past_due),
        facts.overdue_share,
        0.0 if not terms else fade * log((1.0 + terms) / (1.0 + USUAL_TERMS)),
        fade * facts.rating,
        fade * facts.note,
        1.0 if facts.shock else 0.0,
        1.0 if facts.bank and not facts.shock else 0.0,
        0.0 if score.labels else 1.0,
    )
    whole = np.rint((np.array(values) - _CENTRE_OF) * _FACTOR_OF)  # halves to even, as round() would
    found: bytes = whole.clip(_LEAST, _MOST).astype(np.int8).tobytes()
    return found


def whole_numbers(x: bytes) -> tuple[int, ...]:
    """The features as whole numbers of 1/32."""
    return tuple(array("b", x))


def state_parts(x: bytes, base: Prepared) -> tuple[float, ...]:
    """What the state model says, on the log-odds scale, per reason code (``reasons.CODES``); the parts add up to it.

    A late rate builds on its parent, so its weight is told of the step between the two: a debtor that is late on Fridays only
    has that told of its Fridays.
    """
    k = array("b", x)
    w, b = base.weights, base.branch
    group, debtor, lately, group_weekday, closed, weekday, weekday_lately, amount, closed_amount, weekday_amount, day, bank = [
        k[i] * _BACK[i] + _CENTRES[i] for i in _RATES
    ]
    every = base.all_logit
    return (
        base.base + k[13] * w[13],
        b[5] * (closed - debtor) + b[6] * (weekday - closed) + b[7] * (weekday_lately - weekday) + b[11] * (day - every)
        + b[12] * (bank - every) + k[20] * w[20],
        b[1] * (group - every) + b[4] * (group_weekday - group) + k[21] * w[21],
        b[2] * (debtor - group) + b[3] * (lately - debtor) + k[14] * w[14] + k[15] * w[15] + k[16] * w[16] + k[17] * w[17]
        + k[18] * w[18] + k[19] * w[19],
        b[8] * (amount - debtor) + b[9] * (closed_amount - closed) + b[10] * (weekday_amount - weekday),
        k[27] * w[27] + k[28] * w[28],
        k[22] * w[22] + k[23] * w[23],
        k[24] * w[24],
        k[25] * w[25],
        k[26] * w[26],
        k[29] * w[29],
    )  # fmt: skip
