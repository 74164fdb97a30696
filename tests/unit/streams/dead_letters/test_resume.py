"""What is paused is read from the journal up to its end, and nothing else passes for its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.registry import DEBTOR_SOURCES
from streams.dead_letters import resume
from streams.errors import UsageError, UserError
from streams.kafka import read
from streams.settings import Settings


def slice_of(agent: str, *paused: str) -> SimpleNamespace:
    return SimpleNamespace(error=lambda: None, value=lambda: orjson.dumps({"agent": agent, "paused": paused}))


def error(code: int) -> SimpleNamespace:
    return SimpleNamespace(error=lambda: KafkaError(code), topic=lambda: "duewatch-journal", partition=lambda: 0)


END = error(KafkaError._PARTITION_EOF)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a reader of the journal gets, one after the other."""
    messages: list[Any] = []
    reader = SimpleNamespace(
        assign=lambda _: None,
        assignment=lambda: [SimpleNamespace(topic="duewatch-journal", partition=0)],
        consume=lambda _count, _timeout: [messages.pop(0)] if messages else [],
        close=messages.clear,
    )
    monkeypatch.setattr(resume, "offsets", lambda _, places, *, first=False: dict.fromkeys(places, 0 if first else 9))
    monkeypatch.setattr(resume, "reader", lambda _: reader)
    return messages


def test_the_last_slice_of_the_agent_tells_what_is_paused(journal: list[Any]) -> None:
    journal += [slice_of("debtor", "payments"), slice_of("debtor", "payments", "rates"), slice_of("learner"), END]
    assert resume.paused_topics(Settings(), "debtor", 0) == ("payments", "rates")


def test_an_error_is_not_the_end_of_the_journal(journal: list[Any]) -> None:
    journal += [slice_of("debtor"), error(KafkaError.TOPIC_AUTHORIZATION_FAILED), slice_of("debtor", "payments"), END]
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        resume.paused_topics(Settings(), "debtor", 0)


def test_a_silent_broker_is_not_the_end_of_the_journal_either(journal: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "SILENCE_S", 2 * read.POLL_S)
    journal += [slice_of("debtor")]
    with pytest.raises(UserError, match="cannot be read"):
        resume.paused_topics(Settings(), "debtor", 0)


def test_who_reads_a_topic_and_by_which_clock_is_told_by_the_agents_themselves() -> None:
    specs = resume.reading_agents(Settings(partitions=7))
    agents = {topic: (spec.name, spec.clock, spec.partitions) for topic, spec in specs.items()}
    debtor = dict.fromkeys(DEBTOR_SOURCES, ("debtor", "clock", 7))
    assert agents == debtor | {"training-examples": ("learner", "clock-single", 1)}


def test_what_no_agent_reads_cannot_be_resumed() -> None:
    with pytest.raises(UsageError, match="use one of .*payments"):
        resume.resume(Settings(), "scores", 0, "jane", None)
