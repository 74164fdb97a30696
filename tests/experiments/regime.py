"""How many days until the score has followed a change of regime? ``python -m tests.experiments.regime [--third N]``.

On the development ledger a third of the debtors pays 15 days later from one day on; three different thirds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from streams.backtest.challengers import Forecasts, gradient_boosting, late_rate, river_logistic
from streams.backtest.history import UNKNOWN, Table
from streams.backtest.regime_changes import days_to_half_way
from streams.backtest.statistics import log_losses
from tests.experiments.history import history_of
from tests.experiments.ledgers import HIGHRADIUS, highradius_mapping, highradius_rows, slower, third, write

START, DAYS = date(2019, 9, 2), 15
BURN_IN = 3_000


@dataclass(frozen=True, slots=True)
class Reaction:
    """How fast one scorer follows: days until its mean forecast for new affected invoices went half the way, and 80 % of it.

    None = never.
    """

    scorer: str
    half: int | None
    most: int | None
    log_loss_after: float
    log_loss_unaffected: float


def change_ledger(number: int, *, until: date | None = None, start: date = START) -> tuple[Table, np.ndarray]:
    """Score the ledger after the change; also returns which invoices are of affected debtors."""
    affected = third(number)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledger = write(folder / "ledger.csv", slower(highradius_rows(), affected, start, DAYS))
        history = history_of([ledger], mapping=highradius_mapping(folder), until=until)
    table = history.table()
    return table, np.array([affected(customer) for customer in table.customers])


def reactions(table: Table, affected: np.ndarray, scorers: Sequence[Forecasts], start: date = START) -> list[Reaction]:
    """Each scorer's reaction: from its mean 80 to 20 days before the change towards the share that is late after it."""
    in_scope = (table.late != UNKNOWN) & (np.arange(len(table)) >= BURN_IN)
    after = table.issue_days - start.toordinal()
    affected_rows, unaffected = in_scope & affected, in_scope & ~affected
    before, behind = affected_rows & (after >= -80) & (after < -20), affected_rows & (after >= 0)
    goal = float(table.late[behind].mean())
    results = []
    for scorer in scorers:
        base = float(scorer.p[before].mean())
        half, most = (days_to_half_way(after[affected_rows], scorer.p[affected_rows], goal, share, base) for share in (0.5, 0.8))
        losses = log_losses(np.maximum(table.late, 0), np.clip(scorer.p, 1e-4, 1 - 1e-4))
        results.append(Reaction(scorer.title, half, most, float(losses[behind].mean()), float(losses[unaffected].mean())))
    return results


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--third", type=int, choices=(0, 1, 2), action="append", help="only this third; may be repeated")
    thirds = parser.parse_args(arguments).third or [0, 1, 2]
    if not HIGHRADIUS.exists():
        sys.exit(f"{HIGHRADIUS} is not there: this experiment needs the development ledger")
    print(f"{'third':6}{'scorer':30}{'half-way':>10}{'80 %':>8}{'ll after':>10}{'ll unaffected':>15}")
    for number in thirds:
        table, affected = change_ledger(number)
        own_forecasts = Forecasts("duewatch", "duewatch", table.p_late)
        scorers = [own_forecasts, late_rate(table), river_logistic(table), gradient_boosting(table, 1_000)]
        for reaction in reactions(table, affected, scorers):
            half, most = ("-" if days is None else f"{days} d" for days in (reaction.half, reaction.most))
            losses = f"{reaction.log_loss_after:>10.4f}{reaction.log_loss_unaffected:>15.4f}"
            print(f"{number + 1:<6}{reaction.scorer:30}{half:>10}{most:>8}{losses}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
