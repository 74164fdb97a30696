"""Run a replay: send the input step by step, wait until all results are in ClickHouse, and say what came out."""

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
from streams import DEFAULT_DATA
from streams.clickhouse.discovery import running_sink
from streams.clickhouse.query import query
from streams.connectors.records import Record
from streams.errors import UsageError, UserError, make_folder
from streams.kafka.admin import require_kafka
from streams.kafka.embedded import EmbeddedBroker
from streams.kafka.topics import create_topics
from streams.logs import LIBRDKAFKA
from streams.replay.clock import Ends, ReplayClock
from streams.replay.context import replay_context, unstated_currency
from streams.replay.local_stack import Stack
from streams.replay.sources import read_sources, sources_hash
from streams.replay.steps import Step, cut_into_weeks
from streams.settings import Settings, load_settings, with_options
from streams.terminal.progress import Bar, progress_bar

POLL_S = 0.1
_URL_PASSWORD = re.compile(r"(?<!:)(?<!/):[^/@]*@")


class ReplayStoppedError(UserError):
    """Stopped by Ctrl-C; the message says how to continue."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class Target:
    """Where a replay runs: a Kafka and a ClickHouse of the user's, or the embedded ones; ``data`` is the folder of those."""

    kafka: str | None = None
    clickhouse: str | None = None
    data: Path | None = None

    @property
    def folder(self) -> Path:
        return (self.data or DEFAULT_DATA).absolute()

    @property
    def option(self) -> str:
        """The option by which other commands find this ClickHouse; a password is not shown."""
        if self.clickhouse:
            return f"--clickhouse {_URL_PASSWORD.sub(':PASSWORD@', self.clickhouse)}"
        return f"--data {shlex.quote(str(self.data or DEFAULT_DATA))}"


@dataclass(frozen=True, slots=True)
class Source:
    """The input of a replay: files, how to read them, up to which day, under which policy."""

    paths: Sequence[Path]
    mapping: str | None = None
    until: date | None = None
    policy: Path | None = None

    def prefix(self) -> str:
        """``replay-`` and a hash of all that decides what comes out: the same input continues, another one runs beside it."""
        name = sources_hash(self.paths, self.mapping)
        if self.until is not None or self.policy is not None:
            content = f"{name}{self.until}".encode() + (self.policy.read_bytes() if self.policy else b"")
            name = blake2b(content, digest_size=5).hexdigest()
        return f"replay-{name}"

    def read(self) -> Input:
        """Read the files. Raises UserError with what to fix."""
        records: list[Record] = read_sources(self.paths, self.mapping, self.until)
        context = replay_context(records, self.policy)
        if note := unstated_currency(context, self.policy):
            click.echo(note, err=True)
        return Input(context, list(cut_into_weeks(records, self.until)), len(records))


@dataclass(frozen=True, slots=True)
class Input:
    """What a replay sends, and the context in force before its first event."""

    context: ContextSet
    steps: Sequence[Step]
    records: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a replay came to. ``seconds``: from the first record sent until all was in ClickHouse."""

    events: int
    seconds: float
    counts: dict[str, int]


def settings_for(target: Target, prefix: str, broker: EmbeddedBroker | None) -> Settings:
    """The settings of the environment, changed to what a replay needs. Raises UserError and pydantic.ValidationError."""
    settings = load_settings().changed(
        prefix=prefix, mode="replay", clock="replay", data_dir=target.folder, log_format="console", **_clickhouse(target)
    )
    if broker is not None:
        return settings.on_embedded_broker(broker.bootstrap)
    return with_options(settings, kafka=target.kafka)


def _clickhouse(target: Target) -> dict[str, object]:
    """The settings of the ClickHouse: database ``duewatch``, unless the URL names another."""
    if target.clickhouse is None:
        return {"clickhouse": f"chdb://{target.folder / 'clickhouse'}", "database": "duewatch"}
    url = urlsplit(target.clickhouse)
    if url.scheme not in {"clickhouse", "http", "https"} or not url.hostname:
        raise UsageError("--clickhouse takes a URL such as clickhouse://USER:PASSWORD@HOST:8123/DATABASE")
    host = url.netloc if url.port or url.scheme != "https" else f"{url.netloc}:8443"
    # The scheme stays: at any port but 8443, it alone tells that the connection is encrypted.
    return {"clickhouse": f"{url.scheme}://{host}", "database": url.path.strip("/") or "duewatch"}


@contextmanager
def start_stack(target: Target, prefix: str) -> Iterator[Stack]:
    """Broker (where none is named), topics, worker and sink of a prefix; all stopped in the end."""
    # What librdkafka logs while the broker stops is expected; what matters is raised.
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
    with Stack(settings, logs, broker, notify=lambda line: click.echo(line, err=True)) as stack:
        stack.start()
        yield stack


def drive(stack: Stack, source_input: Input, target: Target, bar: Bar) -> Summary:
    """Send everything, and wait until all results are in ClickHouse. Raises UserError."""
    stack.notify = bar.notice
    bar.say("starting")
    stack.wait_until_ready()
    bar.say("")
    began = time.perf_counter()
    clock = ReplayClock(stack.settings, source_input.context, source_input.steps, stack.supervise)
    for count in clock.run():
        bar.advance(count)
        stack.supervise()
    bar.say("waiting until it is in ClickHouse")
    wait_until_sunk(stack, clock.ends, len(source_input.steps) - 1)
    seconds = time.perf_counter() - began
    counts = {name: int(count) for name, count in ask(target, COUNTS)[0].items()}
    return Summary(source_input.records, seconds, counts)


def wait_until_sunk(stack: Stack, ends: Ends, last: int) -> None:
    """Wait until ClickHouse has every source record, the last tick of every partition, and all that was sent because of them.

    Raises PartFailedError when the sink keeps ending.
    """
    confirmations = 0
    while confirmations < 2:
        stack.supervise()
        time.sleep(POLL_S)
        progress = sink_progress(stack.settings)
        confirmations = confirmations + 1 if progress is not None and _has_all(progress, ends, last) else 0


def sink_progress(settings: Settings) -> dict[str, Any] | None:
    """The sink's own report of its progress, None while it does not answer."""
    port = running_sink(settings.data_dir)
    if port is None:
        return None
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=10) as answer:
            progress: dict[str, Any] = orjson.loads(answer.read())
    except (OSError, orjson.JSONDecodeError):
        return None
    return progress


def _has_all(progress: dict[str, Any], ends: Ends, last: int) -> bool:
    has_sources = all(
        progress["topics"].get(topic, {}).get(str(partition), {}).get("next_offset", 0) >= end
        for partition, own in ends.items()
        for topic, end in own.items()
    )
    has_ticks = all(progress["ticks"].get(str(partition), {}).get("number", -1) >= last for partition in ends)
    return bool(progress["drained"]) and has_sources and has_ticks


def ask(target: Target, sql: str) -> list[dict[str, Any]]:
    """The rows of a query to the ClickHouse of a replay. Raises ClickHouseError."""
    answer = query(sql, target.folder, target.clickhouse, "JSONEachRow")
    return [orjson.loads(line) for line in answer.splitlines() if line]


COUNTS = """SELECT (SELECT count() FROM alerts WHERE state = 'raised') AS alerts,
(SELECT count() FROM limit_changes) AS `limit changes`, (SELECT count() FROM dead_letters) AS `dead letters`"""


def run_replay(source: Source, target: Target) -> Summary:
    """Replay the source and print what came out. Raises UserError, ReplayStoppedError on Ctrl-C."""
    try:
        # Worker and sink start while the files are read.
        with start_stack(target, source.prefix()) as stack:
            source_input = source.read()
            with progress_bar("replay", source_input.records) as bar:
                summary = drive(stack, source_input, target, bar)
    except KeyboardInterrupt:
        raise ReplayStoppedError(how_to_continue(target)) from None
    click.echo(as_text(summary, target, source.prefix()))
    return summary


def how_to_continue(target: Target) -> str:
    """What to do after Ctrl-C, for people."""
    if target.kafka is None:
        return "stopped. The embedded broker keeps nothing: the same command starts over, and ClickHouse stays correct."
    return "stopped. The same command continues where this one stopped."


def as_text(summary: Summary, target: Target, prefix: str) -> str:
    """What came out, and how to ask about it."""
    rate = summary.events / summary.seconds
    counts = ", ".join(f"{count:,} {name}" for name, count in summary.counts.items())
    where = "at the given URL" if target.clickhouse else f"in {target.folder}"
    question = shlex.quote("select * from debtors order by exposure desc limit 10")
    return (
        f"{summary.events:,} events in {summary.seconds:.1f} s ({rate:,.0f}/s). ClickHouse, {where}, now has {counts}.\n"
        f"Query it: duewatch sql {question} {target.option}\n"
        f"Audit it: duewatch audit {target.option}" + (f" --kafka {target.kafka} --prefix {prefix}" if target.kafka else "")
    )
