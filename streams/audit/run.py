"""Hold a live deployment against itself: state and outputs against a fold of the journal, ClickHouse against all. Read only.

It may run while everything moves. State is read to the end of a transaction and folded up to that very slice. ClickHouse is
asked once the sink has reached what was committed by then; a debtor that has moved meanwhile is looked at again.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, NoReturn

import orjson
import structlog

from schemas.registry import DEBTOR_SOURCES
from streams.audit.amounts import audit_amounts
from streams.audit.events import audit_events
from streams.audit.from_clickhouse import audit_replayed
from streams.audit.sink_wait import is_shared
from streams.audit.state import Audited, audit_state
from streams.clickhouse.client import ClickHouseError
from streams.clickhouse.query import ClickHouse
from streams.engine.agents import agent_specs
from streams.errors import UsageError, UserError
from streams.kafka.admin import KafkaAwayError
from streams.kafka.read import offsets
from streams.kafka.topics import deployed, full_name
from streams.logs import configure_logs
from streams.metrics import Metrics
from streams.recompute.difference import KINDS, Difference, Kind
from streams.terminal.progress import Bar, progress_bar

if TYPE_CHECKING:
    from streams.settings import Settings

log = structlog.get_logger(__name__)

SHARED = "against ClickHouse: several deployments write into its tables"
LOGGED = 100
"""Differences in the log of a scheduled run, at most."""


@dataclass(slots=True)
class Report:
    """What an audit looked at and found; at most ``keep`` differences are kept, all are counted."""

    keep: int = 1_000
    differences: list[Difference] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    looked_at: Counter[str] = field(default_factory=Counter)
    not_judged: Counter[str] = field(default_factory=Counter)
    """Debtors by why nothing can be said of them."""
    outputs_not_judged: Counter[str] = field(default_factory=Counter)
    """Outputs by why they are not compared."""
    paused: dict[str, list[int]] = field(default_factory=dict)
    """Topic -> partitions that are read no further for now (D10): no difference, but what waits there was not looked at."""
    seconds: float = 0.0

    def add(self, found: Iterable[Difference]) -> None:
        for one in found:
            self.counts[one.kind] += 1
            if len(self.differences) < self.keep:
                self.differences.append(one)

    def take(self, told: Audited, partition: int) -> None:
        """What the audit of a partition of an agent has found."""
        self.add(told.found)
        self.looked_at += told.counts
        self.not_judged += told.unclear
        self.outputs_not_judged += told.outputs_unclear
        for topic in sorted(told.paused):
            self.paused.setdefault(topic, []).append(partition)

    @property
    def is_clean(self) -> bool:
        """Whether all that was compared is equal."""
        return not self.counts


def audit(settings: Settings, clickhouse: ClickHouse | None, sample: int | None = None) -> Report:
    """Compare everything once; ``sample``: of so many partitions, taken by chance. Raises UserError where it cannot."""
    began = time.monotonic()
    settings = deployed(settings)
    partitions = list(range(settings.partitions))
    if sample is not None and sample < settings.partitions:
        partitions = sorted(random.sample(partitions, sample))
    report = Report()
    report.looked_at["partitions"] = len(partitions)
    ends = offsets(settings.for_librdkafka(), [(full_name(settings.prefix, t), p) for t in DEBTOR_SOURCES for p in partitions])
    with progress_bar("audit", sum(ends.values()) * (2 if clickhouse else 1)) as bar:
        if clickhouse is not None:
            _look_into(clickhouse, settings, partitions, bar, report)
        _fold_again(clickhouse, settings, partitions, bar, report)
    report.seconds = time.monotonic() - began
    return report


def _look_into(clickhouse: ClickHouse, settings: Settings, partitions: Sequence[int], bar: Bar, report: Report) -> None:
    """What needs no fold: amounts against the state, events against the log."""
    found, unclear = audit_amounts(settings, clickhouse, partitions, bar)
    report.add(found)
    report.not_judged += Counter({f"against ClickHouse: {why}": debtors for why, debtors in unclear.items()})
    found, count = audit_events(settings, clickhouse, partitions, bar)
    report.add(found)
    report.looked_at["events in ClickHouse"] = count


def _fold_again(clickhouse: ClickHouse | None, settings: Settings, partitions: Sequence[int], bar: Bar, report: Report) -> None:
    """Of every agent, those of its partitions that are looked at: a single one always is."""
    # Whose rows are whose nothing tells where several deployments share tables: then what went out is left alone.
    shared = clickhouse is not None and is_shared(clickhouse)
    for spec in agent_specs(settings):
        for partition in partitions if spec.partitions > 1 else [0]:
            bar.say(f"folding {spec.name} {partition}")
            told = audit_state(settings, spec.name, spec.state, partition, bar, None if shared else clickhouse)
            report.take(told, partition)
    if shared:
        report.outputs_not_judged[SHARED] = report.looked_at["outputs"]


def as_text(report: Report, limit: int) -> str:
    """For people: differences in columns, then one line of what was looked at."""
    lines = []
    shown_ones = report.differences[:limit]
    if shown_ones:
        table = [("KIND", "DEBTOR", "WHERE", "FIELD", "EXPECTED", "FOUND")]
        table += [(d.kind, d.subject, d.where, d.field, d.expected[:60], d.found[:60]) for d in shown_ones]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    total = sum(report.counts.values())
    if total > len(shown_ones):
        lines.append(f"... and {total - len(shown_ones):,} more")
    lines += _besides(report)
    what = ", ".join(f"{count:,} {name}" for name, count in report.looked_at.items())
    told = "no difference" if report.is_clean else ", ".join(f"{n:,} in {kind}" for kind, n in report.counts.items()) + " differ"
    lines.append(f"{told}. Looked at {what} in {report.seconds:.1f} s.")
    return "\n".join(lines)


def _besides(report: Report) -> Iterator[str]:
    """What is no difference, and yet has to be known of an outcome."""
    for reason, count in report.not_judged.items():
        yield f"{count:,} debtors could not be judged {reason}"
    for reason, count in report.outputs_not_judged.items():
        yield f"{count:,} outputs could not be judged {reason}"
    for topic, partitions in report.paused.items():
        numbers, resume = ", ".join(map(str, partitions)), f"duewatch dead-letters resume {topic} {partitions[0]} --owner NAME"
        yield f"{topic} is paused in partition {numbers}: what waits there was not looked at ({resume})"


def in_json(report: Report) -> str:
    """For programs."""
    told = {
        "clean": report.is_clean,
        "differences": report.differences,
        "counts": {kind: report.counts[kind] for kind in KINDS},
        "looked_at": report.looked_at,
        "not_judged": report.not_judged,
        "outputs_not_judged": report.outputs_not_judged,
        "paused": report.paused,
        "seconds": round(report.seconds, 3),
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def run_audit(
    settings: Settings, clickhouse: ClickHouse | None, sample: int | None, limit: int, *, as_json: bool
) -> tuple[str, bool]:
    """What an audit found, as text, and whether it is clean.

    Where no Kafka answers, of what a replay on the embedded broker has left in ClickHouse.
    """
    try:
        report = audit(settings, clickhouse, sample)
    except KafkaAwayError as away:
        if clickhouse is None:
            raise
        report = _of_what_is_left(settings, clickhouse, away)
    return (in_json(report) if as_json else as_text(report, limit)), report.is_clean


def _of_what_is_left(settings: Settings, clickhouse: ClickHouse, away: KafkaAwayError) -> Report:
    began, report = time.monotonic(), Report()
    try:
        with progress_bar("audit", 0) as bar:
            found, looked_at = audit_replayed(settings, clickhouse, str(away), bar)
    except ClickHouseError as error:
        raise UserError(f"{away}. And {error}") from None
    report.add(found)
    report.looked_at.update(looked_at)
    report.seconds = time.monotonic() - began
    return report


# -- on a schedule
_SPAN = re.compile(r"(\d+)(s|m|h|d)\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds_of(text: str) -> int:
    """A span of time in seconds. Raises UsageError.

    >>> seconds_of("90s"), seconds_of("1h")
    (90, 3600)
    """
    match = _SPAN.match(text)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"{text!r} is no span of time: write a number with s, m, h or d, such as 15m or 1h")
    return int(match[1]) * _SECONDS[match[2]]


def _log_report(report: Report) -> None:
    for one in report.differences[:LOGGED]:
        log.warning("audit.difference", **asdict(one))
    log.info("audit.ended", clean=report.is_clean, seconds=round(report.seconds, 1), paused=report.paused, **report.looked_at)


def note(metrics: Metrics, report: Report | None) -> None:
    """Tell the metrics of a run; None: it could not be done, and the figures of the last one stand."""
    outcome = "failed" if report is None else "clean" if report.is_clean else "different"
    metrics.audit_time.labels(outcome).set_to_current_time()
    if report is not None:
        for kind in KINDS:
            metrics.audit_differences.labels(kind).set(report.counts[kind])


def run_every(settings: Settings, clickhouse: ClickHouse | None, sample: int | None, every_s: int, port: int) -> NoReturn:
    """Audit on a schedule until Ctrl-C, and serve the outcome as metrics. What fails is told, and tried again the next time."""
    configure_logs(settings.log_format, settings.log_level)
    metrics = Metrics()
    metrics.serve(port, settings.web_bind)
    log.info("audit.scheduled", every_s=every_s, metrics_port=port)
    while True:
        began = time.monotonic()
        try:
            report = audit(settings, clickhouse, sample)
        except Exception as error:  # noqa: BLE001 - a broker or ClickHouse that is away now is there the next time
            note(metrics, None)
            log.warning("audit.failed", error=f"{type(error).__name__}: {error}"[:500])
        else:
            note(metrics, report)
            _log_report(report)
        time.sleep(max(0.0, every_s - (time.monotonic() - began)))
