"""What a backtest prints on the terminal: the figures of metrics.json, to read rather than to parse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from schemas.events.policies import DEFAULT_DAYS
from streams.backtest.history import COLD
from streams.backtest.report.wording import small_sample_warning
from streams.terminal.tables import print_line, share, table_of

Figures = Mapping[str, Any]

LEGEND = f"""cold: debtors with fewer than {COLD} earlier invoices; warm: the others. 95 %: interval by a bootstrap over weeks.
chance: what the ECE of a perfectly calibrated score stays below in 95 of 100 cases, with invoices of a debtor and due day as
alike as they are. us: processor time per invoice."""
PARTS = ("all", "cold", "warm")
TARGETS = {
    "default": f"default ({DEFAULT_DAYS} days past due on a material amount, written off or insolvent)",
    "late_30": "paid more than 30 days late",
}


def print_summary(console: Console, metrics: Figures, out: Path) -> None:
    """Print every scorer beside the others, the other targets, and where the files lie."""
    _show_scorers(console, metrics)
    for name, title in TARGETS.items():
        if (target := metrics["targets"].get(name)) is not None:
            labels = f"{target['labels']:,} labels, {100 * target['positives']:.1f} % of them yes"
            auc, log_loss, ece = _figure(target["auc"], 3) or "-", _figure(target["log_loss"], 4), _figure(target["ece"], 3)
            print_line(console, f"{title}: {labels}; AUC {auc}, log loss {log_loss}, ECE {ece}")
    if (date := metrics["payment_date"]) is not None:
        print_line(
            console,
            f"expected payment date: off by {date['mean_absolute_error']:.1f} days in the mean (the due date by"
            f" {date['of_the_due_date']:.1f}), {share(date['inside_the_interval'])} within its interval of 80 %",
        )
    if metrics["challengers_left_out"]:
        print_line(console, f"challengers left out: {metrics['challengers_left_out']}")
    if rejected := metrics["outputs"].get("dead-letters"):
        print_line(console, f"{rejected:,} dead letters: {out / 'dead-letters.jsonl'} says why, and how to fix them")
    rate = f"{metrics['events']:,} events in {metrics['seconds']:.1f} s, code {metrics['code_version']}"
    print_line(console, f"{rate}. Look: {out / 'report.html'}; figures: {out / 'metrics.json'}")


def _show_scorers(console: Console, metrics: Figures) -> None:
    scorers = metrics["scorers"]
    own = scorers["duewatch"]["all"]
    title = f"{metrics['invoices_scored']:,} invoices scored when issued"
    if own is None:
        print_line(console, f"{title}; none has matured after the first {metrics['burn_in']:,}, so there is nothing to judge")
        return
    if warning := small_sample_warning(own["labels"]):
        print_line(console, warning)
    late = f"{100 * own['positives']:.0f} % of those judged were late"
    heads = ("AUC", "95 %", "log loss", "95 %", "Brier", "ECE", "chance", "us")
    table = table_of(
        f"{title}; {late}, the first {metrics['burn_in']:,} are not judged", "scorer", "of", "labels", *heads, left=2
    )
    for scorer in scorers.values():
        for part in PARTS:
            if (figures := scorer[part]) is not None:
                whole = scorer if part == "all" else {}
                table.add_row(
                    whole.get("title", ""),
                    part,
                    f"{figures['labels']:,}",
                    _figure(figures["auc"], 3),
                    _interval(whole.get("auc_interval"), 3),
                    _figure(figures["log_loss"], 4),
                    _interval(whole.get("log_loss_interval"), 4),
                    _figure(figures["brier"], 4),
                    _figure(figures["ece"], 3),
                    _figure((whole.get("ece_if_calibrated") or {}).get("below"), 3),
                    _figure(whole.get("microseconds"), 1),
                )
        table.add_section()
    console.print(table)
    print_line(console, LEGEND)
    for name, differences in metrics["ahead_of"].items():
        gaps = [
            f"{figure} {_gap(differences[key])}" for figure, key in (("log loss", "log_loss"), ("AUC", "auc")) if differences[key]
        ]
        print_line(console, f"duewatch less {scorers[name]['title']}: {', '.join(gaps)}")


def _gap(difference: Figures) -> str:
    return f"{difference['difference']:+.4f} {_interval(difference['interval'], 4)}"


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _interval(ends: list[float] | None, digits: int) -> str:
    return "" if ends is None else f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
