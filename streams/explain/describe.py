"""Describe a decision: before, cause, after, what the rule looked at, contributions, parameters, equality."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import orjson

from agents.debtor import views
from agents.debtor.alerts.types import BY_CODE
from agents.debtor.keys import (
    CELL,
    FEATURES,
    HEADER,
    ITEM,
    PAYMENT,
    PENDING,
    SALES,
    SCORE,
    SEEN,
    features_key,
    kind_of,
)
from agents.debtor.limits.rules import REASONS
from agents.debtor.state import Row
from agents.debtor.unit_of_work import Deadline, UnitOfWork
from agents.version import CODE_VERSION
from schemas.events.clock import ContextSet
from schemas.outputs.alerts import AlertChanged
from schemas.outputs.scores import ScoreComputed
from streams.explain.find import Decision
from streams.explain.reproduce import Reproduction
from streams.kafka.codec import encode
from streams.recompute.decisions import RecordedDecision
from streams.recompute.difference import compare_fields
from streams.recompute.journal import RecomputedSlice


def parameters(context: ContextSet, data: Decision) -> dict[str, str]:
    """The policy's values that bear on a decision."""
    values = {}
    for name in _parameter_names(context, data):
        value: Any = context.policy
        for part in name.split("."):
            value = getattr(value, part)
        values[name] = str(value)
    return values


def _parameter_names(context: ContextSet, data: Decision) -> Iterable[str]:
    if isinstance(data, ScoreComputed):
        return (*(f"bands.{name}" for name in type(context.policy.bands).model_fields), "loss_given_default")
    if isinstance(data, AlertChanged):
        return BY_CODE[data.alert_type].policy_values
    reasons = (REASONS[reason.code] for reason in data.reasons if reason.code in REASONS)
    # A dict keeps the order and drops what several reasons have in common.
    return dict.fromkeys(name for reason in reasons for name in reason.policy_values)


def rule_inputs(recorded: RecordedDecision, data: Decision) -> dict[str, Any]:
    """What the rule looked at, after the cause: the features of a score, the inputs of an alert or a limit."""
    if isinstance(data, ScoreComputed):
        row: Any = recorded.after.get(features_key(data.invoice_id)) if data.invoice_id else None
        if row is None:
            row = recorded.after.get(SCORE)
        if row is None:
            return {}
        stored_names = zip(row.__struct_fields__, row.__struct_encode_fields__, strict=True)
        return {stored: as_json(getattr(row, name)) for name, stored in stored_names}
    work = _work_after(recorded, data.customer_id)
    inputs = views.alert_inputs(work) if isinstance(data, AlertChanged) else views.limit_inputs(work)
    return {name: as_json(value) for name, value in inputs._asdict().items()}


def _work_after(recorded: RecordedDecision, customer_id: str) -> UnitOfWork:
    """The debtor's unit of work as the cause left it."""
    work = UnitOfWork(customer_id, recorded.before, recorded.cause, recorded.context, recorded.day, recorded.paused)
    for row_key, row in recorded.reaction.changes.items():
        work.put(row_key, row)
    work.header = work.get("") or work.header
    return work


def as_json(value: Any) -> Any:
    """A value as JSON has it; amounts are texts."""
    return orjson.loads(msgspec.json.encode(value))


def as_dict(reproduction: Reproduction) -> dict[str, Any]:
    """Everything, for programs and for ``render``. Days in rows are ordinals, as they are stored."""
    publication, recorded = reproduction.publication, reproduction.recorded
    explanation: dict[str, Any] = {
        "id": publication.id,
        "type": publication.type,
        "place": publication.place,
        "customer_id": publication.data.customer_id,
        "decision": publication.data.model_dump(mode="json"),
        "made_again": {
            "equal": reproduction.is_equal,
            "reproduced": recorded is not None,
            "differs": [{"field": f, "went_out": a, "now": b} for f, a, b in reproduction.differences],
            "code_version": CODE_VERSION,
            "decided_by": sorted(reproduction.versions),
        },
    }
    if recorded is None:
        return explanation
    return explanation | {
        "slice": None if reproduction.slice_ is None else _describe_slice(reproduction.slice_),
        "cause": _describe_cause(recorded, reproduction.slice_),
        "before": _describe_state(recorded.before, recorded.reaction.changes),
        "after": [{"row": r, "field": f, "before": a, "after": b} for r, f, a, b in changes(recorded)],
        "looked_at": rule_inputs(recorded, publication.data),
        "contributions": _contributions(publication.data, recorded),
        "rule": {
            "policy_version": recorded.context.policy.version,
            "model_version": recorded.context.model.version,
            "reasons": [{"code": r.code, "text": r.text} for r in publication.data.reasons],
            "parameters": parameters(recorded.context, publication.data),
        },
    }


def _describe_slice(slice_: RecomputedSlice) -> dict[str, Any]:
    return {
        "partition": slice_.journal.partition,
        "number": slice_.number,
        "order": slice_.journal.order,
        "tick": slice_.tick.number if slice_.tick else None,
        "time": slice_.tick.time.isoformat() if slice_.tick else None,
        "context_version": slice_.context.version,
        "code_version": slice_.journal.code_version,
    }


def _describe_cause(recorded: RecordedDecision, slice_: RecomputedSlice | None) -> dict[str, Any]:
    cause = recorded.cause
    if isinstance(cause, Deadline):
        return {"kind": "deadline", "id": recorded.output.causation_id, "row": row_name(cause.row_key), "day": cause.day}
    received = slice_.received if slice_ is not None else ()
    place = next((f"{r.topic}/{r.partition}/{r.offset}" for r in received if r.event.id == cause.id), None)
    return {
        "kind": "event",
        "id": cause.id,
        "type": cause.type,
        "place": place,
        "recorded": cause.recorded.isoformat(),
        "data": cause.data.model_dump(mode="json"),
    }


def _describe_state(rows: Mapping[str, Row], touched: Iterable[str]) -> dict[str, Any]:
    """The header, the rows that the cause touched, and how many of each kind there are."""
    kinds: dict[str, int] = {}
    for key in rows:
        kind = _KINDS.get(kind_of(key), kind_of(key))
        kinds[kind] = kinds.get(kind, 0) + 1
    row_keys = [key for key in (HEADER, *touched) if key in rows]
    return {"rows": kinds, **{row_name(key): as_json(rows[key]) for key in dict.fromkeys(row_keys)}}


_KINDS = {
    HEADER: "header", ITEM: "invoices", PAYMENT: "payments", PENDING: "waiting money", SALES: "days of sales",
    FEATURES: "features", CELL: "amount cells", SEEN: "stubs",
}  # fmt: skip
"""First letter of a row's key -> what such rows hold."""


def row_name(row_key: str) -> str:
    """A name for a row: its key; the header has none.

    >>> row_name("i/I-1"), row_name("")
    ('i/I-1', 'header')
    """
    return row_key or "header"


def changes(recorded: RecordedDecision) -> Iterator[tuple[str, str, Any, Any]]:
    """(row, field, before, after) of all that the cause changed."""
    for key, row in sorted(recorded.reaction.changes.items()):
        before, after = (None if value is None else as_json(value) for value in (recorded.before.get(key), row))
        # A row that comes or goes is described field by field.
        empty: Any = {} if isinstance(before, dict) or isinstance(after, dict) else None
        for name, old, new in compare_fields(empty if before is None else before, empty if after is None else after):
            yield row_name(key), name, old, new


def _contributions(data: Decision, recorded: RecordedDecision) -> list[dict[str, Any]]:
    """The contributions to the score itself, or to the debtor's last one, which a limit or an alert looks at."""
    if isinstance(data, ScoreComputed):
        score = data
    elif recorded.score is None:
        return []
    else:  # what the brain sends has a contract's fields, and need not be the contract itself
        score = ScoreComputed.model_validate_json(encode(recorded.score)[0])
    return [{"code": r.code, "contribution": r.contribution, "text": r.text} for r in score.reasons]
