"""Random lives of several debtors, told in any order that a broker could deliver: order holds within a topic and debtor only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from agents.brain import FoldResult, Received
from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import split_key
from schemas.base import Contract
from schemas.events import bank, customers, decisions, insolvency
from schemas.events import payments as p
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output
from tests.integration.support.ledgers import tangled
from tests.support.builders import START, at, context, event

DAYS = 200
FIRST = (date(2024, 1, 1) - START).days
"""The first day of the facts that ``tangled`` makes, in the builders' count of days."""
LAST = FIRST + DAYS + 10
END = LAST + 30
_DATES = ("issued_on", "paid_on", "cancelled_on", "written_off_on", "returned_on")


@dataclass(frozen=True, slots=True)
class TopicEvent:
    """An event in the topic that it came from."""

    topic: str
    event: Event


@dataclass(frozen=True, slots=True)
class Tick:
    """The clock at noon of a day."""

    day: int


Stream = Sequence[TopicEvent | Tick]
Queues = dict[tuple[str, str], list[TopicEvent]]
"""(customer, topic) -> its events in their order."""


def portfolio(rng: Random, debtors: int = 3) -> Queues:
    """What happens to some debtors."""
    queues: Queues = {}
    for number in range(debtors):
        customer = f"c-{number}"
        facts = tangled(rng.randrange(1 << 30), customer, DAYS)
        money = [_record_late(rng, fact, _day_of(fact)) for fact in facts]
        for topic, events in (
            ("payments", money + _around(rng, customer, facts)),
            ("bank-transactions", _bank(rng, customer)),
            ("insolvency-events", _notices(rng, customer)),
            ("customers", _master(rng, customer)),
            ("decisions", _decisions(rng, customer)),
        ):
            # Mostly in the order in which they were recorded; a sender's queue mixes some of them up.
            events.sort(key=lambda e: e.recorded + timedelta(days=rng.choice((0, 0, 0, 0, 9))))
            queues[customer, topic] = [TopicEvent(topic, entry) for entry in events]
    return queues


def _day_of(fact: Any) -> int:
    day: date = next(getattr(fact, name) for name in _DATES if hasattr(fact, name))
    return (day - START).days


def _record_late(rng: Random, fact: Any, day: int) -> Event:
    """The fact as an event that is recorded on its day, or up to a month later."""
    return event(fact, min(day + rng.choice((0, 0, 0, 1, 3, 30)), LAST))


def _on(day: int) -> date:
    return START + timedelta(days=day)


def _around(rng: Random, customer: str, facts: list[Contract]) -> list[Event]:
    """Disputes and dunning letters about the invoices, in any order. They move no money."""
    events = []
    for n, invoice in enumerate(f for f in facts if isinstance(f, p.InvoiceIssued)):
        day, due = (invoice.due_on - START).days, invoice.due_on
        common: dict[str, Any] = {"customer_id": customer, "invoice_id": invoice.invoice_id, "dispute_id": f"D{n}"}
        if rng.random() < 0.4:
            events.append(_record_late(rng, p.DisputeOpened(**common, opened_on=due), day))
            events.append(_record_late(rng, p.DisputeClosed(**common, closed_on=due, outcome="rejected"), day))
        if rng.random() < 0.4:
            events.append(_record_late(rng, p.DunningSent(customer_id=customer, dunning_id=f"L{n}", level=1, sent_on=due), day))
    return events


def _bank(rng: Random, customer: str) -> list[Event]:
    level, events = rng.choice((500, 5_000)), []
    for week in range(0, DAYS, 7):
        if rng.random() < 0.02:
            level = max(level // 10, 10)
        amount = Decimal(rng.randrange(level // 2, level))
        common: dict[str, Any] = {"customer_id": customer, "transaction_id": f"B{week}", "currency": "EUR"}
        day = FIRST + week
        fact = bank.BankTransactionBooked(**common, amount=amount, booked_on=_on(day), balance_after=amount)
        events.append(_record_late(rng, fact, day))
    return events


def _notices(rng: Random, customer: str) -> list[Event]:
    events = []
    for n in range(rng.choice((0, 0, 1, 3))):
        day = FIRST + rng.randrange(DAYS)
        fact = insolvency.InsolvencyMatched(
            customer_id=customer,
            notice_id=f"N{n}",
            register="r",
            kind="k",
            stage=rng.choice(("petition", "preliminary", "opened", "plan", "closed", "dismissed", "none")),
            match=rng.choice(("certain", "certain", "possible")),
            published_on=_on(day),
            corrects=rng.choice((None, "N0")),
        )
        events.append(_record_late(rng, fact, day))
    return events


def _master(rng: Random, customer: str) -> list[Event]:
    days = [FIRST + rng.randrange(DAYS) for _ in range(rng.randrange(3))]
    return [
        _record_late(rng, customers.CustomerUpdated(customer_id=customer, country=rng.choice(("DE", "FR"))), day) for day in days
    ]


def _decisions(rng: Random, customer: str) -> list[Event]:
    events = []
    for n in range(rng.randrange(6)):
        day = FIRST + rng.randrange(DAYS)
        action = rng.choice(("confirm", "reject", "acknowledge", "override"))
        limit: dict[str, Any] = {"new_limit": Decimal(rng.randrange(20_000)), "currency": "EUR", "expires_on": _on(day + 20)}
        fact = decisions.DecisionMade(
            customer_id=customer,
            decision_id=f"d{n}",
            subject=rng.choice(("review", f"overdue:{customer}", f"insolvency:{customer}")),
            action=action,
            owner="jane",
            decided_on=_on(day),
            **(limit if action == "override" else {}),
        )
        events.append(_record_late(rng, fact, day))
    return events


def interleave(rng: Random, queues: Queues, *, twice: frozenset[str] = frozenset()) -> list[TopicEvent | Tick]:
    """One order of all events; each queue keeps its own order.

    Events whose id is in ``twice`` may come again later. Ticks come anywhere, their days go up, the last comes after everything.
    """
    remaining = {key: list(reversed(queue)) for key, queue in queues.items() if queue}
    stream: list[TopicEvent | Tick] = []
    while remaining:
        key = rng.choice(list(remaining))
        stream += (remaining[key].pop() for _ in range(min(rng.choice((1, 1, 2, 9)), len(remaining[key]))))
        if not remaining[key]:
            del remaining[key]
    for repeat in [item for item in stream if isinstance(item, TopicEvent) and item.event.id in twice and rng.random() < 0.2]:
        stream.insert(rng.randrange(stream.index(repeat) + 1, len(stream) + 1), repeat)
    days = sorted(rng.randrange(FIRST, LAST) for _ in range(rng.choice((0, 3, 20))))
    places = sorted(rng.randrange(len(stream) + 1) for _ in days)
    for day, place in reversed(list(zip(days, places, strict=True))):
        stream.insert(place, Tick(day))
    return [*stream, Tick(END)]


@dataclass
class Run:
    """A brain that folds a stream slice by slice, as the engine does: a slice is judged as of the tick applied before."""

    context: ContextSet = field(default_factory=context)
    brain: DebtorBrain = field(default_factory=DebtorBrain)
    outputs: list[Output] = field(default_factory=list)
    accepted: list[Event] = field(default_factory=list)
    rejected: list[tuple[Event, str]] = field(default_factory=list)
    duplicates: int = 0
    rows: dict[str, bytes] = field(default_factory=dict)
    """The state topic, compacted."""
    day: int | None = None
    forgotten: list[str] = field(default_factory=list)
    """Invoices whose row was deleted. Nothing here lives as long as the horizon, so there should be none."""

    def tell(self, slice_: Iterable[TopicEvent], tick: int | None = None) -> None:
        """Fold one slice: records, then perhaps a tick."""
        before = None if self.day is None else at(self.day)
        self.day = self.day if tick is None else tick
        received = [Received(entry.topic, 0, n, entry.event) for n, entry in enumerate(slice_)]
        now = None if self.day is None else at(self.day)
        result = self.brain.fold(received, now, self.context, replay=False, max_deadlines=1 << 30, previous_tick=before)
        self.brain.on_committed(result)
        self._take(received, result)

    def _take(self, received: list[Received], result: FoldResult) -> None:
        assert result.applied + result.duplicates + len(result.rejected) == len(received)
        self.outputs += result.outputs
        self.duplicates += result.duplicates
        rejections = [entry.event for entry, _ in result.rejected]
        self.rejected += [(entry.event, why.reason) for entry, why in result.rejected]
        if len(received) == 1 and result.applied:
            self.accepted += [entry.event for entry in received if entry.event not in rejections]
        for key, row in result.rows.items():
            if row is None:
                self.rows.pop(key, None)
                if split_key(key)[1].startswith("i/"):
                    self.forgotten.append(key)
            else:
                self.rows[key] = row

    def all(self, stream: Stream, size: int = 1, *, with_tick: bool = False) -> Run:
        """Fold the whole stream in slices of up to ``size`` records; ``with_tick``: a tick ends the slice before it."""
        pending: list[TopicEvent] = []
        for entry in stream:
            if isinstance(entry, TopicEvent):
                pending.append(entry)
                if len(pending) == size:
                    self.tell(pending)
                    pending = []
                continue
            if pending and not with_tick:
                self.tell(pending)
                pending = []
            self.tell(pending, entry.day)
            pending = []
        assert not pending, "a stream ends with a tick"
        return self

    def take_over(self) -> Run:
        """The run of another worker that takes over: it knows what was written, and nothing else."""
        brain = DebtorBrain()
        for key, row in self.rows.items():
            brain.restore(key, row)
        outputs, accepted, rejected = list(self.outputs), list(self.accepted), list(self.rejected)
        return replace(self, brain=brain, rows=dict(self.rows), outputs=outputs, accepted=accepted, rejected=rejected)

    def bodies(self, topic: str) -> list[Any]:
        return [output.data for output in self.outputs if output.topic == topic]
