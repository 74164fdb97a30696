"""From what the domains decided to what goes out: facts handed between domains, and the contracts of outputs."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from agents.debtor.alerts import texts
from agents.debtor.alerts.decide import ACTIONS, AlertInputs, Transition, fingerprint
from agents.debtor.bank.decide import expected_inflow, signs
from agents.debtor.insolvency.decide import is_alarm, is_default
from agents.debtor.limits.decide import TEXTS, Change, LimitInputs
from agents.debtor.limits.decide import open_limit as first_limit
from agents.debtor.message_structs import written
from agents.debtor.payments.decide import worst_days_past_due
from agents.debtor.payments.state import Balance, Item
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.assessments import with_assessments
from agents.debtor.scoring.counterfactual import counterfactual
from agents.debtor.scoring.default import p_default_floor
from agents.debtor.scoring.hazard import interval_keys
from agents.debtor.scoring.reasons import explain_score
from agents.debtor.scoring.state import Features
from agents.debtor.scoring.state_model import whole_numbers
from agents.debtor.scoring.values import CellKeys, Learned, Scored, ScoreInputs
from agents.debtor.unit_of_work import UnitOfWork, start_of_day
from agents.version import CODE_VERSION
from schemas.events.envelope import Output
from schemas.events.models import ExampleMatured
from schemas.events.payments import InvoiceIssued
from schemas.ids import stable_id
from schemas.outputs.alerts import AlertChanged
from schemas.outputs.common import Reason
from schemas.outputs.limits import LimitChanged
from schemas.outputs.operations import DeadlineFailed
from schemas.outputs.scores import ScoreComputed

_Score, _Alert, _Limit = written(ScoreComputed), written(AlertChanged), written(LimitChanged)
_Example, _Reason = written(ExampleMatured), written(Reason)

RISING = Decimal("1.10")
"""The last week's inflow above the usual one by this factor counts as rising cash flow."""


def risk_facts(case: UnitOfWork) -> ScoreInputs:
    """What the score looks at besides the debtor's labels."""
    header = case.header
    stage, certain = header.insolvency.stage, True
    if stage == "none" and header.insolvency.possible != "none":
        stage, certain = header.insolvency.possible, False
    notices = tuple(n.notice_id for n in header.insolvency.notices[-3:]) if stage != "none" else ()
    rules = case.policy.alerts
    cash = signs(header.bank, rules.shock_threshold, rules.shock_warm_up_weeks)
    facts = ScoreInputs(
        days_past_due=worst_days_past_due(header.balances),
        shock=cash.shock,
        bank=cash.known,
        falling=cash.falling,
        cushion=cash.cushion,
        stage=stage,
        certain=certain and stage != "none",
        overdue_ids=header.overdue_ids,
        notice_ids=notices,
        day=case.day,
        overdue_share=_overdue_share(header.balances),
        terms_days=header.master.terms_days,
    )
    return with_assessments(case.score, facts)


def _overdue_share(balances: dict[str, Balance]) -> float:
    """How much of what is open is overdue, in the currency where it is most."""
    share = 0.0
    for balance in balances.values():
        not_due, a, b, c, d = balance.buckets
        overdue = a + b + c + d
        if overdue:
            share = max(share, float(overdue / (not_due + overdue)))
    return share


def invoice_score(case: UnitOfWork, fact: InvoiceIssued, scored: Scored) -> ScoreComputed:
    """The score of an invoice as it was issued; its expected loss is that of its whole amount."""
    return _score(case, scored, fact.invoice_id, fact.amount, fact.currency, fact.due_on, fact.issued_on)


def debtor_score(case: UnitOfWork, scored: Scored) -> ScoreComputed:
    """The score of a debtor; its expected loss is that of all it owes, in the policy's currency (null if a rate is missing)."""
    return _score(case, scored, None, case.sums.open_amount, case.policy.currency, None)


def _score(
    case: UnitOfWork,
    scored: Scored,
    invoice_id: str | None,
    amount: Decimal | None,
    currency: str,
    due: date | None,
    issued: date | None = None,
) -> ScoreComputed:
    lgd = scoring.loss_given_default(case.context.model, case.policy.loss_given_default)
    loss = None if amount is None else scoring.expected_loss(scored.p_default, amount, lgd)
    limits = scoring.thresholds(case.policy.bands, scored.band)
    least = p_default_floor(scored.reason_inputs.inputs)
    other = counterfactual(scored.band, scored.p_late, scored.p_default, limits, ready=scored.ready, p_default_floor=least)
    paid_from, expected, paid_to = _payment_dates(scored, due, issued)
    told = explain_score(scored)
    return _Score(
        customer_id=case.customer_id,
        policy_version=case.policy.version,
        model_version=case.context.model.version,
        code_version=CODE_VERSION,
        invoice_id=invoice_id,
        p_late=scored.p_late,
        p_default=scored.p_default,
        ready=scored.ready,
        expected_loss=loss,
        currency=currency,
        band=scored.band,
        reasons=told.reasons,
        due_date=due,
        scored_at=case.at,
        log_odds=told.log_odds,
        lift=round(scored.lift, 6) if scored.lift else 0.0,
        scorer=scored.reason_inputs.scorer,
        p_late_30=scored.p_late_30,
        expected_paid_on=expected,
        paid_from=paid_from,
        paid_to=paid_to,
        loss_given_default=lgd,
        would_change=other,
    )


def _payment_dates(scored: Scored, due: date | None, issued: date | None) -> tuple[date | None, date | None, date | None]:
    if scored.payment_days is None or due is None or issued is None:
        return None, None, None
    day, first = due.toordinal(), issued.toordinal()
    low, middle, high = (date.fromordinal(max(day + d, first)) for d in scored.payment_days)
    return low, middle, high


def _example_of(case: UnitOfWork, target: str, invoice_id: str, item: Item, *number: str | int, **said: Any) -> ExampleMatured:
    """A label of an invoice; ``number``: what tells its examples of one target apart."""
    return _Example(
        customer_id=case.customer_id,
        example_id=stable_id("example", target, case.customer_id, invoice_id, *number),
        invoice_id=invoice_id,
        target=target,
        scored_on=date.fromordinal(item.issued),
        matured_on=case.today,
        **said,
    )


def late_example(case: UnitOfWork, invoice_id: str, item: Item, label: int, keys: CellKeys, learned: Learned) -> ExampleMatured:
    """The label *late* for the shared model, with the debtor's own part of the forecast and the features of its issue."""
    before, features = case.score, keys.features
    return _example_of(
        case,
        "late",
        invoice_id,
        item,
        label=1 if label else 0,
        keys=keys.shared,
        row_logit=learned.row_logit,
        row_variance=learned.row_variance,
        row_labels=before.labels,
        row_late=before.late,
        x=whole_numbers(features.vector),
        p=features.p_late,
    )


def corrected_example(case: UnitOfWork, invoice_id: str, item: Item, label: int, keys: CellKeys) -> ExampleMatured:
    """The right label of an invoice whose example was wrong."""
    return _example_of(
        case,
        "late",
        invoice_id,
        item,
        case.cause_id,
        label=label,
        keys=keys.shared,
        x=whole_numbers(keys.features.vector),
        p=keys.features.p_late,
        corrects=stable_id("example", "late", case.customer_id, invoice_id),
    )


def paid_example(case: UnitOfWork, invoice_id: str, item: Item, paid: int, features: Features) -> ExampleMatured:
    """Whether an invoice that was open at the start of an interval after its due day was settled in it."""
    i = features.interval
    keys = interval_keys(features.group)[i]
    return _example_of(case, "paid_after_due", invoice_id, item, i, label=paid, keys=keys, interval=i)


def loss_example(case: UnitOfWork, invoice_id: str, item: Item, share: float) -> ExampleMatured:
    """What share of a defaulted amount never came."""
    return _example_of(case, "loss", invoice_id, item, label=1, keys=(), share=share)


def default_example(case: UnitOfWork, invoice_id: str, item: Item, label: int, keys: tuple[str, ...]) -> ExampleMatured:
    """The label *default* for the shared rates of risk classes."""
    return _example_of(case, "default", invoice_id, item, label=1 if label else 0, keys=keys)


def is_material(case: UnitOfWork, item: Item) -> bool:
    """Is the open rest large enough to count as a default? Where a rate is missing it is: better one too many."""
    rate = case.rate(item.currency)
    return rate is None or item.open * rate >= case.policy.default_amount


def standing(case: UnitOfWork) -> LimitInputs:
    """What the limit policy looks at."""
    header = case.header
    last, bank = header.last, header.bank
    sums, overdue = case.sums, False
    for balance in header.balances.values():
        if balance.overdue_items:
            overdue = sums.overdue is None or sums.overdue >= case.policy.alerts.overdue_amount
    return LimitInputs(
        band=last.band if last is not None else "medium",
        exposure=sums.exposure,
        sales_90d=sums.sales_90d,
        overdue=overdue,
        stage=header.insolvency.stage,
        insolvent=is_default(header.insolvency.stage),
        shock=bank.shock,
        rising=bank.weeks > 0 and bank.last_inflow > expected_inflow(bank) * RISING,
        blind="payments" in case.paused,
    )


@lru_cache(maxsize=256)
def limit_reasons(codes: tuple[str, ...]) -> tuple[Reason, ...]:
    """Codes with their words."""
    return tuple(_Reason(code=code, text=TEXTS[code][0], text_de=TEXTS[code][1]) for code in codes)


def change_limit(case: UnitOfWork, change: Change, people: tuple[str, ...]) -> None:
    """Take a change of the limit over; announce it if it says anything, numbered without gaps."""
    before, after = case.header.limit, change.limit
    if not change.codes:  # made before the number was given: it keeps what was announced last
        case.set(limit=replace(after, sequence=before.sequence, last_id=before.last_id, effective=before.effective))
        return
    opening = after.generation != before.generation or after.action != before.action
    sequence = 1 if opening else before.sequence + 1
    act = after.action == "act"
    # Live, records may run ahead of the tick, and the debtor's day goes back with the next deadline; whoever applies the changes
    # in their order must not find a later one in force before an earlier one.
    effective = max(case.day, before.effective)
    topic, type_ = ("limit-changes", "duewatch.limit.changed.v1") if act else ("limit-proposals", "duewatch.limit.proposed.v1")
    change_id = stable_id("limit", case.customer_id, after.action, after.generation, sequence)
    data = _Limit(
        customer_id=case.customer_id,
        policy_version=case.policy.version,
        model_version=case.context.model.version,
        code_version=CODE_VERSION,
        limit_change_id=change_id,
        generation=after.generation,
        sequence=sequence,
        previous_limit=None if opening else before.amount,
        new_limit=after.amount,
        currency=after.currency,
        terms_days=after.terms_days,
        security_required=after.security,
        hold=after.hold,
        effective_from=date.fromordinal(effective),
        expires_on=_expiry(after.hold_until if after.hold else after.override_until),
        reasons=limit_reasons(change.codes),
        evidence=(case.cause_id, *people, *(case.header.overdue_ids if "overdue" in change.codes else ())),
        supersedes=None if opening else before.last_id,
    )
    case.set(limit=replace(after, sequence=sequence, last_id=change_id, effective=effective))
    case.send(topic, type_, data)
    if act:
        case.send("current-limits", "duewatch.limit.current.v1", data)


def open_limit(case: UnitOfWork) -> None:
    """The first change of a generation."""
    policy, header = case.policy, case.header
    change = first_limit(
        policy.action, case.context.generation, header.limit, standing(case), policy.limits, policy.currency, case.day
    )
    change_limit(case, change, ())


def _expiry(day: int) -> date | None:
    return date.fromordinal(day) if day else None


def alert_facts(case: UnitOfWork) -> AlertInputs:
    """What the alert rules look at."""
    header = case.header
    last = header.last
    average = scoring.slow_average(last, case.day)
    return AlertInputs(
        exposure=case.sums.exposure,
        limit=header.limit.amount if header.limit.is_open else None,
        exposure_grew=case.exposure_grew,
        overdue_items=case.overdue_items,
        overdue_amount=case.sums.overdue,
        p_late=last.p_late if last is not None else 0.0,
        p_late_slow=average if average is not None else 1.0,
        ready=last is not None and last.ready,
        shock=header.bank.shock,
        stage_alarm=is_alarm(header.insolvency.stage),
        possible_alarm=is_alarm(header.insolvency.possible),
        blind="payments" in case.paused,
    )


def send_alert(case: UnitOfWork, transition: Transition) -> None:
    """Announce that an alert was raised or cleared."""
    alert, alert_type = transition.alert, transition.alert_type
    raised = transition.state == "raised"
    data = _Alert(
        customer_id=case.customer_id,
        policy_version=case.policy.version,
        model_version=case.context.model.version,
        code_version=CODE_VERSION,
        alert_id=alert.alert_id,
        state="raised" if raised else "cleared",
        alert_type=alert_type,
        severity=alert.severity,
        fingerprint=fingerprint(alert_type, case.customer_id),
        raised_at=datetime.fromisoformat(alert.raised_at),
        cleared_at=None if raised else case.at,
        exposure=case.sums.exposure,
        currency=case.policy.currency,
        reasons=(_raised_because(case, alert_type) if raised else _cleared_because(alert_type),),
        evidence=_alert_evidence(case, alert_type),
        recommended_action=ACTIONS[alert_type] if raised else "Nothing to do.",
    )
    case.send("alerts", "duewatch.alert.raised.v1" if raised else "duewatch.alert.cleared.v1", data)


def _alert_evidence(case: UnitOfWork, alert_type: str) -> tuple[str, ...]:
    header = case.header
    if alert_type == "overdue":
        return (case.cause_id, *header.overdue_ids)
    if alert_type == "insolvency":
        return (case.cause_id, *(n.notice_id for n in header.insolvency.notices[-3:]))
    return (case.cause_id,)


def _raised_because(case: UnitOfWork, alert_type: str) -> Reason:
    header, currency = case.header, case.policy.currency
    if alert_type == "overdue":
        said = texts.overdue(case.overdue_items, case.policy.alerts.overdue_days, case.sums.overdue, currency)
    elif alert_type == "score_drop":
        average = scoring.slow_average(header.last, case.day) or 0.0
        said = texts.score_drop(header.last.p_late if header.last else 0.0, average)
    elif alert_type == "over_limit":
        said = texts.over_limit(case.sums.exposure, header.limit.amount, currency)
    elif alert_type == "cash_flow_shock":
        said = texts.cash_flow_shock(header.bank.last_inflow, expected_inflow(header.bank), header.bank.currency)
    else:
        insolvency = header.insolvency
        certain = is_alarm(insolvency.stage)
        said = texts.insolvency(insolvency.stage if certain else insolvency.possible, certain)
    return _Reason(code=alert_type, text=said[0], text_de=said[1])


@lru_cache(maxsize=16)
def _cleared_because(alert_type: str) -> Reason:
    return _Reason(code=f"{alert_type}_over", text=texts.GONE[0], text_de=texts.GONE[1])


_KINDS = {"": "debtor", "i": "invoice", "f": "score", "s": "sales"}


def deadline_failed(customer_id: str, row_key: str, day: int, error: Exception, zone: str) -> Output:
    """What is told of a deadline on which our own code failed; it is tried again the day after."""
    data = DeadlineFailed(
        customer_id=customer_id,
        kind=_KINDS.get(row_key[:1], "other"),
        row=row_key,
        due_on=date.fromordinal(day),
        try_again_on=date.fromordinal(day + 1),
        error=f"{type(error).__name__}: {error}"[:500],
        recommended_action="report it with this text; after the update it is made up for by itself, on the day after",
        code_version=CODE_VERSION,
    )
    cause = stable_id("wake", customer_id, row_key, day)
    at = start_of_day(day, zone)
    name = "duewatch.deadline.failed.v1"
    return Output("dead-letters", customer_id, name, stable_id(name, customer_id, cause), at, at, data, cause, cause)
