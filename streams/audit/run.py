"""Audit a live deployment: state and outputs against a fold of the journal, ClickHouse against all of it. It only reads.

It may run while everything moves. State is read to the end of a transaction and folded up to that very slice. ClickHouse is
read once the sink has reached what was committed by then; a debtor that has moved during the comparison is compared again.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, NoReturn

import structlog

from schemas.registry import DEBTOR_SOURCES
from streams.audit.amounts import audit_amounts
from streams.audit.events import audit_events
from streams.audit.from_clickhouse import audit_replayed
from streams.audit.report import Report, as_json, as_text
from streams.audit.sink_wait import is_shared
from streams.audit.state import audit_state
from streams.clickhouse.client import ClickHouseError
from streams.clickhouse.query import ClickHouse
from streams.engine.agents import agent_specs
from streams.errors import UsageError, UserError
from streams.kafka.admin import KafkaAwayError
from streams.kafka.read import offsets
from streams.kafka.topics import deployed, full_name
from streams.logs import configure_logs
from streams.metrics import Metrics
from streams.recompute.difference import KINDS
from streams.terminal.progress import Bar, progress_bar

if TYPE_CHECKING:
    from streams.settings import Settings

log = structlog.get_logger(__name__)

SHARED_TABLES = "against ClickHouse: several deployments write into its tables"
MAX_LOGGED = 100
"""Differences in the log of a scheduled run, at most."""


def run_audit(
    settings: Settings, clickhouse: ClickHouse | None, sample: int | None, limit: int, *, json: bool
) -> tuple[str, bool]:
    """What an audit found, as text, and whether it is clean.

    Where Kafka does not answer, the audit of what a replay on the embedded broker has left in ClickHouse.
    """
    try:
        report = audit(settings, clickhouse, sample)
    except KafkaAwayError as error:
        if clickhouse is None:
            raise
        report = _audit_without_log(settings, clickhouse, error)
    return (as_json(report) if json else as_text(report, limit)), report.is_clean


def audit(settings: Settings, clickhouse: ClickHouse | None, sample: int | None = None) -> Report:
    """Compare everything once; ``sample``: only so many partitions, picked at random. Raises UserError where it cannot."""
    began = time.monotonic()
    settings = deployed(settings)
    partitions = list(range(settings.partitions))
    if sample is not None and sample < settings.partitions:
        partitions = sorted(random.sample(partitions, sample))
    report = Report()
    report.compared["partitions"] = len(partitions)
    ends = offsets(settings.for_librdkafka(), [(full_name(settings.prefix, t), p) for t in DEBTOR_SOURCES for p in partitions])
    with progress_bar("audit", sum(ends.values()) * (2 if clickhouse else 1)) as bar:
        if clickhouse is not None:
            _audit_clickhouse(clickhouse, settings, partitions, bar, report)
        _audit_state(clickhouse, settings, partitions, bar, report)
    report.seconds = time.monotonic() - began
    return report


def _audit_clickhouse(clickhouse: ClickHouse, settings: Settings, partitions: Sequence[int], bar: Bar, report: Report) -> None:
    """What needs no fold: amounts against the state, events against the log."""
    differences, unclear = audit_amounts(settings, clickhouse, partitions, bar)
    report.add(differences)
    report.debtors_not_judged += Counter({f"against ClickHouse: {reason}": debtors for reason, debtors in unclear.items()})
    differences, count = audit_events(settings, clickhouse, partitions, bar)
    report.add(differences)
    report.compared["events in ClickHouse"] = count


def _audit_state(clickhouse: ClickHouse | None, settings: Settings, partitions: Sequence[int], bar: Bar, report: Report) -> None:
    """Fold the chosen partitions of every agent; an agent that has only one is always folded."""
    # Where several deployments share tables nothing tells whose rows are whose: then outputs are not compared.
    shared = clickhouse is not None and is_shared(clickhouse)
    for spec in agent_specs(settings):
        for partition in partitions if spec.partitions > 1 else [0]:
            bar.say(f"folding {spec.name} {partition}")
            partition_audit = audit_state(settings, spec.name, spec.state, partition, bar, None if shared else clickhouse)
            report.add_partition(partition_audit, partition)
    if shared:
        report.outputs_not_judged[SHARED_TABLES] = report.compared["outputs"]


def _audit_without_log(settings: Settings, clickhouse: ClickHouse, why_not_kafka: KafkaAwayError) -> Report:
    began, report = time.monotonic(), Report()
    try:
        with progress_bar("audit", 0) as bar:
            differences, compared = audit_replayed(settings, clickhouse, str(why_not_kafka), bar)
    except ClickHouseError as error:
        raise UserError(f"{why_not_kafka}. And {error}") from None
    report.add(differences)
    report.compared.update(compared)
    report.seconds = time.monotonic() - began
    return report


# -- on a schedule
_SPAN = re.compile(r"(\d+)(s|m|h|d)\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds_of(text: str) -> int:
    """A time span in seconds. Raises UsageError.

    >>> seconds_of("90s"), seconds_of("1h")
    (90, 3600)
    """
    match = _SPAN.match(text)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"{text!r} is not a valid time span: write a number with s, m, h or d, such as 15m or 1h")
    return int(match[1]) * _SECONDS[match[2]]


def run_every(settings: Settings, clickhouse: ClickHouse | None, sample: int | None, every_s: int, port: int) -> NoReturn:
    """Audit on a schedule until Ctrl-C, and serve the outcome as metrics. A failure is logged, and the next run tries again."""
    configure_logs(settings.log_format, settings.log_level)
    metrics = Metrics()
    metrics.serve(port, settings.web_bind)
    log.info("audit.scheduled", every_s=every_s, metrics_port=port)
    while True:
        began = time.monotonic()
        try:
            report = audit(settings, clickhouse, sample)
        except Exception as error:  # noqa: BLE001 - a broker or ClickHouse that is away now is there the next time
            record_outcome(metrics, None)
            log.warning("audit.failed", error=f"{type(error).__name__}: {error}"[:500])
        else:
            record_outcome(metrics, report)
            _log_report(report)
        time.sleep(max(0.0, every_s - (time.monotonic() - began)))


def record_outcome(metrics: Metrics, report: Report | None) -> None:
    """Set the metrics of a run; None: it failed, and the figures of the last one stay."""
    outcome = "failed" if report is None else "clean" if report.is_clean else "different"
    metrics.audit_time.labels(outcome).set_to_current_time()
    if report is not None:
        for kind in KINDS:
            metrics.audit_differences.labels(kind).set(report.counts[kind])


def _log_report(report: Report) -> None:
    for difference in report.differences[:MAX_LOGGED]:
        log.warning("audit.difference", **asdict(difference))
    log.info("audit.ended", clean=report.is_clean, seconds=round(report.seconds, 1), paused=report.paused, **report.compared)
