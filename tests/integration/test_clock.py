"""Who becomes the clock of a live deployment goes on from the last tick, however long the log is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer

import streams.clock.live
from schemas.events.clock import ContextSet
from schemas.events.policies import PolicyPublished
from streams.clock.live import _LeaderTerm
from streams.clock.writer import ClockWriter
from streams.engine.keys import CONTEXT, POSITIONS
from streams.engine.partition_task import Checkpoint
from streams.engine.slicing import AppliedTick
from streams.kafka import read
from streams.kafka.codec import decode
from streams.kafka.topics import full_name
from tests.integration.support.portfolio import deployment, read_all
from tests.kafka.broker import KafkaBroker

FIRST = datetime(2026, 3, 2, tzinfo=UTC)


def context(version: str) -> ContextSet:
    return ContextSet(version=version, generation=int(version), policy=PolicyPublished(version=version))


def tick(writer: ClockWriter, number: int, version: str) -> None:
    ends = [{"payments": number} for _ in range(writer._settings.partitions)]
    writer.write(number, FIRST + timedelta(seconds=number), ends, {"training-examples": number}, context(version))


@pytest.mark.slow
def test_a_new_clock_reads_only_what_the_learner_has_not_applied(
    kafka: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    writer = ClockWriter(settings)
    for number in range(20):
        tick(writer, number, "1")
    at = {int(message.offset() or 0) for message in read_all(settings, "clock-single")}
    checkpoint = Checkpoint(
        {"clock-single": max(at) + 1}, AppliedTick(19, FIRST + timedelta(seconds=19)), number=7, context=context("1")
    )
    for number in range(20, 23):
        tick(writer, number, "2" if number == 22 else "1")
    rows = {POSITIONS: checkpoint.position_row(1, "0"), CONTEXT: context("1").model_dump_json().encode()}
    producer = Producer(settings.for_librdkafka())
    for key, value in rows.items():
        producer.produce(full_name(settings.prefix, "learner-state"), value, key, 0)
    producer.flush(30)

    decoded: list[object] = []

    def decode_and_count(*arguments: Any) -> Any:
        decoded.append(arguments)
        return decode(*arguments)

    monkeypatch.setattr(streams.clock.live, "decode", decode_and_count)
    term = _LeaderTerm(settings)
    assert term.last is not None and term.last.number == 22
    assert term._base == context("2")
    assert len(decoded) == 4, "three ticks and a context"
    term.close()


@pytest.mark.slow
def test_a_clock_whose_context_may_come_no_more_begins_anew(
    kafka: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    term = _LeaderTerm(deployment(kafka.bootstrap, tmp_path))
    term.tick(FIRST)
    monkeypatch.setattr(type(term._context_topics), "is_lost", True)
    with pytest.raises(KafkaException, match="ALL_BROKERS_DOWN"):
        term.tick(FIRST + timedelta(seconds=1))
    term.close()


@pytest.mark.slow
def test_a_clock_whose_broker_keeps_silent_gives_up(kafka: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    term = _LeaderTerm(settings)
    monkeypatch.setattr(read, "SILENCE_S", 0.2)
    with pytest.raises(KafkaException, match=r"no record and no end of .*credit-policies/0, .*models/0, .*rates/0 came"):
        list(read.to_the_end(term._context_topics))  # all is read: nothing more comes
    term.close()
