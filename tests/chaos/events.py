"""What is fed in: a simulated portfolio, the kinds of event that it lacks, and resent, contradicting and broken records."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import orjson
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.base import format_time, parse_time
from schemas.events.policies import LimitRules, PolicyPublished
from schemas.ids import stable_id
from schemas.registry import TOPIC_OF_TYPE
from streams.connectors.records import Record, raw_record, record_of
from streams.kafka.producer import fenced_producer
from streams.kafka.topics import full_name
from streams.simulate import simulate
from tests.chaos.control import FIRST_DAY, FastClock

if TYPE_CHECKING:
    from confluent_kafka import Message

    from streams.settings import Settings

RESENT, RESENT_AS_ANOTHER, CONTRADICTED, BROKEN = 0.02, 0.005, 0.003, 0.004
TRANSACTION = 5
"""Records of a transaction upstream."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A record, and the simulated instant at which it is sent."""

    at: datetime
    record: Record


def plan(debtors: int, days: int, seed: int, bank_share: float = 1.0) -> list[Planned]:
    """All records of a run in the order in which they are sent."""
    chance = Random(f"events {seed}")
    events = [orjson.loads(event.line) for event in simulate(debtors, days, seed).events]
    events = [event for event in events if "bank_transaction" not in event["type"] or chance.random() < bank_share]
    planned = [_planned(event) for event in [*events, *_missing_kinds(events, chance)]]
    planned += [entry for event in events for entry in _noise(event, chance)]
    planned += _policies(days)
    return sorted(planned, key=lambda entry: entry.at)


def _planned(event: dict[str, Any], later: timedelta = timedelta()) -> Planned:
    attributes = {name: value for name, value in event.items() if name != "data"}
    at = parse_time(event["recordedtime"])
    return Planned(at + later, record_of(TOPIC_OF_TYPE[event["type"]], attributes, event["data"], at.date()))


def _missing_kinds(events: list[dict[str, Any]], chance: Random) -> Iterator[dict[str, Any]]:
    """What the simulated portfolio lacks or has little of."""
    for event in events:
        data = event["data"]
        match event["type"]:
            case "duewatch.invoice.written_off.v1":
                body = {"recovery_id": f"rec-{data['invoice_id']}", "invoice_id": data["invoice_id"]}
                yield _after(event, "recovery.received", 5, "recovered_on", amount="12.50", currency="EUR", **body)
            case "duewatch.payment.received.v1" if chance.random() < 0.03:
                money = {"amount": data["amount"], "currency": data["currency"]}
                body = {"return_id": f"ret-{data['payment_id']}", "payment_id": data["payment_id"]}
                yield _after(event, "payment.returned", 3, "returned_on", **money, **body)
            case "duewatch.invoice.issued.v1" if chance.random() < 0.12:
                yield from _of_invoice(event, chance)


def _of_invoice(event: dict[str, Any], chance: Random) -> Iterator[dict[str, Any]]:
    data = event["data"]
    invoice, money = data["invoice_id"], {"amount": data["amount"], "currency": data["currency"]}
    match chance.randrange(6):
        case 0:
            yield _after(event, "invoice.cancelled", 6, "cancelled_on", invoice_id=invoice)
        case 1:
            body = {"credit_note_id": f"cn-{invoice}", "allocations": [{"invoice_id": invoice, "amount": "1.00"}]}
            yield _after(event, "credit_note.issued", 4, "issued_on", amount="1.00", currency=data["currency"], **body)
        case 2:
            yield _after(event, "dispute.opened", 3, "opened_on", dispute_id=f"dis-{invoice}", invoice_id=invoice)
            closed = {"dispute_id": f"dis-{invoice}", "invoice_id": invoice, "outcome": "withdrawn"}
            yield _after(event, "dispute.closed", 12, "closed_on", **closed)
        case 3:
            yield _after(event, "invoice.written_off", 20, "written_off_on", invoice_id=invoice)
            body = {"recovery_id": f"rec-{invoice}", "invoice_id": invoice}
            yield _after(event, "recovery.received", 30, "recovered_on", **money, **body)
        case 4:
            body = {"decision_id": f"dec-{invoice}", "subject": "review", "owner": "chaos"}
            yield _after(event, "decision.made", 8, "decided_on", action=chance.choice(("confirm", "reject")), **body)
        case _:
            body = {"decision_id": f"dec-{invoice}", "subject": "limit", "owner": "chaos", "action": "override"}
            until = (parse_time(event["recordedtime"]) + timedelta(days=40)).date().isoformat()
            more = {"new_limit": "7500.00", "currency": "EUR", "expires_on": until}
            yield _after(event, "decision.made", 8, "decided_on", **body, **more)


def _after(cause: dict[str, Any], kind: str, days: int, dated: str, **body: Any) -> dict[str, Any]:
    """An event some days after another, of the same debtor."""
    at = parse_time(cause["recordedtime"]) + timedelta(days=days)
    customer = cause["data"]["customer_id"]
    return {
        **cause,
        "id": stable_id("chaos", kind, cause["id"], days),
        "type": f"duewatch.{kind}.v1",
        "time": format_time(at),
        "recordedtime": format_time(at),
        "data": {"customer_id": customer, dated: at.date().isoformat(), **body},
    }


def _noise(event: dict[str, Any], chance: Random) -> Iterator[Planned]:
    """The same again, the same as another event, other content under the same id, and records that nobody can apply."""
    later = timedelta(hours=chance.choice((1, 30, 24 * 9)))
    if chance.random() < RESENT:
        yield _planned(event, later)
    if chance.random() < RESENT_AS_ANOTHER:
        yield _planned({**event, "id": stable_id("again", event["id"])}, later)
    if chance.random() < CONTRADICTED and "amount" in event["data"]:
        yield _planned({**event, "data": {**event["data"], "amount": "77777.00"}}, later)
    if chance.random() < BROKEN:
        yield _broken(event, later, chance)


def _broken(event: dict[str, Any], later: timedelta, chance: Random) -> Planned:
    good = _planned(event, later)
    match chance.randrange(4):
        case 0:
            return Planned(good.at, raw_record("payments", b"{" + event["id"].encode(), good.record.day))
        case 1:
            return Planned(good.at, good.record._replace(headers=[]))
        case 2:
            return Planned(good.at, good.record._replace(key=b"somebody else"))
        case _:
            return _planned({**event, "id": stable_id("bad", event["id"]), "data": {**event["data"], "customer_id": None}}, later)


def _policies(days: int) -> Iterator[Planned]:
    """The deployment begins to observe; after a quarter of the time it acts, and half-way other limits come into force."""
    for version, day, limits in (("chaos-2", days // 4, None), ("chaos-3", days // 2, LimitRules(review_days=14))):
        at = FIRST_DAY + timedelta(days=day, hours=12)
        yield Planned(at, policy_record(version, at, "act", limits))


def policy_record(version: str, at: datetime, action: Literal["observe", "act"], limits: LimitRules | None = None) -> Record:
    """The whole policy, as it comes into force."""
    policy = PolicyPublished(version=version, action=action, limits=limits or LimitRules())
    attributes = {
        "specversion": "1.0",
        "id": f"policy-{version}",
        "type": "duewatch.policy.published.v1",
        "source": "chaos",
        "partitionkey": "policy",
        "time": format_time(at),
        "recordedtime": format_time(at),
    }
    return record_of("credit-policies", attributes, policy.model_dump(mode="json"), at.date())


@dataclass(eq=False)
class Feeder(threading.Thread):
    """Sends what is planned when its instant has come; the broker may be away meanwhile."""

    settings: Settings
    planned: list[Planned]
    clock: FastClock
    sent: int = 0
    acknowledged: Counter[str] = field(default_factory=Counter)
    """By topic."""
    failed: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True, name="feeder")

    def run(self) -> None:
        config = {"partitioner": "murmur2_random", "enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 300_000}
        producer = Producer({**self.settings.for_librdkafka(), **config, "log_level": 0})
        for entry in self.planned:
            while (wait_s := self.clock.wait_s(entry.at)) > 0 and not self.ended.is_set():
                producer.poll(min(wait_s, 0.05))
            if self.ended.is_set():
                break
            self._send(producer, entry.record)
        producer.flush(300)

    def _send(self, producer: Producer, record: Record) -> None:
        self.sent += 1
        producer.produce(
            full_name(self.settings.prefix, record.topic),
            record.value,
            record.key,
            headers=list(record.headers) or None,
            on_delivery=self._on_report,
        )
        producer.poll(0)

    def _on_report(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acknowledged[str(message.topic()).removeprefix(f"{self.settings.prefix}-")] += 1
        else:
            self.failed.append(str(error))

    def stop(self) -> None:
        """Send nothing more; what is sent arrives."""
        self.ended.set()
        self.join()


def transact_upstream(settings: Settings, records: list[Record], *, aborts: bool) -> bool:
    """Somebody writes to the sources in a transaction, and aborts or commits it; False when the commit gave no answer.

    Raises KafkaException when the broker is away.
    """
    producer = fenced_producer(settings.for_librdkafka(), full_name(settings.prefix, "upstream"))
    producer.begin_transaction()
    for record in records:
        name = full_name(settings.prefix, record.topic)
        producer.produce(name, record.value, record.key, headers=list(record.headers) or None)
    producer.flush(20)
    time.sleep(0.5)  # open for a while: nothing behind it is stable
    if aborts:
        producer.abort_transaction(20)
        return True
    try:
        producer.commit_transaction(20)
    except KafkaException:
        return False
    return True
