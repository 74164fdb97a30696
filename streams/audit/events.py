"""The view ``events`` in ClickHouse against the log: each event once, none missing, none altered, none made up."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.clickhouse.rows import SinkRecord, hash_of, identity, rows_of
from schemas.registry import TOPICS
from streams.audit.sink_wait import is_shared, own_partitions, sink_positions
from streams.clickhouse.query import ClickHouse, escaped
from streams.kafka.log import Log, LoggedRecord
from streams.kafka.read import offsets
from streams.kafka.topics import full_name
from streams.recompute.difference import ABSENT, Difference, compare_fields, display, read_json
from streams.terminal.progress import Bar

if TYPE_CHECKING:
    from streams.settings import Settings

INBOUND = tuple(name for name, topic in TOPICS.items() if topic.direction == "in")


def audit_events(settings: Settings, clickhouse: ClickHouse, partitions: Sequence[int], bar: Bar) -> tuple[list[Difference], int]:
    """Compare the view ``events`` with the log as far as the sink has got; the differences, and how many events were compared."""
    positions = sink_positions(settings, clickhouse)
    dead = {int(row["record"]) for row in clickhouse.rows("SELECT DISTINCT toString(record) AS record FROM dead_letters_raw")}
    shared = is_shared(clickhouse)
    differences: list[Difference] = []
    count = 0
    # In one request: most partitions of most topics are empty, and a consumer for each would take longer than all the rest.
    logs = [(full_name(settings.prefix, topic), p) for topic in INBOUND for p in own_partitions(topic, partitions)]
    first_offsets = offsets(settings.for_librdkafka(), logs, first=True)
    for topic in INBOUND:
        own, name = own_partitions(topic, partitions), full_name(settings.prefix, topic)
        view = _EventsView(clickhouse, topic, own)
        differences += view.duplicates
        for partition in own:
            first, end = first_offsets[name, partition], positions.get((name, partition), 0)
            if first >= end:
                continue
            with Log(settings, name, partition) as log:
                for record in log.records(first, end):
                    count += 1
                    differences += view.compare(record, partition, dead)
                    bar.advance(1)
            # A compacted log loses what was replaced; and another deployment may write into the same tables.
            if TOPICS[topic].cleanup != "compact" and not shared:
                differences += view.unknown(partition, first, end)
    return differences, count


@dataclass(slots=True)
class _EventRow:
    """A row of the view; ``matched``: the log has its record."""

    partition: int
    offset: int
    customer: str
    crc: int
    matched: bool = False


class _EventsView:
    """ClickHouse's rows of a topic."""

    def __init__(self, clickhouse: ClickHouse, topic: str, partitions: Sequence[int]) -> None:
        self._clickhouse, self._topic = clickhouse, topic
        self._rows: dict[tuple[str, int], _EventRow] = {}
        self.duplicates: list[Difference] = []
        numbers = ", ".join(map(str, partitions))
        sql = f"""SELECT id, toString(hash) AS hash, partition, toString(offset) AS offset, customer_id, CRC32(data) AS crc
        FROM events WHERE topic = '{topic}' AND partition IN ({numbers})"""  # noqa: S608 - names and numbers of ours
        for row in clickhouse.rows(sql):
            key = (row["id"], int(row["hash"]))
            if key in self._rows:
                where = f"{topic} {row['id']}"
                self.duplicates.append(Difference("events", row["customer_id"], where, "rows", "1", "2 or more"))
            self._rows[key] = _EventRow(int(row["partition"]), int(row["offset"]), row["customer_id"], int(row["crc"]))

    def compare(self, logged: LoggedRecord, partition: int, dead: Collection[int]) -> Iterator[Difference]:
        """Compare one record of the log with its row; those in ``dead`` are dead letters and have none."""
        value = logged.value
        if value is None or identity(self._topic, partition, logged.key, logged.headers, value) in dead:
            return
        event_id, row = self._find(logged, value, partition)
        if event_id is None:
            return
        where = f"{self._topic}/{partition}/{logged.offset}"
        customer = (logged.key or b"").decode(errors="replace")
        if row is None:
            yield Difference("events", customer, where, "id", event_id, ABSENT)
            return
        row.matched = True
        if row.crc != zlib.crc32(value):
            yield from self._altered(customer, where, event_id, value)
        if TOPICS[self._topic].key == "customer" and row.customer != customer:
            yield Difference("events", customer, where, "customer_id", customer, row.customer)

    def _find(self, logged: LoggedRecord, value: bytes, partition: int) -> tuple[str | None, _EventRow | None]:
        """Id and row of a record's event; no id where the record cannot be read: the worker makes a dead letter of it."""
        event_id = next((text.decode(errors="replace") for name, text in logged.headers if name == "ce_id"), "")
        row = self._rows.get((event_id, hash_of(value)))
        if row is not None:
            return event_id, row
        # Missing, or a structured event, whose row the sink makes of the envelope.
        record = SinkRecord(self._topic, partition, logged.offset, logged.key, value, logged.headers)
        values = next((values for table, values in rows_of(record) if table == "events_raw"), None)
        if values is None:
            return None, None
        return values[3], self._rows.get((values[3], values[4]))

    def _altered(self, customer: str, where: str, event_id: str, value: bytes) -> Iterator[Difference]:
        sql = f"SELECT data FROM events WHERE topic = '{self._topic}' AND id = '{escaped(event_id)}' LIMIT 1"  # noqa: S608
        data = next((row["data"] for row in self._clickhouse.rows(sql)), "")
        fields = list(compare_fields(read_json(value), read_json(data.encode())))
        for name, expected, actual in fields or [("data", repr(value), repr(data))]:
            yield Difference("events", customer, where, name, display(expected), display(actual))

    def unknown(self, partition: int, first: int, end: int) -> Iterator[Difference]:
        """Rows that no record of the log accounts for."""
        for (event_id, _), row in self._rows.items():
            if row.partition == partition and not row.matched and first <= row.offset < end:
                yield Difference("events", row.customer, f"{self._topic}/{partition}/{row.offset}", "id", ABSENT, event_id)
