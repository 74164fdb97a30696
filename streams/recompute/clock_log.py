"""The clock's topic as the journal refers to it: the tick at an offset, the context of a version."""

from __future__ import annotations

from collections import deque

import msgspec

from schemas.events.clock import ContextSet, Ticked
from streams.kafka.log import Log, LogError, LoggedRecord

TICK_TYPE, CONTEXT_TYPE = (("ce_type", f"duewatch.{name}.v1".encode()) for name in ("clock.ticked", "context.set"))


class _VersionOnly(msgspec.Struct):
    """Of a context only its version: the whole is large, and most contexts were never in force."""

    version: str


class ClockLog:
    """Ticks and contexts in the order of their log; it only moves forward."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._ahead: deque[LoggedRecord] = deque()
        self._contexts: dict[str, bytes] = {}

    def tick_at(self, offset: int) -> Ticked:
        """Go to the tick at an offset. Raises LogError when it is not there."""
        while (record := self._next(offset + 1)) is not None and record.offset <= offset:
            self._remember_context(record)
            if record.offset == offset and TICK_TYPE in record.headers:
                return Ticked.model_validate_json(record.value or b"")
        raise self._missing(f"the tick at offset {offset}")

    def context(self, version: str) -> ContextSet:
        """The context of that version that came last, or comes next. Raises LogError when there is none."""
        while version not in self._contexts:
            record = self._next(0)
            if record is None:
                raise self._missing(f"the context {version}")
            self._remember_context(record)
        value = self._contexts[version]
        self._contexts.clear()
        return ContextSet.model_validate_json(value)

    def starts_a_replay(self) -> bool:
        """Whether the next tick is a replay's; it is only looked at, and read later."""
        while (record := self._log.next_record()) is not None:
            self._ahead.append(record)
            if TICK_TYPE in record.headers:
                return Ticked.model_validate_json(record.value or b"").step >= 0
        return False

    def _next(self, end: int) -> LoggedRecord | None:
        return self._ahead.popleft() if self._ahead else self._log.next_record(end)

    def _remember_context(self, record: LoggedRecord) -> None:
        if CONTEXT_TYPE in record.headers and record.value:
            self._contexts[msgspec.json.decode(record.value, type=_VersionOnly).version] = record.value

    def _missing(self, what: str) -> LogError:
        return LogError(
            f"{self._log.label} does not hold {what}, which the journal refers to: it begins at offset {self._log.first_offset()}"
        )
