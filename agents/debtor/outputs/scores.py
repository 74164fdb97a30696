"""Topic ``scores``: of an invoice as it is issued, and of the debtor when its own changes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from agents.debtor.message_structs import struct_for
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.counterfactual import counterfactual
from agents.debtor.scoring.default import p_default_floor
from agents.debtor.scoring.reasons import explain_score
from agents.debtor.scoring.values import Scored
from agents.debtor.unit_of_work import UnitOfWork
from agents.version import CODE_VERSION
from schemas.events.payments import InvoiceIssued
from schemas.outputs.scores import ScoreComputed

_Score = struct_for(ScoreComputed)


def send_invoice_score(uow: UnitOfWork, fact: InvoiceIssued, scored: Scored) -> None:
    """The score of an invoice as it was issued; its expected loss is that of its whole amount. None is due before its issue."""
    due = max(fact.due_on, fact.issued_on)
    _send(uow, scored, fact.invoice_id, fact.amount, fact.currency, due, fact.issued_on)


def send_debtor_score(uow: UnitOfWork, scored: Scored) -> None:
    """The score of a debtor; its expected loss is that of all it owes, in the policy's currency (null if a rate is missing)."""
    _send(uow, scored, None, uow.sums.open_amount, uow.policy.currency, None)


def _send(
    uow: UnitOfWork,
    scored: Scored,
    invoice_id: str | None,
    amount: Decimal | None,
    currency: str,
    due: date | None,
    issue: date | None = None,
) -> None:
    lgd = scoring.loss_given_default(uow.context.model, uow.policy.loss_given_default)
    loss = None if amount is None else scoring.expected_loss(scored.p_default, amount, lgd)
    limits = scoring.thresholds(uow.policy.bands, scored.band)
    floor = p_default_floor(scored.reason_inputs.inputs)
    changes = counterfactual(scored.band, scored.p_late, scored.p_default, limits, ready=scored.ready, p_default_floor=floor)
    paid_from, expected, paid_to = _payment_dates(scored, due, issue)
    explanation = explain_score(scored)
    score = _Score(
        customer_id=uow.customer_id,
        policy_version=uow.policy.version,
        model_version=uow.context.model.version,
        code_version=CODE_VERSION,
        invoice_id=invoice_id,
        p_late=scored.p_late,
        p_default=scored.p_default,
        ready=scored.ready,
        expected_loss=loss,
        currency=currency,
        band=scored.band,
        reasons=explanation.reasons,
        due_date=due,
        scored_at=uow.at,
        log_odds=explanation.log_odds,
        lift=round(scored.lift, 6) if scored.lift else 0.0,
        scorer=scored.reason_inputs.scorer,
        p_late_30=scored.p_late_30,
        expected_paid_on=expected,
        paid_from=paid_from,
        paid_to=paid_to,
        loss_given_default=lgd,
        would_change=changes,
    )
    uow.send("scores", "duewatch.score.computed.v1", score)


def _payment_dates(scored: Scored, due: date | None, issue: date | None) -> tuple[date | None, date | None, date | None]:
    """The earliest, the middle and the latest day of payment to expect; nobody pays before the issue."""
    if scored.payment_days is None or due is None or issue is None:
        return None, None, None
    due_day, issue_day = due.toordinal(), issue.toordinal()
    low, middle, high = (date.fromordinal(max(due_day + days, issue_day)) for days in scored.payment_days)
    return low, middle, high
