"""Commands that look into a deployment: audit and explain."""

# ruff: noqa: D301 - \b is how click is told to leave the lines of a paragraph alone

from __future__ import annotations

import sys
from pathlib import Path

import click

from streams.cli.options import Configured, data_option, deployment, deployment_options, query_options, sink_clickhouse_option


@click.command(cls=Configured)
@deployment_options
@data_option
@sink_clickhouse_option
@click.option("--no-clickhouse", is_flag=True, help="Compare the state with the log only.")
@click.option("--sample", metavar="N", type=click.IntRange(1), help="Only N partitions, picked at random.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(0), help="Show at most this many differences.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--every", metavar="SPAN", help="Repeat until Ctrl-C, such as every 1h.")
@click.option(
    "--metrics-port",
    default=9107,
    show_default=True,
    type=click.IntRange(1, 65_535),
    help="With --every: the port on which Prometheus finds the outcome.",
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
    """Check a deployment against its own log, row by row.

    For the ops team and auditors: what has been applied is recomputed from the log and compared with the state, bit for bit;
    state and log are compared with ClickHouse, to the cent, and so are published scores, alerts, limit changes and labels. It
    only reads, and the deployment may keep running. Each difference names the debtor, the field and both values. Topics that
    are paused are named, too. Exit status 1 where anything differs.

    A demo or replay on the embedded broker leaves no log: its events in ClickHouse are recomputed, and the results are compared
    with what ClickHouse holds.

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
            "--every is for a running deployment, and no Kafka is named: name it with --kafka or DUEWATCH_BOOTSTRAP. What a demo"
            f" or replay has left in {data} does not change: one audit is enough, duewatch audit --data {data}"
        )
    client = None if no_clickhouse else clickhouse_of(settings, data, clickhouse)
    if every is not None:
        run_every(settings, client, sample, seconds_of(every), metrics_port)
    text, is_clean = run_audit(settings, client, sample, limit, json=as_json)
    click.echo(text, nl=not as_json)
    sys.exit(0 if is_clean else 1)


@click.command(cls=Configured)
@click.argument("decision_id", metavar="DECISION_ID")
@deployment_options
@query_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def explain(
    decision_id: str, kafka: str | None, prefix: str | None, data: Path | None, clickhouse: str | None, as_json: bool
) -> None:
    """Recompute a past decision, and show why it was made.

    For whoever has to answer for a score, an alert or a limit: the debtor before, the event or deadline, the debtor after, what
    the score looked at, and the policy's rule. The decision is recomputed from the debtor's events in Kafka, and compared bit for
    bit with the published one; decisions of a demo or replay on the embedded broker from ClickHouse, column by column.
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
    text, is_equal = run_explain(settings, decision_id, data, clickhouse, as_json=as_json)
    click.echo(text, nl=not as_json)
    sys.exit(0 if is_equal else 1)
