"""Where the sink starts: the topics with their ids, and what an earlier run has written."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from schemas.clickhouse.rows import Row, position_row
from streams.clickhouse.client import quoted, with_retries
from streams.errors import UserError
from streams.kafka.topics import full_name
from streams.sink.progress import NextOffset, Progress

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from streams.settings import Settings

log = structlog.get_logger(__name__)

TOPICS_TIMEOUT_S = 60.0
METADATA_TIMEOUT_S = 10.0
_NO_IDS = {KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION}  # noqa: SLF001 - the library's spelling


class SinkError(UserError):
    """The sink cannot start; the message says why and what to do."""


def wait_for_topics(admin: AdminClient, topics: Collection[str], bootstrap: str, stop: threading.Event) -> dict[str, int]:
    """Topic -> its partitions. Somebody else creates the topics, perhaps this very moment.

    Raises SinkError when one is still missing after a minute, or when ``stop`` is set before.
    """
    deadline, missing = time.monotonic() + TOPICS_TIMEOUT_S, set(topics)
    while not stop.is_set():
        try:
            metadata = admin.list_topics(timeout=METADATA_TIMEOUT_S).topics
        except KafkaException as error:
            metadata = {}
            log.warning("kafka.away", error=str(error))
        partitions = {name: len(topic.partitions) for name, topic in metadata.items() if topic.error is None and topic.partitions}
        missing = set(topics) - set(partitions)
        if not missing:
            return {name: partitions[name] for name in topics}
        if time.monotonic() > deadline:
            break
        stop.wait(0.2)
    raise SinkError(f"topics are missing on {bootstrap}: {', '.join(sorted(missing))}. Create them: duewatch topics")


def topic_ids(admin: AdminClient, topics: list[str]) -> dict[str, str]:
    """Topic -> the broker's id of it, empty where the broker has none: a topic made anew is another. Raises KafkaException."""
    try:
        descriptions = admin.describe_topics(TopicCollection(topics), request_timeout=METADATA_TIMEOUT_S)
        return {name: str(future.result().topic_id or "") for name, future in descriptions.items()}
    except KafkaException as error:
        if error.args[0].code() in _NO_IDS:
            return dict.fromkeys(topics, "")
        raise  # taken for "none", every position would be void, and years be read again


class StoredPositions:
    """What earlier runs have left in ClickHouse: how far they had written, of this very cluster and these very topics."""

    def __init__(
        self, settings: Settings, client: Client, stop: threading.Event, cluster_id: str = "", ids: dict[str, str] | None = None
    ) -> None:
        self._settings, self._client, self._stop = settings, client, stop
        self._cluster_id, self._topic_ids = cluster_id, ids or {}

    def read(self) -> dict[tuple[str, int], int]:
        """(topic, partition) -> next offset."""
        rows = self._query(
            "SELECT topic_id, topic, partition, argMax(next_offset, written_at) FROM {database}.sink_positions "
            "WHERE cluster_id = {cluster:String} GROUP BY topic_id, topic, partition",
            {"cluster": self._cluster_id},
        )
        return {(topic, n): offset for topic_id, topic, n, offset in rows if self._topic_ids.get(topic) == topic_id}

    def recall(self, progress: Progress) -> None:
        """Report ticks and journal as far as an earlier run wrote them."""
        prefix = {"prefix": self._settings.prefix}
        ticks = self._query(
            "SELECT partition, number, toString(time), step, last FROM {database}.ticks FINAL WHERE prefix = {prefix:String}",
            prefix,
        )
        for partition, number, at, step, last in ticks:
            progress.recall_tick(partition, number, at.replace(" ", "T") + "Z", step, last)
        journal = self._query(
            "SELECT agent, agent_partition, max(tick) FROM {database}.journal_raw "
            "WHERE prefix = {prefix:String} AND tick IS NOT NULL GROUP BY agent, agent_partition",
            prefix,
        )
        for agent, partition, tick in journal:
            progress.recall_journal(agent, partition, tick)

    def rows(self, offsets: Iterable[NextOffset]) -> list[Row]:
        """Rows that say so of these offsets."""
        now = datetime.now(UTC)
        rows = []
        for topic, partition, offset in offsets:
            name = full_name(self._settings.prefix, topic)
            rows.append(position_row(self._cluster_id, self._topic_ids.get(name, ""), name, partition, offset, now))
        return rows

    def _query(self, sql: str, parameters: dict[str, str]) -> list[Any]:
        text = sql.replace("{database}", quoted(self._settings.database))
        result = with_retries(lambda: self._client.query(text, parameters=parameters), self._stop, log_retry)
        return list(result.result_rows)


def log_retry(error: Exception, pause_s: float) -> None:
    """Log that ClickHouse is away."""
    log.warning("clickhouse.away", error=str(error)[:300], again_in_s=pause_s)
