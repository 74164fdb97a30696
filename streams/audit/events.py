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
from streams.engine.restore import offsets
from streams.kafka.topics import full_name
from streams.recompute.difference import ABSENT, Difference, compare_fields, read_json, shown
from streams.recompute.journal import Log, LoggedRecord
from streams.terminal.progress import Bar

if TYPE_CHECKING:
    from streams.settings import Settings

INBOUND = tuple(name for name, topic in TOPICS.items() if topic.direction == "in")


def audit_events(settings: Settings, clickhouse: ClickHouse, partitions: Sequence[int], bar: Bar) -> tuple[list[Difference], int]:
    """Compare the view ``events`` with the log as far as the sink has got: each once, none missing, none altered."""
    positions = sink_positions(settings, clickhouse)
    dead = {int(row["record"]) for row in clickhouse.rows("SELECT DISTINCT toString(record) AS record FROM dead_letters_raw")}
    shared = is_shared(clickhouse)
    found: list[Difference] = []
    count = 0
    # Asked at once: most partitions of most topics are empty, and a consumer for each would take longer than all the rest.
    places = [(full_name(settings.prefix, topic), p) for topic in INBOUND for p in own_partitions(topic, partitions)]
    firsts = offsets(settings.for_librdkafka(), places, first=True)
    for topic in INBOUND:
        own = own_partitions(topic, partitions)
        table = _Events(clickhouse, topic, own)
        found += table.twice
        for partition in own:
            name = full_name(settings.prefix, topic)
            first, end = firsts[name, partition], positions.get((name, partition), 0)
            if first >= end:
                continue
            with Log(settings, name, partition) as records:
                for read in records.each(first, end):
                    count += 1
                    found += table.compare(read, partition, dead)
                    bar.advance(1)
            # A compacted log loses what was replaced; and another deployment may write into the same tables.
            if TOPICS[topic].cleanup != "compact" and not shared:
                found += table.unknown(partition, first, end)
    return found, count


@dataclass(slots=True)
class _Row:
    partition: int
    offset: int
    customer: str
    crc: int
    seen: bool = False


class _Events:
    """ClickHouse's rows of a topic."""

    def __init__(self, clickhouse: ClickHouse, topic: str, partitions: Sequence[int]) -> None:
        self._clickhouse, self._topic = clickhouse, topic
        self._rows: dict[tuple[str, int], _Row] = {}
        self.twice: list[Difference] = []
        among = ", ".join(map(str, partitions))
        asked = f"""SELECT id, toString(hash) AS hash, partition, toString(offset) AS offset, customer_id, CRC32(data) AS crc
        FROM events WHERE topic = '{topic}' AND partition IN ({among})"""  # noqa: S608 - names and numbers of ours
        for row in clickhouse.rows(asked):
            key = (row["id"], int(row["hash"]))
            if key in self._rows:
                self.twice.append(Difference("events", row["customer_id"], f"{topic} {row['id']}", "rows", "1", "2 or more"))
            self._rows[key] = _Row(int(row["partition"]), int(row["offset"]), row["customer_id"], int(row["crc"]))

    def compare(self, read: LoggedRecord, partition: int, dead: Collection[int]) -> Iterator[Difference]:
        """One record of the log."""
        if read.value is None or identity(self._topic, partition, read.key, read.headers, read.value) in dead:
            return
        record = SinkRecord(self._topic, partition, read.offset, read.key, read.value, read.headers)
        ident = next((text.decode(errors="replace") for name, text in read.headers if name == "ce_id"), "")
        row = self._rows.get((ident, hash_of(read.value)))
        if row is None:  # it has no such row, is a structured event, or cannot be read: then the worker makes a dead letter of it
            told = next((values for table, values in rows_of(record) if table == "events_raw"), None)
            if told is None:
                return
            ident = told[3]
            row = self._rows.get((ident, told[4]))
        where = f"{self._topic}/{partition}/{read.offset}"
        customer = (read.key or b"").decode(errors="replace")
        if row is None:
            yield Difference("events", customer, where, "id", ident, ABSENT)
            return
        row.seen = True
        if row.crc != zlib.crc32(read.value):
            yield from self._altered(customer, where, ident, read.value)
        if TOPICS[self._topic].key == "customer" and row.customer != customer:
            yield Difference("events", customer, where, "customer_id", customer, row.customer)

    def _altered(self, customer: str, where: str, ident: str, value: bytes) -> Iterator[Difference]:
        asked = f"SELECT data FROM events WHERE topic = '{self._topic}' AND id = '{escaped(ident)}' LIMIT 1"  # noqa: S608
        data = next((row["data"] for row in self._clickhouse.rows(asked)), "")
        for name, ours, theirs in list(compare_fields(read_json(value), read_json(data.encode()))) or [
            ("data", repr(value), repr(data))
        ]:
            yield Difference("events", customer, where, name, shown(ours), shown(theirs))

    def unknown(self, partition: int, first: int, end: int) -> Iterator[Difference]:
        """Rows that no record of the log accounts for."""
        for (ident, _), row in self._rows.items():
            if row.partition == partition and not row.seen and first <= row.offset < end:
                yield Difference("events", row.customer, f"{self._topic}/{partition}/{row.offset}", "id", ABSENT, ident)
