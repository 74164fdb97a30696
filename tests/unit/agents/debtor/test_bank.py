"""What the account of a debtor says: how much it holds when it holds little, and what follows for the risk class."""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.debtor.bank import decide
from agents.debtor.bank.state import Bank
from agents.debtor.scoring.default import cash_class, class_rate, risk_class
from agents.debtor.scoring.reasons import ReasonInputs, explain
from agents.debtor.scoring.state import ScoreInputs
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
def test_within_half_a_year_level_spread_and_usual_inflow_are_plain_means(weeks):
    bank = lived(weeks)
    lows = [float(balance) for _, balance in weeks]
    mean = math.fsum(lows) / len(lows)
    assert bank.low_weeks == len(weeks)
    assert bank.low_mean == pytest.approx(mean, abs=1e-6)
    assert bank.low_variance == pytest.approx(math.fsum((low - mean) ** 2 for low in lows) / len(lows), rel=1e-6, abs=1e-3)
    assert bank.mean_inflow == pytest.approx(math.fsum(float(inflow) for inflow, _ in weeks) / len(weeks), rel=1e-9)


@given(st.lists(st.tuples(inflows, euros), min_size=8, max_size=60), st.integers(2, 50))
def test_the_cushion_is_in_weeks_so_that_the_size_of_the_account_does_not_matter(weeks, factor):
    small, large = lived(weeks), lived([(inflow * factor, balance * factor) for inflow, balance in weeks])
    one, other = (decide.cushion(bank, 8) for bank in (small, large))
    assert one is not None and other == pytest.approx(one, rel=1e-6, abs=1e-5)
    assert one <= small.low_mean / max(small.mean_inflow, 1.0) + 1e-6


def test_the_lowest_balance_of_a_week_counts_and_a_week_without_a_balance_does_not():
    bank = decide.book(Bank(), Decimal(100), "EUR", MONDAY, returned=False, balance_after=Decimal(50))
    bank = decide.book(bank, Decimal(-80), "EUR", MONDAY + 1, returned=False, balance_after=Decimal(-30))
    bank = decide.book(bank, Decimal(90), "EUR", MONDAY + 2, returned=False, balance_after=Decimal(60))
    bank = decide.judge_week(bank, 4.0, 8)
    assert (bank.low_mean, bank.low_weeks, bank.lowest) == (-30.0, 1, None)
    silent = decide.book(bank, Decimal(90), "EUR", MONDAY + 7, returned=False, balance_after=None)
    assert decide.judge_week(silent, 4.0, 8).low_weeks == 1


def test_nothing_is_said_before_the_warm_up_and_what_it_holds_now_counts_if_it_is_less():
    weeks = [(Decimal(1000), Decimal(5000))] * 8
    assert decide.cash_signals(lived(weeks[:7]), 4.0, 8).cushion is None
    bank = lived(weeks)
    assert decide.cash_signals(bank, 4.0, 8).cushion == 5.0
    drained = decide.report_balance(bank, Decimal(200), "EUR", MONDAY + 80)
    assert decide.cash_signals(drained, 4.0, 8).cushion == 0.2


def test_the_less_an_account_holds_the_worse_its_class_before_any_label():
    rates = [
        class_rate(ModelPublished(), risk_class(ScoreInputs(bank=True, cushion=weeks), 0)) for weeks in (-1.0, 0.5, 1.5, 3.0, 9.0)
    ]
    assert rates == sorted(rates, reverse=True) and rates[0] > 3 * rates[-1]
    assert cash_class(True, True, True, 9.0) == "shock|ample"


def test_evidence_overtakes_the_assumed_odds_of_a_cushion():
    risk = risk_class(ScoreInputs(bank=True, cushion=0.5), 9)
    key = risk.rpartition("|thin")[0] + "|thin"
    taught = ModelPublished(default_counts={key: (0.0, 5_000.0)})
    assert class_rate(taught, risk) < class_rate(ModelPublished(), risk) / 2


def test_a_thin_cushion_is_a_reason_and_the_contributions_still_add_up():
    contributions = (0.1, -0.3, 0.2, 0.4, -0.5, 0.6, 0.7, -0.2, 0.1, 0.05)
    reasons, _ = explain(
        contributions, ReasonInputs(ScoreInputs(cushion=0.3, stage="opened", certain=True), 0, None, "late_rate"), lift=1.0
    )
    assert "thin_cushion" in [reason.code for reason in reasons] and len(reasons) == 5
    assert sum(r.contribution for r in reasons) == pytest.approx(sum(contributions) + 1.0, abs=1e-9)
    assert "thin_cushion" not in [
        r.code for r in explain(contributions, ReasonInputs(ScoreInputs(cushion=1.0), 9, None, "hedge")).reasons
    ]


def test_a_row_of_an_earlier_version_is_read():
    old = msgspec.json.decode(b'{"currency":"EUR","weeks":20,"mean":7.0,"wake":739000}', type=Bank)
    assert decide.cash_signals(old, 4.0, 8) == decide.CashSignals(is_known=True, shock=False, falling=False, cushion=None)
