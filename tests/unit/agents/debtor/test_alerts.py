"""The alert types as tables of cases: when each is raised, kept and cleared, and what is announced of it.

A new type gets its cases in ``CASES``; that it has words, a next step and a place in the contract is held for all of them.
"""

from __future__ import annotations

from decimal import Decimal
from operator import attrgetter
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.debtor.alerts.decide import MAX_FINGERPRINT_LENGTH, Transition, cool_down_end, findings, fingerprint, transitions
from agents.debtor.alerts.state import Alert
from agents.debtor.alerts.types import ALERT_TYPES, BY_CODE, CAUSE_GONE, EARLY_WARNINGS, AlertDetails, AlertInputs, is_overdue
from schemas.events.policies import AlertRules, PolicyPublished
from schemas.ids import stable_id
from schemas.outputs.alerts import AlertType, Severity

D = Decimal
DAY = 400
AT = "2026-03-02T12:00:00+00:00"
RULES = AlertRules(overdue_amount=D(100), score_drop=0.25, over_limit_share=D("1.1"), cool_down_days=7)
DETAILS = AlertDetails(
    currency="EUR", overdue_ids=("i-1", "i-2"), notice_ids=("n-1",), stage="none", possible_stage="none", last_inflow=D("50.00"),
    expected_inflow=D("1000.00"), account_currency="CHF",
)  # fmt: skip

Changes = dict[str, Any]


def inputs_of(**changes: Any) -> AlertInputs:
    """A debtor within its limit, without any trouble; its exposure has just grown."""
    quiet = AlertInputs(
        exposure=D(900), limit=D(1000), exposure_grew=True, overdue_items=0, overdue_amount=D(0), p_late=0.3, p_late_slow=0.3,
        ready=True, shock=False, stage_alarm=False, possible_alarm=False,
    )  # fmt: skip
    return quiet._replace(**changes)


def open_alert(severity: Severity = "warning", count: int = 1, **changes: Any) -> Alert:
    return Alert("a-1", count=count, severity=severity, raised_at=AT, **changes)


def quiet_alert(until: int, count: int = 1) -> Alert:
    return open_alert(count=count, open=False, quiet_until=until)


# -- what is the case
CASES = [
    pytest.param("overdue", False, {"overdue_items": 1, "overdue_amount": D(100)}, "warning", id="overdue: the sum that counts"),
    pytest.param("overdue", False, {"overdue_items": 1, "overdue_amount": D("99.99")}, None, id="overdue: a cent less"),
    pytest.param("overdue", False, {"overdue_items": 0, "overdue_amount": D(9999)}, None, id="overdue: not yet for long enough"),
    pytest.param(
        "overdue", False, {"overdue_items": 3, "overdue_amount": None}, "warning",
        id="overdue: a missing rate hides nothing",
    ),
    pytest.param(
        "overdue", False, {"overdue_items": 1, "overdue_amount": D(500), "payments_paused": True}, None,
        id="overdue: not while payments are paused",
    ),
    pytest.param(
        "overdue", True, {"overdue_items": 1, "overdue_amount": D(500), "payments_paused": True}, "warning",
        id="overdue: an open one stays while payments are paused",
    ),
    pytest.param(
        "overdue", True, {"overdue_items": 1, "overdue_amount": D(99)}, None,
        id="overdue: an open one goes below the sum",
    ),
    pytest.param("score_drop", False, {"p_late": 0.9, "p_late_slow": 0.3}, "warning", id="score drop: far above the average"),
    pytest.param(
        "score_drop", False, {"p_late": 0.75, "p_late_slow": 0.5}, "warning",
        id="score drop: just as far as the policy says",
    ),
    pytest.param("score_drop", False, {"p_late": 0.749, "p_late_slow": 0.5}, None, id="score drop: not quite as far"),
    pytest.param("score_drop", False, {"p_late": 0.9, "ready": False}, None, id="score drop: not of a debtor nobody knows"),
    pytest.param("score_drop", False, {"p_late": 0.9, "p_late_slow": 1.0}, None, id="score drop: not without an average"),
    pytest.param("score_drop", False, {"p_late": 0.1, "p_late_slow": 0.5}, None, id="score drop: an improvement is none"),
    pytest.param(
        "score_drop", True, {"p_late": 0.625, "p_late_slow": 0.5}, "warning",
        id="score drop: an open one stays at half of it",
    ),
    pytest.param("score_drop", True, {"p_late": 0.624, "p_late_slow": 0.5}, None, id="score drop: and goes below"),
    pytest.param("over_limit", False, {"exposure": D("1100.01")}, "warning", id="over limit: above the share that is tolerated"),
    pytest.param("over_limit", False, {"exposure": D(1100)}, None, id="over limit: at the share"),
    pytest.param(
        "over_limit", False, {"exposure": D(5000), "exposure_grew": False}, None, id="over limit: not because the limit was cut"
    ),
    pytest.param("over_limit", False, {"exposure": None}, None, id="over limit: not where a rate is missing"),
    pytest.param("over_limit", False, {"exposure": D(5000), "limit": None}, None, id="over limit: not without a limit"),
    pytest.param(
        "over_limit", False, {"exposure": D(1), "limit": D(0)}, "warning",
        id="over limit: a limit of zero allows nothing",
    ),
    pytest.param("over_limit", False, {"exposure": D(0), "limit": D(0)}, None, id="over limit: nobody owes anything"),
    pytest.param("over_limit", False, {"exposure": D(-50), "limit": D(0)}, None, id="over limit: a credit is no exposure"),
    pytest.param(
        "over_limit", True, {"exposure": D("1045.01"), "exposure_grew": False}, "warning",
        id="over limit: an open one stays near the edge",
    ),
    pytest.param(
        "over_limit", True, {"exposure": D(1045), "exposure_grew": False}, None, id="over limit: and goes 5 % below the edge"
    ),
    pytest.param("cash_flow_shock", False, {"shock": True}, "critical", id="shock: raised with it"),
    pytest.param("cash_flow_shock", True, {"shock": False}, None, id="shock: over with it"),
    pytest.param("insolvency", False, {"stage_alarm": True}, "critical", id="insolvency: a certain match is critical"),
    pytest.param("insolvency", False, {"possible_alarm": True}, "warning", id="insolvency: a possible match is a warning"),
    pytest.param(
        "insolvency", False, {"stage_alarm": True, "possible_alarm": True}, "critical", id="insolvency: the certain one counts"
    ),
    pytest.param("insolvency", True, {}, None, id="insolvency: over when the notice is withdrawn"),
]  # fmt: skip


@pytest.mark.parametrize(("alert_type", "is_open", "inputs", "severity"), CASES)
def test_the_types(alert_type: AlertType, is_open: bool, inputs: Changes, severity: Severity | None) -> None:
    alerts: dict[str, Alert] = {alert_type: open_alert()} if is_open else {}
    assert findings(inputs_of(**inputs), RULES, alerts) == ({alert_type: severity} if severity else {})


def test_a_quiet_debtor_has_no_findings_and_a_bad_one_has_all_in_a_fixed_order() -> None:
    assert findings(inputs_of(), RULES, {}) == {}
    bad = inputs_of(exposure=D(9999), overdue_items=2, overdue_amount=D(800), p_late=0.9, shock=True, stage_alarm=True)
    assert list(findings(bad, RULES, {})) == ["overdue", "score_drop", "over_limit", "cash_flow_shock", "insolvency"]


def test_an_alert_that_was_cleared_counts_as_one_that_is_not_open() -> None:
    almost = inputs_of(p_late=0.7, p_late_slow=0.5)
    assert findings(almost, RULES, {"score_drop": quiet_alert(DAY)}) == {}
    assert findings(almost, RULES, {"score_drop": open_alert()}) == {"score_drop": "warning"}


@pytest.mark.parametrize(
    ("items", "amount", "expected"),
    [(0, None, False), (0, D(500), False), (1, None, True), (1, D(100), True), (2, D("99.99"), False)],
)
def test_what_is_overdue_beyond_the_policy(items: int, amount: Decimal | None, expected: bool) -> None:
    assert is_overdue(items, amount, RULES) is expected


# -- what is announced
CASES_OF_TRANSITIONS = [
    pytest.param({}, {}, [], id="nothing before, nothing now"),
    pytest.param({}, {"overdue": "warning"}, [("overdue", "raised", 1)], id="the first of its type"),
    pytest.param({"overdue": open_alert()}, {"overdue": "warning"}, [], id="an open alert is not raised again"),
    pytest.param({"overdue": open_alert()}, {}, [("overdue", "cleared", 1)], id="an open alert whose cause is gone"),
    pytest.param({"overdue": quiet_alert(DAY)}, {}, [], id="a cleared alert is not cleared again"),
    pytest.param({"overdue": quiet_alert(DAY + 1)}, {"overdue": "warning"}, [], id="within the cool-down it keeps quiet"),
    pytest.param(
        {"overdue": quiet_alert(DAY)}, {"overdue": "warning"}, [("overdue", "raised", 2)],
        id="after it, it is the second",
    ),
    pytest.param(
        {"insolvency": quiet_alert(DAY + 5)}, {"insolvency": "critical"}, [("insolvency", "raised", 2)],
        id="no cool-down holds back an insolvency",
    ),
    pytest.param(
        {"insolvency": open_alert()}, {"insolvency": "critical"}, [("insolvency", "cleared", 1), ("insolvency", "raised", 2)],
        id="a graver severity is raised anew",
    ),
    pytest.param({"insolvency": open_alert("critical")}, {"insolvency": "warning"}, [], id="a milder severity keeps the alert"),
    pytest.param({"insolvency": open_alert("critical")}, {"insolvency": "critical"}, [], id="the same severity too"),
    pytest.param(
        {"overdue": open_alert(count=4), "over_limit": open_alert()}, {"score_drop": "warning"},
        [("score_drop", "raised", 1), ("overdue", "cleared", 4), ("over_limit", "cleared", 1)],
        id="what is new comes before what is over",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("alerts", "severities", "expected"), CASES_OF_TRANSITIONS)
def test_transitions(alerts: dict[str, Alert], severities: dict[str, Severity], expected: list[tuple[str, str, int]]) -> None:
    changes = transitions(alerts, severities, "c-1", AT, DAY, RULES)
    assert [(t.alert_type, t.state, t.alert.count) for t in changes] == expected
    assert all(t.alert.open is (t.state == "raised") for t in changes)


def test_a_raised_alert_has_an_id_that_follows_from_debtor_type_and_number() -> None:
    [raised] = transitions({"overdue": quiet_alert(DAY, count=2)}, {"overdue": "warning"}, "c-1", AT, DAY, RULES)
    assert raised == Transition("overdue", "raised", Alert(stable_id("alert", "c-1", "overdue", 3), count=3, raised_at=AT))


def test_a_cleared_alert_keeps_its_id_and_day_and_is_quiet_for_the_cool_down() -> None:
    alert = open_alert(count=3, acknowledged_by="ada")
    [cleared] = transitions({"overdue": alert}, {}, "c-1", AT, DAY, RULES)
    assert cleared.alert == open_alert(count=3, acknowledged_by="ada", open=False, quiet_until=DAY + 7)


def test_without_a_cool_down_an_alert_may_come_back_the_same_day() -> None:
    rules = AlertRules(cool_down_days=0)
    [cleared] = transitions({"overdue": open_alert()}, {}, "c-1", AT, DAY, rules)
    [raised] = transitions({"overdue": cleared.alert}, {"overdue": "warning"}, "c-1", AT, DAY, rules)
    assert raised.alert.count == 2


@pytest.mark.parametrize(
    ("alerts", "severities", "day"),
    [
        pytest.param({}, {}, 0, id="nothing waits"),
        pytest.param({"overdue": quiet_alert(DAY + 5)}, {}, 0, id="a cool-down without a finding is no deadline"),
        pytest.param({}, {"overdue": "warning"}, 0, id="nor is a finding without an alert before it"),
        pytest.param({"overdue": open_alert()}, {"overdue": "warning"}, 0, id="nor one that is open"),
        pytest.param({"overdue": quiet_alert(DAY + 5)}, {"overdue": "warning"}, DAY + 5, id="a finding waits for its end"),
        pytest.param({"overdue": quiet_alert(DAY)}, {"overdue": "warning"}, 0, id="a cool-down that ends today is over"),
        pytest.param(
            {"overdue": quiet_alert(DAY + 5), "score_drop": quiet_alert(DAY + 2)},
            {"overdue": "warning", "score_drop": "warning"},
            DAY + 2, id="of two, the first",
        ),
    ],
)  # fmt: skip
def test_the_end_of_a_cool_down(alerts: dict[str, Alert], severities: dict[str, Severity], day: int) -> None:
    assert cool_down_end(alerts, severities, DAY) == day


CODES = st.sampled_from(list(BY_CODE))


@given(
    st.dictionaries(CODES, st.builds(Alert, st.just("a-1"), open=st.booleans(), quiet_until=st.integers(DAY - 9, DAY + 9))),
    st.dictionaries(CODES, st.sampled_from(["warning", "critical"])),
)
def test_after_its_transitions_what_is_the_case_is_open_or_keeps_quiet(
    alerts: dict[str, Alert], severities: dict[str, Severity]
) -> None:
    after = dict(alerts)
    for transition in transitions(alerts, severities, "c-1", AT, DAY, RULES):
        after[transition.alert_type] = transition.alert
    assert {code for code, alert in after.items() if alert.open} <= set(severities)
    assert all(after[code].open or after[code].quiet_until > DAY for code in severities)
    assert transitions(after, severities, "c-1", AT, DAY, RULES) == []


@pytest.mark.parametrize(
    ("customer_id", "expected"),
    [
        pytest.param("c-1", "overdue:c-1", id="a short id is readable"),
        pytest.param("x" * 120, "overdue:" + "x" * 120, id="as long as it may be"),
        pytest.param("x" * 121, f"overdue:{stable_id('customer', 'x' * 121)}", id="a longer one becomes a hash"),
    ],
)
def test_the_fingerprint_fits_an_id(customer_id: str, expected: str) -> None:
    assert fingerprint("overdue", customer_id) == expected
    assert len(expected) <= MAX_FINGERPRINT_LENGTH


# -- the table
def test_the_table_has_the_types_of_the_contract() -> None:
    assert tuple(definition.code for definition in ALERT_TYPES) == get_args(AlertType)


def test_what_calls_a_debtor_bad_before_an_invoice_or_a_limit_does_is_an_early_warning() -> None:
    assert EARLY_WARNINGS == ("score_drop", "cash_flow_shock", "insolvency")


def test_the_policy_has_every_value_that_a_type_quotes() -> None:
    policy = PolicyPublished()
    paths = [path for definition in ALERT_TYPES for path in definition.policy_values]
    assert paths and all(attrgetter(path)(policy) is not None for path in paths)


def test_every_type_names_the_next_step() -> None:
    assert len({definition.action for definition in ALERT_TYPES}) == len(ALERT_TYPES)
    assert all(definition.action.endswith(".") for definition in ALERT_TYPES)


CASES_OF_WORDS = [
    pytest.param(
        "overdue", {"overdue_items": 2, "overdue_amount": D("1234.5")}, {},
        "2 invoice(s) overdue for 30 days or more; 1,234.50 EUR overdue in all.",
        "2 Rechnung(en) seit 30 Tagen oder länger überfällig; insgesamt überfällig: 1.234,50 EUR.", id="overdue",
    ),
    pytest.param(
        "overdue", {"overdue_items": 1, "overdue_amount": None}, {},
        "1 invoice(s) overdue for 30 days or more; an unknown amount (a rate is missing) overdue in all.",
        "1 Rechnung(en) seit 30 Tagen oder länger überfällig; insgesamt überfällig: ein unbekannter Betrag (ein Kurs fehlt).",
        id="overdue, without a rate",
    ),
    pytest.param(
        "score_drop", {"p_late": 0.624, "p_late_slow": 0.305}, {}, "Probability of late payment 62%, usually 30%.",
        "Wahrscheinlichkeit verspäteter Zahlung 62 %, sonst 30 %.", id="score drop",
    ),
    pytest.param(
        "over_limit", {"exposure": D(12000), "limit": D(10000)}, {},
        "Exposure 12,000.00 EUR is above the limit of 10,000.00 EUR.",
        "Das Obligo (12.000,00 EUR) liegt über dem Limit (10.000,00 EUR).", id="over limit",
    ),
    pytest.param(
        "cash_flow_shock", {"shock": True}, {}, "Inflow of the last week 50.00 CHF; a usual week brings 1,000.00 CHF.",
        "Eingang der letzten Woche 50,00 CHF; eine übliche Woche bringt 1.000,00 CHF.", id="shock, in the account's currency",
    ),
    pytest.param(
        "insolvency", {"stage_alarm": True}, {"stage": "opened", "possible_stage": "petition"}, "Insolvency notice: opened.",
        "Insolvenzbekanntmachung: Verfahren eröffnet.", id="insolvency, certain",
    ),
    pytest.param(
        "insolvency", {"possible_alarm": True}, {"possible_stage": "petition"},
        "Insolvency notice: petition; the match is not certain, a person must confirm it.",
        "Insolvenzbekanntmachung: Antrag; der Treffer ist nicht sicher, ein Mensch muss ihn bestätigen.",
        id="insolvency, possible",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("alert_type", "inputs", "details", "text", "text_de"), CASES_OF_WORDS)
def test_the_words(alert_type: AlertType, inputs: Changes, details: Changes, text: str, text_de: str) -> None:
    assert BY_CODE[alert_type].words(inputs_of(**inputs), DETAILS._replace(**details), RULES) == (text, text_de)


def test_an_alert_that_is_over_says_so_in_both_languages() -> None:
    assert CAUSE_GONE == ("Its cause is gone.", "Der Grund ist entfallen.")


@pytest.mark.parametrize(("alert_type", "evidence"), [("overdue", ("i-1", "i-2")), ("insolvency", ("n-1",)), ("score_drop", ())])
def test_the_evidence(alert_type: AlertType, evidence: tuple[str, ...]) -> None:
    assert BY_CODE[alert_type].evidence(DETAILS) == evidence
