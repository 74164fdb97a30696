"""Which alerts are raised and which are cleared, given what is the case now."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from agents.debtor.alerts.state import Alert
from schemas.events.policies import AlertRules
from schemas.ids import stable_id
from schemas.outputs.alerts import Severity

CLEAR_SHARE = Decimal("0.95")
"""An over-limit alert is cleared when the exposure is back below this share of the limit: no flutter at the edge."""
URGENT = frozenset({"insolvency"})
"""Types that no cool-down holds back."""

ACTIONS: dict[str, str] = {
    "overdue": "Call the debtor: is there a dispute, a missing document, a payment plan to agree? Stop deliveries on account.",
    "score_drop": "Look at the reasons; ask for current figures or a part payment before the next delivery.",
    "over_limit": "Hold new orders on account until a payment comes in or the limit is reviewed.",
    "cash_flow_shock": "Review at once: confirm to cut the limit, reject to lift the hold. It lapses by itself.",
    "insolvency": "Stop deliveries and dunning, secure retained goods, file the claim with the administrator in time.",
}
"""Type -> the next step, for the person who gets the alert."""


class AlertInputs(NamedTuple):
    """What the rules look at; amounts in the policy's currency, None where a rate is missing."""

    exposure: Decimal | None
    limit: Decimal | None
    exposure_grew: bool
    """By what has just happened."""
    overdue_items: int
    overdue_amount: Decimal | None
    p_late: float
    p_late_slow: float
    ready: bool
    shock: bool
    stage_alarm: bool
    possible_alarm: bool
    blind: bool = False
    """Payments are not read for now (D10): what looks overdue may be paid; the limit's review asks a person."""


def findings(facts: AlertInputs, rules: AlertRules, alerts: Mapping[str, Alert]) -> dict[str, Severity]:
    """Type -> severity of what is the case now. An open over-limit alert stays until the exposure is well below the limit.

    >>> facts = Facts(Decimal(900), Decimal(1000), False, 0, Decimal(0), 0.9, 0.3, True, False, False, False)
    >>> findings(facts, AlertRules(), {})
    {'score_drop': 'warning'}
    """
    found: dict[str, Severity] = {}
    is_overdue = facts.overdue_items and (facts.overdue_amount is None or facts.overdue_amount >= rules.overdue_amount)
    if is_overdue and (not facts.blind or _is_open(alerts, "overdue")):
        found["overdue"] = "warning"
    drop = rules.score_drop / 2 if _is_open(alerts, "score_drop") else rules.score_drop
    if facts.ready and facts.p_late - facts.p_late_slow >= drop:
        found["score_drop"] = "warning"
    # A limit that was cut is below the exposure by intent: only an exposure that grows above the limit is news.
    is_news = _is_open(alerts, "over_limit") or facts.exposure_grew
    if facts.exposure is not None and facts.limit is not None and facts.exposure > 0 and is_news:
        edge = facts.limit * rules.over_limit_share
        if facts.exposure > (edge * CLEAR_SHARE if _is_open(alerts, "over_limit") else edge):
            found["over_limit"] = "warning"
    if facts.shock:
        found["cash_flow_shock"] = "critical"
    if facts.stage_alarm or facts.possible_alarm:
        found["insolvency"] = "critical" if facts.stage_alarm else "warning"
    return found


def _is_open(alerts: Mapping[str, Alert], alert_type: str) -> bool:
    alert = alerts.get(alert_type)
    return alert is not None and alert.open


class Transition(NamedTuple):
    """One alert is raised or cleared."""

    alert_type: str
    state: str
    alert: Alert


def transitions(
    alerts: Mapping[str, Alert], found: Mapping[str, Severity], customer_id: str, at: str, day: int, rules: AlertRules
) -> list[Transition]:
    """What to announce. A finding within its cool-down waits (``next_look``); a graver severity is raised anew."""
    out = []
    for alert_type, severity in found.items():
        alert = alerts.get(alert_type)
        if alert is not None and alert.open:
            if severity == "critical" and alert.severity != "critical":
                out.append(Transition(alert_type, "cleared", replace(alert, open=False)))
                out.append(Transition(alert_type, "raised", _raise(customer_id, alert_type, alert.count + 1, severity, at)))
            continue
        if alert is not None and day < alert.quiet_until and alert_type not in URGENT:
            continue
        out.append(
            Transition(alert_type, "raised", _raise(customer_id, alert_type, alert.count + 1 if alert else 1, severity, at))
        )
    for alert_type, alert in alerts.items():
        if alert.open and alert_type not in found:
            closed = replace(alert, open=False, quiet_until=day + rules.cool_down_days)
            out.append(Transition(alert_type, "cleared", closed))
    return out


def _raise(customer_id: str, alert_type: str, count: int, severity: Severity, at: str) -> Alert:
    return Alert(alert_id=stable_id("alert", customer_id, alert_type, count), count=count, severity=severity, raised_at=at)


def next_look(alerts: Mapping[str, Alert], found: Mapping[str, str], day: int) -> int:
    """The day on which a finding that had to keep quiet may be raised; 0 = none waits."""
    waiting = [a.quiet_until for t in found if (a := alerts.get(t)) is not None and not a.open and a.quiet_until > day]
    return min(waiting) if waiting else 0


def fingerprint(alert_type: str, customer_id: str) -> str:
    """The same for every alert of this type and debtor.

    >>> fingerprint("overdue", "c-1")
    'overdue:c-1'
    """
    plain = f"{alert_type}:{customer_id}"
    return plain if len(plain) <= 128 else f"{alert_type}:{stable_id('customer', customer_id)}"
