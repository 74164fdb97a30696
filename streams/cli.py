"""The command ``duewatch``: reads options, calls the part that does the work, turns expected failures into one line."""

# ruff: noqa: D301 - \b is how click is told to leave the lines of a paragraph alone

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.errors import UserError, expected_errors

if TYPE_CHECKING:
    from streams.settings import Settings

# Nothing else is imported up here: `duewatch --help` answers at once, and `sql` needs neither Kafka nor Faust.

DEFAULT_DATA = Path("duewatch-data")
_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

SECTIONS = {
    "Look at it": ("demo", "simulate", "replay", "backtest", "sql"),
    "Run it": ("topics", "migrate", "worker", "sink"),
    "Look after it": ("review", "dead-letters"),
}


class _Sections(click.Group):
    """Lists commands in the order in which somebody meets them."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in SECTIONS.items():
            rows = [(name, command.get_short_help_str(100)) for name in names if (command := self.get_command(ctx, name))]
            with formatter.section(title):
                formatter.write_dl(rows)


def _day(_ctx: click.Context, _param: click.Parameter, value: str | None) -> date | None:
    try:
        return None if value is None else date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no day: write YYYY-MM-DD such as 2026-03-31") from None


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_sources = _options(
    click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)),
    click.option(
        "--mapping", metavar="NAME_OR_FILE", help="How to read a CSV: highradius, ibm, cassandra, or a file of your own."
    ),
    click.option("--until", metavar="DAY", callback=_day, help="Stop at the end of this day (YYYY-MM-DD)."),
    click.option("--policy", type=_FILE, help="A credit policy as JSON; what it leaves out keeps its default."),
)
_kafka = click.option("--kafka", metavar="HOST:PORT", help="Use this Kafka instead of the embedded broker.")
_clickhouse = click.option(
    "--clickhouse", metavar="URL", help="Use this ClickHouse, such as clickhouse://user:password@host:8123."
)
_data = click.option("--data", metavar="DIR", type=_DIRECTORY, help="Where the embedded ClickHouse and the logs lie.")


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="duewatch")
def duewatch() -> None:
    """Watch what business customers owe: who will pay late, who may not pay at all, and what to do about it.

    Events flow through Kafka into Faust agents; scores, alerts and limit changes come out, and ClickHouse answers questions
    about all of it. On a laptop nothing needs to be installed: an embedded broker and ClickHouse are started for you.

    \b
    Start here:
      duewatch demo                                   see it work on a simulated portfolio
      duewatch replay ledger.csv --mapping FILE       see what it says about your own ledger
    """


@duewatch.command()
@_data
@click.option("--seed", default=1, show_default=True, help="Another seed, another portfolio.")
@click.option("--debtors", default=300, show_default=True, type=click.IntRange(5, 20_000), help="How many customers owe money.")
@click.option("--days", default=365, show_default=True, type=click.IntRange(120, 3_000), help="How many days of their life.")
@click.option("--keep", is_flag=True, help="Keep broker, worker and ClickHouse up until Ctrl-C, to look around.")
@_kafka
@_clickhouse
def demo(data: Path | None, seed: int, debtors: int, days: int, keep: bool, kafka: str | None, clickhouse: str | None) -> None:
    """Simulate a portfolio, replay it at full speed, show what was found.

    For whoever meets duewatch for the first time: about a minute, nothing to install, nothing left running.

    \b
    Examples:
      duewatch demo
      duewatch demo --data ./demo --seed 7 --keep
    """
    from streams.demo import run_demo
    from streams.replay import Target

    target = Target(kafka=kafka, clickhouse=clickhouse, data=data)
    run_demo(target, seed=seed, debtors=debtors, days=days, keep=keep)


@duewatch.command()
@click.option("--debtors", default=400, show_default=True, type=click.IntRange(1, 100_000), help="How many customers owe money.")
@click.option("--days", default=540, show_default=True, type=click.IntRange(1, 5_000), help="How many days of their life.")
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same portfolio.")
@click.option("--out", required=True, metavar="DIR", type=_DIRECTORY, help="Where the files are written.")
def simulate(debtors: int, days: int, seed: int, out: Path) -> None:
    """Make a portfolio whose truth is known.

    For trying things out without anybody's data: one TOPIC.jsonl per source topic, and truth.json (who defaults when, whose
    cash flow breaks when).

    \b
    Example:
      duewatch simulate --debtors 200 --days 365 --seed 1 --out ./portfolio
    """
    from streams.simulate import simulate as run

    run(debtors=debtors, days=days, seed=seed, out=out)
    click.echo(f"{out}: " + ", ".join(sorted(path.name for path in out.iterdir())))


@duewatch.command()
@_sources
@_kafka
@_clickhouse
@_data
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
    """Send real input through the real pipeline, as fast as it goes.

    For seeing what duewatch would have said of your own history. Time is the data's own. SOURCE is a ledger CSV (with
    --mapping), JSON lines of events, or a folder of them. Stopped half-way against a real Kafka it goes on where it stopped.

    \b
    Examples:
      duewatch replay ledger.csv --mapping highradius --data ./ledger
      duewatch replay ./portfolio --until 2026-03-31
      duewatch replay ledger.csv --mapping ./ours.toml --kafka broker:9092 --clickhouse clickhouse://clickhouse:8123
    """
    from streams.replay import Source, Target, run_replay

    run_replay(Source(sources, mapping, until, policy), Target(kafka, clickhouse, data))


@duewatch.command()
@_sources
@click.option("--out", required=True, metavar="DIR", type=_DIRECTORY, help="Where the results are written.")
def backtest(sources: tuple[Path, ...], mapping: str | None, until: date | None, policy: Path | None, out: Path) -> None:
    """Run the decisions alone over history, without Kafka.

    For judging the scores and a policy before they touch anybody: the same decisions as replay makes, in one process. Writes
    each output topic as JSON lines, state.jsonl, predictions.csv, metrics.json and report.html.

    \b
    Example:
      duewatch backtest ledger.csv --mapping highradius --out ./backtest
    """
    from streams.backtest import run_backtest

    run_backtest(list(sources), mapping=mapping, until=until, policy=policy, out=out)


@duewatch.command()
@click.argument("query")
@_data
@_clickhouse
@click.option(
    "--format", "output", default=None, metavar="NAME", help="A format of ClickHouse, such as CSVWithNames or JSONEachRow."
)
def sql(query: str, data: Path | None, clickhouse: str | None, output: str | None) -> None:
    """Ask ClickHouse.

    For analysts. The views are deduplicated already: events, debtors, debtor_daily, portfolio_daily, scores, alerts,
    limit_changes, credit_decisions, collection_actions, model_quality, dead_letters. "-" reads the query from standard input.

    \b
    Examples:
      duewatch sql "select customer_id, exposure, p_late from debtors order by exposure desc limit 10" --data ./demo
      duewatch sql "select * from alerts" --clickhouse clickhouse://localhost:8123 --format CSVWithNames
    """
    from streams.sql import run_query

    if data is None and clickhouse is None:
        data = DEFAULT_DATA
    text = sys.stdin.read() if query == "-" else query
    click.echo(run_query(text, data=data, clickhouse=clickhouse, output=output), nl=False)


def _settings() -> Settings:
    from streams.settings import load_settings

    return load_settings()


@duewatch.command()
def topics() -> None:
    """Make the topics of this deployment.

    For whoever installs it: run once before the first worker. Settings come from the environment (DUEWATCH_...).

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch topics
    """
    from streams.topics import create_topics

    for line in create_topics(_settings()):
        click.echo(line)


@duewatch.command()
@click.option("--dry-run", is_flag=True, help="Print the SQL that would run.")
def migrate(dry_run: bool) -> None:
    """Make or update the tables in ClickHouse.

    For whoever installs or updates it: run before the sink of a new version starts.

    \b
    Example:
      DUEWATCH_CLICKHOUSE=clickhouse://clickhouse:8123 duewatch migrate --dry-run
    """
    from streams.migrate import run_migrate

    for line in run_migrate(_settings(), dry_run=dry_run):
        click.echo(line)


class _Configured(click.Command):
    """A command that is set up by the environment: its help lists the variables, read only when somebody asks."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click passes it
        from streams.settings import variables

        with formatter.section("Settings, from the environment"):
            formatter.write_dl([(name, f"{about}  [{value}]" if value else about) for name, value, about in variables()])


@duewatch.command(cls=_Configured)
def worker() -> None:
    """Run the agents: read events, decide, send scores, alerts and limit changes.

    For the deployment: start as many as there is work for, up to the number of partitions; each takes its share.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch worker
    """
    from streams.worker import run

    sys.exit(run(_settings()))


@duewatch.command(cls=_Configured)
def sink() -> None:
    """Copy every event, in and out, into ClickHouse.

    For the deployment: one process is enough, and reading twice changes nothing.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 DUEWATCH_CLICKHOUSE=clickhouse://clickhouse:8123 duewatch sink
    """
    from streams.sink import run

    sys.exit(run(_settings()))


@duewatch.group()
def review() -> None:
    """See what waits for a person, and answer.

    For the credit team: a sudden change of cash flow or a petition holds new exposure until somebody has looked, or the hold
    lapses.

    \b
    Example:
      duewatch review list --data ./demo
    """


@review.command("list")
@_data
@_clickhouse
def review_list(data: Path | None, clickhouse: str | None) -> None:
    """Debtors whose limit is on hold, and why.

    \b
    Example:
      duewatch review list --data ./demo
    """
    from streams.reviews import list_reviews

    click.echo(list_reviews(data or _default_data(clickhouse), clickhouse))


_answer = _options(
    click.argument("customer", metavar="CUSTOMER"),
    click.option("--owner", required=True, help="Who decides."),
    click.option("--reason", help="Why, in words; kept with the decision."),
)


@review.command("confirm")
@_answer
def review_confirm(customer: str, owner: str, reason: str | None) -> None:
    """The concern is right: the limit is cut.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch review confirm C-4711 --owner jane --reason "bank confirms"
    """
    from streams.reviews import answer

    click.echo(answer(_settings(), customer, "confirm", owner, reason))


@review.command("reject")
@_answer
def review_reject(customer: str, owner: str, reason: str | None) -> None:
    """There is no reason for concern: the hold ends.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch review reject C-4711 --owner jane --reason "one-off payment of a machine"
    """
    from streams.reviews import answer

    click.echo(answer(_settings(), customer, "reject", owner, reason))


@duewatch.group("dead-letters")
def dead_letters() -> None:
    """See, mend and send again what could not be applied.

    For the ops team: nothing is dropped. A record that is broken lies here with its reason and its bytes.

    \b
    Example:
      duewatch dead-letters list --data ./demo
    """


@dead_letters.command("list")
@_data
@_clickhouse
@click.option("--limit", default=50, show_default=True)
def dead_letters_list(data: Path | None, clickhouse: str | None, limit: int) -> None:
    """Where each lies (TOPIC/PARTITION/OFFSET), and why it was not applied.

    \b
    Example:
      duewatch dead-letters list --data ./demo --limit 20
    """
    from streams.dead_letters import list_letters

    click.echo(list_letters(data or _default_data(clickhouse), clickhouse, limit))


@dead_letters.command("show")
@click.argument("place", metavar="TOPIC/PARTITION/OFFSET")
@_data
@_clickhouse
@click.option("--raw", is_flag=True, help="Only the bytes, as they came: to be mended in a file.")
def dead_letters_show(place: str, data: Path | None, clickhouse: str | None, raw: bool) -> None:
    """One of them, whole.

    \b
    Example:
      duewatch dead-letters show payments/3/1742 --data ./demo --raw > mended.json
    """
    from streams.dead_letters import show_letter

    click.echo(show_letter(place, data or _default_data(clickhouse), clickhouse, raw=raw), nl=not raw)


@dead_letters.command("replay")
@click.argument("place", metavar="TOPIC/PARTITION/OFFSET")
@click.option("--value", type=_FILE, help="The mended record; without it the bytes go out again as they came.")
@click.option("--key", help="Another key (the customer), where the key was wrong.")
@_data
@_clickhouse
def dead_letters_replay(place: str, value: Path | None, key: str | None, data: Path | None, clickhouse: str | None) -> None:
    """Send one again to the topic that it came from, mended or (after an update) as it was.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch dead-letters replay payments/3/1742 --value mended.json --clickhouse URL
    """
    from streams.dead_letters import replay_letter

    click.echo(replay_letter(_settings(), place, data or _default_data(clickhouse), clickhouse, value=value, key=key))


def _default_data(clickhouse: str | None) -> Path | None:
    return None if clickhouse else DEFAULT_DATA


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 could not be done, 2 asked for wrongly, 130 stopped by Ctrl-C."""
    try:
        status = duewatch.main(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BaseException as error:
        if os.environ.get("DUEWATCH_DEBUG") or not isinstance(error, expected_errors()):
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code if isinstance(error, UserError) else 1)


if __name__ == "__main__":
    main()
