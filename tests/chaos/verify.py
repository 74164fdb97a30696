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

from schemas.ids import stable_id
from schemas.registry import DEBTOR_SOURCES, TOPICS
from streams.clickhouse.client import open_client
from streams.kafka.codec import encode
from streams.kafka.log import LogError
from streams.kafka.read import read_rows, reader, to_the_end
from streams.kafka.topics import full_name, partitions_of
from streams.recompute import journal
from streams.recompute.journal import RecomputedSlice, apply_changes
from tests.integration.support.ledgers import Oracle, recompute
from tests.integration.support.portfolio import header
from tests.property.support.ledger_reference import VALUE_DATES, Fact

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from confluent_kafka import Message

    from streams.settings import Settings

MAX_DEVIATIONS = 20
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
    *("exposure", "open_amount", "unapplied", "disputed_amount", "overdue_amount"),
    *("not_due", "due_1_30", "due_31_60", "due_61_90", "due_over_90", "sales_90d"),
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
        if len(self.deviations) < MAX_DEVIATIONS:
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


def verify(settings: Settings, acknowledged: Mapping[str, int], uncertain: int, say: Callable[[str], None]) -> Findings:
    """All checks. ``acknowledged``: topic -> records that the broker acknowledged; of ``uncertain`` more nobody knows."""
    findings = Findings()
    say("reading the sources")
    sources = {topic: read_all(settings, topic) for topic in (*DEBTOR_SOURCES, "training-examples")}
    applied = Applied()
    for agent, state, partitions in (("debtor", "debtor-state", settings.partitions), ("learner", "learner-state", 1)):
        for partition in range(partitions):
            say(f"folding {agent} {partition} again")
            _state(settings, agent, state, partition, applied, findings)
    say("offsets")
    _offsets(sources, acknowledged, uncertain, applied, findings)
    say("outputs")
    _outputs(settings, applied, findings)
    _sequences(settings, findings)
    say("ClickHouse")
    client = open_client(settings.clickhouse.get_secret_value(), settings.database, readonly=True)
    try:
        _sunk(client, applied, findings)
        _rollups(client, applied, findings)
    finally:
        client.close()
    return findings


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
def _state(settings: Settings, agent: str, state: str, partition: int, applied: Applied, findings: Findings) -> None:
    """The rows in the state topic equal a fold of the journal, bit for bit."""
    expected: dict[str, bytes] = {}
    positions: dict[str, int] = {}
    check = f"rows of the {agent}"
    try:
        for entry in journal.recompute(settings, agent, partition):
            apply_changes(expected, entry.result.rows)
            _note(settings, agent, partition, entry, positions, applied, findings)
    except LogError as error:
        findings.tell(check, f"partition {partition} cannot be folded again: {error}")
        findings.wrong_rows += 1
        return
    rows = read_rows(settings.for_librdkafka(), full_name(settings.prefix, state), partition)
    brain_rows = {key: value for key, value in rows.items() if not key.startswith("\x00")}
    findings.look(check, len(brain_rows))
    for key in sorted(expected.keys() | brain_rows.keys()):
        if expected.get(key) != brain_rows.get(key):
            findings.wrong_rows += 1
            findings.tell(check, f"{partition} {key!r}: expected {expected.get(key)!r}, is {brain_rows.get(key)!r}")


def _note(
    settings: Settings,
    agent: str,
    partition: int,
    entry: RecomputedSlice,
    positions: dict[str, int],
    applied: Applied,
    findings: Findings,
) -> None:
    for run in entry.journal.runs:
        if run.start != positions.get(run.topic, 0):
            place = f"{agent} {partition}, slice {entry.number}, {run.topic}"
            findings.tell(
                "offsets applied once", f"{place}: from {run.start}, the slice before ended at {positions.get(run.topic, 0)}"
            )
            findings.lost += max(0, run.start - positions.get(run.topic, 0))
            findings.twice += max(0, positions.get(run.topic, 0) - run.start)
        positions[run.topic] = run.end
    rejected = {(letter.topic, letter.record.offset) for letter in entry.rejected}
    for letter in entry.rejected:
        applied.letters.add(stable_id("dead-letter", settings.prefix, letter.topic, partition, letter.record.offset))
        applied.at_ms[letter.topic, partition, letter.record.offset] = entry.written_ms
    for received in entry.received:
        applied.at_ms[received.topic, partition, received.offset] = entry.written_ms
        if (received.topic, received.offset) not in rejected and agent == "debtor":
            applied.accepted.append(received.event)
            applied.accepted_ids.add(received.event.id)
    for output in entry.result.outputs:
        if output.id in applied.outputs[output.topic]:
            applied.doubled.append(f"{output.topic} {output.id}")
        applied.outputs[output.topic][output.id] = encode(output)[0]


# -- offsets
def _offsets(
    sources: Mapping[str, list[Message]], acknowledged: Mapping[str, int], uncertain: int, applied: Applied, findings: Findings
) -> None:
    """Every committed record of every source was applied, and every one that was sent is there."""
    check = "offsets applied once"
    for topic, messages in sources.items():
        findings.look(check, len(messages))
        if topic in acknowledged and not acknowledged[topic] <= len(messages) <= acknowledged[topic] + uncertain:
            findings.lost += max(0, acknowledged[topic] - len(messages))
            findings.tell(check, f"{topic}: {acknowledged[topic]} records were acknowledged, {len(messages)} are there")
        for message in messages:
            place = (topic, message.partition() or 0, message.offset() or 0)
            at_ms = applied.at_ms.get(place)
            if at_ms is None:
                findings.lost += 1
                findings.tell(check, f"{topic}/{place[1]} offset {place[2]} was not applied")
            elif topic in DEBTOR_SOURCES:
                findings.waited(at_ms - message.timestamp()[1], message.timestamp()[1], f"{topic}/{place[1]}")


# -- outputs
def _outputs(settings: Settings, applied: Applied, findings: Findings) -> None:
    """Each output that follows from the journal is committed exactly once, with the same bytes, and no other."""
    check = "outputs committed once"
    for text in applied.doubled:
        findings.twice += 1
        findings.tell(check, f"the fold itself makes {text} twice")
    for topic in OUTPUTS:
        expected = applied.outputs.get(topic, {})
        messages = [entry for entry in read_all(settings, topic) if header(entry, "ce_type") != "duewatch.step.ended.v1"]
        _compare_ids(check, topic, expected, [header(entry, "ce_id") for entry in messages], findings)
        for message in messages:
            value = expected.get(header(message, "ce_id"))
            if value is not None and value != message.value():
                findings.tell(check, f"{topic} {header(message, 'ce_id')}: expected {value!r}, is {message.value()!r}")
    letters = [entry for entry in read_all(settings, "dead-letters") if header(entry, "ce_type") == "duewatch.record.rejected.v1"]
    _compare_ids("dead letters", "dead-letters", applied.letters, [header(entry, "ce_id") for entry in letters], findings)
    slices = [header(entry, "ce_id") for entry in read_all(settings, "journal")]
    _compare_ids("slices journaled once", "journal", set(slices), slices, findings)


def _compare_ids(check: str, place: str, expected: Iterable[str], committed: list[str], findings: Findings) -> None:
    """``committed`` holds each of ``expected`` once, and nothing else."""
    expected, counts = set(expected), Counter(committed)
    findings.look(check, len(counts))
    for name in sorted(expected - counts.keys()):
        findings.lost += 1
        findings.tell(check, f"{place}: {name} is missing")
    for name in sorted(counts.keys() - expected):
        findings.tell(check, f"{place}: {name} follows from nothing")
    for name, count in counts.items():
        if count > 1:
            findings.twice += count - 1
            findings.tell(check, f"{place}: {name} is there {count} times")


def _sequences(settings: Settings, findings: Findings) -> None:
    """The limit changes of a customer and generation are numbered 1, 2, 3 ..., in the order of the log."""
    check = "sequence numbers"
    numbers: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for topic in ("limit-changes", "limit-proposals"):
        for message in read_all(settings, topic):
            change = orjson.loads(message.value() or b"")
            numbers[topic, change["customer_id"], change["generation"]].append(change["sequence"])
    findings.look(check, sum(map(len, numbers.values())))
    for (topic, customer, generation), sequence in numbers.items():
        if sequence != list(range(1, len(sequence) + 1)):
            findings.twice += len(sequence) - len(set(sequence))
            findings.lost += max(sequence) - len(set(sequence))
            findings.tell(check, f"{topic}, {customer}, generation {generation}: {sequence}")


# -- ClickHouse
def _sunk(client: Client, applied: Applied, findings: Findings) -> None:
    """Each good event and each output is there once."""
    ids = [row["id"] for row in ask(client, "SELECT id FROM events WHERE topic != 'credit-policies' AND topic != 'rates'")]
    _compare_ids("events in ClickHouse", "events", applied.accepted_ids, ids, findings)
    for topic, view in TABLES.items():
        ids = [row["id"] for row in ask(client, f"SELECT id FROM {view}")]  # noqa: S608 - names from above
        _compare_ids("outputs in ClickHouse", view, applied.outputs.get(topic, {}), ids, findings)
    letters = [row["id"] for row in ask(client, "SELECT id FROM dead_letters")]
    _compare_ids("dead letters in ClickHouse", "dead_letters", applied.letters, letters, findings)


def _facts(applied: Applied) -> list[Fact]:
    """What was accepted, each fact once, however often it was told, as it was recorded first."""
    once: dict[tuple[str, str], Fact] = {}
    for event in sorted(applied.accepted, key=lambda event: event.recorded):
        if type(event.data) in VALUE_DATES:
            once.setdefault((event.type, event.content), Fact(event.data, event.recorded))
    return list(once.values())


def _rollups(client: Client, applied: Applied, findings: Findings) -> None:
    """Debtors, debtor-days and portfolio-days equal a recomputation from the accepted facts, to the cent."""
    days = ask(client, "SELECT as_day FROM as_of")
    if not days:
        findings.tell("debtors", "ClickHouse knows no tick")
        return
    last = date.fromisoformat(days[0]["as_day"])
    oracles = recompute(_facts(applied), last)
    _debtors(client, oracles, last, findings)
    _debtor_days(client, oracles, last, findings)
    _portfolio_days(client, oracles, last, findings)


def _debtors(client: Client, oracles: Mapping[tuple[str, str], Oracle], last: date, findings: Findings) -> None:
    columns = ", ".join((*AMOUNTS, *DSO))
    for row in ask(client, f"SELECT customer_id, currency, {columns} FROM debtors"):  # noqa: S608 - names from above
        oracle = oracles.get((row["customer_id"], row["currency"]))
        if oracle is not None and oracle.first <= last:
            _compare_row("debtors", f"{row['customer_id']} {row['currency']}", oracle.on(last), row, (*AMOUNTS, *DSO), findings)


def _debtor_days(client: Client, oracles: Mapping[tuple[str, str], Oracle], last: date, findings: Findings) -> None:
    """The rows are those of every day since the first; a sample of them is recomputed."""
    counts = {
        (row["customer_id"], row["currency"]): int(row["n"])
        for row in ask(client, "SELECT customer_id, currency, count() AS n FROM debtor_daily GROUP BY customer_id, currency")
    }
    day_counts = {place: (last - oracle.first).days + 1 for place, oracle in oracles.items() if oracle.first <= last}
    for place in sorted(counts.keys() | day_counts.keys()):
        if counts.get(place, 0) != day_counts.get(place, 0):
            findings.tell("debtor days", f"{place}: {counts.get(place, 0)} days, expected {day_counts.get(place, 0)}")
    chance = random.Random(1)
    places = [(place, day) for place in sorted(day_counts) for day in range(day_counts[place])]
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
        _compare_row("debtor days", about, expected, row, (*AMOUNTS, *DSO), findings)


def _portfolio_days(client: Client, oracles: Mapping[tuple[str, str], Oracle], last: date, findings: Findings) -> None:
    rows = ask(client, f"SELECT day, currency, {', '.join(AMOUNTS)} FROM portfolio_daily ORDER BY day, currency")  # noqa: S608
    findings.look("portfolio days", 0)
    days = sorted({row["day"] for row in rows})
    sample_days = {*days[-1:], *random.Random(2).sample(days, min(DAYS, len(days)))}
    for row in rows:
        if row["day"] in sample_days:
            day = date.fromisoformat(row["day"])
            mine = [o.on(day) for (_, currency), o in oracles.items() if currency == row["currency"] and o.first <= day]
            expected = {name: sum((entry[name] or Decimal(0) for entry in mine), Decimal(0)) for name in AMOUNTS}
            _compare_row("portfolio days", f"{row['day']} {row['currency']}", expected, row, AMOUNTS, findings)
    if days and days[-1] != last.isoformat():
        findings.tell("portfolio days", f"the last day is {days[-1]}, the last tick was of {last}")


def _compare_row(
    check: str,
    place: str,
    expected: Mapping[str, Decimal | None],
    row: Mapping[str, Any],
    names: Iterable[str],
    findings: Findings,
) -> None:
    findings.look(check, 1)
    for name, right, cell in _cells(expected, row, names):
        if right != cell:
            findings.wrong_cents += 1
            findings.tell(check, f"{place}, {name}: expected {right}, is {cell}")


def _cells(
    expected: Mapping[str, Decimal | None], row: Mapping[str, Any], names: Iterable[str]
) -> Iterator[tuple[str, Decimal | None, Decimal | None]]:
    for name in names:
        cell = row[name]
        yield name, expected[name], None if cell is None else Decimal(str(cell))
