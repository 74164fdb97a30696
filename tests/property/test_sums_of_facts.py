"""What a debtor owes follows from the set of facts, whatever the order in which they come, and equals the plain reference."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import hypothesis.strategies as st
from hypothesis import given, settings

from agents.brain import Received
from agents.debtor.brain import DebtorBrain
from agents.debtor.handlers.table import HANDLERS
from agents.debtor.keys import POSTPONED, kind_of
from agents.debtor.payments.state import Balance, Item
from agents.debtor.state import Header
from schemas.events.envelope import Event
from schemas.events.payments import InvoiceWrittenOff, RecoveryReceived, WriteOffReversed
from schemas.ids import content_hash
from schemas.registry import CONTRACTS
from tests.property.support.ledger_reference import Fact, amounts
from tests.property.support.ledgers import FIRST, RandomLedger
from tests.support.builders import context

TYPES = {contract: name for name, contract in CONTRACTS.items()}
LAST = FIRST + timedelta(days=65)
"""After every value date."""


def event_of(fact: Fact, recorded: datetime | None = None) -> Event:
    at = recorded or fact.recorded
    body = fact.data.model_dump_json().encode()
    return Event(content_hash(body), TYPES[type(fact.data)], "test", at, at, fact.data, content=content_hash(body))


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def failed_row_of(failure: str) -> str:
    """The row of a deadline that failed; nothing but a postponed fact that contradicts what is known may fail."""
    row_key, _, error = failure.removeprefix("deadline ").partition(" of C-1: ")
    assert kind_of(row_key) == POSTPONED and error.startswith("PostponedFactError: "), failure
    return row_key


def postponed_row_of(event: Event) -> str:
    return HANDLERS[type(event.data)].postponed_key_of(event)


class Debtor:
    """A debtor's brain that is given events one by one; what it refuses for its order is sent again until nothing moves."""

    def __init__(self) -> None:
        self.brain = DebtorBrain()
        self.waiting: list[Event] = []
        self.failed: set[str] = set()
        """Row keys of the postponed facts that could not be applied by the last ``send``; they are tried again the next day."""

    def send(self, events: list[Event], now: datetime | None = None) -> None:
        self.failed = set()
        rejected = self._fold([*events, *self.waiting], now)
        while len(rejected) < len(self.waiting) + len(events):
            events, self.waiting = [], rejected
            rejected = self._fold(rejected, now)
            if len(rejected) == len(self.waiting):
                break
        self.waiting = rejected

    def _fold(self, events: list[Event], now: datetime | None) -> list[Event]:
        received = [Received("payments", 0, n, event) for n, event in enumerate(events)]
        result = self.brain.fold(received, now, context(), replay=False, max_deadlines=1 << 30)
        self.brain.on_committed(result)
        self.failed.update(map(failed_row_of, result.failures))
        assert not [why for _, why in result.rejected if "duewatch failed" in why.reason]
        return [r.event for r, _ in result.rejected]

    @property
    def balance(self) -> Balance:
        headers = [row for _, row in self.brain.rows() if isinstance(row, Header)]
        return headers[0].balances.get("EUR", Balance()) if headers else Balance()

    def open_items(self) -> dict[str, Decimal]:
        return {key.partition("i/")[2]: row.open for key, row in self.brain.rows() if isinstance(row, Item) and row.open}


def expect_reference(debtor: Debtor, facts: list[Fact], day: date) -> None:
    reference, balance = amounts(facts, "EUR", day), debtor.balance
    sales = sum((amount for issued, amount in reference.net_sales.items() if issued > day - timedelta(90)), Decimal(0))
    assert debtor.open_items() == {i: amount for i, amount in reference.open.items() if amount}
    assert (balance.open_amount, balance.unapplied, balance.exposure, balance.disputed_amount, balance.sales_90d) == (
        reference.open_amount,
        reference.unapplied,
        reference.exposure,
        reference.disputed,
        sales,
    )
    assert balance.overdue == reference.overdue(day)


@settings(max_examples=2000)
@given(seed=st.integers(0, 10**9))
def test_any_order_of_arrival_and_any_duplicates_give_the_amounts_of_the_reference(seed: int) -> None:
    rng = Random(seed)
    facts = RandomLedger(rng).draw()
    events = [event_of(fact) for fact in facts]
    events += rng.choices(events, k=rng.randrange(4)) if events else []
    rng.shuffle(events)
    debtor = Debtor()
    for one_event in events:
        debtor.send([one_event])
        assert not debtor.failed
    debtor.send([], noon(LAST))
    assert not debtor.failed
    expect_reference(debtor, facts, LAST)


@settings(max_examples=300)
@given(seed=st.integers(0, 10**9))
def test_on_every_day_the_amounts_are_those_of_the_facts_whose_value_date_has_come(seed: int) -> None:
    """Facts are recorded on any day, also before their value date: they count from the value date on.

    One that contradicts on its day what is known by then (a write-off of an invoice that is settled, what takes back something
    that has not been told) is not told before a later try succeeds; in the end only write-offs of settled invoices are left,
    and what follows on them.
    """
    rng = Random(seed)
    facts = RandomLedger(rng).draw()
    days = {id(fact): FIRST + timedelta(days=rng.randrange(60)) for fact in facts}
    early = [Fact(fact.data, noon(days[id(fact)]) + timedelta(seconds=n)) for n, fact in enumerate(facts)]
    debtor = Debtor()
    for n in range((LAST - FIRST).days):
        day = FIRST + timedelta(days=n)
        debtor.send([event_of(fact) for fact in early if fact.recorded.date() == day], noon(day))
        refused = {event.content for event in debtor.waiting}
        due = [(fact, event_of(fact)) for fact in early if fact.recorded.date() <= day]
        failed = [fact for fact, event in due if postponed_row_of(event) in debtor.failed]
        assert len(failed) == len(debtor.failed)
        assert all(fact.day <= day for fact in failed)
        told = [fact for fact, event in due if event.content not in refused and postponed_row_of(event) not in debtor.failed]
        expect_reference(debtor, told, day)
    assert {type(fact.data) for fact in failed} <= {InvoiceWrittenOff, WriteOffReversed, RecoveryReceived}
