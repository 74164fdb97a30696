"""Dates of a body, judged against the day on which it was recorded: what nobody can mean is told by the name of its field."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from schemas import generate
from schemas.base import Contract
from schemas.events.bank import BankTransactionBooked
from schemas.events.decisions import DecisionMade
from schemas.events.envelope import impossible_date
from schemas.events.payments import InvoiceIssued, PaymentReceived, PromiseMade
from schemas.events.rates import RatesPublished
from schemas.outputs.scores import ScoreComputed

EXAMPLES = generate.EXAMPLES
RECORDED = datetime(2026, 1, 20, 9, tzinfo=UTC)
DAY = RECORDED.date()
MONEY = {"customer_id": "c-1", "amount": "5.00", "currency": "EUR"}
BOOKING = {**MONEY, "transaction_id": "t", "booked_on": DAY, "status": "booked"}
DECISION = {"customer_id": "c-1", "decision_id": "d", "subject": "limit", "action": "override", "owner": "ada", "decided_on": DAY}

CASES: list[Any] = [
    pytest.param(PaymentReceived, {**MONEY, "payment_id": "p"}, "paid_on", 7, id="a payment"),
    pytest.param(InvoiceIssued, {**MONEY, "invoice_id": "i", "due_on": DAY}, "issued_on", 31, id="an issue"),
    pytest.param(InvoiceIssued, {**MONEY, "invoice_id": "i", "issued_on": DAY}, "due_on", 3660, id="a due day"),
    pytest.param(BankTransactionBooked, BOOKING, "valued_on", 7320, id="a value date"),
    pytest.param(
        PromiseMade, {**MONEY, "promise_id": "p", "invoice_id": "i", "made_on": DAY}, "promised_for", 7320, id="a promise"
    ),
    pytest.param(DecisionMade, {**DECISION, "new_limit": "5.00", "currency": "EUR"}, "expires_on", 7320, id="an end"),
    pytest.param(RatesPublished, {"base": "EUR", "rates": {}}, "valid_from", 7320, id="a rate"),
]


@pytest.mark.parametrize(("contract", "body", "field", "days"), CASES)
def test_a_date_lies_at_most_so_long_after_its_record(
    contract: type[Contract], body: dict[str, Any], field: str, days: int
) -> None:
    last = DAY + timedelta(days=days)
    assert impossible_date(contract.model_validate({**body, field: last.isoformat()}), RECORDED) is None
    for day in (last + timedelta(days=1), date(2099, 12, 31)):
        rejection = impossible_date(contract.model_validate({**body, field: day.isoformat()}), RECORDED)
        assert rejection is not None
        assert rejection.field == field
        assert rejection.reason.startswith(f"{field} {day} lies more than ")


@pytest.mark.parametrize("text", ["9999-12-31", "0001-01-01", "1989-12-31", "1899-12-30"])
@pytest.mark.parametrize(("contract", "body", "field", "days"), CASES)
def test_what_stands_for_no_date_is_refused(
    contract: type[Contract], body: dict[str, Any], field: str, days: int, text: str
) -> None:
    with pytest.raises(ValueError, match=rf"(?s){field}.*{text} is not a plausible business date"):
        contract.model_validate({**body, field: text})


def test_our_own_outputs_are_not_judged() -> None:
    example = json.loads((EXAMPLES / "duewatch.score.computed.v1" / "2-full.json").read_text())["data"]
    assert impossible_date(ScoreComputed.model_validate({**example, "due_date": "2099-01-01"}), RECORDED) is None
