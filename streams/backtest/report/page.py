"""The backtest's page: one HTML file that needs no network and no script, with the numbers beneath each picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2

from streams.backtest.evaluation import Evaluation
from streams.backtest.ground_truth import TruthCheck
from streams.backtest.report.figures import figures_of
from streams.backtest.report.svg import SWIPE_HINT
from streams.backtest.report.wording import days_late


def render(
    head: Mapping[str, Any],
    figures: Sequence[tuple[str, Any]],
    evaluation: Evaluation,
    counts: Sequence[tuple[str, int]],
    *,
    truth_check: TruthCheck | None = None,
) -> str:
    """``head``: sources, first, last, policy, code. ``counts``: what went out. ``truth_check``: where the portfolio is
    a simulated one.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda share, digits=1: f"{100 * share:.{digits}f} %"
    environment.filters["figure"] = lambda value, digits=4: "-" if value is None else f"{value:.{digits}f}"
    environment.filters["days_late"] = days_late
    page = environment.from_string(files("streams.backtest.report").joinpath("backtest.html").read_text())
    return page.render(
        **head,
        figures=figures,
        found=evaluation,
        drawn=figures_of(evaluation),
        counts=counts,
        truth=truth_check,
        swipe=SWIPE_HINT,
    )
