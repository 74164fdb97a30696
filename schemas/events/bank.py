"""Topic ``bank-transactions``: movements and balances of a debtor's own account, read with the debtor's consent."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Self

from pydantic import model_validator

from schemas.base import Amount, BusinessDate, Contract, Currency, Id, Text, at_most_decimals, blame


class BankTransactionBooked(Contract):
    """A movement. ``amount`` is signed in the account owner's view: money in is positive.

    Only ``booked`` moves sums; ``pending`` and ``information`` are kept for the record.
    """

    customer_id: Id
    transaction_id: Id
    account_iban: Text | None = None
    amount: Amount
    currency: Currency
    booked_on: BusinessDate
    valued_on: BusinessDate | None = None
    status: Literal["booked", "pending", "information"] = "booked"
    counterparty_name: Text | None = None
    counterparty_iban: Text | None = None
    remittance: Text | None = None
    end_to_end_id: Text | None = None
    return_reason: Text | None = None
    balance_after: Amount | None = None

    @model_validator(mode="after")
    def _decimals(self) -> Self:
        at_most_decimals(self.amount, self.currency)
        if self.amount == Decimal(0):
            raise blame("amount", "a booking of 0 moves nothing: leave it out")
        if self.balance_after is not None:
            at_most_decimals(self.balance_after, self.currency, "balance_after")
        return self


class BankBalanceReported(Contract):
    """The balance of an account at the end of ``balance_on``; negative = overdrawn."""

    customer_id: Id
    account_iban: Text | None = None
    balance: Amount
    currency: Currency
    balance_on: BusinessDate

    @model_validator(mode="after")
    def _decimals(self) -> Self:
        at_most_decimals(self.balance, self.currency, "balance")
        return self
