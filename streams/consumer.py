"""librdkafka's consumer, which also knows when it has lost its cluster."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import monotonic
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError

LIBRDKAFKA = "librdkafka"  # as in ``streams.logs``, whose imports a process that only reads would wait for
_ALL_DOWN = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 - the library's spelling
KEPT_S = 1.0
"""A consumer is not given up before: while the broker is away a new one finds nothing either."""


class Consumer(confluent_kafka.Consumer):
    """As confluent_kafka's, but ``lost`` once all brokers were down at the same time: it may never connect again.

    A broker that shuts down answers, if it is asked, that there are no brokers. Where this answer and the end of the connection
    meet, librdkafka forgets the last broker that it knows, and stops the timer that would bring it back: it is silent for ever
    (https://github.com/confluentinc/librdkafka/issues/5301, open; `python -m tests.experiments.lost` counts 38 of 120 consumers).
    So who reads for long makes a new consumer, and goes on where the lost one was.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._is_down = False
        self._made_at = monotonic()
        super().__init__({**config, "error_cb": self._told}, logger=logging.getLogger(LIBRDKAFKA))

    @property
    def lost(self) -> bool:
        """Whether it is to be given up; known after a ``poll`` or ``consume``."""
        return self._is_down and monotonic() - self._made_at > KEPT_S

    def _told(self, error: KafkaError) -> None:
        # All else the library mends, or tells with a message.
        if error.code() == _ALL_DOWN:
            self._is_down = True
