"""What is judged, against what, and what the page says of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import orjson
import pytest

from agents.debtor.keys import SEPARATOR
from agents.debtor.scoring.state import Features
from agents.score_model import FEATURES
from schemas.base import Contract
from schemas.events.customers import CustomerUpdated
from schemas.events.envelope import Event, Output
from schemas.events.models import ExampleMatured
from schemas.events.payments import Allocation, InvoiceIssued, PaymentReceived, PaymentReturned
from schemas.outputs.scores import ScoreComputed
from streams.backtest.challengers import gradient_boosting, is_booster_available, late_rate, refit_forecasts, river_logistic
from streams.backtest.evaluation import Evaluation, evaluate
from streams.backtest.ground_truth import check_against_truth, find_truth
from streams.backtest.history import UNKNOWN, DebtorWarning, History
from streams.backtest.lead_times import ANY_KIND, lead_times
from streams.backtest.regime_changes import adaptations, find_regime_changes
from streams.backtest.report.figures import figures_of
from streams.backtest.report.page import render
from streams.backtest.report.svg import SWIPE_HINT, Plot, date_ticks, number_ticks
from streams.backtest.report.wording import MIN_JUDGED
from streams.backtest.scorecard import judged_rows
from streams.backtest.statistics import Bootstrap, area_under_curve, log_losses, wilson
from streams.errors import UserError
from streams.terminal.progress import progress_bar

START = date(2026, 1, 5)
VERSIONS = {"policy_version": "p", "model_version": "m", "code_version": "c"}
booster = pytest.mark.skipif(not is_booster_available(), reason="LightGBM is not installed here: make setup installs it")


def at(day: int) -> datetime:
    return datetime.combine(START + timedelta(day), datetime.min.time(), UTC)


def hear(history: History, data: Contract, day: int) -> None:
    history.on_event(Event(f"e-{day}", "x", "s", at(day), at(day), data, ""))


def see(history: History, data: Contract, day: int) -> None:
    history.on_output(Output("scores", "", "x", "o", at(day), at(day), data))


def issue(history: History, number: int, customer: str, day: int, due: int, p: float, **more: Any) -> None:
    money = {"amount": Decimal(100 + number), "currency": "EUR"}
    issued, until = START + timedelta(day), START + timedelta(due)
    hear(history, InvoiceIssued(customer_id=customer, invoice_id=f"i{number}", issued_on=issued, due_on=until, **money), day)
    score = ScoreComputed(
        customer_id=customer, invoice_id=f"i{number}", p_late=p, p_default=p / 50, ready=True, expected_loss=None, currency=None,
        band="strong", reasons=(), due_date=until, scored_at=at(day), **VERSIONS, **more,
    )  # fmt: skip
    see(history, score, day)


def mature(
    history: History, number: int, customer: str, label: int, day: int, x: tuple[int, ...] = (), target: str = "late"
) -> None:
    example = ExampleMatured(
        customer_id=customer, example_id=f"x{number}{target}", invoice_id=f"i{number}", target=target, label=label, keys=(), x=x,
        scored_on=START, matured_on=START + timedelta(day),
    )  # fmt: skip
    see(history, example, day)


def pay(history: History, number: int, customer: str, day: int, amount: int | str, payment: str = "p") -> None:
    allocation = Allocation(invoice_id=f"i{number}", amount=Decimal(amount))
    history_day = START + timedelta(day)
    fact = PaymentReceived(
        customer_id=customer, payment_id=f"{payment}{number}", amount=Decimal(amount), currency="EUR", paid_on=history_day,
        allocations=(allocation,),
    )  # fmt: skip
    hear(history, fact, day)


def book(invoices: int = 1_200, debtors: int = 12, seed: int = 1, shift: int | None = None) -> History:
    """Debtors with a late rate of their own; ``shift``: the day from which the first of them pay the other way."""
    rng, history, waiting, number = random.Random(seed), History(), list[tuple[int, int, str, int, tuple[int, ...]]](), 0
    rates = [0.1 + 0.8 * d / (debtors - 1) for d in range(debtors)]
    for day in range(invoices // 4):
        for due, n, customer, label, x in [w for w in waiting if w[0] + 1 == day]:
            mature(history, n, customer, label, due + 1, x)
        waiting = [w for w in waiting if w[0] + 1 > day]
        for _ in range(4):
            d = rng.randrange(debtors)
            turned = shift is not None and day >= shift and d in (0, debtors - 1)
            rate = 1 - rates[d] if turned else rates[d]
            label, customer = int(rng.random() < rate), f"c{d}"
            x = (32, round(32 * (rates[d] - 0.5)), *([0] * (len(FEATURES) - 2)))
            issue(history, number, customer, day, day + 10, min(0.95, max(0.05, rates[d])))
            waiting.append((day + 10, number, customer, label, x))
            number += 1
    return history


def test_an_invoice_is_settled_when_its_whole_amount_is_there_and_not_when_it_went_back() -> None:
    history = History()
    for number in range(3):
        issue(history, number, "c", 0, 30, 0.2)
    pay(history, 0, "c", 5, 40)
    pay(history, 0, "c", 9, 60, "q")
    pay(history, 1, "c", 7, 50)
    pay(history, 2, "c", 8, 102)
    returned = PaymentReturned(
        customer_id="c", return_id="r", payment_id="p2", amount=Decimal(102), currency="EUR", returned_on=START + timedelta(12)
    )
    hear(history, returned, 12)

    assert history.table().settled.tolist() == [(START + timedelta(9)).toordinal(), 0, 0]


def test_only_the_first_score_of_an_invoice_is_its_prediction() -> None:
    history = History()
    issue(history, 1, "c", 0, 30, 0.2)
    issue(history, 1, "c", 3, 30, 0.9)
    assert history.table().p_late.tolist() == [0.2]


def test_what_was_paid_in_time_is_no_default_once_the_same_delay_is_over() -> None:
    history = History()
    for number, due in enumerate((10, 10, 200)):
        issue(history, number, "c", 0, due, 0.2)
    mature(history, 0, "c", 0, 11)
    mature(history, 1, "c", 1, 11)
    mature(history, 2, "c", 0, 201)
    hear(history, CustomerUpdated(customer_id="c"), 150)

    assert history.table().default.tolist() == [0, UNKNOWN, UNKNOWN]


def test_a_corrected_label_is_judged_but_learned_only_once() -> None:
    history = History()
    issue(history, 0, "c", 0, 10, 0.2)
    mature(history, 0, "c", 0, 11)
    mature(history, 0, "c", 1, 20)
    assert history.order == [0, ~0] and history.table().late.tolist() == [1]


def test_the_late_rate_knows_nothing_of_labels_that_have_not_matured() -> None:
    history = History()
    for number in range(4):
        issue(history, number, "c", number, 20 + number, 0.5)
    mature(history, 0, "c", 1, 21)
    issue(history, 4, "c", 21, 50, 0.5)

    p = late_rate(history.table()).p
    assert p[:4].tolist() == [0.4] * 4
    assert p[4] == pytest.approx((1 + 5 * 1.4 / 2) / 6)


@booster
@pytest.mark.parametrize(
    "scorer", [late_rate, river_logistic, lambda table: gradient_boosting(table, 250)], ids=["rate", "river", "lightgbm"]
)
def test_no_challenger_looks_ahead(scorer: Callable[..., Any]) -> None:
    table, other = book().table(), book().table()
    cut = len(table.order) // 2
    late = table.late.copy()
    for i in table.order[cut:]:
        if i < 0:
            late[~i] = 1 - late[~i]
    other.__dict__["late"] = late
    issued = sum(i >= 0 for i in table.order[:cut])

    assert np.array_equal(scorer(table).p[:issued], scorer(other).p[:issued])
    assert not np.array_equal(scorer(table).p[issued:], scorer(other).p[issued:])


@booster
def test_a_booster_is_fitted_on_what_was_known_and_beats_chance() -> None:
    table = book(2_400).table()
    rows = judged_rows(table, 1_200)
    p = refit_forecasts(np.column_stack((table.x, table.raw)), table.late, table.order, 500)
    auc = area_under_curve(table.late[rows], p[rows])
    assert auc is not None and auc > 0.7


def test_a_change_of_behaviour_is_found_where_it_was_and_followed() -> None:
    table = book(4_800, debtors=6, shift=600).table()
    found = find_regime_changes(table)

    assert {change.customer_id for change in found} == {"c0", "c5"}
    assert all(abs(change.day - (START + timedelta(600)).toordinal()) < 40 for change in found)
    assert {change.customer_id: change.direction for change in found} == {"c0": 1, "c5": -1}
    came, told = adaptations(table, found, [late_rate(table)])
    assert came.name == "what came" and told.curve and len(told.curve) == len(came.curve)


def test_a_warning_counts_once_and_only_before_the_default() -> None:
    warnings = [
        DebtorWarning("a", "weak", 100),
        DebtorWarning("a", "weak", 130),
        DebtorWarning("b", "weak", 500),
        DebtorWarning("c", "overdue", 10),
    ]
    found = {lead.kind: lead for lead in lead_times(warnings, {"a": 160, "b": 400}, ["a", "b", "c", "d"])}

    assert found["weak"].days == [60] and found["weak"].defaulted == 2 and found["weak"].false_alarms == 0
    assert found["overdue"].false_alarms == 1 and found["overdue"].good == 2
    assert found[ANY_KIND].days == [60] and found[ANY_KIND].false_alarms == 1


def paged(found: Evaluation) -> str:
    head = {"sources": ["book.csv"], "first": START, "last": START, "policy": "p", "code": "c"}
    return render(head, [], found, [])


def test_the_page_draws_well_formed_pictures_each_with_a_sentence() -> None:
    found = evaluate(book(), None, False, progress_bar)
    drawn = figures_of(found)

    assert {"Said and come true", "Ranking", "While it learned", "Calibration by segment"} <= {f.title for f in drawn}
    for figure in drawn:
        root = ET.fromstring(f"<div>{figure.picture}</div>")  # noqa: S314 - our own
        assert root.find(".//svg") is not None and figure.see.strip()
        assert all(len(line) == len(figure.head) for line in figure.lines)


def test_on_a_narrow_screen_what_is_wide_can_be_scrolled_and_misses_name_their_columns() -> None:
    found = evaluate(book(), None, False, progress_bar)
    for figure in figures_of(found):
        assert ('class="scroll far"' in figure.picture and SWIPE_HINT in figure.picture) is figure.wide
    page = paged(found)
    row = page[page.index('<td data-is="invoice">') :].partition("</tr>")[0]
    assert row.count("<td") == row.count("data-is=") == 7


def test_a_ledger_with_few_judged_invoices_says_first_that_its_figures_mean_little() -> None:
    for burn_in, told in ((0, False), (1_050, True)):
        found = evaluate(book(), burn_in, False, progress_bar)
        assert bool(found.rows.sum() < MIN_JUDGED) is told
        assert ("could be judged" in paged(found).partition("<h2>")[0]) is told


def test_without_challengers_the_page_compares_with_nobody() -> None:
    found = evaluate(book(), None, False, progress_bar)
    told = {figure.title: figure.see for figure in figures_of(found)}
    assert "best of" not in told["While it learned"]
    page = paged(found)
    assert "none was asked for" in page and "Left out" not in page and "Who says it best" not in page


def test_a_book_with_nothing_to_judge_has_no_pictures() -> None:
    history = History()
    issue(history, 1, "c", 0, 30, 0.2)
    found = evaluate(history, None, True, progress_bar)
    assert figures_of(found) == [] and found.figures()["p_late"]["all"] is None


def test_the_truth_of_a_simulation_is_held_against_the_warnings(tmp_path: Path) -> None:
    history = book()
    day = (START + timedelta(200)).toordinal()
    history.warnings = [DebtorWarning("c11", "weak", day - 40), DebtorWarning("c3", "weak", day)]
    truth = {
        "last_day": str(START + timedelta(299)),
        "customers": [
            {"customer_id": f"c{n}", "fate": "breaks" if n == 11 else "sound",
             "defaulted_on": str(date.fromordinal(day)) if n == 11 else None,
             "first_missed_due_on": str(date.fromordinal(day - 30)) if n == 11 else None}
            for n in range(12)
        ],
    }  # fmt: skip
    (tmp_path / "truth.json").write_bytes(orjson.dumps(truth))

    assert find_truth([tmp_path]) == truth
    told = check_against_truth(history.table(), truth).figures()
    assert told["lead_first_missed_due_date_weak"]["value"] == 10
    assert told["lead_default_weak"]["value"] == 40
    assert told["false_weak"]["value"] == pytest.approx(1 / 11)
    assert 0 <= told["invoice_auc"]["value"] <= 1


def test_a_warning_may_be_one_of_the_missed_due_date_and_none_of_the_default() -> None:
    history = book()
    day = (START + timedelta(200)).toordinal()
    history.warnings = [DebtorWarning("c11", "weak", day - 170), DebtorWarning("c3", "score_drop", day)]
    late_after = {"defaulted_on": str(date.fromordinal(day + 80)), "first_missed_due_on": str(date.fromordinal(day))}
    never: dict[str, str | None] = {"defaulted_on": None, "first_missed_due_on": None}
    days: dict[int, dict[str, str | None]] = {11: {**late_after}, 7: {**late_after, "first_missed_due_on": None}}
    customers = [{"customer_id": f"c{n}", "fate": "breaks" if n in days else "sound", **days.get(n, never)} for n in range(12)]
    truth = {"last_day": str(START + timedelta(299)), "customers": customers}

    found = check_against_truth(history.table(), truth).figures()

    assert found["lead_first_missed_due_date_weak"]["value"] == 170
    assert "lead_default_weak" not in found  # 250 days are too long before it
    assert found["false_any_of_these"]["value"] == pytest.approx(1 / 10)


def test_the_risk_class_of_an_invoice_is_read_from_its_row_in_the_step_in_which_it_was_scored() -> None:
    history = History()
    issue(history, 0, "c", 0, 30, 0.2)
    issue(history, 1, "c", 0, 30, 0.2)
    row = msgspec.json.encode(Features(0, closed=False, group="g", risk="all|31-60|shock|thin|clear|known"))
    history.on_state({f"c{SEPARATOR}f/i0": row})
    history.on_state({f"c{SEPARATOR}f/i1": row})

    assert [invoice.risk for invoice in history.invoices.values()] == ["all|31-60|shock|thin|clear|known", ""]
    assert history.table().risk.tolist() == [[6.0, 4.0, 2.0, 1.0, 1.0], [0.0] * 5]


def test_a_truth_that_is_none_is_refused_with_the_mend(tmp_path: Path) -> None:
    assert find_truth([tmp_path]) is None
    (tmp_path / "truth.json").write_text("[]")
    with pytest.raises(UserError, match="simulate again"):
        find_truth([tmp_path])


def test_the_bootstrap_is_the_same_each_time_and_holds_the_estimate() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 900)
    p = np.clip(0.3 + 0.3 * y + rng.normal(0, 0.2, 900), 0.01, 0.99)
    blocks = np.repeat(np.arange(90), 10)
    found, again = Bootstrap(blocks).auc(y, p), Bootstrap(blocks).auc(y, p)

    assert found == again and found is not None
    assert found.low < found.value < found.high
    assert found.value == area_under_curve(y, p)
    worse = Bootstrap(blocks).auc_difference(y, p, 1 - p)
    assert worse is not None and worse.low > 0
    loss = Bootstrap(blocks).mean(log_losses(y, p))
    assert loss.low < log_losses(y, p).mean() < loss.high


def test_shares_of_nothing_and_of_few_have_wide_intervals() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(1, 3)
    assert 0 < low < 1 / 3 < high < 0.9


@pytest.mark.parametrize(
    ("span", "first", "last"), [((0.0, 1.0), "0", "1"), ((-0.1, 0.0), "-0.1", "0"), ((0.0, 5_600.0), "0", "5,000")]
)
def test_axes_have_round_numbers(span: tuple[float, float], first: str, last: str) -> None:
    texts = [text for _, text in number_ticks(span)]
    assert (texts[0], texts[-1]) == (first, last)


def test_axes_of_days_begin_months() -> None:
    ticks = date_ticks(START.toordinal(), START.toordinal() + 300)
    assert [text for _, text in ticks] == ["Mar 26", "May 26", "Jul 26", "Sep 26", "Nov 26"]
    assert all(date.fromordinal(int(day)).day == 1 for day, _ in ticks)


def test_words_in_pictures_are_escaped() -> None:
    plot = Plot((0.0, 1.0), (0.0, 1.0), 'a "quoted" <name>')
    plot.axes("<x>", "&")
    plot.dot(0.5, 0.5, "s0", "<script>")
    assert "<script>" not in plot.svg() and ET.fromstring(str(plot.svg())) is not None  # noqa: S314 - our own
