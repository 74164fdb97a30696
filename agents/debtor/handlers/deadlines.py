"""What the deadline of a row means for its debtor: labels and ageing, sales that leave the window, what is forgotten. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from agents.debtor import views
from agents.debtor.handlers import labels
from agents.debtor.handlers.table import apply_postponed
from agents.debtor.keys import HEADER, currency_and_day_of, id_of
from agents.debtor.payments import decide as payments
from agents.debtor.payments.posting import DEFAULT_DAY, next_deadline_of
from agents.debtor.payments.state import CreditNote, Item, Payment, PostponedFact, SalesDay, SeenMarker
from agents.debtor.scoring.state import Features
from agents.debtor.state import Row
from agents.debtor.unit_of_work import Deadline, UnitOfWork


def is_forgotten(row: Row | None) -> bool:
    """Whether a row's deadline is the end of the time for which it is remembered: nothing follows from forgetting it."""
    if isinstance(row, Item):
        return not row.open and row.late >= 0 and row.default >= 0 and row.next_deadline >= row.expires
    return isinstance(row, Payment | CreditNote | SeenMarker) or (isinstance(row, SalesDay) and not row.in_window)


def fire(uow: UnitOfWork, deadline: Deadline) -> bool:
    """Apply a deadline; tells whether anything can follow from it for score, limit or alerts."""
    row = uow.get(deadline.row_key)
    if isinstance(row, Item):
        _age_item(uow, deadline.row_key, row)
    elif isinstance(row, SalesDay):
        return _age_sales(uow, deadline.row_key, row)
    elif isinstance(row, Features):
        return labels.follow_up(uow, deadline.row_key, row)
    elif isinstance(row, PostponedFact):
        apply_postponed(uow, deadline.row_key, row)
    # The header's own deadlines (a week of bank movements, a review, a hold) are judged by react, whatever the cause.
    return True


def _age_item(uow: UnitOfWork, row_key: str, item: Item) -> None:
    """Labels that mature, and ageing, of one invoice."""
    day, invoice_id, overdue_days = uow.day, id_of(row_key), uow.policy.alerts.overdue_days
    if item.late < 0 and day > item.due:
        item = _learn_late(uow, invoice_id, item)
    was_counted = item.counted_overdue
    item, balance = payments.age_item(item, uow.balance(item.currency), uow.ledger)
    if item.counted_overdue and not was_counted:
        uow.set(overdue_ids=(*uow.header.overdue_ids, invoice_id)[-3:])
    if item.default < 0 and day >= item.due + DEFAULT_DAY:
        # At this delay for good and bad alike: were the bad ones learned as soon as they are known, they would outrun the good.
        is_default = (item.defaulted_early or bool(item.open)) and views.is_material(uow, item)
        item = (
            replace(item, default=payments.VOID)
            if item.disputes
            else labels.learn_default(uow, invoice_id, item, int(is_default))
        )
    uow.set_balance(item.currency, balance)
    uow.put(row_key, replace(item, next_deadline=next_deadline_of(item, day, overdue_days)))


def _learn_late(uow: UnitOfWork, invoice_id: str, item: Item) -> Item:
    """At the end of the due day: late is what is owed beyond unapplied cash and the tolerance; in dispute it teaches nothing."""
    if item.disputes:
        return replace(item, late=payments.VOID)
    if item.open:
        is_late = payments.uncovered(item, uow.balance(item.currency)) > uow.tolerance(item)
    else:
        is_late = item.closed_on > item.due
    return labels.learn_late(uow, invoice_id, item, int(is_late))


def _age_sales(uow: UnitOfWork, row_key: str, sales: SalesDay) -> bool:
    """A day of sales leaves the window of 90 days; later it is forgotten."""
    currency, issue_day = currency_and_day_of(row_key)
    balance = uow.balance(currency)
    balance = replace(balance, sales_90d=balance.sales_90d - sales.amount)
    uow.set_balance(currency, balance)
    expires = max(issue_day + uow.policy.horizon_days, uow.day + 1)
    uow.put(row_key, replace(sales, in_window=False, next_deadline=expires))
    # Less sales move no alert, and the limit only at its next review: nothing else follows today.
    uow.put(HEADER, uow.header)
    return False
