"""What movements and balances of a debtor's bank account change at once. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from agents.debtor.bank import decide as banking
from agents.debtor.unit_of_work import UnitOfWork
from schemas.events.bank import BankBalanceReported, BankTransactionBooked
from schemas.events.envelope import Rejection


def book_transaction(uow: UnitOfWork, fact: BankTransactionBooked, _content: str) -> Rejection | None:
    """A movement adds to its week; one that is only announced does not."""
    if fact.status == "booked":
        is_return = fact.return_reason is not None
        bank = banking.book(
            uow.header.bank, fact.amount, fact.currency, fact.booked_on.toordinal(), is_return, fact.balance_after
        )
        if (
            bank.next_deadline and bank.next_deadline <= uow.day
        ):  # the first movement lies in the past: judge from the running week on
            bank = replace(bank, week=banking.monday(uow.day), next_deadline=banking.monday(uow.day) + 7)
        uow.set(bank=bank)
    return None


def report_balance(uow: UnitOfWork, fact: BankBalanceReported, _content: str) -> Rejection | None:
    uow.set(bank=banking.report_balance(uow.header.bank, fact.balance, fact.currency, fact.balance_on.toordinal()))
    return None
