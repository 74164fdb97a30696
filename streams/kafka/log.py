"""One partition of a topic as a log: its committed records in order, each read once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Self

from confluent_kafka import KafkaException, TopicPartition

from streams.errors import UserError
from streams.kafka.headers import read_headers
from streams.kafka.read import is_end, reader

if TYPE_CHECKING:
    from confluent_kafka import Message

    from streams.settings import Settings

BATCH = 2_000
POLL_S = 0.03
SILENCE_S = 60.0
QUEUED_KBYTES = "16384"
"""Read ahead per topic: several logs are read side by side, and memory stays bounded."""


class LogError(UserError):
    """A log does not hold what is needed of it; the message says where."""


class LoggedRecord(NamedTuple):
    """A record as the log holds it; ``timestamp`` in milliseconds, as the broker keeps it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp: int

    @classmethod
    def from_message(cls, message: Message) -> LoggedRecord:
        """The record in a consumer's message."""
        return cls(message.offset() or 0, message.key(), message.value(), read_headers(message), message.timestamp()[1])


class Log:
    """One partition of a topic, read-committed and in order. ``name`` with the prefix. A context manager."""

    def __init__(self, settings: Settings, name: str, partition: int, start: int = 0) -> None:
        self.name, self.partition = name, partition
        self._consumer = reader({**settings.for_librdkafka(), "queued.max.messages.kbytes": QUEUED_KBYTES})
        self._consumer.assign([TopicPartition(self.name, partition, start)])
        self._records: deque[LoggedRecord] = deque()
        self._end = -1
        """Where the log ended when its end was last met."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def label(self) -> str:
        """Topic and partition, as messages name the log."""
        return f"{self.name}/{self.partition}"

    def close(self) -> None:
        self._consumer.close()

    def first_offset(self) -> int:
        """The oldest offset that the log still has."""
        return self._consumer.get_watermark_offsets(TopicPartition(self.name, self.partition), timeout=10.0)[0]

    def records(self, start: int, end: int) -> Iterator[LoggedRecord]:
        """The records in [start, end), one by one; ranges must ascend. Raises LogError when they do not come."""
        while start < end and (record := self.next_record(end)) is not None:
            if record.offset >= end:
                self._records.appendleft(record)
                return
            if record.offset >= start:
                yield record

    def next_record(self, end: int = 0) -> LoggedRecord | None:
        """The next record; None where the log ends at or behind ``end``. Raises LogError when the broker is silent."""
        deadline = monotonic() + SILENCE_S
        while not self._records:
            if self._end >= end:
                return None
            for message in self._consumer.consume(BATCH, POLL_S):
                self._buffer(message)
            if not self._records and monotonic() > deadline:
                raise LogError(
                    f"{self.label} returns nothing beyond offset {self._end}, and {end} is needed: the broker does not answer,"
                    " or the end of the log was lost"
                )
        return self._records.popleft()

    def _buffer(self, message: Message) -> None:
        error = message.error()
        if error is None:
            self._records.append(LoggedRecord.from_message(message))
        elif is_end(error):
            self._end = message.offset() or 0
        else:
            raise KafkaException(error)
