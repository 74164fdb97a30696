"""What a debtor owes follows from the set of facts, whatever the order in which they come, and equals the plain reference."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import hypothesis.strategies as st
from hypothesis import given, settings

from agents.brain import Received
from agents.debtor.brain import DebtorBrain
from agents.debtor.payments.state import Balance, Item
from agents.debtor.state import Header
from schemas.events.envelope import Event
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


class Debtor:
    """A debtor's brain that is given events one by one; what it refuses for its order is sent again until nothing moves."""

    def __init__(self) -> None:
        self.brain = DebtorBrain()
        self.waiting: list[Event] = []

    def send(self, events: list[Event], now: datetime | None = None) -> None:
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
        assert result.failures == []
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
    debtor.send([], noon(LAST))
    expect_reference(debtor, facts, LAST)


@settings(max_examples=300)
@given(seed=st.integers(0, 10**9))
def test_on_every_day_the_amounts_are_those_of_the_facts_whose_value_date_has_come(seed: int) -> None:
    """Facts are recorded on any day, also before their value date: they count from the value date on."""
    rng = Random(seed)
    facts = RandomLedger(rng).draw()
    days = {id(fact): FIRST + timedelta(days=rng.randrange(60)) for fact in facts}
    early = [Fact(fact.data, noon(days[id(fact)]) + timedelta(seconds=n)) for n, fact in enumerate(facts)]
    debtor = Debtor()
    for n in range((LAST - FIRST).days):
        day = FIRST + timedelta(days=n)
        debtor.send([event_of(fact) for fact in early if fact.recorded.date() == day], noon(day))
        refused = {event.content for event in debtor.waiting}
        told = [fact for fact in early if fact.recorded.date() <= day and event_of(fact).content not in refused]
        expect_reference(debtor, told, day)
