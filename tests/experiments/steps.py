"""Does it cost anything that the shared model moves in steps? ``python -m tests.experiments.steps [--ledger NAME]``.

In the product all shared parts move together, between steps: shared cells, weights and rates of the state model, hedge, hazards
after the due day, default classes, loss given default. Labels mature at the end of a day, so a day is what ticks do live;
a replay's step is a week. Each target is judged on the same invoices, however long the step.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from streams.backtest.history import UNKNOWN, History, Table, burn_in_for
from streams.backtest.scorecard import judged_rows, payment_dates
from streams.backtest.statistics import quality
from streams.connectors.records import Record
from streams.process.garbage import tune_for_many_rows
from streams.recompute.pipeline import Fold
from streams.replay.context import replay_context
from streams.replay.sources import read_sources
from streams.replay.steps import Step
from tests.experiments.ledgers import CASSANDRA, HIGHRADIUS, IBM

LEDGERS = {"ibm": IBM, "cassandra": CASSANDRA, "highradius": HIGHRADIUS}
LENGTHS = (1, 7, 30)
"""The lengths of a step in days."""


def cut(records: Sequence[Record], days: int) -> Iterator[Step]:
    """Steps of so many days, those without records included."""
    first = records[0].day
    number = 0
    for place, group in groupby(records, lambda record: (record.day - first).days // days):
        while number < place:
            yield Step(number, _end(first, days, number), [])
            number += 1
        yield Step(number, _end(first, days, number), list(group))
        number += 1


def _end(first: Any, days: int, number: int) -> datetime:
    return datetime.combine(first + timedelta(days=days * (number + 1)), time(), tzinfo=UTC)


def score_ledger(path: Path, mapping: str, days: int) -> Table:
    """Score a ledger with steps of so many days."""
    records = read_sources([path], mapping, None)
    history = History()
    fold = Fold(replay_context(records, None), history.on_event)
    for step in cut(records, days):
        for output in fold.step(step):
            history.on_output(output)
    return history.table()


def line(table: Table) -> list[str]:
    """Log loss of late, of more than 30 days late and of default; AUC of late; mean error of the payment date in days."""
    rows = judged_rows(table, burn_in_for(len(table)))
    late = quality(table.late[rows], table.p_late[rows])
    cells = [] if late is None else [f"{late.log_loss:.4f}", f"{late.auc:.4f}"]
    for labels, scores in ((table.late_30, table.p_late_30), (table.default, table.p_default)):
        labelled = (labels != UNKNOWN) & np.isfinite(scores) & (np.arange(len(table)) >= burn_in_for(len(table)))
        figures = quality(labels[labelled], scores[labelled])
        cells.append("-" if figures is None else f"{figures.log_loss:.4f}")
    dates = payment_dates(table, table.expected_paid, rows)
    return [*cells, "-" if dates is None else f"{dates['mean_absolute_error']:.3f}"]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ledger", choices=LEDGERS, action="append", help="only this one; may be repeated")
    tune_for_many_rows()
    print(f"{'ledger':12}{'step':>8}{'late ll':>10}{'late AUC':>10}{'> 30 ll':>10}{'default ll':>12}{'date off':>10}")
    for name in parser.parse_args(arguments).ledger or LEDGERS:
        if not LEDGERS[name].exists():
            sys.exit(f"{LEDGERS[name]} is not there: this experiment needs the development ledgers")
        for days in LENGTHS:
            late, auc, late_30, default, off = line(score_ledger(LEDGERS[name], name, days))
            print(f"{name:12}{days:>6} d{late:>10}{auc:>10}{late_30:>10}{default:>12}{off:>10}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
