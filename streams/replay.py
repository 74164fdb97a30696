"""Real input through the real pipeline: sends it step by step, waits until all of it is in ClickHouse, says what came out."""

from __future__ import annotations

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
from streams.connectors.records import Record
from streams.connectors.source import Step, read_sources, sources_hash, steps
from streams.driver import Driver, Ends
from streams.embedded import EmbeddedBroker
from streams.errors import UsageError, UserError
from streams.progress import Bar, progress_bar
from streams.replay_context import replay_context
from streams.settings import Settings, load_settings
from streams.sink_file import running_sink
from streams.sql import query
from streams.stack import Stack
from streams.topics import create_topics

DEFAULT_DATA = Path("duewatch-data")
POLL_S = 0.1


class InterruptedReplay(UserError):
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


@dataclass(frozen=True, slots=True)
class Input:
    """What is replayed, and what is in force before its first event."""

    prefix: str
    context: ContextSet
    steps: Sequence[Step]
    records: int


@dataclass(frozen=True, slots=True)
class Summary:
    """``seconds``: from the first record sent until all was in ClickHouse."""

    events: int
    seconds: float
    counts: dict[str, int]
    spent: dict[str, float]


def read_input(sources: Sequence[Path], mapping: str | None, until: date | None, policy: Path | None) -> Input:
    """Raises UserError with what to mend."""
    records: list[Record] = read_sources(sources, mapping, until)
    context = replay_context(records, policy)
    name = sources_hash(sources, mapping)
    if until is not None or policy is not None:
        # Another end or another policy makes other decisions: it must not go on with the clock of the whole.
        told = f"{name}{until}{context.policy.model_dump_json()}"
        name = blake2b(told.encode(), digest_size=5).hexdigest()
    return Input(f"replay-{name}", context, list(steps(records, until)), len(records))


def settings_for(target: Target, prefix: str, broker: EmbeddedBroker | None) -> Settings:
    """Those of the environment, with what a replay must have otherwise. Raises UserError and pydantic.ValidationError."""
    settings = load_settings().changed(
        prefix=prefix, mode="replay", clock="replay", data_dir=target.folder, log_format="console", **_clickhouse(target)
    )
    if broker is not None:
        return settings.on_embedded_broker(broker.bootstrap)
    return settings.changed(bootstrap=target.kafka) if target.kafka else settings


def _clickhouse(target: Target) -> dict[str, object]:
    """Database ``duewatch``, unless the URL names another."""
    if target.clickhouse is None:
        return {"clickhouse": f"chdb://{target.folder / 'clickhouse'}", "database": "duewatch"}
    url = urlsplit(target.clickhouse)
    if url.scheme not in {"clickhouse", "http", "https"} or not url.hostname:
        raise UsageError("--clickhouse takes a URL such as clickhouse://USER:PASSWORD@HOST:8123/DATABASE")
    host = url.netloc if url.port or url.scheme != "https" else f"{url.netloc}:8443"
    return {"clickhouse": f"clickhouse://{host}", "database": url.path.strip("/") or "duewatch"}


@contextmanager
def started(target: Target, prefix: str) -> Iterator[Stack]:
    """Broker (where none is named), topics, worker and sink of a prefix; all stopped in the end."""
    if running_sink(target.folder) is not None:
        raise UserError(f"another duewatch is running on {target.folder}: stop it first, or use another --data")
    logs = target.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    broker = EmbeddedBroker(logs / "broker.log").start() if target.kafka is None else None
    try:
        settings = settings_for(target, prefix, broker)
        create_topics(settings)
    except BaseException:
        if broker is not None:
            broker.stop()
        raise
    with Stack(settings, logs, broker) as stack:
        stack.start()
        yield stack


def drive(stack: Stack, given: Input, target: Target, bar: Bar) -> Summary:
    """Send everything, and wait until all that it led to is in ClickHouse. Raises UserError."""
    stack.notice = bar.notice
    began = time.perf_counter()
    driver = Driver(stack.settings, given.context, given.steps, stack.tend)
    for done in driver.run():
        bar.advance(done)
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


def run_replay(
    sources: list[Path], *, target: Target, mapping: str | None = None, until: date | None = None, policy: Path | None = None
) -> Summary:
    """Replay the sources, print what came out. Raises UserError, InterruptedReplay on Ctrl-C."""
    given = read_input(sources, mapping, until, policy)
    try:
        with started(target, given.prefix) as stack, progress_bar("replay", given.records) as bar:
            summary = drive(stack, given, target, bar)
    except KeyboardInterrupt:
        raise InterruptedReplay(how_to_go_on(target)) from None
    click.echo(told(summary, target))
    return summary


def how_to_go_on(target: Target) -> str:
    if target.kafka is None:
        return "stopped. The embedded broker keeps nothing: the same command begins anew, and what is in ClickHouse stays right."
    return "stopped. The same command goes on where this one stopped."


def told(summary: Summary, target: Target) -> str:
    rate = summary.events / summary.seconds
    counts = ", ".join(f"{count:,} {name}" for name, count in summary.counts.items())
    where = target.clickhouse or f"in {target.folder}"
    option = f"--clickhouse {target.clickhouse}" if target.clickhouse else f"--data {target.data or DEFAULT_DATA}"
    return (
        f"{summary.events:,} events in {summary.seconds:.1f} s ({rate:,.0f}/s): {counts}.\n"
        f'The data lies {where}; ask it: duewatch sql "select * from debtors order by exposure desc limit 10" {option}'
    )
