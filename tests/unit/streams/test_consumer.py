"""A consumer notices that no broker is there any more, and is not given up before a new one could fare better."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from streams import consumer
from streams.consumer import Consumer
from streams.processes import free_port


@pytest.fixture
def alone():
    """A consumer whose only broker does not listen."""
    made = Consumer({"bootstrap.servers": f"127.0.0.1:{free_port()}", "group.id": "t", "log_level": 0})
    yield made
    made.close()


def test_it_is_lost_once_all_brokers_are_down_but_not_at_once(alone, monkeypatch):
    monkeypatch.setattr(consumer, "KEPT_S", 60.0)
    while not alone._is_down:
        alone.poll(0.05)
    assert not alone.lost
    monkeypatch.setattr(consumer, "KEPT_S", 0.0)
    assert alone.lost


def test_another_error_is_no_loss(alone, monkeypatch):
    monkeypatch.setattr(consumer, "KEPT_S", 0.0)
    alone._told(KafkaError(KafkaError._TRANSPORT))
    assert not alone.lost
