"""The backtest's page: one HTML file that needs no network, no script and no second look for the figures behind a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2

from streams.backtest.evaluation import Judgement
from streams.backtest.ground_truth import Against
from streams.backtest.report.figures import pictures
from streams.backtest.report.svg import SWIPE
from streams.backtest.report.wording import days_late


def render(
    head: Mapping[str, Any],
    figures: Sequence[tuple[str, Any]],
    found: Judgement,
    counts: Sequence[tuple[str, int]],
    *,
    truth: Against | None = None,
) -> str:
    """``head``: sources, first, last, policy, code. ``counts``: what went out. ``truth``: where the portfolio is
    a simulated one.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda share, digits=1: f"{100 * share:.{digits}f} %"
    environment.filters["figure"] = lambda value, digits=4: "-" if value is None else f"{value:.{digits}f}"
    environment.filters["days_late"] = days_late
    page = environment.from_string(files("streams.backtest.report").joinpath("backtest.html").read_text())
    return page.render(**head, figures=figures, found=found, drawn=pictures(found), counts=counts, truth=truth, swipe=SWIPE)
