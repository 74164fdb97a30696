"""The parts of a deployment: topics, migrate, worker, sink."""

# ruff: noqa: D301 - \b is how click is told to leave the lines of a paragraph alone

from __future__ import annotations

import sys

import click

from streams.cli.options import Configured, deployment, deployment_options, from_environment


@click.command()
@deployment_options
def topics(kafka: str | None, prefix: str | None) -> None:
    """Create the topics of this deployment.

    Run it before the first worker and after each update. Existing topics are left as they are; where their settings differ from
    what they would be created with now, it says so. Settings come from the environment (DUEWATCH_...).

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch topics
    """
    from streams.kafka.admin import require_kafka
    from streams.kafka.topics import create_topics

    settings = deployment(kafka, prefix)
    require_kafka(settings)
    for line in create_topics(settings):
        click.echo(line)


@click.command()
@click.option("--dry-run", is_flag=True, help="Print the SQL that would run.")
def migrate(dry_run: bool) -> None:
    """Create or update the tables in ClickHouse.

    Run it before the sink of a new version starts.

    \b
    Example:
      DUEWATCH_CLICKHOUSE=clickhouse://clickhouse:8123 duewatch migrate --dry-run
    """
    from streams.clickhouse.migrate import run_migrate

    for line in run_migrate(from_environment(), dry_run=dry_run):
        click.echo(line)


@click.command(cls=Configured)
def worker() -> None:
    """Run the agents: read events, decide, send scores, alerts and limit changes.

    Start as many as there is work for, up to the number of partitions; each takes its share.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 duewatch worker
    """
    from streams.worker.run import run

    sys.exit(run(from_environment()))


@click.command(cls=Configured)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65_535),
    help="Port on which metrics are served to Prometheus: rows written, and how far ClickHouse is behind.  [default: none]",
)
def sink(metrics_port: int | None) -> None:
    """Copy every event, in and out, into ClickHouse.

    One process per deployment is enough; reading records twice changes nothing.

    \b
    Example:
      DUEWATCH_BOOTSTRAP=broker:9092 DUEWATCH_CLICKHOUSE=clickhouse://clickhouse:8123 duewatch sink
    """
    from streams.sink.run import run

    sys.exit(run(from_environment(), metrics_port))
