"""How many consumers never come back from a broker that takes its leave: `python -m tests.experiments.lost`.

A broker that shuts down answers that there are no brokers, then hangs up (``tests.kafka.door``). Afterwards it is there again,
and something is sent every second: who has not read it after PATIENCE_S is counted as lost.
"""

from __future__ import annotations

import time
from uuid import uuid4

import click
import confluent_kafka
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.kafka.door import Door, broker_behind_a_door

PATIENCE_S, AWAY_S = 15.0, 2.0
CONSUMER = {
    "group.id": "lost",
    "enable.auto.commit": False,
    "topic.metadata.refresh.interval.ms": 500,
    "reconnect.backoff.max.ms": 1_000,
    "log_level": 0,
}


class Crowd:
    """Consumers of one topic, behind one door."""

    def __init__(self, door: Door, topic: str, count: int) -> None:
        self._kafka, self._topic = {"bootstrap.servers": door.bootstrap}, topic
        self._all = [self._new() for _ in range(count)]

    def _new(self) -> confluent_kafka.Consumer:
        consumer = confluent_kafka.Consumer({**CONSUMER, **self._kafka})
        consumer.assign([TopicPartition(self._topic, 0, OFFSET_END)])
        return consumer

    def count_lost(self) -> int:
        """How many consumers no longer read; new ones take their places."""
        missing = dict(enumerate(self._all))
        until, sent_at = time.monotonic() + PATIENCE_S, 0.0
        while missing and time.monotonic() < until:
            if time.monotonic() > sent_at + 1.0:
                self.send()
                sent_at = time.monotonic()
            for number, consumer in list(missing.items()):
                if any(message.error() is None for message in consumer.consume(10, 0.0)):
                    del missing[number]
            time.sleep(0.05)
        for number, consumer in missing.items():
            consumer.close()
            self._all[number] = self._new()
        return len(missing)

    def send(self) -> None:
        producer = Producer(self._kafka)
        producer.produce(self._topic, b"there")
        producer.flush(PATIENCE_S)


@click.command()
@click.option("--consumers", default=40, show_default=True)
@click.option("--leaves", default=3, show_default=True, help="how often the broker leaves")
def main(consumers: int, leaves: int) -> None:
    """Count the consumers of confluent-kafka that a broker's leave makes deaf for ever."""
    deaf_count, topic = 0, f"lost-{uuid4()}"
    with broker_behind_a_door() as door:
        admin = AdminClient({"bootstrap.servers": door.bootstrap})
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
        crowd = Crowd(door, topic, consumers)
        crowd.count_lost()
        for _ in range(leaves):
            door.leave()
            time.sleep(AWAY_S)
            door.come_back()
            deaf_count += crowd.count_lost()
        figures = f"{deaf_count} of {consumers * leaves} lost, {door.told} were told"
        click.echo(f"librdkafka {confluent_kafka.libversion()[0]}: {figures}")


if __name__ == "__main__":
    main()
