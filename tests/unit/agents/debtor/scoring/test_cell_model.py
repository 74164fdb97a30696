"""The cells model in a debtor's row: sums, learning, reopening, and state that survives JSON bit for bit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.debtor.scoring.cell_model import cell_keys, cell_keys_of, cell_parts, correct_late, debtor_cells, learn_late
from agents.debtor.scoring.state import Cell, Features, ScoreState
from agents.debtor.scoring.values import CellKeys
from agents.learner.decide import learn, to_published
from agents.learner.state import SharedModel, from_row, to_row
from agents.score_model import sigmoid
from schemas.events.models import ExampleMatured, ModelPublished

DAY = date(2026, 3, 2)
amounts = st.decimals(min_value="0.01", max_value="9999999999999.99", places=2)
invoices = st.tuples(st.integers(0, 400), amounts, st.integers(0, 1), st.booleans())
histories = st.lists(invoices, max_size=40)


def no_cell(_key: str) -> Cell | None:
    return None


class Debtor:
    """A debtor's score and amount cells, as its rows would hold them."""

    def __init__(self) -> None:
        self.score, self.cells, self.shared = ScoreState(), dict[str, Cell](), SharedModel()

    def learn(self, days: int, amount: Decimal, label: int, shock: bool = False) -> CellKeys:
        keys = cell_keys(DAY + timedelta(days), amount, "DE", "g", shock=shock)
        learned = learn_late(keys, label, DAY.toordinal() + days + 1, self.score, self.cells.get, self.model)
        self.score = learned.score
        self.cells.update(learned.cells)
        example = ExampleMatured(
            customer_id="c", example_id="e", invoice_id="i", target="late", label=1 if label else 0, keys=keys.shared,
            row_logit=learned.row_logit, row_variance=learned.row_variance, scored_on=DAY, matured_on=DAY,
        )  # fmt: skip
        self.shared = learn(self.shared, example)
        return keys

    def logit(self, keys: CellKeys) -> float:
        return sum(cell_parts(keys, debtor_cells(keys, self.score, self.cells.get), self.model))

    @property
    def model(self) -> ModelPublished:
        return to_published(self.shared)

    def again(self) -> Debtor:
        """The same debtor, read from JSON, its keys in another order."""
        other = Debtor()
        score = msgspec.json.decode(msgspec.json.encode(self.score), type=ScoreState)
        shuffled = dict(sorted(score.cells.items(), reverse=True))
        other.score = msgspec.structs.replace(score, cells=shuffled)
        for key in sorted(self.cells, reverse=True):
            other.cells[key] = msgspec.json.decode(msgspec.json.encode(self.cells[key]), type=Cell)
        other.shared = from_row(to_row(self.shared))
        other.shared.cells = dict(sorted(other.shared.cells.items(), reverse=True))
        return other


def after(history: Iterable[tuple[int, Decimal, int, bool]]) -> Debtor:
    debtor = Debtor()
    for invoice in sorted(history):
        debtor.learn(*invoice)
    return debtor


@given(histories, invoices)
def test_a_label_moves_the_forecast_towards_itself(
    history: list[tuple[int, Decimal, int, bool]], invoice: tuple[int, Decimal, int, bool]
) -> None:
    debtor = after(history)
    days, amount, label, shock = invoice
    keys = cell_keys(DAY + timedelta(days), amount, "DE", "g", shock=shock)
    before = debtor.logit(keys)
    learned = learn_late(keys, label, DAY.toordinal() + days + 1, debtor.score, debtor.cells.get, debtor.model)
    now = sum(cell_parts(keys, debtor_cells(keys, learned.score, learned.cells.get), debtor.model))
    assert now > before if label else now < before


@given(histories, invoices)
def test_state_read_from_json_gives_the_same_bits(
    history: list[tuple[int, Decimal, int, bool]], invoice: tuple[int, Decimal, int, bool]
) -> None:
    debtor = after(history)
    restored = debtor.again()
    assert restored.score == debtor.score
    keys, same = debtor.learn(*invoice), restored.learn(*invoice)
    assert restored.logit(same) == debtor.logit(keys)
    assert restored.score == debtor.score
    assert restored.cells == debtor.cells
    assert restored.model == debtor.model


@given(st.dates(min_value=DAY), amounts, st.sampled_from([None, "DE", "US", "Atlantis"]), st.sampled_from([None, "g:1"]))
def test_the_features_kept_with_an_item_give_the_keys_of_its_issue(
    due_on: date, amount: Decimal, country: str | None, group: str | None
) -> None:
    keys = cell_keys(due_on, amount, country, group)
    kept = msgspec.json.decode(msgspec.json.encode(keys.features), type=Features)
    assert cell_keys_of(kept, amount) == keys


def test_the_same_amount_has_the_same_cells_however_it_is_written() -> None:
    assert cell_keys(DAY, Decimal(100), None, None).amounts == cell_keys(DAY, Decimal("100.00"), None, None).amounts


def test_cents_are_exact_up_to_the_largest_amount() -> None:
    one, other = (cell_keys(DAY, Decimal(text), None, None).amounts for text in ("9999999999999.98", "9999999999999.99"))
    assert one != other


def test_a_new_debtor_moves_fast_and_an_old_one_slowly() -> None:
    young, old = Debtor(), after([(i, Decimal(100 + i), i % 2, False) for i in range(200)])
    keys = cell_keys(DAY + timedelta(200), Decimal(500), "DE", "g")

    def moved(debtor: Debtor) -> float:
        learned = learn_late(keys, 1, DAY.toordinal() + 201, debtor.score, debtor.cells.get, ModelPublished())
        return learned.score.cells["c"].mean - (debtor.score.cells["c"].mean if "c" in debtor.score.cells else 0.0)

    assert moved(young) > 2 * moved(old) > 0


def test_a_debtor_that_changes_is_reopened() -> None:
    debtor = after([(i, Decimal(100), 0, False) for i in range(120)])
    assert debtor.score.epoch == 0
    known = debtor.score.cells["c"].variance
    for i in range(120, 140):
        debtor.learn(i, Decimal(100), 1)
    assert debtor.score.epoch >= 1
    assert debtor.score.cells["c"].variance > known
    change = debtor.score.change
    assert change
    assert change.later
    assert DAY.toordinal() + 119 <= change.since <= DAY.toordinal() + 123 < change.day + 1 <= DAY.toordinal() + 141


@given(histories, invoices)
def test_a_corrected_label_goes_the_other_way_and_makes_nothing_surer(
    history: list[tuple[int, Decimal, int, bool]], invoice: tuple[int, Decimal, int, bool]
) -> None:
    debtor = after(history)
    days, amount, wrong, shock = invoice
    keys = debtor.learn(days + 401, amount, wrong, shock)
    learned, own = debtor.score, debtor_cells(keys, debtor.score, debtor.cells.get)
    score, rows = correct_late(keys, 1 - wrong, learned, debtor.cells.get)
    corrected = debtor_cells(keys, score, {**debtor.cells, **rows}.get)
    for before, now in zip(own, corrected, strict=True):
        assert before
        assert now
        assert (now.mean < before.mean) if wrong else (now.mean > before.mean)
        assert now.variance == before.variance
        assert 0.0 <= now.late <= now.labels == before.labels
    assert (score.labels, score.late) == (learned.labels, learned.late + 1 - 2 * wrong)


def test_siblings_of_one_day_raise_no_alarm() -> None:
    debtor = after([(i, Decimal(100), 0, False) for i in range(120)])
    for _ in range(50):
        debtor.learn(121, Decimal(100), 1)
    assert debtor.score.epoch == 0


def test_an_untouched_cell_regains_uncertainty_up_to_its_prior() -> None:
    debtor = after([(i, Decimal(100), 0, False) for i in range(50)])
    certain = debtor.score.cells["c"].variance
    keys = cell_keys(DAY, Decimal(100), "DE", "g")

    def variance_after(days: int) -> float:
        return learn_late(keys, 0, DAY.toordinal() + days, debtor.score, debtor.cells.get, debtor.model).row_variance

    assert variance_after(51) < variance_after(500) < variance_after(5000)
    assert variance_after(10_000) == pytest.approx(variance_after(20_000))
    assert certain < 1.0


def test_only_the_debtors_cells_move_in_its_row() -> None:
    model = ModelPublished(bias=1.0, cells={"w:0": (0.5, 0.1)})
    keys = cell_keys(DAY, Decimal(100), None, None)
    learned = learn_late(keys, 0, DAY.toordinal() + 1, ScoreState(), no_cell, model)
    assert set(learned.score.cells) == {"c", "cx:0", "cw:0"}
    assert set(learned.cells) == set(keys.amounts)
    assert model.cells == {"w:0": (0.5, 0.1)}
    assert (learned.row_logit, learned.score.labels) == (0.0, 1)
    assert learned.row_variance == pytest.approx(1.6 + 0.65)


def test_a_shock_raises_the_odds_before_any_label() -> None:
    calm, shock = (cell_keys(DAY, Decimal(100), None, None, shock=s) for s in (False, True))
    debtor = Debtor()
    assert debtor.logit(shock) == debtor.logit(calm) + 0.5


@pytest.mark.parametrize("z", [-1e6, -30.0, 0.0, 30.0, 1e6])
def test_sigmoid_is_total(z: float) -> None:
    assert 0.0 < sigmoid(z) <= 1.0


@pytest.mark.parametrize(("amount", "expected"), [
    ("0.01", ("ca:0", "cA:0", "cE:1", "cxa:0:0", "cwa:0:0")), ("1.00", ("ca:0", "cA:0", "cE:100", "cxa:0:0", "cwa:0:0")),
    ("100.00", ("ca:6", "cA:30", "cE:10000", "cxa:0:3", "cwa:0:3")),
    ("99999.99", ("ca:16", "cA:76", "cE:9999999", "cxa:0:9", "cwa:0:9")),
])  # fmt: skip
def test_an_amount_has_a_coarse_a_fine_and_an_exact_cell(amount: str, expected: tuple[str, ...]) -> None:
    assert cell_keys(DAY, Decimal(amount), "DE", "g").amounts == expected


@pytest.mark.parametrize(("due_on", "shock", "shared", "calendar"), [
    (date(2026, 3, 2), False, ("w:0", "gw:g:0", "gx:g:0"), ("c", "cx:0", "cw:0")),
    (date(2026, 3, 7), False, ("w:5", "gw:g:5", "gx:g:1"), ("c", "cx:1", "cw:5")),  # a Saturday
    (date(2026, 12, 25), False, ("w:7", "gw:g:7", "gx:g:1"), ("c", "cx:1", "cw:7")),  # a holiday
    (date(2026, 12, 24), True, ("w:8", "gw:g:8", "gx:g:0", "s:shock"), ("c", "cx:0", "cw:8")),  # its eve
])  # fmt: skip
def test_the_due_day_has_cells_of_its_own_for_all_the_group_and_the_debtor(
    due_on: date, shock: bool, shared: tuple[str, ...], calendar: tuple[str, ...]
) -> None:
    keys = cell_keys(due_on, Decimal(100), "DE", "g", shock=shock)
    assert (keys.shared, keys.calendar) == (shared, calendar)


@pytest.mark.parametrize(("label", "days_late", "bin_", "mean"), [
    (0, -30, 0, -10.0), (0, -8, 0, -8.0), (0, -7, 1, -7.0), (0, -5, 1, -5.0), (0, -4, 2, -4.0), (0, -3, 2, -3.0),
    (0, -2, 3, -2.0), (0, -1, 4, -1.0), (0, 0, 5, 0.0), (1, 0, 6, 1.0), (1, 40, 6, 1.0), (0, 40, 5, 0.0),
])  # fmt: skip
def test_days_late_are_counted_as_far_as_they_are_known_at_maturity(label: int, days_late: int, bin_: int, mean: float) -> None:
    keys = cell_keys(DAY, Decimal(100), "DE", "g")
    score = learn_late(keys, label, 1000, ScoreState(), no_cell, ModelPublished(), days_late=days_late).score
    assert score.days == tuple(1.0 if i == bin_ else 0.0 for i in range(7))
    assert score.mean_days == mean


@pytest.mark.parametrize(("parts", "code"), [
    ({"w:0": 0.5}, 1), ({"gw:g:0": 0.5}, 2), ({"gx:g:0": 0.5}, 2), ({"s:shock": 0.5}, 5), ({"w:1": 0.5}, None),
])  # fmt: skip
def test_a_shared_cell_adds_its_mean_under_one_reason(parts: dict[str, float], code: int | None) -> None:
    keys = cell_keys(DAY, Decimal(100), "DE", "g", shock=True)
    model = ModelPublished(cells={"s:shock": (0.0, 0.1)} | {key: (mean, 0.1) for key, mean in parts.items()})
    assert cell_parts(keys, [None] * 8, model) == tuple(0.5 if i == code else 0.0 for i in range(7))
