"""What is told of a decision: before, cause, after, what the rule looked at, contributions, parameters, equality."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import orjson

from agents.debtor import views
from agents.debtor.alerts.types import BY_CODE
from agents.debtor.keys import SCORE
from agents.debtor.limits.rules import REASONS
from agents.debtor.state import Header, Row
from agents.debtor.unit_of_work import Deadline, UnitOfWork
from agents.version import CODE_VERSION
from schemas.events.clock import ContextSet
from schemas.outputs.alerts import AlertChanged
from schemas.outputs.scores import ScoreComputed
from streams.explain.reproduce import Decided, Explained, RecordedDecision
from streams.kafka.codec import encode
from streams.recompute.difference import compare_fields
from streams.recompute.journal import RecomputedSlice


def parameters(context: ContextSet, data: Decided) -> dict[str, str]:
    """The policy's values that bear on a decision."""
    if isinstance(data, ScoreComputed):
        names: Iterable[str] = (*(f"bands.{name}" for name in type(context.policy.bands).model_fields), "loss_given_default")
    elif isinstance(data, AlertChanged):
        names = BY_CODE[data.alert_type].policy_values
    else:
        reasons = (REASONS[reason.code] for reason in data.reasons if reason.code in REASONS)
        names = dict.fromkeys(name for reason in reasons for name in reason.policy_values)
    told = {}
    for name in names:
        value: Any = context.policy
        for part in name.split("."):
            value = getattr(value, part)
        told[name] = str(value)
    return told


def looked_at(seen: RecordedDecision, data: Decided) -> dict[str, Any]:
    """What the rule looked at, after the cause: features of a score, facts of an alert, standing of a limit."""
    after = seen.after
    if isinstance(data, ScoreComputed):
        features = after.get(f"f/{data.invoice_id}") if data.invoice_id else None
        if features is not None:
            told = {name: getattr(features, name) for name in features.__struct_fields__}
        else:
            score = after.get(SCORE)
            told = {} if score is None else {name: getattr(score, name) for name in score.__struct_fields__}
        return {name: plain(value) for name, value in told.items()}
    case = UnitOfWork(data.customer_id, after, seen.cause, seen.context, seen.day)
    header = seen.before.get("")
    if isinstance(header, Header):
        case.started_with = header
    inputs = views.alert_inputs(case) if isinstance(data, AlertChanged) else views.limit_inputs(case)
    return {name: plain(value) for name, value in inputs._asdict().items()}


def plain(value: Any) -> Any:
    """As JSON has it; amounts are texts."""
    return orjson.loads(msgspec.json.encode(value))


def as_dict(made: Explained) -> dict[str, Any]:
    """Everything, for programs and for ``as_text``. Days in rows are ordinals, as they are kept."""
    emitted, seen = made.emitted, made.seen
    told: dict[str, Any] = {
        "id": emitted.id,
        "type": emitted.type,
        "place": emitted.place,
        "customer_id": emitted.data.customer_id,
        "decision": emitted.data.model_dump(mode="json"),
        "made_again": {
            "equal": made.is_equal,
            "reproduced": seen is not None,
            "differs": [{"field": f, "went_out": a, "now": b} for f, a, b in made.differs],
            "code_version": CODE_VERSION,
            "decided_by": sorted(made.versions),
        },
    }
    if seen is None:
        return told
    told |= {
        "slice": None if made.slice_ is None else _slice(made.slice_),
        "cause": _cause(seen, made.slice_),
        "before": _state(seen.before, seen.reaction.changes),
        "after": [{"row": r, "field": f, "before": a, "after": b} for r, f, a, b in changes(seen)],
        "looked_at": looked_at(seen, emitted.data),
        "contributions": _contributions(emitted.data, seen),
        "rule": {
            "policy_version": seen.context.policy.version,
            "model_version": seen.context.model.version,
            "reasons": [{"code": r.code, "text": r.text} for r in emitted.data.reasons],
            "parameters": parameters(seen.context, emitted.data),
        },
    }
    return told


def _slice(one: RecomputedSlice) -> dict[str, Any]:
    return {
        "partition": one.journal.partition,
        "number": one.number,
        "order": one.journal.order,
        "tick": one.tick.number if one.tick else None,
        "time": one.tick.time.isoformat() if one.tick else None,
        "context_version": one.context.version,
        "code_version": one.journal.code_version,
    }


def _cause(seen: RecordedDecision, one: RecomputedSlice | None) -> dict[str, Any]:
    cause = seen.cause
    if isinstance(cause, Deadline):
        return {"kind": "deadline", "id": seen.output.causation_id, "row": row_name(cause.row_key), "day": cause.day}
    arrived = one.arrived if one is not None else ()
    place = next((f"{a.topic}/{a.partition}/{a.offset}" for a in arrived if a.event.id == cause.id), None)
    return {
        "kind": "event",
        "id": cause.id,
        "type": cause.type,
        "place": place,
        "recorded": cause.recorded.isoformat(),
        "data": cause.data.model_dump(mode="json"),
    }


def _state(rows: Mapping[str, Row], touched: Iterable[str]) -> dict[str, Any]:
    """The header, the rows that the cause touched, and how many of each kind there are."""
    kinds: dict[str, int] = {}
    for key in rows:
        kinds[_KINDS.get(key[:1], key[:1])] = kinds.get(_KINDS.get(key[:1], key[:1]), 0) + 1
    shown = [key for key in ("", *touched) if key in rows]
    return {"rows": kinds, **{row_name(key): plain(rows[key]) for key in dict.fromkeys(shown)}}


_KINDS = {
    "": "header", "i": "invoices", "p": "payments", "w": "waiting money", "s": "days of sales", "f": "features",
    "x": "amount cells", "n": "stubs",
}  # fmt: skip


def row_name(row_key: str) -> str:
    """The row's key; the header has none."""
    return row_key or "header"


def changes(seen: RecordedDecision) -> Iterator[tuple[str, str, Any, Any]]:
    """(row, field, before, after) of all that the cause changed."""
    for key, row in sorted(seen.reaction.changes.items()):
        was = seen.before.get(key)
        before, after = (None if one is None else plain(one) for one in (was, row))
        # A row that comes or goes is told field by field.
        empty: Any = {} if isinstance(before, dict) or isinstance(after, dict) else None
        for name, old, new in compare_fields(empty if before is None else before, empty if after is None else after):
            yield row_name(key), name, old, new


def _contributions(data: Decided, seen: RecordedDecision) -> list[dict[str, Any]]:
    """Of the score itself, or of the debtor's last one, which a limit or an alert looks at."""
    if isinstance(data, ScoreComputed):
        score = data
    elif seen.score is None:
        return []
    else:  # what the brain sends has a contract's fields, and need not be the contract itself
        score = ScoreComputed.model_validate_json(encode(seen.score)[0])
    return [{"code": r.code, "contribution": r.contribution, "text": r.text} for r in score.reasons]
