"""The metrics of a deployment: names, meaning and labels in one place, on a registry of our own.

Labels are topics, outcomes, reasons and partition numbers: never customers, invoices or versions. Names are a contract with
dashboards and alert rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from streams.errors import UserError

EVENTS_TOTAL = "duewatch_events_total"
SLICES_TOTAL = "duewatch_slices_total"
COMMIT_SECONDS = "duewatch_commit_seconds"
TAKE_OVER_SECONDS = "duewatch_take_over_seconds"
RETAKES_TOTAL = "duewatch_retakes_total"
DEAD_LETTERS_TOTAL = "duewatch_dead_letters_total"
PARTITION_LAG = "duewatch_partition_lag"
EVENT_AGE_SECONDS = "duewatch_event_age_seconds"
PAUSED = "duewatch_paused"
HELD_RECORDS = "duewatch_held_records"
SINK_ROWS_TOTAL = "duewatch_sink_rows_total"
SINK_LAG = "duewatch_sink_lag"
AUDIT_DIFFERENCES = "duewatch_audit_differences"
AUDIT_TIME_SECONDS = "duewatch_audit_time_seconds"

NAMES = (
    EVENTS_TOTAL,
    SLICES_TOTAL,
    COMMIT_SECONDS,
    TAKE_OVER_SECONDS,
    RETAKES_TOTAL,
    DEAD_LETTERS_TOTAL,
    PARTITION_LAG,
    EVENT_AGE_SECONDS,
    PAUSED,
    HELD_RECORDS,
    SINK_ROWS_TOTAL,
    SINK_LAG,
    AUDIT_DIFFERENCES,
    AUDIT_TIME_SECONDS,
)
CONTENT_TYPE = CONTENT_TYPE_LATEST
# A gauge beside each counter that tells when it began: nobody asks for it, and it doubles the series of counters.
disable_created_metrics()  # type: ignore[no-untyped-call]

Outcome = Literal["applied", "duplicate", "dead_letter"]

_COMMIT_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_TAKE_OVER_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_AGE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3600.0, 86400.0)


class Metrics:
    """The instruments of one process. Make one and hand it down; tests make their own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.events = self._counter(EVENTS_TOTAL, "Records that were dealt with, by what became of them.", "topic", "outcome")
        self.slices = self._counter(SLICES_TOTAL, "Slices committed, each in one transaction.", "agent")
        self.commit = self._histogram(COMMIT_SECONDS, "Time of a slice's transaction, in seconds.", _COMMIT_BUCKETS, "agent")
        self.take_over = self._histogram(
            TAKE_OVER_SECONDS, "From a partition's assignment until it is restored, in seconds.", _TAKE_OVER_BUCKETS, "agent"
        )
        self.retakes = self._counter(
            RETAKES_TOTAL, "Partitions dropped and taken over again after a failed or unknown commit.", "agent", "reason"
        )
        self.dead_letters = self._counter(
            DEAD_LETTERS_TOTAL, "Records that could not be decoded, validated or applied; deadlines that failed.", "reason"
        )
        self.lag = Gauge(
            PARTITION_LAG,
            "Records between the applied position and the end, by partition.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._lagging: set[tuple[str, str]] = set()
        self.event_age = self._histogram(
            EVENT_AGE_SECONDS,
            "From when the oldest event of a topic in a slice was recorded until the slice was committed, in seconds. Live only.",
            _AGE_BUCKETS,
            "topic",
        )
        self.paused = Gauge(
            PAUSED,
            "Partitions of a topic that are paused because too many of their records are broken.",
            ["topic"],
            registry=self.registry,
        )
        self.held = Gauge(HELD_RECORDS, "Records that were fetched and are not applied yet.", ["agent"], registry=self.registry)
        self.sink_rows = self._counter(SINK_ROWS_TOTAL, "Rows written to ClickHouse.", "table")
        self.sink_lag = Gauge(SINK_LAG, "Records between what ClickHouse has and the end.", ["topic"], registry=self.registry)
        self.audit_differences = Gauge(AUDIT_DIFFERENCES, "What the last audit found, by kind.", ["kind"], registry=self.registry)
        self.audit_time = Gauge(
            AUDIT_TIME_SECONDS, "When an audit last ended so, in seconds since 1970.", ["outcome"], registry=self.registry
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, buckets=buckets, registry=self.registry)

    def record(self, topic: str, outcome: Outcome, count: int = 1) -> None:
        """Count records of a topic (without its prefix) by their outcome."""
        self.events.labels(topic, outcome).inc(count)

    def set_lags(self, topics: Iterable[str], lags: Mapping[tuple[str, int], int]) -> None:
        """Set the lags of all partitions of these topics that this worker has; partitions that it lost are removed."""
        own_lags = {(topic, str(partition)): lag for (topic, partition), lag in lags.items()}
        for topic, partition in self._lagging - set(own_lags):
            if topic in topics:
                self.lag.remove(topic, partition)
                self._lagging.discard((topic, partition))
        for place, lag in own_lags.items():
            self.lag.labels(*place).set(lag)
        self._lagging.update(own_lags)

    def set_paused(self, topics: Iterable[str], paused: Mapping[str, Sequence[int]]) -> None:
        """Set how many partitions of each of these topics are paused."""
        for topic in topics:
            self.paused.labels(topic).set(len(paused.get(topic, ())))

    def serve(self, port: int, bind: str) -> None:
        """Serve the metrics to Prometheus from a thread while the process runs. Raises UserError where the port is taken."""
        try:
            start_http_server(port, bind, self.registry)
        except OSError as error:
            place = f"{bind}:{port} ({error.strerror})"
            raise UserError(f"metrics cannot be served on {place}: choose another --metrics-port") from None

    def render(self) -> bytes:
        """All metrics in Prometheus' text format, to be served as CONTENT_TYPE."""
        return generate_latest(self.registry)
