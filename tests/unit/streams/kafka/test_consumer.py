"""A consumer notices that no broker is there any more, and is not given up before a new one could fare better."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread

import pytest
from confluent_kafka import KafkaError, TopicPartition

from streams.kafka import consumer
from streams.kafka.consumer import Consumer
from streams.process.children import free_port
from tests.kafka.broker import KafkaBroker


@pytest.fixture
def alone() -> Iterator[Consumer]:
    """A consumer whose only broker does not listen."""
    consumer_ = Consumer({"bootstrap.servers": f"127.0.0.1:{free_port()}", "group.id": "t", "log_level": 0})
    yield consumer_
    consumer_.close()


def test_it_is_lost_once_all_brokers_are_down_but_not_at_once(alone: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "KEPT_S", 60.0)
    while not alone._is_down:
        alone.poll(0.05)
    assert not alone.is_lost
    monkeypatch.setattr(consumer, "KEPT_S", 0.0)
    assert alone.is_lost


def test_another_error_is_no_loss(alone: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "KEPT_S", 0.0)
    alone._on_error(KafkaError(KafkaError._TRANSPORT))
    assert not alone.is_lost


def test_silence_is_a_loss_where_nobody_answers(alone: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "PROBE_S", 0.1)
    alone.assign([TopicPartition("t", 0)])
    assert not alone.is_lost
    monkeypatch.setattr(consumer, "SILENT_S", 0.0)
    assert alone.is_lost
    alone.unassign()
    assert not alone.is_lost


def test_silence_is_none_while_the_broker_answers(kafka: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "SILENT_S", 0.0)
    consumer_ = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "t"})
    consumer_.assign([TopicPartition("none", 0)])
    assert not consumer_.is_lost
    consumer_.close()


def test_a_close_that_does_not_end_is_not_waited_for(alone: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Event()
    with monkeypatch.context() as patched:
        patched.setattr(consumer, "Thread", lambda **options: Thread(target=closed.wait, daemon=options["daemon"]))
        alone.close(0.05)
        assert not closed.is_set()
    closed.set()
