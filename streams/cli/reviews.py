"""The command review: limits on hold, and the answers of people."""

# ruff: noqa: D301 - \b is how click is told to leave the lines of a paragraph alone

from __future__ import annotations

from pathlib import Path

import click

from streams.cli.options import deployment, deployment_options, options, queried_clickhouse, query_options


@click.group()
def review() -> None:
    """See which limits wait for a person's review, and answer.

    For the credit team: after a sudden change of cash flow or an insolvency petition a limit is on hold, and allows no new
    exposure, until somebody has reviewed it or the hold expires.

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
    """Confirm the concern: the limit is cut.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch review confirm C-4711 --owner jane --reason "bank confirms"
    """
    from streams.reviews.answers import answer

    click.echo(answer(deployment(kafka, prefix), customer, "confirm", owner, reason))


@review.command("reject")
@_answer
def review_reject(customer: str, owner: str, reason: str | None, kafka: str | None, prefix: str | None) -> None:
    """Reject the concern: the hold ends.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch review reject C-4711 --owner jane --reason "one-off payment of a machine"
    """
    from streams.reviews.answers import answer

    click.echo(answer(deployment(kafka, prefix), customer, "reject", owner, reason))
