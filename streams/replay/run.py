"""Real input through the real pipeline: sends it step by step, waits until all of it is in ClickHouse, says what came out."""

from __future__ import annotations

import logging
import re
import shlex
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import orjson

from schemas.events.clock import ContextSet
from streams.clickhouse.discovery import DEFAULT_DATA, running_sink
from streams.clickhouse.query import query
from streams.connectors.records import Record
from streams.errors import UsageError, UserError, make_folder
from streams.kafka.admin import require_kafka
from streams.kafka.embedded import EmbeddedBroker
from streams.kafka.topics import create_topics
from streams.logs import LIBRDKAFKA
from streams.replay.context import replay_context
from streams.replay.driver import Driver, Ends
from streams.replay.local_stack import Stack
from streams.replay.sources import Step, read_sources, sources_hash, steps
from streams.settings import Settings, load_settings, with_options
from streams.terminal.progress import Bar, progress_bar

POLL_S = 0.1
_URL_PASSWORD = re.compile(r"(?<!:)(?<!/):[^/@]*@")


class ReplayStoppedError(UserError):
    """Ctrl-C; the message says how to go on."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class Target:
    """Where a replay runs: a Kafka and a ClickHouse of the user's, or the embedded ones; ``data`` is where those lie."""

    kafka: str | None = None
    clickhouse: str | None = None
    data: Path | None = None

    @property
    def folder(self) -> Path:
        return (self.data or DEFAULT_DATA).absolute()

    @property
    def option(self) -> str:
        """How `duewatch sql` is told to ask there; a password is not shown."""
        if self.clickhouse:
            return f"--clickhouse {_URL_PASSWORD.sub(':PASSWORD@', self.clickhouse)}"
        return f"--data {shlex.quote(str(self.data or DEFAULT_DATA))}"


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be replayed: files, how to read them, up to which day, under which policy."""

    paths: Sequence[Path]
    mapping: str | None = None
    until: date | None = None
    policy: Path | None = None

    def prefix(self) -> str:
        """``replay-`` and a hash of all that decides what comes out: the same again goes on, anything else runs beside it."""
        name = sources_hash(self.paths, self.mapping)
        if self.until is not None or self.policy is not None:
            told = f"{name}{self.until}".encode() + (self.policy.read_bytes() if self.policy else b"")
            name = blake2b(told, digest_size=5).hexdigest()
        return f"replay-{name}"

    def read(self) -> Input:
        """Raises UserError with what to mend."""
        records: list[Record] = read_sources(self.paths, self.mapping, self.until)
        return Input(replay_context(records, self.policy), list(steps(records, self.until)), len(records))


@dataclass(frozen=True, slots=True)
class Input:
    """What is replayed, and what is in force before its first event."""

    context: ContextSet
    steps: Sequence[Step]
    records: int


@dataclass(frozen=True, slots=True)
class Summary:
    """``seconds``: from the first record sent until all was in ClickHouse; ``spent`` tells what they went into."""

    events: int
    seconds: float
    counts: dict[str, int]
    spent: dict[str, float]


def settings_for(target: Target, prefix: str, broker: EmbeddedBroker | None) -> Settings:
    """Those of the environment, with what a replay must have otherwise. Raises UserError and pydantic.ValidationError."""
    settings = load_settings().changed(
        prefix=prefix, mode="replay", clock="replay", data_dir=target.folder, log_format="console", **_clickhouse(target)
    )
    if broker is not None:
        return settings.on_embedded_broker(broker.bootstrap)
    return with_options(settings, kafka=target.kafka)


def _clickhouse(target: Target) -> dict[str, object]:
    """Database ``duewatch``, unless the URL names another."""
    if target.clickhouse is None:
        return {"clickhouse": f"chdb://{target.folder / 'clickhouse'}", "database": "duewatch"}
    url = urlsplit(target.clickhouse)
    if url.scheme not in {"clickhouse", "http", "https"} or not url.hostname:
        raise UsageError("--clickhouse takes a URL such as clickhouse://USER:PASSWORD@HOST:8123/DATABASE")
    host = url.netloc if url.port or url.scheme != "https" else f"{url.netloc}:8443"
    # The scheme stays: at any port but 8443, it alone tells that the connection is encrypted.
    return {"clickhouse": f"{url.scheme}://{host}", "database": url.path.strip("/") or "duewatch"}


@contextmanager
def started(target: Target, prefix: str) -> Iterator[Stack]:
    """Broker (where none is named), topics, worker and sink of a prefix; all stopped in the end."""
    # What librdkafka tells while the broker stops is no news; what matters is raised.
    logging.getLogger(LIBRDKAFKA).setLevel(logging.CRITICAL)
    if running_sink(target.folder) is not None:
        raise UserError(f"another duewatch is running on {target.folder}: stop it first, or use another --data")
    logs = target.folder / "logs"
    make_folder(logs, "--data")
    broker = EmbeddedBroker(logs / "broker.log").start() if target.kafka is None else None
    try:
        settings = settings_for(target, prefix, broker)
        require_kafka(settings)
        create_topics(settings)
    except BaseException:
        if broker is not None:
            broker.stop()
        raise
    with Stack(settings, logs, broker, notice=lambda line: click.echo(line, err=True)) as stack:
        stack.start()
        yield stack


def drive(stack: Stack, given: Input, target: Target, bar: Bar) -> Summary:
    """Send everything, and wait until all that it led to is in ClickHouse. Raises UserError."""
    stack.notice = bar.notice
    bar.say("starting")
    stack.wait_until_ready()
    bar.say("")
    began = time.perf_counter()
    driver = Driver(stack.settings, given.context, given.steps, stack.tend)
    for done in driver.run():
        bar.advance(done)
        stack.tend()
    bar.say("until it is in ClickHouse")
    decided = time.perf_counter()
    wait_until_sunk(stack, driver.ends, len(given.steps) - 1)
    seconds = time.perf_counter() - began
    driver.spent["sinking"] = time.perf_counter() - decided
    counts = {name: int(count) for name, count in ask(target, COUNTS)[0].items()}
    return Summary(given.records, seconds, counts, dict(driver.spent))


def wait_until_sunk(stack: Stack, ends: Ends, last: int) -> None:
    """Wait until ClickHouse has every source record, the last tick of every partition, and all that was sent because of them.

    Raises PartFailedError when the sink keeps ending.
    """
    agreed = 0
    while agreed < 2:
        stack.tend()
        time.sleep(POLL_S)
        told = sink_progress(stack.settings)
        agreed = agreed + 1 if told is not None and _has_all(told, ends, last) else 0


def sink_progress(settings: Settings) -> dict[str, Any] | None:
    """What the sink says of itself, None while it does not answer."""
    port = running_sink(settings.data_dir)
    if port is None:
        return None
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=10) as answer:
            told: dict[str, Any] = orjson.loads(answer.read())
    except (OSError, orjson.JSONDecodeError):
        return None
    return told


def _has_all(told: dict[str, Any], ends: Ends, last: int) -> bool:
    reached = all(
        told["topics"].get(topic, {}).get(str(partition), {}).get("next_offset", 0) >= end
        for partition, own in ends.items()
        for topic, end in own.items()
    )
    ticked = all(told["ticks"].get(str(partition), {}).get("number", -1) >= last for partition in ends)
    return bool(told["drained"]) and reached and ticked


def ask(target: Target, sql: str) -> list[dict[str, Any]]:
    """Rows of a question to the ClickHouse of a replay. Raises ClickHouseError."""
    answer = query(sql, target.folder, target.clickhouse, "JSONEachRow")
    return [orjson.loads(line) for line in answer.splitlines() if line]


COUNTS = """SELECT (SELECT count() FROM alerts WHERE state = 'raised') AS alerts,
(SELECT count() FROM limit_changes) AS `limit changes`, (SELECT count() FROM dead_letters) AS `dead letters`"""


def run_replay(source: Source, target: Target) -> Summary:
    """Replay the source, print what came out. Raises UserError, ReplayStoppedError on Ctrl-C."""
    try:
        # Worker and sink start while the files are read.
        with started(target, source.prefix()) as stack:
            given = source.read()
            with progress_bar("replay", given.records) as bar:
                summary = drive(stack, given, target, bar)
    except KeyboardInterrupt:
        raise ReplayStoppedError(how_to_go_on(target)) from None
    click.echo(told(summary, target, source.prefix()))
    return summary


def how_to_go_on(target: Target) -> str:
    if target.kafka is None:
        return "stopped. The embedded broker keeps nothing: the same command begins anew, and what is in ClickHouse stays right."
    return "stopped. The same command goes on where this one stopped."


def told(summary: Summary, target: Target, prefix: str) -> str:
    """What came out, and how to ask about it."""
    rate = summary.events / summary.seconds
    counts = ", ".join(f"{count:,} {name}" for name, count in summary.counts.items())
    where = "elsewhere" if target.clickhouse else f"in {target.folder}"
    question = shlex.quote("select * from debtors order by exposure desc limit 10")
    return (
        f"{summary.events:,} events in {summary.seconds:.1f} s ({rate:,.0f}/s). ClickHouse, {where}, now has {counts}.\n"
        f"Ask it: duewatch sql {question} {target.option}\n"
        f"Hold it against itself: duewatch audit {target.option}"
        + (f" --kafka {target.kafka} --prefix {prefix}" if target.kafka else "")
    )
