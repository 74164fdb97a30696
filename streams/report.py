"""The backtest's page: one HTML file that needs no network, with the figures, how true the probabilities came, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2

from streams.evaluation import Bin


def render(
    head: Mapping[str, Any],
    figures: Sequence[tuple[str, Any]],
    qualities: Sequence[tuple[str, Any]],
    *,
    bins: Sequence[Bin],
    months: Sequence[Mapping[str, Any]],
    counts: Sequence[tuple[str, int]],
) -> str:
    """``head``: sources, first, last, policy, code. ``months``: month, said, came."""
    template = files("streams").joinpath("templates", "backtest.html").read_text()
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(template)
    return page.render(**head, figures=figures, qualities=qualities, bins=bins, months=months, counts=counts)
