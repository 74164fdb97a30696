"""A partition's rows are the same whether the worker reads them or a process of its own."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from agents.debtor.brain import DebtorBrain
from agents.debtor.state import Row
from streams.engine import restore
from streams.engine.restore_process import ReadingFailedError, RestoreProcesses, read
from streams.kafka.admin import list_offsets
from streams.kafka.producer import fenced_producer
from streams.kafka.read import count_of, offsets
from tests.kafka.broker import KafkaBroker
from tests.support.builders import Life, at, invoice

# Bootstrap, name, and the rows that a new owner must find.
StateTopic = tuple[dict[str, str], str, dict[str, Row]]


@pytest.fixture(params=["kafka", "embedded_broker"])
def topic(request: pytest.FixtureRequest) -> StateTopic:
    """A state topic with rows of debtors, one that was deleted, and one of the engine's."""
    bootstrap = {"bootstrap.servers": request.getfixturevalue(request.param).bootstrap}
    name = f"state-{uuid4()}"
    admin = AdminClient(bootstrap)
    for future in admin.create_topics([NewTopic(name, 1, 1)]).values():
        future.result()
    life = Life()
    life.tell(*(invoice(f"i-{n}", n, customer=f"c-{n % 5}") for n in range(40)), now=at(40))
    producer = Producer(bootstrap)
    for customer_id in life.brain._store:
        for row_key, value in life.brain._store.peek(customer_id).items():
            producer.produce(name, value, f"{customer_id}\x1f{row_key}")
    producer.produce(name, b"{}", "gone\x1fi/1")
    producer.produce(name, None, "gone\x1fi/1")
    producer.produce(name, b"[]", "\x00paused")
    assert producer.flush(20) == 0
    return bootstrap, name, dict(life.brain.rows())


def test_a_process_of_its_own_reads_what_the_worker_would_read(topic: StateTopic, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka, name, rows = topic
    here, beside = (
        read(kafka, name, 0, DebtorBrain.pack_snapshot),
        RestoreProcesses().read(kafka, name, 0, DebtorBrain.pack_snapshot),
    )
    assert here.own == beside.own == {"\x00paused": b"[]"} and not here.rows and not beside.rows
    for restored in (here, beside):
        book = DebtorBrain()
        assert restored.prepared is not None
        book.restore_snapshot(restored.prepared)
        assert dict(book.rows()) == rows
    assert 0 < count_of(kafka, name, 0) <= len(rows) + 3  # the small broker tells too few: then the worker reads by itself
    monkeypatch.setattr(restore, "MANY_ROWS", 1)
    assert restore.read_state(kafka, name, 0, DebtorBrain(), RestoreProcesses()) == beside


def test_offsets_are_those_that_are_still_there_and_committed(kafka: KafkaBroker) -> None:
    bootstrap, name = {"bootstrap.servers": kafka.bootstrap}, f"offsets-{uuid4()}"
    admin = AdminClient({**bootstrap})
    admin.create_topics([NewTopic(name, 2, 1)])[name].result(30)
    plain = Producer(bootstrap)
    for number in range(5):
        plain.produce(name, str(number), "key", 0)
    assert plain.flush(20) == 0
    oldest = TopicPartition(name, 0, 3)
    admin.delete_records([oldest])[oldest].result(30)
    open_ended = fenced_producer(bootstrap, name)
    open_ended.begin_transaction()
    open_ended.produce(name, "open", "key", 0)
    open_ended.flush()
    places = [(name, 0), (name, 1)]
    assert offsets(bootstrap, places, first=True) == {(name, 0): 3, (name, 1): 0}
    ends = {(name, 0): 5, (name, 1): 0}
    assert offsets(bootstrap, places) == list_offsets(admin, places) == ends
    open_ended.commit_transaction()
    with pytest.raises(KafkaException, match="Unknown partition"):
        offsets(bootstrap, [(f"no-{name}", 0)])


def broken(_records: Iterable[tuple[str, bytes | None]]) -> bytes:
    raise ValueError("cannot be prepared")


def test_a_process_that_fails_says_why(topic: StateTopic) -> None:
    kafka, name, _ = topic
    with pytest.raises(ReadingFailedError, match=f"(?s)for {name} 0 ended with status 1: .*cannot be prepared"):
        RestoreProcesses().read(kafka, name, 0, broken)


def test_once_the_worker_stops_nothing_is_read_any_more(topic: StateTopic) -> None:
    kafka, name, _ = topic
    readers = RestoreProcesses()
    readers.end()
    with pytest.raises(ReadingFailedError, match="the worker stops"):
        readers.read(kafka, name, 0, DebtorBrain.pack_snapshot)
