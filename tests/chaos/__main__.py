"""The chaos run: `python -m tests.chaos [--faults N] [--seed S] [--minutes M]`, or `make chaos`."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from agents.registry import AGENTS
from schemas.registry import DEBTOR_SOURCES
from streams.engine.partition_task import read_checkpoint
from streams.kafka.producer import send_all
from streams.kafka.read import offsets, read_rows
from streams.kafka.topics import create_topics, full_name
from streams.logs import LIBRDKAFKA
from streams.settings import Settings
from streams.terminal.progress import Bar
from tests.chaos.control import FIRST_DAY, FastClock
from tests.chaos.events import Feeder, Planned, plan, policy_record
from tests.chaos.faults import Deployment, schedule
from tests.chaos.verify import Findings, verify
from tests.kafka.broker import KafkaBroker

OUT = Path(__file__).absolute().parents[1] / "bench" / "chaos.json"
WARM_UP_S, DRAIN_S = 15.0, 120.0


@dataclass(frozen=True, slots=True)
class Result:
    """What ``chaos.json`` says, and what is printed."""

    faults: Counter[str]
    events: int
    findings: Findings
    seconds: float
    notes: list[str]

    @property
    def right(self) -> bool:
        return self.findings.right

    def as_json(self) -> dict[str, object]:
        """The figures, under the names that others rely on.

        ``longest_outage_s``: the longest time that any event waited between being sent (the record's time stamp) and the journal
        record of the slice that applied it, while the broker was away included.
        """
        return {
            "faults": self.faults.total(),
            "faults_by_kind": dict(sorted(self.faults.items())),
            "events": self.events,
            "lost": self.findings.lost,
            "twice": self.findings.twice,
            "wrong_rows": self.findings.wrong_rows,
            "wrong_cents": self.findings.wrong_cents,
            "longest_outage_s": round(self.findings.longest_outage_s, 1),
        }


def run(
    broker: KafkaBroker,
    folder: Path,
    *,
    faults: int,
    seconds: float,
    seed: int,
    debtors: int,
    days: int,
    bank: float,
    workers: int,
) -> Result:
    """Disturb a deployment for so many seconds, let it drain, and hold what it wrote against the logs."""
    began = time.monotonic()
    settings = Settings(
        prefix=f"chaos-{seed}-{int(time.time()) % 1_000_000}",
        bootstrap=broker.bootstrap,
        partitions=4,
        session_timeout_s=6.0,
        tick_seconds=0.5,
        clickhouse=f"chdb://{folder}/clickhouse",
        data_dir=folder,
    )
    create_topics(settings)
    planned = plan(debtors, days, seed, bank)
    opening = policy_record("chaos-1", FIRST_DAY, "observe")
    send_all(settings, [(opening.topic, opening.key, opening.value, opening.headers)])
    # An hour into the day after the last: its midnight's work is there before the rest drains.
    clock = FastClock(time.time() + WARM_UP_S, (days * 24 + 1) * 3_600 / seconds, lasts=seconds)
    feeder = Feeder(settings, planned, clock)
    deployment = Deployment(settings, broker, folder, clock, workers, seed)
    try:
        deployment.start()
        feeder.start()
        _disturb(deployment, feeder, planned, faults, seconds - WARM_UP_S, seed)
        feeder.stop()
        deployment.calm()
        _drain(settings, deployment)
        deployment.stop_workers()
        _await_sink(settings, deployment)
        status = deployment.stop_sink()
    finally:
        feeder.ended.set()
        deployment.end()
    return _judge(settings, feeder, deployment, status, began)


def _judge(settings: Settings, feeder: Feeder, deployment: Deployment, status: int, began: float) -> Result:
    """What the deployment wrote against the logs, and how its parts ended."""
    acknowledged = Counter(feeder.acknowledged)
    with Bar("checks", 1, "checks") as bar:
        findings = verify(settings, acknowledged + deployment.transacted, deployment.uncertain, bar.say)
    if feeder.failed:
        findings.tell("the feeder", f"{len(feeder.failed)} records were not taken: {feeder.failed[0]}", len(feeder.failed))
    if status != 0:
        findings.tell("the sink's end", f"its status was {status}")
    events = sum((acknowledged + deployment.transacted)[topic] for topic in DEBTOR_SOURCES)
    notes = [*deployment.notes, f"started again: {dict(deployment.restarts)}"]
    return Result(deployment.faults(), events, findings, time.monotonic() - began, notes)


def _disturb(deployment: Deployment, feeder: Feeder, planned: list[Planned], faults: int, seconds: float, seed: int) -> None:
    """The faults at their times, until the last event is sent."""
    time.sleep(WARM_UP_S)
    material = [entry for entry in planned if entry.record.topic == "payments"]
    began = time.monotonic()
    with Bar("faults", faults, "faults") as bar:
        for fault in schedule(faults, seconds, seed):
            while (wait_s := began + fault.at - time.monotonic()) > 0:
                time.sleep(min(wait_s, 0.2))
                bar.say(f"{feeder.sent:,} events sent, {deployment.clock.now():%d %b %Y}")
            deployment.suffer(fault.kind, material)
            bar.notice(f"{time.monotonic() - began:6.1f} s  {fault.kind}")
            bar.advance(1)
        while feeder.is_alive() and time.monotonic() < began + seconds + 30:
            time.sleep(0.2)


def _drain(settings: Settings, deployment: Deployment) -> None:
    """Until both agents have applied all that is in their sources. Raises TimeoutError."""
    kafka = settings.for_librdkafka()
    places = [(topic, n) for topic in DEBTOR_SOURCES for n in range(settings.partitions)] + [("training-examples", 0)]
    deadline = time.monotonic() + DRAIN_S
    calm_since = None
    with Bar("draining", 1, "") as bar:
        while time.monotonic() < deadline:
            ends = offsets(kafka, [(full_name(settings.prefix, topic), n) for topic, n in places])
            behind = {place: end for place in places if (end := ends[full_name(settings.prefix, place[0]), place[1]])}
            waiting = _not_applied(settings, behind)
            bar.say(f"{waiting.total():,} offsets are not applied")
            if waiting:
                calm_since = None
            elif calm_since is None:
                calm_since = time.monotonic()
            elif time.monotonic() - calm_since > 5:
                return
            time.sleep(1.0)
    report = f"not applied {DRAIN_S:.0f} s after the last fault, of ends {behind}: {dict(waiting)}"
    raise TimeoutError(f"{report}\n{deployment.stuck()}\n{report}")


def _not_applied(settings: Settings, ends: dict[tuple[str, int], int]) -> Counter[str]:
    """Topic and partition -> offsets below the end that the committed positions have not reached."""
    missing: Counter[str] = Counter()
    states = {("debtor", n) for n in range(settings.partitions)} | {("learner", 0)}
    for agent, partition in states:
        state = f"{agent}-state"
        rows = read_rows(settings.for_librdkafka(), full_name(settings.prefix, state), partition)
        positions = read_checkpoint(rows, AGENTS[agent].row_format, state).positions
        for (topic, number), end in ends.items():
            if (topic == "training-examples") is (state == "learner-state") and number == partition:
                missing[f"{topic}/{number}"] = max(0, end - positions.get(topic, 0))
    return +missing


def _await_sink(settings: Settings, deployment: Deployment) -> None:
    """Until the sink has written all. Raises TimeoutError."""
    deadline = time.monotonic() + DRAIN_S
    with Bar("the sink drains", 1, "") as bar:
        while time.monotonic() < deadline:
            report = deployment.sink_progress()
            bar.say(f"{report.get('records', 0):,} records")
            if report.get("drained"):
                return
            time.sleep(0.5)
    raise TimeoutError(f"the sink is not drained after {DRAIN_S:.0f} s: {deployment.sink_progress()}")


def show(result: Result, console: Console) -> None:
    """The faults by kind, the checks, and the first deviations."""
    table = Table(title=f"{result.faults.total()} faults, {result.events:,} events, {result.seconds:.0f} s")
    table.add_column("fault")
    table.add_column("times", justify="right")
    for kind, count in sorted(result.faults.items()):
        table.add_row(kind, str(count))
    console.print(table)
    findings = result.findings
    table = Table(title=f"longest outage {findings.longest_outage_s:.1f} s ({findings.longest_outage})")
    for name in ("check", "looked at", "wrong"):
        table.add_column(name, justify="left" if name == "check" else "right")
    for check in findings.wrong:
        table.add_row(
            check, f"{findings.looked_at[check]:,}", f"{findings.wrong[check]:,}", style="red" if findings.wrong[check] else None
        )
    console.print(table)
    for line in findings.deviations:
        console.print(line[:1_000], style="red", markup=False, highlight=False)
    for line in result.notes:
        console.print(line, style="dim", markup=False, highlight=False)


@click.command()
@click.option("--faults", default=115, show_default=True, help="how many")
@click.option("--minutes", default=10.0, show_default=True, help="how long they come; draining and checking take a minute more")
@click.option("--seed", default=1, show_default=True, help="of portfolio, faults and victims")
@click.option("--debtors", default=150, show_default=True)
@click.option("--days", default=200, show_default=True, help="of the portfolio: they pass in the given minutes")
@click.option("--bank", default=0.5, show_default=True, help="share of the bank transactions that is sent")
@click.option("--workers", default=2, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=OUT, help="where the figures go")
@click.option("--keep", is_flag=True, help="leave the folder with logs, the broker's data and ClickHouse's")
def main(
    faults: int, minutes: float, seed: int, debtors: int, days: int, bank: float, workers: int, out: Path, keep: bool
) -> None:
    """Disturb a whole deployment on Apache Kafka and ClickHouse by faults, then compare everything it wrote with the logs.

    Ends with status 1 when anything deviates, and names the first deviations.
    """
    folder = Path(tempfile.mkdtemp(prefix="duewatch-chaos-"))
    console = Console()
    # The clients of this process say nothing while the broker is away on purpose.
    logging.getLogger(LIBRDKAFKA).setLevel(logging.CRITICAL)
    broker = KafkaBroker(folder / "kafka")
    try:
        with broker:
            result = run(
                broker,
                folder,
                faults=faults,
                seconds=minutes * 60,
                seed=seed,
                debtors=debtors,
                days=days,
                bank=bank,
                workers=workers,
            )
        show(result, console)
        out.write_text(json.dumps(result.as_json(), indent=2) + "\n")
        console.print(f"written: {out}", style="dim")
        sys.exit(0 if result.right else 1)
    finally:
        if keep:
            console.print(f"kept: {folder}", style="dim")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
