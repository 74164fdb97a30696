"""What a debtor's row learns, and what it tells the learner: hazards in risk sets, losses, corrections, what others say."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.debtor.keys import SCORE
from agents.debtor.scoring.cell_model import KEEP_DAYS, SWEEP_DAYS
from agents.debtor.scoring.hazard import BEYOND_90, INTERVALS, payment_days, survival
from agents.debtor.scoring.state import ScoreState
from agents.learner.decide import learn_all
from agents.learner.state import SharedModel
from schemas.events.assessments import NoteMade, RatingReceived
from schemas.events.models import ExampleMatured, ModelPublished
from schemas.events.payments import PaymentReceived, RecoveryReceived
from tests.support.builders import Life, at, day, event, invoice, payment, payment_return, write_off


def examples(life: Life, target: str) -> list[Any]:
    return [e for e in life.bodies("training-examples") if e.target == target]


def recovery(n: int, amount: str) -> Any:
    body = RecoveryReceived(
        customer_id="c-1", recovery_id=f"r-{n}", invoice_id="i-1", amount=Decimal(amount), currency="EUR", recovered_on=day(n)
    )
    return event(body, n)


def rating(n: int, score: float, **more: Any) -> Any:
    body = RatingReceived(customer_id="c-1", rating_id=f"rat-{n}", agency="a", score=score, rated_on=day(n), **more)
    return event(body, n)


def test_an_interval_is_learned_when_it_has_ended_by_whoever_was_open_at_its_start() -> None:
    life = Life()
    life.tell(invoice("i-1", 0, due=10), now=at(0))
    life.tell(payment("p-1", 15, {"i-1": "100.00"}), now=at(15))
    assert [(e.interval, e.label, e.matured_on) for e in examples(life, "paid_after_due")] == [(0, 0, day(14))]
    life.until(17)
    assert len(examples(life, "paid_after_due")) == 1, (
        "paid on day 15, learned when the interval is over: never early payers first"
    )
    life.until(101)
    found = [(e.interval, e.label, e.matured_on, e.keys) for e in examples(life, "paid_after_due")]
    assert found == [(0, 0, day(14), ("h3", "h3:-")), (1, 1, day(18), ("h7", "h7:-"))]
    assert life.row(SCORE).hazard_counts[:4] == (0.0, 1.0, 1.0, 1.0)
    assert life.row("f/i-1") is None


def test_an_invoice_paid_in_time_is_in_no_risk_set() -> None:
    life = Life()
    life.tell(invoice("i-1", 0, due=10), payment("p-1", 9, {"i-1": "100.00"}), now=at(60))
    assert examples(life, "paid_after_due") == []


def test_who_never_pays_is_in_every_risk_set() -> None:
    life = Life()
    life.tell(invoice("i-1", 0, due=10), now=at(0))
    life.until(102)
    assert [(e.interval, e.label) for e in examples(life, "paid_after_due")] == [(i, 0) for i in range(len(INTERVALS))]


def test_what_came_after_a_default_teaches_the_loss() -> None:
    life = Life()
    life.tell(invoice("i-1", 0, amount="1000.00", due=10), now=at(0))
    life.tell(write_off("i-1", 60), now=at(60))
    life.until(101)
    assert life.row("f/i-1").owed == Decimal("1000.00")
    life.tell(recovery(150, "250.00"), now=at(150))
    life.until(300)
    assert [(e.share, e.matured_on) for e in examples(life, "loss")] == [(0.75, day(281))]
    assert life.row("f/i-1") is None


def test_a_payment_after_a_default_is_no_loss() -> None:
    life = Life()
    life.tell(invoice("i-1", 0, amount="1000.00", due=10), now=at(0))
    life.until(119)
    life.tell(payment("p-1", 120, {"i-1": "1000.00"}), now=at(120))
    life.until(300)
    assert [e.share for e in examples(life, "loss")] == [0.0]


def test_a_returned_payment_corrects_the_label_that_it_had_made() -> None:
    life = Life()
    life.tell(invoice("i-1", 0, due=10), payment("p-1", 9, {"i-1": "100.00"}), now=at(12))
    before = life.row(SCORE)
    life.tell(payment_return("r-1", 15, "p-1", "100.00"), now=at(15))
    first, second = examples(life, "late")
    assert (first.label, second.label, second.corrects) == (0, 1, first.example_id)
    after = life.row(SCORE)
    assert (before.late, after.late, after.labels, life.row("i/i-1").late) == (0, 1, 1, 1)
    assert after.cells["c"].mean > before.cells["c"].mean
    model = learn_all(
        SharedModel(), [ExampleMatured(**{f: getattr(e, f) for f in ExampleMatured.model_fields}) for e in (first, second)]
    )
    assert model.bias > 0
    life.until(30)
    assert [e.interval for e in examples(life, "paid_after_due")] == [1, 2], "it joins the risk sets that have not ended"


def test_a_payment_returned_before_the_label_needs_no_correction() -> None:
    life = Life()
    life.tell(
        invoice("i-1", 0, due=10), payment("p-1", 5, {"i-1": "100.00"}), payment_return("r-1", 8, "p-1", "100.00"), now=at(30)
    )
    assert [(e.label, e.corrects) for e in examples(life, "late")] == [(1, None)]


def test_a_payment_that_came_in_time_but_was_known_late_corrects_the_label() -> None:
    life = Life()
    life.tell(invoice("i-1", 0, due=10), now=at(12))
    fact = payment("p-1", 10, {"i-1": "100.00"})
    assert isinstance(fact.data, PaymentReceived)
    life.tell(fact._replace(recorded=at(13)), now=at(13))
    assert [(e.label, e.corrects is None) for e in examples(life, "late")] == [(1, True), (0, False)]
    assert life.row("i/i-1").late == 0


def test_amounts_that_never_come_again_are_forgotten() -> None:
    life = Life()
    life.tell(invoice("i-1", 0, amount="123.45", due=1), now=at(0))
    life.until(5)
    last = 5
    for n in range(100, KEEP_DAYS + 2 * SWEEP_DAYS, 100):
        life.tell(invoice(f"n-{n}", n, amount="100.00", due=1), now=at(n))
        life.until(n + 5)
        last = n + 5
    assert last > KEEP_DAYS
    assert life.row("x/cE:12345") is None
    assert life.row("x/cE:10000") is not None


def test_a_rating_makes_a_debtor_ready_and_moves_its_score_until_it_ends() -> None:
    life = Life()
    life.tell(rating(0, 0.0, valid_until=day(20)), now=at(0))
    score = life.bodies("scores")[-1]
    assert score.ready
    assert score.p_late > 0.5
    assert [(r.code, r.evidence) for r in score.reasons if r.code == "rating"] == [("rating", ("rat-0",))]
    life.tell(invoice("i-1", 30), now=at(30))
    assert life.bodies("scores")[-2].p_late == 0.5, "the rating has ended"


def test_a_note_counts_less_with_time() -> None:
    life = Life()
    note = NoteMade(customer_id="c-1", note_id="n-1", author="sales", stance="bad", made_on=day(0))
    life.tell(event(note, 0), now=at(0))
    first = life.bodies("scores")[-1]
    assert "note" in {r.code for r in first.reasons}
    life.tell(invoice("i-1", 200), now=at(200))
    assert 0.5 < life.bodies("scores")[-2].p_late < first.p_late


def test_scores_say_when_it_will_be_paid_and_what_would_change_the_band() -> None:
    life = Life()
    life.tell(invoice("i-1", 0, due=30), now=at(0))
    score = next(s for s in life.bodies("scores") if s.invoice_id)
    assert day(0) <= score.paid_from <= score.expected_paid_on <= score.paid_to <= day(30) + timedelta(BEYOND_90)
    assert 0 < score.p_late_30 < score.p_late
    assert score.would_change.band == "strong"
    assert sum(r.contribution for r in score.reasons) == pytest.approx(score.log_odds + score.lift, abs=1e-9)
    assert (score.loss_given_default, score.expected_loss) == (0.6, Decimal("0.30")), "0.005 x 100.00 x 0.6"


def test_days_of_payment_are_ordered_and_follow_the_debtor() -> None:
    early = ScoreState(labels=50, days=(0.0, 40.0, 0.0, 0.0, 0.0, 1.0, 1.0))
    low, middle, high = payment_days(0.05, survival(early, "g", ModelPublished()), early)
    assert low <= middle <= high
    assert -7 <= middle <= -5
    slow = ScoreState(hazard_counts=(0.0, 30.0) * 5 + (30.0, 30.0))
    assert payment_days(0.99, survival(slow, "g", ModelPublished()), slow)[1] > 60
    assert payment_days(1.0, (1.0,) * 6, ScoreState()) == (BEYOND_90,) * 3
