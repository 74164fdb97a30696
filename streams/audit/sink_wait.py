"""How far the sink of a deployment is, and waiting until it has written all that is committed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from schemas.registry import DEBTOR_SOURCES, TOPICS
from streams.errors import UserError
from streams.kafka.admin import admin_client
from streams.kafka.read import offsets
from streams.kafka.topics import full_name
from streams.recompute.journal import Log
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
    asked = f"""SELECT topic, partition, argMax(next_offset, written_at) AS next FROM sink_positions
    WHERE cluster_id = '{cluster}' GROUP BY topic, partition"""  # noqa: S608 - told by the broker
    return {(row["topic"], int(row["partition"])): int(row["next"]) for row in clickhouse.rows(asked)}


def is_shared(clickhouse: ClickHouse) -> bool:
    """Whether several deployments write into these tables: then rows that are not of one may be of another."""
    return len(clickhouse.rows("SELECT DISTINCT prefix FROM ticks")) > 1


def wait_for_sink(
    settings: Settings, clickhouse: ClickHouse, partitions: Sequence[int], bar: Bar, topics: Sequence[str] = _SINK_READS
) -> None:
    """Until the sink has written all that is committed now. Raises UserError when it does not get there."""
    places = [(full_name(settings.prefix, t), p) for t in topics for p in own_partitions(t, partitions)]
    ends = offsets(settings.for_librdkafka(), places)
    deadline = time.monotonic() + SINK_PATIENCE_S
    while True:
        reached = sink_positions(settings, clickhouse)
        behind = {place: end for place, end in ends.items() if reached.get(place, 0) < end}
        # Markers at the end of a log are passed only by a sink that met that end.
        behind = {place: end for place, end in behind.items() if _holds_records(settings, place, reached.get(place, 0), end)}
        if not behind:
            bar.say("")
            return
        (topic, partition), end = next(iter(behind.items()))
        if time.monotonic() > deadline:
            raise UserError(
                f"the sink is behind: ClickHouse has {topic}/{partition} up to {reached.get((topic, partition), 0)}, and the log"
                f" ends at {end}. Is `duewatch sink` running on this prefix and this ClickHouse?"
            )
        bar.say(f"waiting for the sink, {len(behind)} partitions behind")
        time.sleep(POLL_S)


def own_partitions(topic: str, partitions: Sequence[int]) -> Sequence[int]:
    """Those of a topic among the audited ones; a topic with one partition is always looked at."""
    return [0] if TOPICS[topic].partitions == 1 else partitions


def _holds_records(settings: Settings, place: tuple[str, int], start: int, end: int) -> bool:
    with Log(settings, place[0], place[1], start) as records:
        return bool(records.take(start, end))
