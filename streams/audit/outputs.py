"""What went out, as analysts read it, against the fold: each output of it once and as it is made again, and none besides."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.clickhouse.rows import SinkRecord, rows_of
from schemas.clickhouse.tables import TABLES
from schemas.events.envelope import Output
from schemas.registry import TOPICS
from streams.audit.sink_wait import own_partitions, wait_for_sink
from streams.clickhouse.query import ClickHouse, escaped
from streams.engine.restore import offsets
from streams.explain.from_clickhouse import is_alike
from streams.kafka.codec import encode
from streams.kafka.topics import full_name
from streams.recompute.difference import ABSENT, Difference, shown
from streams.terminal.progress import Bar

if TYPE_CHECKING:
    from streams.settings import Settings

PAGE = 4_000
"""Rows that are asked for at once: of scores about 40 MB."""
VIEWS: Mapping[str, Mapping[str, str]] = {
    "debtor": {
        "scores": "scores",
        "alerts": "alerts",
        "limit_changes": "limit-changes",
        "limit_proposals": "limit-proposals",
        "training_examples": "training-examples",
        "failed_deadlines": "dead-letters",
    },
    "learner": {"model_quality": "model-quality", "model_alerts": "model-quality"},
}
"""Agent -> view -> the topic that it is filled from. ``models`` is compacted: the sink need not have seen each."""
KEYS = {"model_quality": ("target", "segment", "scorer", "day")}
"""Views that keep the last of several outputs, by these columns; all others keep each id."""

Row = Mapping[str, Any]
Judge = Callable[[str], bool]
"""Whether anything can be said of a debtor (or the agent itself)."""


class Made(NamedTuple):
    """An output as a row. ``judged``: whether its content is compared, too."""

    subject: str
    row: Row
    judged: bool


class View:
    """Holds what was made against one view. Both come in the order of the log, so little of either waits for the other.

    ``page`` gives the next rows, PAGE at most, behind an offset and id. ``holder``: whom rows are about that name no debtor.
    """

    def __init__(self, name: str, holder: str, page: Callable[[int, str], Sequence[Row]]) -> None:
        self._name, self._holder, self._page = name, holder, page
        self._made: dict[Hashable, Made] = {}
        self._there: dict[Hashable, Row] = {}
        self._taken, self._last, self._ended = 0, (0, ""), False

    def take(self, made: Made) -> Iterator[Difference]:
        """One output more. Rows are asked for at the same pace."""
        self._made[self._key(made.row)] = made
        self._taken += 1
        if self._taken % PAGE == 0:
            yield from self._match()

    def rest(self) -> Iterator[Difference]:
        """There are no more outputs: what has no row is missing."""
        yield from self._match()
        while not self._ended:
            yield from self._match()

    def unknown(self, since: int, end: int, judge: Judge) -> Iterator[Difference]:
        """Rows that no output accounts for. Those at [since, end) of the log may be of later slices than were folded."""
        for key, row in self._there.items():
            subject = row.get("customer_id") or self._holder
            if not since <= int(row["offset"]) < end and judge(subject):
                made = self._made.get(key)
                yield Difference("outputs", subject, self._where(row), "id", made.row["id"] if made else ABSENT, row["id"])

    def _match(self) -> Iterator[Difference]:
        page = () if self._ended else self._page(*self._last)
        self._ended = len(page) < PAGE
        for row in page:
            key, self._last = self._key(row), (int(row["offset"]), row["id"])
            if key in self._there:
                yield Difference("outputs", row.get("customer_id") or self._holder, self._where(row), "rows", "1", "2 or more")
            else:
                self._there[key] = row
        # Where a view keeps the last of several, its id may be that of an output to come.
        both = [key for key, made in self._made.items() if key in self._there and self._there[key]["id"] == made.row["id"]]
        for key in both:
            made, row = self._made.pop(key), self._there.pop(key)
            if made.judged:
                yield from compare_output(self._where(row), made, row)
        if self._ended:
            for key in [key for key in self._made if key not in self._there]:
                made = self._made.pop(key)
                if made.judged:
                    yield Difference("outputs", made.subject, self._where(made.row), "id", made.row["id"], ABSENT)

    def _key(self, row: Row) -> Hashable:
        return tuple(row[column] for column in KEYS[self._name]) if self._name in KEYS else row["id"]

    def _where(self, row: Row) -> str:
        return f"{self._name} {row['id']}"


def compare_output(where: str, made: Made, row: Row) -> Iterator[Difference]:
    """Column by column."""
    for name, ours in made.row.items():
        theirs = row.get(name)
        # Where a column cannot be null, null is written as its default.
        if theirs == ours or is_alike(theirs, ours) or (ours is None and isinstance(theirs, dict) and not any(theirs.values())):
            continue
        yield Difference("outputs", made.subject, where, name, shown(ours), shown(theirs))


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
        self._topics = {topic: own_partitions(topic, [partition])[0] for topic in VIEWS[agent].values()}
        self._views = {name: View(name, self._holder, self._pages(name)) for name in VIEWS[agent]}
        self._since = self._ends()
        self.judged, self.passed = 0, 0
        """How many were compared, and how many were not."""

    def wait(self, bar: Bar) -> None:
        """Until ClickHouse has what was written so far. Raises UserError where the sink does not get there."""
        wait_for_sink(self._settings, self._clickhouse, [self._partition], bar, tuple(self._topics))

    def compare(self, outputs: Sequence[Output], judge: Judge) -> Iterator[Difference]:
        """Those of a slice."""
        for output in outputs:
            if output.topic in self._topics and (made := row_of(output, self._topics[output.topic])):
                view, row = made
                subject = row.get("customer_id") or self._holder
                judged = judge(subject)
                self.judged += judged
                self.passed += not judged
                yield from self._views[view].take(Made(subject, row, judged))

    def rest(self, judge: Judge) -> Iterator[Difference]:
        """After the last slice."""
        for view in self._views.values():
            yield from view.rest()
        ends = self._ends()
        for name, view in self._views.items():
            topic = VIEWS[self._agent][name]
            yield from view.unknown(self._since[topic], ends[topic], judge)

    def _ends(self) -> dict[str, int]:
        places = {topic: (full_name(self._settings.prefix, topic), number) for topic, number in self._topics.items()}
        ends = offsets(self._settings.for_librdkafka(), list(places.values()))
        return {topic: ends[place] for topic, place in places.items()}

    def _pages(self, view: str) -> Callable[[int, str], Sequence[Row]]:
        # By the debtor, not by the partition that the row tells: that of a made-up row may be any.
        keyed = any(TOPICS[topic].key == "customer" for topic in VIEWS[self._agent].values())
        own = f"kafkaMurmurHash(customer_id) % {self._settings.partitions} = {self._partition}" if keyed else "1"

        def page(offset: int, ident: str) -> Sequence[Row]:
            asked = f"""SELECT * FROM {view} WHERE {own} AND (`offset`, id) > ({offset}, '{escaped(ident)}')
            ORDER BY `offset`, id LIMIT {PAGE}"""  # noqa: S608 - names and numbers of ours
            return self._clickhouse.rows(asked)

        return page
