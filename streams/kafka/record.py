"""What a record of Kafka is to whoever folds it, however it was read."""

from __future__ import annotations

from typing import Any, Protocol


class KafkaRecord(Protocol):
    """A record as it lies in a partition: fetched live, read from a log, or made by a test."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Any: ...
    @property
    def timestamp(self) -> int: ...
