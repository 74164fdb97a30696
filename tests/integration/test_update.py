"""Updates and rollbacks on Apache Kafka: workers of two versions at once, under load, and nothing that was learned is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import msgspec
import orjson
import pytest
from confluent_kafka import Producer

from agents.debtor.keys import HEADER, SCORE, item_key, payment_key, split_key, state_key
from agents.debtor.state import Header, decode
from agents.registry import AGENTS
from schemas.base import Contract
from schemas.events.envelope import Output
from schemas.events.payments import Allocation, InvoiceIssued, PaymentReceived
from streams.engine.agents import worker_specs
from streams.engine.keys import POSITIONS, is_engine_key
from streams.engine.row_format import NewerFormatError, require_known_rows
from streams.kafka.codec import encode
from streams.kafka.read import last_values, read_rows
from streams.kafka.topics import full_name
from streams.process.children import Child, free_port, spawn
from streams.settings import Settings
from tests.integration.support.portfolio import Load, deployment, toy_worker, wait_for
from tests.integration.test_engine import assert_exactly_once, assert_runs_join, outputs
from tests.integration.test_engine_rebalance import holds, logged
from tests.kafka.broker import KafkaBroker

ROOT = Path(__file__).resolve().parents[2]
BEFORE_FORMATS = "5d2d494"
"""The last commit whose rows state no format."""
REFUSED = 3
"""The exit status of a worker that met rows of a newer version."""


def positions(settings: Settings, agent: str = "debtor") -> dict[int, dict[str, object]]:
    """The positions of each partition that has any, as they are written."""
    partitions = 1 if AGENTS[agent].is_single else settings.partitions
    places = [(full_name(settings.prefix, f"{agent}-state"), partition) for partition in range(partitions)]
    values = last_values(settings.for_librdkafka(), places, POSITIONS)
    return {partition: orjson.loads(value) for (_, partition), value in values.items()}


def formats(settings: Settings, agent: str = "debtor") -> set[object]:
    """The formats that the partitions state; None for one that states none."""
    return {row.get("format") for row in positions(settings, agent).values()}


# -- from this version on: whoever meets a newer format refuses, and ends


@pytest.mark.slow
def test_a_worker_that_is_given_a_partition_of_a_newer_version_ends_and_comes_back_only_when_it_is_updated(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    newer, logs = AGENTS["debtor"].row_format + 1, [tmp_path / f"w{n}.log" for n in range(4)]
    load = Load(settings, per_second=100)
    first = toy_worker(settings, logs[0])
    workers = [first]
    try:
        wait_for(lambda: len(holds(logs[0])) == 4, 60)
        load.start()
        workers.append(second := toy_worker(settings, logs[1], row_format=newer))
        wait_for(lambda: newer in formats(settings), 60)
        # The newer one goes, and what it had comes back: the older one may not have it.
        assert second.stop(20) == 0
        assert first.wait(60) == REFUSED
        assert first.log_tail(3).strip().splitlines()[-1].startswith("Error: the rows of debtor ")
        assert "start that version or a later one instead" in first.log_tail(3)
        assert logged(logs[0], "partition.refused")
        # Started again by whatever watches over it, it ends before it joins the group.
        workers.append(restarted := worker_of(ROOT, settings, logs[2]))
        assert restarted.wait(60) == REFUSED
        assert "worker.started" not in logs[2].read_text() and "partitions.assigned" not in logs[2].read_text()
        workers.append(updated := toy_worker(settings, logs[3], row_format=newer))
        load.stop()
        wait_for(lambda: len(outputs(settings)) >= load.sent, 120, 1.0)
        assert formats(settings) == {newer}
        assert updated.stop(20) == 0
    finally:
        load.ended.set()
        for worker in workers:
            worker.kill()
    assert_exactly_once(settings, load.sent)
    assert_runs_join(settings)


def test_the_format_is_found_however_far_before_the_end_it_was_written(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    (spec,) = worker_specs(settings.changed(agents="debtor"))
    producer, topic = Producer(settings.for_librdkafka()), full_name(settings.prefix, "debtor-state")
    for partition, (count, row_format) in enumerate(((0, spec.row_format), (3, spec.row_format), (3_000, spec.row_format + 1))):
        producer.produce(topic, orjson.dumps({"format": 0}), POSITIONS, partition)
        producer.produce(topic, orjson.dumps({"format": row_format, "code_version": "9.9"}), POSITIONS, partition)
        for number in range(count):
            producer.produce(topic, b"{}", f"c-{number}\x1f", partition)
    producer.produce(topic, b"{}", "c-1\x1f", 3)
    producer.flush(30)
    assert {partition: row["format"] for partition, row in positions(settings).items()} == {
        0: spec.row_format,
        1: spec.row_format,
        2: spec.row_format + 1,
    }
    for partition in (0, 1, 3):
        require_known_rows(settings, [spec], partition)
    with pytest.raises(NewerFormatError, match="the rows of debtor 2 are of format .*, written by duewatch 9.9"):
        require_known_rows(settings, [spec])


# -- the version before, which knows nothing of formats


@dataclass(eq=False)
class LedgerLoad(threading.Thread):
    """Invoices and payments: first those of some months, from which there is much to learn; then of today, until stopped."""

    settings: Settings
    per_second: int = 40
    customers: int = 40
    invoices: dict[str, str] = field(default_factory=dict)
    """Invoice -> its customer."""
    payments: dict[str, str] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._producer = Producer({**self.settings.for_librdkafka(), "partitioner": "murmur2_random", "linger.ms": 5})

    def send_history(self, each: int = 20, every_days: int = 2) -> None:
        """In the order of time; who reads it before the first tick judges each record as of its own day.

        Shorter than the learner remembers copies (90 days): examples come partition by partition, and it refuses older ones.
        """
        began, facts = datetime.now(UTC) - timedelta(days=each * every_days + 40), list[tuple[datetime, str, str, bool]]()
        for number in range(each * self.customers):
            customer, at = f"c{number % self.customers}", began + timedelta(days=number // self.customers * every_days)
            facts.append((at, f"h{number}", customer, False))
            if number % 7:
                facts.append((at + timedelta(days=8 + number % 23), f"h{number}", customer, True))
        for at, invoice, customer, is_payment in sorted(facts):
            (self._send_payment if is_payment else self._send_invoice)(invoice, customer, at)
        self._producer.flush()

    def run(self) -> None:
        began, number = time.monotonic(), 0
        while not self.ended.is_set():
            while number < (time.monotonic() - began) * self.per_second:
                customer, at = f"c{number % self.customers}", datetime.now(UTC)
                self._send_invoice(f"i{number}", customer, at)
                if number % 3:
                    self._send_payment(f"i{number}", customer, at)
                number += 1
            self._producer.poll(0)
            time.sleep(0.01)
        self._producer.flush()

    def _send_invoice(self, invoice: str, customer: str, at: datetime) -> None:
        due = at.date() + timedelta(days=14)
        fact = InvoiceIssued(
            customer_id=customer, invoice_id=invoice, amount=Decimal(100), currency="EUR", issued_on=at.date(), due_on=due
        )
        self.invoices[invoice] = customer
        self._produce("duewatch.invoice.issued.v1", f"issue-{invoice}", customer, at, fact)

    def _send_payment(self, invoice: str, customer: str, at: datetime) -> None:
        allocations, payment = (Allocation(invoice_id=invoice, amount=Decimal(100)),), f"p-{invoice}"
        fact = PaymentReceived(
            customer_id=customer,
            payment_id=payment,
            amount=Decimal(100),
            currency="EUR",
            paid_on=at.date(),
            allocations=allocations,
        )
        self.payments[payment] = customer
        self._produce("duewatch.payment.received.v1", f"pay-{invoice}", customer, at, fact)

    def _produce(self, type_: str, event_id: str, customer: str, at: datetime, fact: Contract) -> None:
        value, headers = encode(Output("payments", customer, type_, event_id, at, at, fact))
        self._producer.produce(full_name(self.settings.prefix, "payments"), value, customer, headers=list(headers))

    def stop(self) -> None:
        self.ended.set()
        self.join()

    def facts(self) -> frozenset[str]:
        """The keys of the rows of all that was sent."""
        invoices = {state_key(customer, item_key(number)) for number, customer in self.invoices.items()}
        return frozenset(invoices | {state_key(customer, payment_key(number)) for number, customer in self.payments.items()})

    def owed(self) -> dict[str, Decimal]:
        """What each customer owes by what was sent."""
        counts = Counter(self.invoices.values())
        counts.subtract(self.payments.values())
        return {customer: Decimal(100 * count) for customer, count in counts.items()}


@pytest.fixture(scope="session")
def code_before_formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code of that commit, from the repository's own history."""
    archive = subprocess.run(
        ["git", "-C", ROOT, "archive", BEFORE_FORMATS, "agents", "schemas", "streams"], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(
            f"the history does not hold {BEFORE_FORMATS}: fetch all of it (git fetch --unshallow) to test updates from it"
        )
    folder = tmp_path_factory.mktemp("before-formats")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def worker_of(folder: Path, settings: Settings, log_path: Path) -> Child:
    """A worker of the code in a folder, with the brains that ship."""
    # Only what is set for this deployment: the older code refuses settings that it does not know.
    usual = Settings().as_environment()
    environment = {k: v for k, v in settings.changed(web_port=free_port()).as_environment().items() if usual.get(k) != v}
    argv = [sys.executable, "-m", "streams.cli", "worker"]
    return spawn(argv, {**environment, "PYTHONPATH": os.fspath(folder)}, log_path, name="worker", cwd=folder)


def state(settings: Settings, agent: str = "debtor") -> dict[tuple[int, str], bytes]:
    """All rows of an agent's brain, by partition and key."""
    partitions, topic = 1 if AGENTS[agent].is_single else settings.partitions, full_name(settings.prefix, f"{agent}-state")
    return {
        (partition, key): value
        for partition in range(partitions)
        for key, value in read_rows(settings.for_librdkafka(), topic, partition).items()
        if not is_engine_key(key)
    }


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What must never be lost: labels and cells by debtor, examples that the shared model was taught, facts that are known."""

    labels: dict[str, int]
    cells: dict[str, frozenset[str]]
    examples: frozenset[str]
    facts: frozenset[str]

    @property
    def count(self) -> int:
        """How much there is: labels and examples, 0 where there are none of one of them."""
        return min(sum(self.labels.values()), len(self.examples))

    def lost_since(self, before: Knowledge) -> list[str]:
        """What was there before and is gone, in words."""
        labels = [c for c, count in before.labels.items() if self.labels.get(c, 0) < count]
        cells = [c for c, names in before.cells.items() if not names <= self.cells.get(c, frozenset())]
        losses = {
            "labels": labels,
            "cells": cells,
            "examples": before.examples - self.examples,
            "facts": before.facts - self.facts,
        }
        return [f"{what} of {sorted(names)[:5]}" for what, names in losses.items() if names]


def read_knowledge(settings: Settings) -> Knowledge:
    rows = state(settings)
    labels: dict[str, int] = {}
    cells: dict[str, frozenset[str]] = {}
    for (_, key), value in rows.items():
        customer, row_key = split_key(key)
        if row_key == SCORE:
            score = msgspec.json.decode(value)
            labels[customer], cells[customer] = score.get("labels", 0), frozenset(score.get("cells", {}))
    facts = frozenset(key for _, key in rows if split_key(key)[1][:2] in {"i/", "p/"})
    examples = frozenset(key for _, key in state(settings, "learner") if key.startswith("taught/"))
    return Knowledge(labels, cells, examples, facts)


def balances(settings: Settings) -> dict[str, Decimal]:
    """What each debtor owes, by its header."""
    owed: dict[str, Decimal] = {}
    for (_, key), value in state(settings).items():
        customer, row_key = split_key(key)
        if customer and row_key == HEADER:
            header = decode(row_key, value)
            assert isinstance(header, Header)
            owed[customer] = sum((b.open_amount - b.unapplied for b in header.balances.values()), Decimal(0))
    return owed


def is_steady(read: Callable[[], object], seconds: float) -> bool:
    before = read()
    time.sleep(seconds)
    return read() == before


@dataclass(eq=False)
class Update:
    """A deployment that is updated and rolled back: its workers, and what it had learned when that was last looked at."""

    settings: Settings
    folder: Path
    knowledge: Knowledge
    workers: dict[str, tuple[Child, Path]] = field(default_factory=dict)

    def start(self, name: str, code: Path) -> None:
        log_path = self.folder / f"{name}.log"
        self.workers[name] = worker_of(code, self.settings, log_path), log_path

    def stop(self, name: str) -> int:
        return self.workers[name][0].stop(30)

    def log_path(self, name: str) -> Path:
        return self.workers[name][1]

    def partitions(self, name: str) -> set[int]:
        return holds(self.log_path(name))

    def check_nothing_is_lost(self) -> None:
        now = read_knowledge(self.settings)
        assert now.lost_since(self.knowledge) == []
        self.knowledge = now

    def kill_all(self) -> None:
        for worker, _ in self.workers.values():
            worker.kill()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_update_and_a_rollback_under_load_lose_nothing_that_was_learned(
    kafka: KafkaBroker, tmp_path: Path, code_before_formats: Path
) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    load = LedgerLoad(settings)
    load.send_history()
    update = Update(settings, tmp_path, read_knowledge(settings))
    try:
        update.start("old", code_before_formats)
        wait_for(lambda: len(update.partitions("old")) == 4, 120)
        load.start()
        wait_for(lambda: read_knowledge(settings).count >= 800, 180, 1.0)
        assert formats(settings) == {None} == formats(settings, "learner")
        update.check_nothing_is_lost()
        go_over_to_this_version(update)
        roll_back(update, code_before_formats)
        go_on_with_this_version(update, load)
    finally:
        load.ended.set()
        update.kill_all()
    assert_runs_join(settings)
    assert balances(settings) == load.owed()


def go_over_to_this_version(update: Update) -> None:
    """A worker of this version joins, each has its share; then the old one goes."""
    present = AGENTS["debtor"].row_format
    update.start("new", ROOT)
    wait_for(lambda: formats(update.settings) == {None, present}, 120)
    update.check_nothing_is_lost()
    time.sleep(3)
    update.check_nothing_is_lost()
    assert update.stop("old") == 0
    wait_for(lambda: len(update.partitions("new")) == 4 and formats(update.settings) == {present}, 120)
    wait_for(lambda: None not in formats(update.settings, "learner"), 120)
    update.check_nothing_is_lost()


def roll_back(update: Update, code: Path) -> None:
    """The version before cannot read where the partitions stand: beside a worker of this one, and alone, it writes nothing."""
    settings = update.settings
    update.start("back", code)
    wait_for(lambda: refused_partitions(update.log_path("back")), 120)
    update.check_nothing_is_lost()
    assert update.stop("new") == 0
    wait_for(lambda: len(refused_partitions(update.log_path("back"))) == 4, 120)
    assert is_steady(lambda: (state(settings), state(settings, "learner"), positions(settings)), 8.0)
    assert update.partitions("back") == set()
    update.check_nothing_is_lost()


def go_on_with_this_version(update: Update, load: LedgerLoad) -> None:
    """It goes on where it was, beside the old worker and without it, and applies all that has waited."""
    update.start("new again", ROOT)
    wait_for(lambda: len(update.partitions("new again")) >= 2, 120)
    assert update.stop("back") in {0, 1}
    wait_for(lambda: len(update.partitions("new again")) == 4, 120)
    load.stop()
    wait_for(lambda: read_knowledge(update.settings).facts == load.facts(), 120, 1.0)
    update.check_nothing_is_lost()
    assert formats(update.settings) == {AGENTS["debtor"].row_format}
    assert update.stop("new again") == 0


def refused_partitions(log_path: Path) -> set[int]:
    """The partitions of debtors that a worker from before formats could not take over, by its log."""
    lines = [line for line in log_path.read_text().splitlines() if "takeover.failed" in line and "agent=debtor" in line]
    return {int(line.partition("partition=")[2].split()[0]) for line in lines if "a newer duewatch wrote this" in line}
