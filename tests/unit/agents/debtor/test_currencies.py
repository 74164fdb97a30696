"""Amounts in currencies of no, two and three decimals: what came in is what is owed, decided on, and told, to the last unit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from agents.debtor.limits.decide import override_limit
from agents.debtor.limits.state import Limit
from schemas.base import parse_amount
from schemas.events.clock import ContextSet
from schemas.events.decisions import DecisionMade
from schemas.events.envelope import Event
from schemas.events.rates import RatesPublished
from streams.kafka import codec
from tests.support.builders import Life, context, day, event, invoice, payment


def override(n: int, limit: str) -> Event:
    """A person sets the limit."""
    return event(
        DecisionMade(
            customer_id="c-1", decision_id=f"d{n}", subject="limit", action="override", owner="ada", decided_on=day(n),
            new_limit=Decimal(limit), currency="KWD", expires_on=day(n + 90),
        ),
        n,
    )  # fmt: skip


CASES = [
    pytest.param("KWD", "1234.567", "0.007", "1234.560", id="three decimals"),
    pytest.param("KWD", "12.340", "12.339", "0.001", id="the smallest unit is left"),
    pytest.param("EUR", "1234.56", "0.06", "1234.50", id="two decimals"),
    pytest.param("JPY", "123456", "123455", "1", id="no decimals"),
]


@pytest.mark.parametrize(("currency", "amount", "payment_amount", "rest"), CASES)
def test_what_is_owed_is_exact(currency: str, amount: str, payment_amount: str, rest: str) -> None:
    life = Life(context(currency=currency))
    life.tell(invoice("i1", 0, amount=amount, currency=currency), payment("p1", 1, {"i1": payment_amount}, currency=currency))
    assert life.rejections == []
    balance = life.row("").balances[currency]
    assert (balance.open_amount, balance.exposure, life.row("i/i1").open) == (Decimal(rest), Decimal(rest), Decimal(rest))
    life.tell(payment("p2", 2, {"i1": rest}, currency=currency))
    assert life.row("i/i1").closed == "settled"


def test_an_alert_tells_the_exposure_to_the_last_unit() -> None:
    life = Life(context(currency="KWD"))
    life.tell(override(0, "100.125"), invoice("i1", 1, amount="1234.567", currency="KWD"))
    assert life.bodies("limit-changes")[-1].new_limit == Decimal("100.125")
    (alert,) = (a for a in life.bodies("alerts") if a.alert_type == "over_limit")
    assert alert.exposure == Decimal("1234.567")
    assert "1,234.567 KWD is above the limit of 100.125 KWD" in alert.reasons[0].text
    assert "1.234,567 KWD" in alert.reasons[0].text_de
    assert b'"exposure":"1234.567"' in codec.json_of(alert)


def test_a_converted_sum_is_rounded_to_the_smallest_unit_of_the_policys_currency() -> None:
    policy = context(currency="KWD").policy
    rates = RatesPublished(base="KWD", valid_from=day(0), rates={"EUR": Decimal("0.3333")})
    life = Life(ContextSet(version="test", policy=policy, rates=rates))
    life.tell(override(0, "100"), invoice("i1", 1, amount="100000.01", currency="EUR"))
    (alert,) = (a for a in life.bodies("alerts") if a.alert_type == "over_limit")
    assert alert.exposure == Decimal("33330.003")


@pytest.mark.parametrize(("amount", "limit"), [("50000", "50000.00"), ("50000.120", "50000.12"), ("50000.125", "50000.125")])
def test_a_persons_limit_is_kept_as_it_was_said(amount: str, limit: str) -> None:
    assert str(override_limit(Limit(generation=1), parse_amount(amount), 160).limit.amount) == limit
