"""Commands that need no deployment: demo, simulate, replay, backtest, sql."""

# ruff: noqa: D301 - \b is how click is told to leave the lines of a paragraph alone

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import click

from streams.cli.options import (
    DIRECTORY,
    clickhouse_option,
    data_option,
    kafka_option,
    queried_clickhouse,
    query_options,
    sources_option,
)


@click.command()
@data_option
@click.option("--seed", default=1, show_default=True, help="Another seed, another portfolio.")
@click.option("--debtors", default=300, show_default=True, type=click.IntRange(5, 20_000), help="Number of debtors.")
@click.option(
    "--days", default=365, show_default=True, type=click.IntRange(120, 3_000), help="Number of days that are simulated."
)
@click.option("--keep", is_flag=True, help="Keep broker, worker and ClickHouse up until Ctrl-C, to look around.")
@kafka_option
@clickhouse_option
def demo(data: Path | None, seed: int, debtors: int, days: int, keep: bool, kafka: str | None, clickhouse: str | None) -> None:
    """Simulate a portfolio, replay it at full speed, show what was found.

    For a first look at duewatch: about a minute, nothing to install, nothing left running.

    \b
    Examples:
      duewatch demo
      duewatch demo --data ./demo --seed 7 --keep
    """
    from streams.demo.run import run_demo
    from streams.replay.run import Target

    target = Target(kafka=kafka, clickhouse=clickhouse, data=data)
    run_demo(target, seed=seed, debtors=debtors, days=days, keep=keep)


@click.command()
@click.option("--debtors", default=400, show_default=True, type=click.IntRange(1, 100_000), help="Number of debtors.")
@click.option("--days", default=540, show_default=True, type=click.IntRange(1, 5_000), help="Number of days that are simulated.")
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same portfolio.")
@click.option("--out", required=True, metavar="DIR", type=DIRECTORY, help="The folder that the files are written to.")
def simulate(debtors: int, days: int, seed: int, out: Path) -> None:
    """Simulate a portfolio whose truth is known.

    For trying things out without real data: one TOPIC.jsonl per source topic, and truth.json (who defaults when, whose cash flow
    breaks when). `replay` and `backtest` take the folder. Before sending the files to a live deployment, move their dates to
    today: it refuses what was recorded more than 400 days ago.

    \b
    Example:
      duewatch simulate --debtors 200 --days 365 --seed 1 --out ./portfolio
    """
    from streams.errors import make_folder
    from streams.simulate import simulate as run

    make_folder(out, "--out")
    run(debtors=debtors, days=days, seed=seed, out=out)
    click.echo(f"{out}: " + ", ".join(sorted(path.name for path in out.iterdir())))


@click.command()
@sources_option
@kafka_option
@clickhouse_option
@data_option
def replay(
    *,
    sources: tuple[Path, ...],
    mapping: str | None,
    until: date | None,
    policy: Path | None,
    kafka: str | None,
    clickhouse: str | None,
    data: Path | None,
) -> None:
    """Send real input through the real pipeline, as fast as possible.

    To see what duewatch would have decided in your own history. Time is that of the data. SOURCE is a ledger CSV (with
    --mapping), JSON lines of events, or a folder of them. Stopped half-way against a real Kafka, it resumes where it stopped.

    \b
    Examples:
      duewatch replay ledger.csv --mapping highradius --data ./ledger
      duewatch replay ./portfolio --until 2026-03-31
      duewatch replay ledger.csv --mapping ./ours.toml --kafka broker:9092 --clickhouse clickhouse://clickhouse:8123
    """
    from streams.replay.run import Source, Target, run_replay

    run_replay(Source(sources, mapping, until, policy), Target(kafka, clickhouse, data))


@click.command()
@sources_option
@click.option("--out", required=True, metavar="DIR", type=DIRECTORY, help="The folder that the results are written to.")
@click.option(
    "--burn-in",
    type=click.IntRange(min=0),
    default=None,
    metavar="N",
    help="How many of the first invoices are not judged.  [default: a sixth, at least 1,100 and at most 3,000, but never more "
    "than half]",
)
@click.option(
    "--challengers/--no-challengers",
    default=None,
    help="Compare the score with the late rate, river and LightGBM.  [default: yes, LightGBM up to 60,000 invoices]",
)
def backtest(
    sources: tuple[Path, ...],
    mapping: str | None,
    until: date | None,
    policy: Path | None,
    out: Path,
    burn_in: int | None,
    challengers: bool | None,
) -> None:
    """Run the decisions over history, without Kafka, and judge them.

    To judge the scores and a policy before they affect anybody: the same decisions as replay makes, in one process. Prints how
    good the score was beside others, and writes each output topic as JSON lines, state.jsonl, predictions.csv, metrics.json and
    report.html, which opens offline.

    \b
    Examples:
      duewatch backtest ledger.csv --mapping highradius --out ./backtest
      duewatch backtest ./portfolio --no-challengers --out ./backtest
    """
    from streams.backtest.report.summary import print_summary
    from streams.backtest.run import run_backtest
    from streams.terminal.tables import plain_console

    metrics = run_backtest(
        list(sources), mapping=mapping, until=until, policy=policy, out=out, burn_in=burn_in, challengers=challengers
    )
    print_summary(plain_console(), metrics, out)


@click.command()
@click.argument("query")
@query_options
@click.option(
    "--format",
    "output",
    default=None,
    metavar="NAME",
    help="One of ClickHouse's output formats, such as CSVWithNames or JSONEachRow.",
)
def sql(query: str, data: Path | None, clickhouse: str | None, output: str | None) -> None:
    """Query ClickHouse.

    For analysts. The views are deduplicated already: events, debtors, debtor_daily, portfolio_daily, scores, alerts,
    limit_changes, credit_decisions, collection_actions, model_quality, dead_letters. "-" reads the query from standard input.

    \b
    Examples:
      duewatch sql "select customer_id, exposure, p_late from debtors order by exposure desc limit 10" --data ./demo
      duewatch sql "select * from alerts" --clickhouse clickhouse://localhost:8123 --format CSVWithNames
    """
    from streams.clickhouse.query import run_query

    text = sys.stdin.read() if query == "-" else query
    click.echo(run_query(text, queried_clickhouse(data, clickhouse), output), nl=False)
