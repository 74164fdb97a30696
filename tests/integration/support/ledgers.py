"""Facts as records, and what they add up to by a plain recomputation, day by day, that shares nothing with the SQL."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from schemas.base import Contract, format_time
from schemas.clickhouse.rows import SinkRecord
from schemas.events import payments as p
from schemas.events.clock import Ticked
from schemas.registry import TOPICS

ZERO, CENT = Decimal(0), Decimal("0.01")
NEVER = date(2299, 12, 31)
TYPES = {
    contract: name for topic in TOPICS.values() if topic.name != "clock-single" for name, contract in topic.contracts.items()
}


def record(
    data: Contract,
    event_id: str,
    *,
    topic: str = "payments",
    kind: str | None = None,
    recorded: datetime = datetime(2026, 1, 1, tzinfo=UTC),
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
class _Invoice:
    amount: Decimal
    issued: date
    due: date


@dataclass
class Oracle:
    """One debtor in one currency."""

    invoices: dict[str, _Invoice] = field(default_factory=dict)
    moves: list[tuple[str, str, date, Decimal]] = field(default_factory=list)
    """(invoice or empty, payment or credit, day, amount with sign)."""
    cancelled: dict[str, date] = field(default_factory=dict)
    written_off: dict[str, date] = field(default_factory=dict)

    def on(self, day: date) -> dict[str, Decimal | None]:
        """The columns of debtor_daily, by name."""
        buckets = dict.fromkeys(("not_due", "due_1_30", "due_31_60", "due_61_90", "due_over_90"), ZERO)
        unapplied = ZERO
        moved: dict[str, list[tuple[str, str, date, Decimal]]] = {name: [] for name in self.invoices}
        for move in self.moves:
            moved.setdefault(move[0], []).extend([move] if move[2] <= day else [])
        for name, moves in moved.items():
            open_, free, bucket = self._invoice_on(name, day, moves)
            buckets[bucket] += open_
            unapplied += free
        open_amount = sum(buckets.values(), ZERO)
        overdue = open_amount - buckets["not_due"]
        sold = sum((i.amount for i in self.invoices.values() if day - timedelta(90) < i.issued <= day), ZERO)
        return {
            "exposure": open_amount - unapplied,
            "open_amount": open_amount,
            "unapplied": unapplied,
            "overdue_amount": overdue,
            **buckets,
            "sales_90d": sold,
            "dso_standard": _ratio(open_amount, sold),
            "dso_best_possible": _ratio(buckets["not_due"], sold),
            "dso_add": _ratio(overdue, sold),
            "dso_countback": self._countback(open_amount, day) if sold else None,
        }

    def _invoice_on(self, name: str, day: date, moved: list[tuple[str, str, date, Decimal]]) -> tuple[Decimal, Decimal, str]:
        paid = sum((m[3] for m in moved if m[1] == "payment"), ZERO)
        credited = sum((m[3] for m in moved if m[1] == "credit"), ZERO)
        if name == "":
            return -credited, paid, "not_due"
        invoice = self.invoices.get(name)
        if invoice is None or day < invoice.issued:
            return ZERO, paid + credited, "not_due"
        if day >= self.cancelled.get(name, NEVER):
            return ZERO, paid + max(credited - invoice.amount, ZERO), "not_due"
        free = max(paid + credited - invoice.amount, ZERO)
        if day >= self.written_off.get(name, NEVER):
            return ZERO, free, "not_due"
        late = (day - invoice.due).days
        bucket = "not_due" if late <= 0 else "due_1_30" if late <= 30 else "due_31_60" if late <= 60 else "due_61_90"
        return max(invoice.amount - paid - credited, ZERO), free, "due_over_90" if late > 90 else bucket

    def _countback(self, open_amount: Decimal, day: date) -> Decimal:
        left, days = open_amount, Decimal(0)
        if left <= 0:
            return Decimal("0.00")
        sales: dict[date, Decimal] = defaultdict(Decimal)
        for invoice in self.invoices.values():
            sales[invoice.issued] += invoice.amount
        while left > sales[day]:
            left -= sales[day]
            days += 1
            day -= timedelta(1)
        return (days + left / sales[day]).quantize(CENT, ROUND_HALF_UP)

    @property
    def first(self) -> date:
        return min([i.issued for i in self.invoices.values()] + [m[2] for m in self.moves])


def _ratio(part: Decimal, sales: Decimal) -> Decimal | None:
    return (part * 90 / sales).quantize(CENT, ROUND_HALF_UP) if sales else None


def recompute(facts: Iterable[Contract]) -> dict[tuple[str, str], Oracle]:
    """(customer, currency) -> what is known of it."""
    facts = list(facts)
    oracles: dict[tuple[str, str], Oracle] = defaultdict(Oracle)
    returns = [fact for fact in facts if isinstance(fact, p.PaymentReturned)]
    for fact in facts:
        if isinstance(fact, p.InvoiceIssued):
            oracles[fact.customer_id, fact.currency].invoices[fact.invoice_id] = _Invoice(
                fact.amount, fact.issued_on, fact.due_on
            )
        elif isinstance(fact, p.CreditNoteIssued):
            moves = [(name, "credit", fact.issued_on, amount) for name, amount in _slots(fact)]
            oracles[fact.customer_id, fact.currency].moves += moves
        elif isinstance(fact, p.PaymentReceived):
            oracles[fact.customer_id, fact.currency].moves += _payment_moves(fact, returns)
    closures = [fact for fact in facts if isinstance(fact, p.InvoiceCancelled | p.InvoiceWrittenOff)]
    for (customer, _), oracle in oracles.items():
        for fact in closures:
            if fact.customer_id == customer and isinstance(fact, p.InvoiceCancelled):
                oracle.cancelled[fact.invoice_id] = fact.cancelled_on
            elif fact.customer_id == customer and isinstance(fact, p.InvoiceWrittenOff):
                oracle.written_off[fact.invoice_id] = fact.written_off_on
    return oracles


def _slots(fact: p.PaymentReceived | p.CreditNoteIssued) -> list[tuple[str, Decimal]]:
    """The unallocated rest first, then the allocations in their order."""
    rest = fact.amount - sum((a.amount for a in fact.allocations), ZERO)
    return [("", rest), *((a.invoice_id, a.amount) for a in fact.allocations)]


def _payment_moves(fact: p.PaymentReceived, returns: list[p.PaymentReturned]) -> list[tuple[str, str, date, Decimal]]:
    slots = _slots(fact)
    moves = [(name, "payment", fact.paid_on, amount) for name, amount in slots]
    left = [slots[0], *reversed(slots[1:])]
    mine = [r for r in returns if (r.customer_id, r.currency, r.payment_id) == (fact.customer_id, fact.currency, fact.payment_id)]
    for back in sorted(mine, key=lambda r: (r.returned_on, r.return_id)):
        amount = back.amount
        for n, (name, there) in enumerate(left):
            taken = min(there, amount)
            left[n] = (name, there - taken)
            amount -= taken
            moves.append((name, "payment", max(back.returned_on, fact.paid_on), -taken))
    return moves
