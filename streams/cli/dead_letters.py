"""The command dead-letters: see, fix and resend what could not be applied."""

# ruff: noqa: D301 - \b is how click is told to leave the lines of a paragraph alone

from __future__ import annotations

import sys
from pathlib import Path

import click

from streams.cli.options import FILE, Configured, deployment, deployment_options, options, queried_clickhouse, query_options


@click.group("dead-letters")
def dead_letters() -> None:
    """See, fix and resend what could not be applied.

    For the ops team: nothing is dropped. A record that was rejected is here with the reason and its bytes.

    \b
    Example:
      duewatch dead-letters list --data ./demo
    """


_selection_options = options(
    click.option("--topic", help="Only those of this topic, such as payments."),
    click.option("--reason", metavar="TEXT", help="Only those whose reason contains this text."),
    click.option("--field", help="Only those that were rejected because of this field."),
)


@dead_letters.command("list")
@query_options
@_selection_options
@click.option("--open", "only_open", is_flag=True, help="Leave out those that were replayed.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Show at most this many, the latest first.")
def dead_letters_list(
    data: Path | None,
    clickhouse: str | None,
    topic: str | None,
    reason: str | None,
    field: str | None,
    only_open: bool,
    limit: int,
) -> None:
    """List each with its place (TOPIC/PARTITION/OFFSET), why it was not applied, and what became of it.

    Then, unless options select some of them, the deadlines on which duewatch itself failed; each is tried again every day.

    \b
    Examples:
      duewatch dead-letters list --data ./demo --limit 20
      duewatch dead-letters list --open --topic payments --reason "not above zero"
    """
    from streams.dead_letters.listing import list_deadlines, list_letters
    from streams.dead_letters.selection import Selection

    selection, client = Selection((), topic, reason, field, "open" if only_open else None), queried_clickhouse(data, clickhouse)
    click.echo(list_letters(selection, client, limit))
    if not (topic or reason or field) and (deadlines := list_deadlines(client, limit, only_open=only_open)):
        click.echo(deadlines)


@dead_letters.command("show")
@click.argument("place", metavar="TOPIC/PARTITION/OFFSET")
@query_options
@click.option("--raw", is_flag=True, help="Only the bytes, as they came: to be fixed in a file.")
def dead_letters_show(place: str, data: Path | None, clickhouse: str | None, raw: bool) -> None:
    """Show everything about one of them.

    \b
    Example:
      duewatch dead-letters show payments/3/1742 --data ./demo --raw > fixed.json
    """
    from streams.dead_letters.listing import show_letter

    click.echo(show_letter(place, queried_clickhouse(data, clickhouse), raw=raw), nl=not raw)


@dead_letters.command("replay", cls=Configured)
@click.argument("names", metavar="[TOPIC/PARTITION/OFFSET]...", nargs=-1)
@_selection_options
@click.option("--all", "select_all", is_flag=True, help="All that are open: after an update that accepts what was refused.")
@click.option("--set", "fields", metavar="FIELD=TEXT", multiple=True, help="Set a field; FIELD:=JSON unless it is text.")
@click.option("--attribute", "attributes", metavar="NAME=TEXT", multiple=True, help="Set an attribute, such as recordedtime.")
@click.option("--key", help="Set the key (the customer), where it was wrong.")
@click.option("--value", type=FILE, help="A file with the fixed record, for a single place.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and what would still be refused.")
@deployment_options
@query_options
def dead_letters_replay(
    *,
    names: tuple[str, ...],
    topic: str | None,
    reason: str | None,
    field: str | None,
    select_all: bool,
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
    """Resend some to the topics that they came from, fixed or (after an update) unchanged.

    Each is applied once, also when this is run twice, or was killed halfway: what was sent before is left out. What is still
    refused is not sent. A fixed record keeps its event id; where the id is known with other content, give it another one
    (--attribute id=...). Exit status 1 where something is still refused.

    \b
    Examples:
      duewatch dead-letters replay payments/3/1742 --set amount=12.50 --clickhouse URL
      duewatch dead-letters replay --reason "no currency" --set currency=EUR --dry-run
      duewatch dead-letters replay payments/3/1742 --value fixed.json
      duewatch dead-letters replay --all
    """
    from streams.dead_letters.resend import Correction, parse_attribute, parse_set, resend
    from streams.dead_letters.selection import Selection
    from streams.errors import UsageError

    if not (names or topic or reason or field or select_all):
        raise UsageError("no dead letters are selected: name places, or use --topic, --reason, --field or --all")
    # A dead letter that is named is reported whatever became of it; otherwise only the open ones are meant.
    selection = Selection(names, topic, reason, field, None if names else "open")
    record = None if value is None else value.read_bytes().rstrip(b"\n")
    correction = Correction(tuple(map(parse_set, fields)), tuple(map(parse_attribute, attributes)), key, record)
    client = queried_clickhouse(data, clickhouse)
    lines, is_done = resend(deployment(kafka, prefix), selection, correction, client, dry_run=dry_run)
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
    """Resume a topic's partition that was paused because too many of its records were broken.

    For the ops team, once the sender is fixed: it continues where it stopped, and what is still broken becomes a dead letter.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch dead-letters resume payments 3 --owner jane --reason "gateway fixed"
    """
    from streams.dead_letters.resume import resume

    click.echo(resume(deployment(kafka, prefix), topic, partition, owner, reason))
