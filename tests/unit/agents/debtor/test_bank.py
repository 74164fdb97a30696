"""What the account of a debtor says: how much it holds when it holds little, and what follows for the risk class."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.debtor.bank import decide
from agents.debtor.bank.state import ZERO, Bank
from agents.debtor.scoring.default import cash_class, class_rate, risk_class
from agents.debtor.scoring.reasons import explain
from agents.debtor.scoring.values import ReasonInputs, ScoreInputs
from schemas.events.models import ModelPublished

MONDAY = decide.monday(739_000)
euros = st.decimals(min_value=-100_000, max_value=100_000, places=2)
inflows = st.decimals(min_value=1, max_value=100_000, places=2)


def lived(weeks: list[tuple[Decimal, Decimal]]) -> Bank:
    """Weeks of (inflow, balance after it), each judged."""
    bank = Bank()
    for number, (inflow, balance) in enumerate(weeks):
        bank = decide.book(bank, inflow, "EUR", MONDAY + 7 * number, returned=False, balance_after=balance)
        bank = decide.judge_week(bank, threshold=1e9, warm_up_weeks=8)
    return bank


@given(st.lists(st.tuples(inflows, euros), min_size=1, max_size=26))
def test_within_half_a_year_level_spread_and_usual_inflow_are_plain_means(weeks: list[tuple[Decimal, Decimal]]) -> None:
    bank = lived(weeks)
    lows = [float(balance) for _, balance in weeks]
    mean = math.fsum(lows) / len(lows)
    assert bank.low_weeks == len(weeks)
    assert bank.low_mean == pytest.approx(mean, abs=1e-6)
    assert bank.low_variance == pytest.approx(math.fsum((low - mean) ** 2 for low in lows) / len(lows), rel=1e-6, abs=1e-3)
    assert bank.mean_inflow == pytest.approx(math.fsum(float(inflow) for inflow, _ in weeks) / len(weeks), rel=1e-9)


@given(st.lists(st.tuples(inflows, euros), min_size=8, max_size=60), st.integers(2, 50))
def test_the_cushion_is_in_weeks_so_that_the_size_of_the_account_does_not_matter(
    weeks: list[tuple[Decimal, Decimal]], factor: int
) -> None:
    small, large = lived(weeks), lived([(inflow * factor, balance * factor) for inflow, balance in weeks])
    one, other = (decide.cushion(bank, 8) for bank in (small, large))
    assert one is not None and other == pytest.approx(one, rel=1e-6, abs=1e-5)
    assert one <= small.low_mean / max(small.mean_inflow, 1.0) + 1e-6


def test_the_lowest_balance_of_a_week_counts_and_a_week_without_a_balance_does_not() -> None:
    bank = decide.book(Bank(), Decimal(100), "EUR", MONDAY, returned=False, balance_after=Decimal(50))
    bank = decide.book(bank, Decimal(-80), "EUR", MONDAY + 1, returned=False, balance_after=Decimal(-30))
    bank = decide.book(bank, Decimal(90), "EUR", MONDAY + 2, returned=False, balance_after=Decimal(60))
    bank = decide.judge_week(bank, 4.0, 8)
    assert (bank.low_mean, bank.low_weeks, bank.lowest) == (-30.0, 1, None)
    silent = decide.book(bank, Decimal(90), "EUR", MONDAY + 7, returned=False, balance_after=None)
    assert decide.judge_week(silent, 4.0, 8).low_weeks == 1


def test_nothing_is_said_before_the_warm_up_and_what_it_holds_now_counts_if_it_is_less() -> None:
    weeks = [(Decimal(1000), Decimal(5000))] * 8
    assert decide.cash_signals(lived(weeks[:7]), 4.0, 8).cushion is None
    bank = lived(weeks)
    assert decide.cash_signals(bank, 4.0, 8).cushion == 5.0
    drained = decide.report_balance(bank, Decimal(200), "EUR", MONDAY + 80)
    assert decide.cash_signals(drained, 4.0, 8).cushion == 0.2


def test_the_less_an_account_holds_the_worse_its_class_before_any_label() -> None:
    rates = [
        class_rate(ModelPublished(), risk_class(ScoreInputs(bank=True, cushion=weeks), 0)) for weeks in (-1.0, 0.5, 1.5, 3.0, 9.0)
    ]
    assert rates == sorted(rates, reverse=True) and rates[0] > 3 * rates[-1]
    assert cash_class(True, True, True, 9.0) == "shock|ample"


def test_evidence_overtakes_the_assumed_odds_of_a_cushion() -> None:
    risk = risk_class(ScoreInputs(bank=True, cushion=0.5), 9)
    key = risk.rpartition("|thin")[0] + "|thin"
    taught = ModelPublished(default_counts={key: (0.0, 5_000.0)})
    assert class_rate(taught, risk) < class_rate(ModelPublished(), risk) / 2


def test_a_thin_cushion_is_a_reason_and_the_contributions_still_add_up() -> None:
    contributions = (0.1, -0.3, 0.2, 0.4, -0.5, 0.6, 0.7, -0.2, 0.1, 0.05)
    reasons, _ = explain(
        contributions, ReasonInputs(ScoreInputs(cushion=0.3, stage="opened", certain=True), 0, None, "late_rate"), lift=1.0
    )
    assert "thin_cushion" in [reason.code for reason in reasons] and len(reasons) == 5
    assert sum(r.contribution for r in reasons) == pytest.approx(sum(contributions) + 1.0, abs=1e-9)
    assert "thin_cushion" not in [
        r.code for r in explain(contributions, ReasonInputs(ScoreInputs(cushion=1.0), 9, None, "hedge")).reasons
    ]


def test_a_row_of_an_earlier_version_is_read() -> None:
    old = msgspec.json.decode(b'{"currency":"EUR","weeks":20,"mean":7.0,"wake":739000}', type=Bank)
    assert decide.cash_signals(old, 4.0, 8) == decide.CashSignals(is_known=True, shock=False, falling=False, cushion=None)


# -- a week, case by case
USUAL = Bank(currency="EUR", week=MONDAY, next_deadline=MONDAY + 7, inflow=Decimal(1000), log_mean=math.log1p(1000), weeks=20)
"""An account that gets 1,000 a week, which it has got this week too; its noise is the least that is assumed."""
BAD = {"inflow": Decimal(100)}
"""A tenth of the usual inflow: far more than the three deviations that a week counts for at most."""

WEEKS = [
    pytest.param({}, {"cusum": 0.0, "shock": False, "weeks": 21}, id="a usual week is learned"),
    pytest.param({"cusum": 2.0}, {"cusum": 1.5}, id="a usual week takes the slack off the sum"),
    pytest.param({"inflow": Decimal(9000), "cusum": 3.0}, {"cusum": 0.0}, id="a good week ends a fall"),
    pytest.param(BAD, {"cusum": 2.5, "shock": False, "weeks": 21}, id="one bad week is no shock"),
    pytest.param({**BAD, "cusum": 1.49}, {"cusum": pytest.approx(3.99), "shock": False}, id="just below the threshold"),
    pytest.param(
        {**BAD, "cusum": 1.5}, {"cusum": 4.0, "shock": True, "shock_weeks": 1, "weeks": 20},
        id="a shock at the threshold",
    ),
    pytest.param({**BAD, "weeks": 7}, {"cusum": 0.0, "shock": False, "weeks": 8}, id="nothing is judged before the warm-up"),
    pytest.param({**BAD, "cusum": 7.9, "shock": True}, {"cusum": 8.0}, id="the sum has an upper end, so that a shock can end"),
    pytest.param({"cusum": 2.6, "shock": True}, {"shock": True, "weeks": 20}, id="a shock stays above half the threshold"),
    pytest.param({"cusum": 2.5, "shock": True}, {"shock": False, "shock_weeks": 0, "weeks": 21}, id="and ends at half of it"),
    pytest.param(
        {**BAD, "cusum": 8.0, "shock": True, "shock_weeks": 12},
        {"shock": True, "shock_weeks": 13, "log_mean": USUAL.log_mean},
        id="for 13 weeks the past is kept",
    ),
    pytest.param(
        {**BAD, "cusum": 8.0, "shock": True, "shock_weeks": 13},
        {"shock": False, "shock_weeks": 0, "cusum": 0.0, "weeks": 1, "log_mean": math.log1p(100), "log_variance": 0.0},
        id="then the new level is the usual one",
    ),
    pytest.param(
        {"inflow": Decimal(0)}, {"weeks": 20, "cusum": 0.0, "inflow": Decimal(0)},
        id="a week without movements says nothing",
    ),
    pytest.param(
        {"inflow": Decimal(0), "outflow": Decimal(5)}, {"cusum": 2.5, "last_outflow": Decimal(5)},
        id="a week with outflow only is bad",
    ),
    pytest.param({"returned": 2}, {"returned": 0}, id="returned debits are counted anew"),
]  # fmt: skip


@pytest.mark.parametrize(("week", "after"), WEEKS)
def test_a_week_is_judged(week: dict[str, Any], after: dict[str, Any]) -> None:
    judged = decide.judge_week(msgspec.structs.replace(USUAL, **week), threshold=4.0, warm_up_weeks=8)
    assert {name: getattr(judged, name) for name in after} == after
    assert (judged.week, judged.next_deadline, judged.inflow, judged.outflow) == (MONDAY + 7, MONDAY + 14, ZERO, ZERO)


MOVEMENTS = [
    pytest.param((Decimal(50), "EUR", MONDAY, False, None), {"inflow": Decimal(1050)}, id="money in"),
    pytest.param((Decimal(-50), "EUR", MONDAY, False, None), {"outflow": Decimal(50)}, id="money out"),
    pytest.param((Decimal(50), "USD", MONDAY, True, Decimal(9)), {}, id="another currency is not followed"),
    pytest.param((Decimal(50), "EUR", MONDAY - 30, False, None), {"inflow": Decimal(1050)}, id="a late one counts this week"),
    pytest.param(
        (Decimal(-50), "EUR", MONDAY, True, None), {"outflow": Decimal(50), "returned": 1}, id="a returned debit is counted"
    ),
    pytest.param(
        (Decimal(50), "EUR", MONDAY + 1, False, Decimal(9)),
        {"inflow": Decimal(1050), "balance": Decimal(9), "balance_on": MONDAY + 1, "lowest": Decimal(9)},
        id="with a balance",
    ),
]


@pytest.mark.parametrize(("movement", "after"), MOVEMENTS)
def test_a_movement_is_booked(movement: tuple[Decimal, str, int, bool, Decimal | None], after: dict[str, Any]) -> None:
    assert decide.book(USUAL, *movement) == msgspec.structs.replace(USUAL, **after)


def test_the_first_movement_chooses_the_currency_and_opens_the_week() -> None:
    bank = decide.book(Bank(), Decimal(1), "CHF", MONDAY + 3, returned=False, balance_after=None)
    assert (bank.currency, bank.week, bank.next_deadline) == ("CHF", MONDAY, MONDAY + 7)


@pytest.mark.parametrize(
    ("bank", "signals"),
    [
        pytest.param({}, (True, False, False), id="a usual account"),
        pytest.param({"weeks": 7, "cusum": 3.0}, (False, False, False), id="before the warm-up nothing falls"),
        pytest.param({"weeks": 8, "cusum": 2.0}, (True, False, True), id="half the way to a shock it falls"),
        pytest.param({"cusum": 1.99}, (True, False, False), id="and not before"),
        pytest.param({"cusum": 5.0, "shock": True}, (True, True, True), id="a shock falls too"),
    ],
)
def test_what_the_account_signals(bank: dict[str, Any], signals: tuple[bool, bool, bool]) -> None:
    assert decide.cash_signals(msgspec.structs.replace(USUAL, **bank), 4.0, 8) == (*signals, None)


@pytest.mark.parametrize(
    ("weeks", "last_inflow", "rising"),
    [(20, "1100.00", False), (20, "1100.01", True), (20, "100.00", False), (0, "9000.00", False)],
)
def test_a_week_well_above_the_usual_one_is_rising(weeks: int, last_inflow: str, rising: bool) -> None:
    bank = msgspec.structs.replace(USUAL, weeks=weeks, last_inflow=Decimal(last_inflow))
    assert decide.is_rising(bank) is rising


def test_a_stored_row_keeps_the_names_of_its_fields() -> None:
    bank = Bank(
        log_mean=1.0, log_variance=2.0, cusum=3.0, low_mean=4.0, low_variance=5.0, mean_inflow=6.0, low_weeks=7, next_deadline=8
    )
    assert msgspec.json.decode(msgspec.json.encode(bank)) == {
        "mean": 1.0, "variance": 2.0, "fall": 3.0, "level": 4.0, "spread": 5.0, "usual": 6.0, "levels": 7, "wake": 8,
    }  # fmt: skip
