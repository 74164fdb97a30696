"""A simulated portfolio keeps the rules of bookkeeping and of the contracts, and its truth shows in its events."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import orjson
import pytest

from schemas.events.envelope import Event
from schemas.registry import CONTRACTS, DEBTOR_SOURCES, TOPICS
from streams.kafka.codec import decode
from streams.replay.sources import read_sources
from streams.simulate import Portfolio, corrections, simulate
from streams.simulate.days import START, is_closed, next_open

DEBTORS, DAYS, SEED = 400, 365, 7
END = date.fromordinal(START + DAYS - 1)
NOT_SIMULATED = {
    f"duewatch.{kind}.v1" for kind in ("credit_note.allocated", "credit_note.cancelled", "invoice.amended", "write_off.reversed")
}
INSOLVENT = {"preliminary", "opened", "refused"}


@dataclass
class Books:
    """What the events say of one invoice, in the order of what happened."""

    amount: Decimal
    due: date
    customer_id: str
    settled: list[tuple[date, Decimal]] = field(default_factory=list)
    closed: date | None = None

    def open_on(self, day: date) -> Decimal:
        if self.closed is not None and self.closed <= day:
            return Decimal(0)
        return self.amount - self.settled_on(day)

    def settled_on(self, day: date) -> Decimal:
        return sum((amount for on, amount in self.settled if on <= day), Decimal(0))


@pytest.fixture(scope="module")
def portfolio() -> Portfolio:
    return simulate(DEBTORS, DAYS, SEED)


@pytest.fixture(scope="module")
def events(portfolio: Portfolio) -> list[dict[str, Any]]:
    return [orjson.loads(event.line) for event in portfolio.events]


@pytest.fixture(scope="module")
def truth(portfolio: Portfolio) -> dict[str, dict[str, Any]]:
    return {customer["customer_id"]: customer for customer in portfolio.truth["customers"]}


def _kind(event: dict[str, Any]) -> str:
    return ".".join(event["type"].split(".")[1:3])


def _happened(event: dict[str, Any]) -> date:
    return date.fromisoformat(event["time"][:10])


def _invoices(events: list[dict[str, Any]]) -> dict[str, Books]:
    found: dict[str, Books] = {}
    for event in events:
        data, kind = event["data"], _kind(event)
        if kind == "invoice.issued":
            found[data["invoice_id"]] = Books(Decimal(data["amount"]), date.fromisoformat(data["due_on"]), data["customer_id"])
        elif kind in {"invoice.cancelled", "invoice.written_off"}:
            found[data["invoice_id"]].closed = _happened(event)
        elif kind == "invoice.reinstated":
            found[data["invoice_id"]].closed = None
    return found


def _moves(event: dict[str, Any], settled: dict[str, list[dict[str, str]]]) -> list[tuple[int, dict[str, str]]]:
    """What an event adds to invoices (1) and takes off them (-1); ``settled``: the list in force of each payment."""
    data, kind = event["data"], _kind(event)
    if kind == "payment.returned":
        return [(-1, part) for part in data.get("allocations") or settled[data["payment_id"]]]
    if kind not in {"payment.received", "payment.allocated", "credit_note.issued"}:
        return []
    whole = data.get("payment_id") or data["credit_note_id"]
    before, settled[whole] = settled.get(whole, []), data["allocations"]
    return [*((-1, part) for part in before), *((1, part) for part in data["allocations"])]


@pytest.fixture(scope="module")
def books(events: list[dict[str, Any]]) -> dict[str, Books]:
    """Every invoice with what settles it."""
    found = _invoices(events)
    settled: dict[str, list[dict[str, str]]] = {}
    for event in events:
        for sign, part in _moves(event, settled):
            if part["invoice_id"] in found:  # a prepayment may be recorded by the end, its invoice not yet
                found[part["invoice_id"]].settled.append((_happened(event), sign * Decimal(part["amount"])))
    return found


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        simulate(15, 200, seed, tmp_path / name)
    files = {name: {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "abc"}
    assert files["a"] == files["b"]
    assert files["a"].keys() >= {"payments.jsonl", "customers.jsonl", "bank-transactions.jsonl", "truth.json"}
    assert files["a"]["payments.jsonl"] != files["c"]["payments.jsonl"]


def test_one_debtor_does_not_change_another(portfolio: Portfolio) -> None:
    few = simulate(10, DAYS, SEED)
    known = {customer["customer_id"] for customer in few.truth["customers"]}
    assert few.events == [e for e in portfolio.events if orjson.loads(e.line)["subject"] in known]


def test_what_is_written_is_read_as_events_that_keep_their_contracts(tmp_path: Path) -> None:
    portfolio = simulate(80, DAYS, SEED, tmp_path)
    records = read_sources([tmp_path])
    assert len(records) == len(portfolio.events)
    decoded = [decode(r.topic, r.key, r.value, r.headers) for r in records]
    assert [told for told in decoded if not isinstance(told, Event)] == []
    ours = {path.stem for path in tmp_path.glob("*.jsonl")}
    assert ours <= set(DEBTOR_SOURCES)


def test_every_field_that_is_written_is_one_of_the_contract(events: list[dict[str, Any]]) -> None:
    seen = {(event["type"], name) for event in events for name in event["data"]}
    assert [(kind, name) for kind, name in seen if name not in CONTRACTS[kind].model_fields] == []


def test_all_that_happens_to_invoices_happens(events: list[dict[str, Any]]) -> None:
    kinds = Counter(event["type"] for event in events)
    missing = {kind for kind in TOPICS["payments"].contracts if not kinds[kind]} - {"duewatch.recovery.received.v1"}
    assert missing == NOT_SIMULATED
    amounts = [
        (Decimal(e["data"]["amount"]), e["data"]["allocations"]) for e in events if e["type"] == "duewatch.payment.received.v1"
    ]
    allocated = [(amount, sum(Decimal(a["amount"]) for a in parts), len(parts)) for amount, parts in amounts]
    assert any(count > 1 for _, _, count in allocated), "a pay run settles several invoices at once"
    assert any(count and amount > total for amount, total, count in allocated), "over-paid"
    assert any(not count for *_, count in allocated), "unapplied"


def test_ids_are_unique_and_events_lie_within_the_days(events: list[dict[str, Any]]) -> None:
    assert Counter(event["id"] for event in events).most_common(1)[0][1] == 1
    first, last = date.fromordinal(START).isoformat(), END.isoformat()
    assert all(first <= event["recordedtime"][:10] <= last for event in events)
    assert all(event["time"] <= event["recordedtime"] for event in events)
    late = sum(event["time"][:10] < event["recordedtime"][:10] for event in events) / len(events)
    assert 0.01 < late < 0.05


def test_ids_do_not_tell_the_order_of_things(events: list[dict[str, Any]]) -> None:
    issued = [e["data"]["invoice_id"] for e in events if e["type"] == "duewatch.invoice.issued.v1"]
    rising = sum(a < b for a, b in pairwise(issued)) / len(issued)
    assert 0.47 < rising < 0.53


def test_no_invoice_is_settled_beyond_its_amount_for_long(events: list[dict[str, Any]], books: dict[str, Books]) -> None:
    """Only where the same is paid a second time, until that is noticed."""
    stated = Counter(
        part["invoice_id"] for e in events if e["type"] == "duewatch.payment.received.v1" for part in e["data"]["allocations"]
    )
    for invoice_id, book in books.items():
        for day in {on for on, _ in book.settled}:
            assert 0 <= book.settled_on(day) <= book.amount * (2 if stated[invoice_id] > 1 else 1)
        assert book.settled_on(END) <= book.amount


def test_corrections_are_as_frequent_as_the_module_states_and_change_no_truth(
    events: list[dict[str, Any]], books: dict[str, Books], truth: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_type: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        by_type[event["type"]].append(event["data"])
    named_returns = sum(bool(data.get("allocations")) for data in by_type["duewatch.payment.returned.v1"])
    lists = by_type["duewatch.payment.allocated.v1"]
    cleared = sum(bool(data["allocations"]) for data in lists)
    for count in (named_returns, cleared, len(lists) - 2 * cleared, len(by_type["duewatch.invoice.reinstated.v1"])):
        assert 0.007 < count / len(books) <= 0.025, "some are left out: no room before the due day, the end, another correction"
    for name in ("RETURNED_SHARE", "PAID_TWICE_SHARE", "CLEARED_ANEW_SHARE", "REINSTATED_SHARE"):
        monkeypatch.setattr(corrections, name, 0.0)
    plain = simulate(60, DAYS, SEED)
    assert plain.truth["customers"] == [truth[customer["customer_id"]] for customer in plain.truth["customers"]]
    ids = {event["id"] for event in events}
    assert {event.id for event in plain.events} <= ids


def test_money_moves_only_when_banks_are_open(events: list[dict[str, Any]]) -> None:
    paid = {e["data"]["paid_on"] for e in events if e["type"] == "duewatch.payment.received.v1"}
    prepaid = sum(is_closed(date.fromisoformat(day).toordinal()) for day in paid)
    assert prepaid < len(paid) / 3  # only advances, which a card or a platform may bring on any day


def overdue_90_days(books: dict[str, Books]) -> dict[str, date]:
    """Customer -> the first day on which EUR 500 are 90 days past due, as the events tell."""
    by_customer: defaultdict[str, list[Books]] = defaultdict(list)
    for book in books.values():
        by_customer[book.customer_id].append(book)
    found: dict[str, date] = {}
    for customer_id, items in by_customer.items():
        for day in sorted({book.due + timedelta(days=90) for book in items}):
            old = sum((b.open_on(day) for b in items if b.due + timedelta(days=90) <= day), Decimal(0))
            if day <= END and old >= 500:
                found[customer_id] = day
                break
    return found


def test_every_default_shows_on_its_day_and_nobody_else_defaults(
    events: list[dict[str, Any]], truth: dict[str, dict[str, Any]], books: dict[str, Books]
) -> None:
    shown: defaultdict[str, list[date]] = defaultdict(list)
    for customer_id, day in overdue_90_days(books).items():
        shown[customer_id].append(day)
    for event in events:
        data = event["data"]
        if event["type"] == "duewatch.insolvency.matched.v1" and data["match"] == "certain":
            false = truth[data["customer_id"]]["register_noise"]
            if data["stage"] in INSOLVENT or (data["stage"] == "petition" and not any(n.startswith("petition") for n in false)):
                shown[data["customer_id"]].append(date.fromisoformat(data["published_on"]))
        if event["type"] == "duewatch.invoice.written_off.v1":
            shown[data["customer_id"]].append(date.fromisoformat(data["written_off_on"]))
    expected = {c: date.fromisoformat(t["defaulted_on"]) for c, t in truth.items() if t["defaulted_on"]}
    assert {customer_id: min(days) for customer_id, days in shown.items()} == expected
    assert all(truth[customer_id]["fate"] in {"breaks", "cloaks"} for customer_id in expected)


def test_who_stops_paying_first_misses_what_the_truth_says(truth: dict[str, dict[str, Any]], books: dict[str, Books]) -> None:
    for customer_id, told in truth.items():
        if told["first_missed_due_on"] and told["defaulted_on"]:
            due = date.fromisoformat(told["first_missed_due_on"])
            assert any(
                b.customer_id == customer_id and b.due == due and b.open_on(END) + (b.closed is not None) > 0
                for b in books.values()
            )


def test_cash_falls_after_the_break_and_only_by_consent(events: list[dict[str, Any]], truth: dict[str, dict[str, Any]]) -> None:
    inflow: defaultdict[str, list[tuple[str, Decimal]]] = defaultdict(list)
    for event in events:
        if event["type"] == "duewatch.bank_transaction.booked.v1" and event["data"]["remittance"] == "receipts of customers":
            inflow[event["data"]["customer_id"]].append((event["data"]["booked_on"], Decimal(event["data"]["amount"])))
    assert {c for c, t in truth.items() if not t["bank_consent"]} & inflow.keys() == set()
    fell = []
    for customer_id, told in truth.items():
        if told["fate"] == "breaks" and told["cash_breaks_on"]:
            before = [a for day, a in inflow[customer_id] if day < told["cash_breaks_on"]][-8:]
            after = [a for day, a in inflow[customer_id] if day > told["cash_breaks_on"]][2:10]
            if len(before) == 8 and len(after) >= 3:
                fell.append(mean(after) < mean(before) * Decimal("0.8"))
    assert sum(fell) >= len(fell) * 0.8


def test_the_rates_are_those_that_the_module_states(
    portfolio: Portfolio, truth: dict[str, dict[str, Any]], books: dict[str, Books]
) -> None:
    defaults = portfolio.truth["defaults"] / DEBTORS * 1000
    assert 15 <= defaults <= 60
    assert 0.3 < sum(t["bank_consent"] for t in truth.values()) / DEBTORS < 0.5
    due = [b for b in books.values() if b.due <= END - timedelta(days=30)]
    late = sum(b.open_on(b.due) > 0 for b in due) / len(due)
    assert 0.40 < late < 0.60
    assert {t["fate"] for t in truth.values()} >= {"sound", "breaks", "cloaks", "dips"}


@pytest.mark.parametrize(
    ("day", "closed"),
    [("2024-03-29", True), ("2024-04-01", True), ("2024-05-20", True), ("2024-05-21", False), ("2024-06-01", True)],
)
def test_banks_are_closed_at_week_ends_and_at_easter_and_whitsun(day: str, closed: bool) -> None:
    ordinal = date.fromisoformat(day).toordinal()
    assert is_closed(ordinal) is closed
    assert not is_closed(next_open(ordinal))


def test_a_short_and_a_tiny_portfolio_work() -> None:
    assert simulate(1, 1, 1).truth["customers"][0]["begins_on"] == "2024-01-01"
    assert simulate(30, 10, 1).events
