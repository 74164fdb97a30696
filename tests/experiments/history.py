"""Scores of a ledger, by the product, for an experiment to judge."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from streams.backtest.history import History
from streams.process.garbage import tune_for_many_rows
from streams.recompute.pipeline import Fold
from streams.replay.context import replay_context
from streams.replay.sources import read_sources
from streams.replay.steps import cut_into_weeks
from streams.terminal.progress import progress_bar


def history_of(sources: list[Path], *, mapping: str | None = None, until: date | None = None) -> History:
    """The history that a backtest would evaluate, without writing anything."""
    tune_for_many_rows()
    records = read_sources(sources, mapping, until)
    history = History()
    fold = Fold(replay_context(records, None), history.on_event)
    with progress_bar("backtest", len(records)) as bar:
        for step in cut_into_weeks(records, until):
            for output in fold.step(step):
                history.on_output(output)
            history.on_state(fold.rows)
            bar.advance(len(step.records))
    return history
