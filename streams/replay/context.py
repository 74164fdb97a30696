"""The context of a replay, the same in the backtest: the policy that acts, the first model, and what a new model changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import orjson
from pydantic import ValidationError

from schemas.base import Contract
from schemas.currencies import MINOR_UNITS
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event
from schemas.events.models import ModelPublished
from schemas.events.policies import PolicyPublished
from schemas.events.rates import RatesPublished
from schemas.ids import content_hash
from streams.connectors.records import Record
from streams.errors import UsageError
from streams.kafka.codec import decode

CONTEXT_TOPICS = ("credit-policies", "rates")
INVOICE = b"duewatch.invoice.issued.v1"


def replay_context(records: Iterable[Record], policy_file: Path | None = None) -> ContextSet:
    """What is in force before the first event: decisions act from the start, in the currency of most of the invoices."""
    policy = _read_policy(policy_file)
    if "currency" not in policy and (currency := _usual_currency(records)):
        policy["currency"] = currency
    try:
        published = PolicyPublished.model_validate_json(orjson.dumps({"action": "act"} | policy))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"{policy_file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return with_model(ContextSet(version="-", policy=published, live_from=None), ModelPublished())


def with_model(context: ContextSet, model: ModelPublished) -> ContextSet:
    """The same context with another shared model; a model that has learned nothing new makes no new context."""
    return _versioned(context.model_copy(update={"model": model.model_copy(update={"step": -1})}))


def with_published(context: ContextSet, records: Iterable[Record]) -> ContextSet:
    """The same context with the last policy and rates among a step's records: in force for the whole step, as a policy acts."""
    changed: dict[str, Contract] = {}
    for record in records:
        if record.topic in CONTEXT_TOPICS:
            event = decode(record.topic, record.key, record.value, record.headers)
            if isinstance(event, Event) and isinstance(event.data, PolicyPublished):
                changed["policy"] = event.data.model_copy(update={"action": "act"})
            elif isinstance(event, Event) and isinstance(event.data, RatesPublished):
                changed["rates"] = event.data
    return _versioned(context.model_copy(update=changed)) if changed else context


def _versioned(context: ContextSet) -> ContextSet:
    """Its version is a hash of its content."""
    made = context.model_copy(update={"version": "-"})
    return made.model_copy(update={"version": content_hash(made.model_dump_json().encode())})


def _read_policy(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        policy = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{path} is no JSON: {error}") from None
    if not isinstance(policy, dict):
        raise UsageError(f'{path} holds no policy: write a JSON object such as {{"version": "ours-1"}}')
    return policy


def _usual_currency(records: Iterable[Record]) -> str | None:
    counts: Counter[str] = Counter()
    for record in records:
        if record.topic == "payments" and ("ce_type", INVOICE) in record.headers:
            try:
                counts[orjson.loads(record.value)["currency"]] += 1
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue
    usual = [(count, currency) for currency, count in counts.items() if currency in MINOR_UNITS]
    return max(usual)[1] if usual else None
