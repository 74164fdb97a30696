"""The state model of being late: the feature vector of an invoice at issue, and what each part of it adds to the log-odds.

Late rates, each smoothed towards its parent, as log-odds; a histogram of days late; counts; what is overdue now; what others say.
README.md, "State model: thirty features, one covariance".
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from math import log, log1p
from struct import Struct
from typing import NamedTuple

import numpy as np

from agents.debtor.scoring.model_cache import per_model
from agents.debtor.scoring.state import ScoreState
from agents.debtor.scoring.values import CellKeys, DebtorCells, ScoreInputs
from agents.score_model import (
    ALL,
    ALL_LABELS,
    ALL_LATE,
    CLOSED_DAY,
    CONSTANT,
    DAYS_PAST_DUE,
    DEBTOR,
    DEBTOR_AMOUNT,
    DEBTOR_CLOSED_DAY,
    DEBTOR_CLOSED_DAY_AMOUNT,
    DEBTOR_RECENT,
    DEBTOR_WEEKDAY,
    DEBTOR_WEEKDAY_AMOUNT,
    DEBTOR_WEEKDAY_RECENT,
    FEATURES,
    GROUP,
    GROUP_WEEKDAY,
    LABELS,
    LABELS_GROUP,
    LABELS_WEEKDAY,
    MEAN_DAYS,
    NEW,
    NOTE,
    OVERDUE_SHARE,
    PRIOR_WEIGHTS,
    RATING,
    SHARE_1_BEFORE,
    SHARE_3_4_BEFORE,
    SHARE_5_7_BEFORE,
    SHARE_DUE_DAY,
    SHOCK,
    STEADY,
    TERMS,
    UNIT,
    WEEKDAY,
    align_features,
    share_of_cells,
)
from schemas.events.models import ModelPublished

FADING = 5.0
"""A debtor's own labels after which what others say of it counts half."""
NO_HISTOGRAM = (0.0, 0.15, 0.15, 0.1, 0.1, 0.15, 0.35)
"""Shares of days late before any label, worth one label."""
USUAL_TERMS = 30.0
"""Days of payment that say nothing either way."""

_RATES = slice(GROUP, ALL)
"""The late rates in the vector: everything between the constant and the rate of all debtors."""
_CENTRES = tuple(f.centre for f in FEATURES)
_CENTRES_ARRAY, _FACTORS_ARRAY = np.array(_CENTRES), np.array([UNIT / f.scale for f in FEATURES])
_LOWEST, _HIGHEST = np.full(len(FEATURES), -127.0), np.full(len(FEATURES), 127.0)  # arrays: clip is faster with them
_INT8 = np.dtype(np.int8)
_STEPS = tuple(f.scale / UNIT for f in FEATURES)
"""What 1/32 of a feature is worth in its own unit."""
_RATE_PLACES = tuple(range(ALL))
"""Of the constant, so that a rate keeps its place, and of the late rates."""
_unpack = Struct(f"{len(FEATURES)}b").unpack


class PreparedModel(NamedTuple):
    """What follows from a model alone, computed once per model."""

    model: ModelPublished
    cells_share: float
    weights: tuple[float, ...]
    """Per 1/32 of each feature."""
    branch_weights: tuple[float, ...]
    """Of a late rate and of all that build on it, per unit of log-odds; by the place of the rate in the vector."""
    constant: float
    """What the model says where every late rate is that of all debtors."""
    all_rate: float
    all_logit: float


def prepare_model(model: ModelPublished) -> PreparedModel:
    """What follows from the model alone.

    >>> prepare_model(ModelPublished()).all_rate
    0.4
    """
    return _prepare(model, "")


@per_model
def _prepare(model: ModelPublished, _: str) -> PreparedModel:
    weights = align_features(model.weights, PRIOR_WEIGHTS)
    late, labels = model.rates.get("all", (ALL_LATE, ALL_LABELS))
    rate = late / labels
    all_logit = _log_odds(rate)
    w = [weight / feature.scale for weight, feature in zip(weights[:ALL], FEATURES[:ALL], strict=True)]
    centres = sum(a * f.centre for a, f in zip(w[_RATES], FEATURES[_RATES], strict=True))
    # From the leaves to the root: a rate carries its own weight and those of all rates that are smoothed towards it.
    w[CONSTANT] = 0.0
    w[DEBTOR_WEEKDAY] = w[DEBTOR_WEEKDAY] + w[DEBTOR_WEEKDAY_RECENT] + w[DEBTOR_WEEKDAY_AMOUNT]
    w[DEBTOR_CLOSED_DAY] = w[DEBTOR_CLOSED_DAY] + w[DEBTOR_WEEKDAY] + w[DEBTOR_CLOSED_DAY_AMOUNT]
    w[DEBTOR] = w[DEBTOR] + w[DEBTOR_RECENT] + w[DEBTOR_CLOSED_DAY] + w[DEBTOR_AMOUNT]
    w[GROUP] = w[GROUP] + w[DEBTOR] + w[GROUP_WEEKDAY]
    constant = weights[CONSTANT] + (w[GROUP] + w[WEEKDAY] + w[CLOSED_DAY]) * all_logit - centres
    per_step = tuple(weight / UNIT for weight in weights)
    return PreparedModel(model, share_of_cells(model.hedge), per_step, tuple(w), constant, rate, all_logit)


def _log_odds(p: float) -> float:
    p = 0.002 if p < 0.002 else min(p, 0.998)
    return log(p / (1.0 - p))


@lru_cache(maxsize=4096)
def _log_days(days: int) -> float:
    return log1p(days)


def feature_vector(keys: CellKeys, own: DebtorCells, score: ScoreState, inputs: ScoreInputs, model: PreparedModel) -> bytes:
    """The state features of an invoice as it is issued, a signed byte each, in the order of ``FEATURES``.

    >>> from agents.debtor.scoring.cell_model import unknown_invoice
    >>> model = prepare_model(ModelPublished())
    >>> vector = feature_vector(unknown_invoice("-", False), [None] * 8, ScoreState(), ScoreInputs(overdue_share=0.5), model)
    >>> len(vector) == len(FEATURES), vector[OVERDUE_SHARE], vector[NEW]
    (True, 40, 32)
    """
    values = [0.0] * len(FEATURES)
    values[CONSTANT] = 1.0
    values[ALL] = model.all_logit
    group = _set_shared_rates(values, keys, model)
    _set_debtor_rates(values, own, group, score.recent, keys.calendar[2])
    values[_RATES] = [log(p / (1.0 - p)) if 0.002 < p < 0.998 else _log_odds(p) for p in values[_RATES]]
    _set_history(values, own, score)
    _set_inputs(values, keys.terms_days, score.labels, inputs)
    whole = np.rint((np.array(values) - _CENTRES_ARRAY) * _FACTORS_ARRAY)  # halves to even, as round() would
    vector: bytes = whole.clip(_LOWEST, _HIGHEST).astype(_INT8).tobytes()
    return vector


# A late rate is smoothed towards its parent: as if so many more labels (4.0, 6.0 ...) had the parent's rate. Written out, as a
# call for each of twelve rates would cost a tenth of the vector.
def _set_shared_rates(values: list[float], keys: CellKeys, model: PreparedModel) -> float:
    """Late rates that all debtors share, and the group's labels; returns the group's rate, parent of the debtor's."""
    parent = model.all_rate
    group, group_weekday, weekday, closed_day = map(model.model.rates.get, keys.rates)
    rate = parent if group is None else (group[0] + 6.0 * parent) / (group[1] + 6.0)
    values[GROUP] = rate
    values[GROUP_WEEKDAY] = rate if group_weekday is None else (group_weekday[0] + 6.0 * rate) / (group_weekday[1] + 6.0)
    values[WEEKDAY] = parent if weekday is None else (weekday[0] + 20.0 * parent) / (weekday[1] + 20.0)
    values[CLOSED_DAY] = parent if closed_day is None else (closed_day[0] + 20.0 * parent) / (closed_day[1] + 20.0)
    values[LABELS_GROUP] = 0.0 if group is None else log1p(group[1])
    return rate


def _set_debtor_rates(
    values: list[float], own: DebtorCells, group: float, recent: dict[str, tuple[float, float]], weekday_key: str
) -> None:
    """The debtor's late rates: of all its labels and the last few, by kind of due day, by amount."""
    c, cx, cw, _, c_amount, _, cxa, cwa = own
    values[DEBTOR] = debtor = group if c is None else (c.late + 4.0 * group) / (c.labels + 4.0)
    values[DEBTOR_CLOSED_DAY] = closed = debtor if cx is None else (cx.late + 3.0 * debtor) / (cx.labels + 3.0)
    values[DEBTOR_WEEKDAY] = weekday = closed if cw is None else (cw.late + 3.0 * closed) / (cw.labels + 3.0)
    last = recent.get("c")
    values[DEBTOR_RECENT] = debtor if last is None else (last[0] + 3.0 * debtor) / (last[1] + 3.0)
    last = recent.get(weekday_key)
    values[DEBTOR_WEEKDAY_RECENT] = weekday if last is None else (last[0] + 2.0 * weekday) / (last[1] + 2.0)
    values[DEBTOR_AMOUNT] = debtor if c_amount is None else (c_amount.late + 4.0 * debtor) / (c_amount.labels + 4.0)
    values[DEBTOR_CLOSED_DAY_AMOUNT] = closed if cxa is None else (cxa.late + 4.0 * closed) / (cxa.labels + 4.0)
    values[DEBTOR_WEEKDAY_AMOUNT] = weekday if cwa is None else (cwa.late + 4.0 * weekday) / (cwa.labels + 4.0)


def _set_history(values: list[float], own: DebtorCells, score: ScoreState) -> None:
    """The debtor's histogram of days late, and how many labels there are."""
    days, prior = score.days, NO_HISTOGRAM
    total = 1.0 + sum(days)
    values[SHARE_DUE_DAY] = (days[5] + prior[5]) / total
    values[SHARE_1_BEFORE] = (days[4] + prior[4]) / total
    values[SHARE_3_4_BEFORE] = (days[2] + prior[2]) / total
    values[SHARE_5_7_BEFORE] = (days[1] + prior[1]) / total
    values[MEAN_DAYS] = score.mean_days
    debtor, _, weekday, *_ = own
    values[LABELS] = 0.0 if debtor is None else log1p(debtor.labels)
    values[LABELS_WEEKDAY] = 0.0 if weekday is None else log1p(weekday.labels)


def _set_inputs(values: list[float], terms_days: int, labels: int, inputs: ScoreInputs) -> None:
    """What is overdue now, and what is known from elsewhere; that fades as the debtor's own labels come in."""
    fade = FADING / (FADING + labels)
    terms = terms_days or inputs.terms_days
    values[DAYS_PAST_DUE] = _log_days(inputs.days_past_due)
    values[OVERDUE_SHARE] = inputs.overdue_share
    values[TERMS] = 0.0 if not terms else fade * log((1.0 + terms) / (1.0 + USUAL_TERMS))
    values[RATING] = fade * inputs.rating
    values[NOTE] = fade * inputs.note
    values[SHOCK] = 1.0 if inputs.shock else 0.0
    values[STEADY] = 1.0 if inputs.bank and not inputs.shock else 0.0
    values[NEW] = 0.0 if labels else 1.0


def whole_numbers(vector: bytes) -> tuple[int, ...]:
    """The features as whole numbers of 1/32.

    >>> whole_numbers(bytes([1, 255]))
    (1, -1)
    """
    return tuple(array("b", vector))


def state_parts(vector: bytes, model: PreparedModel) -> tuple[float, ...]:
    """What the state model adds to the log-odds, per reason code (``reasons.CODES``); the parts add up to what it says.

    A late rate builds on its parent, so its weight is given the step between the two: of a debtor that is late on Fridays only,
    the reason is its Fridays.

    >>> from agents.debtor.scoring.cell_model import unknown_invoice
    >>> model = prepare_model(ModelPublished())
    >>> vector = feature_vector(unknown_invoice("-", False), [None] * 8, ScoreState(), ScoreInputs(rating=1.0), model)
    >>> state_parts(vector, model)[8]  # the code "rating"
    0.5
    """
    k, w, b = _unpack(vector), model.weights, model.branch_weights
    r = [k[i] * _STEPS[i] + _CENTRES[i] for i in _RATE_PLACES]
    of_all = model.all_logit
    group, debtor, closed_day, weekday = r[GROUP], r[DEBTOR], r[DEBTOR_CLOSED_DAY], r[DEBTOR_WEEKDAY]
    base_rate = model.constant + k[ALL] * w[ALL]
    weekday_rhythm = (
        b[DEBTOR_CLOSED_DAY] * (closed_day - debtor)
        + b[DEBTOR_WEEKDAY] * (weekday - closed_day)
        + b[DEBTOR_WEEKDAY_RECENT] * (r[DEBTOR_WEEKDAY_RECENT] - weekday)
        + b[WEEKDAY] * (r[WEEKDAY] - of_all)
        + b[CLOSED_DAY] * (r[CLOSED_DAY] - of_all)
        + k[LABELS_WEEKDAY] * w[LABELS_WEEKDAY]
    )
    group_history = (
        b[GROUP] * (group - of_all) + b[GROUP_WEEKDAY] * (r[GROUP_WEEKDAY] - group) + k[LABELS_GROUP] * w[LABELS_GROUP]
    )
    recent_delays = (
        b[DEBTOR] * (debtor - group)
        + b[DEBTOR_RECENT] * (r[DEBTOR_RECENT] - debtor)
        + k[SHARE_DUE_DAY] * w[SHARE_DUE_DAY]
        + k[SHARE_1_BEFORE] * w[SHARE_1_BEFORE]
        + k[SHARE_3_4_BEFORE] * w[SHARE_3_4_BEFORE]
        + k[SHARE_5_7_BEFORE] * w[SHARE_5_7_BEFORE]
        + k[MEAN_DAYS] * w[MEAN_DAYS]
        + k[LABELS] * w[LABELS]
    )
    amount_pattern = (
        b[DEBTOR_AMOUNT] * (r[DEBTOR_AMOUNT] - debtor)
        + b[DEBTOR_CLOSED_DAY_AMOUNT] * (r[DEBTOR_CLOSED_DAY_AMOUNT] - closed_day)
        + b[DEBTOR_WEEKDAY_AMOUNT] * (r[DEBTOR_WEEKDAY_AMOUNT] - weekday)
    )
    cash_flow = k[SHOCK] * w[SHOCK] + k[STEADY] * w[STEADY]
    overdue = k[DAYS_PAST_DUE] * w[DAYS_PAST_DUE] + k[OVERDUE_SHARE] * w[OVERDUE_SHARE]
    terms, rating, note, new_debtor = k[TERMS] * w[TERMS], k[RATING] * w[RATING], k[NOTE] * w[NOTE], k[NEW] * w[NEW]
    return (
        base_rate,
        weekday_rhythm,
        group_history,
        recent_delays,
        amount_pattern,
        cash_flow,
        overdue,
        terms,
        rating,
        note,
        new_debtor,
    )
