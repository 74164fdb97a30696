"""The backtest on a small simulated portfolio: what it writes, and that it writes the same each time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from datetime import date
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from streams.backtest.challengers import is_booster_available
from streams.backtest.report.summary import print_summary
from streams.backtest.run import PREDICTION_COLUMNS, run_backtest
from streams.connectors.records import Record
from streams.errors import UserError
from streams.recompute.pipeline import Fold
from streams.replay import steps
from streams.replay.context import replay_context
from streams.replay.sources import read_sources
from streams.replay.steps import Step, cut_into_weeks
from streams.simulate import simulate
from tests.support.builders import LEDGER_MAPPING

OUTPUTS = ("scores", "alerts", "limit-changes", "limit-proposals", "current-limits", "dead-letters")


@pytest.fixture(scope="module")
def portfolio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portfolio")
    simulate(25, 200, 3, folder)
    return folder


@pytest.fixture(scope="module")
def result(portfolio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    run_backtest([portfolio], out=out)
    return out


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def issued(portfolio: Path) -> list[dict[str, Any]]:
    return [e["data"] for e in lines(portfolio / "payments.jsonl") if e["type"] == "duewatch.invoice.issued.v1"]


def test_every_issued_invoice_is_predicted_once(portfolio: Path, result: Path) -> None:
    rows = list(csv.reader((result / "predictions.csv").read_text().splitlines()))

    assert tuple(rows[0]) == PREDICTION_COLUMNS
    assert sorted(row[0] for row in rows[1:]) == sorted(invoice["invoice_id"] for invoice in issued(portfolio))
    assert all(0.0 < float(row[4]) < 1.0 and 0.0 < float(row[5]) < 1.0 for row in rows[1:])


def test_outputs_are_structured_cloudevents_with_null_fields_and_the_customer(result: Path) -> None:
    for topic in OUTPUTS:
        assert (result / f"{topic}.jsonl").exists()
    for topic in ("scores", "alerts", "limit-changes"):
        events = lines(result / f"{topic}.jsonl")
        assert events
        assert all(event["specversion"] == "1.0" and event["data"]["customer_id"] == event["subject"] for event in events)
    assert any(event["data"]["invoice_id"] is None for event in lines(result / "scores.jsonl"))


def test_limit_changes_are_numbered_without_gaps_per_debtor(result: Path) -> None:
    sequences: dict[str, list[int]] = {}
    for event in lines(result / "limit-changes.jsonl"):
        sequences.setdefault(event["data"]["customer_id"], []).append(event["data"]["sequence"])

    assert len(sequences) == 25
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in sequences.values())


def test_metrics_and_report_tell_the_same_events(portfolio: Path, result: Path) -> None:
    metrics = orjson.loads((result / "metrics.json").read_bytes())

    assert metrics["events"] == metrics["applied"] == sum(len(lines(path)) for path in portfolio.glob("*.jsonl"))
    assert metrics["invoices_scored"] == len(issued(portfolio))
    assert metrics["p_late"]["all"]["labels"] > 100
    page = (result / "report.html").read_text()
    assert f"<td>{metrics['events']}</td>" in page
    assert "http" not in page.replace("http://www.w3.org", "")


class Landmarks(HTMLParser):
    """The landmarks of a page, and the text in none of them: whoever jumps from one to the next never hears it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open_tags: list[str] = []
        self.text_outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open_tags and self.open_tags.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip() and "body" in self.open_tags and not {"header", "main"} & set(self.open_tags):
            self.text_outside.append(data)


def test_all_that_the_report_says_stands_in_a_landmark(result: Path) -> None:
    page = Landmarks()
    page.feed((result / "report.html").read_text())
    assert (page.tags.count("main"), page.text_outside) == (1, [])


def test_metrics_hold_every_scorer_and_the_truth_that_lies_beside_the_portfolio(result: Path) -> None:
    metrics = orjson.loads((result / "metrics.json").read_bytes())

    expected = {"duewatch", "late_rate", "river_lr"} | ({"lightgbm_250", "lightgbm_1000"} if is_booster_available() else set())
    assert set(metrics["scorers"]) == expected
    assert set(metrics["ahead_of"]) == expected - {"duewatch"}
    for scorer in metrics["scorers"].values():
        assert scorer["all"]["labels"] == metrics["scorers"]["duewatch"]["all"]["labels"]
        assert scorer["all"]["log_loss"] > 0 and scorer["microseconds"] > 0
    assert "false_any_of_these" in metrics["truth"]
    page = (result / "report.html").read_text()
    assert "Against the truth of the simulation" in page and "<script" not in page


def test_what_is_judged_can_be_said(portfolio: Path, tmp_path: Path) -> None:
    metrics = run_backtest([portfolio], out=tmp_path, until=date(2024, 5, 5), burn_in=40, challengers=False)

    assert metrics["burn_in"] == 40 and set(metrics["scorers"]) == {"duewatch"}
    assert metrics["p_late"]["after_40"]["labels"] < metrics["p_late"]["all"]["labels"]


def test_the_same_input_gives_the_same_bytes(portfolio: Path, result: Path, tmp_path: Path) -> None:
    run_backtest([portfolio], out=tmp_path)

    for name in ("predictions.csv", "state.jsonl", *(f"{topic}.jsonl" for topic in OUTPUTS)):
        assert (tmp_path / name).read_bytes() == (result / name).read_bytes(), name


def test_until_ends_at_the_end_of_that_day(portfolio: Path, tmp_path: Path) -> None:
    day = date(2024, 3, 6)
    metrics = run_backtest([portfolio], until=day, out=tmp_path)

    assert 0 < metrics["events"] < 2_000
    assert max(event["time"] for event in lines(tmp_path / "scores.jsonl")) <= "2024-03-07T00:00:00Z"


def test_broken_records_are_dead_letters_and_the_others_are_applied(portfolio: Path, tmp_path: Path) -> None:
    source = tmp_path / "payments.jsonl"
    good = (portfolio / "payments.jsonl").read_bytes().splitlines()[:50]
    event = orjson.loads(good[0])
    negative = {**event, "id": "x1", "data": {**event["data"], "amount": "-5.00"}}
    nonsense = {**event, "id": "x2", "type": "duewatch.nonsense.v1"}
    source.write_bytes(b"\n".join([*good, orjson.dumps(negative), orjson.dumps(nonsense), b"{broken", b""]))

    metrics = run_backtest([source], out=tmp_path / "out")

    letters = lines(tmp_path / "out" / "dead-letters.jsonl")
    assert (metrics["events"], metrics["applied"], len(letters)) == (53, 50, 3)
    assert all(letter["data"]["topic"] == "payments" and letter["data"]["reason"] for letter in letters)
    assert {letter["data"]["field"] for letter in letters} >= {"amount", "type"}


def told(metrics: Mapping[str, Any], folder: Path) -> str:
    page = StringIO()
    print_summary(Console(width=140, file=page), metrics, folder)
    return page.getvalue()


def test_what_is_told_are_the_figures_of_metrics_json(result: Path) -> None:
    metrics = orjson.loads((result / "metrics.json").read_bytes())
    text = told(metrics, result)

    rows = {line.split("  ")[0].strip(): line for line in text.splitlines() if "  all  " in line}
    for scorer in metrics["scorers"].values():
        figures = rows[scorer["title"]].split()
        found = scorer["all"]
        assert {f"{found['auc']:.3f}", f"{found['log_loss']:.4f}", f"{found['ece']:.3f}"} <= set(figures)
    assert text.count(" cold ") >= len(metrics["scorers"])
    for name in set(metrics["scorers"]) - {"duewatch"}:
        assert f"duewatch less {metrics['scorers'][name]['title']}: log loss" in text
    assert str(result / "report.html") in text


def test_with_few_judged_invoices_the_command_says_that_the_figures_mean_little(result: Path) -> None:
    metrics = orjson.loads((result / "metrics.json").read_bytes())
    judged = metrics["scorers"]["duewatch"]["all"]
    for labels, few in ((60, True), (200, False)):
        judged["labels"] = labels
        text = " ".join(told(metrics, result).split())
        assert (
            text.startswith(f"Only {labels} invoices could be judged. With fewer than 200 the figures are mostly chance") is few
        )


def test_what_is_told_where_nothing_has_matured_and_where_a_record_was_refused(portfolio: Path, tmp_path: Path) -> None:
    metrics = run_backtest([portfolio], until=date(2024, 1, 3), out=tmp_path, challengers=False)
    metrics["outputs"]["dead-letters"] = 3
    text = told(metrics, tmp_path)

    assert "nothing to judge" in text
    assert f"3 dead letters: {tmp_path / 'dead-letters.jsonl'}" in text


def test_a_folder_that_cannot_be_made_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the folder /proc/nope cannot be created \(.+\): name another one with --out"):
        run_backtest([tmp_path / "not read yet.jsonl"], out=Path("/proc/nope"))


LEDGER = """no,debtor,amount,issued,due,paid
1,a,100.00,1999-01-04,1999-02-01,
2,a,250.00,1999-03-01,{far},
3,b,900.00,1999-02-01,1999-03-01,1999-02-20
4,b,900.00,2026-01-05,2026-02-01,
"""


# What went out, and the rows in the end.
Decided = tuple[list[tuple[Any, ...]], dict[str, bytes]]


@pytest.fixture
def said_of_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Decided, Decided]]:
    """What is decided of a ledger that is silent for 27 years, cut as it is cut and cut into weeks, and the rows in the end."""

    def said(far: str) -> tuple[Decided, Decided]:
        (tmp_path / "ledger.csv").write_text(LEDGER.format(far=far))
        (tmp_path / "mapping.toml").write_text(LEDGER_MAPPING)
        records = read_sources([tmp_path / "ledger.csv"], str(tmp_path / "mapping.toml"))
        short = list(cut_into_weeks(records))
        monkeypatch.setattr(steps, "QUIET_DAYS", 100_000)
        weekly = list(cut_into_weeks(records))
        assert (len(short), len(weekly)) == (68, 1410)
        return _decided(records, short), _decided(records, weekly)

    return said


def _decided(records: list[Record], cut: list[Step]) -> Decided:
    fold = Fold(replay_context(records))
    outputs = [output for step in cut for output in fold.step(step)]
    return [(o.topic, o.id, o.time, o.data) for o in outputs if o.topic in OUTPUTS], fold.rows


def test_years_without_a_record_are_decided_in_one_step_as_they_are_week_by_week(
    said_of_silence: Callable[[str], tuple[Decided, Decided]],
) -> None:
    short, weekly = said_of_silence("1999-04-01")
    assert short == weekly


def test_what_falls_due_in_years_without_a_record_is_judged_on_its_own_day(
    said_of_silence: Callable[[str], tuple[Decided, Decided]],
) -> None:
    (short, _), (weekly, _) = said_of_silence("2005-03-01")
    assert [told[:3] for told in short] == [told[:3] for told in weekly]
    assert any(at.date() == date(2005, 3, 2) for _, _, at, _ in short)
