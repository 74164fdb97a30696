"""A deployment is audited while it runs, what was altered is named, and decisions are recomputed bit for bit."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from agents.version import CODE_VERSION
from schemas.events.envelope import Event
from schemas.events.policies import PolicyPublished
from schemas.registry import DEBTOR_SOURCES
from streams.explain.find import find
from streams.explain.reproduce import reproduce
from streams.kafka.codec import encode, encode_event
from streams.kafka.log import LogError
from streams.kafka.topics import deployed, full_name
from streams.process.children import Child, free_port, spawn
from streams.recompute.decisions import DECISION_TOPICS
from streams.recompute.journal import apply_changes, recompute
from streams.settings import Settings
from streams.simulate import simulate
from tests.integration.support.portfolio import deployment, header, read_all, wait_for
from tests.integration.support.replays import start_replay
from tests.kafka.broker import KafkaBroker

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

Sent = tuple[str, dict[str, Any]]
"""Topic, structured event."""
DAY = re.compile(rb"\d{4}-\d\d-\d\d")


@pytest.fixture(scope="module")
def portfolio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("portfolio")
    simulate(12, 150, 11, folder)
    return folder


def duewatch(*arguments: str) -> tuple[int, str, str]:
    """The command in a process of its own: one process can open one embedded ClickHouse."""
    ran = subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments], capture_output=True, text=True, check=False, timeout=240
    )
    return ran.returncode, ran.stdout, ran.stderr


def place_of(settings: Settings) -> tuple[str, ...]:
    """The options that tell a command where the deployment is."""
    dsn = settings.clickhouse.get_secret_value()
    clickhouse = ("--data", str(settings.data_dir)) if dsn.startswith("chdb:") else ("--clickhouse", dsn)
    return ("--kafka", settings.bootstrap, "--prefix", settings.prefix, *clickhouse)


def audited(settings: Settings, *more: str) -> tuple[int, dict[str, Any]]:
    """The exit status of an audit and what it found."""
    status, output, errors = duewatch("audit", *place_of(settings), "--json", *more)
    assert output, errors
    return status, json.loads(output)


def alter(settings: Settings, sql: str) -> None:
    """Change a row behind everybody's back; in a process of its own, for one process can open one embedded ClickHouse."""
    code = "import sys; from streams.clickhouse.client import open_client; open_client(*sys.argv[1:3]).command(sys.argv[3])"
    dsn = settings.clickhouse.get_secret_value()
    subprocess.run([sys.executable, "-c", code, dsn, settings.database, sql], check=True, timeout=60)


# -- live
@dataclass
class Live:
    settings: Settings
    workers: list[Child]
    sink: Child
    load: Thread


def start(settings: Settings, command: str, log_path: Path) -> Child:
    own = settings.changed(web_port=free_port())
    return spawn([sys.executable, "-m", "streams.cli", command], own.as_environment(), log_path, name=command)


def until_today(folder: Path) -> list[Sent]:
    """Topic and structured event of a portfolio that ends yesterday, in the order in which they were recorded."""
    lines = [
        (topic, line)
        for topic in DEBTOR_SOURCES
        for path in folder.glob(f"{topic}.jsonl")
        for line in path.read_bytes().splitlines()
    ]
    last = max(date.fromisoformat(orjson.loads(line)["recordedtime"][:10]) for _, line in lines)
    shift = datetime.now(UTC).date() - timedelta(days=1) - last

    def shifted(match: re.Match[bytes]) -> bytes:
        return (date.fromisoformat(match[0].decode()) + shift).isoformat().encode()

    events = [(topic, orjson.loads(DAY.sub(shifted, line))) for topic, line in lines]
    return sorted(events, key=lambda topic_and_event: topic_and_event[1]["recordedtime"])


def send(settings: Settings, events: list[Sent], seconds: float) -> None:
    """As other systems would, spread over some time."""
    producer = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random", "linger.ms": 5})
    structured: list[tuple[str, str | bytes | None]] = [("content-type", b"application/cloudevents+json")]
    for number, (topic, event) in enumerate(events):
        name = full_name(settings.prefix, topic)
        producer.produce(name, key=event["data"]["customer_id"], value=orjson.dumps(event), headers=structured)
        if number % 50 == 0:
            producer.poll(0)
            time.sleep(seconds * 50 / len(events))
    producer.flush()


def publish(settings: Settings, policy: PolicyPublished) -> None:
    now = datetime.now(UTC)
    value, headers = encode_event(Event("policy-2", "duewatch.policy.published.v1", "test", now, now, policy, ""))
    producer = Producer(settings.for_librdkafka())
    producer.produce(full_name(settings.prefix, "credit-policies"), key="policy", value=value, headers=list(headers))
    producer.flush()


@pytest.fixture(scope="module", params=["chdb", "http"])
def live(
    kafka: KafkaBroker, portfolio: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Live]:
    """Two workers and a sink, whose ClickHouse is embedded or a server; half of a portfolio is in, the policy acts."""
    data = tmp_path_factory.mktemp("live")
    is_server = request.param == "http"
    dsn = f"{request.getfixturevalue('gateway').dsn}/audited" if is_server else f"chdb://{data}/clickhouse"
    settings = deployment(kafka.bootstrap, data, clickhouse=dsn)
    events = until_today(portfolio)
    sink = start(settings, "sink", data / "sink.log")
    workers = [start(settings, "worker", data / "w0.log")]
    try:
        send(settings, events[: len(events) // 4], 3)
        wait_for(lambda: len(read_all(settings, "limit-proposals")) > 5, 60)
        workers.append(start(settings, "worker", data / "w1.log"))  # takes partitions over
        publish(settings, PolicyPublished(version="ours-2", action="act"))
        rest = Thread(target=send, args=(settings, events[len(events) // 4 :], 20), daemon=True)
        rest.start()
        wait_for(lambda: len(read_all(settings, "limit-changes")) > 5, 60)
        yield Live(settings, workers, sink, rest)
        rest.join()
    finally:
        for child in (*workers, sink):
            child.kill()


def test_a_running_deployment_is_clean_while_it_moves_and_when_it_rests(live: Live) -> None:
    status, report = audited(live.settings)
    assert (status, report["differences"]) == (0, [])
    live.load.join()
    time.sleep(3)
    for worker in live.workers:
        assert worker.stop(20) == 0
    assert live.sink.stop(20) == 0

    status, report = audited(live.settings)

    assert (status, report["differences"], report["not_judged"]) == (0, [], {})
    assert (report["outputs_not_judged"], report["paused"]) == ({}, {})
    assert report["looked_at"]["events in ClickHouse"] > 1_000
    assert report["looked_at"]["outputs in ClickHouse"] > 100
    assert report["looked_at"]["rows"] > 1_000


def final_rows(settings: Settings) -> dict[str, bytes]:
    """The debtor's rows of partition 0 as they must be after the last slice."""
    rows: dict[str, bytes] = {}
    for slice_ in recompute(settings, "debtor", 0):
        apply_changes(rows, slice_.result.rows)
    return rows


def test_what_was_altered_is_named_with_both_values(live: Live) -> None:
    """Runs on what the test before has left."""
    settings = live.settings
    rows = final_rows(settings)
    key = next(key for key in rows if "\x1fi/" in key)
    customer, _, row = key.partition("\x1f")
    amount = orjson.loads(rows[key])["amount"]
    changed = rows[key].replace(b'"amount":"' + amount.encode(), b'"amount":"1' + amount.encode())
    producer = Producer(settings.for_librdkafka())
    producer.produce(full_name(settings.prefix, "debtor-state"), key=key, value=changed, partition=0)
    producer.flush()
    open_invoices = [k for k in rows if "\x1fi/" in k and orjson.loads(rows[k])["open"] != "0.00"]
    owing, _, invoice = open_invoices[0].partition("\x1fi/")
    where = f"customer_id = '{owing}' AND invoice_id = '{invoice}' AND entry = 'invoice'"
    alter(settings, f"ALTER TABLE postings UPDATE amount = amount + 7 WHERE {where} SETTINGS mutations_sync = 2")
    event = next(m for m in read_all(settings, "payments") if (m.key() or b"").decode() == owing)
    alter(
        settings,
        f"ALTER TABLE events_raw DELETE WHERE id = '{orjson.loads(event.value() or b'')['id']}' SETTINGS mutations_sync = 2",
    )

    status, report = audited(settings)

    assert status == 1
    differences = {(d["kind"], d["subject"], d["where"], d["field"]): (d["expected"], d["found"]) for d in report["differences"]}
    assert differences["state", customer, row, "amount"] == (amount, f"1{amount}")
    expected, actual = map(float, differences["clickhouse", owing, "debtors EUR", "exposure"])
    assert actual == pytest.approx(expected + 7)
    place = f"payments/{event.partition()}/{event.offset()}"
    assert differences["events", owing, place, "id"] == (orjson.loads(event.value() or b"")["id"], "absent")
    assert {kind for kind, *_ in differences} == {"state", "clickhouse", "events"}
    assert {subject for _, subject, *_ in differences} == {customer, owing}


def one_of(settings: Settings, topic: str, number: int = 0) -> tuple[str, dict[str, Any]]:
    """Id and body of a decision."""
    message = read_all(settings, topic)[number]
    return header(message, "ce_id"), orjson.loads(message.value() or b"")


def test_what_went_out_is_named_where_it_was_altered_is_missing_or_made_up(live: Live) -> None:
    """Runs on what the tests before have left: nothing of it is about published outputs."""
    settings = live.settings
    alert_id, alert = one_of(settings, "alerts")
    wrong = "info" if alert["severity"] != "info" else "critical"
    score_id, score = one_of(settings, "scores")
    twice_id, _ = one_of(settings, "scores", 1)
    change_id, change = one_of(settings, "limit-changes")
    now = "SETTINGS mutations_sync = 2"
    alter(settings, f"ALTER TABLE alerts_raw UPDATE severity = '{wrong}' WHERE id = '{alert_id}' {now}")
    alter(settings, f"ALTER TABLE scores_raw DELETE WHERE id = '{score_id}' {now}")
    # A sink that is killed writes rows a second time: the view shows them once.
    alter(settings, f"INSERT INTO scores_raw SELECT * FROM scores_raw WHERE id = '{twice_id}'")  # noqa: S608 - our ids
    other_row = f"(SELECT * FROM limit_changes_raw WHERE id = '{change_id}')"  # noqa: S608 - the same
    alter(settings, f"INSERT INTO limit_changes_raw SELECT * REPLACE ('made-up' AS id) FROM {other_row}")  # noqa: S608

    status, report = audited(settings)

    assert status == 1
    differences = {
        (d["subject"], d["where"], d["field"]): (d["expected"], d["found"])
        for d in report["differences"]
        if d["kind"] == "outputs"
    }
    assert differences == {
        (alert["customer_id"], f"alerts {alert_id}", "severity"): (alert["severity"], wrong),
        (score["customer_id"], f"scores {score_id}", "id"): (score_id, "absent"),
        (change["customer_id"], "limit_changes made-up", "id"): ("absent", "made-up"),
    }
    assert report["counts"]["outputs"] == 3


def test_what_other_code_sent_out_is_counted_and_not_judged(live: Live) -> None:
    """Runs on what the test before has left."""
    settings = live.settings
    other = "from streams.audit import state; state.CODE_VERSION = '9.9.9'; from streams.cli.main import main; main()"
    command = [sys.executable, "-c", other, "audit", *place_of(settings), "--json"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=False, timeout=240).stdout)

    assert report["counts"]["outputs"] == 0
    why = f"against ClickHouse: version {CODE_VERSION} of the code decided on them, this is 9.9.9"
    assert list(report["outputs_not_judged"]) == [why]
    assert report["outputs_not_judged"][why] > 100
    assert report["looked_at"].get("outputs in ClickHouse", 0) == 0


def test_every_output_is_made_again_bit_for_bit(live: Live) -> None:
    settings = live.settings
    emitted = {header(m, "ce_id"): m for topic in DECISION_TOPICS for m in read_all(settings, topic)}
    customers = sorted({(m.key() or b"").decode() for m in emitted.values()})[:6]
    count = 0
    for partition in range(settings.partitions):
        for slice_ in recompute(settings, "debtor", partition, customers=customers):
            for output in slice_.result.outputs:
                if output.topic in DECISION_TOPICS:
                    message = emitted.pop(output.id)
                    assert (message.value(), message.headers(), message.key()) == (*encode(output), output.key.encode())
                    count += 1
    assert count > 60
    assert not [m for m in emitted.values() if (m.key() or b"").decode() in customers]


def test_each_kind_of_decision_is_explained(live: Live) -> None:
    settings = live.settings
    kinds: dict[tuple[str, ...], str] = {}
    for topic in DECISION_TOPICS:
        for message in read_all(settings, topic):
            body = orjson.loads(message.value() or b"")
            codes = [reason["code"] for reason in body["reasons"]][:1] if "limit" in topic else []
            kinds[topic, header(message, "ce_type"), str(body.get("alert_type")), *codes] = header(message, "ce_id")
    assert {topic for topic, *_ in kinds} == set(DECISION_TOPICS)
    for kind, ident in kinds.items():
        reproduction = reproduce(settings, find(settings, ident))
        assert reproduction.is_equal, kind
        assert reproduction.recorded is not None
        assert reproduction.recorded.reaction.changes


def test_a_decision_of_other_code_is_not_asserted(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    ident = header(read_all(live.settings, "limit-changes")[0], "ce_id")
    monkeypatch.setattr("streams.explain.reproduce.CODE_VERSION", "9.9.9")
    reproduction = reproduce(live.settings, find(live.settings, ident))
    assert reproduction.is_equal is None
    assert reproduction.versions == {CODE_VERSION}


def test_an_id_that_is_none_is_told(live: Live) -> None:
    status, _, errors = duewatch("explain", "no-such-id", "--kafka", live.settings.bootstrap, "--prefix", live.settings.prefix)
    assert status == 1
    assert "no decision has the id 'no-such-id'" in errors


def test_what_retention_has_taken_is_named(live: Live) -> None:
    settings = live.settings
    name = full_name(settings.prefix, "payments")
    place, admin = TopicPartition(name, 0, 10), AdminClient({**settings.for_librdkafka()})
    admin.delete_records([place])[place].result(30)

    with pytest.raises(LogError, match=rf"{name}/0 begins at offset 10"):
        final_rows(settings)


# -- a replay
def test_a_replay_is_clean_and_its_decisions_are_explained(kafka: KafkaBroker, portfolio: Path, tmp_path: Path) -> None:
    status, output = start_replay(portfolio, tmp_path, "--kafka", kafka.bootstrap).ended()
    assert status == 0, output
    answer = duewatch("sql", "SELECT DISTINCT prefix FROM ticks", "--data", str(tmp_path), "--format", "TSV")[1]
    own = Settings(
        prefix=answer.strip(), bootstrap=kafka.bootstrap, data_dir=tmp_path, clickhouse=f"chdb://{tmp_path}/clickhouse"
    )
    settings = deployed(own)

    status, report = audited(settings)
    assert (status, report["differences"], report["not_judged"]) == (0, [], {})

    change = orjson.loads(read_all(settings, "limit-changes")[-1].value() or b"")["limit_change_id"]
    where = ("--kafka", kafka.bootstrap, "--prefix", settings.prefix)
    status, output, errors = duewatch("explain", change, *where, "--data", str(tmp_path))
    assert status == 0, errors
    assert "equal bit for bit" in output
    status, output, errors = duewatch("explain", change, *where, "--json")
    assert json.loads(output)["decision"]["limit_change_id"] == change
