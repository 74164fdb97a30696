"""New rates: whoever has a foreign balance is judged at the next tick, so many with a slice, and wherever the partition lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

import pytest

from agents.brain import FoldResult
from agents.debtor.brain import DebtorBrain
from agents.debtor.keys import OPENED
from agents.debtor.state import decode_opening
from schemas.events.clock import ContextSet
from schemas.events.decisions import DecisionMade
from schemas.events.envelope import Event, Output
from schemas.events.rates import RatesPublished
from streams.recompute.journal import apply_changes
from tests.support.builders import Life, at, context, day, event, invoice, payment, received_events


def under(usd: str | None, base: str = "EUR") -> ContextSet:
    """A context in which a dollar is worth so much."""
    rates = RatesPublished(base=base, valid_from=day(0), rates={} if usd is None else {"USD": Decimal(usd)})
    return context().model_copy(update={"rates": rates})


def limited_to(amount: str, n: int = 0, customer: str = "c-1") -> Event:
    """A person sets the limit, so that nothing else moves it."""
    return event(
        DecisionMade(
            customer_id=customer, decision_id=f"d-{customer}-{n}", subject="limit", action="override", owner="ada",
            decided_on=day(n), new_limit=Decimal(amount), currency="EUR", expires_on=day(n + 300),
        ),
        n,
    )  # fmt: skip


def over_limit(outputs: list[Output]) -> list[str]:
    """Whose alert was raised."""
    return [o.key for o in outputs if o.topic == "alerts" and getattr(o.data, "alert_type", "") == "over_limit"]


def a_life(usd: str | None = "0.50", *, currency: str = "USD", limit: str = "6000.00") -> Life:
    """A debtor that owes 10,000 under a limit, at the noon of the second day."""
    life = Life(under(usd))
    life.tell(limited_to(limit), invoice("i1", 1, amount="10000.00", due=300, currency=currency), now=at(2))
    return life


def test_a_rate_that_lifts_the_exposure_above_the_limit_alerts_at_the_next_tick() -> None:
    life = a_life()
    assert over_limit(life.until(3)) == []
    life.context = under("1.00")
    assert over_limit(life.until(4)) == ["c-1"]
    assert life.bodies("alerts")[-1].exposure == Decimal("10000.00")
    assert over_limit(life.until(5)) == [], "once"


@pytest.mark.parametrize(
    ("usd", "currency"),
    [
        pytest.param("0.50", "USD", id="the same rate, published again"),
        pytest.param("0.45", "USD", id="a rate that lowers the exposure"),
        pytest.param("1.00", "EUR", id="nothing owed in that currency"),
    ],
)
def test_nothing_is_said_where_the_rate_raises_nothing(usd: str, currency: str) -> None:
    life = a_life(currency=currency, limit="12000.00")
    life.tell(limited_to("4000.00", 2))
    count = len(life.outputs)
    life.context = under(usd)
    life.until(4)
    assert [o for o in life.outputs[count:] if o.topic == "alerts"] == [], "over a limit that was cut, as before"


def test_an_exposure_that_becomes_known_is_judged() -> None:
    life = a_life(None)
    assert over_limit(life.outputs) == []
    life.context = under("1.00")
    assert over_limit(life.until(3)) == ["c-1"]


def test_a_rate_that_is_missing_from_now_on_opens_a_review_and_holds_and_one_that_is_back_ends_none() -> None:
    life = Life(under("0.50"))
    life.tell(invoice("i1", 1, amount="1000.00", due=300, currency="USD"), invoice("i1", 1, customer="home"), now=at(2))
    life.context = under(None)
    life.until(3)
    change = life.bodies("limit-changes")[-1]
    assert (change.customer_id, change.hold, [r.code for r in change.reasons]) == ("c-1", True, ["rate_missing"])
    assert change.new_limit == change.previous_limit, "never a guess"
    count = len(life.outputs)
    life.context = under("0.50")
    life.until(4)
    assert len(life.outputs) == count
    assert life.row("").limit.hold, "it stays until a person answers, or it lapses"
    life.until(12)
    assert (life.row("").limit.hold, life.row("").limit.rate_acted) == (False, False)


def test_two_changes_on_one_day_are_two_causes() -> None:
    life = a_life()
    causes = []
    for usd in ("1.00", "0.50", "2.00"):
        life.context = under(usd)
        causes += [o.causation_id for o in life.until(4) if o.topic == "alerts"]
    assert len(causes) == len(set(causes)) >= 2


CUSTOMERS = [f"c-{n}" for n in range(7)]


class Partition:
    """A brain, and its rows as they are written."""

    def __init__(self, rows: Mapping[str, bytes] | None = None) -> None:
        self.brain, self.rows = DebtorBrain(), dict(rows or {})
        for key, value in self.rows.items():
            self.brain.restore(key, value)

    def commit(self, result: FoldResult) -> FoldResult:
        self.brain.on_committed(result)
        apply_changes(self.rows, result.rows)
        return result

    def slices(self, ctx: ContextSet, budget: int) -> Iterator[FoldResult]:
        """Slices until nothing is left."""
        has_more = True
        while has_more:
            folded = self.brain.fold([], at(3), ctx, replay=False, max_deadlines=budget, previous_tick=at(3))
            has_more = folded.has_more
            yield self.commit(folded)


def many() -> Partition:
    """A partition whose debtors would be over their limits if a dollar were worth more."""
    partition = Partition()
    facts = [limited_to("6000.00", customer=c) for c in CUSTOMERS]
    facts += [invoice("i1", 1, amount="10000.00", due=300, currency="USD", customer=c) for c in CUSTOMERS]
    facts += [invoice("i1", 1, amount="10.00", due=300, customer="home")]
    partition.commit(partition.brain.fold(received_events(*facts), at(2), under("0.50"), replay=False))
    return partition


def test_so_many_are_judged_with_a_slice_and_everybody_once_in_an_order_of_no_sender() -> None:
    results = list(many().slices(under("1.00"), budget=3))
    judged = [over_limit(result.outputs) for result in results]
    assert [len(customers) for customers in judged] == [3, 3, 1]
    order = [customer for customers in judged for customer in customers]
    assert sorted(order) == CUSTOMERS
    assert order not in (CUSTOMERS, CUSTOMERS[::-1])
    assert not any(key.startswith("home") for result in results for key in result.rows)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_whoever_takes_the_partition_over_goes_on_where_it_stopped(count: int) -> None:
    partition, rates = many(), under("1.00")
    whole = [o for result in many().slices(rates, budget=3) for o in result.outputs]
    before = partition.slices(rates, budget=3)
    outputs = [o for _ in range(count) for o in next(before).outputs]
    outputs += [o for result in Partition(partition.rows).slices(rates, budget=3) for o in result.outputs]
    assert [o for o in outputs if o.topic == "alerts"] == [o for o in whole if o.topic == "alerts"]


def test_rates_that_change_again_before_everybody_was_judged_are_compared_with_those_that_all_know() -> None:
    partition = many()
    first = next(partition.slices(under("0.90"), budget=3))
    rest = [result.outputs for result in partition.slices(under("0.80"), budget=10)]
    assert sorted(c for outputs in (first.outputs, *rest) for c in over_limit(outputs)) == CUSTOMERS
    assert decode_opening(partition.rows[OPENED]).judged_up_to is None


def test_a_debtor_whose_foreign_invoice_is_paid_and_forgotten_is_left_alone() -> None:
    life = a_life()
    life.tell(payment("p1", 2, {"i1": "10000.00"}, currency="USD"))
    life.until(120)
    life.context = under("1.00")
    assert over_limit(life.until(121)) == []


def test_a_row_of_the_partition_from_before_rates_were_kept_is_read() -> None:
    opening = decode_opening(b'{"action":"act","generation":0,"live":true,"day":739000}')
    assert (opening.rates, opening.judged_up_to) == (None, None)
