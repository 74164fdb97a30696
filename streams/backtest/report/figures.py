"""The report's figures in their order, those that there is something to draw of."""

from __future__ import annotations

from streams.backtest.evaluation import Evaluation
from streams.backtest.report import debtor_figures, score_figures
from streams.backtest.report.figure import Figure
from streams.backtest.scorecard import FEW


def figures_of(evaluation: Evaluation) -> list[Figure]:
    """All figures of an evaluation; none where too few invoices could be judged."""
    if evaluation.rows.sum() < FEW:
        return []
    figures = [
        score_figures.reliability_figure(evaluation),
        score_figures.advantage_figure(evaluation),
        score_figures.roc_figure(evaluation),
        score_figures.precision_recall_figure(evaluation),
        score_figures.prequential_figure(evaluation),
        score_figures.lead_figure(evaluation),
        debtor_figures.segments_figure(evaluation.segments),
        debtor_figures.late_calls_figure(evaluation),
        debtor_figures.lead_times_figure(evaluation),
        debtor_figures.regime_changes_figure(evaluation),
        score_figures.months_figure(evaluation),
        *(score_figures.target_figure(target) for target in evaluation.targets),
    ]
    return [figure for figure in figures if figure is not None]
