"""What waits for a person: limits on hold, and the answer that becomes an event in ``decisions``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from schemas.events.decisions import DecisionMade
from schemas.events.envelope import Event
from schemas.ids import stable_id
from streams.kafka.codec import encode_event
from streams.kafka.producer import send
from streams.kafka.topics import deployed

if TYPE_CHECKING:
    from streams.clickhouse.query import ClickHouse
    from streams.settings import Settings

OPEN = """SELECT c.customer_id AS customer_id, toString(c.effective_from) AS since, toString(c.expires_on) AS until,
toString(c.credit_limit) AS credit_limit, c.currency AS currency, l.reasons.text AS reasons
FROM current_limits AS c
INNER JOIN limit_changes AS l ON l.customer_id = c.customer_id AND l.generation = c.generation AND l.sequence = c.sequence
WHERE c.hold ORDER BY c.expires_on, c.customer_id"""
SOURCE = "duewatch/review"
KIND = "duewatch.decision.made.v1"


def list_reviews(asked: ClickHouse) -> str:
    """A line for each: debtor, limit, until when it is held, why."""
    rows = asked.rows(OPEN)
    if not rows:
        return "nothing waits for a person"
    return "\n".join(
        f"{row['customer_id']}  {row['currency']} {row['credit_limit']}  held until {row['until']}  {'; '.join(row['reasons'])}"
        for row in rows
    )


def decision(
    customer_id: str, action: Literal["confirm", "reject"], owner: str, reason: str | None, now: datetime | None = None
) -> Event:
    """The answer of a person to the open review of a debtor. Raises pydantic.ValidationError for what cannot be."""
    at = now or datetime.now(UTC)
    ident = stable_id("decision", customer_id, action, owner, at.isoformat())
    fact = DecisionMade(
        customer_id=customer_id,
        decision_id=ident,
        subject="review",
        action=action,
        owner=owner,
        reason=reason,
        decided_on=at.date(),
    )
    return Event(ident, KIND, SOURCE, at, at, fact, "")


def answer(settings: Settings, customer_id: str, action: Literal["confirm", "reject"], owner: str, reason: str | None) -> str:
    """Send the answer; the debtor's worker judges it. Raises UserError, KafkaException."""
    settings = deployed(settings)
    value, headers = encode_event(decision(customer_id, action, owner, reason))
    topic = send(settings, "decisions", customer_id.encode(), value, headers)
    return f"sent to {topic}: {owner} {action}s the review of {customer_id}"
