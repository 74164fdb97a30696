"""The limit policy as tables of cases: one settled debtor, what is different about it, and what the rules make of that.

A new rule gets its cases in a table of its own (``CASES_OF_...``); the properties at the end hold for every rule as it is.
"""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agents.debtor.insolvency.decide import is_default
from agents.debtor.limits.amounts import amount_after_cut, band_factor, band_terms, round_to_step, target
from agents.debtor.limits.decide import (
    MAX_DECISIONS,
    all_decisions,
    answer_review,
    decide,
    is_opening,
    open_limit,
    override_limit,
    with_number,
)
from agents.debtor.limits.rules import NO_PROCEEDING, REASONS, RULES, LimitDecision, LimitEvidence, LimitInputs, is_quiet
from agents.debtor.limits.state import Limit
from schemas.events.insolvency import Stage
from schemas.events.policies import LimitRules, PolicyPublished

D = Decimal
DAY = 400
"""Of all cases. The debtor has been known since day 1, so its first 90 days are over."""
RULES_OF_THE_CASES = LimitRules()
"""The published defaults: opening 10,000, 90 days covered, a step of 1.25, a review every 30 days, holds of 7."""

Changes = dict[str, Any]


def limit_of(**changes: Any) -> Limit:
    """A settled limit that its sales just bear out, last reviewed 10 days ago."""
    settled = Limit(
        action="act", generation=1, sequence=5, amount=D("10000.00"), currency="EUR", terms_days=30, security=True, band="medium",
        last_id="l-5", opened=1, follows_until=91, review=DAY + 20, effective=DAY - 10,
    )  # fmt: skip
    return replace(settled, **changes)


def inputs_of(**changes: Any) -> LimitInputs:
    """A medium debtor without any trouble; ``stage`` decides whether it is insolvent."""
    quiet = LimitInputs(
        band="medium",
        exposure=D("5000.00"),
        sales_90d=D("10000.00"),
        is_overdue=False,
        stage="none",
        is_insolvent=False,
        shock=False,
    )
    inputs = quiet._replace(**changes)
    return inputs._replace(is_insolvent=is_default(inputs.stage))


def assert_decides(limit: Limit, inputs: LimitInputs, codes: tuple[str, ...] | None, after: Changes, day: int = DAY) -> None:
    """``codes`` None: nothing changes; (): only what is remembered; ``after``: all that is different in the limit from now on."""
    decision = decide(limit, inputs, RULES_OF_THE_CASES, day)
    if codes is None:
        assert decision is None
        return
    assert decision is not None
    assert decision.codes == codes
    assert decision.limit == replace(limit, **after)


CUT: Changes = {"amount": D("5000.00"), "terms_days": 14, "security": True, "follows_until": 0, "review": DAY + 30}
"""What a cut makes of the settled limit: half of it is left, weak terms, the next review a month off."""
HELD: Changes = {"hold": True, "hold_until": DAY + 7}
STOPPED: Changes = {"amount": D("0.00"), "terms_days": 0, "security": True, "band": "weak", "follows_until": 0}

CASES_OF_A_QUIET_DEBTOR = [
    pytest.param({}, {}, None, {}, id="a settled limit between two reviews stays as it is"),
    pytest.param({}, {"sales_90d": D(90000)}, None, {}, id="much more business waits for the review"),
    pytest.param({}, {"sales_90d": D(100)}, None, {}, id="much less business waits for the review"),
    pytest.param({}, {"band": "strong"}, None, {}, id="a better band waits for the review"),
    pytest.param({}, {"exposure": D(99999)}, None, {}, id="an exposure above the limit is an alert and no reason to change it"),
]

CASES_OF_INSOLVENCY = [
    *(
        pytest.param(
            {}, {"stage": stage}, ("insolvency",), {**STOPPED, "stage_acted": stage},
            id=f"{stage}: nothing more on credit",
        )
        for stage in ("preliminary", "opened", "refused", "reorganisation", "converted")
    ),
    pytest.param(
        {"override_until": DAY + 50}, {"stage": "opened"}, ("insolvency",),
        {**STOPPED, "stage_acted": "opened", "override_until": 0}, id="an override does not stand against a proceeding",
    ),
    pytest.param(
        {"hold": True, "hold_until": DAY + 3}, {"stage": "opened"}, ("insolvency",),
        {**STOPPED, "stage_acted": "opened", "hold": False, "hold_until": 0}, id="a hold is over when the credit is",
    ),
    pytest.param(
        {**STOPPED, "stage_acted": "preliminary"}, {"stage": "opened"}, None, {}, id="the next stage finds the limit at zero",
    ),
    pytest.param(
        {"stage_acted": "opened"}, {"stage": "opened", "is_overdue": True}, None, {},
        id="what a person set after the proceeding was acted on stays",
    ),
    pytest.param(
        {"stage_acted": "preliminary"}, {"stage": "opened"}, ("insolvency",), {**STOPPED, "stage_acted": "opened"},
        id="what a person set after one stage ends with the next",
    ),
    pytest.param(
        {**STOPPED, "stage_acted": "opened"}, {"stage": "opened", "is_overdue": True, "shock": True, "band": "weak"}, None, {},
        id="nothing else moves the limit of an insolvent debtor",
    ),
    *(
        pytest.param(
            {**STOPPED, "stage_acted": "opened"}, {"stage": stage}, ("insolvency_over",),
            {"amount": D("5000.00"), "terms_days": 14, "stage_acted": "none", "review": DAY + 30},
            id=f"{stage} after a proceeding: a cautious limit again",
        )
        for stage in sorted(NO_PROCEEDING)
    ),
    *(
        pytest.param(
            {**STOPPED, "stage_acted": "opened"}, {"exposure": exposure}, ("insolvency_over",),
            {"amount": D(amount), "terms_days": 14, "stage_acted": "none", "review": DAY + 30}, id=f"the limit after it: {why}",
        )
        for exposure, amount, why in (
            (D("1234.56"), "1200.00", "what is owed, in whole steps"),
            (D("12345.00"), "10000.00", "the opening limit at most"),
            (D("0.00"), "10000.00", "the opening limit where nothing is owed"),
            (D("-50.00"), "10000.00", "the opening limit where the debtor has a credit"),
            (None, "10000.00", "the opening limit where a rate is missing"),
        )
    ),
    pytest.param(
        {**STOPPED, "stage_acted": "opened"}, {"stage": "petition"}, None, {}, id="a petition after a proceeding is not its end"
    ),
]  # fmt: skip

CASES_OF_AN_OVERRIDE = [
    pytest.param(
        {"override_until": DAY}, {"is_overdue": True, "shock": True, "band": "weak"}, None, {},
        id="on its last day it stands against everything but insolvency",
    ),
    pytest.param(
        {"override_until": DAY - 1}, {}, (), {"override_until": 0, "review": DAY},
        id="the day after, the policy decides again: a review is due, nothing is announced",
    ),
    pytest.param(
        {"override_until": DAY - 1}, {"stage": "petition"}, (), {"override_until": 0, "review": DAY},
        id="before a hold",
    ),
]  # fmt: skip

CASES_OF_HOLDS = [
    pytest.param({}, {"stage": "petition"}, ("petition",), {**HELD, "stage_acted": "petition"}, id="a petition holds for a week"),
    pytest.param({"stage_acted": "petition"}, {"stage": "petition"}, None, {}, id="the same petition holds once"),
    pytest.param(
        {"stage_acted": "petition"}, {"stage": "none"}, (), {"stage_acted": "none"}, id="a petition withdrawn may hold again"
    ),
    pytest.param(
        {}, {"shock": True}, ("cash_flow_shock",), {**HELD, "shock_acted": True},
        id="a cash-flow shock holds for a week",
    ),
    pytest.param({"shock_acted": True}, {"shock": True}, None, {}, id="the same shock holds once"),
    pytest.param(
        {}, {"exposure": None, "sales_90d": None}, ("rate_missing",), {**HELD, "rate_acted": True},
        id="a rate that is missing holds for a week, and moves no amount",
    ),
    pytest.param({"rate_acted": True}, {"exposure": None, "sales_90d": None}, None, {}, id="the same gap holds once"),
    pytest.param({"rate_acted": True}, {}, (), {"rate_acted": False}, id="a rate that is there again may be missed again"),
    pytest.param(
        {"hold": True, "hold_until": DAY}, {"exposure": None, "sales_90d": None}, None, {},
        id="a missing rate waits while a person looks anyway",
    ),
    pytest.param({"shock_acted": True}, {"shock": False}, (), {"shock_acted": False}, id="a shock that is over may hold again"),
    pytest.param(
        {}, {"stage": "petition", "shock": True}, ("petition",), {**HELD, "stage_acted": "petition"},
        id="of a petition and a shock the petition is the reason",
    ),
    pytest.param(
        {"hold": True, "hold_until": DAY}, {"stage": "petition", "shock": True}, None, {},
        id="until the end of its last day it stays",
    ),
    pytest.param(
        {"hold": True, "hold_until": DAY - 1}, {}, ("hold_lapsed",), {"hold": False, "hold_until": 0},
        id="the day after, it lapses",
    ),
    pytest.param(
        {"hold": True, "hold_until": DAY + 3, "shock_acted": True}, {"shock": False}, None, {},
        id="a hold outlives its shock until somebody answers or it lapses",
    ),
    pytest.param(
        {"hold": True, "hold_until": DAY + 3}, {"is_overdue": True}, ("overdue",), {**CUT, "overdue_acted": True},
        id="a hold does not put off a cut",
    ),
]  # fmt: skip

CASES_WHILE_PAYMENTS_ARE_PAUSED = [
    pytest.param(
        {}, {"payments_paused": True, "is_overdue": True}, ("payments_paused",), {**HELD, "paused_acted": True},
        id="instead of the cut for overdue invoices a person is asked",
    ),
    pytest.param(
        {}, {"payments_paused": True, "band": "weak"}, ("payments_paused",), {**HELD, "paused_acted": True},
        id="instead of the cut for a weak band a person is asked",
    ),
    pytest.param({}, {"payments_paused": True}, None, {}, id="a debtor without trouble does not notice"),
    pytest.param(
        {"paused_acted": True}, {"payments_paused": True, "is_overdue": True}, None, {},
        id="a person is asked once, and nothing is cut",
    ),
    pytest.param(
        {"hold": True, "hold_until": DAY + 2}, {"payments_paused": True, "is_overdue": True}, None, {},
        id="an open hold asks already",
    ),
    pytest.param(
        {"overdue_acted": True}, {"payments_paused": True, "is_overdue": True}, None, {}, id="what was cut before stays cut"
    ),
    pytest.param(
        {"band": "weak"}, {"payments_paused": True, "band": "weak"}, None, {}, id="a debtor that had been weak has not fallen"
    ),
    pytest.param({"paused_acted": True}, {"is_overdue": True}, (), {"paused_acted": False}, id="payments are read again"),
    pytest.param(
        {}, {"payments_paused": True, "is_overdue": True, "shock": True}, ("cash_flow_shock",), {**HELD, "shock_acted": True},
        id="a shock is a reason of its own",
    ),
]  # fmt: skip

CASES_OF_CUTS = [
    pytest.param(
        {}, {"is_overdue": True}, ("overdue",), {**CUT, "overdue_acted": True},
        id="overdue invoices cut the limit by half",
    ),
    pytest.param({"overdue_acted": True}, {"is_overdue": True}, None, {}, id="the same overdue invoices cut once"),
    pytest.param(
        {"overdue_acted": True}, {"is_overdue": False}, (), {"overdue_acted": False},
        id="once they are paid it may cut again",
    ),
    pytest.param(
        {}, {"band": "weak"}, ("band_weak",), {**CUT, "band": "weak"},
        id="a fall into the weak band cuts the limit by half",
    ),
    pytest.param(
        {"band": "strong"}, {"band": "weak"}, ("band_weak",), {**CUT, "band": "weak"},
        id="from the strong band as well",
    ),
    pytest.param({"band": "weak"}, {"band": "weak"}, None, {}, id="a weak debtor that stays weak is not cut again"),
    pytest.param(
        {}, {"is_overdue": True, "band": "weak"}, ("overdue",), {**CUT, "overdue_acted": True},
        id="of both, what is overdue is the first reason",
    ),
    pytest.param(
        {"terms_days": 7, "security": False}, {"is_overdue": True}, ("overdue",), {**CUT, "terms_days": 7, "overdue_acted": True},
        id="shorter terms stay, security is required from now on",
    ),
    pytest.param(
        {"follows_until": DAY + 50}, {"is_overdue": True}, ("overdue",), {**CUT, "overdue_acted": True},
        id="in the first 90 days a cut ends the following of the sales",
    ),
    pytest.param(
        {"review": DAY}, {"is_overdue": True, "sales_90d": D(90000)}, ("overdue",), {**CUT, "overdue_acted": True},
        id="on the day of the review the cut comes first",
    ),
]  # fmt: skip

DUE: Changes = {"review": DAY}
REVIEWED: Changes = {"review": DAY + 30}


def raised(amount: str) -> Changes:
    return {"amount": D(amount), **REVIEWED}


CASES_OF_A_RAISE = [
    pytest.param(DUE, {}, (), REVIEWED, id="a review that finds all as it was sets the day of the next one, and says nothing"),
    pytest.param({"review": DAY + 1}, {"sales_90d": D(90000)}, None, {}, id="on the day before the review nothing is raised"),
    pytest.param(
        {"review": DAY - 9}, {"sales_90d": D(12000)}, ("regular_payments",), raised("12000.00"),
        id="a late review is made up for",
    ),
    pytest.param(DUE, {"sales_90d": D(11000)}, (), REVIEWED, id="a target of just 10 % more is within the dead band"),
    pytest.param(
        DUE, {"sales_90d": D(11100)}, ("regular_payments",), raised("11100.00"),
        id="a target above the dead band raises",
    ),
    pytest.param(DUE, {"sales_90d": D(12500)}, ("regular_payments",), raised("12500.00"), id="up to a whole step"),
    pytest.param(
        DUE, {"sales_90d": D(12600)}, ("regular_payments",), raised("12500.00"),
        id="a higher target is cut off at one step",
    ),
    pytest.param(DUE, {"sales_90d": D(90000)}, ("regular_payments",), raised("12500.00"), id="nine times the business: one step"),
    pytest.param(
        {**DUE, "amount": D("10100.00")}, {"sales_90d": D(90000)}, ("regular_payments",), raised("12700.00"),
        id="a step is rounded up, so that a small limit can grow at all",
    ),
    pytest.param(
        {**DUE, "amount": D("0.00")}, {"sales_90d": D(90000)}, ("regular_payments",), raised("90000.00"),
        id="no step leads up from zero: the target itself",
    ),
    pytest.param(
        DUE, {"sales_90d": D(12000), "is_rising": True}, ("regular_payments", "rising_cash_flow"), raised("12000.00"),
        id="a rising inflow is one more reason",
    ),
    pytest.param(DUE, {"sales_90d": D(11000), "is_rising": True}, (), REVIEWED, id="a rising inflow alone raises nothing"),
    pytest.param(DUE, {"sales_90d": None}, (), REVIEWED, id="a missing rate raises nothing"),
    pytest.param(DUE, {"sales_90d": D(0)}, (), REVIEWED, id="no sales give no target"),
]  # fmt: skip

CASES_OF_WHAT_BARS_A_RAISE = [
    pytest.param({"hold": True, "hold_until": DAY + 3}, {}, id="an open hold"),
    pytest.param({"overdue_acted": True}, {"is_overdue": True}, id="overdue invoices"),
    pytest.param({"shock_acted": True}, {"shock": True}, id="a cash-flow shock whose hold has lapsed"),
    pytest.param({"band": "weak", "terms_days": 14}, {"band": "weak"}, id="a weak band"),
]

CASES_IN_THE_FIRST_90_DAYS = [
    pytest.param(
        {}, {"sales_90d": D(90000)}, ("regular_payments",), {"amount": D("90000.00")},
        id="the limit follows at once, in full",
    ),
    pytest.param({}, {"sales_90d": D(11000)}, None, {}, id="but not within the dead band"),
    pytest.param({}, {"sales_90d": D(100)}, None, {}, id="it does not follow downwards"),
    pytest.param(DUE, {"sales_90d": D(100)}, (), REVIEWED, id="not even at a review"),
    pytest.param(
        {}, {"band": "strong"}, ("regular_payments",), {"amount": D("15000.00")},
        id="a better band counts, its terms wait",
    ),
    pytest.param(
        DUE, {"band": "strong"}, ("regular_payments", "terms"),
        {"amount": D("15000.00"), **REVIEWED, "band": "strong", "terms_days": 45, "security": False}, id="until the review",
    ),
]  # fmt: skip

LARGE: Changes = {**DUE, "amount": D("20000.00")}

CASES_OF_A_LOWERING = [
    pytest.param(LARGE, {"sales_90d": D(18000)}, (), REVIEWED, id="a target of just 10 % less is within the dead band"),
    pytest.param(
        LARGE, {"sales_90d": D(17900)}, ("less_business",), raised("17900.00"),
        id="a target below the dead band lowers",
    ),
    pytest.param(LARGE, {"sales_90d": D(100)}, ("less_business",), raised("10000.00"), id="not below the opening limit"),
    pytest.param(DUE, {"sales_90d": D(100)}, (), REVIEWED, id="a limit at the opening limit stays"),
    pytest.param(LARGE, {"sales_90d": D(0)}, (), REVIEWED, id="without any sales it stays: there is nothing to compute from"),
    pytest.param({**LARGE, "review": DAY + 1}, {"sales_90d": D(100)}, None, {}, id="not before the review"),
    pytest.param(LARGE, {"sales_90d": D(100), "payments_paused": True}, (), REVIEWED, id="not while payments are paused"),
    pytest.param(
        {**LARGE, "band": "strong", "terms_days": 45, "security": False}, {"sales_90d": D(16000)}, ("risk_grown", "terms"),
        {"amount": D("16000.00"), **REVIEWED, "band": "medium", "terms_days": 30, "security": True},
        id="from strong to medium the risk is the reason",
    ),
    pytest.param(
        {**LARGE, "band": "strong", "terms_days": 45, "security": False}, {"band": "strong", "sales_90d": D(100)},
        ("less_business",), raised("15000.00"), id="the floor of a strong debtor is higher",
    ),
    pytest.param(
        {**LARGE, "band": "weak", "terms_days": 14}, {"band": "weak", "sales_90d": D(100)}, ("less_business",),
        raised("5000.00"), id="the floor of a weak debtor is lower",
    ),
]  # fmt: skip

CASES_OF_TERMS = [
    pytest.param(
        DUE, {"band": "strong", "sales_90d": D(7000)}, ("terms",),
        {**REVIEWED, "band": "strong", "terms_days": 45, "security": False},
        id="a strong debtor gets longer terms without security",
    ),
    pytest.param(
        {**DUE, "band": "weak", "terms_days": 14}, {}, ("terms",), {**REVIEWED, "band": "medium", "terms_days": 30},
        id="a recovered debtor gets the usual terms again",
    ),
    pytest.param(
        {**DUE, "terms_days": 14, "overdue_acted": True}, {"is_overdue": True}, (), REVIEWED,
        id="while invoices are overdue the terms of the cut stay",
    ),
    pytest.param({**DUE, "terms_days": 14}, {}, ("terms",), {**REVIEWED, "terms_days": 30}, id="after they are paid they end"),
    pytest.param(
        {**DUE, "security": False}, {}, ("terms",), {**REVIEWED, "security": True}, id="security alone is a change of terms too"
    ),
    pytest.param({"terms_days": 14}, {}, None, {}, id="terms wait for the review"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "inputs", "codes", "after"),
    [
        *CASES_OF_A_QUIET_DEBTOR,
        *CASES_OF_INSOLVENCY,
        *CASES_OF_AN_OVERRIDE,
        *CASES_OF_HOLDS,
        *CASES_WHILE_PAYMENTS_ARE_PAUSED,
        *CASES_OF_CUTS,
        *CASES_OF_A_RAISE,
        *CASES_OF_A_LOWERING,
        *CASES_OF_TERMS,
    ],
)
def test_the_rules(limit: Changes, inputs: Changes, codes: tuple[str, ...] | None, after: Changes) -> None:
    assert_decides(limit_of(**limit), inputs_of(**inputs), codes, after)


@pytest.mark.parametrize(("limit", "inputs"), CASES_OF_WHAT_BARS_A_RAISE)
def test_what_bars_a_raise(limit: Changes, inputs: Changes) -> None:
    assert_decides(limit_of(**DUE, **limit), inputs_of(sales_90d=D(90000), **inputs), (), REVIEWED)


@pytest.mark.parametrize(("limit", "inputs", "codes", "after"), CASES_IN_THE_FIRST_90_DAYS)
def test_in_the_first_90_days(limit: Changes, inputs: Changes, codes: tuple[str, ...] | None, after: Changes) -> None:
    assert_decides(limit_of(opened=DAY - 89, follows_until=DAY + 1, **limit), inputs_of(**inputs), codes, after)


def test_on_the_91st_day_a_limit_no_longer_follows_the_sales() -> None:
    assert_decides(limit_of(opened=DAY - 90, follows_until=DAY), inputs_of(sales_90d=D(90000)), None, {})


CASES_OF_ONE_AFTER_THE_OTHER = [
    pytest.param(
        {"hold": True, "hold_until": DAY - 1}, {"is_overdue": True}, [("hold_lapsed",), ("overdue",)], "5000.00",
        id="a hold lapses, then the limit is cut",
    ),
    pytest.param({}, {"is_overdue": True, "band": "weak"}, [("overdue",), ("band_weak",)], "2500.00", id="two causes cut twice"),
    pytest.param(
        {}, {"is_overdue": True, "shock": True}, [("cash_flow_shock",), ("overdue",)], "5000.00", id="a hold first, then a cut"
    ),
    pytest.param(
        {"override_until": DAY - 1}, {"is_overdue": True}, [(), ("overdue",)], "5000.00",
        id="what was overdue under an override cuts when it ends",
    ),
    pytest.param(
        {"override_until": DAY - 1, "amount": D("50000.00")}, {}, [(), ("less_business",)], "10000.00",
        id="a high override that ends is reviewed at once",
    ),
    pytest.param(
        {"paused_acted": True, "hold": True, "hold_until": DAY + 2}, {"is_overdue": True}, [(), ("overdue",)], "5000.00",
        id="payments are read again, and what is still overdue cuts",
    ),
    pytest.param(
        {"stage_acted": "opened", "amount": D("0.00"), "band": "weak"}, {"is_overdue": True},
        [("insolvency_over",), ("overdue",)], "2500.00", id="after a proceeding what is overdue still counts",
    ),
    pytest.param(
        {}, {"stage": "opened", "is_overdue": True, "shock": True}, [("insolvency",)], "0.00",
        id="insolvency ends all else",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("limit", "inputs", "codes", "amount"), CASES_OF_ONE_AFTER_THE_OTHER)
def test_one_decision_after_the_other(limit: Changes, inputs: Changes, codes: list[tuple[str, ...]], amount: str) -> None:
    decisions = list(all_decisions(limit_of(**limit), inputs_of(**inputs), RULES_OF_THE_CASES, DAY))
    assert [decision.codes for decision in decisions] == codes
    assert str(decisions[-1].limit.amount) == amount


def test_a_debtor_whose_business_grows_tenfold_climbs_step_by_step() -> None:
    limit, amounts = limit_of(**DUE), []
    for review in range(DAY, DAY + 30 * 12, 30):
        decision = decide(limit, inputs_of(sales_90d=D(100000)), RULES_OF_THE_CASES, review)
        assert decision is not None
        limit = decision.limit
        amounts.append(int(limit.amount))
    assert amounts == [12500, 15700, 19700, 24700, 30900, 38700, 48400, 60500, 75700, 94700, 94700, 94700]


# -- the opening
CASES_OF_AN_OPENING = [
    pytest.param({}, {}, ("opening_limit",), {"amount": D("10000.00"), "opened": DAY}, id="a new debtor gets the opening limit"),
    pytest.param(
        {}, {"band": "strong"}, ("opening_limit",), {"terms_days": 45, "security": False},
        id="with the terms of its band",
    ),
    pytest.param({}, {"band": "weak"}, ("opening_limit",), {"amount": D("10000.00"), "terms_days": 14}, id="a weak one too"),
    pytest.param(
        {}, {"stage": "opened"}, ("opening_limit", "insolvency"), {"amount": D("0.00"), "terms_days": 0, "stage_acted": "opened"},
        id="an insolvent debtor gets nothing",
    ),
    pytest.param(
        {}, {"stage": "petition"}, ("opening_limit",), {"amount": D("10000.00"), "stage_acted": "none"},
        id="a petition holds afterwards, by its own rule",
    ),
    pytest.param(
        {}, {"exposure": None}, ("opening_limit", "rate_missing"),
        {"amount": D("10000.00"), "hold": True, "hold_until": DAY + 7, "rate_acted": True},
        id="a missing rate is named, and holds",
    ),
    pytest.param(
        {}, {"exposure": None, "stage": "opened"}, ("opening_limit", "insolvency", "rate_missing"),
        {"amount": D("0.00"), "hold": False, "rate_acted": False}, id="there is nothing to hold of an insolvent debtor",
    ),
    pytest.param(
        {"action": "observe", "generation": 1, "amount": D("7300.00"), "currency": "EUR", "opened": 50}, {}, ("generation",),
        {"amount": D("7300.00"), "opened": 50, "follows_until": 140}, id="the shadow limit becomes the limit, its age stays",
    ),
    pytest.param(
        {"action": "observe", "generation": 1, "amount": D("7300.00"), "currency": "USD"}, {}, ("generation",),
        {"amount": D("10000.00")}, id="a limit in another currency begins anew",
    ),
    pytest.param(
        {"generation": 1, "hold": True, "hold_until": DAY + 5, "override_until": DAY + 5, "overdue_acted": True,
         "shock_acted": True, "stage_acted": "petition", "paused_acted": True,
         "rate_acted": True},
        {}, ("generation",),
        {"hold": False, "hold_until": 0, "override_until": 0, "overdue_acted": False, "shock_acted": False, "stage_acted": "none",
         "paused_acted": False, "rate_acted": False},
        id="a new generation has acted on nothing yet",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("previous", "inputs", "codes", "after"), CASES_OF_AN_OPENING)
def test_the_opening(previous: Changes, inputs: Changes, codes: tuple[str, ...], after: Changes) -> None:
    decision = open_limit("act", 2, Limit(**previous), inputs_of(**inputs), RULES_OF_THE_CASES, "EUR", DAY)
    assert decision.codes == codes
    assert {name: getattr(decision.limit, name) for name in after} == after
    assert (decision.limit.action, decision.limit.generation, decision.limit.review) == ("act", 2, DAY + 30)


# -- what people decide
WAITING: Changes = {"hold": True, "hold_until": DAY + 3, "shock_acted": True}

CASES_OF_ANSWERS = [
    pytest.param(
        "confirm", WAITING, {}, ("review_confirmed",),
        {"amount": D("5000.00"), "terms_days": 14, "security": True, "hold": False, "hold_until": 0},
        id="confirm cuts and ends the hold",
    ),
    pytest.param(
        "reject", WAITING, {}, ("hold_rejected",), {"hold": False, "hold_until": 0},
        id="reject ends the hold, nothing else",
    ),
    pytest.param(
        "confirm", {**WAITING, "terms_days": 7}, {}, ("review_confirmed",),
        {"amount": D("5000.00"), "terms_days": 14, "hold": False, "hold_until": 0},
        id="the terms are then those of a weak debtor",
    ),
    pytest.param(
        "confirm", WAITING, {"sales_90d": D(2000)}, ("review_confirmed",),
        {"amount": D("1000.00"), "terms_days": 14, "hold": False, "hold_until": 0}, id="little business is worth less than half",
    ),
    pytest.param("confirm", {}, {}, None, {}, id="nothing waits: confirm is refused"),
    pytest.param("reject", {}, {}, None, {}, id="nothing waits: reject is refused"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "limit", "inputs", "codes", "after"), CASES_OF_ANSWERS)
def test_answers(action: str, limit: Changes, inputs: Changes, codes: tuple[str, ...] | None, after: Changes) -> None:
    decision = answer_review(limit_of(**limit), action, inputs_of(**inputs), RULES_OF_THE_CASES)
    expected = None if codes is None else LimitDecision(replace(limit_of(**limit), **after), codes)
    assert decision == expected


@pytest.mark.parametrize("limit", [{}, WAITING, {"override_until": DAY + 1}])
def test_an_override_sets_the_amount_and_answers_an_open_review(limit: Changes) -> None:
    decision = override_limit(limit_of(**limit), D("50000"), DAY + 60)
    expected = {"amount": D("50000.00"), "override_until": DAY + 60, "hold": False, "hold_until": 0}
    assert decision == LimitDecision(replace(limit_of(**limit), **expected), ("override",))
    assert str(decision.limit.amount) == "50000.00"


# -- the numbers that changes go out under
CASES_OF_NUMBERS = [
    pytest.param({}, ("overdue",), 6, DAY, id="the next number, in force from today"),
    pytest.param({"effective": DAY + 1}, ("overdue",), 6, DAY + 1, id="never in force before the change before it"),
    pytest.param({}, (), 5, DAY - 10, id="what is not announced takes no number"),
]


@pytest.mark.parametrize(("limit", "codes", "sequence", "effective"), CASES_OF_NUMBERS)
def test_numbers(limit: Changes, codes: tuple[str, ...], sequence: int, effective: int) -> None:
    before = limit_of(**limit)
    after = with_number(before, LimitDecision(replace(before, overdue_acted=True, sequence=0), codes), "c-1", DAY)
    assert (after.sequence, after.effective, after.overdue_acted) == (sequence, effective, True)
    assert (after.last_id == before.last_id) is not bool(codes)


@pytest.mark.parametrize(
    ("before", "after", "is_first"),
    [
        pytest.param(("", 0), ("observe", 1), True, id="the first of all"),
        pytest.param(("observe", 1), ("act", 1), True, id="the first that acts"),
        pytest.param(("act", 1), ("act", 2), True, id="the first of a new generation"),
        pytest.param(("act", 2), ("act", 2), False, id="all others follow upon one"),
    ],
)
def test_a_generation_is_numbered_from_one(before: tuple[str, int], after: tuple[str, int], is_first: bool) -> None:
    first, second = (Limit(action=action, generation=generation, sequence=7) for action, generation in (before, after))
    assert is_opening(first, second) is is_first
    assert with_number(first, LimitDecision(second, ("generation",)), "c-1", DAY).sequence == (1 if is_first else 8)


def test_ids_of_changes_follow_from_what_they_number() -> None:
    changes = [
        with_number(Limit("act", 1, sequence=n), LimitDecision(Limit("act", 1), ("overdue",)), customer, DAY).last_id
        for n in (1, 2)
        for customer in ("c-1", "c-2")
    ]
    assert len(set(changes)) == 4
    assert (
        changes[0] == with_number(Limit("act", 1, sequence=1), LimitDecision(Limit("act", 1), ("terms",)), "c-1", DAY + 9).last_id
    )


# -- the next day that something falls due
@pytest.mark.parametrize(
    ("limit", "day"),
    [
        pytest.param({"review": 0}, 0, id="nothing"),
        pytest.param({}, DAY + 20, id="the review"),
        pytest.param({"hold": True, "hold_until": DAY + 7}, DAY + 8, id="the day after a hold"),
        pytest.param({"hold": False, "hold_until": DAY + 7}, DAY + 20, id="a hold that was answered is no deadline"),
        pytest.param({"override_until": DAY + 2}, DAY + 3, id="the day after an override"),
        pytest.param({"override_until": DAY + 60}, DAY + 20, id="the review before the end of an override"),
    ],
)
def test_the_next_deadline(limit: Changes, day: int) -> None:
    assert limit_of(**limit).next_deadline == day


# -- amounts
@pytest.mark.parametrize(
    ("amount", "step", "down", "up"),
    [
        ("1234.56", "100", "1200.00", "1300.00"),
        ("1200.00", "100", "1200.00", "1200.00"),
        ("99.99", "100", "0.00", "100.00"),
        ("0.00", "100", "0.00", "0.00"),
        ("1234.56", "0.5", "1234.50", "1235.00"),
        ("1234.56", "1000", "1000.00", "2000.00"),
    ],
)
def test_amounts_are_whole_steps(amount: str, step: str, down: str, up: str) -> None:
    assert [str(round_to_step(D(amount), D(step), up=is_up)) for is_up in (False, True)] == [down, up]


@pytest.mark.parametrize(
    ("sales", "band", "age_days", "expected"),
    [
        pytest.param("9000", "medium", 400, "9000.00", id="a full window"),
        pytest.param("9000", "strong", 400, "13500.00", id="a strong debtor is worth half as much again"),
        pytest.param("9000", "weak", 400, "4500.00", id="a weak one half"),
        pytest.param("9000", "medium", 89, "9000.00", id="the 90th day fills the window"),
        pytest.param("9000", "medium", 44, "18000.00", id="half a window counts double"),
        pytest.param("9000", "medium", 29, "27000.00", id="the 30th day"),
        pytest.param("9000", "medium", 0, "27000.00", id="one big first invoice counts as the sales of 30 days"),
        pytest.param("9050", "medium", 400, "9000.00", id="in whole steps"),
    ],
)
def test_the_target_covers_the_sales(sales: str, band: str, age_days: int, expected: str) -> None:
    assert str(target(D(sales), band, RULES_OF_THE_CASES, age_days)) == expected


@pytest.mark.parametrize("sales", [None, D(0)])
def test_without_sales_there_is_no_target(sales: Decimal | None) -> None:
    assert target(sales, "medium", RULES_OF_THE_CASES, 400) is None


@pytest.mark.parametrize(
    ("amount", "sales", "expected"),
    [
        pytest.param("10000.00", None, "5000.00", id="half of the limit where nothing is known of the sales"),
        pytest.param("10000.00", "20000", "5000.00", id="half of the limit where the sales are worth more"),
        pytest.param("10000.00", "6000", "3000.00", id="what the sales are worth to a weak debtor where that is less"),
        pytest.param("10000.00", "100", "0.00", id="nothing where they are worth less than a step"),
        pytest.param("10000.00", "-500", "0.00", id="nothing where more was credited than sold"),
        pytest.param("100.00", None, "0.00", id="half of a step is none"),
        pytest.param("0.00", "20000", "0.00", id="a cut raises nothing"),
    ],
)
def test_what_a_cut_leaves(amount: str, sales: str | None, expected: str) -> None:
    left = amount_after_cut(limit_of(amount=D(amount)), None if sales is None else D(sales), RULES_OF_THE_CASES)
    assert str(left) == expected


@pytest.mark.parametrize("band", ["weak", "unknown"])
def test_a_band_that_is_not_known_counts_as_weak(band: str) -> None:
    assert (band_factor(RULES_OF_THE_CASES, band), band_terms(RULES_OF_THE_CASES, band)) == (D("0.5"), 14)


# -- the table
def test_every_reason_has_a_code_of_its_own_and_words_in_both_languages() -> None:
    assert (
        len({reason.text for reason in REASONS.values()}) == len({reason.text_de for reason in REASONS.values()}) == len(REASONS)
    )
    assert sum(len(rule.reasons) for rule in RULES) + 5 == len(REASONS), "a code twice"
    for reason in REASONS.values():
        assert reason.text.endswith(".") and reason.text_de.endswith(".") and reason.text != reason.text_de


def test_the_policy_has_every_value_that_a_reason_quotes() -> None:
    policy = PolicyPublished()
    assert [attrgetter(path)(policy) for reason in REASONS.values() for path in reason.policy_values]


def test_only_overdue_invoices_are_evidence_besides_the_cause() -> None:
    ids = LimitEvidence(overdue_ids=("i-1", "i-2"))
    assert {reason.code for reason in REASONS.values() if reason.evidence(ids)} == {"overdue"}
    assert REASONS["overdue"].evidence(ids) == ("i-1", "i-2")


# -- what holds for every rule, whatever the debtor
BANDS = st.sampled_from(["strong", "medium", "weak"])
STAGES: st.SearchStrategy[Stage] = st.sampled_from(get_args(Stage))
AMOUNTS = st.integers(0, 500).map(lambda hundreds: D(100 * hundreds).quantize(D("0.01")))
DAYS_NEAR = st.integers(DAY - 40, DAY + 40)
LIMITS = st.builds(
    limit_of,
    amount=AMOUNTS,
    band=BANDS,
    terms_days=st.sampled_from([0, 14, 30, 45]),
    security=st.booleans(),
    hold=st.booleans(),
    hold_until=DAYS_NEAR,
    opened=st.integers(DAY - 200, DAY),
    follows_until=st.one_of(st.just(0), DAYS_NEAR),
    review=DAYS_NEAR,
    override_until=st.one_of(st.just(0), DAYS_NEAR),
    overdue_acted=st.booleans(),
    shock_acted=st.booleans(),
    stage_acted=STAGES,
    paused_acted=st.booleans(),
    rate_acted=st.booleans(),
)
INPUTS = st.builds(
    inputs_of,
    band=BANDS,
    exposure=st.one_of(st.none(), AMOUNTS),
    sales_90d=st.one_of(st.none(), AMOUNTS),
    is_overdue=st.booleans(),
    stage=STAGES,
    shock=st.booleans(),
    is_rising=st.booleans(),
    payments_paused=st.booleans(),
)


@given(LIMITS, INPUTS)
def test_the_rules_come_to_an_end_and_give_only_their_own_reasons(limit: Limit, inputs: LimitInputs) -> None:
    decisions = list(all_decisions(limit, inputs, RULES_OF_THE_CASES, DAY))
    assert len(decisions) < MAX_DECISIONS
    if decisions:
        assert decide(decisions[-1].limit, inputs, RULES_OF_THE_CASES, DAY) is None
    assert {code for decision in decisions for code in decision.codes} <= {r.code for rule in RULES for r in rule.reasons}


@given(LIMITS, INPUTS)
def test_what_is_quiet_has_no_rule_that_would_speak(limit: Limit, inputs: LimitInputs) -> None:
    calm = replace(
        limit,
        hold=False,
        override_until=0,
        overdue_acted=False,
        shock_acted=False,
        stage_acted="none",
        paused_acted=False,
        rate_acted=False,
    )
    for candidate in (limit, calm):
        if is_quiet(
            candidate,
            inputs.band,
            1 if inputs.is_overdue else 0,
            inputs.shock,
            inputs.stage,
            DAY,
            is_rate_missing=inputs.exposure is None,
        ):
            assert decide(candidate, inputs, RULES_OF_THE_CASES, DAY) is None


@given(LIMITS, INPUTS)
def test_nothing_is_raised_against_a_bar(limit: Limit, inputs: LimitInputs) -> None:
    for decision in all_decisions(limit, inputs, RULES_OF_THE_CASES, DAY):
        if decision.limit.amount > limit.amount and decision.codes != ("insolvency_over",):
            assert not (limit.hold or inputs.is_overdue or inputs.shock or inputs.band == "weak" or inputs.is_insolvent)
        limit = decision.limit


@given(LIMITS, INPUTS)
def test_a_raise_is_one_step_at_most_once_the_first_90_days_are_over(limit: Limit, inputs: LimitInputs) -> None:
    decision = decide(limit, inputs, RULES_OF_THE_CASES, DAY)
    if decision is not None and "regular_payments" in decision.codes and limit.amount and limit.follows_until <= DAY:
        assert limit.amount < decision.limit.amount <= round_to_step(limit.amount * D("1.25"), D(100), up=True)


@given(LIMITS, INPUTS)
def test_every_change_that_is_announced_is_seen_in_the_limit(limit: Limit, inputs: LimitInputs) -> None:
    for decision in all_decisions(limit, inputs, RULES_OF_THE_CASES, DAY):
        if decision.codes:
            before, after = (
                (lim.amount, lim.terms_days, lim.security, lim.hold, lim.stage_acted) for lim in (limit, decision.limit)
            )
            assert before != after or decision.codes in {("overdue",), ("band_weak",)}, "a cut of nothing still says why"
        limit = decision.limit


@given(LIMITS, INPUTS.filter(lambda inputs: inputs.is_insolvent))
def test_an_insolvent_debtor_is_left_without_credit_unless_a_person_had_said_so_since(limit: Limit, inputs: LimitInputs) -> None:
    *_, last = [LimitDecision(limit), *all_decisions(limit, inputs, RULES_OF_THE_CASES, DAY)]
    assert last.limit.amount == 0 or limit.stage_acted == inputs.stage
