"""librdkafka's consumer, with the one thing that it does not say: that it has lost its cluster."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from threading import Thread
from time import monotonic
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message

LIBRDKAFKA = "librdkafka"  # as in ``streams.logs``, whose imports a process that only reads would wait for
_ALL_DOWN = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 - the library's spelling
KEPT_S = 5.0
"""A consumer is not given up before: most come back by themselves, and while the broker is away a new one finds nothing."""
SILENT_S, PROBE_S = 5.0, 2.0
"""One that has heard nothing for so long asks the broker for something, and waits for the answer for so long."""
CLOSE_S = 5.0


class Consumer(confluent_kafka.Consumer):
    """As confluent_kafka's, but ``is_lost`` once it may never hear of its brokers again.

    A broker that shuts down answers, if it is asked, that there are no brokers. Then librdkafka forgets the last one that it
    knows. Mostly it begins again with ``bootstrap.servers``; but where this answer and the end of the connection meet, it stops
    the timer that would do so, and is silent for ever (https://github.com/confluentinc/librdkafka/issues/5301, open;
    `python -m tests.experiments.lost` counts 38 of 120 consumers). It may not even say that all brokers are down (seen once). So
    who reads for long makes a new consumer, and goes on where the lost one was.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._is_down = False
        self._made_at = self._heard_at = monotonic()
        super().__init__({**config, "error_cb": self._on_error}, logger=logging.getLogger(LIBRDKAFKA))

    def poll(self, timeout: float = -1.0) -> Message | None:
        message = super().poll(timeout)
        if message is not None:
            self._heard_at = monotonic()
        return message

    def consume(self, num_messages: int = 1, timeout: float = -1.0) -> list[Message]:
        messages = super().consume(num_messages, timeout)
        if messages:
            self._heard_at = monotonic()
        return messages

    @property
    def is_lost(self) -> bool:
        """Whether to give it up for a new one: all brokers were down at the same time, or none answers. May block for PROBE_S."""
        now = monotonic()
        if self._is_down:
            return now - self._made_at > KEPT_S
        if now - self._heard_at < SILENT_S:
            return False
        self._heard_at = now
        return not self._is_answered()

    def _is_answered(self) -> bool:
        places = self.assignment()
        try:
            if places:  # who reads nothing has nothing to lose
                self.list_topics(places[0].topic, timeout=PROBE_S)
        except KafkaException:
            return False
        return True

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Blocks for so long at most: one that lost its brokers may never come to an end, and is left to itself then."""
        closing = Thread(target=super().close, name="consumer-closes", daemon=True)
        closing.start()
        closing.join(wait_s)

    def _on_error(self, error: KafkaError) -> None:
        # All else the library repairs, or reports with a message.
        if error.code() == _ALL_DOWN:
            self._is_down = True
