"""The figures as text: what `make bench` prints, and the tables of the README."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.bench.figures import KEYS

GOALS = {
    "pipeline_to_react": ">= 0.75",
    "pipeline_to_quixstreams": ">= 1.5",
    "pipeline_to_stock_faust": ">= 7",
    "react_us": "<= 80",
    "latency_p50_ms": "<= 40",
    "latency_p99_ms": "<= 100",
    "queryable_p99_ms": "<= 2000",
    "restore_s": "<= 10",
    "takeover_s": "<= takeover_session_timeout_s + 5",
    "bytes_per_debtor": "<= 2000",
    "bytes_per_item": "<= 150",
    "flat_debtors": "<= 1.2",
    "flat_items": "<= 1.2",
}


def as_text(figures: Mapping[str, Any]) -> str:
    """The whole report: ratios first, then all single figures, then the tables."""
    single = [
        (key, value) for key, value in figures.items() if isinstance(value, int | float | str) or (key in KEYS and value is None)
    ]
    parts = ["\n".join(f"{key:32} {_cell(value):>14}  {GOALS.get(key, '')}".rstrip() for key, value in single)]
    for title, rows in tables(figures):
        parts.append(f"{title}\n{markdown(rows)}")
    for name, reason in (figures.get("why") or {}).items():
        parts.append(f"{name} was not measured: {reason}")
    return "\n\n".join(parts)


def tables(figures: Mapping[str, Any]) -> Iterable[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Title and rows of each table that was measured."""
    if figures.get("rounds"):
        yield "Events per second by round, and how slow the machine was (a fixed loop, microseconds)", figures["rounds"]
    if figures.get("partitions"):
        yield "Latency and load by partitions", figures["partitions"]
    if figures.get("takeovers"):
        yield "After a kill -9, until the other worker has committed", figures["takeovers"]
    for key, title in (("where_react", "Where the time goes: react"), ("where_worker", "Where the time goes: worker")):
        if figures.get(key):
            yield title, [{"what": name, "percent": share} for name, share in figures[key].items()]
    for key, title in (("us_by_debtors", "debtors"), ("us_by_items", "open items of one debtor")):
        if figures.get(key):
            yield f"Cost by {title}", [{title: int(count), "microseconds": cost} for count, cost in figures[key].items()]
    if figures.get("fleet"):
        yield "What a fleet carries", figures["fleet"]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table in Markdown.

    >>> print(markdown([{"cores": 2, "events_s": 7100.0}]))
    | cores | events s |
    |---|---|
    | 2 | 7,100 |
    """
    heads = list(rows[0])
    lines = ["| " + " | ".join(head.replace("_", " ") for head in heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(_cell(row.get(head)) for head in heads) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float) and value == int(value) and abs(value) >= 100:
        return f"{int(value):,}"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
