"""Does p_default rank who defaults, how early is it said, and who is suspected wrongly? ``python -m tests.experiments.defaults``.

On simulated portfolios, one per seed, folded by the product. Judged as ``duewatch backtest`` does, by
``streams.backtest.ground_truth``:
invoices at issue, default within 90 days; LightGBM on the same features, fitted anew every 28 days on what was known by then.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from streams.backtest.ground_truth import check_against_truth, find_truth
from streams.simulate import simulate, write_portfolio
from tests.experiments.history import history_of

SEEDS, DEBTORS, DAYS = (1101, 1102, 1103, 1104, 1105, 1106), 1_000, 730
GOAL = 0.9
Figures = Mapping[str, Mapping[str, Any]]
AREAS = {"duewatch": "invoice_auc_live", "LightGBM": "invoice_auc_lightgbm_live", "ratio": "invoice_ratio_live"}
TIMES = {
    "days to missed due": "lead_first_missed_due_date_any_of_these",
    "days to default": "lead_default_any_of_these",
    "false alarms": "false_any_of_these",
}


def judge_seed(seed: int, debtors: int = DEBTORS, days: int = DAYS) -> tuple[int, Figures]:
    """How many debtors default in the portfolio of a seed, and what metrics.json would say of the scores."""
    with tempfile.TemporaryDirectory() as name:
        write_portfolio(simulate(debtors, days, seed), Path(name))
        truth = find_truth([Path(name)])
        table = history_of([Path(name)]).table()
    if truth is None:
        raise RuntimeError(f"the simulation of seed {seed} wrote no truth")
    return sum(bool(customer["defaulted_on"]) for customer in truth["customers"]), check_against_truth(table, truth).figures()


def cell(figures: Figures, name: str, digits: int) -> str:
    """A figure with its interval; "-" where the portfolio has too few defaults to tell."""
    figure = figures.get(name, {})
    if figure.get("value") is None:
        return "-"
    low, high = figure["interval"]
    return f"{figure['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def line(defaults: int, figures: Figures) -> list[str]:
    """The cells of a table row, without the seed."""
    areas = [cell(figures, name, 3) for name in AREAS.values()]
    return [str(defaults), *areas, *(cell(figures, name, 3 if title == "false alarms" else 0) for title, name in TIMES.items())]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help="only this one; may be repeated")
    parser.add_argument("--debtors", type=int, default=DEBTORS)
    parser.add_argument("--days", type=int, default=DAYS)
    options = parser.parse_args(arguments)
    print(f"{'seed':>6}{'defaults':>10}" + "".join(f"{title:>24}" for title in (*AREAS, *TIMES)), flush=True)
    ratios = []
    for seed in options.seed or SEEDS:
        defaults, figures = judge_seed(seed, options.debtors, options.days)
        first, *cells = line(defaults, figures)
        print(f"{seed:>6}{first:>10}" + "".join(f"{text:>24}" for text in cells), flush=True)
        ratios += [figures[name]["value"] for name in (AREAS["ratio"],) if name in figures]
    if ratios:
        print(f"ratio: {min(ratios):.3f} to {max(ratios):.3f}, mean {fmean(ratios):.3f}; {GOAL} is the goal")


if __name__ == "__main__":
    main(sys.argv[1:])
