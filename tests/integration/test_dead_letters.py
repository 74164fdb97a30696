"""Dead letters replayed through the small broker, worker, sink and ClickHouse: each is applied once, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
import pytest
from click.testing import CliRunner

from schemas.events import payments as p
from schemas.events.envelope import Event
from streams.cli.main import duewatch
from streams.clickhouse.query import ClickHouse, query
from streams.dead_letters import resend
from streams.dead_letters.resend import Correction
from streams.dead_letters.selection import DeadLetterEntry, Selection
from streams.kafka.codec import encode_event
from streams.kafka.producer import Headers, send_all
from streams.kafka.topics import create_topics
from streams.process.children import free_port, spawn
from streams.settings import Settings
from tests.integration.support.portfolio import read_all, wait_for
from tests.support.builders import event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streams.kafka.embedded import EmbeddedBroker

pytestmark = [pytest.mark.embedded, pytest.mark.slow]
PATIENCE_S = 60.0
TODAY = datetime.now(UTC).date()
"""The worker lives: what is recorded years ago would be too old to tell."""


def invoice(number: int, **changes: Any) -> Event:
    fact = p.InvoiceIssued(
        customer_id=f"C{number % 5}",
        invoice_id=f"I{number}",
        amount=Decimal(10),
        currency="EUR",
        issued_on=TODAY,
        due_on=TODAY,
    )
    return event_of(fact.model_copy(update=changes), f"e{number}")


def event_of(fact: Any, event_id: str) -> Event:
    now = datetime.now(UTC)
    return event(fact, 0, id_=event_id)._replace(time=now, recorded=now)


def as_sent(sent_event: Event) -> tuple[str, bytes, bytes, list[tuple[str, bytes]]]:
    value, headers = encode_event(sent_event)
    return "payments", (sent_event.customer_id or "").encode(), value, headers


def broken(number: int, **fields: Any) -> tuple[str, bytes, bytes, list[tuple[str, bytes]]]:
    """An invoice with fields that no contract takes."""
    topic, key, value, headers = as_sent(invoice(number))
    return topic, key, orjson.dumps({**orjson.loads(value), **fields}), headers


@dataclass
class Deployment:
    settings: Settings

    def command(self, *words: str) -> subprocess.Popen[bytes]:
        """In a process of its own, to be killed."""
        argv = [sys.executable, "-m", "streams.cli", "dead-letters", *words, "--data", str(self.settings.data_dir)]
        return subprocess.Popen(argv, env=os.environ | self.settings.as_environment(), stdout=subprocess.DEVNULL)

    def says(self, *words: str) -> str:
        """In this process: it starts faster."""
        argv = ["dead-letters", *words, "--data", str(self.settings.data_dir)]
        result = CliRunner(env=self.settings.as_environment()).invoke(duewatch, argv)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.output

    def sql(self, text: str) -> list[dict[str, Any]]:
        answer = query(text, self.settings.data_dir, None, "JSONEachRow")
        return [orjson.loads(line) for line in answer.splitlines() if line]

    def number(self, text: str) -> int:
        return int(self.sql(text)[0]["n"])

    def wait(self, text: str, number: int) -> None:
        wait_for(lambda: self.number(text) == number, PATIENCE_S)

    def judged(self, number: int) -> None:
        """Wait until the worker has judged so many records."""
        self.wait("SELECT sum(applied + duplicates + rejected) AS n FROM journal WHERE agent = 'debtor'", number)

    def counts(self) -> dict[str, int]:
        sql = "SELECT sum(applied) AS applied, sum(duplicates) AS duplicates FROM journal WHERE agent = 'debtor'"
        return {name: int(number) for name, number in self.sql(sql)[0].items()}


def settings_of(broker: EmbeddedBroker, folder: Path) -> Settings:
    settings = Settings(prefix=f"d{uuid4().hex[:8]}", clickhouse=f"chdb://{folder}/clickhouse", data_dir=folder, tick_seconds=0.3)
    settings = settings.on_embedded_broker(broker.bootstrap)
    create_topics(settings)
    return settings


@pytest.fixture
def deployed(embedded_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Deployment]:
    settings = settings_of(embedded_broker, tmp_path)
    with ExitStack() as started:
        for name in ("worker", "sink"):
            own = settings.changed(web_port=free_port())
            argv = [sys.executable, "-m", "streams.cli", name]
            # Killed in the end: what they would still finish is of no use to anybody.
            started.callback(spawn(argv, own.as_environment(), tmp_path / f"{name}.log", name=name).kill)
        wait_for((tmp_path / "sink.json").exists, PATIENCE_S)
        yield Deployment(settings)


def test_mended_and_unchanged_letters_are_applied_once_also_when_replayed_twice(deployed: Deployment) -> None:
    payment = p.PaymentReceived(customer_id="C0", payment_id="P1", amount=Decimal(10), currency="EUR", paid_on=TODAY)
    back = p.PaymentReturned(
        customer_id="C0", return_id="R1", payment_id="P1", amount=Decimal(4), currency="EUR", returned_on=TODAY
    )
    send_all(
        deployed.settings,
        [
            as_sent(invoice(0)),
            as_sent(invoice(1)),
            broken(2, amount="-5.00"),
            broken(3, currency="XXL"),
            as_sent(event_of(back, "back")),  # its payment is not known yet
            as_sent(event_of(payment, "paid")),
            ("payments", b"C0", b"{broken", as_sent(invoice(4))[3]),
        ],
    )
    deployed.judged(7)
    deployed.wait("SELECT count() AS n FROM dead_letters WHERE state = 'open'", 4)
    assert deployed.number("SELECT count() AS n FROM events") == 3

    # What a person tries first: all of them as they are. Only the return is taken by now, its payment has come.
    dry = deployed.says("replay", "--all", "--dry-run")
    assert "1 would be sent, 3 still refused, 0 not sent again" in dry, dry
    assert "1 sent, 3 still refused" in deployed.says("replay", "--all")
    assert "0 sent, 3 still refused" in deployed.says("replay", "--all")
    assert "1 sent" in deployed.says("replay", "--reason", "above zero", "--set", "amount=12.50")
    [letter] = [line.split()[0] for line in deployed.says("list", "--field", "currency").splitlines()]
    assert "1 sent" in deployed.says("replay", letter, "--set", "currency=USD")
    deployed.judged(10)
    deployed.wait("SELECT count() AS n FROM dead_letters WHERE state = 'replayed'", 3)
    assert "replayed as payments/" in deployed.says("replay", letter, "--set", "currency=USD")

    assert deployed.counts() == {"applied": 6, "duplicates": 0}
    ids = deployed.sql("SELECT id, count() AS n FROM events GROUP BY id ORDER BY id")
    assert [(row["id"], int(row["n"])) for row in ids] == [(name, 1) for name in ("back", "e0", "e1", "e2", "e3", "paid")]
    assert len(deployed.says("list", "--open").splitlines()) == 1
    for row in deployed.sql("SELECT replayed_as, event_id FROM dead_letters WHERE state = 'replayed'"):
        topic, partition, offset = row["replayed_as"].split("/")
        where = f"topic = '{topic}' AND partition = {partition} AND offset = {offset}"
        assert deployed.sql(f"SELECT id FROM events WHERE {where}") == [{"id": row["event_id"]}]  # noqa: S608


def test_a_command_that_is_killed_half_way_and_run_again_applies_each_once(deployed: Deployment) -> None:
    """And each that is refused again after it went out is a dead letter of its own, from which it goes on."""
    many = 60
    send_all(deployed.settings, [as_sent(invoice(n)) for n in range(2 * many)])
    send_all(deployed.settings, [broken(1_000 + n, currency="XXL") for n in range(many)])
    send_all(deployed.settings, [as_sent(event_of(invoice(0, amount=Decimal(77)).data, "other content"))])
    deployed.wait("SELECT count() AS n FROM dead_letters", many + 1)

    killed = deployed.command("replay", "--all", "--set", "currency=EUR")
    time.sleep(2.5)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    output = deployed.says("replay", "--all", "--set", "currency=EUR")
    assert "0 still refused" in output, output
    deployed.wait("SELECT count() AS n FROM dead_letters WHERE state = 'replayed'", many)
    # The decoder takes it, the debtor knows its invoice with another amount: refused again, under a letter of its own.
    deployed.wait("SELECT count() AS n FROM dead_letters WHERE state = 'refused again'", 1)
    assert deployed.number("SELECT count() AS n FROM dead_letters WHERE state = 'open'") == 1
    assert deployed.counts() == {"applied": 3 * many, "duplicates": 0}
    assert deployed.number("SELECT count() AS n FROM events") == 3 * many
    assert deployed.number("SELECT toUInt64(sum(open_amount)) AS n FROM debtors") in {0, 30 * many}, "before a tick: no debtors"


def test_what_went_out_before_a_kill_is_found_in_the_topic_before_clickhouse_knows_it(
    embedded_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(embedded_broker, tmp_path)
    letters = []
    for n in range(7):
        topic, key, value, headers = as_sent(invoice(n))
        letters.append(DeadLetterEntry(str(uuid4()), topic, 0, n, "refused by an older version", None, key, value, headers, "0"))
    monkeypatch.setattr(resend, "select", lambda *_: letters)
    monkeypatch.setattr(resend, "sink_positions", lambda *_: {})

    def dies_after_three(
        settings: Settings, records: Iterable[tuple[str, bytes | None, bytes, Headers]], arrived: Callable[[], None]
    ) -> None:
        send_all(settings, list(records)[:3], arrived)
        raise KeyboardInterrupt

    monkeypatch.setattr(resend, "send_all", dies_after_three)
    with pytest.raises(KeyboardInterrupt):
        resend.resend(settings, Selection(), Correction(), ClickHouse(None, None))
    monkeypatch.setattr(resend, "send_all", send_all)
    for summary in ("4 sent, 0 still refused, 3 not sent again", "0 sent, 0 still refused, 7 not sent again"):
        assert resend.resend(settings, Selection(), Correction(), ClickHouse(None, None))[0][-1] == summary
    ids = [dict(message.headers() or [])["ce_replayof"].decode() for message in read_all(settings, "payments")]  # type: ignore[union-attr]
    assert sorted(ids) == sorted(letter.id for letter in letters)
