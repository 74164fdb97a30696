"""Topic ``dead-letters``: a deadline on which our own code failed."""

from __future__ import annotations

from datetime import date

from agents.debtor.keys import FEATURES, HEADER, ITEM, RATES, SALES, kind_of
from agents.debtor.unit_of_work import start_of_day
from agents.version import CODE_VERSION
from schemas.events.envelope import Output
from schemas.ids import stable_id
from schemas.outputs.operations import DeadlineFailed

_KINDS = {HEADER: "debtor", RATES: "debtor", ITEM: "invoice", FEATURES: "score", SALES: "sales"}
"""Kind of a row -> what an operator calls it."""


def deadline_failed(customer_id: str, row_key: str, day: int, error: Exception, zone: str) -> Output:
    """The dead letter of a deadline on which our own code failed; the deadline is tried again the day after."""
    data = DeadlineFailed(
        customer_id=customer_id,
        kind=_KINDS.get(kind_of(row_key), "other"),
        row=row_key,
        due_on=date.fromordinal(day),
        try_again_on=date.fromordinal(day + 1),
        error=f"{type(error).__name__}: {error}"[:500],
        recommended_action="report it with this text; after the update it is made up for by itself, on the day after",
        code_version=CODE_VERSION,
    )
    cause = stable_id("wake", customer_id, row_key, day)
    at = start_of_day(day, zone)
    name = "duewatch.deadline.failed.v1"
    return Output("dead-letters", customer_id, name, stable_id(name, customer_id, cause), at, at, data, cause, cause)
