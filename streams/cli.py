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
    "Look after it": ("audit", "explain", "review", "dead-letters"),
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
@click.option(
    "--burn-in",
    type=click.IntRange(min=0),
    default=None,
    metavar="N",
    help="Invoices, the first issued, that are not judged.  [default: a sixth, from 1,100 to 3,000]",
)
@click.option(
    "--challengers/--no-challengers",
    default=None,
    help="Hold the score against the late rate, river and LightGBM.  [default: yes, LightGBM up to 60,000 invoices]",
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
    """Run the decisions alone over history, without Kafka.

    For judging the scores and a policy before they touch anybody: the same decisions as replay makes, in one process. Writes
    each output topic as JSON lines, state.jsonl, predictions.csv, metrics.json and report.html, which opens offline.

    \b
    Examples:
      duewatch backtest ledger.csv --mapping highradius --out ./backtest
      duewatch backtest ./portfolio --no-challengers --out ./backtest
    """
    from streams.backtest import run_backtest

    run_backtest(list(sources), mapping=mapping, until=until, policy=policy, out=out, burn_in=burn_in, challengers=challengers)


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


def _deployment(kafka: str | None, prefix: str | None) -> Settings:
    """The settings of the environment, with what the options name. Raises pydantic.ValidationError."""
    named = {"bootstrap": kafka, "prefix": prefix}
    return _settings().changed(**{name: value for name, value in named.items() if value is not None})


_which = _options(
    click.option("--kafka", metavar="HOST:PORT", help="Its Kafka; DUEWATCH_BOOTSTRAP otherwise."),
    click.option("--prefix", help="Of its topics; DUEWATCH_PREFIX otherwise."),
)


@duewatch.command(cls=_Configured)
@_which
@_data
@_clickhouse
@click.option("--no-clickhouse", is_flag=True, help="Compare the state with the log only.")
@click.option("--sample", metavar="N", type=click.IntRange(1), help="Only N partitions, another choice each time.")
@click.option("--limit", default=20, show_default=True, help="Show so many differences at most.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--every", metavar="SPAN", help="Again and again, such as every 1h, until Ctrl-C.")
@click.option("--metrics-port", default=9107, show_default=True, help="With --every: where the outcome is served to Prometheus.")
def audit(
    *,
    kafka: str | None,
    prefix: str | None,
    data: Path | None,
    clickhouse: str | None,
    no_clickhouse: bool,
    sample: int | None,
    limit: int,
    as_json: bool,
    every: str | None,
    metrics_port: int,
) -> None:
    """Hold a deployment against itself, row by row.

    For the ops team and auditors: what has been applied is folded again from the log and compared with the state, bit for bit;
    state and log are compared with ClickHouse, to the cent. It only reads, and the deployment may go on meanwhile. Each
    difference names the debtor, the field and both values. Exit status 1 where anything differs.

    \b
    Examples:
      duewatch audit --clickhouse clickhouse://clickhouse:8123
      duewatch audit --kafka broker:9092 --sample 2 --json
      duewatch audit --every 1h --metrics-port 9107
    """
    from streams.audit import run_audit, run_every, seconds_of
    from streams.auditing.deployment import clickhouse_of

    settings = _deployment(kafka, prefix)
    asked = None if no_clickhouse else clickhouse_of(settings, data, clickhouse)
    if every is not None:
        run_every(settings, asked, sample, seconds_of(every), metrics_port)
    told, is_clean = run_audit(settings, asked, sample, limit, as_json=as_json)
    click.echo(told, nl=not as_json)
    sys.exit(0 if is_clean else 1)


@duewatch.command(cls=_Configured)
@click.argument("decision_id", metavar="DECISION_ID")
@_which
@_data
@_clickhouse
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def explain(
    decision_id: str, kafka: str | None, prefix: str | None, data: Path | None, clickhouse: str | None, as_json: bool
) -> None:
    """Make a past decision again, and show why it was made.

    For whoever has to answer for a score, an alert or a limit: the debtor before, the event or deadline, the debtor after, what
    the score looked at, and the policy's rule. The decision is made again from the debtor's events in Kafka, and compared bit for
    bit with the one that went out; what a demo or replay on the embedded broker decided, from ClickHouse, column by column.
    DECISION_ID is the id of an event in scores, alerts, limit_changes or limit_proposals, or an alert_id or limit_change_id.
    Exit status 1 where it differs.

    \b
    Examples:
      duewatch explain 1b0e6f1c-1d67-5a5c-9d3f-2f6a3f1f7a55
      duewatch explain ID --kafka broker:9092 --prefix replay-5e2a90b1c7 --json
      duewatch explain ID --data ./demo
    """
    from streams.explain import run_explain

    settings = _deployment(kafka, prefix)
    told, is_equal = run_explain(settings, decision_id, data, clickhouse, as_json=as_json)
    click.echo(told, nl=not as_json)
    sys.exit(0 if is_equal else 1)


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


_like = _options(
    click.option("--topic", help="Only those of this topic, such as payments."),
    click.option("--reason", metavar="TEXT", help="Only those whose reason contains this text."),
    click.option("--field", help="Only those where this field is to blame."),
)


@dead_letters.command("list")
@_data
@_clickhouse
@_like
@click.option("--open", "only_open", is_flag=True, help="Leave out what was replayed.")
@click.option("--limit", default=50, show_default=True)
def dead_letters_list(
    data: Path | None,
    clickhouse: str | None,
    topic: str | None,
    reason: str | None,
    field: str | None,
    only_open: bool,
    limit: int,
) -> None:
    """Where each lies (TOPIC/PARTITION/OFFSET), why it was not applied, and what became of it.

    \b
    Examples:
      duewatch dead-letters list --data ./demo --limit 20
      duewatch dead-letters list --open --topic payments --reason "not above zero"
    """
    from streams.dead_letters import Choice, list_letters

    choice = Choice((), topic, reason, field, "open" if only_open else None)
    click.echo(list_letters(choice, data or _default_data(clickhouse), clickhouse, limit))


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


@dead_letters.command("replay", cls=_Configured)
@click.argument("named", metavar="[TOPIC/PARTITION/OFFSET]...", nargs=-1)
@_like
@click.option("--all", "every", is_flag=True, help="All that are open: after an update that takes what was refused.")
@click.option("--set", "fields", metavar="FIELD=TEXT", multiple=True, help="Mend a field; FIELD:=JSON for what is no text.")
@click.option("--attribute", "attributes", metavar="NAME=TEXT", multiple=True, help="Mend an attribute, such as recordedtime.")
@click.option("--key", help="Another key (the customer), where the key was wrong.")
@click.option("--value", type=_FILE, help="The mended record, where one is named.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and what would still be refused.")
@_which
@_data
@_clickhouse
def dead_letters_replay(
    *,
    named: tuple[str, ...],
    topic: str | None,
    reason: str | None,
    field: str | None,
    every: bool,
    fields: tuple[str, ...],
    attributes: tuple[str, ...],
    key: str | None,
    value: Path | None,
    dry_run: bool,
    kafka: str | None,
    prefix: str | None,
    data: Path | None,
    clickhouse: str | None,
) -> None:
    """Send some again to the topics that they came from, mended or (after an update) as they came.

    Each is applied once, also when this is run twice, or was killed half-way: what was sent before is passed over. What is still
    refused is not sent. A mended record keeps its event id; where the id is known with other content, give it another one
    (--attribute id=...). Exit status 1 where something is still refused.

    \b
    Examples:
      duewatch dead-letters replay payments/3/1742 --set amount=12.50 --clickhouse URL
      duewatch dead-letters replay --reason "no currency" --set currency=EUR --dry-run
      duewatch dead-letters replay payments/3/1742 --value mended.json
      duewatch dead-letters replay --all
    """
    from streams.dead_letters import Choice
    from streams.errors import UsageError
    from streams.resend import Mend, parse_attribute, parse_set, resend

    if not (named or topic or reason or field or every):
        raise UsageError("nothing is chosen: name places, or choose by --topic, --reason, --field, or --all")
    # Those that are named are told of whatever became of them; of the others only the open ones are meant.
    choice = Choice(named, topic, reason, field, None if named else "open")
    mended = None if value is None else value.read_bytes().rstrip(b"\n")
    mend = Mend(tuple(map(parse_set, fields)), tuple(map(parse_attribute, attributes)), key, mended)
    where = data or _default_data(clickhouse)
    lines, is_done = resend(_deployment(kafka, prefix), choice, mend, where, clickhouse, dry_run=dry_run)
    click.echo("\n".join(lines))
    sys.exit(0 if is_done else 1)


@dead_letters.command("resume")
@click.argument("topic", metavar="TOPIC")
@click.argument("partition", metavar="PARTITION", type=int)
@click.option("--owner", required=True, help="Who decides.")
@click.option("--reason", help="Why, in words; kept with the decision.")
def dead_letters_resume(topic: str, partition: int, owner: str, reason: str | None) -> None:
    """Read a topic's partition on that was paused because too much of it was broken.

    For the ops team, once its sender is mended: it goes on where it stopped, and what is still broken becomes a dead letter.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch dead-letters resume payments 3 --owner jane --reason "gateway mended"
    """
    from streams.resume import resume

    click.echo(resume(_settings(), topic, partition, owner, reason))


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
