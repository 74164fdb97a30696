"""The one writer of the clock's topics: ticks and contexts, on every partition in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException

from schemas.base import Contract
from schemas.cloudevents import headers_of
from schemas.events.clock import ContextSet, Ticked
from schemas.events.envelope import Output
from schemas.ids import stable_id
from streams.kafka.producer import fenced_producer
from streams.kafka.topics import full_name

if TYPE_CHECKING:
    from confluent_kafka import Producer

    from streams.settings import Settings

COMMIT_TIMEOUT_S = 10.0
_FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001 - the library's spelling


class FencedError(Exception):
    """Another clock of the same prefix has started; this one must not write any more."""


class ClockWriter:
    """Writes ``clock`` and ``clock-single``; a new writer fences those before it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._version: str | None = None
        self._is_open = False
        timeout_ms = int(1000 * settings.transaction_timeout_s)
        self._producer = fenced_producer(settings.for_librdkafka(), full_name(settings.prefix, "clock"), timeout_ms)

    def begin(self) -> Producer:
        """Begin the next tick's transaction ahead of ``write``: what is sent through the producer until then is part of it."""
        self._producer.begin_transaction()
        self._is_open = True
        return self._producer

    def write(
        self,
        number: int,
        time: datetime,
        ends: Sequence[Mapping[str, int]],
        single_ends: Mapping[str, int],
        context: ContextSet | None,
        *,
        step: int = -1,
        ends_ahead: Sequence[Mapping[str, int]] | None = None,
        last: bool = False,
    ) -> None:
        """Write the context, if it is another one than before, then the tick, on every partition; all or nothing.

        ``ends`` and ``ends_ahead`` by partition: where the sources end below the tick, and with the step after it. Raises
        FencedError, or KafkaException when the outcome is unknown: then this writer must not be used any more.
        """
        cuts = [("clock", partition, dict(own)) for partition, own in enumerate(ends)]
        cuts.append(("clock-single", 0, dict(single_ends)))
        changed = context is not None and context.version != self._version
        text = context.model_dump_json() if context is not None and changed else ""
        try:
            if not self._is_open:
                self.begin()
            for topic, partition, own in cuts:
                if context is not None and changed:
                    self._produce(topic, partition, "duewatch.context.set.v1", number, time, context, text)
                next_ends = dict(ends_ahead[partition]) if ends_ahead and topic == "clock" else {}
                tick = Ticked(number=number, time=time, ends=own, step=step, announced=next_ends, last=last)
                self._produce(topic, partition, "duewatch.clock.ticked.v1", number, time, tick, tick.model_dump_json())
            self._producer.commit_transaction(COMMIT_TIMEOUT_S)
            self._is_open = False
        except KafkaException as error:
            if error.args[0].code() in _FENCED:
                raise FencedError from error
            raise
        if context is not None:
            self._version = context.version

    def _produce(self, topic: str, partition: int, name: str, number: int, time: datetime, data: Contract, text: str) -> None:
        event_id = stable_id(name, self._settings.prefix, topic, partition, number)
        headers = headers_of(Output(topic, str(partition), name, event_id, time, time, data))
        full = full_name(self._settings.prefix, topic)
        self._producer.produce(full, value=text.encode(), key=str(partition), partition=partition, headers=list(headers))
