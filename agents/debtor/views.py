"""What one domain is shown of the others: the inputs of its rules, and whether anything in them is new.

Domains do not know each other; all that crosses from one to the next is here. What is asked after every event is cheap; sums and
averages are only made for a domain that may have something to decide.
"""

from __future__ import annotations

from agents.debtor.alerts.types import AlertDetails, AlertInputs, is_overdue
from agents.debtor.bank.decide import cash_signals, expected_inflow, is_rising
from agents.debtor.insolvency.decide import is_alarm, is_default
from agents.debtor.limits import rules as limits
from agents.debtor.limits.rules import LimitEvidence, LimitInputs
from agents.debtor.payments.decide import worst_days_past_due
from agents.debtor.payments.state import Balance, Item
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.assessments import with_assessments
from agents.debtor.scoring.values import ScoreInputs
from agents.debtor.state import Header
from agents.debtor.unit_of_work import UnitOfWork

MAX_NOTICES_QUOTED = 3
"""The last notices of a proceeding are evidence; the earlier ones are in its register."""


def score_inputs(uow: UnitOfWork) -> ScoreInputs:
    """What the score looks at besides the debtor's labels."""
    header = uow.header
    stage, is_certain = header.insolvency.stage, True
    if stage == "none" and header.insolvency.possible != "none":
        stage, is_certain = header.insolvency.possible, False
    rules = uow.policy.alerts
    cash = cash_signals(header.bank, rules.shock_threshold, rules.shock_warm_up_weeks)
    inputs = ScoreInputs(
        days_past_due=worst_days_past_due(header.balances),
        shock=cash.shock,
        bank=cash.is_known,
        falling=cash.falling,
        cushion=cash.cushion,
        stage=stage,
        certain=is_certain and stage != "none",
        overdue_ids=header.overdue_ids,
        notice_ids=_notice_ids(header) if stage != "none" else (),
        day=uow.day,
        overdue_share=_overdue_share(header.balances),
        terms_days=header.master.terms_days,
    )
    return with_assessments(uow.score, inputs)


def _notice_ids(header: Header) -> tuple[str, ...]:
    return tuple(notice.notice_id for notice in header.insolvency.notices[-MAX_NOTICES_QUOTED:])


def _overdue_share(balances: dict[str, Balance]) -> float:
    """How much of what is open is overdue, in the currency where it is most."""
    share = 0.0
    for balance in balances.values():
        not_due, a, b, c, d = balance.buckets
        overdue = a + b + c + d
        if overdue:
            share = max(share, float(overdue / (not_due + overdue)))
    return share


def is_material(uow: UnitOfWork, item: Item) -> bool:
    """Whether what is unpaid of an invoice is large enough for a default, by amount and by share (CRR Art. 178).

    Where a rate is missing the amount is large enough: better one too many.
    """
    unpaid = item.amount - item.credited - item.paid
    rate = uow.rate(item.currency)
    return unpaid > uow.policy.default_share * item.amount and (rate is None or unpaid * rate >= uow.policy.default_amount)


# -- limits
def limit_inputs(uow: UnitOfWork) -> LimitInputs:
    """What the limit rules look at."""
    header, sums = uow.header, uow.sums
    return LimitInputs(
        band=_band(header),
        exposure=sums.exposure,
        sales_90d=sums.sales_90d,
        is_overdue=is_overdue(uow.overdue_items, sums.overdue, uow.policy.alerts),
        stage=header.insolvency.stage,
        is_insolvent=is_default(header.insolvency.stage),
        shock=header.bank.shock,
        is_rising=is_rising(header.bank),
        payments_paused="payments" in uow.paused,
        unpaid=sums.open_amount,
    )


def limit_evidence(uow: UnitOfWork) -> LimitEvidence:
    """The ids that reasons of a limit may quote."""
    return LimitEvidence(overdue_ids=uow.header.overdue_ids)


def is_limit_quiet(uow: UnitOfWork) -> bool:
    """Whether no limit rule can have anything to say: so it is after most events, and nobody has to add up and compare."""
    header = uow.header
    return limits.is_quiet(
        header.limit,
        _band(header),
        uow.overdue_items,
        header.bank.shock,
        header.insolvency.stage,
        uow.day,
        is_rate_missing=uow.is_rate_missing,
    )


def _band(header: Header) -> str:
    return header.last.band if header.last is not None else "medium"


# -- alerts
def alert_inputs(uow: UnitOfWork) -> AlertInputs:
    """What the alert rules look at."""
    header = uow.header
    last = header.last
    average = scoring.slow_average(last, uow.day)
    return AlertInputs(
        exposure=uow.sums.exposure,
        limit=header.limit.amount if header.limit.is_open else None,
        exposure_grew=uow.exposure_grew,
        overdue_items=uow.overdue_items,
        overdue_amount=uow.sums.overdue,
        p_late=last.p_late if last is not None else 0.0,
        p_late_slow=average if average is not None else 1.0,
        ready=last is not None and last.ready,
        shock=header.bank.shock,
        stage_alarm=is_alarm(header.insolvency.stage),
        possible_alarm=is_alarm(header.insolvency.possible),
        payments_paused="payments" in uow.paused,
    )


def alert_details(uow: UnitOfWork) -> AlertDetails:
    """What the words and the evidence of an alert need besides."""
    header = uow.header
    return AlertDetails(
        currency=uow.policy.currency,
        overdue_ids=header.overdue_ids,
        notice_ids=_notice_ids(header),
        stage=header.insolvency.stage,
        possible_stage=header.insolvency.possible,
        last_inflow=header.bank.last_inflow,
        expected_inflow=expected_inflow(header.bank),
        account_currency=header.bank.currency,
    )


def may_alert(uow: UnitOfWork) -> bool:
    """Whether a debtor without any alert may get one now: so that after most events nobody has to add up and compare."""
    header = uow.header
    return (
        uow.overdue_items > 0
        or header.bank.shock
        or header.insolvency.stage != "none"
        or header.insolvency.possible != "none"
        or header.last is not uow.header_before.last  # its average only nears it while it stays
        or uow.exposure_grew
    )


# -- what is new
def bears_on_decisions(before: Header, after: Header) -> bool:
    """Whether anything changed that limit or alerts look at: most deadlines find an invoice paid, and only teach."""
    return (
        after.balances is not before.balances
        or after.last is not before.last
        or after.bank.week != before.bank.week  # within a week movements only add up
        or after.bank.shock is not before.bank.shock
        or after.insolvency is not before.insolvency
        or after.limit is not before.limit
    )
