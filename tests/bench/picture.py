"""The picture of a run: one SVG that the README shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

TEMPLATE = Path(__file__).with_name("bench.svg.jinja")
RATES = (
    ("react alone, one process", "react_events_s", "plain"),
    ("librdkafka alone: the ceiling", "ceiling_events_s", "plain"),
    ("duewatch, one worker", "pipeline_events_s", "ours"),
    ("duewatch, two workers", "pipeline_two_workers_events_s", "ours"),
    ("quixstreams, exactly-once", "quixstreams_events_s", "peer"),
    ("stock Faust, at-least-once", "stock_faust_events_s", "peer"),
)
RATIOS = {"quixstreams_events_s": "pipeline_to_quixstreams", "stock_faust_events_s": "pipeline_to_stock_faust"}
"""Rate -> its ratio in ``figures``: the middle one of the rounds, not that of the two best rates."""
SHADES = ("#1d4ed8", "#0e7490", "#15803d", "#a16207", "#b45309", "#be123c", "#7e22ce", "#64748b")


class Bar(NamedTuple):
    name: str
    value: float | None
    share: float
    """The bar's length, as a share of the longest."""
    kind: str
    ratio: float | None
    """The rate of one worker divided by this one."""


class Piece(NamedTuple):
    name: str
    start: float
    share: float
    """Start and share are shares of the whole bar."""
    shade: str


def bars(figures: Mapping[str, Any]) -> list[Bar]:
    """Events per second; a peer that was not measured has no bar."""
    longest = max((figures.get(key) or 0 for _, key, _ in RATES), default=0) or 1
    return [
        Bar(name, figures.get(key), (figures.get(key) or 0) / longest, kind, figures.get(RATIOS.get(key, "")))
        for name, key, kind in RATES
    ]


def pieces(shares: Mapping[str, float], most: int = len(SHADES)) -> list[Piece]:
    """The largest shares side by side, the small ones together as the last.

    >>> [(p.name, p.start, p.share) for p in pieces({"decode": 60.0, "fold": 30.0, "a": 6.0, "b": 4.0}, most=3)]
    [('decode', 0.0, 0.6), ('fold', 0.6, 0.3), ('all else', 0.9, 0.1)]
    """
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    largest = (
        ordered if len(ordered) <= most else [*ordered[: most - 1], ("all else", sum(share for _, share in ordered[most - 1 :]))]
    )
    total, start, row = sum(share for _, share in largest) or 1.0, 0.0, []
    for number, (name, share) in enumerate(largest):
        row.append(Piece(name, round(start, 4), round(share / total, 4), SHADES[number % len(SHADES)]))
        start += share / total
    return row


def draw(figures: Mapping[str, Any]) -> str:
    """The picture as SVG."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda value: "-" if value is None else f"{value:,}"
    return environment.from_string(TEMPLATE.read_text()).render(
        bars=bars(figures),
        pieces=pieces(figures.get("where_react") or {}),
        partitions=figures.get("partitions") or [],
        slowest=max((row["latency_p99_ms"] for row in figures.get("partitions") or []), default=1),
        us_by_debtors=figures.get("us_by_debtors") or {},
        us_by_items=figures.get("us_by_items") or {},
        figures={"react_us": None} | dict(figures),
    )
