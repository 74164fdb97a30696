"""Labels for the shared models: what an invoice taught, as the topic ``training-examples`` hands it to the learner."""

from __future__ import annotations

from datetime import date
from typing import Any

from agents.debtor.message_structs import struct_for
from agents.debtor.payments.state import Item
from agents.debtor.scoring.hazard import interval_keys
from agents.debtor.scoring.state import Features
from agents.debtor.scoring.state_model import whole_numbers
from agents.debtor.scoring.values import CellKeys, Learned
from agents.debtor.unit_of_work import UnitOfWork
from schemas.events.models import ExampleMatured
from schemas.ids import stable_id

_Example = struct_for(ExampleMatured)


def send_example(uow: UnitOfWork, example: ExampleMatured) -> None:
    """Hand an example to the learner; before ``live_from`` too, for what is learned then is no decision."""
    uow.send("training-examples", "duewatch.example.matured.v1", example, internal=True)


def _example(uow: UnitOfWork, target: str, invoice_id: str, item: Item, *numbers: str | int, **fields: Any) -> ExampleMatured:
    """A label of an invoice; ``numbers``: what tells its examples of one target apart."""
    return _Example(
        customer_id=uow.customer_id,
        example_id=stable_id("example", target, uow.customer_id, invoice_id, *numbers),
        invoice_id=invoice_id,
        target=target,
        scored_on=date.fromordinal(item.issued),
        matured_on=uow.today,
        **fields,
    )


def late_example(uow: UnitOfWork, invoice_id: str, item: Item, label: int, active: CellKeys, lesson: Learned) -> ExampleMatured:
    """The label *late* for the shared model, with the debtor's own part of the forecast and the features of its issue."""
    before, features = uow.score, active.features
    return _example(
        uow,
        "late",
        invoice_id,
        item,
        label=1 if label else 0,
        keys=active.shared,
        row_logit=lesson.row_logit,
        row_variance=lesson.row_variance,
        row_labels=before.labels,
        row_late=before.late,
        x=whole_numbers(features.vector),
        p=features.p_late,
    )


def corrected_example(uow: UnitOfWork, invoice_id: str, item: Item, label: int, active: CellKeys) -> ExampleMatured:
    """The right label of an invoice whose example was wrong."""
    return _example(
        uow,
        "late",
        invoice_id,
        item,
        uow.cause_id,
        label=label,
        keys=active.shared,
        x=whole_numbers(active.features.vector),
        p=active.features.p_late,
        corrects=stable_id("example", "late", uow.customer_id, invoice_id),
    )


def paid_example(uow: UnitOfWork, invoice_id: str, item: Item, label: int, features: Features) -> ExampleMatured:
    """Whether an invoice that was open at the start of an interval after its due day was settled in it."""
    i = features.interval
    keys = interval_keys(features.group)[i]
    return _example(uow, "paid_after_due", invoice_id, item, i, label=label, keys=keys, interval=i)


def loss_example(uow: UnitOfWork, invoice_id: str, item: Item, share: float) -> ExampleMatured:
    """What share of a defaulted amount never came."""
    return _example(uow, "loss", invoice_id, item, label=1, keys=(), share=share)


def default_example(uow: UnitOfWork, invoice_id: str, item: Item, label: int, keys: tuple[str, ...]) -> ExampleMatured:
    """The label *default* for the shared rates of risk classes."""
    return _example(uow, "default", invoice_id, item, label=1 if label else 0, keys=keys)
