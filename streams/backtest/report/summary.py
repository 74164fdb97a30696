"""What a backtest tells on the terminal: the figures of metrics.json, to read rather than to parse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from streams.backtest.history import COLD, DEFAULT_DAYS
from streams.backtest.report.wording import too_few
from streams.terminal.tables import print_line, share, table_of

Figures = Mapping[str, Any]

EXPLAINED = f"""cold: debtors with fewer than {COLD} earlier invoices; warm: the others. 95 %: interval by a bootstrap over weeks.
chance: what the ECE of a score whose every word is true stays below in 95 of 100 cases, with invoices of a debtor and due day
as alike as they are. us: processor time per invoice."""
PARTS = ("all", "cold", "warm")
TARGETS = {
    "default": f"default ({DEFAULT_DAYS} days past due on a material amount, written off or insolvent)",
    "late_30": "paid more than 30 days late",
}


def show(console: Console, metrics: Figures, out: Path) -> None:
    """Every scorer beside the others, what else is forecast, and where the rest lies."""
    _show_scorers(console, metrics)
    for name, title in TARGETS.items():
        if (found := metrics["targets"].get(name)) is not None:
            said = f"{found['labels']:,} labels, {100 * found['positives']:.1f} % of them yes"
            quality = (
                f"AUC {_figure(found['auc'], 3) or '-'}, log loss {_figure(found['log_loss'], 4)}, ECE {_figure(found['ece'], 3)}"
            )
            print_line(console, f"{title}: {said}; {quality}")
    if (date := metrics["payment_date"]) is not None:
        print_line(
            console,
            f"expected payment date: off by {date['mean_absolute_error']:.1f} days in the mean (the due date by"
            f" {date['of_the_due_date']:.1f}), {share(date['inside_the_interval'])} within its interval of 80 %",
        )
    if metrics["challengers_left_out"]:
        print_line(console, f"challengers left out: {metrics['challengers_left_out']}")
    if refused := metrics["outputs"].get("dead-letters"):
        print_line(console, f"{refused:,} dead letters: {out / 'dead-letters.jsonl'} says why, and the mend")
    rate = f"{metrics['events']:,} events in {metrics['seconds']:.1f} s, code {metrics['code_version']}"
    print_line(console, f"{rate}. Look: {out / 'report.html'}; figures: {out / 'metrics.json'}")


def _show_scorers(console: Console, metrics: Figures) -> None:
    scorers = metrics["scorers"]
    judged = scorers["duewatch"]["all"]
    title = f"{metrics['invoices_scored']:,} invoices scored when issued"
    if judged is None:
        print_line(console, f"{title}; none has matured after the first {metrics['burn_in']:,}, so there is nothing to judge")
        return
    if warning := too_few(judged["labels"]):
        print_line(console, warning)
    late = f"{100 * judged['positives']:.0f} % of those judged were late"
    heads = ("AUC", "95 %", "log loss", "95 %", "Brier", "ECE", "chance", "us")
    table = table_of(
        f"{title}; {late}, the first {metrics['burn_in']:,} are not judged", "scorer", "of", "labels", *heads, left=2
    )
    for scorer in scorers.values():
        for part in PARTS:
            if (found := scorer[part]) is not None:
                whole = scorer if part == "all" else {}
                table.add_row(
                    whole.get("title", ""),
                    part,
                    f"{found['labels']:,}",
                    _figure(found["auc"], 3),
                    _interval(whole.get("auc_interval"), 3),
                    _figure(found["log_loss"], 4),
                    _interval(whole.get("log_loss_interval"), 4),
                    _figure(found["brier"], 4),
                    _figure(found["ece"], 3),
                    _figure((whole.get("ece_if_calibrated") or {}).get("below"), 3),
                    _figure(whole.get("microseconds"), 1),
                )
        table.add_section()
    console.print(table)
    print_line(console, EXPLAINED)
    for name, less in metrics["ahead_of"].items():
        gaps = [f"{figure} {_gap(less[key])}" for figure, key in (("log loss", "log_loss"), ("AUC", "auc")) if less[key]]
        print_line(console, f"duewatch less {scorers[name]['title']}: {', '.join(gaps)}")


def _gap(less: Figures) -> str:
    return f"{less['difference']:+.4f} {_interval(less['interval'], 4)}"


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _interval(ends: list[float] | None, digits: int) -> str:
    return "" if ends is None else f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
