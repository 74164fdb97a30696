"""How a record that cannot be applied becomes a dead letter: for the engine, and for a backtest that does without one."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from typing import Any, NamedTuple

from agents.version import CODE_VERSION
from schemas.events.envelope import Output, Rejection
from schemas.ids import stable_id
from schemas.outputs.operations import RecordRejected, truncate

MAX_REASON_LENGTH = 1_900


class Origin(NamedTuple):
    """Where a record lies: the deployment's prefix, the topic without it, partition and offset."""

    prefix: str
    topic: str
    partition: int
    offset: int


def dead_letter(
    origin: Origin,
    key: bytes | None,
    headers: Any,
    value: bytes | None,
    rejection: Rejection,
    *,
    recorded_at: datetime | None,
    now: datetime,
) -> Output:
    """The output for ``dead-letters``, with the record's bytes, or the first of them where they are too many.

    ``recorded_at``: when the record was written, None if it does not say; ``now``: the tick in force, which dates it then.
    """
    stored_key, stored_headers, stored_value = truncate(key, headers or (), value)
    is_cut = len(stored_value) < len(value or b"")
    suffix = f" (only the first {len(stored_value)} bytes are kept)" if is_cut else ""
    data = RecordRejected(
        topic=origin.topic,
        partition=origin.partition,
        offset=origin.offset,
        reason=rejection.reason[:MAX_REASON_LENGTH] + suffix,
        field=rejection.field,
        raw=b64encode(stored_value).decode(),
        key=None if stored_key is None else b64encode(stored_key).decode(),
        headers=tuple((name, b64encode(text).decode()) for name, text in stored_headers),
        recorded_at=recorded_at,
        code_version=CODE_VERSION,
    )
    letter_id = stable_id("dead-letter", *origin)
    at = recorded_at or now
    return Output("dead-letters", "", "duewatch.record.rejected.v1", letter_id, at, at, data)
