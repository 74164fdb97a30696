"""``duewatch backtest``: the decisions that the pipeline would have made of a history, in one process, and how good they were."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import IO, Any, Self

import click
import orjson

from agents.version import CODE_VERSION
from schemas.base import format_time
from schemas.events.clock import ContextSet
from schemas.events.envelope import Output
from schemas.outputs.alerts import AlertChanged
from schemas.outputs.limits import LimitChanged
from schemas.outputs.scores import ScoreComputed
from schemas.registry import TOPICS
from streams.backtest.evaluation import Evaluation, evaluate
from streams.backtest.ground_truth import TruthCheck, check_against_truth, find_truth
from streams.backtest.history import History, Invoice
from streams.backtest.report.page import render
from streams.errors import make_folder
from streams.kafka.codec import to_structured
from streams.process.garbage import tune_for_many_rows
from streams.recompute.pipeline import Fold
from streams.replay.context import replay_context, unstated_currency
from streams.replay.sources import read_sources
from streams.replay.steps import Step, cut_into_weeks
from streams.terminal.progress import progress_bar

PREDICTION_COLUMNS = ("invoice_id", "customer_id", "scored_at", "due_date", "p_late", "p_default", "model_version")
# The journal is about transactions, and there are none here.
OUTPUT_TOPICS = tuple(name for name, topic in TOPICS.items() if topic.direction == "out" and name != "journal")


def run_backtest(
    sources: list[Path],
    *,
    mapping: str | None = None,
    until: date | None = None,
    policy: Path | None = None,
    out: Path,
    burn_in: int | None = None,
    challengers: bool | None = None,
) -> dict[str, Any]:
    """Fold the sources and write the results into ``out``; returns the figures of metrics.json. Raises UserError.

    ``burn_in``: invoices that are not judged, None = ``history.burn_in_for``. ``challengers``: see ``evaluate``.
    """
    make_folder(out, "--out")
    tune_for_many_rows()
    start = time.perf_counter()
    records = read_sources(sources, mapping, until)
    context = replay_context(records, policy)
    if note := unstated_currency(context, policy):
        click.echo(note, err=True)
    weeks = list(cut_into_weeks(records, until))
    reading_s = time.perf_counter() - start
    history = History()
    fold = Fold(context, history.on_event)
    start = time.perf_counter()
    counts = _fold_all(fold, weeks, history, out, len(records))
    seconds = time.perf_counter() - start
    _write_state(out / "state.jsonl", fold.rows)
    _write_predictions(out / "predictions.csv", history.invoices.values())
    evaluation = evaluate(history, burn_in, challengers, lambda title, total: progress_bar(title, total, "invoices"))
    truth = find_truth(sources)
    truth_check = None if truth is None else check_against_truth(evaluation.table, truth)
    metrics = _metrics(fold, evaluation, counts, len(records), seconds, reading_s)
    if truth_check is not None:
        metrics["truth"] = truth_check.figures()
    (out / "metrics.json").write_bytes(orjson.dumps(metrics, option=orjson.OPT_INDENT_2))
    span = (weeks[0].records[0].day, weeks[-1].end.date()) if weeks else (None, None)
    (out / "report.html").write_text(_report(sources, span, fold.context, evaluation, metrics, truth_check))
    return metrics


def _fold_all(fold: Fold, weeks: Sequence[Step], history: History, out: Path, events: int) -> Counter[str]:
    """Write every output into its file and into the history; returns how many there were of each category."""
    counts = Counter[str]()
    with OutputFiles(out) as files, progress_bar("backtest", events) as bar:
        for step in weeks:
            for output in fold.step(step):
                history.on_output(output)
                counts[_category(output)] += 1
                files.write(output)
            history.on_state(fold.rows)
            bar.advance(len(step.records))
    return counts


class OutputFiles:
    """One file of JSON lines per output topic; a topic of which nothing came has an empty file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Self:
        self._files = {topic: self._stack.enter_context((self._folder / f"{topic}.jsonl").open("wb")) for topic in OUTPUT_TOPICS}
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, output: Output) -> None:
        if output.topic in self._files:
            self._files[output.topic].write(orjson.dumps(to_structured(output), option=orjson.OPT_APPEND_NEWLINE))


def _category(output: Output) -> str:
    """Under what an output is counted in metrics.json and the report; internal topics by their name."""
    data = output.data
    if isinstance(data, ScoreComputed):
        return "scores of invoices" if data.invoice_id else "scores of debtors"
    if isinstance(data, LimitChanged):
        return f"{output.topic}: {_direction(data)}"
    if isinstance(data, AlertChanged):
        return f"alerts: {data.alert_type} {data.state}"
    return output.topic


def _direction(change: LimitChanged) -> str:
    if change.previous_limit is None:
        return "opening"
    if change.new_limit == change.previous_limit:
        return "kept"
    return "up" if change.new_limit > change.previous_limit else "down"


def _write_state(path: Path, rows: dict[str, bytes]) -> None:
    with path.open("wb") as file:
        for key in sorted(rows):
            file.write(orjson.dumps({"key": key, "row": orjson.loads(rows[key])}, option=orjson.OPT_APPEND_NEWLINE))


def _write_predictions(path: Path, invoices: Iterable[Invoice]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(PREDICTION_COLUMNS)
        for invoice in invoices:
            s = invoice.score
            row = (s.invoice_id, s.customer_id, format_time(s.scored_at), s.due_date, repr(s.p_late), repr(s.p_default))
            table.writerow((*row, s.model_version))


def _metrics(
    fold: Fold, evaluation: Evaluation, counts: Counter[str], events: int, seconds: float, reading_s: float
) -> dict[str, Any]:
    return {
        "events": events,
        "applied": fold.applied,
        "duplicates": fold.duplicates,
        "seconds": round(seconds, 3),
        "reading_seconds": round(reading_s, 3),
        "events_per_s": round(events / seconds) if seconds else None,
        "invoices_scored": len(evaluation.table),
        **evaluation.figures(),
        "outputs": dict(sorted(counts.items())),
        "model_version": fold.context.model.version,
        "policy_version": fold.context.policy.version,
        "code_version": CODE_VERSION,
    }


def _report(
    sources: Sequence[Path],
    span: tuple[Any, Any],
    context: ContextSet,
    evaluation: Evaluation,
    metrics: dict[str, Any],
    truth_check: TruthCheck | None,
) -> str:
    head = {
        "sources": [path.name for path in sources],
        "first": span[0],
        "last": span[1],
        "policy": context.policy.version,
        "code": metrics["code_version"],
    }
    figures = [(name.replace("_", " "), metrics[name]) for name in ("events", "applied", "duplicates", "seconds", "events_per_s")]
    return render(head, figures, evaluation, sorted(metrics["outputs"].items()), truth_check=truth_check)
