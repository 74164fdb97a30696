"""How far a deployment's sink is, and wait until it has written what is committed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from schemas.registry import DEBTOR_SOURCES, TOPICS
from streams.errors import UserError
from streams.kafka.admin import admin_client
from streams.kafka.log import Log
from streams.kafka.read import offsets
from streams.kafka.topics import full_name
from streams.terminal.progress import Bar

if TYPE_CHECKING:
    from streams.clickhouse.query import ClickHouse
    from streams.settings import Settings

SINK_PATIENCE_S = 60.0
POLL_S = 0.5
_SINK_READS = (*DEBTOR_SOURCES, "limit-changes", "limit-proposals", "dead-letters")


def sink_positions(settings: Settings, clickhouse: ClickHouse) -> dict[tuple[str, int], int]:
    """(topic with prefix, partition) -> how far the sink has got on this cluster."""
    cluster = admin_client(settings.for_librdkafka()).list_topics(timeout=10.0).cluster_id
    sql = f"""SELECT topic, partition, argMax(next_offset, written_at) AS next FROM sink_positions
    WHERE cluster_id = '{cluster}' GROUP BY topic, partition"""  # noqa: S608 - the id is the broker's
    return {(row["topic"], int(row["partition"])): int(row["next"]) for row in clickhouse.rows(sql)}


def is_shared(clickhouse: ClickHouse) -> bool:
    """Whether several deployments write into these tables: then a row need not be of the deployment that is audited."""
    return len(clickhouse.rows("SELECT DISTINCT prefix FROM ticks")) > 1


def wait_for_sink(
    settings: Settings, clickhouse: ClickHouse, partitions: Sequence[int], bar: Bar, topics: Sequence[str] = _SINK_READS
) -> None:
    """Wait until the sink has written all that is committed now. Raises UserError when it does not get there."""
    logs = [(full_name(settings.prefix, t), p) for t in topics for p in own_partitions(t, partitions)]
    ends = offsets(settings.for_librdkafka(), logs)
    deadline = time.monotonic() + SINK_PATIENCE_S
    while True:
        positions = sink_positions(settings, clickhouse)
        behind = {log: end for log, end in ends.items() if positions.get(log, 0) < end}
        # Markers at the end of a log are passed only by a sink that met that end.
        behind = {log: end for log, end in behind.items() if _has_records(settings, log, positions.get(log, 0), end)}
        if not behind:
            bar.say("")
            return
        (topic, partition), end = next(iter(behind.items()))
        if time.monotonic() > deadline:
            raise UserError(
                f"the sink is behind: ClickHouse has {topic}/{partition} up to {positions.get((topic, partition), 0)}, and"
                f" the log ends at {end}. Is `duewatch sink` running on this prefix and this ClickHouse?"
            )
        bar.say(f"waiting for the sink, {len(behind)} partitions behind")
        time.sleep(POLL_S)


def own_partitions(topic: str, partitions: Sequence[int]) -> Sequence[int]:
    """A topic's partitions among the audited ones; a topic with only one is always audited."""
    return [0] if TOPICS[topic].partitions == 1 else partitions


def _has_records(settings: Settings, log: tuple[str, int], start: int, end: int) -> bool:
    with Log(settings, log[0], log[1], start) as records:
        return next(records.records(start, end), None) is not None
