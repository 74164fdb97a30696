"""After the run: state, outputs, offsets and roll-ups held against what the logs themselves say."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import TopicPartition

from schemas.base import Contract
from schemas.ids import stable_id
from schemas.registry import DEBTOR_SOURCES, TOPICS
from streams.clickhouse.client import open_client
from streams.engine.keys import is_engine_key
from streams.engine.restore_process import read_rows, reader, to_the_end
from streams.kafka.codec import encode
from streams.kafka.topics import full_name, partitions_of
from streams.recompute.journal import RecomputedSlice, RefoldError, refold, take_rows
from tests.integration.support.ledgers import Oracle, recompute
from tests.integration.support.portfolio import header

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from confluent_kafka import Message

    from streams.settings import Settings

TOLD_AT_MOST = 20
SAMPLE = 400
DAYS = 6
OUTPUTS = tuple(
    name
    for name, topic in TOPICS.items()
    if topic.contracts and topic.direction != "in" and name not in {"clock", "clock-single", "journal", "dead-letters"}
)
TABLES = {
    "scores": "scores",
    "alerts": "alerts",
    "limit-changes": "limit_changes",
    "training-examples": "training_examples",
    "models": "models",
}
"""Output topic -> the view that holds it."""
AMOUNTS = (
    *("exposure", "open_amount", "unapplied", "overdue_amount", "not_due", "due_1_30", "due_31_60", "due_61_90", "due_over_90"),
    "sales_90d",
)
DSO = ("dso_standard", "dso_best_possible", "dso_add", "dso_countback")


@dataclass
class Findings:
    """What was looked at and what deviates, by check; ``deviations`` name the first ones."""

    looked_at: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    deviations: list[str] = field(default_factory=list)
    lost: int = 0
    twice: int = 0
    wrong_rows: int = 0
    wrong_cents: int = 0
    longest_outage_s: float = 0.0
    longest_outage: str = ""
    """Of which topic-partition, and from when on."""

    def waited(self, wait_ms: int, since_ms: int, place: str) -> None:
        """An event was applied so long after it had been sent."""
        if wait_ms > self.longest_outage_s * 1000:
            self.longest_outage_s = wait_ms / 1000
            self.longest_outage = f"{place}, from {datetime.fromtimestamp(since_ms / 1000, UTC):%H:%M:%S} UTC"

    def look(self, check: str, count: int) -> None:
        self.looked_at[check] += count
        self.wrong[check] += 0

    def tell(self, check: str, text: str, count: int = 1) -> None:
        self.wrong[check] += count
        if len(self.deviations) < TOLD_AT_MOST:
            self.deviations.append(f"{check}: {text}")

    @property
    def right(self) -> bool:
        return not self.wrong.total()


@dataclass
class Applied:
    """What a fold of the journal of all partitions came to."""

    accepted: list[Any] = field(default_factory=list)
    """Events that were applied or were duplicates, in their order."""
    accepted_ids: set[str] = field(default_factory=set)
    letters: set[str] = field(default_factory=set)
    outputs: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """Topic -> id -> value."""
    doubled: list[str] = field(default_factory=list)
    at_ms: dict[tuple[str, int, int], int] = field(default_factory=dict)
    """(topic, partition, offset) -> when the slice that applied it was journaled."""


def verify(settings: Settings, sent: Mapping[str, int], uncertain: int, say: Callable[[str], None]) -> Findings:
    """All checks. ``sent``: topic -> records that the broker acknowledged; of ``uncertain`` more nobody knows."""
    found = Findings()
    say("reading the sources")
    sources = {topic: read_all(settings, topic) for topic in (*DEBTOR_SOURCES, "training-examples")}
    applied = Applied()
    for agent, state, partitions in (("debtor", "debtor-state", settings.partitions), ("learner", "learner-state", 1)):
        for partition in range(partitions):
            say(f"folding {agent} {partition} again")
            _state(settings, agent, state, partition, applied, found)
    say("offsets")
    _offsets(sources, sent, uncertain, applied, found)
    say("outputs")
    _outputs(settings, applied, found)
    _sequences(settings, found)
    say("ClickHouse")
    client = open_client(settings.clickhouse.get_secret_value(), settings.database, readonly=True)
    try:
        _sunk(client, applied, found)
        _rollups(client, applied, found)
    finally:
        client.close()
    return found


def read_all(settings: Settings, topic: str) -> list[Message]:
    """Every committed record of a topic, to its end. Raises KafkaException."""
    consumer = reader(settings.for_librdkafka())
    count = partitions_of(TOPICS[topic], settings)
    consumer.assign([TopicPartition(full_name(settings.prefix, topic), partition, 0) for partition in range(count)])
    try:
        return list(to_the_end(consumer))
    finally:
        consumer.close()


def ask(client: Client, sql: str) -> list[dict[str, Any]]:
    """Rows as ClickHouse writes them in JSON: dates and decimals are texts or numbers."""
    return [orjson.loads(line) for line in client.raw_query(sql, fmt="JSONEachRow").splitlines() if line]


# -- state
def _state(settings: Settings, agent: str, state: str, partition: int, applied: Applied, found: Findings) -> None:
    """The rows in the state topic equal a fold of the journal, bit for bit."""
    expected: dict[str, bytes] = {}
    reached: dict[str, int] = {}
    check = f"rows of the {agent}"
    try:
        for one in refold(settings, agent, partition):
            take_rows(expected, one.folded.rows)
            _note(settings, agent, partition, one, reached, applied, found)
    except RefoldError as error:
        found.tell(check, f"partition {partition} cannot be folded again: {error}")
        found.wrong_rows += 1
        return
    written = read_rows(settings.for_librdkafka(), full_name(settings.prefix, state), partition)
    kept = {key: value for key, value in written.items() if not is_engine_key(key)}
    found.look(check, len(kept))
    for key in sorted(expected.keys() | kept.keys()):
        if expected.get(key) != kept.get(key):
            found.wrong_rows += 1
            found.tell(check, f"{partition} {key!r}: expected {expected.get(key)!r}, is {kept.get(key)!r}")


def _note(
    settings: Settings,
    agent: str,
    partition: int,
    one: RecomputedSlice,
    reached: dict[str, int],
    applied: Applied,
    found: Findings,
) -> None:
    for run in one.journal.runs:
        if run.start != reached.get(run.topic, 0):
            place = f"{agent} {partition}, slice {one.number}, {run.topic}"
            found.tell(
                "offsets applied once", f"{place}: from {run.start}, the slice before ended at {reached.get(run.topic, 0)}"
            )
            found.lost += max(0, run.start - reached.get(run.topic, 0))
            found.twice += max(0, reached.get(run.topic, 0) - run.start)
        reached[run.topic] = run.end
    refused = {(letter.topic, letter.record.offset) for letter in one.rejected}
    for letter in one.rejected:
        applied.letters.add(stable_id("dead-letter", settings.prefix, letter.topic, partition, letter.record.offset))
        applied.at_ms[letter.topic, partition, letter.record.offset] = one.at_ms
    for arrived in one.arrived:
        applied.at_ms[arrived.topic, partition, arrived.offset] = one.at_ms
        if (arrived.topic, arrived.offset) not in refused and agent == "debtor":
            applied.accepted.append(arrived.event)
            applied.accepted_ids.add(arrived.event.id)
    for output in one.folded.outputs:
        if output.id in applied.outputs[output.topic]:
            applied.doubled.append(f"{output.topic} {output.id}")
        applied.outputs[output.topic][output.id] = encode(output)[0]


# -- offsets
def _offsets(
    sources: Mapping[str, list[Message]], sent: Mapping[str, int], uncertain: int, applied: Applied, found: Findings
) -> None:
    """Every committed record of every source was applied, and every one that was sent is there."""
    check = "offsets applied once"
    for topic, messages in sources.items():
        found.look(check, len(messages))
        if topic in sent and not sent[topic] <= len(messages) <= sent[topic] + uncertain:
            found.lost += max(0, sent[topic] - len(messages))
            found.tell(check, f"{topic}: {sent[topic]} records were acknowledged, {len(messages)} are there")
        for message in messages:
            place = (topic, message.partition() or 0, message.offset() or 0)
            at_ms = applied.at_ms.get(place)
            if at_ms is None:
                found.lost += 1
                found.tell(check, f"{topic}/{place[1]} offset {place[2]} was not applied")
            elif topic in DEBTOR_SOURCES:
                found.waited(at_ms - message.timestamp()[1], message.timestamp()[1], f"{topic}/{place[1]}")


# -- outputs
def _outputs(settings: Settings, applied: Applied, found: Findings) -> None:
    """Each output that follows from the journal is committed exactly once, with the same bytes, and no other."""
    check = "outputs committed once"
    for text in applied.doubled:
        found.twice += 1
        found.tell(check, f"the fold itself makes {text} twice")
    for topic in OUTPUTS:
        expected = applied.outputs.get(topic, {})
        messages = [one for one in read_all(settings, topic) if header(one, "ce_type") != "duewatch.step.ended.v1"]
        _compare_ids(check, topic, expected, [header(one, "ce_id") for one in messages], found)
        for message in messages:
            wanted = expected.get(header(message, "ce_id"))
            if wanted is not None and wanted != message.value():
                found.tell(check, f"{topic} {header(message, 'ce_id')}: expected {wanted!r}, is {message.value()!r}")
    letters = [one for one in read_all(settings, "dead-letters") if header(one, "ce_type") == "duewatch.record.rejected.v1"]
    _compare_ids("dead letters", "dead-letters", applied.letters, [header(one, "ce_id") for one in letters], found)
    slices = [header(one, "ce_id") for one in read_all(settings, "journal")]
    _compare_ids("slices journaled once", "journal", set(slices), slices, found)


def _compare_ids(check: str, place: str, expected: Iterable[str], told: list[str], found: Findings) -> None:
    """``told`` holds each of ``expected`` once, and nothing else."""
    expected, counts = set(expected), Counter(told)
    found.look(check, len(counts))
    for name in sorted(expected - counts.keys()):
        found.lost += 1
        found.tell(check, f"{place}: {name} is missing")
    for name in sorted(counts.keys() - expected):
        found.tell(check, f"{place}: {name} follows from nothing")
    for name, count in counts.items():
        if count > 1:
            found.twice += count - 1
            found.tell(check, f"{place}: {name} is there {count} times")


def _sequences(settings: Settings, found: Findings) -> None:
    """The limit changes of a customer and generation are numbered 1, 2, 3 ..., in the order of the log."""
    check = "sequence numbers"
    numbers: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for topic in ("limit-changes", "limit-proposals"):
        for message in read_all(settings, topic):
            told = orjson.loads(message.value() or b"")
            numbers[topic, told["customer_id"], told["generation"]].append(told["sequence"])
    found.look(check, sum(map(len, numbers.values())))
    for (topic, customer, generation), told in numbers.items():
        if told != list(range(1, len(told) + 1)):
            found.twice += len(told) - len(set(told))
            found.lost += max(told) - len(set(told))
            found.tell(check, f"{topic}, {customer}, generation {generation}: {told}")


# -- ClickHouse
def _sunk(client: Client, applied: Applied, found: Findings) -> None:
    """Each good event and each output is there once."""
    told = [row["id"] for row in ask(client, "SELECT id FROM events WHERE topic != 'credit-policies' AND topic != 'rates'")]
    _compare_ids("events in ClickHouse", "events", applied.accepted_ids, told, found)
    for topic, view in TABLES.items():
        ids = [row["id"] for row in ask(client, f"SELECT id FROM {view}")]  # noqa: S608 - names from above
        _compare_ids("outputs in ClickHouse", view, applied.outputs.get(topic, {}), ids, found)
    letters = [row["id"] for row in ask(client, "SELECT id FROM dead_letters")]
    _compare_ids("dead letters in ClickHouse", "dead_letters", applied.letters, letters, found)


def _facts(applied: Applied) -> list[Contract]:
    """What was accepted, each fact once, however often it was told."""
    once: dict[tuple[str, str], Contract] = {}
    for event in applied.accepted:
        if event.type in TOPICS["payments"].contracts:
            once.setdefault((event.type, event.content), event.data)
    return list(once.values())


def _rollups(client: Client, applied: Applied, found: Findings) -> None:
    """Debtors, debtor-days and portfolio-days equal a recomputation from the accepted facts, to the cent."""
    oracles = recompute(_facts(applied))
    days = ask(client, "SELECT as_day FROM as_of")
    if not days:
        found.tell("debtors", "ClickHouse knows no tick")
        return
    last = date.fromisoformat(days[0]["as_day"])
    _debtors(client, oracles, last, found)
    _debtor_days(client, oracles, last, found)
    _portfolio_days(client, oracles, last, found)


def _debtors(client: Client, oracles: Mapping[tuple[str, str], Oracle], last: date, found: Findings) -> None:
    columns = ", ".join((*AMOUNTS, *DSO))
    for row in ask(client, f"SELECT customer_id, currency, {columns} FROM debtors"):  # noqa: S608 - names from above
        oracle = oracles.get((row["customer_id"], row["currency"]))
        if oracle is not None and oracle.first <= last:
            _compare_row("debtors", f"{row['customer_id']} {row['currency']}", oracle.on(last), row, (*AMOUNTS, *DSO), found)


def _debtor_days(client: Client, oracles: Mapping[tuple[str, str], Oracle], last: date, found: Findings) -> None:
    """The rows are those of every day since the first; a sample of them is recomputed."""
    counts = {
        (row["customer_id"], row["currency"]): int(row["n"])
        for row in ask(client, "SELECT customer_id, currency, count() AS n FROM debtor_daily GROUP BY customer_id, currency")
    }
    wanted = {place: (last - oracle.first).days + 1 for place, oracle in oracles.items() if oracle.first <= last}
    for place in sorted(counts.keys() | wanted.keys()):
        if counts.get(place, 0) != wanted.get(place, 0):
            found.tell("debtor days", f"{place}: {counts.get(place, 0)} days, expected {wanted.get(place, 0)}")
    chance = random.Random(1)
    places = [(place, day) for place in sorted(wanted) for day in range(wanted[place])]
    sample = {
        (*place, (oracles[place].first + timedelta(day)).isoformat())
        for place, day in chance.sample(places, min(SAMPLE, len(places)))
    }
    columns = ", ".join((*AMOUNTS, *DSO))
    names = ", ".join(f"('{customer}', '{currency}', '{day}')" for customer, currency, day in sorted(sample))
    where = f"(customer_id, currency, toString(day)) IN ({names})"
    sql = f"SELECT customer_id, currency, day, {columns} FROM debtor_daily WHERE {where}"  # noqa: S608 - names from above
    for row in ask(client, sql) if sample else ():
        expected = oracles[row["customer_id"], row["currency"]].on(date.fromisoformat(row["day"]))
        about = f"{row['customer_id']} {row['currency']} {row['day']}"
        _compare_row("debtor days", about, expected, row, (*AMOUNTS, *DSO), found)


def _portfolio_days(client: Client, oracles: Mapping[tuple[str, str], Oracle], last: date, found: Findings) -> None:
    rows = ask(client, f"SELECT day, currency, {', '.join(AMOUNTS)} FROM portfolio_daily ORDER BY day, currency")  # noqa: S608
    found.look("portfolio days", 0)
    days = sorted({row["day"] for row in rows})
    chosen = {*days[-1:], *random.Random(2).sample(days, min(DAYS, len(days)))}
    for row in rows:
        if row["day"] in chosen:
            day = date.fromisoformat(row["day"])
            mine = [o.on(day) for (_, currency), o in oracles.items() if currency == row["currency"] and o.first <= day]
            expected = {name: sum((one[name] or Decimal(0) for one in mine), Decimal(0)) for name in AMOUNTS}
            _compare_row("portfolio days", f"{row['day']} {row['currency']}", expected, row, AMOUNTS, found)
    if days and days[-1] != last.isoformat():
        found.tell("portfolio days", f"the last day is {days[-1]}, the last tick was of {last}")


def _compare_row(
    check: str, place: str, expected: Mapping[str, Decimal | None], row: Mapping[str, Any], names: Iterable[str], found: Findings
) -> None:
    found.look(check, 1)
    for name, wanted, told in _cells(expected, row, names):
        if wanted != told:
            found.wrong_cents += 1
            found.tell(check, f"{place}, {name}: expected {wanted}, is {told}")


def _cells(
    expected: Mapping[str, Decimal | None], row: Mapping[str, Any], names: Iterable[str]
) -> Iterator[tuple[str, Decimal | None, Decimal | None]]:
    for name in names:
        told = row[name]
        yield name, expected[name], None if told is None else Decimal(str(told))
