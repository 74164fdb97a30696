"""Scores of invoices and debtors: defined for whatever is known, coherent, explained, and stable."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from math import exp, log

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.debtor.german import STAGES_DE
from agents.debtor.scoring import decide
from agents.debtor.scoring.cell_model import cell_keys, cell_keys_of, learn_late
from agents.debtor.scoring.counterfactual import counterfactual
from agents.debtor.scoring.default import (
    STAGE_FLOORS,
    class_keys,
    class_rate,
    default_example_keys,
    p_default,
    p_default_floor,
    risk_class,
)
from agents.debtor.scoring.reasons import CODES, MAX_REASONS, explain, explain_score
from agents.debtor.scoring.state import BehaviourChange, Cell, Features, LastScore, ScoreState
from agents.debtor.scoring.state_model import whole_numbers
from agents.debtor.scoring.values import Logit, ReasonInputs, Scored, ScoreInputs
from agents.score_model import FEATURES, PRIOR_WEIGHTS
from schemas.events.insolvency import STAGES, Stage
from schemas.events.models import ModelPublished
from schemas.events.policies import Bands
from schemas.outputs.scores import Band

BANDS: tuple[Band, ...] = ("strong", "medium", "weak")
probabilities = st.floats(0, 1).map(lambda p: round(p, 6))
facts = st.builds(
    ScoreInputs,
    days_past_due=st.integers(0, 4000),
    shock=st.booleans(),
    bank=st.booleans(),
    stage=st.sampled_from(STAGES),
    certain=st.booleans(),
)
forecasts = st.lists(st.floats(-5, 5), min_size=len(CODES), max_size=len(CODES)).map(lambda c: Logit(sum(c), 0.0, tuple(c)))


RULES = Bands(late_strong_below=0.40, late_weak_from=0.75)


def no_cell(_key: str) -> Cell | None:
    return None


def debtor(known: ScoreInputs, score: ScoreState | None = None, model: ModelPublished | None = None) -> Scored:
    return decide.score_debtor(score or ScoreState(), None, known, model or ModelPublished(), bands=RULES)


@given(facts)
def test_a_score_is_defined_for_whatever_is_known(known: ScoreInputs) -> None:
    scored = debtor(known)
    assert 0 < scored.p_default <= scored.p_late < 1
    assert len(explain_score(scored).reasons) <= MAX_REASONS
    assert scored.ready == (known.bank or known.shock or known.days_past_due > 0 or known.stage != "none")


def test_with_nothing_known_it_is_the_prior() -> None:
    scored = debtor(ScoreInputs())
    assert (scored.p_late, scored.p_default, scored.ready, scored.band) == (0.5, 0.005, False, "medium")
    assert [reason.code for reason in explain_score(scored).reasons] == ["new_debtor"]


def test_bank_data_alone_move_the_score() -> None:
    unseen, steady, shock = (
        debtor(known) for known in (ScoreInputs(), ScoreInputs(bank=True), ScoreInputs(bank=True, shock=True))
    )
    assert steady.p_default < unseen.p_default < shock.p_default
    assert shock.p_late > unseen.p_late
    assert "cash_flow_shock" in {reason.code for reason in explain_score(shock).reasons}


@given(facts, forecasts, st.integers(0, 9), st.floats(0, 5))
def test_reasons_add_up_to_the_log_odds(known: ScoreInputs, forecast: Logit, labels: int, lift: float) -> None:
    known = msgspec.structs.replace(known, stage="opened", certain=True)
    found, published = explain(forecast.contributions, ReasonInputs(known, labels, None, "hedge"), lift)
    assert 1 <= len(found) <= MAX_REASONS
    assert sum(reason.contribution for reason in found) == pytest.approx(published + round(lift, 6), abs=1e-9)
    assert published == pytest.approx(forecast.total, abs=1e-5)
    assert all(reason.text and reason.text_de for reason in found)


def test_the_largest_influences_are_named_and_the_rest_is_other() -> None:
    parts = (-0.5, 2.0, 0.1, -1.0, 0.4, 0.0, 0.6, 0.0, 0.0, -0.2)
    found, _ = explain(parts, ReasonInputs(ScoreInputs(), 9, None, "hedge"))
    assert [(r.code, r.contribution, r.family) for r in found] == [
        ("weekday_rhythm", 2.0, "follow-up"),
        ("recent_delays", -1.0, "good"),
        ("overdue_now", 0.6, "delays"),
        ("base_rate", -0.5, "good"),
        ("other", 0.3, "none"),
    ]
    assert "punctually" in found[1].text
    assert "pünktlicher" in str(found[1].text_de)


def test_the_starting_point_is_not_told_as_a_rate_of_late_invoices() -> None:
    for start, goes in ((0.4, "raises"), (-0.4, "lowers")):
        found, _ = explain((start, *(0.0,) * (len(CODES) - 1)), ReasonInputs(ScoreInputs(), 9, None, "hedge"))
        assert found[0].text.endswith(f"{goes} the probability") and "invoices" not in found[0].text


def test_an_overdue_invoice_that_lowers_the_probability_is_no_alarm() -> None:
    parts = [0.0] * len(CODES)
    told = {}
    for contribution in (0.3, -0.3):
        parts[CODES.index("overdue_now")] = contribution
        told[contribution] = explain(tuple(parts), ReasonInputs(ScoreInputs(days_past_due=3), 9, None, "hedge")).reasons[0]
    assert told[0.3].text == "An open invoice is at least 3 days past due"
    assert "says little" in told[-0.3].text and "wenig" in str(told[-0.3].text_de)


@pytest.mark.parametrize("stage", sorted(STAGE_FLOORS))
def test_an_insolvency_is_told_in_german_with_german_words_for_its_stage(stage: Stage) -> None:
    reason = explain((0.0,) * len(CODES), ReasonInputs(ScoreInputs(stage=stage, certain=True), 9, None, "hedge"), 1.0).reasons[0]
    assert STAGES_DE[stage] in str(reason.text_de) and f" {stage}" not in str(reason.text_de)


def test_every_stage_has_german_words() -> None:
    assert set(STAGES_DE) == set(STAGES)


EDGES = (0.551, 0.025, 0.97, 0.15)


@given(st.sampled_from(["strong", "medium", "weak"]), st.floats(0.001, 0.999), st.floats(0.0001, 0.999))
def test_what_would_change_the_band_never_contradicts_itself_by_rounding(grade: Band, late: float, default: float) -> None:
    late, default = round(late, 6), round(default, 6)
    found = counterfactual(grade, late, default, EDGES, ready=True)
    for wanted, now in re.findall(r"(?:from|below) ([0-9.]+) % \(now ([0-9.]+) %\)", found.text):
        assert wanted != now or late == found.p_late or default == found.p_default
    numbers = re.findall(r"[0-9.,]+ %", found.text)
    assert re.findall(r"[0-9.,]+ %", found.text_de) == [number.replace(".", ",") for number in numbers]


def test_probabilities_that_would_read_alike_get_another_decimal() -> None:
    found = counterfactual("medium", 0.552, 0.02502, EDGES, ready=True)
    assert (
        found.text == "Band strong: probability of late payment below 55.1 % (now 55.2 %), of default below 2.500 % (now 2.502 %)"
    )
    assert "unter 55,1 % (jetzt 55,2 %)" in found.text_de


def test_while_an_insolvency_is_certain_only_its_end_changes_the_band() -> None:
    facts = ScoreInputs(stage="opened", certain=True)
    for known, told in ((facts, True), (ScoreInputs(stage="opened"), False), (ScoreInputs(stage="closed", certain=True), False)):
        found = counterfactual("weak", 0.99, 0.99, EDGES, ready=True, p_default_floor=p_default_floor(known))
        assert ("withdrawn or the proceedings closed" in found.text) is told
        assert ("zurückgenommen oder das Verfahren beendet" in found.text_de) is told


def test_a_change_of_behaviour_is_a_reason_while_it_is_news() -> None:
    change = BehaviourChange(since=date(2026, 3, 2).toordinal(), day=1000, later=True)
    for today, told in ((1000, True), (1090, True), (1091, False)):
        codes = [r.code for r in explain((0.0,) * len(CODES), ReasonInputs(ScoreInputs(day=today), 9, change, "hedge")).reasons]
        assert (codes == ["behaviour_changed"]) is told
    reason = explain((0.0,) * len(CODES), ReasonInputs(ScoreInputs(day=1000), 9, change, "hedge")).reasons[0]
    assert (reason.family, "later than expected since 2026-03-02" in reason.text) == ("delays", True)


def test_where_the_model_fails_the_plain_late_rate_counts_and_says_so() -> None:
    score = ScoreState(cells={"c": Cell(-3.0, 0.1, 0, 1)}, labels=15, late=12)
    scored = debtor(ScoreInputs(), score, ModelPublished(scorer="late_rate", bias=2.0))
    assert scored.p_late == pytest.approx((12 + 5 * 0.4) / 20, abs=1e-6)
    assert explain_score(scored).reasons[0].code == "late_rate_only"
    keys = cell_keys(date(2026, 3, 2), Decimal(100), "DE", "g")
    invoice = decide.score_invoice(keys, score, ScoreInputs(), no_cell, ModelPublished(scorer="late_rate"), bands=RULES)
    assert invoice.p_late == scored.p_late
    assert len(invoice.features.vector) == len(FEATURES)


def test_rules_come_first_with_their_evidence() -> None:
    known = ScoreInputs(days_past_due=40, stage="opened", certain=True, overdue_ids=("i-1",), notice_ids=("n-1",))
    scored = debtor(known)
    assert (explain_score(scored).reasons[0].code, explain_score(scored).reasons[0].evidence) == ("insolvency", ("n-1",))
    assert explain_score(scored).reasons[1].code == "new_debtor"
    assert explain_score(scored).reasons[0].contribution == pytest.approx(log(0.99 / 0.01))


@given(st.sampled_from(sorted(STAGE_FLOORS)), probabilities)
def test_a_certain_stage_sets_a_floor_and_a_possible_one_only_raises(stage: Stage, p_late: float) -> None:
    certain, possible = (ScoreInputs(stage=stage, certain=c) for c in (True, False))
    assert p_default(p_late, risk_class(certain, 0), certain, ModelPublished()) >= STAGE_FLOORS[stage]
    raised = p_default(p_late, risk_class(possible, 0), possible, ModelPublished())
    assert p_late * 0.04 - 1e-12 <= raised <= p_late


def test_default_rises_with_days_past_due_before_any_label() -> None:
    rates = [class_rate(ModelPublished(), risk_class(ScoreInputs(days_past_due=d), 9)) for d in (0, 1, 15, 31, 61, 91)]
    assert rates == sorted(set(rates))


def test_labels_of_a_class_move_it_and_its_children() -> None:
    risk = risk_class(ScoreInputs(days_past_due=40), 9)
    taught = ModelPublished(default_counts={"all": (1.0, 1000.0), "all|31-60": (1.0, 50_000.0)})
    assert class_rate(taught, risk) < 0.001 < class_rate(ModelPublished(), risk)
    assert class_keys(risk)[:2] == ("all", "all|31-60")
    assert default_example_keys(risk, late=False) == ()
    assert default_example_keys(risk, late=True) == class_keys(risk)


def test_a_risky_class_learns_its_rate_from_fewer_labels_than_a_safe_one() -> None:
    def moved_by_100_good_labels(days_past_due: int) -> float:
        risk = risk_class(ScoreInputs(days_past_due=days_past_due), 9)
        taught = ModelPublished(default_counts={class_keys(risk)[1]: (0.0, 100.0)})
        return class_rate(taught, risk) / class_rate(ModelPublished(), risk)

    assert moved_by_100_good_labels(91) < 0.6
    assert moved_by_100_good_labels(0) > 0.9


@given(probabilities, probabilities, st.sampled_from([None, *BANDS]))
def test_a_band_once_given_is_kept_for_the_same_probabilities(p_late: float, default: float, previous: Band | None) -> None:
    first = decide.band(RULES, p_late, default, previous)
    assert decide.band(RULES, p_late, default, first) == first


@given(probabilities, probabilities, probabilities, st.sampled_from([None, *BANDS]))
def test_a_higher_probability_is_never_a_better_band(p_late: float, higher: float, default: float, previous: Band | None) -> None:
    low, high = sorted((p_late, higher))
    assert BANDS.index(decide.band(RULES, low, default, previous)) <= BANDS.index(decide.band(RULES, high, default, previous))


@given(probabilities, probabilities, st.sampled_from(BANDS))
def test_hysteresis_only_ever_holds_on_to_the_previous_band(p_late: float, default: float, previous: Band) -> None:
    plain, held = decide.band(RULES, p_late, default, None), decide.band(RULES, p_late, default, previous)
    lowest, highest = sorted((BANDS.index(plain), BANDS.index(previous)))
    assert lowest <= BANDS.index(held) <= highest


@pytest.mark.parametrize(("p", "previous", "expected"), [
    (0.41, None, "medium"), (0.41, "strong", "strong"), (0.46, "strong", "medium"), (0.39, "medium", "medium"),
    (0.35, "medium", "strong"), (0.76, "medium", "medium"), (0.79, "medium", "weak"),
    (0.72, "weak", "weak"), (0.70, "weak", "medium"),
])  # fmt: skip
def test_thresholds_with_a_margin(p: float, previous: Band | None, expected: Band) -> None:
    assert decide.band(RULES, p, 0.01, previous) == expected


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_thresholds_at_the_edges_of_probability_hold(edge: float) -> None:
    bands = Bands(late_strong_below=edge, late_weak_from=1.0)
    assert decide.band(bands, 0.5, 0.0, "medium") == ("strong" if edge else "medium")


def test_expected_loss_is_to_the_cent_and_never_negative() -> None:
    assert decide.expected_loss(0.123456, Decimal("1234.56"), 0.45) == Decimal("68.59")
    assert decide.expected_loss(0.5, Decimal(-10), 0.6) == Decimal("0.00")


def test_a_debtors_score_is_that_of_its_usual_next_invoice() -> None:
    active = cell_keys(date(2026, 3, 2), Decimal(100), "DE", "g")
    invoice = decide.score_invoice(active, ScoreState(), ScoreInputs(), no_cell, ModelPublished(bias=0.3), bands=RULES)
    score = decide.record_issue(ScoreState(), invoice.forecast)
    own = decide.score_debtor(score, None, ScoreInputs(), ModelPublished(bias=0.3), bands=RULES, group_id="g")
    assert (own.p_late, own.p_default, own.band) == (invoice.p_late, invoice.p_default, invoice.band)


@given(st.integers(0, 60), st.integers(0, 1))
def test_the_published_parts_of_an_invoice_add_up_to_its_probability(labels: int, label: int) -> None:
    score, cells = ScoreState(), dict[str, Cell]()
    model = ModelPublished(weights=tuple(0.1 * (i % 5 - 2) for i in range(len(FEATURES))), hedge=3.0, rates={"all": (30.0, 70.0)})
    for i in range(labels):
        keys = cell_keys(date(2026, 3, 2 + i % 20), Decimal(100 + i % 3), "DE", "g")
        learned = learn_late(keys, label if i % 3 else 1 - label, 10 + i, score, cells.get, model)
        score = learned.score
        cells.update(learned.cells)
    keys = cell_keys(date(2026, 3, 27), Decimal(101), "DE", "g")
    scored = decide.score_invoice(keys, score, ScoreInputs(days_past_due=15, bank=True), cells.get, model, bands=RULES)
    x = whole_numbers(scored.features.vector)
    state = sum(w * k / 32 for w, k in zip(model.weights, x, strict=True))
    share = 1 / (1 + exp(-0.3))
    assert scored.forecast.total == pytest.approx(share * scored.forecast.row_logit + (1 - share) * state, abs=1e-9)
    assert sum(r.contribution for r in explain_score(scored).reasons) == pytest.approx(explain_score(scored).log_odds, abs=1e-9)
    assert scored.p_late == pytest.approx(1 / (1 + exp(-explain_score(scored).log_odds)), abs=1e-5)


def test_a_model_of_a_version_with_fewer_features_scores_as_if_it_had_learned_nothing_of_the_others() -> None:
    active = cell_keys(date(2026, 3, 2), Decimal(100), "DE", "g")
    models = [ModelPublished(weights=PRIOR_WEIGHTS[:count], hedge=-3.0) for count in (len(FEATURES) - 1, len(FEATURES))]
    fewer, all_ = (decide.score_invoice(active, ScoreState(), ScoreInputs(), no_cell, model, bands=RULES) for model in models)
    assert fewer == all_


@given(st.integers(1, 200), st.sampled_from([-2.0, 2.0]))
def test_evidence_overtakes_what_others_say(labels: int, rating: float) -> None:
    def effect(score: ScoreState) -> float:
        return abs(debtor(ScoreInputs(rating=rating), score).forecast.total - debtor(ScoreInputs(), score).forecast.total)

    assert effect(ScoreState()) > 0.4
    assert effect(ScoreState(labels=labels)) <= effect(ScoreState(labels=labels - 1))
    assert effect(ScoreState(labels=200)) < 0.05


def test_a_debtor_without_labels_is_scored_as_new_debtors_paid_until_it_has_one_of_its_own() -> None:
    weights = tuple(-1.0 if feature.name == "new" else 0.0 for feature in FEATURES)
    model = ModelPublished(cells={"n:new": (-2.0, 0.01)}, weights=weights)
    keys = cell_keys(date(2026, 3, 2), Decimal(100), "DE", "g")
    new, known = (decide.score_invoice(keys, ScoreState(labels=n), ScoreInputs(), no_cell, model, bands=RULES) for n in (0, 1))

    assert new.forecast.total - known.forecast.total == pytest.approx(-1.5)  # cells and state model count half each
    told = {reason.code: reason for reason in explain_score(new).reasons}["first_invoices"]
    assert (told.contribution, told.text) == (-1.5, "First invoices of debtors tend to be paid in time")
    assert "first_invoices" not in {reason.code for reason in explain_score(known).reasons}
    assert debtor(ScoreInputs(), ScoreState(), model).forecast.total == pytest.approx(new.forecast.total)
    # What it was when it was scored is what its label teaches, whatever has matured since.
    assert [cell_keys_of(s.features, Decimal(100)).shared[3:] for s in (new, known)] == [("n:new",), ()]


def test_one_odd_invoice_moves_what_is_usual_by_a_twelfth() -> None:
    usual = Logit(0.0, 0.0, (0.0, 1.0, 0.0, 0.0, 0.0, 0.0))
    odd = Logit(0.0, 0.0, (0.0, -11.0, 0.0, 0.0, 0.0, 0.0))
    score = ScoreState()
    for _ in range(50):
        score = decide.record_issue(score, usual)
    assert score.typical_invoice
    assert score.typical_invoice.weekday == pytest.approx(1.0)
    moved = decide.record_issue(score, odd).typical_invoice
    assert moved
    assert moved.weekday == pytest.approx(0.0)


def test_a_score_is_news_when_it_moves_by_a_hundredth_or_changes_its_band() -> None:
    scored = debtor(ScoreInputs())
    assert decide.is_news(None, scored)
    last = LastScore(0.5, 0.005, "medium", False, 1, 0.5)
    assert not decide.is_news(last, scored)
    assert decide.is_news(msgspec.structs.replace(last, p_late=0.49), scored)
    assert not decide.is_news(msgspec.structs.replace(last, p_late=0.490001), scored)
    assert decide.is_news(msgspec.structs.replace(last, band="strong"), scored)
    assert decide.is_news(msgspec.structs.replace(last, p_default=0.0039), scored)  # what is rare moves by less than a hundredth
    assert not decide.is_news(msgspec.structs.replace(last, p_default=0.0041), scored)


def test_the_slow_average_goes_half_the_way_in_thirty_days() -> None:
    low = debtor(ScoreInputs(), ScoreState(cells={"c": Cell(-2.0, 0.1, 0, 1)}, labels=3))
    high = debtor(ScoreInputs(), ScoreState(cells={"c": Cell(2.0, 0.1, 0, 1)}, labels=3))
    last = decide.to_last_score(decide.to_last_score(None, low, 100), high, 110)
    assert decide.slow_average(last, 110) == low.p_late
    assert decide.slow_average(last, 140) == pytest.approx((low.p_late + high.p_late) / 2)
    again = decide.to_last_score(decide.to_last_score(last, high, 120), high, 120)
    assert decide.slow_average(again, 140) == pytest.approx(decide.slow_average(last, 140))
    assert decide.slow_average(None, 1) is None


def test_the_average_starts_anew_when_the_prior_ends() -> None:
    prior, known = debtor(ScoreInputs()), debtor(ScoreInputs(), ScoreState(cells={"c": Cell(2.0, 0.1, 0, 1)}, labels=1))
    last = decide.to_last_score(decide.to_last_score(None, prior, 100), known, 110)
    assert decide.slow_average(last, 110) == known.p_late > prior.p_late


def test_what_was_learned_survives_json() -> None:
    score = decide.record_issue(ScoreState(), Logit(0.1, 0.2, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.0, 0.0, 0.0, 0.0)))
    assert msgspec.json.decode(msgspec.json.encode(score), type=ScoreState) == score
    last = decide.to_last_score(None, debtor(ScoreInputs()), 9)
    assert msgspec.json.decode(msgspec.json.encode(last), type=LastScore) == last


@pytest.mark.parametrize(("p_late", "p_default", "expected"), [
    (0.0, 0.0, "strong"), (0.399, 0.029, "strong"), (0.40, 0.0, "medium"), (0.0, 0.03, "medium"), (0.749, 0.149, "medium"),
    (0.75, 0.0, "weak"), (0.0, 0.15, "weak"), (1.0, 1.0, "weak"),
])  # fmt: skip
def test_a_band_is_the_worse_of_what_the_two_probabilities_say(p_late: float, p_default: float, expected: Band) -> None:
    assert decide.band(RULES, p_late, p_default, None) == expected


@pytest.mark.parametrize(("inputs", "labels", "expected"), [
    (ScoreInputs(), 0, False), (ScoreInputs(), 1, True), (ScoreInputs(bank=True), 0, True), (ScoreInputs(shock=True), 0, True),
    (ScoreInputs(days_past_due=1), 0, True), (ScoreInputs(stage="petition"), 0, True), (ScoreInputs(rating=0.1), 0, True),
    (ScoreInputs(note=1.0), 0, False), (ScoreInputs(terms_days=30), 0, False),
])  # fmt: skip
def test_a_score_is_ready_once_anything_is_known_of_the_debtor_itself(inputs: ScoreInputs, labels: int, expected: bool) -> None:
    assert debtor(inputs, ScoreState(labels=labels)).ready is expected


def test_a_debtor_of_which_nothing_is_known_is_not_strong() -> None:
    model = ModelPublished(bias=-8.0, rates={"all": (1.0, 999.0)})
    assert (debtor(ScoreInputs(), model=model).band, debtor(ScoreInputs(bank=True), model=model).band) == ("medium", "strong")


@pytest.mark.parametrize(("p_late", "p_default", "expected"), [
    (0.5, 0.01, False), (0.509, 0.01, False), (0.51, 0.01, True), (0.49, 0.01, True), (0.5, 0.0124, False), (0.5, 0.0125, True),
    (0.5, 0.02, True), (0.5, 0.0081, False), (0.5, 0.008, True),
])  # fmt: skip
def test_a_score_is_news_by_a_hundredth_or_where_default_changed_by_a_quarter(
    p_late: float, p_default: float, expected: bool
) -> None:
    scored = msgspec.structs.replace(debtor(ScoreInputs(bank=True)), p_late=p_late, p_default=p_default, band="medium")
    assert decide.is_news(LastScore(0.5, 0.01, "medium", True, 1, 0.5), scored) is expected


@pytest.mark.parametrize(("owed", "recovered", "unpaid", "expected"), [
    (None, 0, 100, None), (0, 0, 0, None), (100, 0, 100, 1.0), (100, 0, 40, 0.4), (100, 25, 100, 0.75), (100, 0, 0, 0.0),
    (100, 150, 100, 0.0), (100, 0, 130, 1.0), (3, 0, 1, 0.333333),
])  # fmt: skip
def test_the_share_lost_is_what_is_still_missing_of_what_was_owed(
    owed: int | None, recovered: int, unpaid: int, expected: float | None
) -> None:
    features = Features(1, False, "-", owed=None if owed is None else Decimal(owed), recovered=Decimal(recovered))
    assert decide.share_lost(features, Decimal(unpaid)) == expected


@pytest.mark.parametrize(
    ("loss", "expected"), [((0.0, 0.0), 0.6), ((0.0, 20.0), 0.3), ((20.0, 20.0), 0.8), ((450.0, 980.0), 0.462)]
)
def test_recoveries_teach_the_loss_given_default(loss: tuple[float, float], expected: float) -> None:
    assert decide.loss_given_default(ModelPublished(loss=loss), 0.6) == expected


@pytest.mark.parametrize(("days", "expected"), [(0, 0.2), (30, 0.4), (60, 0.5), (3000, 0.6), (-5, 0.2)])
def test_the_slow_average_nears_the_score_that_is_in_force(days: int, expected: float) -> None:
    assert decide.slow_average(LastScore(0.6, 0.01, "medium", True, 100, 0.2), 100 + days) == pytest.approx(expected, abs=1e-6)
