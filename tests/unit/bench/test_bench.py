"""The bench's pure parts: what it computes from measurements, the events that it makes, and the picture."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import groupby
from xml.etree import ElementTree as ET

import orjson
import pytest

from agents.debtor.brain import DebtorBrain
from schemas.events.envelope import Event
from schemas.registry import DEBTOR_SOURCES
from tests.bench import rows, rules
from tests.bench.figures import KEYS, Commit, Costs, commit_rate, fleet, percentile, with_ratios
from tests.bench.parts.react import once
from tests.bench.parts.takeover import Outage, told
from tests.bench.picture import draw
from tests.bench.report import printed
from tests.bench.sampler import label_of
from tests.bench.workload import (
    PARTITIONS,
    SLICE,
    Cut,
    Sent,
    Size,
    Workload,
    build,
    cuts,
    decoded,
    load,
    load_size,
    mix,
    mixed,
    moved,
    recorded,
    save,
)

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
def made() -> Workload:
    return build(Size(debtors=12, days=60))


def test_the_rate_leaves_out_what_was_worked_on_before_the_first_commit():
    commits = [Commit(12.0, 100), Commit(10.0, 5_000), Commit(11.0, 300)]
    assert commit_rate(commits) == 200.0
    with pytest.raises(ValueError, match="too few commits"):
        commit_rate(commits[:1])


def test_a_percentile_of_nothing_is_no_number():
    assert percentile([3.0, 1.0], 0.99) == 3.0
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.5)


def test_all_keys_are_there_and_null_where_nothing_was_measured():
    found = with_ratios(MEASURED)
    assert tuple(found)[: len(KEYS)] == KEYS
    assert (found["pipeline_to_react"], found["pipeline_to_quixstreams"], found["pipeline_to_stock_faust"]) == (0.8, 5.0, 20.0)
    assert found["pipeline_to_ceiling"] is None
    assert found["restore_s"] is None
    assert with_ratios({})["pipeline_to_react"] is None


def test_a_fleet_ends_where_the_one_sink_does():
    costs = Costs(worker=110, broker=40, sink=50, learner=1)
    assert fleet(costs, 4)["limit"] == "cores"
    assert fleet(costs, 4)["events_s"] == pytest.approx(4 * 850_000 / 200, abs=100)
    assert fleet(costs, 64) == fleet(costs, 128) | {"cores": 64}
    assert fleet(costs, 64)["limit"] == "the one sink"


def test_the_workload_has_every_event_once_in_slices_that_go_on_where_the_last_one_ended(made):
    slices = cuts(made)
    assert all(len(cut.events) <= SLICE for cut in slices)
    places = [(event.topic, cut.partition, offset) for cut in slices for offset, event in cut.events]
    assert len(places) == len(set(places)) == len(made.events)
    assert [event.recorded for event in made.events] == sorted(event.recorded for event in made.events)
    assert set(mix(made.events)) >= {"invoice.issued", "payment.received", "bank_transaction.booked"}


def test_a_tick_comes_with_the_slice_that_reaches_its_cut_and_none_is_left_out(made):
    for partition in range(PARTITIONS):
        reached: Counter[str] = Counter()
        numbers = []
        for cut in cuts(made):
            if cut.partition != partition:
                continue
            reached.update(event.topic for _, event in cut.events)
            if cut.tick is not None:
                numbers.append(cut.tick.number)
                assert all(reached[topic] >= cut.tick.ends[topic] for topic in DEBTOR_SOURCES)
        assert numbers == list(range(len(made.ticks[partition])))


def test_the_parts_read_what_was_saved(made, tmp_path):
    size = Size(debtors=12, flat_items=(10, 20))
    save(made, size, tmp_path)
    again = load(tmp_path)
    assert (again.events, again.ticks, again.ending) == (made.events, made.ticks, made.ending)
    assert again.context.version == made.context.version
    assert load_size(tmp_path) == size


def decoded_one(record: Sent) -> Event:
    return decoded(Cut(record.partition, [(0, record)], None))[0].event


def test_a_moved_event_is_moved_in_all_its_dates(made):
    event = next(event for event in made.events if b"due_on" in event.value)
    now = datetime(2026, 5, 1, 9, 30, tzinfo=UTC)
    later = recorded(moved(event, 28), now)
    before, after = decoded_one(event).data, decoded_one(later)
    assert after.data.due_on - before.due_on == timedelta(days=28)  # type: ignore[attr-defined]
    assert after.data.issued_on - before.issued_on == timedelta(days=28)  # type: ignore[attr-defined]
    assert after.recorded == now


def test_mixed_events_keep_their_day_and_each_debtors_order_and_come_in_no_runs(made):
    events = mixed(made.events)
    assert sorted(events) == sorted(made.events)
    assert [event.recorded.date() for event in events] == [event.recorded.date() for event in made.events]
    for key in {event.key for event in events}:
        assert [event for event in events if event.key == key] == [event for event in made.events if event.key == key]
    runs, runs_before = (sum(1 for _ in groupby(all_, key=lambda event: event.topic)) for all_ in (events, made.events))
    assert runs > runs_before


def test_react_is_measured_on_events_that_are_all_applied(made):
    spent = once(cuts(made), made.context)
    assert spent.events == len(made.events)
    assert spent.rejected == 0
    assert spent.outputs > 0


def test_under_the_peers_a_debtor_is_scored_and_limited_as_in_the_pipeline(made):
    """The same rules see the same rows: outputs of events are the same ids, whoever keeps the rows."""
    store: dict[str, bytes] = {}
    debtors, found = rules.Debtors(made.context), set()
    for event in made.events:
        customer = event.key.decode()

        def read(name, customer=customer):
            return store.get(customer + name)

        def write(name, row, customer=customer):
            if row is None:
                store.pop(customer + name, None)
            else:
                store[customer + name] = row

        outputs = debtors.apply(customer, decoded_one(event), read, write)
        found |= {output.id for output in outputs if output.causation_id == decoded_one(event).id}
    books, wanted, now = [DebtorBrain() for _ in range(PARTITIONS)], set(), [None] * PARTITIONS
    for cut in cuts(made, most=1):
        event_ids = {decoded_one(event).id for _, event in cut.events}
        folded = books[cut.partition].fold(decoded(cut), now[cut.partition], made.context, replay=False)
        books[cut.partition].on_committed(folded)
        wanted |= {output.id for output in folded.outputs if output.causation_id in event_ids}
    assert len(found & wanted) > 0.95 * len(wanted)


def test_a_kill_is_over_when_its_last_partition_is_and_the_worst_kill_counts():
    found = told([Outage({0: 8.0, 2: 10.04}), Outage({3: 9.0}), Outage({1: 12.5, 3: 9.5})], 10.0)
    assert (found["takeover_s"], found["takeover_median_s"], found["takeover_session_timeout_s"]) == (12.5, 10.0, 10.0)
    assert found["takeovers"][2] == {"kill": 3, "partitions": "1, 3", "first_s": 9.5, "last_s": 12.5}
    assert "| 3 | 1, 3 | 9.5 | 12.5 |" in printed(with_ratios(found))


def test_clones_have_the_items_that_are_asked_for(made):
    given = rows.templates(made)
    cloned = list(rows.cloned(given, debtors=10, items=67))
    kinds = Counter(row_key[:1] for _, row_key, _ in cloned)
    assert (kinds[""], kinds["i"]) == (10, 67)
    assert len({customer for customer, _, _ in cloned}) == 10


def test_time_is_put_where_the_rule_is_whoever_it_calls():
    assert label_of([("/x/pydantic/main.py", "model_validate_json"), ("/r/streams/kafka/codec.py", "_decode")]) == "decode"
    assert label_of([("/r/agents/debtor/scoring/decide.py", "score"), ("/r/agents/debtor/react.py", "react")]) == "react: scoring"
    assert label_of([("/usr/lib/python3.11/runpy.py", "run")]) == "other"


@pytest.mark.parametrize("measured", [{}, MEASURED, MEASURED | {"why": {"latency": "the broker <ended>"}}])
def test_the_picture_is_xml_whatever_was_measured(measured):
    root = ET.fromstring(draw(with_ratios(measured)))  # noqa: S314 - our own
    texts = " ".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))
    assert ("8,000" in texts) == bool(measured)
    assert "None" not in texts
    widths = [float(node.attrib["width"]) for node in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert all(0 <= width <= 860 for width in widths)


def test_the_picture_tells_the_ratio_that_is_printed():
    measured = with_ratios(MEASURED) | {"pipeline_to_quixstreams": 2.248}
    assert "one worker is 2.2 times as fast" in draw(measured)


def test_what_is_printed_begins_with_the_ratios_and_ends_with_what_is_missing():
    told = printed(with_ratios(MEASURED | {"why": {"latency": "the broker ended"}}))
    assert re.match(r"pipeline_to_react +0.8 +>= 0.75\n", told)
    assert told.endswith("latency was not measured: the broker ended")
    assert "| 4 | 20.0 | 70.0 | 1,000 |" in told
    assert orjson.dumps(with_ratios(MEASURED))
