"""The feature vector by name: each input moves its own feature, and each feature counts under its own reason."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import score_model
from agents.debtor.scoring.cell_model import cell_keys, unknown_invoice
from agents.debtor.scoring.reasons import CODES
from agents.debtor.scoring.state import Cell, ScoreState
from agents.debtor.scoring.state_model import feature_vector, prepare_model, state_parts, whole_numbers
from agents.debtor.scoring.values import DebtorCells, ScoreInputs
from agents.score_model import FEATURES, UNIT
from schemas.events.models import ModelPublished

KEYS = cell_keys(date(2026, 3, 31), Decimal("100.00"), "DE", "retail")
NO_CELLS: DebtorCells = [None] * 8
LATE = Cell(0.0, 0.1, 0, 1, late=30.0, labels=30.0)
PLACES = {name: place for name, place in vars(score_model).items() if name.isupper() and type(place) is int and name != "UNIT"}
REASONS = {
    "base_rate": {"all"},
    "weekday_rhythm": {
        "debtor_closed_day", "debtor_weekday", "debtor_weekday_lately", "weekday", "closed_day", "labels_weekday",
    },
    "group_history": {"group", "group_weekday", "labels_group"},
    "recent_delays": {
        "debtor", "debtor_lately", "share_due_day", "share_1_before", "share_3_4_before", "share_5_7_before", "mean_days",
        "labels",
    },
    "amount_pattern": {"debtor_amount", "debtor_closed_day_amount", "debtor_weekday_amount"},
    "cash_flow_shock": {"shock", "steady"},
    "overdue_now": {"days_past_due", "overdue_share"},
    "terms": {"terms"},
    "rating": {"rating"},
    "note": {"note"},
    "first_invoices": {"new"},
}  # fmt: skip


def vector(
    inputs: ScoreInputs | None = None,
    *,
    own: DebtorCells | None = None,
    score: ScoreState | None = None,
    model: ModelPublished | None = None,
) -> dict[str, int]:
    prepared = prepare_model(model or ModelPublished())
    values = feature_vector(KEYS, own or NO_CELLS, score or ScoreState(), inputs or ScoreInputs(), prepared)
    return dict(zip((feature.name for feature in FEATURES), whole_numbers(values), strict=True))


def test_each_feature_has_one_place_and_a_constant_that_names_it() -> None:
    assert sorted(PLACES.values()) == list(range(len(FEATURES)))
    assert {FEATURES[place].name.replace("lately", "recent") for place in PLACES.values()} == {name.lower() for name in PLACES}


def test_stored_vectors_fix_the_order_of_the_features() -> None:
    """Rows, examples and checkpoints hold features by place: a new one is appended, none moves."""
    assert [feature.name for feature in FEATURES] == [
        "constant", "group", "debtor", "debtor_lately", "group_weekday", "debtor_closed_day", "debtor_weekday",
        "debtor_weekday_lately", "debtor_amount", "debtor_closed_day_amount", "debtor_weekday_amount", "weekday", "closed_day",
        "all", "share_due_day", "share_1_before", "share_3_4_before", "share_5_7_before", "mean_days", "labels", "labels_weekday",
        "labels_group", "days_past_due", "overdue_share", "terms", "rating", "note", "shock", "steady", "new",
    ]  # fmt: skip


@pytest.mark.parametrize(("inputs", "changed"), [
    (ScoreInputs(days_past_due=40), {"days_past_due"}),
    (ScoreInputs(overdue_share=0.5), {"overdue_share"}),
    (ScoreInputs(terms_days=60), {"terms"}),
    (ScoreInputs(rating=1.0), {"rating"}),
    (ScoreInputs(note=-1.0), {"note"}),
    (ScoreInputs(bank=True), {"steady"}),
    (ScoreInputs(shock=True, bank=True), {"shock"}),
    (ScoreInputs(stage="opened", certain=True, cushion=0.1, falling=True), set()),  # these say something of default only
])  # fmt: skip
def test_an_input_moves_its_own_feature(inputs: ScoreInputs, changed: set[str]) -> None:
    values, baseline = vector(inputs), vector()
    assert {name for name in values if values[name] != baseline[name]} == changed


@pytest.mark.parametrize(("cell", "raised"), [
    # Each rate is the parent of others: what is known of a debtor stands for its Fridays until these are known themselves.
    (0, {"debtor", "debtor_lately", "debtor_closed_day", "debtor_weekday", "debtor_weekday_lately", "debtor_amount",
         "debtor_closed_day_amount", "debtor_weekday_amount", "labels"}),
    (1, {"debtor_closed_day", "debtor_weekday", "debtor_weekday_lately", "debtor_closed_day_amount", "debtor_weekday_amount"}),
    (2, {"debtor_weekday", "debtor_weekday_lately", "debtor_weekday_amount", "labels_weekday"}),
    (3, set()), (5, set()),  # the state model has no use for the rates of these
    (4, {"debtor_amount"}), (6, {"debtor_closed_day_amount"}), (7, {"debtor_weekday_amount"}),
])  # fmt: skip
def test_a_late_cell_raises_its_rate_and_all_that_are_smoothed_towards_it(cell: int, raised: set[str]) -> None:
    own = [LATE if i == cell else None for i in range(8)]
    values, baseline = vector(own=own), vector()
    assert {name for name in values if values[name] > baseline[name]} == raised
    assert all(values[name] == baseline[name] for name in values if name not in raised)


@pytest.mark.parametrize(("key", "raised"), [
    ("g:retail", {"group", "group_weekday", "labels_group"}), ("gw:retail:1", {"group_weekday"}), ("w:1", {"weekday"}),
    ("x:0", {"closed_day"}), ("g:other", set()),
])  # fmt: skip
def test_a_shared_rate_raises_the_features_that_build_on_it(key: str, raised: set[str]) -> None:
    values, baseline = vector(model=ModelPublished(rates={key: (90.0, 90.0)})), vector()
    debtors = {name for name in values if name.startswith("debtor")} if key == "g:retail" else set()
    assert {name for name in values if values[name] > baseline[name]} == raised | debtors


@pytest.mark.parametrize(("labels", "expected"), [(0, 32), (5, 16), (45, 3)])
def test_a_rating_fades_as_labels_come_in(labels: int, expected: int) -> None:
    assert vector(ScoreInputs(rating=1.0), score=ScoreState(labels=labels))["rating"] == expected


def test_a_feature_is_clipped_to_a_signed_byte() -> None:
    assert vector(ScoreInputs(rating=-50.0, days_past_due=10**9))["rating"] == -127
    assert vector(ScoreInputs(days_past_due=10**9))["days_past_due"] == 127


@pytest.mark.parametrize("feature", FEATURES[1:], ids=lambda feature: feature.name)  # the constant does not change
def test_a_feature_counts_under_its_own_reason(feature: score_model.Feature) -> None:
    place = FEATURES.index(feature)
    model = prepare_model(ModelPublished(weights=tuple(1.0 if i == place else 0.0 for i in range(len(FEATURES)))))
    base = [UNIT, *(0,) * (len(FEATURES) - 1)]
    step = [*base[:place], base[place] + 16, *base[place + 1 :]]
    parts = [state_parts(bytes(n % 256 for n in numbers), model) for numbers in (base, step)]
    changed = {code for code, before, after in zip(CODES, *parts, strict=True) if before != pytest.approx(after)}
    assert sum(parts[1]) - sum(parts[0]) == pytest.approx(0.5)
    assert changed == {code for code, names in REASONS.items() if feature.name in names}


@given(st.lists(st.integers(-127, 127), min_size=len(FEATURES) - 1, max_size=len(FEATURES) - 1))
def test_the_parts_add_up_to_the_product_of_weights_and_features(numbers: list[int]) -> None:
    weights = tuple(0.1 * (i % 7 - 3) for i in range(len(FEATURES)))
    values = [UNIT, *numbers]
    parts = state_parts(bytes(n % 256 for n in values), prepare_model(ModelPublished(weights=weights)))
    assert len(parts) == len(CODES)
    assert sum(parts) == pytest.approx(sum(w * n / UNIT for w, n in zip(weights, values, strict=True)), abs=1e-9)


def test_nothing_known_of_an_invoice_is_the_rate_of_all() -> None:
    model = prepare_model(ModelPublished())
    numbers = whole_numbers(feature_vector(unknown_invoice("-", False), NO_CELLS, ScoreState(), ScoreInputs(), model))
    rates = [n * f.scale / UNIT + f.centre for n, f in zip(numbers, FEATURES, strict=True)]
    rates = rates[score_model.GROUP : score_model.ALL + 1]
    assert rates == pytest.approx([model.all_logit] * len(rates), abs=0.03)
