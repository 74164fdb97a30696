"""What is the score worth from bank movements alone? ``python -m tests.experiments.berka``.

Anonymised accounts before a loan, and how the loan ended (B and D bad). Each account is a debtor without a single invoice; its
score on the day before the loan is held against the end. Beside it, what a booster and a logistic regression make of aggregates
of the same movements, by cross-validation over accounts: they see labels, of which the score has none.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path

import numpy as np
import orjson

from streams.backtest.challengers import fit_booster
from streams.backtest.statistics import Bootstrap, Floats, Interval
from tests.experiments.history import history_of
from tests.experiments.ledgers import FOLDER, Row, read

LOANS, MOVEMENTS = (FOLDER / "bank/berka" / f"berka_dev_{name}.csv" for name in ("loans", "transactions"))
FOLDS, REPEATS = 7, 5


def day_of(text: str) -> date:
    """The date of a text YYMMDD, in the 1990s."""
    return datetime.strptime(f"19{text}", "%Y%m%d").date()  # noqa: DTZ007 - a day has no zone


def write_events(loans: Sequence[Row], movements: Sequence[Row], folder: Path) -> None:
    """Customers and bank transactions as JSON lines; only what was booked before the loan."""
    before = {row["account_id"]: day_of(row["date"]) for row in loans}
    first = {account: min(day_of(row["date"]) for row in movements if row["account_id"] == account) for account in before}
    customers = [
        _event("customers", "customer.updated", f"customer-{account}", first[account], {"customer_id": f"A-{account}"})
        for account in before
    ]
    transactions = [
        _event("bank-transactions", "bank_transaction.booked", f"movement-{row['trans_id']}", day_of(row["date"]), _movement(row))
        for row in movements
        if row["account_id"] in before and day_of(row["date"]) < before[row["account_id"]] and float(row["amount"])
    ]
    (folder / "customers.jsonl").write_bytes(b"".join(customers))
    (folder / "bank-transactions.jsonl").write_bytes(b"".join(transactions))


def _movement(row: Row) -> dict[str, str]:
    sign = "" if row["type"] == "credit" else "-"
    return {
        "customer_id": f"A-{row['account_id']}",
        "transaction_id": row["trans_id"],
        "amount": f"{sign}{float(row['amount']):.2f}",
        "currency": "CZK",
        "booked_on": str(day_of(row["date"])),
        "balance_after": f"{float(row['balance']):.2f}",
    }


def _event(topic: str, kind: str, ident: str, day: date, data: dict[str, str]) -> bytes:
    at = f"{day}T18:00:00Z"
    event = {
        "specversion": "1.0", "id": ident, "type": f"duewatch.{kind}.v1", "source": f"berka/{topic}", "time": at,
        "recordedtime": at, "subject": data["customer_id"], "data": data,
    }  # fmt: skip
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def scores(loans: Sequence[Row], movements: Sequence[Row]) -> Floats:
    """p_default of each account, as last computed before its loan."""
    with tempfile.TemporaryDirectory() as name:
        write_events(loans, movements, Path(name))
        history = history_of([Path(name)])
    values = []
    for row in loans:
        limit = day_of(row["date"]).toordinal()
        scored = [score for score in history.debtors[f"A-{row['account_id']}"] if score[0] <= limit]
        values.append(scored[-1][1])
    return np.array(values)


def aggregates(loans: Sequence[Row], movements: Sequence[Row]) -> Floats:
    """Features of each account, over 13 weeks and over all before: weekly inflow and outflow, noise, balances, penalties."""
    of: dict[str, list[Row]] = defaultdict(list)
    for row in movements:
        of[row["account_id"]].append(row)
    return np.array([_aggregate(of[row["account_id"]], day_of(row["date"]).toordinal()) for row in loans])


def _aggregate(rows: Sequence[Row], end: int) -> list[float]:
    dated = [(day_of(row["date"]).toordinal(), row) for row in rows]
    dated = [(day, row) for day, row in dated if day < end]
    weeks = max(1.0, (end - min(day for day, _ in dated)) / 7)
    features: list[float] = []
    for span, part in ((13.0, [row for day, row in dated if day >= end - 91]), (weeks, [row for _, row in dated])):
        flow = {kind: [float(r["amount"]) for r in part if (r["type"] == "credit") == (kind == "in")] for kind in ("in", "out")}
        features += [np.log1p(sum(flow["in"]) / span), np.log1p(sum(flow["out"]) / span)]
        features += [float(np.std(np.log1p(values))) if values else 0.0 for values in flow.values()]
        balances = [float(r["balance"]) for r in part] or [0.0]
        features += [min(balances), balances[-1], float(np.mean(balances)), float(np.std(balances))]
    penalties = sum(row["k_symbol"].startswith("sanction") for _, row in dated)
    return [*features, float(penalties), weeks]


def cross_validate(x: Floats, y: np.ndarray, kind: str) -> Floats:
    """Forecasts by repeated cross-validation over accounts, averaged."""
    forecasts = np.zeros(len(y))
    for seed in range(REPEATS):
        fold = np.random.default_rng(seed).permutation(len(y)) % FOLDS
        for number in range(FOLDS):
            part = fold == number
            forecasts[part] += (_booster if kind == "LightGBM" else _logistic)(x[~part], y[~part])(x[part])
    return forecasts / REPEATS


def _booster(x: Floats, y: np.ndarray) -> Callable[[Floats], Floats]:
    """A booster with smaller leaves than for a ledger: there are only a hundred and forty accounts."""
    return fit_booster(x, y, min_child_samples=5, num_leaves=4)


def _logistic(x: Floats, y: np.ndarray) -> Callable[[Floats], Floats]:
    """Ridge logistic regression, by Newton's method on standardised features."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    design = np.column_stack((np.ones(len(x)), (x - mean) / scale))
    penalty = np.diag([1e-6, *[5.0] * x.shape[1]])
    weights = np.zeros(design.shape[1])
    for _ in range(25):
        p = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (y - p) - penalty @ weights
        weights += np.linalg.solve(design.T @ (design * (p * (1 - p))[:, None]) + penalty, gradient)
    return lambda rows: 1 / (1 + np.exp(-np.column_stack((np.ones(len(rows)), (rows - mean) / scale)) @ weights))


def judge() -> list[tuple[str, Interval]]:
    """Each scorer's name and AUC with its interval."""
    loans, movements = read(LOANS), read(MOVEMENTS)
    y = np.array([int(row["status"] in "BD") for row in loans])
    own_scores = scores(loans, movements)
    x = aggregates(loans, movements)
    blocks = Bootstrap(np.arange(len(y)), 2_000)
    scorers = [("duewatch p_default, without any label", own_scores)]
    scorers += [
        (f"{kind}, cross-validated on the labels", cross_validate(x, y, kind)) for kind in ("LightGBM", "logistic regression")
    ]
    return [(name, interval) for name, forecasts in scorers if (interval := blocks.auc(y, forecasts)) is not None]


def main() -> None:
    if not LOANS.exists():
        sys.exit(f"{LOANS} is not there: this experiment needs the development data")
    for name, interval in judge():
        print(f"{name:45} AUC {interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]")


if __name__ == "__main__":
    main()
