"""What other scorers would have forecast for the same invoices, in the same order, from labels that matured at the same time.

Each learns the label of an invoice when it matures and none before, and forecasts when the invoice is issued.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.debtor.scoring.decide import LATE_RATE_LABELS
from agents.learner.river_models import LEARNING_RATE
from streams.backtest.history import Table
from streams.backtest.statistics import Floats, Ints

FIRST_FIT = 500
"""Labels that a booster needs before its first fit."""
BOOSTER: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 8,
    "min_child_samples": 80,
    "colsample_bytree": 0.4,
    "subsample": 0.7,
    "subsample_freq": 1,
    "reg_lambda": 5.0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
"""The best of about ten settings on a ledger that duewatch was developed on: a fair bar."""
TREES = 250

OnProgress = Callable[[int], None]
"""Called with the number of invoices that were forecast since its last call."""


@dataclass(frozen=True, slots=True)
class Forecasts:
    """The forecasts of one scorer, one per invoice.

    ``microseconds``: processor time per invoice for forecast and learning together; None = not measured.
    """

    name: str
    title: str
    p: Floats
    microseconds: float | None = None
    microseconds_whole: float | None = None
    """Including all that a score says besides p_late: default, dates, band."""


def late_rate(table: Table, on_progress: OnProgress = lambda _: None) -> Forecasts:
    """The debtor's share of late invoices so far, smoothed towards that of all."""
    start = time.process_time()
    p = np.zeros(len(table))
    late = table.late.tolist()
    counts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    all_late, all_labels = 0.4, 1.0
    for i in table.order:
        if i >= 0:
            own = counts[table.customers[i]]
            p[i] = (own[0] + LATE_RATE_LABELS * all_late / all_labels) / (own[1] + LATE_RATE_LABELS)
        else:
            own = counts[table.customers[~i]]
            own[0] += late[~i]
            own[1] += 1.0
            all_late += late[~i]
            all_labels += 1.0
    on_progress(len(table))
    return Forecasts("late_rate", "late rate of the debtor", p, _microseconds_each(start, table))


def river_logistic(table: Table, on_progress: OnProgress = lambda _: None) -> Forecasts:
    """River's logistic regression as one would write it in an afternoon: standardised features, plain SGD."""
    from river import linear_model, optim, preprocessing

    start = time.process_time()
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(LEARNING_RATE))
    features = _features_for_river(table)
    names = [f"f{j}" for j in range(features.shape[1])]
    rows, late, p = features.tolist(), table.late.tolist(), np.zeros(len(table))
    for i in table.order:
        if i >= 0:
            p[i] = model.predict_proba_one(dict(zip(names, rows[i], strict=True))).get(True, 0.4)
            on_progress(1)
        else:
            model.learn_one(dict(zip(names, rows[~i], strict=True)), bool(late[~i]))
    return Forecasts("river_lr", "river logistic regression", p, _microseconds_each(start, table))


def _features_for_river(table: Table) -> Floats:
    """The features of a linear model, which has no use for the debtor's number and the day of the month."""
    return table.x if table.x.shape[1] else table.raw[:, :2]


def gradient_boosting(table: Table, every: int, on_progress: OnProgress = lambda _: None) -> Forecasts:
    """LightGBM, fitted again on all labels so far after ``every`` invoices. Raises ImportError where it is not installed."""
    start = time.process_time()
    p = refit_forecasts(np.column_stack((table.x, table.raw)), table.late, table.order, every, on_progress)
    return Forecasts(f"lightgbm_{every}", f"LightGBM, fitted every {every:,}", p, _microseconds_each(start, table))


def refit_forecasts(
    x: Floats, labels: Ints, order: list[int], every: int, on_progress: OnProgress = lambda _: None, first_fit: int = FIRST_FIT
) -> Floats:
    """The forecasts of a booster that is fitted anew after ``every`` rows; until its first fit, the share of positives so far."""
    p, matured, positives = np.zeros(len(x)), list[int](), 0.4
    pending, scored, model = list[int](), 0, None
    for i in order:
        if i < 0:
            matured.append(~i)
            positives += labels[~i]
            continue
        if scored % every == 0 and len(matured) >= first_fit:
            if model is not None:
                p[pending] = model(x[pending])
            model, pending = fit_booster(x[matured], labels[matured]), []
            on_progress(every)
        p[i] = positives / (len(matured) + 1)
        pending.append(i)
        scored += 1
    if model is not None:
        p[pending] = model(x[pending])
    return p


def fit_booster(x: Floats, labels: Ints, **settings: float) -> Callable[[Floats], Floats]:
    """Fit a booster and return the function that forecasts; ``settings`` replace some of ``BOOSTER``."""
    import lightgbm

    model = lightgbm.train(BOOSTER | settings, lightgbm.Dataset(x, labels, free_raw_data=True), num_boost_round=TREES)

    def forecast(rows: Floats) -> Floats:
        return np.asarray(model.predict(rows, num_threads=1), dtype=np.float64)

    return forecast


def is_booster_available() -> bool:
    """Whether LightGBM can be used: it is a development dependency, and needs the system's OpenMP."""
    with suppress(ImportError, OSError):
        import lightgbm  # noqa: F401 - whether it can be imported

        return True
    return False


def _microseconds_each(start: float, table: Table) -> float:
    return round((time.process_time() - start) / max(len(table), 1) * 1e6, 1)
