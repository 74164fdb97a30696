"""A replay on Apache Kafka and the small broker: nothing beyond a tick's cut before the tick, and a step is one slice."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from schemas.events.clock import ContextSet
from streams.clock.writer import ClockWriter, FencedError
from streams.kafka.read import reader
from streams.kafka.topics import full_name
from streams.settings import Settings
from tests.integration.support.portfolio import NOW, deployment, header, payment, read_all, rows, toy_worker, truth
from tests.kafka.broker import KafkaBroker

STEPS = 20
CONTEXT = ContextSet(version="c1")


@pytest.fixture(params=["kafka", "embedded_broker"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    at_once = 4 if request.param == "kafka" else 1  # see Settings.on_embedded_broker
    bootstrap = request.getfixturevalue(request.param).bootstrap
    return deployment(bootstrap, tmp_path, mode="replay", clock="replay", commits_in_flight=at_once)


class Sender:
    """Sends payments and knows the offsets behind them."""

    def __init__(self, settings: Settings) -> None:
        self.topic = full_name(settings.prefix, "payments")
        self.producer = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random"})
        self.ends = [{"payments": 0} for _ in range(settings.partitions)]
        self.sent = 0

    def send(self, count: int) -> list[dict[str, int]]:
        for _ in range(count):
            customer = f"c{self.sent % 50}"
            value, headers = payment(self.sent, customer)
            self.producer.produce(self.topic, key=customer, value=value, headers=list(headers), on_delivery=self.delivered)
            self.sent += 1
        self.producer.flush()
        return [dict(ends) for ends in self.ends]

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        assert error is None
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None
        self.ends[partition]["payments"] = offset + 1


def wait_for_step(models: Consumer, step: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        message = models.poll(0.1)
        if message is not None and message.error() is None and orjson.loads(message.value() or b"")["step"] == step:
            return
    raise AssertionError(f"step {step} was not learned in time")


@pytest.mark.slow
def test_each_step_is_one_slice_of_what_lies_below_its_cut(settings: Settings, tmp_path: Path) -> None:
    sender, writer = Sender(settings), ClockWriter(settings)
    models = reader(settings.for_librdkafka())
    models.assign([TopicPartition(full_name(settings.prefix, "models"), 0, 0)])
    durations = []
    with toy_worker(settings, tmp_path / "w.log") as worker:
        ends = sender.send(100)
        for step in range(STEPS):
            next_step = sender.send(100)  # a step ahead: it must wait for its tick
            began = time.monotonic()
            writer.write(step, NOW + timedelta(days=7 * step), ends, {}, CONTEXT, step=step, ends_ahead=next_step)
            wait_for_step(models, step)
            durations.append(time.monotonic() - began)
            ends = next_step
        assert worker.stop(15) == 0
    models.close()
    print("seconds per step", sorted(durations)[len(durations) // 2], "worst after the first", max(durations[1:]))
    assert len(read_all(settings, "alerts")) == 100 * STEPS
    slices = [orjson.loads(message.value() or b"") for message in read_all(settings, "journal")]
    debtor = [slice_ for slice_ in slices if slice_["agent"] == "debtor"]
    assert sorted((slice_["partition"], slice_["tick"]) for slice_ in debtor) == [
        (p, k) for p in range(settings.partitions) for k in range(STEPS)
    ]
    ended = [header(message, "ce_type") for message in read_all(settings, "training-examples")]
    assert ended == ["duewatch.step.ended.v1"] * (settings.partitions * STEPS)
    counts = {customer: count for customer, (count, _) in rows(settings).items()}
    # The last hundred lie beyond the last cut.
    assert sum(counts.values()) == 100 * STEPS
    assert all(counts[customer] == count - 2 for customer, (count, _) in truth(settings).items())


def test_a_new_clock_fences_the_one_before(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    first = ClockWriter(settings)
    first.write(0, NOW, [{}] * 4, {}, CONTEXT)
    second = ClockWriter(settings)
    with pytest.raises(FencedError):
        first.write(1, NOW, [{}] * 4, {}, CONTEXT)
    second.write(1, NOW, [{}] * 4, {}, CONTEXT)
    kinds = [header(message, "ce_type") for message in read_all(settings, "clock-single")]
    assert [kind.split(".")[1] for kind in kinds] == ["context", "clock", "context", "clock"]
