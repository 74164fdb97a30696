"""The bench's pure parts: what it computes from measurements, the events that it makes, and the picture."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import orjson
import pytest

from agents.debtor.brain import DebtorBrain
from schemas.events.envelope import Event
from schemas.registry import DEBTOR_SOURCES
from tests.bench import rows, rules
from tests.bench.figures import KEYS, Commit, Costs, commit_rate, fleet, percentile, with_ratios
from tests.bench.parts.react import fold_once
from tests.bench.parts.takeover import Outage, summary
from tests.bench.picture import draw
from tests.bench.report import as_text
from tests.bench.sampler import DRAWERS, Drawer, label_of
from tests.bench.workload import (
    PARTITIONS,
    SLICE,
    Cut,
    Size,
    SourceRecord,
    Workload,
    build,
    count_types,
    cuts,
    decode_cut,
    load,
    load_size,
    postpone,
    save,
    spread_over_days,
    stamp,
)
from tests.support import structure

MEASURED = {
    "react_events_s": 10_000,
    "react_us": 100.0,
    "pipeline_events_s": 8_000,
    "quixstreams_events_s": 1_600,
    "stock_faust_events_s": 400,
    "events": 1_000,
    "sink_rows": 2_000,
    "sink_cpu_us_per_row": 25.0,
    "worker_cpu_us": 110.0,
    "broker_cpu_us": 40.0,
    "learner_cpu_us_per_example": 20.0,
    "examples_per_event": 0.05,
    "where_react": {"decode": 60.0, "react: <payments>": 40.0},
    "partitions": [
        {"partitions": 4, "latency_p50_ms": 20.0, "latency_p99_ms": 70.0, "events_s": 1000},
        {"partitions": "4, in runs", "latency_p50_ms": 40.0, "latency_p99_ms": 150.0, "events_s": 1000},
    ],
    "us_by_items": {"10": 80.0, "100": 82.0},
    "machine": "2 cores",
}


@pytest.fixture(scope="module")
def workload() -> Workload:
    return build(Size(debtors=12, days=60))


def test_the_rate_leaves_out_what_was_worked_on_before_the_first_commit() -> None:
    commits = [Commit(12.0, 100), Commit(10.0, 5_000), Commit(11.0, 300)]
    assert commit_rate(commits) == 200.0
    with pytest.raises(ValueError, match="too few commits"):
        commit_rate(commits[:1])


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert percentile([3.0, 1.0], 0.99) == 3.0
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.5)


def test_all_keys_are_there_and_null_where_nothing_was_measured() -> None:
    figures = with_ratios(MEASURED)
    assert tuple(figures)[: len(KEYS)] == KEYS
    assert (figures["pipeline_to_react"], figures["pipeline_to_quixstreams"], figures["pipeline_to_stock_faust"]) == (
        0.8,
        5.0,
        20.0,
    )
    assert figures["pipeline_to_ceiling"] is None
    assert figures["restore_s"] is None
    assert with_ratios({})["pipeline_to_react"] is None


def test_a_fleet_ends_where_the_one_sink_does() -> None:
    costs = Costs(worker=110, broker=40, sink=50, learner=1)
    assert fleet(costs, 4)["limit"] == "cores"
    assert fleet(costs, 4)["events_s"] == pytest.approx(4 * 850_000 / 200, abs=100)
    assert fleet(costs, 64) == fleet(costs, 128) | {"cores": 64}
    assert fleet(costs, 64)["limit"] == "the one sink"


def test_the_workload_has_every_event_once_in_slices_that_go_on_where_the_last_one_ended(workload: Workload) -> None:
    slices = cuts(workload)
    assert all(len(cut.events) <= SLICE for cut in slices)
    places = [(event.topic, cut.partition, offset) for cut in slices for offset, event in cut.events]
    assert len(places) == len(set(places)) == len(workload.events)
    assert [event.recorded for event in workload.events] == sorted(event.recorded for event in workload.events)
    assert set(count_types(workload.events)) >= {"invoice.issued", "payment.received", "bank_transaction.booked"}


def test_a_tick_comes_with_the_slice_that_reaches_its_cut_and_none_is_left_out(workload: Workload) -> None:
    for partition in range(PARTITIONS):
        ends: Counter[str] = Counter()
        numbers = []
        for cut in cuts(workload):
            if cut.partition != partition:
                continue
            ends.update(event.topic for _, event in cut.events)
            if cut.tick is not None:
                numbers.append(cut.tick.number)
                assert all(ends[topic] >= cut.tick.ends[topic] for topic in DEBTOR_SOURCES)
        assert numbers == list(range(len(workload.ticks[partition])))


def test_the_parts_read_what_was_saved(workload: Workload, tmp_path: Path) -> None:
    size = Size(debtors=12, flat_items=(10, 20))
    save(workload, size, tmp_path)
    actual = load(tmp_path)
    assert (actual.events, actual.ticks, actual.ending) == (workload.events, workload.ticks, workload.ending)
    assert actual.context.version == workload.context.version
    assert load_size(tmp_path) == size


def decode_one(record: SourceRecord) -> Event:
    return decode_cut(Cut(record.partition, [(0, record)], None))[0].event


def test_a_postponed_event_has_all_its_dates_postponed(workload: Workload) -> None:
    event = next(event for event in workload.events if b"due_on" in event.value)
    now = datetime(2026, 5, 1, 9, 30, tzinfo=UTC)
    later = stamp(postpone(event, 28), now)
    before, after = decode_one(event).data, decode_one(later)
    assert after.data.due_on - before.due_on == timedelta(days=28)  # type: ignore[attr-defined]
    assert after.data.issued_on - before.issued_on == timedelta(days=28)  # type: ignore[attr-defined]
    assert after.recorded == now


def test_events_spread_over_their_days_keep_each_debtors_order_and_come_in_shorter_runs(workload: Workload) -> None:
    events = spread_over_days(workload.events)
    assert sorted(events) == sorted(workload.events)
    assert [event.recorded.date() for event in events] == [event.recorded.date() for event in workload.events]
    for key in {event.key for event in events}:
        assert [event for event in events if event.key == key] == [event for event in workload.events if event.key == key]
    runs, runs_before = (sum(1 for _ in groupby(all_, key=lambda event: event.topic)) for all_ in (events, workload.events))
    assert runs > runs_before


def test_react_is_measured_on_events_that_are_all_applied(workload: Workload) -> None:
    times = fold_once(cuts(workload), workload.context)
    assert times.events == len(workload.events)
    assert times.rejected == 0
    assert times.outputs > 0


def test_under_the_peers_a_debtor_is_scored_and_limited_as_in_the_pipeline(workload: Workload) -> None:
    """The same rules see the same rows: outputs of events are the same ids, whoever keeps the rows."""
    store: dict[str, bytes] = {}
    debtors, actual = rules.Debtors(workload.context), set()
    for event in workload.events:
        customer = event.key.decode()

        def read(name: str, customer: str = customer) -> bytes | None:
            return store.get(customer + name)

        def write(name: str, row: bytes | None, customer: str = customer) -> None:
            if row is None:
                store.pop(customer + name, None)
            else:
                store[customer + name] = row

        outputs = debtors.apply(customer, decode_one(event), read, write)
        actual |= {output.id for output in outputs if output.causation_id == decode_one(event).id}
    books, expected, now = [DebtorBrain() for _ in range(PARTITIONS)], set(), [None] * PARTITIONS
    for cut in cuts(workload, most=1):
        event_ids = {decode_one(event).id for _, event in cut.events}
        result = books[cut.partition].fold(decode_cut(cut), now[cut.partition], workload.context, replay=False)
        books[cut.partition].on_committed(result)
        expected |= {output.id for output in result.outputs if output.causation_id in event_ids}
    assert len(actual & expected) > 0.95 * len(expected)


def test_a_kill_is_over_when_its_last_partition_is_and_the_worst_kill_counts() -> None:
    figures = summary([Outage({0: 8.0, 2: 10.04}), Outage({3: 9.0}), Outage({1: 12.5, 3: 9.5})], 10.0)
    assert (figures["takeover_s"], figures["takeover_median_s"], figures["takeover_session_timeout_s"]) == (12.5, 10.0, 10.0)
    assert figures["takeovers"][2] == {"kill": 3, "partitions": "1, 3", "first_s": 9.5, "last_s": 12.5}
    assert "| 3 | 1, 3 | 9.5 | 12.5 |" in as_text(with_ratios(figures))


def test_clones_have_the_items_that_are_asked_for(workload: Workload) -> None:
    templates = rows.make_templates(workload)
    clones = list(rows.clone_rows(templates, debtors=10, items=67))
    kinds = Counter(row_key[:1] for _, row_key, _ in clones)
    assert (kinds[""], kinds["i"]) == (10, 67)
    assert len({customer for customer, _, _ in clones}) == 10


def test_time_is_put_where_the_rule_is_whoever_it_calls() -> None:
    assert label_of([("/x/pydantic/main.py", "model_validate_json"), ("/r/streams/kafka/codec.py", "_decode")]) == "decode"
    assert label_of([("/r/agents/debtor/scoring/decide.py", "score"), ("/r/agents/debtor/react.py", "react")]) == "react: scoring"
    assert label_of([("/usr/lib/python3.11/runpy.py", "run")]) == "other"


OUR_DRAWERS = [drawer for drawer in DRAWERS if drawer.place.startswith(("/agents/", "/streams/"))]


@pytest.mark.parametrize("drawer", OUR_DRAWERS, ids=lambda drawer: f"{drawer.place} {drawer.label}")
def test_a_drawer_names_files_and_functions_that_exist(drawer: Drawer) -> None:
    """Code that moves would be booked to another drawer without a word."""
    path = Path(__file__).parents[3] / drawer.place[1:]
    files = [path] if path.suffix else sorted(path.glob("*.py"))
    assert files and all(file.exists() for file in files)
    functions = {function.name for file in files for function in structure.functions(file)}
    assert drawer.functions <= functions


@pytest.mark.parametrize("figures", [{}, MEASURED, MEASURED | {"why": {"latency": "the broker <ended>"}}])
def test_the_picture_is_xml_whatever_was_measured(figures: dict[str, Any]) -> None:
    root = ET.fromstring(draw(with_ratios(figures)))  # noqa: S314 - our own
    texts = " ".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))
    assert ("8,000" in texts) == bool(figures)
    assert "None" not in texts
    widths = [float(node.attrib["width"]) for node in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert all(0 <= width <= 860 for width in widths)


def test_the_picture_tells_the_ratio_that_is_printed() -> None:
    figures = with_ratios(MEASURED) | {"pipeline_to_quixstreams": 2.248}
    assert "one worker is 2.2 times as fast" in draw(figures)


def test_what_is_printed_begins_with_the_ratios_and_ends_with_what_is_missing() -> None:
    text = as_text(with_ratios(MEASURED | {"why": {"latency": "the broker ended"}}))
    assert re.match(r"pipeline_to_react +0.8 +>= 0.75\n", text)
    assert text.endswith("latency was not measured: the broker ended")
    assert "| 4 | 20.0 | 70.0 | 1,000 |" in text
    assert orjson.dumps(with_ratios(MEASURED))
