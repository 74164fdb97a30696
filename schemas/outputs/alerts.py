"""Topic ``alerts``: an alert is raised once, and cleared when its cause is gone."""

from __future__ import annotations

from typing import Literal

from schemas.base import Amount, Currency, Id, Instant, Text
from schemas.outputs.common import Decided, Reason

AlertType = Literal["overdue", "score_drop", "over_limit", "cash_flow_shock", "insolvency"]
Severity = Literal["info", "warning", "critical"]


class AlertChanged(Decided):
    """``fingerprint`` = type and debtor (and subject): the same for raised and cleared, and for the next time.

    ``alert_id`` names this alert from its raising to its clearing; the event's own id differs between the two.
    """

    alert_id: Id
    state: Literal["raised", "cleared"]
    alert_type: AlertType
    severity: Severity
    fingerprint: Id
    raised_at: Instant
    cleared_at: Instant | None = None
    exposure: Amount | None = None
    currency: Currency | None = None
    reasons: tuple[Reason, ...]
    evidence: tuple[str, ...]
    recommended_action: Text
