"""What one domain is shown of the others, and which headers give limit and alerts anything to decide."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from agents.debtor import views
from agents.debtor.alerts.state import Alert
from agents.debtor.bank.state import Bank
from agents.debtor.insolvency.state import Insolvency, Notice
from agents.debtor.keys import ROW_VERSION
from agents.debtor.limits.state import Limit
from agents.debtor.payments.state import ZERO, Balance, Item
from agents.debtor.scoring.state import LastScore
from agents.debtor.state import Header, Master
from agents.debtor.unit_of_work import Deadline, UnitOfWork
from schemas.outputs.scores import Band
from tests.support.builders import START, context

D = Decimal
DAY = START.toordinal() + 400


def balance(not_due: str = "0.00", overdue: str = "0.00", **changes: Any) -> Balance:
    return Balance(buckets=(D(not_due), D(overdue), ZERO, ZERO, ZERO), **changes)


def last_score(band: Band = "medium", p_late: float = 0.3, average: float = 0.3) -> LastScore:
    return LastScore(p_late=p_late, p_default=0.02, band=band, ready=True, day=DAY, average=average)


def case_of(*, paused: frozenset[str] = frozenset(), **header: Any) -> UnitOfWork:
    """A debtor of whom ``header`` is known; its own deadline is being applied, under a policy in EUR without any rate."""
    rows = {"": Header(version=ROW_VERSION, first_day=DAY, **header)}
    return UnitOfWork("c-1", rows, Deadline("", DAY), context(), DAY, paused)


# -- the score
@pytest.mark.parametrize(
    ("insolvency", "expected"),
    [
        pytest.param(Insolvency(), ("none", False, ()), id="no notice"),
        pytest.param(
            Insolvency(stage="opened", notices=(Notice("n1", "opened", True, 1),)), ("opened", True, ("n1",)),
            id="a certain stage",
        ),
        pytest.param(
            Insolvency(possible="opened", notices=(Notice("n1", "opened", False, 1),)), ("opened", False, ("n1",)),
            id="a possible one where nothing is certain",
        ),
        pytest.param(Insolvency(stage="petition", possible="opened"), ("petition", True, ()), id="the certain one counts"),
        pytest.param(
            Insolvency(stage="opened", notices=tuple(Notice(f"n{n}", "opened", True, n) for n in range(5))),
            ("opened", True, ("n2", "n3", "n4")), id="the last three notices are quoted",
        ),
    ],
)  # fmt: skip
def test_the_score_sees_the_proceeding(insolvency: Insolvency, expected: tuple[str, bool, tuple[str, ...]]) -> None:
    inputs = views.score_inputs(case_of(insolvency=insolvency))
    assert (inputs.stage, inputs.certain, inputs.notice_ids) == expected


@pytest.mark.parametrize(
    ("balances", "share"),
    [
        pytest.param({}, 0.0, id="nothing is open"),
        pytest.param({"EUR": balance(not_due="100")}, 0.0, id="nothing is overdue"),
        pytest.param({"EUR": balance(not_due="75", overdue="25")}, 0.25, id="a quarter"),
        pytest.param(
            {"EUR": balance(not_due="75", overdue="25"), "USD": balance(overdue="5")}, 1.0, id="the currency where it is most"
        ),
    ],
)
def test_the_score_sees_which_share_is_overdue(balances: dict[str, Balance], share: float) -> None:
    assert views.score_inputs(case_of(balances=balances)).overdue_share == share


def test_the_score_sees_cash_flow_and_terms() -> None:
    inputs = views.score_inputs(case_of(bank=Bank(weeks=20, cusum=2.5, shock=False), master=Master(terms_days=45)))
    assert (inputs.bank, inputs.shock, inputs.falling, inputs.cushion, inputs.terms_days) == (True, False, True, None, 45)


# -- the limit
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(
            {}, {"band": "medium", "exposure": ZERO, "sales_90d": ZERO, "is_overdue": False},
            id="a debtor nobody knows",
        ),
        pytest.param({"last": last_score("weak")}, {"band": "weak"}, id="the band of its last score"),
        pytest.param(
            {"balances": {"EUR": balance("100.00", "150.00", unapplied=D("20.00"), sales_90d=D("900.00"))}},
            {"exposure": D("230.00"), "sales_90d": D("900.00"), "is_overdue": False}, id="overdue, but not for long enough",
        ),
        pytest.param(
            {"balances": {"EUR": balance(overdue="100.00", overdue_items=1, overdue_sum=D("100.00"))}}, {"is_overdue": True},
            id="for long enough",
        ),
        pytest.param(
            {"balances": {"EUR": balance(overdue="150.00", overdue_items=1, overdue_sum=D("150.00"), unapplied=D("50.01"))}},
            {"is_overdue": False}, id="too little beyond the cash that is not allocated",
        ),
        pytest.param(
            {"balances": {"EUR": balance(overdue="150.00", disputed=(ZERO, D("150.00"), ZERO, ZERO, ZERO))}},
            {"exposure": D("150.00"), "is_overdue": False}, id="in dispute",
        ),
        pytest.param(
            {"balances": {"EUR": balance(overdue="99.99", overdue_items=1, overdue_sum=D("99.99"))}}, {"is_overdue": False},
            id="but too little",
        ),
        pytest.param(
            {"balances": {"USD": balance(overdue="1.00", overdue_items=1, overdue_sum=D("1.00"))}},
            {"exposure": None, "sales_90d": None, "is_overdue": True}, id="a missing rate hides nothing",
        ),
        pytest.param({"insolvency": Insolvency(stage="petition")}, {"stage": "petition", "is_insolvent": False}, id="a petition"),
        pytest.param({"insolvency": Insolvency(stage="opened")}, {"stage": "opened", "is_insolvent": True}, id="a proceeding"),
        pytest.param(
            {"insolvency": Insolvency(possible="opened")}, {"stage": "none", "is_insolvent": False},
            id="a possible match",
        ),
        pytest.param({"bank": Bank(weeks=9, last_inflow=D(50), shock=True)}, {"is_rising": True, "shock": True}, id="cash flow"),
    ],
)  # fmt: skip
def test_what_limit_rules_see(header: dict[str, Any], expected: dict[str, Any]) -> None:
    inputs = views.limit_inputs(case_of(**header))
    assert {name: getattr(inputs, name) for name in expected} == expected
    assert inputs.payments_paused is False


@pytest.mark.parametrize(("topics", "paused"), [((), False), (("payments",), True), (("bank-events",), False)])
def test_only_paused_payments_blind_the_rules(topics: tuple[str, ...], paused: bool) -> None:
    case = case_of(paused=frozenset(topics))
    assert views.limit_inputs(case).payments_paused is views.alert_inputs(case).payments_paused is paused


SETTLED = Limit(action="act", generation=1, amount=D("5000.00"), band="medium", follows_until=DAY - 300, review=DAY + 10)


@pytest.mark.parametrize(
    ("header", "quiet"),
    [
        pytest.param({}, True, id="a settled limit"),
        pytest.param({"limit": replace(SETTLED, review=DAY)}, False, id="a review"),
        pytest.param({"limit": replace(SETTLED, follows_until=DAY + 1)}, False, id="it follows the sales"),
        pytest.param({"limit": replace(SETTLED, hold=True)}, False, id="a hold"),
        pytest.param({"last": last_score("weak")}, False, id="a fall into the weak band"),
        pytest.param({"balances": {"EUR": balance(overdue_items=1, overdue_sum=D(9))}}, False, id="an overdue invoice"),
        pytest.param(
            {"balances": {"EUR": balance(overdue_items=1, overdue_sum=D(9), unapplied=D(9))}}, True, id="one that cash covers"
        ),
        pytest.param({"bank": Bank(shock=True)}, False, id="a shock"),
        pytest.param({"insolvency": Insolvency(stage="closed")}, False, id="any stage of a proceeding"),
    ],
)
def test_when_no_limit_rule_has_anything_to_say(header: dict[str, Any], quiet: bool) -> None:
    assert views.is_limit_quiet(case_of(**{"limit": SETTLED, **header})) is quiet


# -- alerts
def test_what_alert_rules_see() -> None:
    case = case_of(
        balances={"EUR": balance("100.00", "150.00", overdue_items=2, overdue_sum=D("120.00"), unapplied=D("30.00"))},
        last=last_score(p_late=0.6, average=0.2), limit=SETTLED, bank=Bank(shock=True),
        insolvency=Insolvency(stage="petition", possible="plan"),
    )  # fmt: skip
    inputs = views.alert_inputs(case)
    assert inputs == inputs._replace(
        exposure=D("220.00"), limit=D("5000.00"), exposure_grew=False, overdue_items=2, overdue_amount=D("120.00"), p_late=0.6,
        p_late_slow=0.2, ready=True, shock=True, stage_alarm=True, possible_alarm=False,
    )  # fmt: skip


def test_of_a_debtor_nobody_knows_no_alert_rule_sees_anything() -> None:
    inputs = views.alert_inputs(case_of())
    assert (inputs.limit, inputs.p_late, inputs.p_late_slow, inputs.ready) == (None, 0.0, 1.0, False)


def test_the_details_of_an_alert_are_those_of_bank_and_register() -> None:
    details = views.alert_details(
        case_of(
            bank=Bank(currency="CHF", weeks=9, last_inflow=D("7.00")),
            insolvency=Insolvency(stage="opened", possible="petition", notices=(Notice("n1", "opened", True, 1),)),
            overdue_ids=("i-1",),
        )
    )
    assert (details.currency, details.account_currency) == ("EUR", "CHF")
    assert (details.last_inflow, details.expected_inflow) == (D("7.00"), D("0.00"))
    assert (details.stage, details.possible_stage) == ("opened", "petition")
    assert (details.notice_ids, details.overdue_ids) == (("n1",), ("i-1",))


@pytest.mark.parametrize(
    ("header", "may_alert"),
    [
        pytest.param({}, False, id="a debtor nobody knows"),
        pytest.param({"balances": {"EUR": balance("900.00")}, "last": last_score("weak", 0.9)}, False, id="nothing is new"),
        pytest.param({"balances": {"EUR": balance(overdue_items=1, overdue_sum=D(9))}}, True, id="an overdue invoice"),
        pytest.param(
            {"balances": {"EUR": balance(overdue_items=1, overdue_sum=D(9), unapplied=D(9))}}, False, id="one that cash covers"
        ),
        pytest.param({"bank": Bank(shock=True)}, True, id="a shock"),
        pytest.param({"insolvency": Insolvency(stage="closed")}, True, id="any stage"),
        pytest.param({"insolvency": Insolvency(possible="petition")}, True, id="a possible match"),
    ],
)
def test_a_debtor_without_alerts_may_get_one(header: dict[str, Any], may_alert: bool) -> None:
    assert views.may_alert(case_of(**header)) is may_alert


def test_a_new_score_and_a_grown_exposure_may_alert() -> None:
    case = case_of(balances={"EUR": balance("100.00")}, last=last_score())
    case.set(last=last_score())
    assert views.may_alert(case), "a score that was published anew, even an equal one"
    case = case_of(balances={"EUR": balance("100.00")})
    case.set_balance("EUR", balance("100.01"))
    assert views.may_alert(case)
    case = case_of(balances={"EUR": balance("100.00")})
    case.set_balance("EUR", balance("99.99"))
    assert not views.may_alert(case)


# -- what is new, what counts
@pytest.mark.parametrize(
    ("change", "bears"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"balances": {}}, True, id="balances"),
        pytest.param({"last": last_score()}, True, id="a score"),
        pytest.param({"bank": Bank(inflow=D(5))}, False, id="a movement within the week"),
        pytest.param({"bank": Bank(week=7)}, True, id="a new week"),
        pytest.param({"bank": Bank(shock=True)}, True, id="a shock"),
        pytest.param({"insolvency": Insolvency(stage="petition")}, True, id="a notice"),
        pytest.param({"limit": Limit(generation=1)}, True, id="the limit itself"),
        pytest.param({"master": Master(country="DE")}, False, id="master data: only by the score"),
        pytest.param({"alerts": {"overdue": Alert("a-1")}}, False, id="an alert that was acknowledged"),
        pytest.param({"overdue_ids": ("i-1",)}, False, id="evidence"),
    ],
)
def test_what_bears_on_decisions(change: dict[str, Any], bears: bool) -> None:
    before = Header(version=ROW_VERSION, first_day=DAY)
    assert views.bears_on_decisions(before, replace(before, **change)) is bears


@pytest.mark.parametrize(
    ("unpaid", "currency", "material"),
    [
        pytest.param("500.00", "EUR", True, id="the policy's amount"),
        pytest.param("499.99", "EUR", False, id="a cent less"),
        pytest.param("90.01", "USD", True, id="more than the share where a rate is missing"),
        pytest.param("90.00", "USD", False, id="no more than the share of the invoice"),
    ],
)
def test_what_is_large_enough_to_be_a_default(unpaid: str, currency: str, material: bool) -> None:
    """A written-off invoice has nothing open any more: what was never paid of it counts."""
    item = Item(content="", amount=D(9000), currency=currency, issued=1, due=1, open=ZERO, expires=1, paid=D(9000) - D(unpaid))
    assert views.is_material(case_of(), item) is material


@pytest.mark.parametrize(
    ("unpaid", "material"),
    [
        pytest.param("600.00", False, id="one hundredth of the invoice is not enough, however much it is"),
        pytest.param("600.01", True, id="a cent more"),
    ],
)
def test_of_a_large_invoice_the_share_decides(unpaid: str, material: bool) -> None:
    item = Item(
        content="", amount=D(60_000), currency="EUR", issued=1, due=1, open=D(unpaid), expires=1, credited=60_000 - D(unpaid)
    )
    assert views.is_material(case_of(), item) is material
