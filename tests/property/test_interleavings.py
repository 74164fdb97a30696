"""Late, out of order, twice: any interleaving that respects each topic's order per debtor keeps the invariants."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import split_key
from agents.debtor.payments.posting import bucket_of
from agents.debtor.payments.state import Item, Payment, PendingAllocations
from agents.debtor.state import Header
from schemas.events.customers import CustomerUpdated
from schemas.events.decisions import DecisionMade
from schemas.events.envelope import Event
from schemas.events.insolvency import InsolvencyMatched
from schemas.events.payments import InvoiceIssued
from schemas.events.policies import PolicyPublished
from streams.kafka.codec import encode
from tests.property.support import ledger_reference as reference
from tests.property.support.portfolios import END, Queues, Run, TopicEvent, interleave, portfolio
from tests.support.builders import Life, at, context, day, event, invoice, payment, received_events

seeds = st.integers(0, 2**32 - 1)
ZERO = Decimal("0.00")


def run_in_order(queues: Queues) -> Run:
    """A run in which each debtor's topics come one after the other, and the clock at the end."""
    return Run().all(interleave(Random(0), queues))


def money(run: Run) -> dict[str, Any]:
    """All amounts per debtor: balances, and those of each invoice and payment."""
    amounts: dict[str, Any] = {}
    for key, row in run.brain.rows():
        if isinstance(row, Header):
            amounts[key] = {currency: msgspec.structs.asdict(balance) for currency, balance in row.balances.items()}
        elif isinstance(row, Item):
            amounts[key] = (
                row.amount,
                row.open,
                row.paid,
                row.credited,
                row.closed,
                row.open and row.bucket,
                row.counted_overdue,
            )
        elif isinstance(row, Payment):
            amounts[key] = (row.amount, row.unapplied, row.returned, row.allocations)
        elif isinstance(row, PendingAllocations):
            amounts[key] = (row.paid, row.credited)
    return amounts


def bits(run: Run) -> tuple[Any, ...]:
    """All that a run leaves, as bytes: rows as they are written, each debtor's outputs as they go out, and what was refused.

    Among debtors whose deadlines fire with one tick there is no order: their outputs have other keys.
    """
    outputs = sorted(((o.topic, o.key, o.id, *encode(o)) for o in run.outputs), key=lambda row: row[1])
    return run.rows, outputs, [(rejection.id, why) for rejection, why in run.rejected], run.duplicates


def of_each(run: Run, topic: str) -> dict[str, list[Any]]:
    by_customer: dict[str, list[Any]] = defaultdict(list)
    for data in run.bodies(topic):
        by_customer[data.customer_id].append(data)
    return by_customer


# -- the invariants
def assert_exposure_fits_the_items(run: Run, on: int) -> None:
    """Balances are the sums of the rows that they are made of, invoice by invoice."""
    buckets: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [ZERO] * 5)
    overdue: dict[tuple[str, str], int] = defaultdict(int)
    rows = [(*split_key(key), row) for key, row in run.brain.rows()]
    for customer, _, row in rows:
        if isinstance(row, Item):
            assert ZERO <= row.open <= row.amount and row.paid >= 0 and row.credited >= 0
            is_given_up = row.closed in {"cancelled", "written_off"}
            assert row.open == (0 if is_given_up else max(ZERO, row.amount - row.credited - row.paid))
            buckets[customer, row.currency][bucket_of(at(on).toordinal() - row.due)] += row.open
            overdue[customer, row.currency] += row.counted_overdue
    for customer, _, row in rows:
        if isinstance(row, Header):
            for currency, balance in row.balances.items():
                assert balance.buckets == tuple(buckets[customer, currency])
                assert balance.overdue_items == overdue[customer, currency]
                assert balance.exposure == sum(balance.buckets) - balance.unapplied
                assert balance.sales_90d >= 0


def assert_alerts_alternate(run: Run) -> None:
    """Each alert is raised, cleared, raised ...: never twice in a row, and never cleared before it was raised."""
    states: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for alert in run.bodies("alerts"):
        states[alert.customer_id, alert.alert_type].append(alert)
    for alerts in states.values():
        assert [a.state for a in alerts] == (["raised", "cleared"] * len(alerts))[: len(alerts)]
        ids = [a.alert_id for a in alerts if a.state == "raised"]
        assert len(set(ids)) == len(ids)
        assert [a.alert_id for a in alerts if a.state == "cleared"] == ids[: len(alerts) // 2]


def assert_limits_are_within_policy(run: Run) -> None:
    """Numbered without gaps, each beginning where the last one ended; held means held; never below nothing or above the most
    that the policy gives to such sales, or a person gave."""
    rules = run.context.policy.limits
    sales: dict[str, Decimal] = defaultdict(Decimal)
    override_of: dict[str, Decimal] = defaultdict(Decimal)
    for cause in run.accepted:
        if isinstance(cause.data, InvoiceIssued):
            sales[cause.data.customer_id] += cause.data.amount
        override_of[cause.customer_id or ""] = max(
            override_of[cause.customer_id or ""], getattr(cause.data, "new_limit", None) or ZERO
        )
    for customer, changes in of_each(run, "limit-changes").items():
        numbers = [c.sequence for c in changes]
        assert numbers == list(range(1, len(numbers) + 1))
        most = max(rules.opening_limit, sales[customer] / 30 * rules.cover_days * rules.strong_factor, override_of[customer])
        assert changes[0].previous_limit is None
        for before, after in pairwise(changes):
            assert after.previous_limit == before.new_limit
            assert after.effective_from >= before.effective_from, "billing takes them over in their order"
            codes = {reason.code for reason in after.reasons}
            assert ZERO <= after.new_limit <= most
            if before.hold and after.hold and "override" not in codes:
                assert after.new_limit <= before.new_limit, "new exposure is held until a person has answered"
            if "insolvency" in codes:
                assert after.new_limit == 0
            if codes & {"overdue", "band_weak", "risk_grown", "less_business", "review_confirmed", "petition"}:
                assert after.new_limit <= before.new_limit


def assert_ids_are_unique(run: Run) -> None:
    ids = [output.id for output in run.outputs if output.topic != "current-limits"]
    assert len(set(ids)) == len(ids)


@settings(max_examples=15)
@given(seed=seeds)
def test_any_interleaving_ends_in_the_same_amounts_and_keeps_the_invariants(seed: int) -> None:
    rng = Random(seed)
    queues = portfolio(rng)
    plain = run_in_order(queues)
    twice = frozenset(cause.id for cause in plain.accepted)
    for _ in range(2):
        run = Run().all(interleave(rng, queues, twice=twice))
        assert not run.forgotten
        assert money(run) == money(plain)
        assert_ids_are_unique(run)
        assert_exposure_fits_the_items(run, END)
        assert_alerts_alternate(run)
        assert_limits_are_within_policy(run)


@settings(max_examples=25)
@given(seed=seeds)
def test_balances_equal_a_recomputation_from_what_was_accepted(seed: int) -> None:
    rng, today = Random(seed), at(END).date()
    run = Run().all(interleave(rng, portfolio(rng)))
    facts: dict[str, list[reference.Fact]] = defaultdict(list)
    for cause in run.accepted:
        if type(cause.data) in reference.VALUE_DATES:
            facts[cause.customer_id or ""].append(reference.Fact(cause.data, cause.recorded))
    headers = {split_key(key)[0]: row for key, row in run.brain.rows() if isinstance(row, Header)}
    for customer, header in headers.items():
        for currency, actual in header.balances.items():
            expected = reference.amounts(facts[customer], currency, today)
            assert (actual.open_amount, actual.exposure, actual.unapplied, actual.disputed_amount) == (
                expected.open_amount,
                expected.exposure,
                expected.unapplied,
                expected.disputed,
            )
            buckets = [ZERO] * 5
            for invoice_id, open_amount in expected.open.items():
                buckets[bucket_of((today - expected.due[invoice_id]).days)] += open_amount
            assert actual.buckets == tuple(buckets)
            first = today - timedelta(days=89)
            assert actual.sales_90d == sum((amount for on, amount in expected.net_sales.items() if on >= first), ZERO)


@settings(max_examples=15)
@given(seed=seeds)
def test_slices_of_any_size_give_the_same_rows_and_outputs_bit_by_bit(seed: int) -> None:
    rng = Random(seed)
    stream = interleave(rng, portfolio(rng))
    one_by_one = bits(Run().all(stream))
    assert bits(Run().all(stream, 7)) == one_by_one
    assert bits(Run().all(stream, 7, with_tick=True)) == one_by_one
    assert bits(Run().all(stream, 1 << 30, with_tick=True)) == one_by_one


def test_a_tick_gives_the_same_rows_in_the_slice_of_its_cut_and_in_one_of_its_own() -> None:
    """The tick's cut contains the payment, so the invoice was paid in time, however the slices fall."""
    stream = [
        TopicEvent("payments", invoice("i1", 0, due=10, amount="5000.00")),
        TopicEvent("payments", payment("p1", 9, {"i1": "5000.00"})),
    ]
    separate, combined = Run(), Run()
    for run in (separate, combined):
        run.tell(stream[:1], 0)
        run.tell([], 5)
    separate.tell(stream[1:])
    separate.tell([], 40)
    combined.tell(stream[1:], 40)
    assert not separate.bodies("alerts")
    assert bits(combined) == bits(separate)


@settings(max_examples=15)
@given(seed=seeds)
def test_a_worker_that_takes_over_in_the_middle_goes_on_bit_by_bit(seed: int) -> None:
    rng = Random(seed)
    stream = interleave(rng, portfolio(rng))
    uninterrupted = Run()
    places = sorted(rng.randrange(len(stream)) for _ in range(3))
    taken_over = Run()
    for place, entry in enumerate(stream):
        if place in places:
            taken_over = taken_over.take_over()
        for run in (uninterrupted, taken_over):
            if isinstance(entry, TopicEvent):
                run.tell([entry])
            else:
                run.tell([], entry.day)
    assert bits(taken_over) == bits(uninterrupted)


def test_a_worker_that_takes_over_while_a_generation_opens_opens_it_for_the_others() -> None:
    debtors = 10
    brain, acts = DebtorBrain(), context()
    result = brain.fold(
        received_events(*[invoice(f"i{n}", 0, customer=f"c-{n}") for n in range(debtors)]),
        at(1),
        context("observe"),
        replay=False,
    )
    brain.on_committed(result)
    rows = dict(result.rows)
    result = brain.fold([], at(2), acts, replay=False, max_deadlines=3)
    brain.on_committed(result)
    rows |= result.rows
    changes = [output for output in result.outputs if output.topic == "limit-changes"]
    successor = DebtorBrain()
    for key, row in rows.items():
        successor.restore(key, row)
    for n in (2, 3):
        result = successor.fold([], at(n), acts, replay=False)
        successor.on_committed(result)
        changes += [output for output in result.outputs if output.topic == "limit-changes"]
    assert {output.key for output in changes} == {f"c-{n}" for n in range(debtors)}


def notice(n: int, stage: str) -> Event:
    """A certain match of the n-th day."""
    fact = InsolvencyMatched(
        customer_id="c-1", notice_id=f"n{n}", register="r", kind="k", stage=stage, match="certain", published_on=day(n)
    )
    return event(fact, n)


def test_a_debtor_in_credit_whose_proceeding_is_over_gets_no_negative_limit() -> None:
    life = Life()
    life.tell(payment("p1", 0, {}, amount="150.00"), notice(1, "opened"), notice(2, "closed"))
    assert min(change.new_limit for change in life.bodies("limit-changes")) >= 0


def test_a_row_is_written_alike_with_and_without_a_take_over() -> None:
    possible = InsolvencyMatched(
        customer_id="c-1", notice_id="n0", register="r", kind="k", stage="none", match="possible", published_on=day(1)
    )
    first = Run()
    first.tell([TopicEvent("insolvency-events", event(possible, 1))])
    second = first.take_over()
    later = notice(2, "plan")
    for run in (first, second):
        run.tell([TopicEvent("insolvency-events", later)])
    assert second.rows == first.rows


def test_a_change_of_flags_after_a_numbered_change_keeps_the_number() -> None:
    """The hold lapses and the petition is withdrawn in one look; then a person sets the limit."""
    life = Life()

    override = DecisionMade(
        customer_id="c-1", decision_id="d1", subject="limit", action="override", owner="jane", decided_on=day(21),
        new_limit=Decimal(500), currency="EUR", expires_on=day(40),
    )  # fmt: skip
    life.tell(notice(1, "petition"), now=at(1))
    life.tell(notice(20, "dismissed"), event(override, 21), now=at(1))
    assert [change.sequence for change in life.bodies("limit-changes")] == [1, 2, 3, 4]


def test_a_change_is_in_force_from_no_earlier_than_the_one_before() -> None:
    """Live, what was recorded ahead of the clock is applied at once; what comes later, of an earlier day, counts from then."""
    override = DecisionMade(
        customer_id="c-1", decision_id="d1", subject="limit", action="override", owner="jane", decided_on=day(20),
        new_limit=Decimal(500), currency="EUR", expires_on=day(40),
    )  # fmt: skip
    life = Life()
    life.tell(notice(1, "petition"), event(override, 20), notice(5, "opened"), notice(30, "dismissed"), now=at(1))
    changes = [(change.new_limit, change.effective_from) for change in life.bodies("limit-changes")[2:]]
    assert changes[:2] == [(Decimal(500), day(20)), (Decimal(0), day(20))]
    assert [on for _, on in changes[2:]] == [day(30)]


def test_resent_master_data_does_not_replace_newer() -> None:
    """ClickHouse's ``customers`` shows the newest by recorded time; the debtor's header must say the same."""
    life = Life()
    old = event(CustomerUpdated(customer_id="c-1", country="DE"), 0)
    new = event(CustomerUpdated(customer_id="c-1", country="FR"), 5)
    life.tell(old, new, old)
    assert life.row("").master.country == "FR"


def test_the_policy_of_these_tests_bounds_what_they_check() -> None:
    """The bound of ``assert_limits_are_within_policy`` is the largest target there is: at least 30 days, the strong factor."""
    rules = PolicyPublished().limits
    assert rules.strong_factor == max(rules.strong_factor, rules.medium_factor, rules.weak_factor)
    assert timedelta(days=rules.cover_days) >= timedelta(days=30)
