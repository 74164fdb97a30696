"""What others would have said of the same invoices, in the same order, from labels that matured as late: the bar.

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

from streams.backtest.history import Table
from streams.backtest.statistics import Floats, Ints

PRIOR_LABELS = 5.0
"""Pseudo-labels of the overall late rate within a debtor's."""
FIRST_FIT = 500
"""Labels that a booster needs before its first fit (score_quality.md 1)."""
RATE = 0.003
"""Step of river's logistic regression (score_quality.md 2)."""
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
"""The best of about ten settings on the development ledger (score_quality.md 2, fair bar)."""
TREES = 250

Tell = Callable[[int], None]
"""Told how many invoices have been judged since it was last told."""


@dataclass(frozen=True, slots=True)
class Forecasts:
    """What one scorer said of each invoice. ``microseconds``: of the processor, per invoice, for forecast and learning together
    (None = not measured).
    """

    name: str
    title: str
    p: Floats
    microseconds: float | None = None
    microseconds_whole: float | None = None
    """With all that a score says beside it: default, dates, band."""


def late_rate(table: Table, tell: Tell = lambda _: None) -> Forecasts:
    """The debtor's share of late invoices so far, smoothed towards that of all."""
    began = time.process_time()
    p = np.zeros(len(table))
    late = table.late.tolist()
    of: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    all_late, count = 0.4, 1.0
    for i in table.order:
        if i >= 0:
            own = of[table.customers[i]]
            p[i] = (own[0] + PRIOR_LABELS * all_late / count) / (own[1] + PRIOR_LABELS)
        else:
            own = of[table.customers[~i]]
            own[0] += late[~i]
            own[1] += 1.0
            all_late += late[~i]
            count += 1.0
    tell(len(table))
    return Forecasts("late_rate", "late rate of the debtor", p, _each(began, table))


def river_logistic(table: Table, tell: Tell = lambda _: None) -> Forecasts:
    """The logistic regression of river as one would write it in an afternoon: standardised features, plain SGD."""
    from river import linear_model, optim, preprocessing

    began = time.process_time()
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(RATE))
    features = _features_for_river(table)
    names = [f"f{j}" for j in range(features.shape[1])]
    rows, late, p = features.tolist(), table.late.tolist(), np.zeros(len(table))
    for i in table.order:
        if i >= 0:
            p[i] = model.predict_proba_one(dict(zip(names, rows[i], strict=True))).get(True, 0.4)
            tell(1)
        else:
            model.learn_one(dict(zip(names, rows[~i], strict=True)), bool(late[~i]))
    return Forecasts("river_lr", "river logistic regression", p, _each(began, table))


def _features_for_river(table: Table) -> Floats:
    """A linear model has no use for the debtor's number and the day of the month."""
    return table.x if table.x.shape[1] else table.raw[:, :2]


def boosted(table: Table, every: int, tell: Tell = lambda _: None) -> Forecasts:
    """LightGBM, fitted again on all labels so far whenever ``every`` more invoices were issued; ImportError without it."""
    began = time.process_time()
    p = refit(np.column_stack((table.x, table.raw)), table.late, table.order, every, tell)
    return Forecasts(f"lightgbm_{every}", f"LightGBM, fitted every {every:,}", p, _each(began, table))


def refit(x: Floats, labels: Ints, order: list[int], every: int, tell: Tell = lambda _: None, first: int = FIRST_FIT) -> Floats:
    """The forecasts of a booster that is fitted anew every so many rows; before the first fit, the share of the labels so far."""
    p, known, positives = np.zeros(len(x)), list[int](), 0.4
    waiting, issued, model = list[int](), 0, None
    for i in order:
        if i < 0:
            known.append(~i)
            positives += labels[~i]
            continue
        if issued % every == 0 and len(known) >= first:
            if model is not None:
                p[waiting] = model(x[waiting])
            model, waiting = fit(x[known], labels[known]), []
            tell(every)
        p[i] = positives / (len(known) + 1)
        waiting.append(i)
        issued += 1
    if model is not None:
        p[waiting] = model(x[waiting])
    return p


def fit(x: Floats, labels: Ints, **settings: float) -> Callable[[Floats], Floats]:
    """A booster, as the function that forecasts; ``settings`` other than those of ``BOOSTER``."""
    import lightgbm

    model = lightgbm.train(BOOSTER | settings, lightgbm.Dataset(x, labels, free_raw_data=True), num_boost_round=TREES)

    def forecast(rows: Floats) -> Floats:
        return np.asarray(model.predict(rows, num_threads=1), dtype=np.float64)

    return forecast


def booster_is_here() -> bool:
    """LightGBM is a development dependency, and needs the system's OpenMP: without either, it is left out."""
    with suppress(ImportError, OSError):
        import lightgbm  # noqa: F401 - whether it can be

        return True
    return False


def _each(began: float, table: Table) -> float:
    return round((time.process_time() - began) / max(len(table), 1) * 1e6, 1)
