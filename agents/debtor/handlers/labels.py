"""What a debtor's invoices teach: labels as they mature, for its own rows and, as examples, for the shared model. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from agents.debtor.outputs import examples
from agents.debtor.payments import decide as payments
from agents.debtor.payments.state import Item
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.state import ROW_PREFIX, Cell, Features
from agents.debtor.unit_of_work import UnitOfWork


def cell_of(case: UnitOfWork) -> Callable[[str], Any]:
    """Looks up the debtor's amount cells by their keys."""
    return lambda key: case.get(ROW_PREFIX + key)


def learn_late(case: UnitOfWork, invoice_id: str, item: Item, label: int) -> Item:
    """Whether it was late (1) is known: the debtor's cells learn it at once, the shared model by an example."""
    features: Features | None = case.get(f"f/{invoice_id}")
    if features is None:
        return replace(item, late=label)
    active = scoring.activate(features, item.amount)
    early = 0 if item.open else item.closed_on - item.due
    learned = scoring.learn_late(active, label, case.day, case.score, cell_of(case), case.context.model, days_late=early)
    example = examples.late_example(case, invoice_id, item, label, active, learned)
    case.set_score(learned.score)
    for key, cell in learned.cells.items():
        case.put(ROW_PREFIX + key, cell)
    if label:
        case.put(f"f/{invoice_id}", scoring.first_interval(features, item.due, case.day))
    examples.send_example(case, example)
    case.rescore = True
    _sweep_cells(case)
    return replace(item, late=label)


def _sweep_cells(case: UnitOfWork) -> None:
    """Twice a year, forget amounts that did not come again."""
    day, score = case.day, case.score
    if not score.swept or day - score.swept > scoring.SWEEP_DAYS:
        if score.swept:
            for key, cell in case.rows(ROW_PREFIX):
                if isinstance(cell, Cell) and day - cell.day > scoring.KEEP_DAYS:
                    case.put(key, None)
        case.set_score(replace(score, swept=day))


def correct_label(case: UnitOfWork, invoice_id: str, label: int) -> None:
    """A payment was returned, or one that had come in time became known only later: the label that was learned was wrong."""
    item: Item | None = case.get(f"i/{invoice_id}")
    features: Features | None = case.get(f"f/{invoice_id}")
    if item is None or features is None or item.late != 1 - label:
        return
    active = scoring.activate(features, item.amount)
    score, cells = scoring.correct_late(active, label, case.score, cell_of(case))
    example = examples.corrected_example(case, invoice_id, item, label, active)
    case.set_score(score)
    for key, cell in cells.items():
        case.put(ROW_PREFIX + key, cell)
    case.put(f"f/{invoice_id}", scoring.first_interval(features, item.due, case.day) if label else replace(features, wake=0))
    case.put(f"i/{invoice_id}", replace(item, late=label))
    examples.send_example(case, example)
    case.rescore = True


def invoice_ages(case: UnitOfWork, row_key: str, features: Features) -> bool:
    """An interval after the due day has ended, or the time in which a defaulted amount may still come in."""
    invoice_id = row_key[2:]
    item: Item | None = case.get(f"i/{invoice_id}")
    if item is None or item.closed == "cancelled":
        case.put(row_key, None)
        return False
    if features.owed is not None:
        return _learn_loss(case, row_key, item, features)
    i = features.interval
    end = item.due + scoring.INTERVALS[i]
    if item.closed == "written_off":  # it left the risk set, and was not paid
        case.put(row_key, replace(features, wake=0))
        return False
    paid = int(not item.open and item.closed_on <= end)
    case.set_score(scoring.learn_interval(case.score, i, paid))
    example = examples.paid_example(case, invoice_id, item, paid, features)
    examples.send_example(case, example)
    case.put(row_key, replace(features, wake=0) if paid else scoring.next_interval(features, item.due))
    return False


def _learn_loss(case: UnitOfWork, row_key: str, item: Item, features: Features) -> bool:
    share = scoring.share_lost(features, item.amount - item.paid - item.credited)
    if share is not None:
        example = examples.loss_example(case, row_key[2:], item, share)
        examples.send_example(case, example)
    case.put(row_key, None)
    return False


def learn_default(case: UnitOfWork, invoice_id: str, item: Item, label: int) -> Item:
    """Whether it defaulted (1) is known; of what did, the work-out time begins in which some of it may still come in."""
    features: Features | None = case.get(f"f/{invoice_id}")
    if features is not None:
        keys = scoring.example_keys(features.risk, late=item.late != 0)
        if keys:
            example = examples.default_example(case, invoice_id, item, label, keys)
            examples.send_example(case, example)
        unpaid = item.amount - item.paid - item.credited
        if label and unpaid > 0:
            case.put(f"f/{invoice_id}", replace(features, owed=unpaid, wake=case.day + scoring.WORKOUT_DAYS))
        elif item.late >= 0:
            case.put(f"f/{invoice_id}", None)
    return payments.rewoken(replace(item, default=label), case.day, case.policy.alerts.overdue_days)
