"""What we rely on in both brokers: topics, headers, transactions and fencing; and a Kafka that keeps its data over a kill -9."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.kafka.embedded import EmbeddedBroker
from tests.kafka.broker import KafkaBroker


@pytest.fixture(params=["embedded_broker", pytest.param("kafka", marks=pytest.mark.kafka)])
def bootstrap(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param).bootstrap)


def make_topic(bootstrap: str, **config: str) -> str:
    name = f"t-{uuid4().hex}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(name, 2, 1, config=config)]).values():
        future.result(10)
    return name


def transactional(bootstrap: str, transactional_id: str) -> Producer:
    # Fencing is expected here: librdkafka need not print it.
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id, "log_level": 0})
    producer.init_transactions(30)
    return producer


def commit(producer: Producer, topic: str, *values: bytes) -> None:
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, key=b"k", value=value, headers=[("ce_id", b"1")], partition=0)
    producer.commit_transaction(10)


def read(bootstrap: str, topic: str) -> list[Message]:
    """All committed records of partition 0, to its end as librdkafka reports it."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": "none",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
    }
    consumer, found = Consumer(settings), []
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        while (message := consumer.poll(10)) is not None and message.error() is None:
            found.append(message)
        assert message is not None, "nothing came, not even the end of the partition"
        error = message.error()
        assert error is not None and error.code() == KafkaError._PARTITION_EOF
    finally:
        consumer.close()
    return found


def test_a_transaction_is_read_with_its_headers(bootstrap: str) -> None:
    topic = make_topic(bootstrap, **{"cleanup.policy": "compact"})
    commit(transactional(bootstrap, topic), topic, b"1", b"2")
    found = read(bootstrap, topic)
    assert [(message.key(), message.value(), message.headers()) for message in found] == [
        (b"k", b"1", [("ce_id", b"1")]),
        (b"k", b"2", [("ce_id", b"1")]),
    ]


def test_a_newer_producer_of_the_same_id_fences_the_older(bootstrap: str) -> None:
    topic = make_topic(bootstrap)
    old = transactional(bootstrap, topic)
    commit(old, topic, b"before")
    new = transactional(bootstrap, topic)
    with pytest.raises(KafkaException) as raised:
        commit(old, topic, b"zombie")
    assert raised.value.args[0].code() == KafkaError._FENCED
    commit(new, topic, b"after")
    assert [message.value() for message in read(bootstrap, topic)] == [b"before", b"after"]


def test_kafka_hides_what_was_aborted(kafka: KafkaBroker) -> None:
    topic = make_topic(kafka.bootstrap)
    producer = transactional(kafka.bootstrap, topic)
    producer.begin_transaction()
    producer.produce(topic, b"aborted", partition=0)
    producer.flush(10)
    producer.abort_transaction(10)
    commit(producer, topic, b"kept")
    assert [message.value() for message in read(kafka.bootstrap, topic)] == [b"kept"]


def test_kafka_keeps_address_and_data_over_a_kill(kafka: KafkaBroker) -> None:
    topic = make_topic(kafka.bootstrap)
    commit(transactional(kafka.bootstrap, topic), topic, b"kept")
    before = kafka.bootstrap
    kafka.kill()
    assert not kafka.running
    kafka.start()
    assert kafka.bootstrap == before
    # A commit is answered before its markers are written. Until they are, after the restart, readers meet the end before them;
    # who begins under the same transactional id, as whoever takes a partition over does, waits for them.
    transactional(before, topic)
    assert [message.value() for message in read(before, topic)] == [b"kept"]


@pytest.mark.embedded
def test_the_embedded_broker_starts_anew_each_time(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "log")
    with pytest.raises(RuntimeError, match="not running"):
        _ = broker.bootstrap
    clusters: set[str | None] = set()
    for _ in range(2):
        with broker:
            clusters.add(AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=5).cluster_id)
            assert broker.running
        assert not broker.running
    assert len(clusters) == 2
