"""Whether an event costs the same however many debtors there are, and however many open items one debtor has (in this process).

Microseconds of processor time per event, decoding and encoding included; the best of some rounds, each with new events. All sizes
take turns, so that a machine that slows down does so for all. With many debtors: four in five events are bank movements of any of
them, the others invoices and their payments. With many items: invoices and payments of the one debtor, in turn.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import SEPARATOR, split_key
from agents.debtor.state import encode as encode_row
from schemas.ids import stable_id
from streams.kafka.codec import encode
from streams.process.garbage import tune_for_many_rows
from tests.bench.figures import spread
from tests.bench.parts.react import micros
from tests.bench.rows import Templates, clone_rows, debtors_of, make_templates, name_of
from tests.bench.workload import SLICE, Cut, SourceRecord, Workload, decode_cut, load, load_size, source_record

ITEMS_A_DEBTOR = 7
EVENTS, ROUNDS = 5_000, 6
FEW = 200
"""Records of a slice, as they gather live. In one of 2,000, each of 1,000 debtors would come twice and be written once: that is
how full a slice is (a quarter of the cost), not how many debtors there are."""


def measure(folder: Path) -> dict[str, Any]:
    tune_for_many_rows()
    workload, size = load(folder), load_size(folder)
    clones = warm_up_debtors(workload, make_templates(workload))
    by_debtors = costs(workload, {count: of_debtors(workload, clones, count) for count in size.flat_debtors})
    by_items = costs(workload, {count: of_items(workload, clones, count) for count in size.flat_items})
    return {
        "us_by_debtors": {str(count): cost for count, cost in by_debtors.items()},
        "us_by_items": {str(count): cost for count, cost in by_items.items()},
        "flat_debtors": round(spread(list(by_debtors.values())), 2),
        "flat_items": round(spread(list(by_items.values())), 2),
    }


class Lane(NamedTuple):
    """A brain, and a function that makes its next event."""

    book: DebtorBrain
    event: Callable[[], SourceRecord]


def of_debtors(workload: Workload, clones: Templates, count: int) -> Lane:
    """A lane whose events are of any of so many debtors."""
    book, source = DebtorBrain(), Source(workload.ending)
    restore(book, clones, count)
    chance = random.Random(count)
    return Lane(book, lambda: source.next_event(name_of(chance.randrange(count))))


def warm_up_debtors(workload: Workload, clones: Templates) -> Templates:
    """Debtors that have had an event of each kind on the day that is measured: what only a day's first event costs is paid.

    With few debtors the first round would do it for all, with many every event would be a debtor's first.
    """
    book, source, count = DebtorBrain(), Source(workload.ending), len(clones.debtors)
    restore(book, clones, count)
    for customer in map(name_of, range(count)):
        apply(book, workload, [source.booking(customer), source.invoice(customer, keep=True), source.payment(*source.open.pop())])
    return clones._replace(debtors=debtors_of({key: encode_row(row) for key, row in book.rows() if split_key(key)[0]}))


def of_items(workload: Workload, clones: Templates, count: int) -> Lane:
    """A lane of one debtor, who has so many open items all the time."""
    book, source = DebtorBrain(), Source(workload.ending)
    restore(book, clones, 1)
    customer = name_of(0)
    for number in range(0, count, SLICE):
        apply(book, workload, [source.invoice(customer) for _ in range(min(SLICE, count - number))])
    source.open.clear()
    return Lane(book, lambda: source.pay_or_invoice(customer))


def restore(book: DebtorBrain, clones: Templates, debtors: int) -> None:
    """Load cloned rows into a brain, as a worker does that takes a partition over."""
    rows = clone_rows(clones, debtors, debtors * ITEMS_A_DEBTOR)
    own_rows = ((f"{customer}{SEPARATOR}{row_key}", value) for customer, row_key, value in rows)
    book.restore_snapshot(book.pack_snapshot(chain(clones.own, own_rows)))


def costs(workload: Workload, lanes: Mapping[int, Lane]) -> dict[int, float]:
    """Microseconds per event, of each lane's best round. The first, which finds everything cold, does not count."""
    gc.collect()
    rounds: dict[int, list[float]] = {count: [] for count in lanes}
    for _ in range(ROUNDS + 1):
        for count, (book, event) in lanes.items():
            events = [event() for _ in range(EVENTS)]
            began = time.process_time()
            for number in range(0, EVENTS, FEW):
                apply(book, workload, events[number : number + FEW])
            rounds[count].append(time.process_time() - began)
    return {count: micros(min(seconds[1:]), EVENTS) for count, seconds in rounds.items()}


def apply(book: DebtorBrain, workload: Workload, events: Sequence[SourceRecord]) -> None:
    """Fold one slice and keep it. Raises ValueError when the brain refuses an event: refusing costs less."""
    received = decode_cut(Cut(0, list(enumerate(events)), None), partitions=1)
    result = book.fold(received, workload.ending, workload.context, replay=False)
    if result.rejected:
        raise ValueError(result.rejected[0][1].reason)
    for output in result.outputs:
        encode(output)
    book.on_committed(result)


@dataclass
class Source:
    """Makes events of one moment. ``open``: (debtor, invoice) of those that are not paid yet."""

    at: datetime
    number: int = 0
    open: list[tuple[str, str]] = field(default_factory=list)

    def next_event(self, customer: str) -> SourceRecord:
        self.number += 1
        if self.number % 5:
            return self.booking(customer)
        return self.pay_or_invoice(customer)

    def pay_or_invoice(self, customer: str) -> SourceRecord:
        return self.payment(*self.open.pop()) if self.open else self.invoice(customer, keep=True)

    def booking(self, customer: str) -> SourceRecord:
        day = self.at.date().isoformat()
        body = {"transaction_id": self._id("T"), "amount": "-812.50", "currency": "EUR", "booked_on": day, "valued_on": day}
        details = {"status": "booked", "remittance": "suppliers, rent, taxes", "account_iban": "DE02120300000000202051"}
        return self._event("bank-transactions", "bank_transaction.booked", customer, body | details)

    def invoice(self, customer: str, *, keep: bool = False) -> SourceRecord:
        invoice_id = self._id("R")
        if keep:
            self.open.append((customer, invoice_id))
        issued_on, due_on = self.at.date(), self.at.date() + timedelta(days=30)
        body = {"invoice_id": invoice_id, "amount": "1250.00", "currency": "EUR", "terms_days": 30}
        dates = {"issued_on": issued_on.isoformat(), "due_on": due_on.isoformat()}
        return self._event("payments", "invoice.issued", customer, body | dates)

    def payment(self, customer: str, invoice_id: str) -> SourceRecord:
        body = {"payment_id": self._id("Z"), "amount": "1250.00", "currency": "EUR", "paid_on": self.at.date().isoformat()}
        return self._event(
            "payments", "payment.received", customer, body | {"allocations": [{"invoice_id": invoice_id, "amount": "1250.00"}]}
        )

    def _id(self, kind: str) -> str:
        self.number += 1000
        return f"{kind}-{stable_id('bench', kind, self.number)[:13]}"

    def _event(self, topic: str, kind: str, customer: str, body: dict[str, Any]) -> SourceRecord:
        at = self.at.isoformat().replace("+00:00", "Z")
        attributes = {"specversion": "1.0", "id": stable_id("bench", kind, self.number), "type": f"duewatch.{kind}.v1"}
        attributes |= {"source": "bench", "time": at, "recordedtime": at, "subject": customer, "partitionkey": customer}
        headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
        headers.append(("content-type", b"application/json"))
        return source_record(topic, customer.encode(), orjson.dumps({"customer_id": customer, **body}), headers, partitions=1)
