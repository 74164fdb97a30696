"""The brain alone over history, without Kafka: the decisions that the pipeline makes, in one process."""

from __future__ import annotations

import csv
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime
from datetime import time as dt_time
from pathlib import Path
from typing import IO, Any, Self

import orjson

from agents.brain import FoldResult, Received
from agents.debtor.brain import DebtorBrain
from agents.learner.brain import LearnerBrain
from agents.version import CODE_VERSION
from schemas.base import Contract, format_time
from schemas.cloudevents import SOURCE
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output, Rejection
from schemas.events.models import ExampleMatured, ModelPublished, StepEnded
from schemas.ids import stable_id
from schemas.outputs.alerts import AlertChanged
from schemas.outputs.limits import LimitChanged
from schemas.outputs.operations import RecordRejected
from schemas.outputs.scores import ScoreComputed
from schemas.registry import DEBTOR_SOURCES, TOPICS
from streams.backtest.evaluation import Judgement, judge_all
from streams.backtest.ground_truth import Against, against, find_truth
from streams.backtest.history import History, Invoice
from streams.backtest.report.page import render
from streams.connectors.records import Record
from streams.errors import make_folder
from streams.kafka.codec import decode, to_structured, with_contract
from streams.kafka.embedded import PARTITIONS
from streams.process.garbage import keep_many_rows
from streams.replay.context import replay_context, with_model, with_published
from streams.replay.driver import partition_for
from streams.replay.sources import Step, read_sources, steps
from streams.terminal.progress import progress_bar

PREDICTION_COLUMNS = ("invoice_id", "customer_id", "scored_at", "due_date", "p_late", "p_default", "model_version")
# The journal tells of transactions, and there are none here.
OUTPUT_TOPICS = tuple(name for name, topic in TOPICS.items() if topic.direction == "out" and name != "journal")


def _counted(output: Output) -> str:
    """What an output is counted as, in the figures of what went out; internal topics by their name."""
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


class Writer:
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


class Fold:
    """Debtors and learner in one process, a step at a time: what worker, learner and clock do together."""

    def __init__(
        self, context: ContextSet, hear: Callable[[Event], None] = lambda _: None, book: DebtorBrain | None = None
    ) -> None:
        """``hear`` is told every event that could be decoded, before it is applied; ``book``: one that somebody looks into."""
        self.context = context
        self._hear = hear
        self.rows: dict[str, bytes] = {}
        self.applied = self.duplicates = 0
        self._book, self._learner = book or DebtorBrain(), LearnerBrain()
        self._offsets: Counter[tuple[str, int]] = Counter()

    def step(self, step: Step) -> list[Output]:
        """Fold a step and learn from it; returns what goes out, dead letters among it."""
        self.context = with_published(self.context, step.records)
        outputs: list[Output] = []
        arrived: list[Received] = []
        raw: dict[tuple[str, int, int], Record] = {}
        for record in step.records:
            if record.topic not in DEBTOR_SOURCES:
                continue  # the context, read by the clock
            one = self._decode(record)
            if isinstance(one, Received):
                arrived.append(one)
                raw[one.topic, one.partition, one.offset] = record
            else:
                outputs.append(one)
        while True:
            folded = self._book.fold(arrived, step.end, self.context, replay=True, step=step.number)
            outputs += self._kept(folded)
            for one, why in folded.rejected:
                place = (one.topic, one.partition, one.offset)
                outputs.append(_dead_letter(raw[place], one.partition, one.offset, why))
            if not folded.more:
                break
            arrived = []
        return outputs + self._learn([o for o in outputs if o.topic == "training-examples"], step)

    def _decode(self, record: Record) -> Received | Output:
        partition = partition_for(record, PARTITIONS)
        offset = self._offsets[record.topic, partition]
        self._offsets[record.topic, partition] += 1
        event = decode(record.topic, record.key, record.value, record.headers)
        if isinstance(event, Rejection):
            return _dead_letter(record, partition, offset, event)
        self._hear(event)
        return Received(record.topic, partition, offset, event)

    def _kept(self, folded: FoldResult) -> list[Output]:
        self._book.keep(folded)
        self.applied += folded.applied
        self.duplicates += folded.duplicates
        for key, row in folded.rows.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        return [with_contract(output) for output in folded.outputs]

    def _learn(self, examples: list[Output], step: Step) -> list[Output]:
        """The learner of the pipeline, told that the step has ended; its model is in force from the next step on.

        Returns what else it has to say.
        """
        ended = StepEnded(step=step.number, partition=0, partitions=1)
        events = [_event_of(o.id, o.type, o.time, o.data) for o in examples if isinstance(o.data, ExampleMatured)]
        events.append(_event_of(f"step-{step.number}", "duewatch.step.ended.v1", step.end, ended))
        arrived = [Received("training-examples", 0, n, event) for n, event in enumerate(events)]
        folded = self._learner.fold(arrived, step.end, self.context, replay=True, step=step.number)
        self._learner.keep(folded)
        for output in folded.outputs:
            if isinstance(output.data, ModelPublished):
                self.context = with_model(self.context, output.data)
        return [output for output in folded.outputs if not isinstance(output.data, ModelPublished)]


def _dead_letter(record: Record, partition: int, offset: int, why: Rejection) -> Output:
    """What the engine would send to ``dead-letters``; ``offset`` counts the records of the topic's partition."""
    at = datetime.combine(record.day, dt_time(), tzinfo=UTC)
    data = RecordRejected(
        topic=record.topic,
        partition=partition,
        offset=offset,
        reason=why.reason[:2000],
        field=why.field,
        raw=b64encode(record.value).decode(),
        key=None if record.key is None else b64encode(record.key).decode(),
        headers=tuple((name, b64encode(value).decode()) for name, value in record.headers),
        recorded_at=at,
        code_version=CODE_VERSION,
    )
    ident = stable_id("dead-letter", "backtest", record.topic, partition, offset)
    return Output("dead-letters", "", "duewatch.record.rejected.v1", ident, at, at, data)


def _event_of(ident: str, kind: str, at: datetime, data: Contract) -> Event:
    return Event(ident, kind, SOURCE, at, at, data, "")


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
    """Fold the sources and write what came out into ``out``; returns the figures of metrics.json. Raises UserError.

    ``burn_in``: invoices that are not judged, None = ``history.burn_in_for``. ``challengers``: see ``judge_all``.
    """
    make_folder(out, "--out")
    keep_many_rows()
    began = time.perf_counter()
    records = read_sources(sources, mapping, until)
    context = replay_context(records, policy)
    weeks = list(steps(records, until))
    reading_s = time.perf_counter() - began
    history, counts = History(), Counter[str]()
    fold = Fold(context, history.hear)
    began = time.perf_counter()
    with Writer(out) as writer, progress_bar("backtest", len(records)) as bar:
        for step in weeks:
            for output in fold.step(step):
                history.see(output)
                counts[_counted(output)] += 1
                writer.write(output)
            history.look(fold.rows)
            bar.advance(len(step.records))
    seconds = time.perf_counter() - began
    _write_state(out / "state.jsonl", fold.rows)
    _write_predictions(out / "predictions.csv", history.invoices.values())
    found = judge_all(history, burn_in, challengers, lambda title, total: progress_bar(title, total, "invoices"))
    truth = find_truth(sources)
    held = None if truth is None else against(found.table, truth)
    metrics = _metrics(fold, found, counts, len(records), seconds, reading_s)
    if held is not None:
        metrics["truth"] = held.figures()
    (out / "metrics.json").write_bytes(orjson.dumps(metrics, option=orjson.OPT_INDENT_2))
    span = (weeks[0].records[0].day, weeks[-1].end.date()) if weeks else (None, None)
    (out / "report.html").write_text(_report(sources, span, fold.context, found, metrics, held))
    return metrics


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
            table.writerow(
                (
                    s.invoice_id,
                    s.customer_id,
                    format_time(s.scored_at),
                    s.due_date,
                    repr(s.p_late),
                    repr(s.p_default),
                    s.model_version,
                )
            )


def _metrics(fold: Fold, found: Judgement, counts: Counter[str], events: int, seconds: float, reading_s: float) -> dict[str, Any]:
    invoices = len(found.table)
    return {
        "events": events,
        "applied": fold.applied,
        "duplicates": fold.duplicates,
        "seconds": round(seconds, 3),
        "reading_seconds": round(reading_s, 3),
        "events_per_s": round(events / seconds) if seconds else None,
        "invoices_scored": invoices,
        **found.figures(),
        "outputs": dict(sorted(counts.items())),
        "model_version": fold.context.model.version,
        "policy_version": fold.context.policy.version,
        "code_version": CODE_VERSION,
    }


def _report(
    sources: Sequence[Path],
    span: tuple[Any, Any],
    context: ContextSet,
    found: Judgement,
    metrics: dict[str, Any],
    held: Against | None,
) -> str:
    head = {
        "sources": [path.name for path in sources],
        "first": span[0],
        "last": span[1],
        "policy": context.policy.version,
        "code": metrics["code_version"],
    }
    figures = [(name.replace("_", " "), metrics[name]) for name in ("events", "applied", "duplicates", "seconds", "events_per_s")]
    return render(head, figures, found, sorted(metrics["outputs"].items()), truth=held)
