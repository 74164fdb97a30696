"""What each debtor owes, and its limit: the state against ClickHouse, while both move."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from agents.debtor.event_order import local_day
from agents.debtor.keys import FEATURES, HEADER, deadline_of, kind_of, split_key
from agents.debtor.state import Header, decode
from schemas.registry import DEBTOR_SOURCES
from streams.audit.sink_wait import POLL_S, wait_for_sink
from streams.clickhouse.query import ClickHouse
from streams.engine.keys import is_engine_key
from streams.engine.partition_task import read_standing
from streams.engine.restore import read_rows
from streams.kafka.codec import partition_of
from streams.kafka.topics import full_name
from streams.recompute.difference import ABSENT, Difference
from streams.terminal.progress import Bar

if TYPE_CHECKING:
    from streams.settings import Settings

ROUNDS = 3
"""So often a debtor that moves while it is looked at is looked at again."""
ZERO = Decimal("0.00")


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a partition stands, and what its state says of each debtor at that moment."""

    positions: Mapping[str, int]
    day: int
    """The creditor's day of the tick in force, as an ordinal."""
    number: int
    headers: Mapping[str, Header]
    waiting: Collection[str]
    """Debtors with deadlines that are due and have not fired yet: at midnight there are more than a slice takes."""


def read_cut(settings: Settings, partition: int) -> Cut | None:
    """None where no tick has come yet."""
    written = read_rows(settings.for_librdkafka(), full_name(settings.prefix, "debtor-state"), partition)
    standing = read_standing(written)
    if standing.applied is None or standing.context is None:
        return None
    day = local_day(standing.applied.time, standing.context.policy.time_zone)
    headers: dict[str, Header] = {}
    waiting: set[str] = set()
    for key, value in written.items():
        customer, row_key = split_key(key)
        if is_engine_key(key) or not customer:
            continue
        if row_key == HEADER:
            row = decode(row_key, value)
            if isinstance(row, Header):
                headers[customer] = row
        # Features only teach: no money hangs on their deadlines.
        if kind_of(row_key) != FEATURES and 0 < deadline_of(row_key, value) <= day:
            waiting.add(customer)
    return Cut(standing.positions, day, standing.number, headers, waiting)


# The steps that the view `debtors` adds up, with all that is known, as the state has it, as of a given day.
AMOUNTS = """SELECT customer_id, toString(currency) AS currency, toString(sum(open_step) - sum(unapplied_step)) AS exposure,
toString(sum(open_step)) AS open_amount, toString(sum(unapplied_step)) AS unapplied,
toString(sumIf(open_step, toInt32(due_on) < {day})) AS overdue_amount
FROM invoice_steps GROUP BY customer_id, currency"""
LIMITS = """SELECT customer_id, argMax(toString(new_limit), (generation, sequence)) AS credit_limit,
argMax(hold, (generation, sequence)) AS hold, max((generation, sequence)) AS last FROM {table} GROUP BY customer_id"""
TANGLED = """SELECT customer_id FROM payment_returns UNION DISTINCT SELECT customer_id FROM closures WHERE kind = 'cancelled'
AND (customer_id, invoice_id) IN (SELECT customer_id, invoice_id FROM postings WHERE entry = 'credit_note')"""
"""The roll-ups know no order within an invoice: here they may rightly differ from the state by what another payment covers."""
EPOCH_DAY = 719_163
"""1970-01-01 as an ordinal."""
FIELDS = ("exposure", "open_amount", "unapplied", "overdue_amount")


def audit_amounts(
    settings: Settings, clickhouse: ClickHouse, partitions: Sequence[int], bar: Bar
) -> tuple[list[Difference], Counter[str]]:
    """Compare what each debtor owes, and its limit, with ClickHouse; the differences, and debtors that cannot be judged."""
    found: dict[str, list[Difference]] = {}
    unclear: dict[str, str] = {}
    stood: dict[int, int] = {}
    for _ in range(ROUNDS):
        cuts = {partition: cut for partition in partitions if (cut := read_cut(settings, partition)) is not None}
        wait_for_sink(settings, clickhouse, partitions, bar)
        found, unclear = compare_cuts(settings, clickhouse, cuts)
        numbers = {partition: cut.number for partition, cut in cuts.items()}
        if not (found or unclear) or numbers == stood:
            break
        stood = numbers
        time.sleep(POLL_S)
    tangled = {row["customer_id"] for row in clickhouse.rows(TANGLED)} if found else set()
    unclear |= dict.fromkeys(found.keys() & tangled, "returned payments, or a cancelled invoice that was credited")
    return [one for customer in sorted(found) if customer not in unclear for one in found[customer]], Counter(unclear.values())


def compare_cuts(
    settings: Settings, clickhouse: ClickHouse, cuts: Mapping[int, Cut]
) -> tuple[dict[str, list[Difference]], dict[str, str]]:
    """Debtor -> its differences; debtor -> why it cannot be judged now."""
    told: dict[int, dict[tuple[str, str], dict[str, Any]]] = {}
    for day in {cut.day for cut in cuts.values()}:
        rows = clickhouse.rows(AMOUNTS.replace("{day}", str(day - EPOCH_DAY)))
        told[day] = {(row["customer_id"], row["currency"]): row for row in rows}
    limits = {
        action: {row["customer_id"]: row for row in clickhouse.rows(LIMITS.replace("{table}", table))}
        for action, table in (("act", "limit_changes"), ("observe", "limit_proposals"))
    }
    moved = _moved(clickhouse, cuts)
    found: dict[str, list[Difference]] = {}
    unclear: dict[str, str] = {}
    for partition, cut in cuts.items():
        there = {c for c, _ in told[cut.day] if partition_of(c.encode(), settings.partitions) == partition}
        currencies: dict[str, set[str]] = {}
        for customer, currency in told[cut.day]:
            if customer in there:
                currencies.setdefault(customer, set()).add(currency)
        for customer in sorted(cut.headers.keys() | there):
            header = cut.headers.get(customer, Header())
            differ = list(compare_amounts(customer, header, told[cut.day], currencies.get(customer, set())))
            limit = limits.get(header.limit.action, {}).get(customer)
            if limit is not None and tuple(limit["last"]) > (header.limit.generation, header.limit.sequence):
                moved.add(customer)
            differ += compare_limit(customer, header, limit)
            if differ and customer in moved:
                unclear[customer] = "it moved meanwhile"
            elif differ and customer in cut.waiting:
                unclear[customer] = "its deadlines wait for their turn"
            elif differ:
                found[customer] = differ
    return found, unclear


def _moved(clickhouse: ClickHouse, cuts: Mapping[int, Cut]) -> set[str]:
    """Debtors of whom ClickHouse knows more than the state did. Asked after all else, so that none is overlooked."""
    places = [
        f"(topic = '{topic}' AND partition = {partition} AND offset >= {cut.positions.get(topic, 0)})"
        for partition, cut in cuts.items()
        for topic in DEBTOR_SOURCES
    ]
    if not places:
        return set()
    asked = f"SELECT DISTINCT customer_id FROM events_raw WHERE {' OR '.join(places)}"  # noqa: S608 - names and numbers of ours
    return {row["customer_id"] for row in clickhouse.rows(asked)}


def compare_amounts(
    customer: str, header: Header, told: Mapping[tuple[str, str], Mapping[str, Any]], currencies: Collection[str]
) -> Iterator[Difference]:
    """What a debtor owes by its header row, and by ClickHouse."""
    for currency in sorted({*header.balances, *currencies}):
        balance = header.balances.get(currency)
        kept = (ZERO, ZERO, ZERO, ZERO)
        if balance is not None:
            kept = (balance.exposure, balance.open_amount, balance.unapplied, balance.overdue)
        row = told.get((customer, currency), {})
        for name, ours in zip(FIELDS, kept, strict=True):
            theirs = Decimal(row.get(name, ZERO))
            if theirs != ours:
                yield Difference("clickhouse", customer, f"debtors {currency}", name, f"{ours:.2f}", f"{theirs:.2f}")


def compare_limit(customer: str, header: Header, told: Mapping[str, Any] | None) -> Iterator[Difference]:
    """The last limit by the header row, and the last announced one by ClickHouse."""
    limit = header.limit
    if not limit.sequence:
        return
    table = "limit_changes" if limit.action == "act" else "limit_proposals"
    kept = {
        "generation": str(limit.generation),
        "sequence": str(limit.sequence),
        "credit_limit": f"{limit.amount:.2f}",
        "hold": str(limit.hold).lower(),
    }
    theirs = dict.fromkeys(kept, ABSENT)
    if told is not None:
        theirs = {
            "generation": str(told["last"][0]),
            "sequence": str(told["last"][1]),
            "credit_limit": f"{Decimal(told['credit_limit']):.2f}",
            "hold": str(bool(told["hold"])).lower(),
        }
    for name, ours in kept.items():
        if ours != theirs[name]:
            yield Difference("clickhouse", customer, table, name, ours, theirs[name])
