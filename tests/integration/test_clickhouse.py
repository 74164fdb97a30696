"""The roll-ups in ClickHouse equal a recomputation: facts told once, told twice, and with broken ones among them."""

from __future__ import annotations

import base64
import random
import threading
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from schemas.clickhouse.rows import SinkRecord, rows_of
from schemas.events import payments as p
from schemas.events.customers import CustomerUpdated
from schemas.outputs.common import Reason
from schemas.outputs.limits import LimitChanged
from schemas.outputs.operations import DeadlineFailed, RecordRejected
from schemas.outputs.scores import ScoreComputed, WouldChange
from streams.clickhouse.migrate import migrate
from streams.clickhouse.query import ClickHouse
from streams.dead_letters import listing
from streams.metrics import Metrics
from streams.sink.writer import Batch, BatchWriter
from tests.integration.support.ledgers import as_facts, as_records, highradius, recompute, record, records_of, tangled, tick
from tests.property.support.ledger_reference import VALUE_DATES, Fact
from tests.property.support.ledgers import FIRST, RandomLedger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clickhouse_connect.driver.client import Client

    from schemas.base import Contract

pytestmark = pytest.mark.embedded

LEDGER = Path(__file__).parents[3] / "shared/data/ledgers/highradius_dev.csv"
COLUMNS = (
    *("exposure", "open_amount", "unapplied", "disputed_amount", "overdue_amount"),
    *("not_due", "due_1_30", "due_31_60", "due_61_90", "due_over_90"),
    *("sales_90d", "dso_standard", "dso_best_possible", "dso_add", "dso_countback"),
)
_names = count()


class Database:
    """A migrated database of its own, with a writer."""

    def __init__(self, client: Client, dsn: str) -> None:
        self.client, self.dsn, self.name = client, dsn, f"test_{next(_names)}"
        migrate(client, self.name)
        self._writer = BatchWriter(client, self.name, Metrics(), threading.Event())

    def sink(self, records: Iterable[SinkRecord], batch: int = 5_000) -> None:
        rows = [rows_of(one) for one in records]
        for start in range(0, len(rows), batch):
            gathered = Batch()
            for some in rows[start : start + batch]:
                gathered.add(some)
            self._writer.write(gathered, [])

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return list(self.client.query(sql.replace("{d}", self.name)).named_results())

    def one(self, sql: str) -> object:
        return self.client.query(sql.replace("{d}", self.name)).result_rows[0][0]


@pytest.fixture
def database(clickhouse: Client, clickhouse_dsn: str) -> Database:
    return Database(clickhouse, clickhouse_dsn)


def _picked(row: dict[str, Any]) -> dict[str, object]:
    return {name: row[name] for name in COLUMNS}


def _assert_daily(database: Database, facts: Iterable[Fact], last: date, sample: int | None = None) -> None:
    """The rows are those of every day from the first on, and equal the reference; before the first money they are zero."""
    oracles = recompute(facts, last)
    daily = {(r["customer_id"], r["currency"], r["day"]): r for r in database.rows("SELECT * FROM {d}.debtor_daily")}
    expected = {
        (customer, currency, oracle.first + timedelta(n))
        for (customer, currency), oracle in oracles.items()
        for n in range((last - oracle.first).days + 1)
    }
    assert {place for place in expected - daily.keys() if any(oracles[place[:2]].on(place[2]).values())} == set()
    assert max(day for *_, day in daily) == last
    for customer, currency in oracles:
        days = sorted(day for *place, day in daily if place == [customer, currency])
        assert days == [last - timedelta(n) for n in reversed(range(len(days)))], (customer, currency)
    places = sorted(daily)
    for customer, currency, day in places if sample is None else random.Random(1).sample(places, sample):
        assert _picked(daily[customer, currency, day]) == oracles[customer, currency].on(day), (customer, currency, day)


def _assert_debtors(database: Database, facts: Iterable[Fact], last: date) -> None:
    debtors = {(row["customer_id"], row["currency"]): _picked(row) for row in database.rows("SELECT * FROM {d}.debtors")}
    assert debtors == {place: oracle.on(last) for place, oracle in recompute(facts, last).items()}


def test_whatever_happens_to_invoices_the_daily_rows_equal_a_recomputation(database: Database) -> None:
    facts = [fact for seed in range(40) for fact in tangled(seed, f"C{seed}")]
    last = date(2024, 8, 31)
    database.sink([*as_records(facts), tick(last)])
    _assert_daily(database, as_facts(facts), last)


LAST = FIRST + timedelta(days=65)
"""After every value date of a random ledger."""


def _random_facts(seeds: Iterable[int]) -> list[Fact]:
    return [fact for seed in seeds for fact in RandomLedger(random.Random(seed), customer_id=f"C{seed}").draw()]


@pytest.mark.parametrize("last", [FIRST + timedelta(days=30), LAST], ids=["facts of later days among them", "all facts"])
def test_random_ledgers_equal_the_reference_on_every_day(database: Database, last: date) -> None:
    facts = _random_facts(range(150))
    database.sink([*records_of(facts), tick(last)])
    known = [fact for fact in facts if fact.day <= last]
    _assert_daily(database, known, last)
    if last == LAST:
        _assert_debtors(database, facts, last)


def test_random_ledgers_whose_facts_come_twice_equal_the_reference(database: Database) -> None:
    facts = _random_facts(range(150, 170))
    later = [Fact(fact.data, fact.recorded + timedelta(days=1)) for fact in facts]
    database.sink([*records_of(later, "resent"), *records_of(facts), tick(LAST)])
    _assert_daily(database, facts, LAST)


def _contradiction(fact: Fact) -> Fact:
    """The same thing with other content: another day, another amount."""
    changes: dict[str, Any] = {VALUE_DATES[type(fact.data)]: fact.day - timedelta(3)}
    if hasattr(fact.data, "amount"):
        changes["amount"] = fact.data.amount / 2
    if getattr(fact.data, "allocations", ()):
        changes["allocations"] = tuple(p.Allocation(invoice_id=f"X{n}", amount=Decimal(7)) for n in range(4))
    return Fact(fact.data.model_copy(update=changes), fact.recorded + timedelta(days=1))


def test_random_ledgers_equal_the_reference_where_dead_letters_contradict_every_fact(database: Database) -> None:
    facts = _random_facts(range(200, 240))
    bad = records_of(map(_contradiction, facts), "bad")
    database.sink([*records_of(facts), *bad, tick(LAST)])
    database.sink([_rejected(entry, offset) for offset, entry in enumerate(bad)])
    assert {type(fact.data) for fact in facts} >= set(VALUE_DATES)
    _assert_daily(database, facts, LAST)
    _assert_debtors(database, facts, LAST)


def test_debtors_are_the_last_day_of_debtor_daily(database: Database) -> None:
    database.sink([*as_records(f for seed in range(40) for f in tangled(seed, f"C{seed}")), tick(date(2024, 5, 15))])
    last = "SELECT * FROM {d}.debtor_daily WHERE day = '2024-05-15' ORDER BY customer_id, currency"
    assert [_picked(row) for row in database.rows("SELECT * FROM {d}.debtors ORDER BY customer_id, currency")] == [
        _picked(row) for row in database.rows(last)
    ]


def test_the_portfolio_is_the_sum_of_its_debtors_and_has_every_day(database: Database) -> None:
    database.sink([*as_records(f for seed in range(20) for f in tangled(seed, f"C{seed}")), tick(date(2024, 6, 30))])
    sums = ", ".join(f"sum({name}) AS {name}" for name in COLUMNS[:11])
    both = [
        [[row["day"], *(row[name] for name in COLUMNS[:11])] for row in database.rows(sql)]
        for sql in (
            "SELECT * FROM {d}.portfolio_daily WHERE currency = 'EUR' ORDER BY day",
            f"SELECT day, {sums} FROM {{d}}.debtor_daily WHERE currency = 'EUR' GROUP BY day ORDER BY day",  # noqa: S608
        )
    ]
    assert both[0] == both[1]
    assert [row[0] for row in both[0]] == [both[0][0][0] + timedelta(n) for n in range(len(both[0]))]
    assert both[0][-1][0] == date(2024, 6, 30)


@pytest.mark.slow
def test_a_real_ledger_equals_its_recomputation_for_debtors_and_portfolio(database: Database) -> None:
    if not LEDGER.exists():
        pytest.skip(f"the real ledger is not here ({LEDGER})")
    facts = list(highradius(LEDGER))
    last = date(2020, 2, 29)
    began = time.perf_counter()
    database.sink([*as_records(facts), tick(last)])
    print(f"sunk {len(facts)} facts in {time.perf_counter() - began:.2f} s")
    for view in ("debtor_daily", "portfolio_daily", "debtors"):
        began = time.perf_counter()
        rows = database.rows(f"SELECT * FROM {{d}}.{view}")  # noqa: S608
        print(f"{view}: {len(rows)} rows in {time.perf_counter() - began:.2f} s")
    _assert_daily(database, as_facts(facts), last, sample=400)
    whole = recompute(as_facts(fact.model_copy(update={"customer_id": "all"}) for fact in facts), last)["all", "USD"]
    portfolio = {row["day"]: row for row in database.rows("SELECT * FROM {d}.portfolio_daily")}
    for day in random.Random(2).sample(sorted(portfolio), 8):
        assert _picked(portfolio[day]) == whole.on(day), day


VIEWS = ("events", "dead_letters", "debtors", "debtor_daily", "portfolio_daily", "scores", "limit_changes", "customers")


def test_everything_twice_with_other_batch_borders_changes_nothing(database: Database) -> None:
    facts = [fact for seed in range(8) for fact in tangled(seed, f"C{seed}")]
    records = [*as_records(facts), *_outputs(), tick(date(2024, 8, 31))]
    database.sink(records)
    once = {view: _fingerprint(database, view) for view in VIEWS}
    database.sink(reversed(records), batch=7)
    assert {view: _fingerprint(database, view) for view in VIEWS} == once
    # The same facts under other event ids are other events, but the same facts.
    database.sink(as_records(facts, "resent"))
    assert {view: _fingerprint(database, view) for view in VIEWS[1:]} == {view: once[view] for view in VIEWS[1:]}


def _fingerprint(database: Database, view: str) -> object:
    columns = "* EXCEPT (partition, offset)" if view in {"events", "scores", "limit_changes"} else "*"
    return database.rows(f"SELECT count(), sum(cityHash64(*)) FROM (SELECT {columns} FROM {{d}}.{view})")  # noqa: S608


def _outputs() -> list[SinkRecord]:
    versions = {"policy_version": "p", "model_version": "m", "code_version": "c"}
    at = datetime(2024, 8, 1, tzinfo=UTC)
    score: dict[str, Any] = {"customer_id": "C1", "ready": True, "currency": "EUR", "reasons": (), "scored_at": at, **versions}
    limit: dict[str, Any] = {"terms_days": 30, "security_required": False, "effective_from": date(2024, 8, 1)}
    limit |= {
        "expires_on": None,
        "reasons": (),
        "previous_limit": None,
        "currency": "EUR",
        "evidence": (),
        "supersedes": None,
        "customer_id": "L",
    }
    changes = [
        LimitChanged(limit_change_id=f"l{g}{n}", generation=g, sequence=n, new_limit=Decimal(n), **limit, **versions)
        for g, n in ((1, 8), (2, 1), (1, 9))
    ]
    own = ScoreComputed(invoice_id=None, p_late=0.5, p_default=0.25, expected_loss=Decimal("1.50"), band="weak", **score)
    invoices = ScoreComputed(invoice_id="I0", p_late=0.9, p_default=0.9, expected_loss=None, band="weak", **score)
    return [
        record(own, "s1", topic="scores"),
        record(invoices, "s2", topic="scores"),
        *(record(c, c.limit_change_id, topic="limit-changes", kind="duewatch.limit.changed.v1") for c in changes),
        record(CustomerUpdated(customer_id="L", currency="EUR", insured_limit=Decimal(70)), "c1", topic="customers"),
    ]


def test_score_and_limit_stand_beside_the_amounts_and_alone(database: Database) -> None:
    database.sink([*as_records(tangled(1, "C1")), *_outputs(), tick(date(2024, 8, 31))])
    rows = {(row["customer_id"], row["currency"]): row for row in database.rows("SELECT * FROM {d}.debtors")}
    assert (rows["C1", "EUR"]["p_late"], rows["C1", "EUR"]["expected_loss"]) == (0.5, Decimal("1.50"))
    assert rows["C1", "EUR"]["credit_limit"] is None
    alone = rows["L", "EUR"]
    assert (alone["credit_limit"], alone["insured"], alone["exposure"], alone["band"]) == (1, 70, 0, None)
    assert alone["dso_standard"] is None


def test_a_score_is_kept_with_its_words_in_both_languages_and_what_would_change_its_band(database: Database) -> None:
    reason = Reason(code="own_rate", contribution=0.5, text="pays late", text_de="zahlt spät", family="delays", evidence=("e",))
    change = WouldChange(band="medium", p_late=0.4, p_default=0.1, log_odds=-0.7, text="if", text_de="wenn")
    at = datetime(2024, 8, 1, tzinfo=UTC)
    told = ScoreComputed(
        customer_id="C1", policy_version="p", model_version="m", code_version="c", invoice_id=None, p_late=0.5, p_default=0.25,
        ready=True, expected_loss=None, currency="EUR", band="weak", reasons=(reason,), scored_at=at, would_change=change,
    )  # fmt: skip
    without = told.model_copy(update={"reasons": (reason.model_copy(update={"text_de": None}),), "would_change": None})
    database.sink([record(told, "s1", topic="scores"), record(without, "s2", topic="scores")])
    rows = database.rows("SELECT id, reasons, would_change FROM {d}.scores ORDER BY id")
    assert rows[0]["reasons"] == [reason.model_dump() | {"evidence": ["e"]}]
    assert rows[0]["would_change"] == change.model_dump()
    assert (rows[1]["reasons"][0]["text_de"], rows[1]["would_change"]["band"]) == (None, "")


def test_a_failed_deadline_is_a_row(database: Database) -> None:
    told = DeadlineFailed(
        customer_id="C1", kind="invoice", row="i/I1", due_on=date(2024, 8, 1), try_again_on=date(2024, 8, 2), error="E: e",
        recommended_action="report it", code_version="c",
    )  # fmt: skip
    database.sink([record(told, "d1", topic="dead-letters")])
    [row] = database.rows("SELECT * FROM {d}.failed_deadlines")
    assert {name: row[name] for name in type(told).model_fields} == told.model_dump()
    assert database.one("SELECT count() FROM {d}.dead_letters") == 0


def test_failed_deadlines_are_listed_with_what_became_of_them(database: Database) -> None:
    def failed(row: str, due: int) -> SinkRecord:
        told = DeadlineFailed(
            customer_id="C1", kind="invoice", row=row, due_on=date(2024, 8, due), try_again_on=date(2024, 8, due + 1),
            error=f"E: on {due}", recommended_action="report it", code_version="c",
        )  # fmt: skip
        return record(told, f"{row}-{due}", topic="dead-letters")

    database.sink([failed("i/I1", 1), failed("i/I1", 2), failed("", 7), failed("", 8), tick(date(2024, 8, 8))])
    asked = ClickHouse(None, database.dsn, database.name)
    still = "deadline of C1, the debtor itself, due 2024-08-07: E: on 8  [tried again on 2024-08-09]"
    over = "deadline of C1, i/I1, due 2024-08-01: E: on 2  [resolved since; failed 2 times]"
    assert listing.list_deadlines(asked, 9).splitlines() == [still, over]
    assert listing.list_deadlines(asked, 9, only_open=True) == still


def _rejected(bad: SinkRecord, offset: int = 0) -> SinkRecord:
    letter = RecordRejected(
        topic=bad.topic, partition=bad.partition, offset=offset, reason="r", field=None, code_version="1",
        raw=base64.b64encode(bad.value or b"").decode(), key=base64.b64encode(bad.key or b"").decode(),
        headers=tuple((name, base64.b64encode(raw or b"").decode()) for name, raw in bad.headers),
    )  # fmt: skip
    return record(letter, f"dead-{bad.partition}-{offset}", topic="dead-letters")


INVOICE = p.InvoiceIssued(
    customer_id="A", invoice_id="I1", amount=Decimal(100), currency="EUR", issued_on=date(2024, 1, 1), due_on=date(2024, 1, 31)
)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(
            record(INVOICE.model_copy(update={"amount": Decimal(7)}), "e1", offset=5), id="other content under a known id"
        ),
        pytest.param(record(INVOICE.model_copy(update={"amount": Decimal(999)}), "e2"), id="other content under a known invoice"),
        pytest.param(record(INVOICE, "e1", key="B", partition=3), id="same id and bytes under a wrong key"),
        pytest.param(record(INVOICE, "e1", partition=3), id="same id and bytes in a wrong partition"),
        pytest.param(
            record(INVOICE, "e1", recorded=datetime(1999, 1, 1, tzinfo=UTC)), id="same id and bytes with an impossible header"
        ),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_a_dead_letter_takes_exactly_its_own_record_out(database: Database, bad: SinkRecord, order: int) -> None:
    good = record(INVOICE, "e1")
    database.sink([*[good, bad][::order], tick(date(2024, 1, 31))])
    # Of an earlier run, when the record lay at another offset.
    database.sink([_rejected(bad, offset=77)])
    [event] = database.rows("SELECT * FROM {d}.events")
    assert (event["id"], event["key"], event["partition"], event["data"]) == ("e1", "A", 0, INVOICE.model_dump_json())
    assert database.one("SELECT open_amount FROM {d}.debtors") == 100
    [letter] = database.rows("SELECT * FROM {d}.dead_letters")
    assert (letter["offset"], letter["event_id"]) == (77, (bad.headers[0][1] or b"").decode())


def test_two_ledgers_lie_side_by_side(clickhouse: Client, clickhouse_dsn: str) -> None:
    one, other = (Database(clickhouse, clickhouse_dsn) for _ in range(2))
    one.sink([record(INVOICE, "e1"), tick(date(2024, 1, 31))])
    other.sink([record(INVOICE.model_copy(update={"amount": Decimal(7)}), "e1"), tick(date(2024, 2, 29))])
    assert (one.one("SELECT open_amount FROM {d}.debtors"), other.one("SELECT open_amount FROM {d}.debtors")) == (100, 7)


def test_as_of_is_the_partition_that_is_behind_of_the_prefix_that_is_ahead(database: Database) -> None:
    ticks = [tick(date(2024, 3, n), partition, prefix) for prefix, partition, n in (("a", 0, 9), ("a", 1, 7), ("b", 0, 3))]
    database.sink([record(INVOICE, "e1"), *ticks])
    assert database.one("SELECT as_day FROM {d}.as_of") == date(2024, 3, 7)
    assert database.one("SELECT max(day) FROM {d}.portfolio_daily") == date(2024, 3, 7)


def test_before_the_first_tick_there_are_no_days(database: Database) -> None:
    database.sink([record(INVOICE, "e1")])
    assert database.one("SELECT count() FROM {d}.portfolio_daily") == 0


def _sales(days: dict[date, str], due: date) -> list[Contract]:
    return [
        INVOICE.model_copy(update={"invoice_id": str(d), "amount": Decimal(a), "issued_on": d, "due_on": due})
        for d, a in days.items()
    ]


def test_golden_vectors_of_the_dso_forms(database: Database) -> None:
    # A textbook example, with its 30 days as our 90: 15,000 / 10,000 -> 1.5 windows = 135 days, 4,000 not due -> 36, ADD 99.
    day = date(2024, 12, 31)
    old, new, late = date(2024, 9, 1), date(2024, 12, 1), date(2024, 12, 2)
    facts = [
        *_sales({old: "5000.00", late: "6000.00"}, due=date(2024, 12, 5)),
        *_sales({new: "4000.00"}, due=date(2025, 1, 15)),
    ]
    database.sink([*as_records(facts), tick(day)])
    [row] = database.rows("SELECT * FROM {d}.debtors")
    assert [row[name] for name in COLUMNS[-4:-1]] == [Decimal(135), Decimal(36), Decimal(99)]


@pytest.mark.parametrize(("owed", "days"), [(12_000, "166.33"), (13_000, "179.67")])
def test_golden_vector_of_countback_is_oracles_corrected_one(database: Database, owed: int, days: str) -> None:
    # Five months (153 days) sold 11,000; in the month of 30 days before, 2,250 were sold, here 75 on each day.
    last = date(2024, 12, 31)
    sales = {last - timedelta(152): "10999.00", last: "1.00"} | {last - timedelta(153 + n): "75.00" for n in range(30)}
    facts = _sales(sales, due=date(2025, 1, 31))
    amount = Decimal(13_250 - owed)
    oldest = str(last - timedelta(152))  # what is paid of an invoice stays a sale
    part = p.Allocation(invoice_id=oldest, amount=amount)
    payment = p.PaymentReceived(customer_id="A", payment_id="n", amount=amount, currency="EUR", paid_on=last, allocations=(part,))
    database.sink([*as_records([*facts, payment]), tick(last)])
    [row] = database.rows("SELECT * FROM {d}.debtors")
    assert (row["open_amount"], row["dso_countback"]) == (owed, Decimal(days))
