"""Limits, alerts, bank and insolvency as a debtor lives through them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from agents.debtor.bank.decide import monday
from agents.debtor.brain import DebtorBrain
from agents.debtor.state import Row, decode, encode
from agents.debtor.unit_of_work import Deadline, Reaction
from schemas.events.bank import BankBalanceReported, BankTransactionBooked
from schemas.events.clock import ContextSet
from schemas.events.customers import CustomerUpdated
from schemas.events.decisions import DecisionMade
from schemas.events.envelope import Event
from schemas.events.insolvency import InsolvencyMatched
from schemas.events.payments import PromiseMade
from schemas.events.rates import RatesPublished
from tests.support.builders import Life, at, context, day, event, invoice, payment, received_events

D = Decimal


def booked(n: int, amount: str, number: int, customer: str = "c-1") -> Event:
    return event(
        BankTransactionBooked(
            customer_id=customer, transaction_id=f"t{n}-{number}", amount=D(amount), currency="EUR", booked_on=day(n)
        ),
        n,
    )


def notice(
    notice_id: str, n: int, stage: str, match: str = "certain", corrects: str | None = None, proceeding: str | None = None
) -> Event:
    return event(
        InsolvencyMatched(
            customer_id="c-1",
            notice_id=notice_id,
            register="DE",
            kind="Eröffnung",
            stage=stage,
            match=match,
            published_on=day(n),
            corrects=corrects,
            proceeding_id=proceeding,
        ),
        n,
    )


def decision(decision_id: str, n: int, subject: str, action: str, **more: object) -> Event:
    return event(
        DecisionMade(
            customer_id="c-1", decision_id=decision_id, subject=subject, action=action, owner="ada", decided_on=day(n), **more
        ),
        n,
    )


def alerts(life: Life) -> list[tuple[str, str]]:
    return [(a.alert_type, a.state) for a in life.bodies("alerts")]


def limits(life: Life) -> list[tuple[int, str, Decimal, bool]]:
    return [(c.sequence, c.reasons[0].code, c.new_limit, c.hold) for c in life.bodies("limit-changes")]


def weekly_inflow(life: Life, weeks: range, amount: str) -> None:
    for week in weeks:
        life.tell(booked(week * 7 + 2, amount, week), now=None)
        life.until(week * 7 + 7)


# -- limits
def test_the_first_fact_opens_the_limit_once() -> None:
    life = Life()
    life.tell(invoice("i1", 0), invoice("i2", 0))
    assert limits(life)[0] == (1, "opening_limit", D("10000.00"), False)
    assert [s for s, *_ in limits(life)] == list(range(1, len(limits(life)) + 1))


def test_a_debtor_known_by_master_data_only_gets_a_limit_and_a_score() -> None:
    life = Life()
    life.tell(event(CustomerUpdated(customer_id="c-1", country="DE", segment="retail"), 0))
    assert limits(life) == [(1, "opening_limit", D("10000.00"), False)]
    [score] = life.bodies("scores")
    assert score.invoice_id is None and not score.ready and 0 < score.p_default < 0.1


def test_an_overdue_invoice_cuts_the_limit_once_and_raises_one_alert_that_its_payment_clears() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10, amount="5000.00"))
    life.until(24)
    assert alerts(life) == []
    life.until(25)
    assert alerts(life) == [("overdue", "raised")]
    cut = life.bodies("limit-changes")[-1]
    assert cut.reasons[0].code == "overdue" and cut.new_limit < D(10000) and "i1" in cut.evidence
    count = len(limits(life))
    life.until(40)
    assert [code for _, code, _, _ in limits(life)[count:] if code == "overdue"] == []
    life.tell(payment("p1", 41, {"i1": "5000.00"}))
    assert alerts(life)[-1] == ("overdue", "cleared")
    raised, cleared = life.bodies("alerts")[0], life.bodies("alerts")[-1]
    assert raised.alert_id == cleared.alert_id and raised.fingerprint == cleared.fingerprint == "overdue:c-1"


def test_alerts_and_limit_changes_say_why_in_both_languages() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10, amount="5000.00"))
    life.until(25)
    life.tell(notice("n1", 26, "preliminary"), notice("n2", 26, "petition", "possible"))
    life.tell(payment("p1", 27, {"i1": "5000.00"}))
    reasons = [r for topic in ("alerts", "limit-changes") for sent in life.bodies(topic) for r in sent.reasons]
    assert {"overdue", "overdue_over", "insolvency", "opening_limit"} <= {r.code for r in reasons}
    assert all(r.text_de and r.text_de != r.text for r in reasons)
    told = {r.code: r.text_de for r in reasons}
    assert life.bodies("alerts")[0].reasons[0].text_de.endswith("insgesamt überfällig: 5.000,00 EUR.")
    assert "vorläufige Maßnahmen" in next(a.reasons[0].text_de for a in life.bodies("alerts") if a.alert_type == "insolvency")
    assert told["overdue_over"] == "Der Grund ist entfallen."


def test_an_alert_keeps_quiet_through_its_cool_down_and_is_raised_after_it() -> None:
    def overdue(life: Life) -> list[tuple[str, str]]:
        return [one for one in alerts(life) if one[0] == "overdue"]

    def overdue_ids(life: Life) -> list[str]:
        return [a.alert_id for a in life.bodies("alerts") if a.alert_type == "overdue"]

    life = Life()
    life.tell(invoice("i1", 0, due=10, amount="5000.00"), invoice("i2", 0, due=12, amount="5000.00"))
    life.until(25)
    life.tell(payment("p1", 25, {"i1": "5000.00"}))
    assert overdue(life) == [("overdue", "raised"), ("overdue", "cleared")]
    life.until(27)
    assert overdue(life)[2:] == [], "i2 is overdue since yesterday, but the alert was cleared two days ago"
    life.until(32)
    assert overdue(life)[2:] == [("overdue", "raised")]
    assert overdue_ids(life)[2] != overdue_ids(life)[0]


def test_a_good_payer_with_growing_business_is_raised_step_by_step() -> None:
    life = Life()
    for n in range(0, 240, 5):
        life.tell(invoice(f"i{n}", n, amount="3000.00" if n < 150 else "6000.00", due=5))
        life.tell(payment(f"p{n}", n + 4, {f"i{n}": "3000.00" if n < 150 else "6000.00"}))
        life.until(n + 4)
    changes = life.bodies("limit-changes")
    assert changes[-1].new_limit > changes[0].new_limit
    settled = [c for c in changes if (c.effective_from - day(0)).days > 95 and c.previous_limit != c.new_limit]
    assert settled, "the limit follows the business after the first window too"
    for change in settled:
        assert change.new_limit <= change.previous_limit * D("1.25") + D(100)
    assert changes[-1].terms_days == 45 and not changes[-1].security_required


def test_every_change_supersedes_the_one_before_without_gaps() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10, amount="5000.00"))
    life.until(25)
    life.tell(notice("n1", 30, "opened"))
    changes = life.bodies("limit-changes")
    assert len(changes) >= 3
    for number, (before, after) in enumerate(pairwise(changes), start=2):
        assert (after.sequence, after.previous_limit, after.supersedes) == (number, before.new_limit, before.limit_change_id)
    current = [o for o in life.outputs if o.topic == "current-limits"]
    assert [o.data for o in current] == changes


def test_an_installation_that_observes_proposes_and_acting_opens_a_new_generation_for_everybody() -> None:
    life = Life(context("observe"))
    life.tell(invoice("i1", 0), invoice("j1", 0, customer="c-2"), now=None)
    life.until(1)
    assert life.bodies("limit-changes") == [] and len(life.bodies("limit-proposals")) == 2
    life.context = context("act").model_copy(update={"generation": 2})
    life.until(2)
    opened = life.bodies("limit-changes")
    assert sorted((c.customer_id, c.generation, c.sequence, c.previous_limit) for c in opened) == [
        ("c-1", 2, 1, None),
        ("c-2", 2, 1, None),
    ]


def test_before_going_live_nothing_goes_out_and_then_one_opening_limit_each() -> None:
    live = datetime(2026, 2, 4, tzinfo=UTC)  # the 30th day
    life = Life(context().model_copy(update={"live_from": live}))
    life.tell(invoice("i1", 0, due=5, amount="9000.00"), invoice("j1", 0, customer="c-2"), now=None)
    life.until(29)
    assert {o.topic for o in life.outputs} <= {"training-examples"}
    life.until(30)
    assert sorted(c.customer_id for c in life.bodies("limit-changes") if c.reasons[0].code == "opening_limit") == ["c-1", "c-2"]


def test_a_person_overrides_until_a_date_and_then_the_policy_decides_again() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10, amount="5000.00"))
    life.tell(decision("d1", 1, "limit", "override", new_limit=D(50000), currency="EUR", expires_on=day(60)))
    life.until(40)
    assert limits(life)[-1][1:3] == ("override", D("50000.00"))
    count = len(limits(life))
    life.until(62)
    assert "overdue" in [code for _, code, _, _ in limits(life)[count:]]


def test_an_override_in_another_currency_is_refused() -> None:
    life = Life()
    life.tell(decision("d1", 1, "limit", "override", new_limit=D(50000), currency="USD", expires_on=day(60)))
    assert life.rejections == ["limits are kept in EUR, not in USD"]


def test_a_missing_rate_is_never_guessed() -> None:
    life = Life()
    life.tell(invoice("i1", 0, currency="USD", amount="99000.00"))
    assert [c.reasons[-1].code for c in life.bodies("limit-changes")] == ["rate_missing"]
    assert alerts(life) == [], "an unknown exposure is above no limit"


def test_exposure_in_another_currency_counts_at_its_rate() -> None:
    rates = RatesPublished(base="EUR", valid_from=day(0), rates={"USD": D("0.5")})
    life = Life(context().model_copy(update={"rates": rates}))
    life.tell(invoice("i1", 0, currency="USD", amount="30000.00"))
    [score] = [s for s in life.bodies("scores") if s.invoice_id is None][-1:]
    assert score.currency == "EUR"
    assert score.expected_loss == (D(str(score.p_default)) * D("15000.00") * D("0.6")).quantize(D("0.01"))


# -- bank
def test_a_sudden_fall_of_inflow_raises_an_alert_and_holds_the_limit_until_it_lapses() -> None:
    life = Life()
    weekly_inflow(life, range(12), "10000.00")
    assert alerts(life) == []
    weekly_inflow(life, range(12, 14), "1000.00")
    assert alerts(life) == [("cash_flow_shock", "raised")]
    assert limits(life)[-1][1] == "cash_flow_shock" and limits(life)[-1][3], "new exposure is held"
    life.until(14 * 7 + 10)
    assert limits(life)[-1][1] == "hold_lapsed" and not limits(life)[-1][3]


@pytest.mark.parametrize(("action", "code"), [("confirm", "review_confirmed"), ("reject", "hold_rejected")])
def test_a_person_answers_the_review(action: str, code: str) -> None:
    life = Life()
    weekly_inflow(life, range(12), "10000.00")
    weekly_inflow(life, range(12, 14), "1000.00")
    before = life.bodies("limit-changes")[-1].new_limit
    life.tell(decision("d1", 99, "cash_flow_shock:c-1", action))
    change = life.bodies("limit-changes")[-1]
    assert change.reasons[0].code == code and not change.hold and "d1" in change.evidence
    assert (change.new_limit < before) is (action == "confirm")


def test_an_answer_to_nothing_is_refused() -> None:
    life = Life()
    life.tell(decision("d1", 1, "review", "confirm"))
    assert "nothing waits for an answer" in life.rejections[0]


def test_an_acknowledged_alert_remembers_its_owner() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10, amount="5000.00"))
    life.until(25)
    life.tell(decision("d1", 26, "overdue:c-1", "acknowledge"))
    assert life.row("").alerts["overdue"].acknowledged_by == "ada"


def test_a_pending_movement_and_a_steady_inflow_raise_nothing() -> None:
    life = Life()
    weekly_inflow(life, range(20), "10000.00")
    pending = BankTransactionBooked(
        customer_id="c-1", transaction_id="tp", amount=D("-9999999.00"), currency="EUR", booked_on=day(141), status="pending"
    )
    life.tell(event(pending, 141))
    assert life.row("").bank.outflow == 0 and alerts(life) == []


def test_a_balance_is_kept_and_an_older_one_does_not_replace_it() -> None:
    life = Life()
    life.tell(event(BankBalanceReported(customer_id="c-1", balance=D("-50.00"), currency="EUR", balance_on=day(5)), 5))
    life.tell(event(BankBalanceReported(customer_id="c-1", balance=D("70.00"), currency="EUR", balance_on=day(4)), 6))
    assert life.row("").bank.balance == D("-50.00")


def test_weeks_begin_on_monday() -> None:
    assert monday(day(0).toordinal()) == day(0).toordinal() == monday(day(6).toordinal())


# -- insolvency
def test_an_opened_proceeding_ends_all_credit_at_once_and_is_a_default_of_what_is_open() -> None:
    life = Life()
    life.tell(invoice("i1", 0), invoice("i2", 0), payment("p1", 1, {"i2": "100.00"}), notice("n1", 5, "opened"))
    assert limits(life)[-1][1:3] == ("insolvency", D("0.00"))
    assert life.bodies("limit-changes")[-1].terms_days == 0
    assert [(a.alert_type, a.severity) for a in life.bodies("alerts") if a.alert_type == "insolvency"] == [
        ("insolvency", "critical")
    ]
    assert life.row("i/i1").defaulted_early
    assert not life.row("i/i2").defaulted_early
    assert life.bodies("scores")[-1].p_default == 0.99 and life.bodies("scores")[-1].band == "weak"


def test_a_possible_match_alerts_but_does_not_act_until_a_person_confirms() -> None:
    life = Life()
    life.tell(invoice("i1", 0), notice("n1", 5, "opened", match="possible"))
    assert life.bodies("alerts")[-1].severity == "warning"
    assert all(code != "insolvency" for _, code, _, _ in limits(life))
    life.tell(decision("d1", 6, "insolvency:c-1", "confirm"))
    assert limits(life)[-1][1:3] == ("insolvency", D("0.00"))


def test_a_rejected_match_is_forgotten_and_its_alert_cleared() -> None:
    life = Life()
    life.tell(invoice("i1", 0), notice("n1", 5, "opened", match="possible"), decision("d1", 6, "insolvency:c-1", "reject"))
    assert alerts(life)[-1] == ("insolvency", "cleared")
    assert all(code != "insolvency" for _, code, _, _ in limits(life))


def test_a_cancelled_notice_is_retracted_with_its_consequences() -> None:
    life = Life()
    life.tell(invoice("i1", 0), notice("n1", 5, "opened"), notice("n2", 8, "cancelled", corrects="n1"))
    assert alerts(life)[-1] == ("insolvency", "cleared")
    assert limits(life)[-1][1] == "insolvency_over" and limits(life)[-1][2] > 0


def test_no_credit_returns_while_a_proceeding_goes_on() -> None:
    life = Life()
    life.tell(invoice("i1", 0), notice("n1", 5, "opened", proceeding="IN 1/26"))
    count = len(life.outputs)
    life.tell(notice("n2", 8, "none", proceeding="IN 1/26"))
    assert len(life.outputs) == count, "a notice that changes nothing sends nothing"
    life.tell(notice("n3", 9, "petition", proceeding="IN 2/26"), notice("n4", 20, "dismissed", proceeding="IN 2/26"))
    assert alerts(life)[-1] == ("insolvency", "raised") and limits(life)[-1][2] == D("0.00")
    life.tell(notice("n5", 30, "closed", proceeding="IN 1/26"))
    assert alerts(life)[-1] == ("insolvency", "cleared") and limits(life)[-1][1] == "insolvency_over"


def test_a_solvent_winding_up_is_no_alarm() -> None:
    life = Life()
    life.tell(invoice("i1", 0), notice("n1", 5, "solvent_winding_up"))
    assert alerts(life) == []


# -- the clock
@pytest.mark.parametrize("is_replay", [False, True])
def test_one_absurd_recordedtime_moves_nobodys_clock_not_even_the_first_of_a_partition(is_replay: bool) -> None:
    life = Life()
    typing_error = invoice("i1", 0)._replace(recorded=datetime(2099, 12, 31, tzinfo=UTC))
    facts = received_events(typing_error, invoice("i2", 0, due=10, amount="5000.00"))
    result = life.brain.fold(facts, at(3), life.context, replay=is_replay)
    assert [(record.event, why.field) for record, why in result.rejected] == [(typing_error, "recordedtime")]
    assert "recorded more than 400 days after 2026-01-08" in result.rejected[0][1].reason
    assert [o for o in result.outputs if o.topic == "alerts"] == [], "i2 is not overdue"


def test_a_clock_that_was_away_for_a_day_alerts_no_invoice_that_was_paid_in_time() -> None:
    life = Life()
    life.tell(invoice("i1", 0, due=10, amount="5000.00"))
    life.until(24)
    # The clock stops; the payment arrives; the tick comes two days late, after it (its cut contains the payment).
    life.tell(payment("p1", 24, {"i1": "5000.00"}))
    life.until(27)
    assert alerts(life) == []


def test_deadlines_come_in_portions_and_events_go_in_between() -> None:
    life = Life()
    for n in range(30):
        life.tell(invoice(f"i{n}", 0, due=1, customer=f"c-{n}"), now=None)
    folded = life.brain.fold([], datetime(2026, 1, 8, tzinfo=UTC), life.context, replay=False, max_deadlines=10)
    assert folded.has_more
    life.brain.on_committed(folded)
    seen = len(folded.outputs)
    while folded.has_more:
        folded = life.brain.fold([], datetime(2026, 1, 8, tzinfo=UTC), life.context, replay=False, max_deadlines=10)
        life.brain.on_committed(folded)
        seen += len([o for o in folded.outputs if o.topic == "training-examples"])
    assert seen >= 30


def test_while_payments_are_paused_an_overdue_invoice_is_a_review_and_no_alert_and_the_cut_comes_when_they_are_read_again() -> (
    None
):
    life = Life()
    life.tell(invoice("i-1", 0, amount="5000.00", due=10), now=at(0))
    paused = frozenset({"payments"})
    folded = life.brain.fold([], at(30), life.context, replay=False, paused=paused)
    life.brain.on_committed(folded)
    held: Any = [o.data for o in folded.outputs if o.topic == "limit-changes"][-1]
    assert held.hold and [r.code for r in held.reasons] == ["payments_paused"]
    assert held.new_limit == held.previous_limit
    assert not [o for o in folded.outputs if o.topic == "alerts"]
    promise = PromiseMade(
        customer_id="c-1", promise_id="p", amount=Decimal(1), currency="EUR", made_on=day(31), promised_for=day(50)
    )
    life.tell(event(promise, 31), now=at(32))
    assert "overdue" in [r.code for change in life.bodies("limit-changes") for r in change.reasons]
    assert [a.alert_type for a in life.bodies("alerts") if a.state == "raised"][:1] == ["overdue"]


def test_a_deadline_on_which_our_code_fails_is_told_made_up_for_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    life = Life()
    life.tell(invoice("i-1", 0, due=5, customer="c-1"), invoice("i-2", 0, due=5, customer="c-2"), now=at(0))
    real = life.brain.react

    def react(
        rows: Mapping[str, Row], cause: Event | Deadline, context: ContextSet, customer_id: str, *rest: Any
    ) -> Reaction | None:
        if customer_id == "c-1":
            raise ZeroDivisionError("of all things")
        return real(rows, cause, context, customer_id, *rest)

    monkeypatch.setattr(life.brain, "react", react)
    folded = life.brain.fold([], at(8), life.context, replay=False)
    assert folded.failures and all("of c-1: ZeroDivisionError: of all things" in text for text in folded.failures)
    assert "c-2\x1fi/i-2" in folded.rows and not folded.has_more
    letters: Any = [o.data for o in folded.outputs if o.topic == "dead-letters"]
    invoices = [(one.row, one.due_on, one.try_again_on) for one in letters if one.kind == "invoice"]
    # Due on the 6th day, and tried again on each day since, up to this one.
    assert invoices == [("i/i-1", day(n), day(n + 1)) for n in (6, 7, 8)]
    assert {(one.customer_id, one.error) for one in letters} == {("c-1", "ZeroDivisionError: of all things")}
    assert len({o.id for o in folded.outputs}) == len(folded.outputs)
    life.brain.on_committed(folded)

    monkeypatch.undo()
    other = DebtorBrain()
    for key, row in life.brain.rows():
        other.restore(key, encode(row))
    for book in (life.brain, other):
        made_up_for = book.fold([], at(9), life.context, replay=False, previous_tick=at(8))
        assert not made_up_for.failures
        item: Any = decode("i/i-1", made_up_for.rows["c-1\x1fi/i-1"] or b"")
        assert item.late == 1
