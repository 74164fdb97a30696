"""What each debtor owes, and its limit: the state against ClickHouse, while both move."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from agents.debtor.event_order import local_day
from agents.debtor.keys import FEATURES, HEADER, ROW_VERSION, deadline_of, kind_of, split_key
from agents.debtor.state import Header, decode
from schemas.base import format_amount
from schemas.registry import DEBTOR_SOURCES
from streams.audit.sink_wait import POLL_S, wait_for_sink
from streams.clickhouse.query import ClickHouse
from streams.engine.keys import is_engine_key
from streams.engine.partition_task import read_checkpoint
from streams.kafka.codec import partition_of
from streams.kafka.read import read_rows
from streams.kafka.topics import full_name
from streams.recompute.difference import ABSENT, Difference
from streams.terminal.progress import Bar

if TYPE_CHECKING:
    from streams.settings import Settings

ROUNDS = 3
"""How often a debtor is compared that moves during the comparison."""
ZERO = Decimal("0.00")

Row = Mapping[str, Any]
Amounts = Mapping[tuple[str, str], Row]
"""(customer, currency) -> what ClickHouse says that it owes."""


@dataclass(frozen=True, slots=True)
class StateSnapshot:
    """Where a partition stands, and what its state says of each debtor at that moment."""

    positions: Mapping[str, int]
    day: int
    """The creditor's day of the tick in force, as an ordinal."""
    number: int
    headers: Mapping[str, Header]
    due: Collection[str]
    """Debtors with deadlines that are due and have not fired yet: at midnight there are more than a slice takes."""


def read_snapshot(settings: Settings, partition: int) -> StateSnapshot | None:
    """Read a partition's state topic to its end. None where no tick has come yet."""
    rows = read_rows(settings.for_librdkafka(), full_name(settings.prefix, "debtor-state"), partition)
    checkpoint = read_checkpoint(rows, ROW_VERSION, f"debtor {partition}")
    if checkpoint.tick is None or checkpoint.context is None:
        return None
    day = local_day(checkpoint.tick.time, checkpoint.context.policy.time_zone)
    headers: dict[str, Header] = {}
    due: set[str] = set()
    for key, value in rows.items():
        customer, row_key = split_key(key)
        if is_engine_key(key) or not customer:
            continue
        if row_key == HEADER:
            row = decode(row_key, value)
            if isinstance(row, Header):
                headers[customer] = row
        # What an invoice looked like when it was scored has a deadline, too, but no money depends on it.
        if kind_of(row_key) != FEATURES and 0 < deadline_of(row_key, value) <= day:
            due.add(customer)
    return StateSnapshot(checkpoint.positions, day, checkpoint.number, headers, due)


# The steps that the view `debtors` adds up, up to the day of the state: a fact counts in both from its value date on.
AMOUNTS = """SELECT customer_id, toString(currency) AS currency, toString(sum(open_step) - sum(unapplied_step)) AS exposure,
toString(sum(open_step)) AS open_amount, toString(sum(unapplied_step)) AS unapplied,
toString(sum(disputed_step)) AS disputed_amount, toString(sumIf(open_step, toInt32(due_on) < {day})) AS overdue_amount
FROM invoice_steps WHERE toInt32(day) <= {day} GROUP BY customer_id, currency"""
LIMITS = """SELECT customer_id, argMax(toString(new_limit), (generation, sequence)) AS credit_limit,
argMax(hold, (generation, sequence)) AS hold, max((generation, sequence)) AS last FROM {table} GROUP BY customer_id"""
LIMIT_TABLES = {"act": "limit_changes", "observe": "limit_proposals"}
"""What the policy does -> the table in which its limits are."""
EPOCH_DAY = 719_163
"""1970-01-01 as an ordinal."""
FIELDS = ("exposure", "open_amount", "unapplied", "disputed_amount", "overdue_amount")


def audit_amounts(
    settings: Settings, clickhouse: ClickHouse, partitions: Sequence[int], bar: Bar
) -> tuple[list[Difference], Counter[str]]:
    """Compare what each debtor owes, and its limit, with ClickHouse; the differences, and debtors that cannot be judged."""
    differences: dict[str, list[Difference]] = {}
    unclear: dict[str, str] = {}
    last_numbers: dict[int, int] = {}
    for _ in range(ROUNDS):
        snapshots = {p: snapshot for p in partitions if (snapshot := read_snapshot(settings, p)) is not None}
        wait_for_sink(settings, clickhouse, partitions, bar)
        differences, unclear = compare_snapshots(settings, clickhouse, snapshots)
        numbers = {partition: snapshot.number for partition, snapshot in snapshots.items()}
        if not (differences or unclear) or numbers == last_numbers:
            break
        last_numbers = numbers
        time.sleep(POLL_S)
    return [difference for customer in sorted(differences) for difference in differences[customer]], Counter(unclear.values())


def compare_snapshots(
    settings: Settings, clickhouse: ClickHouse, snapshots: Mapping[int, StateSnapshot]
) -> tuple[dict[str, list[Difference]], dict[str, str]]:
    """Debtor -> its differences; debtor -> why it cannot be judged now."""
    amounts = {day: _read_amounts(clickhouse, day) for day in {snapshot.day for snapshot in snapshots.values()}}
    limits = {action: _read_limits(clickhouse, table) for action, table in LIMIT_TABLES.items()}
    changed = _read_changed(clickhouse, snapshots)
    differences: dict[str, list[Difference]] = {}
    unclear: dict[str, str] = {}
    for partition, snapshot in snapshots.items():
        currencies = defaultdict[str, set[str]](set)
        for customer, currency in amounts[snapshot.day]:
            if partition_of(customer.encode(), settings.partitions) == partition:
                currencies[customer].add(currency)
        for customer in sorted(snapshot.headers.keys() | currencies.keys()):
            header = snapshot.headers.get(customer, Header())
            limit = limits.get(header.limit.action, {}).get(customer)
            own = [
                *compare_amounts(customer, header, amounts[snapshot.day], currencies.get(customer, set())),
                *compare_limit(customer, header, limit),
            ]
            if own and (customer in changed or _is_later(limit, header)):
                unclear[customer] = "it moved during the comparison"
            elif own and customer in snapshot.due:
                unclear[customer] = "deadlines of it are due and have not fired yet"
            elif own:
                differences[customer] = own
    return differences, unclear


def _read_amounts(clickhouse: ClickHouse, day: int) -> Amounts:
    rows = clickhouse.rows(AMOUNTS.replace("{day}", str(day - EPOCH_DAY)))
    return {(row["customer_id"], row["currency"]): row for row in rows}


def _read_limits(clickhouse: ClickHouse, table: str) -> dict[str, Row]:
    return {row["customer_id"]: row for row in clickhouse.rows(LIMITS.replace("{table}", table))}


def _is_later(limit: Row | None, header: Header) -> bool:
    """Whether ClickHouse has a later limit than the state had."""
    return limit is not None and tuple(limit["last"]) > (header.limit.generation, header.limit.sequence)


def _read_changed(clickhouse: ClickHouse, snapshots: Mapping[int, StateSnapshot]) -> set[str]:
    """Debtors of whom ClickHouse knows more than the state did. Read after all else, so that none is overlooked."""
    conditions = [
        f"(topic = '{topic}' AND partition = {partition} AND offset >= {snapshot.positions.get(topic, 0)})"
        for partition, snapshot in snapshots.items()
        for topic in DEBTOR_SOURCES
    ]
    if not conditions:
        return set()
    sql = f"SELECT DISTINCT customer_id FROM events_raw WHERE {' OR '.join(conditions)}"  # noqa: S608 - names and numbers of ours
    return {row["customer_id"] for row in clickhouse.rows(sql)}


def compare_amounts(customer: str, header: Header, amounts: Amounts, currencies: Collection[str]) -> Iterator[Difference]:
    """What a debtor owes by its header row, and by ClickHouse."""
    for currency in sorted({*header.balances, *currencies}):
        balance = header.balances.get(currency)
        state = (ZERO, ZERO, ZERO, ZERO, ZERO)
        if balance is not None:
            state = (balance.exposure, balance.open_amount, balance.unapplied, balance.disputed_amount, balance.overdue)
        row = amounts.get((customer, currency), {})
        for name, expected in zip(FIELDS, state, strict=True):
            actual = Decimal(row.get(name, ZERO))
            if actual != expected:
                yield Difference(
                    "clickhouse", customer, f"debtors {currency}", name, format_amount(expected), format_amount(actual)
                )


def compare_limit(customer: str, header: Header, row: Row | None) -> Iterator[Difference]:
    """The last limit by the header row, and the last announced one by ClickHouse."""
    limit = header.limit
    if not limit.sequence:
        return
    expected = {
        "generation": str(limit.generation),
        "sequence": str(limit.sequence),
        "credit_limit": format_amount(limit.amount),
        "hold": str(limit.hold).lower(),
    }
    actual = dict.fromkeys(expected, ABSENT)
    if row is not None:
        actual = {
            "generation": str(row["last"][0]),
            "sequence": str(row["last"][1]),
            "credit_limit": format_amount(Decimal(row["credit_limit"])),
            "hold": str(bool(row["hold"])).lower(),
        }
    for name, value in expected.items():
        if value != actual[name]:
            yield Difference("clickhouse", customer, LIMIT_TABLES.get(limit.action, "limit_proposals"), name, value, actual[name])
