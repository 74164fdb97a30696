"""Facts as records, and what they add up to by the plain reference, day by day: it shares nothing with the SQL."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from agents.debtor.payments.posting import bucket_of
from schemas.base import Contract, format_time
from schemas.clickhouse.rows import SinkRecord
from schemas.events import payments as p
from schemas.events.clock import Ticked
from schemas.registry import TOPICS
from tests.integration.support.dso import countback
from tests.property.support.ledger_reference import Fact, amounts

ZERO, CENT = Decimal(0), Decimal("0.01")
RECORDED = datetime(2026, 1, 1, tzinfo=UTC)
BUCKETS = ("not_due", "due_1_30", "due_31_60", "due_61_90", "due_over_90")
TYPES = {
    contract: name for topic in TOPICS.values() if topic.name != "clock-single" for name, contract in topic.contracts.items()
}


def record(
    data: Contract,
    event_id: str,
    *,
    topic: str = "payments",
    kind: str | None = None,
    recorded: datetime = RECORDED,
    key: str | None = None,
    partition: int = 0,
    offset: int = 0,
    prefix: str = "t",
) -> SinkRecord:
    """A record in binary mode, as our own producers write it."""
    at = format_time(recorded)
    told = {
        "id": event_id,
        "type": kind or TYPES[type(data)],
        "source": "test",
        "specversion": "1.0",
        "time": at,
        "recordedtime": at,
    }
    headers = [(f"ce_{name}", text.encode()) for name, text in told.items()]
    named = key if key is not None else getattr(data, "customer_id", "0")
    return SinkRecord(topic, partition, offset, named.encode(), data.model_dump_json().encode(), headers, prefix)


def tick(day: date, partition: int = 0, prefix: str = "t") -> SinkRecord:
    """The tick at the end of a day."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    return record(
        Ticked(number=1, time=at, ends={}), f"tick-{at}", topic="clock", partition=partition, recorded=at, prefix=prefix
    )


def as_records(facts: Iterable[Contract], tag: str = "e") -> list[SinkRecord]:
    return [record(fact, f"{tag}{n}", offset=n) for n, fact in enumerate(facts)]


def records_of(facts: Iterable[Fact], tag: str = "e") -> list[SinkRecord]:
    """Facts as they were recorded, in the order in which they are given."""
    return [record(fact.data, f"{tag}{n}", recorded=fact.recorded, offset=n) for n, fact in enumerate(facts)]


def highradius(path: Path) -> Iterator[Contract]:
    """The mapping ``highradius``."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            paid = date.fromisoformat(row["clear_date"])
            if row["dup_of_earlier_row"] == "1" or paid >= date(2020, 3, 1):
                continue
            issued = min(date.fromisoformat(row["est_issue_date"]), paid - timedelta(days=1))
            amount, invoice, customer = Decimal(row["total_open_amount"]), row["row_id"], row["cust_number"]
            due = date.fromisoformat(row["due_date"])
            yield p.InvoiceIssued(
                customer_id=customer, invoice_id=invoice, amount=amount, currency="USD", issued_on=issued, due_on=due
            )
            yield p.PaymentReceived(
                customer_id=customer,
                payment_id=f"p{invoice}",
                amount=amount,
                currency="USD",
                paid_on=paid,
                allocations=(p.Allocation(invoice_id=invoice, amount=amount),),
            )


def tangled(seed: int, customer: str, days: int = 200) -> list[Contract]:
    """Everything that can happen to invoices, in every order: early, twice, too much, undone, void."""
    rng = random.Random(seed)
    first = date(2024, 1, 1)

    def day() -> date:
        return first + timedelta(days=rng.randrange(days))

    def money() -> Decimal:
        return Decimal(rng.randrange(1, 50_000)) / 100

    ids = [f"I{n}" for n in range(rng.randrange(1, 9))]
    facts: list[Contract] = []
    for invoice in ids:
        issued = day()
        if rng.random() < 0.9:
            facts.append(
                p.InvoiceIssued(
                    customer_id=customer,
                    invoice_id=invoice,
                    amount=money(),
                    currency=rng.choice(["EUR", "EUR", "USD"]),
                    issued_on=issued,
                    due_on=issued + timedelta(days=rng.randrange(-3, 60)),
                )
            )
        if rng.random() < 0.25:
            facts.append(p.InvoiceCancelled(customer_id=customer, invoice_id=invoice, cancelled_on=day()))
        if rng.random() < 0.25:
            facts.append(p.InvoiceWrittenOff(customer_id=customer, invoice_id=invoice, written_off_on=day()))
    for n in range(rng.randrange(12)):
        facts += _money_in(rng, customer, ids, n, day(), money, day)
    rng.shuffle(facts)
    return facts


def _money_in(rng: random.Random, customer: str, ids: list[str], n: int, on: date, money: Any, day: Any) -> list[Contract]:
    parts = [p.Allocation(invoice_id=rng.choice(ids), amount=money()) for _ in range(rng.randrange(4))]
    rest = money() if rng.random() < 0.5 or not parts else ZERO
    total = sum((part.amount for part in parts), rest)
    common: dict[str, Any] = {"customer_id": customer, "amount": total, "currency": rng.choice(["EUR", "EUR", "USD"])}
    if rng.random() < 0.25:
        return [p.CreditNoteIssued(**common, credit_note_id=f"N{n}", issued_on=on, allocations=tuple(parts))]
    made: list[Contract] = [p.PaymentReceived(**common, payment_id=f"P{n}", paid_on=on, allocations=tuple(parts))]
    for r in range(rng.choice([0, 0, 1, 2])):
        back = common | {"amount": (total * rng.choice([1, 3, 5]) / 10).quantize(CENT) or CENT}
        made.append(p.PaymentReturned(**back, return_id=f"R{n}-{r}", payment_id=f"P{n}", returned_on=day()))
    return made


@dataclass
class Oracle:
    """One debtor in one currency, as the plain reference has it; sales are net, as they are known on ``last``."""

    facts: list[Fact]
    currency: str
    last: date

    @cached_property
    def sales(self) -> dict[date, Decimal]:
        """Net sales by day of issue, restated by what was known on the last day."""
        return amounts(self.facts, self.currency, self.last).net_sales

    def on(self, day: date) -> dict[str, Decimal | None]:
        """The columns of debtor_daily, by name."""
        now = amounts(self.facts, self.currency, day)
        buckets = dict.fromkeys(BUCKETS, ZERO)
        for invoice_id, open_part in now.open.items():
            buckets[BUCKETS[bucket_of((day - now.due[invoice_id]).days)]] += open_part
        sold = sum((amount for issued, amount in self.sales.items() if day - timedelta(90) < issued <= day), ZERO)
        return {
            "exposure": now.exposure,
            "open_amount": now.open_amount,
            "unapplied": now.unapplied,
            "disputed_amount": now.disputed,
            "overdue_amount": now.overdue(day),
            **buckets,
            "sales_90d": sold,
            "dso_standard": _ratio(now.open_amount, sold),
            "dso_best_possible": _ratio(buckets["not_due"], sold),
            "dso_add": _ratio(now.overdue(day), sold),
            "dso_countback": self._countback(now.open_amount, day) if sold else None,
        }

    def _countback(self, open_amount: Decimal, day: date) -> Decimal | None:
        first = min(self.sales, default=day)
        periods = ((1, self.sales.get(day - timedelta(n), ZERO)) for n in range((day - first).days + 1))
        days = countback(open_amount, periods)
        return None if days is None else days.quantize(CENT, ROUND_HALF_UP)

    @property
    def first(self) -> date:
        """The first day on which money counts."""
        return min(fact.day for fact in self.facts if getattr(fact.data, "currency", "") == self.currency and _is_whole(fact))


def _is_whole(fact: Fact) -> bool:
    return isinstance(fact.data, p.InvoiceIssued | p.PaymentReceived | p.CreditNoteIssued)


def _ratio(part: Decimal, sales: Decimal) -> Decimal | None:
    return (part * 90 / sales).quantize(CENT, ROUND_HALF_UP) if sales else None


def as_facts(facts: Iterable[Contract]) -> list[Fact]:
    """Facts that were all recorded at once, as ``as_records`` sends them."""
    return [Fact(fact, RECORDED) for fact in facts]


def recompute(facts: Iterable[Fact], last: date) -> dict[tuple[str, str], Oracle]:
    """(customer, currency) -> what is known of it; ``last`` is the day of the last tick."""
    by_customer = defaultdict[str, list[Fact]](list)
    for fact in facts:
        by_customer[fact.data.customer_id].append(fact)
    return {
        (customer, currency): Oracle(own, currency, last)
        for customer, own in by_customer.items()
        for currency in sorted({fact.data.currency for fact in own if _is_whole(fact)})
    }
