"""Which alerts are raised and which are cleared, given what is the case now; what each type looks at is in ``types``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from msgspec.structs import replace

from agents.debtor.alerts.state import Alert
from agents.debtor.alerts.types import ALERT_TYPES, BY_CODE, AlertInputs
from schemas.events.policies import AlertRules
from schemas.ids import stable_id
from schemas.outputs.alerts import Severity

_RULES = tuple((definition.code, definition.rule) for definition in ALERT_TYPES)
MAX_FINGERPRINT_LENGTH = 128
"""That of an id (``schemas.base.Id``)."""


def findings(inputs: AlertInputs, rules: AlertRules, alerts: Mapping[str, Alert]) -> dict[str, Severity]:
    """Type -> severity of what is the case now. An open alert may stay on easier terms than it was raised on.

    >>> from decimal import Decimal
    >>> inputs = AlertInputs(Decimal(900), Decimal(1000), False, 0, Decimal(0), 0.9, 0.3, True, False, False, False)
    >>> findings(inputs, AlertRules(), {})
    {'score_drop': 'warning'}
    """
    severities: dict[str, Severity] = {}
    for code, rule in _RULES:
        severity = rule(inputs, rules, code in alerts and alerts[code].open)
        if severity is not None:
            severities[code] = severity
    return severities


class Transition(NamedTuple):
    """An alert is raised or cleared; ``alert`` is it from now on."""

    alert_type: str
    state: Literal["raised", "cleared"]
    alert: Alert


def transitions(
    alerts: Mapping[str, Alert], severities: Mapping[str, Severity], customer_id: str, at: str, day: int, rules: AlertRules
) -> list[Transition]:
    """What to announce. A finding within its cool-down waits (``cool_down_end``); a graver severity is raised anew.

    >>> [raised] = transitions({}, {"overdue": "warning"}, "c-1", "2026-01-05T12:00:00+00:00", 100, AlertRules())
    >>> raised.state, raised.alert.count
    ('raised', 1)
    >>> [cleared] = transitions({"overdue": raised.alert}, {}, "c-1", "2026-01-06T12:00:00+00:00", 101, AlertRules())
    >>> cleared.state, cleared.alert.quiet_until
    ('cleared', 108)
    """
    changes = []
    for alert_type, severity in severities.items():
        alert = alerts.get(alert_type)
        if alert is not None:
            if alert.open and not (severity == "critical" and alert.severity != "critical"):
                continue
            if not alert.open and day < alert.quiet_until and not BY_CODE[alert_type].is_urgent:
                continue
            if alert.open:
                changes.append(Transition(alert_type, "cleared", replace(alert, open=False)))
        count = alert.count + 1 if alert is not None else 1
        alert_id = stable_id("alert", customer_id, alert_type, count)
        alert = Alert(alert_id=alert_id, count=count, severity=severity, raised_at=at)
        changes.append(Transition(alert_type, "raised", alert))
    for alert_type, alert in alerts.items():
        if alert.open and alert_type not in severities:
            closed = replace(alert, open=False, quiet_until=day + rules.cool_down_days)
            changes.append(Transition(alert_type, "cleared", closed))
    return changes


def cool_down_end(alerts: Mapping[str, Alert], severities: Mapping[str, str], day: int) -> int:
    """The first day on which a finding that had to keep quiet may be raised; 0 = none waits.

    >>> cool_down_end({"overdue": Alert("a-1", open=False, quiet_until=108)}, {"overdue": "warning"}, 103)
    108
    """
    ends = [a.quiet_until for t in severities if (a := alerts.get(t)) is not None and not a.open and a.quiet_until > day]
    return min(ends, default=0)


def fingerprint(alert_type: str, customer_id: str) -> str:
    """The same for every alert of this type and debtor.

    >>> fingerprint("overdue", "c-1")
    'overdue:c-1'
    """
    plain = f"{alert_type}:{customer_id}"
    return plain if len(plain) <= MAX_FINGERPRINT_LENGTH else f"{alert_type}:{stable_id('customer', customer_id)}"
