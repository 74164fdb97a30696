"""A figure of the report, and what several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from streams.backtest.report.svg import Plot
from streams.backtest.statistics import Bin

FIFTHS = [(t / 5, f"{20 * t} %") for t in range(6)]
BIN_HEAD = ("said, from - to", "invoices", "said on average", "came", "95 % interval")
"""The columns of ``bin_line``."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture. ``see`` says in a sentence what to see; ``head`` and ``lines`` are its numbers as a table."""

    title: str
    see: str
    picture: Markup
    head: Sequence[str] = ()
    lines: Sequence[Sequence[str]] = ()
    wide: bool = False


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def bin_line(b: Bin) -> tuple[str, ...]:
    low, high = b.interval()
    return f"{b.low:.4f} - {b.high:.4f}", f"{b.count:,}", f"{b.mean_forecast:.4f}", f"{b.observed:.4f}", f"{low:.4f} - {high:.4f}"


def draw_diagonal(plot: Plot) -> str:
    a, b = plot.at(plot.x[0], plot.x[0]), plot.at(plot.x[1], plot.x[1])
    return f'<path class="hint" d="M{a[0]} {a[1]}L{b[0]} {b[1]}"/>'
