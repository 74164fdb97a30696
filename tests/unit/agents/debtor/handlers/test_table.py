"""Every event about a debtor has a handler, and a fact counts once, whatever its kind."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agents.debtor.handlers.table import HANDLERS, apply_event
from agents.debtor.keys import SEEN, kind_of
from agents.debtor.unit_of_work import UnitOfWork
from schemas.events.bank import BankBalanceReported, BankTransactionBooked
from schemas.events.customers import CustomerUpdated
from schemas.events.models import ModelPublished
from schemas.events.payments import DunningSent
from schemas.registry import DEBTOR_SOURCES, TOPICS
from tests.support.builders import Life, context, day, event, invoice, payment

SOURCES = sorted(
    {contract for topic in DEBTOR_SOURCES for contract in TOPICS[topic].contracts.values()}, key=lambda c: c.__name__
)


@pytest.mark.parametrize("contract", SOURCES, ids=lambda contract: contract.__name__)
def test_every_event_of_the_debtors_topics_has_a_handler(contract: type) -> None:
    assert contract in HANDLERS


def test_no_handler_is_for_an_event_that_no_topic_carries() -> None:
    assert set(HANDLERS) == set(SOURCES)


def test_the_rows_of_two_kinds_of_facts_never_have_the_same_key() -> None:
    prefixes = [handler.prefix for handler in HANDLERS.values() if handler.prefix]
    assert len(set(prefixes)) == len(prefixes)


def dunning(level: int) -> DunningSent:
    return DunningSent(customer_id="c-1", dunning_id="d/2026/1", level=level, sent_on=day(0))


def balance(amount: int) -> BankBalanceReported:
    return BankBalanceReported(customer_id="c-1", balance=Decimal(amount), currency="EUR", balance_on=day(0))


def booking(amount: int) -> BankTransactionBooked:
    return BankTransactionBooked(
        customer_id="c-1", transaction_id="t-1", amount=Decimal(amount), currency="EUR", booked_on=day(0), status="booked"
    )


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        pytest.param(
            invoice("i-1", 0), invoice("i-1", 0, amount="5.00"), "invoice i-1 is known with other content",
            id="an invoice, which is known by its own row",
        ),
        pytest.param(
            payment("p-1", 0, {}, amount="4.00"), payment("p-1", 0, {}, amount="5.00"), "payment p-1 is known with other content",
            id="a payment, which is known by its own row",
        ),
        pytest.param(
            event(dunning(1), 0), event(dunning(2), 0), "dunning d/2026/1 is known with other content",
            id="a dunning letter, which is known by a marker",
        ),
        pytest.param(
            event(balance(1), 0, id_="e-1"), event(balance(2), 0, id_="e-1"), "balance e-1 is known with other content",
            id="a bank balance, which is known by the event's id",
        ),
        pytest.param(
            event(booking(1), 0), event(booking(2), 0), "transaction t-1 is known with other content",
            id="a booking, which is known by a marker",
        ),
    ],
)  # fmt: skip
def test_a_fact_counts_once_and_a_contradiction_is_refused(first: Any, second: Any, reason: str) -> None:
    life = Life()
    life.tell(first, first, second)
    assert life.duplicates == 1
    assert [text.startswith(reason) for text in life.rejections] == [True]


def test_master_data_replaces_what_was_known() -> None:
    life = Life()
    before, after = (event(CustomerUpdated(customer_id="c-1", name="Muster", country=country), 0) for country in ("DE", "AT"))
    life.tell(before, before, after)
    assert (life.duplicates, life.rejections, life.row("").master.country) == (1, [], "AT")


def test_a_marker_is_forgotten_after_the_horizon() -> None:
    life = Life()
    life.tell(event(dunning(1), 0))
    marker = life.row("n/dunning/d/2026/1")
    assert marker.next_deadline == day(0).toordinal() + life.context.policy.horizon_days
    assert kind_of("n/dunning/d/2026/1") == SEEN


def test_an_event_that_is_not_about_a_debtor_is_refused() -> None:
    model = event(ModelPublished(version="1"), 0)
    reaction = apply_event(UnitOfWork("c-1", {}, model, context(), day(0).toordinal()), model)
    assert reaction is not None and reaction.rejection is not None
    assert (reaction.rejection.field, "is not an event about a debtor" in reaction.rejection.reason) == ("type", True)
