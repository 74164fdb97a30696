"""Frozen values of a debtor's alerts."""

from __future__ import annotations

import msgspec

from schemas.outputs.alerts import Severity


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """One alert of a debtor, open or quiet. ``count`` numbers its raisings; there is none before ``quiet_until`` (ordinal)."""

    alert_id: str
    count: int = 1
    open: bool = True
    severity: Severity = "warning"
    raised_at: str = ""
    quiet_until: int = 0
    acknowledged_by: str | None = None
