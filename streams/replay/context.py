"""The context of a replay, the same in the backtest: the policy that acts, and the policies and rates among its records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson
from pydantic import ValidationError

from agents.clock.context import UNVERSIONED, compose
from schemas.currencies import MINOR_UNITS
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event
from schemas.events.policies import PolicyPublished
from schemas.events.rates import RatesPublished
from streams.connectors.records import Record
from streams.errors import UsageError
from streams.kafka.codec import decode

CONTEXT_TOPICS = ("credit-policies", "rates")
_USUAL_CURRENCY = PolicyPublished.model_fields["currency"].default
INVOICE_TYPE = b"duewatch.invoice.issued.v1"


def replay_context(records: Iterable[Record], policy_file: Path | None = None) -> ContextSet:
    """What is in force before the first event: decisions act from the start, in the currency of most of the invoices.

    Where the records have rates of that currency, in the currency into which those convert: the policy's amounts are meant in one
    that people reckon with.
    """
    policy = _read_policy(policy_file)
    if "currency" not in policy and (currency := _home_currency(list(records))):
        policy["currency"] = currency
    try:
        acting_policy = PolicyPublished.model_validate_json(orjson.dumps({"action": "act"} | policy))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"{policy_file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return compose(ContextSet(version=UNVERSIONED, policy=acting_policy, live_from=None))


def unstated_currency(context: ContextSet, policy_file: Path | None) -> str | None:
    """What to tell somebody whose policy does not state its currency, where its amounts are not in the usual one; None = nothing.

    >>> unstated_currency(ContextSet(version="c"), None) is None
    True
    """
    policy = context.policy
    if policy.currency == _USUAL_CURRENCY or "currency" in _read_policy(policy_file):
        return None
    limit, alert, default = policy.limits.opening_limit, policy.alerts.overdue_amount, policy.default_amount
    return (
        f"the policy's amounts (a first limit of {limit:f}, alerts from {alert:f}, defaults from {default:f}) are taken to be in"
        f" {policy.currency}, the currency of most invoices: state them and their currency with --policy, or add rates"
    )


def with_published(context: ContextSet, records: Iterable[Record]) -> ContextSet:
    """The same context with the last policy and rates among a step's records: in force for the whole step, as a policy acts."""
    policy: PolicyPublished | None = None
    rates: RatesPublished | None = None
    for record in records:
        if record.topic in CONTEXT_TOPICS:
            event = decode(record.topic, record.key, record.value, record.headers)
            if isinstance(event, Event) and isinstance(event.data, PolicyPublished):
                policy = event.data.model_copy(update={"action": "act"})
            elif isinstance(event, Event) and isinstance(event.data, RatesPublished):
                rates = event.data
    return compose(context, policy=policy, rates=rates) if policy or rates else context


def _read_policy(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        policy = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(policy, dict):
        raise UsageError(f'{path} is not a policy: write a JSON object such as {{"version": "ours-1"}}')
    return policy


def _home_currency(records: Sequence[Record]) -> str | None:
    currency = _most_common_currency(records)
    for record in records:
        if currency is not None and record.topic == "rates":
            event = decode(record.topic, record.key, record.value, record.headers)
            if isinstance(event, Event) and isinstance(event.data, RatesPublished) and currency in event.data.rates:
                return event.data.base
    return currency


def _most_common_currency(records: Iterable[Record]) -> str | None:
    counts: Counter[str] = Counter()
    for record in records:
        if record.topic == "payments" and ("ce_type", INVOICE_TYPE) in record.headers:
            try:
                counts[orjson.loads(record.value)["currency"]] += 1
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue
    known_currencies = [(count, currency) for currency, count in counts.items() if currency in MINOR_UNITS]
    return max(known_currencies)[1] if known_currencies else None
