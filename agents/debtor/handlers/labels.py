"""What a debtor's invoices teach: labels as they mature, for its own rows and, as examples, for the shared model. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from agents.debtor.keys import CELL_PREFIX, features_key, id_of, item_key
from agents.debtor.outputs import examples
from agents.debtor.payments.posting import with_next_deadline
from agents.debtor.payments.state import Item
from agents.debtor.scoring import cell_model, hazard
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.default import default_example_keys
from agents.debtor.scoring.state import Cell, Features
from agents.debtor.unit_of_work import UnitOfWork


def cell_of(uow: UnitOfWork) -> Callable[[str], Any]:
    """Looks up the debtor's amount cells by their keys."""
    return lambda key: uow.get(CELL_PREFIX + key)


def learn_late(uow: UnitOfWork, invoice_id: str, item: Item, label: int) -> Item:
    """An invoice was late (1) or in time (0): the debtor's cells learn it at once, the shared model by an example."""
    features: Features | None = uow.get(features_key(invoice_id))
    if features is None:
        return replace(item, late=label)
    active = cell_model.cell_keys_of(features, item.amount)
    days_late = 0 if item.open else item.closed_on - item.due
    lesson = cell_model.learn_late(active, label, uow.day, uow.score, cell_of(uow), uow.context.model, days_late=days_late)
    example = examples.late_example(uow, invoice_id, item, label, active, lesson)
    uow.set_score(lesson.score)
    for key, cell in lesson.cells.items():
        uow.put(CELL_PREFIX + key, cell)
    if label:
        uow.put(features_key(invoice_id), hazard.join_first_interval(features, item.due, uow.day))
    examples.send_example(uow, example)
    uow.needs_score = True
    _sweep_cells(uow)
    return replace(item, late=label)


def _sweep_cells(uow: UnitOfWork) -> None:
    """Twice a year, forget amounts that did not come again."""
    day, score = uow.day, uow.score
    if not score.swept or day - score.swept > cell_model.SWEEP_DAYS:
        if score.swept:
            for key, cell in uow.rows(CELL_PREFIX):
                if isinstance(cell, Cell) and day - cell.day > cell_model.KEEP_DAYS:
                    uow.put(key, None)
        uow.set_score(replace(score, swept=day))


def correct_label(uow: UnitOfWork, invoice_id: str, label: int) -> None:
    """A payment was returned, or one that had come in time became known only later: the label that was learned was wrong."""
    item: Item | None = uow.get(item_key(invoice_id))
    features: Features | None = uow.get(features_key(invoice_id))
    if item is None or features is None or item.late != 1 - label:
        return
    active = cell_model.cell_keys_of(features, item.amount)
    score, cells = cell_model.correct_late(active, label, uow.score, cell_of(uow))
    example = examples.corrected_example(uow, invoice_id, item, label, active)
    uow.set_score(score)
    for key, cell in cells.items():
        uow.put(CELL_PREFIX + key, cell)
    features = hazard.join_first_interval(features, item.due, uow.day) if label else replace(features, next_deadline=0)
    uow.put(features_key(invoice_id), features)
    uow.put(item_key(invoice_id), replace(item, late=label))
    examples.send_example(uow, example)
    uow.needs_score = True


def follow_up(uow: UnitOfWork, row_key: str, features: Features) -> bool:
    """After its due day: an interval has ended, or the time in which a defaulted amount may still come in. Only teaches."""
    invoice_id = id_of(row_key)
    item: Item | None = uow.get(item_key(invoice_id))
    if item is None or item.closed == "cancelled":
        uow.put(row_key, None)
        return False
    if features.owed is not None:
        return _learn_loss(uow, row_key, item, features)
    if item.closed == "written_off":  # it left the risk set, and was not paid
        uow.put(row_key, replace(features, next_deadline=0))
        return False
    interval = features.interval
    label = int(not item.open and item.closed_on <= item.due + hazard.INTERVALS[interval])
    uow.set_score(hazard.learn_interval(uow.score, interval, label))
    examples.send_example(uow, examples.paid_example(uow, invoice_id, item, label, features))
    uow.put(row_key, replace(features, next_deadline=0) if label else hazard.join_next_interval(features, item.due))
    return False


def _learn_loss(uow: UnitOfWork, row_key: str, item: Item, features: Features) -> bool:
    """The work-out time is over: what share of the defaulted amount never came."""
    share = scoring.share_lost(features, item.amount - item.paid - item.credited)
    if share is not None:
        examples.send_example(uow, examples.loss_example(uow, id_of(row_key), item, share))
    uow.put(row_key, None)
    return False


def learn_default(uow: UnitOfWork, invoice_id: str, item: Item, label: int) -> Item:
    """An invoice defaulted (1) or did not (0); after a default the work-out time begins in which some of it may still come in."""
    features: Features | None = uow.get(features_key(invoice_id))
    if features is not None:
        keys = default_example_keys(features.risk, late=item.late != 0)
        if keys:
            examples.send_example(uow, examples.default_example(uow, invoice_id, item, label, keys))
        unpaid = item.amount - item.paid - item.credited
        if label and unpaid > 0:
            uow.put(features_key(invoice_id), replace(features, owed=unpaid, next_deadline=uow.day + scoring.WORKOUT_DAYS))
        elif item.late >= 0:
            uow.put(features_key(invoice_id), None)
    return with_next_deadline(replace(item, default=label), uow.day, uow.policy.alerts.overdue_days)
