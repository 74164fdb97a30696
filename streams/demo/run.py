"""``duewatch demo``: a simulated portfolio through the real pipeline, and what was found, compared with the truth."""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from schemas.registry import TOPICS
from streams.demo import findings
from streams.kafka.topics import full_name
from streams.replay.local_stack import Stack
from streams.replay.run import ReplayStoppedError, Source, Summary, Target, ask, drive, start_stack
from streams.simulate import simulate
from streams.terminal.progress import progress_bar
from streams.terminal.tables import plain_console, print_line, share, table_of


def run_demo(target: Target, *, seed: int, debtors: int, days: int, keep: bool) -> None:
    """Simulate a portfolio, replay it and show what was found. Raises UserError, ReplayStoppedError on Ctrl-C."""
    data = target.data or Path(tempfile.mkdtemp(prefix="duewatch-demo-"))
    target = Target(target.kafka, target.clickhouse, data)
    console = plain_console()
    portfolio = data / "portfolio"
    truth = simulate(debtors, days, seed, portfolio).truth
    console.print(
        f"A portfolio of {debtors} debtors, {truth['first_day']} to {truth['last_day']}, {truth['events']:,} events, seed {seed}:"
        f" {portfolio}",
        highlight=False,
    )
    source = Source([portfolio])
    try:
        with start_stack(target, source.prefix()) as stack:
            given = source.read()
            with progress_bar("replay", given.records) as bar:
                summary = drive(stack, given, target, bar)
            show(console, summary, truth, target)
            if keep:
                _keep_running(console, stack, target)
    except KeyboardInterrupt:
        raise ReplayStoppedError("stopped; nothing is left running") from None
    if not keep:
        _show_how_to_query(console, target)


def show(console: Console, summary: Summary, truth: dict[str, Any], target: Target) -> None:
    """Print the page; all figures except those of the truth come from ClickHouse."""
    customers = truth["customers"]
    alerts = ask(target, findings.ALERTS)
    _show_alerts(console, findings.alert_statistics(alerts, customers), sum(c["defaulted_on"] is not None for c in customers))
    _show_limits(console, findings.limits(ask(target, findings.LIMITS), customers))
    _show_worst(console, ask(target, findings.WORST), ask(target, findings.OPEN_ALERTS), customers)
    _show_ageing(console, ask(target, findings.AGEING))
    _show_quality(console, ask(target, findings.QUALITY))
    rate = summary.events / summary.seconds
    console.print(
        f"\n[bold]{summary.events:,} events in {summary.seconds:.1f} s: {rate:,.0f} events/s[/] through broker, worker and sink"
        f" ({summary.counts['dead letters']:,} dead letters)",
        highlight=False,
    )


def _show_alerts(console: Console, lines: Sequence[findings.AlertStatistics], defaults: int) -> None:
    table = table_of(
        f"Alerts, against the truth: {defaults} debtors defaulted",
        "alert",
        "raised",
        "debtors",
        "warned of defaults",
        "days before default",
        "days before the first due date missed",
        "debtors that did not default",
    )
    for line in lines:
        caught_defaults = f"{line.caught_defaults} of {defaults}" if defaults else "-"
        table.add_row(
            line.alert_type.replace("_", " "),
            f"{line.raised:,}",
            f"{line.debtors:,}",
            caught_defaults,
            _number(line.before_default),
            _number(line.before_missed),
            f"{line.false_debtors:,}",
        )
    console.print(table)
    console.print("[dim]Days are medians of the first alert in the half year before the default; below zero = after.[/]")


def _show_limits(console: Console, statistics: findings.Limits) -> None:
    console.print(
        f"\n[bold]Limits[/]: {statistics.opening:,} opened, {statistics.up:,} raised, {statistics.down:,} lowered; "
        f"EUR {statistics.cut_before_default:,.0f} had been cut off {statistics.cut_debtors} debtors when they defaulted.\n",
        highlight=False,
    )


def _show_worst(
    console: Console, rows: Sequence[findings.Row], alerts: Sequence[findings.Row], customers: Sequence[findings.Row]
) -> None:
    open_alerts = {row["customer_id"]: ", ".join(sorted(row["types"])).replace("_", " ") for row in alerts}
    truth = {row["customer_id"]: row for row in customers}
    table = table_of(
        "Ten debtors to look at, by expected loss",
        "debtor",
        "why",
        "open alerts",
        "truth",
        "exposure",
        "overdue",
        "limit",
        "late",
        "default",
        "loss",
        left=4,
    )
    for row in rows:
        table.add_row(
            row["customer_id"],
            "; ".join((row["reasons"] or ["-"])[:2]),
            open_alerts.get(row["customer_id"], "-"),
            _fate(truth.get(row["customer_id"], {})),
            _number(row["exposure"]),
            _number(row["overdue"]),
            _number(row["credit_limit"]),
            share(row["p_late"]),
            share(row["p_default"]),
            _number(row["loss"]),
        )
    console.print(table)


def _fate(truth: findings.Row) -> str:
    if truth.get("defaulted_on"):
        return f"defaulted {truth['defaulted_on']}"
    return str(truth.get("fate", "-")).replace("_", " ")


def _show_ageing(console: Console, rows: Sequence[findings.Row]) -> None:
    names = ("open", "not_due", "due_1_30", "due_31_60", "due_61_90", "due_over_90")
    forms = ("dso_standard", "dso_best_possible", "dso_add", "dso_countback")
    heads = ("open", "not due", "1-30", "31-60", "61-90", "over 90", "DSO standard", "best possible", "delinquent", "countback")
    table = table_of("Ageing and days sales outstanding", "day", "", *heads, left=2)
    for row in rows:
        amounts = [_number(row[name]) for name in names]
        table.add_row(
            row["day"], row["currency"], *amounts, *("-" if row[name] is None else f"{row[name]:.1f}" for name in forms)
        )
    console.print(table)


def _show_quality(console: Console, rows: Sequence[findings.Row]) -> None:
    if rows and rows[0]["labels"]:
        row = rows[0]
        console.print(
            f"[bold]Score[/]: {row['labels']:,} invoices were scored when issued and have come due, {share(row['late'])} were"
            f" late; AUC {row['auc']:.3f}, log loss {row['log_loss']:.3f}, learning from nothing.",
            highlight=False,
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _show_how_to_query(console: Console, target: Target) -> None:
    console.print("\n[bold]Ask ClickHouse[/]:", highlight=False)
    for question in (
        "select * from alerts order by raised_at desc limit 5",
        "select day, open_amount, dso_standard, dso_countback from portfolio_daily order by day desc limit 30",
        "select * from limit_changes where customer_id = (select customer_id from debtors order by exposure desc limit 1)",
    ):
        print_line(console, f"  duewatch sql {shlex.quote(question)} {target.option}")


def _keep_running(console: Console, stack: Stack, target: Target) -> None:
    """Keep everything running until Ctrl-C."""
    _show_how_to_query(console, target)
    bootstrap, prefix = stack.settings.bootstrap, stack.settings.prefix
    console.print(f"\n[bold]Look at the topics[/] (Kafka at {bootstrap}):", highlight=False)
    alerts = full_name(prefix, "alerts")
    print_line(console, f"  kcat -C -b {bootstrap} -t {alerts} -X isolation.level=read_committed -e")
    committed = "--from-beginning --isolation-level read_committed"
    print_line(console, f"  kafka-console-consumer.sh --bootstrap-server {bootstrap} --topic {alerts} {committed}")
    names = ", ".join(full_name(prefix, name) for name, topic in TOPICS.items() if topic.direction == "out")
    print_line(console, f"  topics: {names}")
    print_line(console, f"\nLogs: {stack.logs}. Ctrl-C stops everything.")
    try:
        while True:
            stack.supervise()
            time.sleep(0.5)
    except KeyboardInterrupt:
        print_line(console, "\nstopping")
