"""Reviews: limits on hold that wait for a person, and the answer that becomes an event in ``decisions``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from schemas.events.decisions import DecisionMade
from schemas.events.envelope import Event
from schemas.ids import stable_id
from streams.kafka.codec import encode_event
from streams.kafka.producer import send
from streams.kafka.topics import deployed

if TYPE_CHECKING:
    from streams.clickhouse.query import ClickHouse
    from streams.settings import Settings

OPEN_REVIEWS = """SELECT c.customer_id AS customer_id, toString(c.effective_from) AS since, toString(c.expires_on) AS until,
toString(c.credit_limit) AS credit_limit, c.currency AS currency, l.reasons.text AS reasons
FROM current_limits AS c
INNER JOIN limit_changes AS l ON l.customer_id = c.customer_id AND l.generation = c.generation AND l.sequence = c.sequence
WHERE c.hold ORDER BY c.expires_on, c.customer_id"""
SOURCE = "duewatch/review"
EVENT_TYPE = "duewatch.decision.made.v1"

Action = Literal["confirm", "reject"]


def list_reviews(clickhouse: ClickHouse) -> str:
    """A line for each: debtor, limit, until when it is on hold, why."""
    rows = clickhouse.rows(OPEN_REVIEWS)
    if not rows:
        return "no reviews are open"
    return "\n".join(map(_line, rows))


def _line(row: dict[str, Any]) -> str:
    reasons = "; ".join(row["reasons"])
    return f"{row['customer_id']}  {row['currency']} {row['credit_limit']}  on hold until {row['until']}  {reasons}"


def decision(customer_id: str, action: Action, owner: str, reason: str | None, now: datetime | None = None) -> Event:
    """A person's answer to the open review of a debtor. Raises pydantic.ValidationError for values that no event may have."""
    decided_at = now or datetime.now(UTC)
    decision_id = stable_id("decision", customer_id, action, owner, decided_at.isoformat())
    data = DecisionMade(
        customer_id=customer_id,
        decision_id=decision_id,
        subject="review",
        action=action,
        owner=owner,
        reason=reason,
        decided_on=decided_at.date(),
    )
    return Event(decision_id, EVENT_TYPE, SOURCE, decided_at, decided_at, data, "")


def answer(settings: Settings, customer_id: str, action: Action, owner: str, reason: str | None) -> str:
    """Send the answer; the debtor's worker judges it. Raises UserError, KafkaException."""
    settings = deployed(settings)
    value, headers = encode_event(decision(customer_id, action, owner, reason))
    topic = send(settings, "decisions", customer_id.encode(), value, headers)
    return f"sent to {topic}: {owner} {action}s the review of {customer_id}"
