"""Scores of a ledger, by the product, for an experiment to judge."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from streams.backtest import Fold
from streams.connectors.source import read_sources, steps
from streams.judging.history import History
from streams.memory import keep_many_rows
from streams.progress import progress_bar
from streams.replay_context import replay_context


def history_of(sources: list[Path], *, mapping: str | None = None, until: date | None = None) -> History:
    """What a backtest would judge, with nothing written."""
    keep_many_rows()
    records = read_sources(sources, mapping, until)
    history = History()
    fold = Fold(replay_context(records, None), history.hear)
    with progress_bar("backtest", len(records)) as bar:
        for step in steps(records, until):
            for output in fold.step(step):
                history.see(output)
            history.look(fold.rows)
            bar.advance(len(step.records))
    return history
