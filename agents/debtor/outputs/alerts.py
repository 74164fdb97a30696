"""Topic ``alerts``: what a person who follows a debtor is told, when its cause arises and when it is gone."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from agents.debtor.alerts.decide import Transition, fingerprint
from agents.debtor.alerts.types import BY_CODE, CAUSE_GONE, AlertInputs
from agents.debtor.message_structs import struct_for
from agents.debtor.unit_of_work import UnitOfWork
from agents.debtor.views import alert_details
from agents.version import CODE_VERSION
from schemas.outputs.alerts import AlertChanged
from schemas.outputs.common import Reason

_Alert, _Reason = struct_for(AlertChanged), struct_for(Reason)


def send_alert(uow: UnitOfWork, transition: Transition, inputs: AlertInputs) -> None:
    """Announce that an alert was raised or cleared, on the ``inputs`` that decided it."""
    alert, alert_type, is_raised = transition.alert, transition.alert_type, transition.state == "raised"
    definition, details = BY_CODE[alert_type], alert_details(uow)
    if is_raised:
        text, text_de = definition.words(inputs, details, uow.policy.alerts)
        reason = _Reason(code=alert_type, text=text, text_de=text_de)
    else:
        reason = _reason_to_clear(alert_type)
    change = _Alert(
        customer_id=uow.customer_id,
        policy_version=uow.policy.version,
        model_version=uow.context.model.version,
        code_version=CODE_VERSION,
        alert_id=alert.alert_id,
        state=transition.state,
        alert_type=alert_type,
        severity=alert.severity,
        fingerprint=fingerprint(alert_type, uow.customer_id),
        raised_at=datetime.fromisoformat(alert.raised_at),
        cleared_at=None if is_raised else uow.at,
        exposure=inputs.exposure,
        currency=uow.policy.currency,
        reasons=(reason,),
        evidence=(uow.cause_id, *definition.evidence(details)),
        recommended_action=definition.action if is_raised else "Nothing to do.",
    )
    uow.send("alerts", "duewatch.alert.raised.v1" if is_raised else "duewatch.alert.cleared.v1", change)


@lru_cache(maxsize=16)
def _reason_to_clear(alert_type: str) -> Reason:
    return _Reason(code=f"{alert_type}_over", text=CAUSE_GONE[0], text_de=CAUSE_GONE[1])
