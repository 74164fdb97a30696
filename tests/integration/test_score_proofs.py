"""Proofs on the development ledgers: no look-ahead, no use of the file's order, reasons that add up, and a fast reaction."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from datetime import date, timedelta
from math import exp, fsum
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from streams.backtest.challengers import Forecasts, gradient_boosting, is_booster_available
from streams.backtest.run import run_backtest
from tests.experiments import berka, regime
from tests.experiments.ledgers import HIGHRADIUS, IBM, highradius_mapping, highradius_rows, needs, read, write

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
UNTIL = date(2019, 7, 31)
"""Enough of the large ledger for a change of regime: about 9,000 invoices."""


def predictions(folder: Path) -> list[list[str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def scores(folder: Path) -> Iterator[dict[str, Any]]:
    with (folder / "scores.jsonl").open("rb") as file:
        for line in file:
            yield orjson.loads(line)["data"]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A backtest of the large ledger, as its file is."""
    folder = tmp_path_factory.mktemp("ledger")
    source = write(folder / "ledger.csv", highradius_rows())
    metrics = run_backtest([source], mapping=highradius_mapping(folder), out=folder / "out", challengers=False)
    return folder / "out", metrics


@needs(IBM)
def test_payments_after_a_day_change_no_prediction_made_up_to_it(tmp_path: Path) -> None:
    day = date(2013, 3, 13)  # a Wednesday: in the middle of a step
    rows, moved = read(IBM), 0
    changed = []
    rng = random.Random(4)
    for row in rows:
        month, of_month, year = map(int, row["SettledDate"].split("/"))
        paid = date(year, month, of_month)
        if paid > day:
            paid, moved = max(day + timedelta(days=1), paid + timedelta(days=rng.randrange(-20, 40))), moved + 1
        changed.append({**row, "SettledDate": f"{paid.month}/{paid.day}/{paid.year}"})
    assert moved > 1_000
    sources = {"as it was": IBM, "changed": write(tmp_path / IBM.name, changed)}
    told = {}
    for name, source in sources.items():
        run_backtest([source], mapping="ibm", out=tmp_path / name, challengers=False)
        told[name] = predictions(tmp_path / name)

    cut = f"{day + timedelta(days=1)}"
    before = {name: [row for row in found if row[2] < cut] for name, found in told.items()}
    assert len(before["as it was"]) > 1_000
    assert before["as it was"] == before["changed"]
    assert [row for row in told["as it was"] if row[2] >= cut] != [row for row in told["changed"] if row[2] >= cut]


@needs(HIGHRADIUS)
def test_shuffled_rows_and_other_ids_move_no_metric(ledger: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    _, metrics = ledger
    rows = highradius_rows()
    rng = random.Random(11)
    rng.shuffle(rows)
    numbers = rng.sample(range(10**6), len(rows))
    source = write(tmp_path / "ledger.csv", [{**row, "row_id": str(number)} for row, number in zip(rows, numbers, strict=True)])
    again = run_backtest([source], mapping=highradius_mapping(tmp_path), out=tmp_path / "out", challengers=False)

    for name in ("labels", "positives", "auc", "log_loss", "brier", "ece"):
        assert again["p_late"]["after_3000"][name] == pytest.approx(metrics["p_late"]["after_3000"][name], abs=1e-3), name


@needs(HIGHRADIUS)
def test_contributions_of_every_score_add_up_to_its_log_odds(ledger: tuple[Path, dict[str, Any]]) -> None:
    out, _ = ledger
    seen = 0
    for score in scores(out):
        total = fsum(reason["contribution"] for reason in score["reasons"])
        assert abs(total - (score["log_odds"] + score["lift"])) < 1e-9, score["invoice_id"]
        assert abs(1.0 / (1.0 + exp(-total)) - score["p_late"]) < 1e-6
        seen += 1
    assert seen > 30_000


@needs(berka.LOANS, berka.MOVEMENTS)
def test_an_account_without_any_invoice_has_a_score_from_its_movements_alone() -> None:
    loans = read(berka.LOANS)
    found = berka.scores(loans, read(berka.MOVEMENTS))

    assert len(found) == len(loans) == 168
    assert ((found > 0) & (found < 1)).all()
    assert len(set(found.tolist())) > 1


@needs(HIGHRADIUS)
@pytest.mark.skipif(not is_booster_available(), reason="LightGBM is not installed here: make setup installs it")
def test_after_a_change_of_regime_the_score_is_half_way_before_lightgbm() -> None:
    start = date(2019, 5, 6)
    table, affected = regime.change_ledger(1, until=UNTIL, start=start)
    ours, booster = regime.reactions(
        table, affected, [Forecasts("duewatch", "duewatch", table.p_late), gradient_boosting(table, 1_000)], start
    )

    assert ours.half is not None
    assert booster.half is None or ours.half < booster.half
    assert ours.log_loss_after < booster.log_loss_after
    assert np.isfinite(ours.log_loss_unaffected)
