"""Look after it: what a running deployment is asked and told."""

# ruff: noqa: D301 - \b is how click is told to leave the lines of a paragraph alone

from __future__ import annotations

import sys
from pathlib import Path

import click

from streams.cli.options import (
    FILE,
    Configured,
    data_option,
    deployment,
    deployment_options,
    options,
    queried_clickhouse,
    query_options,
    sink_clickhouse_option,
)


@click.command(cls=Configured)
@deployment_options
@data_option
@sink_clickhouse_option
@click.option("--no-clickhouse", is_flag=True, help="Compare the state with the log only.")
@click.option("--sample", metavar="N", type=click.IntRange(1), help="Only N partitions, another choice each time.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(0), help="Show so many differences at most.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--every", metavar="SPAN", help="Again and again, such as every 1h, until Ctrl-C.")
@click.option(
    "--metrics-port",
    default=9107,
    show_default=True,
    type=click.IntRange(1, 65_535),
    help="With --every: where the outcome is served to Prometheus.",
)
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
    state and log are compared with ClickHouse, to the cent, and so is what went out: scores, alerts, limit changes, labels. It
    only reads, and the deployment may go on meanwhile. Each difference names the debtor, the field and both values. Topics that
    are paused are named, too. Exit status 1 where anything differs.

    What a demo or replay on the embedded broker has left has no log any more: its events in ClickHouse are folded again, and what
    follows from them is compared with what ClickHouse says.

    \b
    Examples:
      duewatch audit --data ./demo
      duewatch audit --clickhouse clickhouse://clickhouse:8123
      duewatch audit --kafka broker:9092 --sample 2 --json
      duewatch audit --every 1h --metrics-port 9107
    """
    from streams.audit.run import run_audit, run_every, seconds_of
    from streams.clickhouse.query import clickhouse_of
    from streams.errors import UsageError

    settings = deployment(kafka, prefix)
    if every is not None and data is not None and "bootstrap" not in settings.model_fields_set:
        raise UsageError(
            "--every looks at a deployment that goes on, and no Kafka is named: name it with --kafka or DUEWATCH_BOOTSTRAP. What"
            f" a demo or replay has left in {data} stays as it is: once is enough, duewatch audit --data {data}"
        )
    asked = None if no_clickhouse else clickhouse_of(settings, data, clickhouse)
    if every is not None:
        run_every(settings, asked, sample, seconds_of(every), metrics_port)
    told, is_clean = run_audit(settings, asked, sample, limit, as_json=as_json)
    click.echo(told, nl=not as_json)
    sys.exit(0 if is_clean else 1)


@click.command(cls=Configured)
@click.argument("decision_id", metavar="DECISION_ID")
@deployment_options
@query_options
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
    from streams.explain.run import run_explain

    settings = deployment(kafka, prefix)
    told, is_equal = run_explain(settings, decision_id, data, clickhouse, as_json=as_json)
    click.echo(told, nl=not as_json)
    sys.exit(0 if is_equal else 1)


@click.group()
def review() -> None:
    """See what waits for a person, and answer.

    For the credit team: a sudden change of cash flow or a petition holds new exposure until somebody has looked, or the hold
    lapses.

    \b
    Example:
      duewatch review list --data ./demo
    """


@review.command("list")
@query_options
def review_list(data: Path | None, clickhouse: str | None) -> None:
    """Debtors whose limit is on hold, and why.

    \b
    Example:
      duewatch review list --data ./demo
    """
    from streams.reviews.answers import list_reviews

    click.echo(list_reviews(queried_clickhouse(data, clickhouse)))


_answer = options(
    click.argument("customer", metavar="CUSTOMER"),
    click.option("--owner", required=True, help="Who decides."),
    click.option("--reason", help="Why, in words; kept with the decision."),
    deployment_options,
)


@review.command("confirm")
@_answer
def review_confirm(customer: str, owner: str, reason: str | None, kafka: str | None, prefix: str | None) -> None:
    """The concern is right: the limit is cut.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch review confirm C-4711 --owner jane --reason "bank confirms"
    """
    from streams.reviews.answers import answer

    click.echo(answer(deployment(kafka, prefix), customer, "confirm", owner, reason))


@review.command("reject")
@_answer
def review_reject(customer: str, owner: str, reason: str | None, kafka: str | None, prefix: str | None) -> None:
    """There is no reason for concern: the hold ends.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch review reject C-4711 --owner jane --reason "one-off payment of a machine"
    """
    from streams.reviews.answers import answer

    click.echo(answer(deployment(kafka, prefix), customer, "reject", owner, reason))


@click.group("dead-letters")
def dead_letters() -> None:
    """See, mend and send again what could not be applied.

    For the ops team: nothing is dropped. A record that is broken lies here with its reason and its bytes.

    \b
    Example:
      duewatch dead-letters list --data ./demo
    """


_like = options(
    click.option("--topic", help="Only those of this topic, such as payments."),
    click.option("--reason", metavar="TEXT", help="Only those whose reason contains this text."),
    click.option("--field", help="Only those where this field is to blame."),
)


@dead_letters.command("list")
@query_options
@_like
@click.option("--open", "only_open", is_flag=True, help="Leave out what was replayed.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Show so many at most, the latest first.")
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

    After them, unless some are chosen, the deadlines on which duewatch itself failed; each is tried again every day.

    \b
    Examples:
      duewatch dead-letters list --data ./demo --limit 20
      duewatch dead-letters list --open --topic payments --reason "not above zero"
    """
    from streams.dead_letters.listing import Selection, list_deadlines, list_letters

    choice, asked = Selection((), topic, reason, field, "open" if only_open else None), queried_clickhouse(data, clickhouse)
    click.echo(list_letters(choice, asked, limit))
    if not (topic or reason or field) and (failed := list_deadlines(asked, limit, only_open=only_open)):
        click.echo(failed)


@dead_letters.command("show")
@click.argument("place", metavar="TOPIC/PARTITION/OFFSET")
@query_options
@click.option("--raw", is_flag=True, help="Only the bytes, as they came: to be mended in a file.")
def dead_letters_show(place: str, data: Path | None, clickhouse: str | None, raw: bool) -> None:
    """One of them, whole.

    \b
    Example:
      duewatch dead-letters show payments/3/1742 --data ./demo --raw > mended.json
    """
    from streams.dead_letters.listing import show_letter

    click.echo(show_letter(place, queried_clickhouse(data, clickhouse), raw=raw), nl=not raw)


@dead_letters.command("replay", cls=Configured)
@click.argument("named", metavar="[TOPIC/PARTITION/OFFSET]...", nargs=-1)
@_like
@click.option("--all", "every", is_flag=True, help="All that are open: after an update that takes what was refused.")
@click.option("--set", "fields", metavar="FIELD=TEXT", multiple=True, help="Mend a field; FIELD:=JSON for what is no text.")
@click.option("--attribute", "attributes", metavar="NAME=TEXT", multiple=True, help="Mend an attribute, such as recordedtime.")
@click.option("--key", help="Another key (the customer), where the key was wrong.")
@click.option("--value", type=FILE, help="The mended record, where one is named.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and what would still be refused.")
@deployment_options
@query_options
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
    from streams.dead_letters.listing import Selection
    from streams.dead_letters.resend import Correction, parse_attribute, parse_set, resend
    from streams.errors import UsageError

    if not (named or topic or reason or field or every):
        raise UsageError("nothing is chosen: name places, or choose by --topic, --reason, --field, or --all")
    # Those that are named are told of whatever became of them; of the others only the open ones are meant.
    choice = Selection(named, topic, reason, field, None if named else "open")
    mended = None if value is None else value.read_bytes().rstrip(b"\n")
    mend = Correction(tuple(map(parse_set, fields)), tuple(map(parse_attribute, attributes)), key, mended)
    lines, is_done = resend(deployment(kafka, prefix), choice, mend, queried_clickhouse(data, clickhouse), dry_run=dry_run)
    click.echo("\n".join(lines))
    sys.exit(0 if is_done else 1)


@dead_letters.command("resume")
@click.argument("topic", metavar="TOPIC")
@click.argument("partition", metavar="PARTITION", type=int)
@click.option("--owner", required=True, help="Who decides.")
@click.option("--reason", help="Why, in words; kept with the decision.")
@deployment_options
def dead_letters_resume(
    topic: str, partition: int, owner: str, reason: str | None, kafka: str | None, prefix: str | None
) -> None:
    """Read a topic's partition on that was paused because too much of it was broken.

    For the ops team, once its sender is mended: it goes on where it stopped, and what is still broken becomes a dead letter.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch dead-letters resume payments 3 --owner jane --reason "gateway mended"
    """
    from streams.dead_letters.resume import resume

    click.echo(resume(deployment(kafka, prefix), topic, partition, owner, reason))
