"""Published outputs, as analysts read them in ClickHouse, against the fold: each output once, unaltered, and none made up."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from agents.registry import AGENTS
from schemas.clickhouse.rows import SinkRecord, rows_of
from schemas.clickhouse.tables import TABLES
from schemas.events.envelope import Output
from schemas.registry import TOPICS
from streams.audit.sink_wait import own_partitions, wait_for_sink
from streams.clickhouse.query import ClickHouse, escaped
from streams.kafka.codec import encode
from streams.kafka.read import offsets
from streams.kafka.topics import full_name
from streams.recompute.difference import ABSENT, Difference, display, is_alike
from streams.terminal.progress import Bar

if TYPE_CHECKING:
    from streams.settings import Settings

PAGE = 4_000
"""Rows in one request: of scores about 40 MB."""
LATEST_BY = {"model_quality": ("target", "segment", "scorer", "day")}
"""Views that keep the last of several outputs, by these columns; all others keep each id."""

Row = Mapping[str, Any]
CanJudge = Callable[[str], bool]
"""Whether anything can be said of a debtor (or the agent itself)."""


class ExpectedRow(NamedTuple):
    """An output of the fold as a row. ``judged``: whether its content is compared, too."""

    subject: str
    row: Row
    judged: bool


class View:
    """Matches outputs of the fold with the rows of one view. Both come in the order of the log, so few wait for the other.

    ``fetch_page`` returns the next rows, PAGE at most, behind an offset and id. ``holder``: the subject of rows that name no
    debtor.
    """

    def __init__(self, name: str, holder: str, fetch_page: Callable[[int, str], Sequence[Row]]) -> None:
        self._name, self._holder, self._fetch_page = name, holder, fetch_page
        self._expected: dict[Hashable, ExpectedRow] = {}
        self._actual: dict[Hashable, Row] = {}
        self._count, self._last, self._is_read = 0, (0, ""), False

    def add(self, expected: ExpectedRow) -> Iterator[Difference]:
        """Take one output more. Rows are read at the same pace."""
        self._expected[self._key(expected.row)] = expected
        self._count += 1
        if self._count % PAGE == 0:
            yield from self._match()

    def finish(self) -> Iterator[Difference]:
        """Read the rest of the rows after the last output: an output without a row is missing."""
        yield from self._match()
        while not self._is_read:
            yield from self._match()

    def unknown(self, since: int, end: int, can_judge: CanJudge) -> Iterator[Difference]:
        """Rows that no output accounts for. Those at [since, end) of the log may be of later slices than were folded."""
        for key, row in self._actual.items():
            subject = row.get("customer_id") or self._holder
            if not since <= int(row["offset"]) < end and can_judge(subject):
                expected = self._expected.get(key)
                expected_id = expected.row["id"] if expected else ABSENT
                yield Difference("outputs", subject, self._where(row), "id", expected_id, row["id"])

    def _match(self) -> Iterator[Difference]:
        """Read a page, and compare what both sides have by now."""
        yield from self._read_page()
        # Where a view keeps the last of several, its id may be that of an output to come.
        actual = self._actual
        common_keys = [key for key, row in self._expected.items() if key in actual and actual[key]["id"] == row.row["id"]]
        for key in common_keys:
            expected, row = self._expected.pop(key), self._actual.pop(key)
            if expected.judged:
                yield from compare_output(self._where(row), expected, row)
        if self._is_read:
            for key in [key for key in self._expected if key not in self._actual]:
                expected = self._expected.pop(key)
                if expected.judged:
                    event_id = expected.row["id"]
                    yield Difference("outputs", expected.subject, self._where(expected.row), "id", event_id, ABSENT)

    def _read_page(self) -> Iterator[Difference]:
        page = () if self._is_read else self._fetch_page(*self._last)
        self._is_read = len(page) < PAGE
        for row in page:
            key, self._last = self._key(row), (int(row["offset"]), row["id"])
            if key in self._actual:
                yield Difference("outputs", row.get("customer_id") or self._holder, self._where(row), "rows", "1", "2 or more")
            else:
                self._actual[key] = row

    def _key(self, row: Row) -> Hashable:
        return tuple(row[column] for column in LATEST_BY[self._name]) if self._name in LATEST_BY else row["id"]

    def _where(self, row: Row) -> str:
        return f"{self._name} {row['id']}"


def compare_output(where: str, expected: ExpectedRow, row: Row) -> Iterator[Difference]:
    """Compare an output with its row, column by column."""
    for name, value in expected.row.items():
        actual = row.get(name)
        # Where a column cannot be null, null is written as its default.
        is_null = value is None and isinstance(actual, dict) and not any(actual.values())
        if actual == value or is_alike(actual, value) or is_null:
            continue
        yield Difference("outputs", expected.subject, where, name, display(value), display(actual))


def row_of(output: Output, partition: int) -> tuple[str, Row] | None:
    """View and row of an output, as the sink makes it; None where no view is compared. The offset is the broker's to give."""
    value, headers = encode(output)
    record = SinkRecord(output.topic, partition, 0, output.key.encode(), value, [(name, raw) for name, raw in headers])
    for table, values in rows_of(record):
        row = dict(zip(TABLES[table], values, strict=True))
        del row["offset"]
        return table.removesuffix("_raw"), row
    return None


class Outputs:
    """The outputs of one partition of an agent, against all its views.

    Made before the state is read: what is written from then on may be of later slices.
    """

    def __init__(self, settings: Settings, clickhouse: ClickHouse, agent: str, partition: int) -> None:
        self._settings, self._clickhouse, self._agent, self._partition = settings, clickhouse, agent, partition
        self._holder = f"{agent} {partition}"
        self._topics = {topic: own_partitions(topic, [partition])[0] for topic in AGENTS[agent].views.values()}
        self._views = {name: View(name, self._holder, self._page_reader(name)) for name in AGENTS[agent].views}
        self._since = self._end_offsets()
        self.judged, self.not_judged = 0, 0
        """How many were compared, and how many were not."""

    def wait(self, bar: Bar) -> None:
        """Wait until ClickHouse has what was written so far. Raises UserError where the sink does not get there."""
        if self._topics:
            wait_for_sink(self._settings, self._clickhouse, [self._partition], bar, tuple(self._topics))

    def compare(self, outputs: Sequence[Output], can_judge: CanJudge) -> Iterator[Difference]:
        """Compare the outputs of one slice."""
        for output in outputs:
            if output.topic in self._topics and (view_and_row := row_of(output, self._topics[output.topic])):
                view, row = view_and_row
                subject = row.get("customer_id") or self._holder
                judged = can_judge(subject)
                self.judged += judged
                self.not_judged += not judged
                yield from self._views[view].add(ExpectedRow(subject, row, judged))

    def finish(self, can_judge: CanJudge) -> Iterator[Difference]:
        """Compare what is left after the last slice: outputs without a row, and rows without an output."""
        for view in self._views.values():
            yield from view.finish()
        ends = self._end_offsets()
        for name, view in self._views.items():
            topic = AGENTS[self._agent].views[name]
            yield from view.unknown(self._since[topic], ends[topic], can_judge)

    def _end_offsets(self) -> dict[str, int]:
        """Topic -> where its log ends now."""
        logs = {topic: (full_name(self._settings.prefix, topic), number) for topic, number in self._topics.items()}
        ends = offsets(self._settings.for_librdkafka(), list(logs.values())) if logs else {}
        return {topic: ends[log] for topic, log in logs.items()}

    def _page_reader(self, view: str) -> Callable[[int, str], Sequence[Row]]:
        # By the debtor, not by the partition in the row: that of a made-up row may be any.
        keyed = any(TOPICS[topic].key == "customer" for topic in AGENTS[self._agent].views.values())
        own = f"kafkaMurmurHash(customer_id) % {self._settings.partitions} = {self._partition}" if keyed else "1"

        def fetch_page(offset: int, event_id: str) -> Sequence[Row]:
            sql = f"""SELECT * FROM {view} WHERE {own} AND (`offset`, id) > ({offset}, '{escaped(event_id)}')
            ORDER BY `offset`, id LIMIT {PAGE}"""  # noqa: S608 - names and numbers of ours
            return self._clickhouse.rows(sql)

        return fetch_page
