"""What the deadline of a row means for its debtor: labels and ageing, sales that leave the window, what is forgotten. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from agents.debtor import views
from agents.debtor.handlers import labels
from agents.debtor.payments import decide as payments
from agents.debtor.payments.state import Item, Payment, SalesDay, SeenMarker
from agents.debtor.scoring.state import Features
from agents.debtor.state import Row
from agents.debtor.unit_of_work import Deadline, UnitOfWork


def is_forgotten(row: Row | None) -> bool:
    """Whether a row's deadline is that of its horizon: nothing follows from forgetting."""
    if isinstance(row, Item):
        return not row.open and row.late >= 0 and row.default >= 0 and row.wake >= row.expires
    return isinstance(row, Payment | SeenMarker) or (isinstance(row, SalesDay) and not row.in_window)


def fire(case: UnitOfWork, wake: Deadline) -> bool:
    """Apply a deadline; tells whether anything can follow from it."""
    row = case.get(wake.row_key)
    if isinstance(row, Item):
        _item_due(case, wake.row_key, row)
    elif isinstance(row, SalesDay):
        return _sales_age(case, wake.row_key, row)
    elif isinstance(row, Features):
        return labels.invoice_ages(case, wake.row_key, row)
    # The header's own deadlines (a week of bank movements, a review, a hold) are judged by react, whatever the cause.
    return True


def _item_due(case: UnitOfWork, row_key: str, item: Item) -> None:
    """Labels that mature, and ageing, of one invoice."""
    day, invoice_id = case.day, row_key[2:]
    due = max(item.due, item.issued)
    if item.late < 0 and day > due:
        item = labels.learn_late(case, invoice_id, item, int(bool(item.open) or item.closed_on > due))
    balance = case.balance(item.currency)
    was_alerting = item.alerting
    item, balance = payments.age_item(item, balance, day, case.policy.alerts.overdue_days)
    if item.alerting and not was_alerting:
        case.set(overdue_ids=(*case.header.overdue_ids, invoice_id)[-3:])
    if item.default < 0 and day >= item.due + payments.DEFAULT_DAY:
        # At this delay for good and bad alike: learned as soon as they are known, the bad ones would outrun the good (D8).
        is_lost = item.lost or (bool(item.open) and views.is_material(case, item))
        item = labels.learn_default(case, invoice_id, item, int(is_lost))
    case.set_balance(item.currency, balance)
    case.put(row_key, replace(item, wake=payments.next_wake(item, day, case.policy.alerts.overdue_days)))


def _sales_age(case: UnitOfWork, row_key: str, sales: SalesDay) -> bool:
    """A day of sales leaves the window of 90 days; later it is forgotten."""
    _, currency, issued = row_key.split("/")
    balance = case.balance(currency)
    balance = replace(balance, sales_90d=balance.sales_90d - sales.amount)
    case.set_balance(currency, balance)
    forget = max(int(issued) + case.policy.horizon_days, case.day + 1)
    case.put(row_key, replace(sales, in_window=False, wake=forget))
    # Less sales move no alert, and the limit only at its next review: nothing else follows today.
    case.put("", case.header)
    return False
