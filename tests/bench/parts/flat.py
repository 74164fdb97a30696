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
from agents.debtor.state import encode as written
from schemas.ids import stable_id
from streams.kafka.codec import encode
from streams.process.garbage import tune_for_many_rows
from tests.bench.figures import spread
from tests.bench.parts.react import us
from tests.bench.rows import Templates, cloned, debtors_of, name_of, templates
from tests.bench.workload import SLICE, Cut, Sent, Workload, decoded, load, load_size, sent

ITEMS_A_DEBTOR = 7
EVENTS, ROUNDS = 5_000, 6
FEW = 200
"""Records of a slice, as they gather live. In one of 2,000, each of 1,000 debtors would come twice and be written once: that is
how full a slice is (a quarter of the cost), not how many debtors there are."""


def measure(folder: Path) -> dict[str, Any]:
    tune_for_many_rows()
    made, size = load(folder), load_size(folder)
    given = seasoned(made, templates(made))
    by_debtors = costs(made, {count: of_debtors(made, given, count) for count in size.flat_debtors})
    by_items = costs(made, {count: of_items(made, given, count) for count in size.flat_items})
    return {
        "us_by_debtors": {str(count): cost for count, cost in by_debtors.items()},
        "us_by_items": {str(count): cost for count, cost in by_items.items()},
        "flat_debtors": round(spread(list(by_debtors.values())), 2),
        "flat_items": round(spread(list(by_items.values())), 2),
    }


class Lane(NamedTuple):
    """A book, and what makes its next event."""

    book: DebtorBrain
    event: Callable[[], Sent]


def of_debtors(made: Workload, given: Templates, count: int) -> Lane:
    """Events of any of so many debtors."""
    book, source = DebtorBrain(), Source(made.ending)
    restore(book, given, count)
    chance = random.Random(count)
    return Lane(book, lambda: source.mixed(name_of(chance.randrange(count))))


def seasoned(made: Workload, given: Templates) -> Templates:
    """Debtors behind an event of each kind at the moment of all that follow: what only a day's first one brings is done.

    With few debtors the first round would do it for all, with many every event would be a debtor's first.
    """
    book, source, count = DebtorBrain(), Source(made.ending), len(given.debtors)
    restore(book, given, count)
    for customer in map(name_of, range(count)):
        apply(book, made, [source.booking(customer), source.invoice(customer, keep=True), source.payment(*source.open.pop())])
    return given._replace(debtors=debtors_of({key: written(row) for key, row in book.rows() if split_key(key)[0]}))


def of_items(made: Workload, given: Templates, count: int) -> Lane:
    """Events of one debtor, who has so many open items all the time."""
    book, source = DebtorBrain(), Source(made.ending)
    restore(book, given, 1)
    customer = name_of(0)
    for number in range(0, count, SLICE):
        apply(book, made, [source.invoice(customer) for _ in range(min(SLICE, count - number))])
    source.open.clear()
    return Lane(book, lambda: source.pay_or_invoice(customer))


def restore(book: DebtorBrain, given: Templates, debtors: int) -> None:
    """As a worker that takes a partition over."""
    rows = cloned(given, debtors, debtors * ITEMS_A_DEBTOR)
    theirs = ((f"{customer}{SEPARATOR}{row_key}", value) for customer, row_key, value in rows)
    book.restore_all(book.prepare(chain(given.own, theirs)))


def costs(made: Workload, lanes: Mapping[int, Lane]) -> dict[int, float]:
    """Microseconds per event, of each lane's best round. The first, which finds everything cold, does not count."""
    gc.collect()
    rounds: dict[int, list[float]] = {count: [] for count in lanes}
    for _ in range(ROUNDS + 1):
        for count, (book, event) in lanes.items():
            events = [event() for _ in range(EVENTS)]
            began = time.process_time()
            for number in range(0, EVENTS, FEW):
                apply(book, made, events[number : number + FEW])
            rounds[count].append(time.process_time() - began)
    return {count: us(min(spent[1:]), EVENTS) for count, spent in rounds.items()}


def apply(book: DebtorBrain, made: Workload, events: Sequence[Sent]) -> None:
    """One slice. Raises ValueError when the brain refuses an event: its cost would be another."""
    arrived = decoded(Cut(0, list(enumerate(events)), None), partitions=1)
    folded = book.fold(arrived, made.ending, made.context, replay=False)
    if folded.rejected:
        raise ValueError(folded.rejected[0][1].reason)
    for output in folded.outputs:
        encode(output)
    book.keep(folded)


@dataclass
class Source:
    """Makes events of one moment. ``open``: invoices that were made and are not paid, with their debtor."""

    at: datetime
    number: int = 0
    open: list[tuple[str, str]] = field(default_factory=list)

    def mixed(self, customer: str) -> Sent:
        self.number += 1
        if self.number % 5:
            return self.booking(customer)
        return self.pay_or_invoice(customer)

    def pay_or_invoice(self, customer: str) -> Sent:
        return self.payment(*self.open.pop()) if self.open else self.invoice(customer, keep=True)

    def booking(self, customer: str) -> Sent:
        day = self.at.date().isoformat()
        body = {"transaction_id": self._id("T"), "amount": "-812.50", "currency": "EUR", "booked_on": day, "valued_on": day}
        more = {"status": "booked", "remittance": "suppliers, rent, taxes", "account_iban": "DE02120300000000202051"}
        return self._event("bank-transactions", "bank_transaction.booked", customer, body | more)

    def invoice(self, customer: str, *, keep: bool = False) -> Sent:
        invoice_id = self._id("R")
        if keep:
            self.open.append((customer, invoice_id))
        issued, due = self.at.date(), self.at.date() + timedelta(days=30)
        body = {"invoice_id": invoice_id, "amount": "1250.00", "currency": "EUR", "terms_days": 30}
        dates = {"issued_on": issued.isoformat(), "due_on": due.isoformat()}
        return self._event("payments", "invoice.issued", customer, body | dates)

    def payment(self, customer: str, invoice_id: str) -> Sent:
        body = {"payment_id": self._id("Z"), "amount": "1250.00", "currency": "EUR", "paid_on": self.at.date().isoformat()}
        return self._event(
            "payments", "payment.received", customer, body | {"allocations": [{"invoice_id": invoice_id, "amount": "1250.00"}]}
        )

    def _id(self, kind: str) -> str:
        self.number += 1000
        return f"{kind}-{stable_id('bench', kind, self.number)[:13]}"

    def _event(self, topic: str, kind: str, customer: str, body: dict[str, Any]) -> Sent:
        at = self.at.isoformat().replace("+00:00", "Z")
        attributes = {"specversion": "1.0", "id": stable_id("bench", kind, self.number), "type": f"duewatch.{kind}.v1"}
        attributes |= {"source": "bench", "time": at, "recordedtime": at, "subject": customer, "partitionkey": customer}
        headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
        headers.append(("content-type", b"application/json"))
        return sent(topic, customer.encode(), orjson.dumps({"customer_id": customer, **body}), headers, partitions=1)
