"""One debtor while one cause is applied: its rows as they are by now, and what goes out. No I/O; thrown away afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from agents.debtor.event_order import local_day
from agents.debtor.keys import RATES, SCORE, kind_of
from agents.debtor.payments.decide import worst_days_past_due
from agents.debtor.payments.posting import LedgerView, Posting
from agents.debtor.payments.state import ZERO, Balance, Item
from agents.debtor.scoring.state import ScoreState
from agents.debtor.state import RatesInForce, Row, open_header
from schemas.base import Contract
from schemas.currencies import MINOR_UNITS
from schemas.events.clock import ContextSet
from schemas.events.envelope import Event, Output, Rejection
from schemas.events.policies import PolicyPublished
from schemas.ids import stable_id

EMPTY_SCORE = ScoreState()


@dataclass(frozen=True, slots=True)
class Deadline:
    """A deadline of one row: the end of the day before ``day`` has passed."""

    row_key: str
    day: int
    rates_before: RatesInForce | None = None
    """Where the cause is that the rates have changed (``keys.rates_key``): those before."""

    @property
    def is_of_debtor(self) -> bool:
        """Whether it is about the debtor as a whole, and of no other row than the header."""
        return not self.row_key or self.is_of_rates

    @property
    def is_of_rates(self) -> bool:
        """Whether the cause is that the rates have changed."""
        return kind_of(self.row_key) == RATES


@dataclass(slots=True)
class Reaction:
    """What one cause changes and sends. ``changes``: row key -> row, None = delete. A rejected or known event changes nothing."""

    changes: dict[str, Row | None] = field(default_factory=dict)
    outputs: list[Output] = field(default_factory=list)
    rejection: Rejection | None = None
    duplicate: bool = False


class Sums(NamedTuple):
    """What a debtor owes in all currencies, in the policy's; all None where a rate is missing: never a guess."""

    open_amount: Decimal | None
    exposure: Decimal | None
    overdue: Decimal | None
    sales_90d: Decimal | None


NO_SUMS = Sums(ZERO, ZERO, ZERO, ZERO)
UNKNOWN_SUMS = Sums(None, None, None, None)


@lru_cache(maxsize=4096)
def start_of_day(day: int, zone: str) -> datetime:
    """The instant at which a creditor's day begins, in UTC."""
    return datetime.combine(date.fromordinal(day), time.min, tzinfo=ZoneInfo(zone)).astimezone(UTC)


@lru_cache(maxsize=256)
def smallest_unit(currency: str) -> Decimal:
    """What converted amounts are rounded to: a cent, in the finer currencies their smallest unit.

    >>> smallest_unit("EUR"), smallest_unit("JPY"), smallest_unit("KWD")
    (Decimal('0.01'), Decimal('0.01'), Decimal('0.001'))
    """
    return Decimal(1).scaleb(-max(2, MINOR_UNITS[currency]))


_first_day = lru_cache(maxsize=8)(local_day)


class UnitOfWork:
    """Rows of one debtor (base and changes), the cause, the context, and the outputs so far."""

    __slots__ = (
        "_base", "_cause", "_cause_id", "_day", "_number", "_summed", "_sums", "at", "changes", "context", "customer_id",
        "header", "header_before", "may_send", "needs_score", "outputs", "paused", "policy", "recorded_before",
    )  # fmt: skip

    def __init__(
        self,
        customer_id: str,
        base: Mapping[str, Row],
        cause: Event | Deadline,
        context: ContextSet,
        day: int,
        paused: frozenset[str] = frozenset(),
    ) -> None:
        self.customer_id, self._base, self.context, self.policy = customer_id, base, context, context.policy
        self.paused = paused
        self.outputs: list[Output] = []
        self._day, self._number = day, 0
        self.needs_score = False
        """Whether something has changed that the debtor's own score looks at."""
        self._summed: Mapping[str, Balance] | None = None
        self._sums = NO_SUMS
        self.header, self.changes = open_header(base, day)
        self.header_before = self.header
        self._cause, self._cause_id = cause, ""
        self.at = cause.recorded if isinstance(cause, Event) else start_of_day(cause.day, self.policy.time_zone)
        self.recorded_before = ""
        """When a postponed fact was recorded, RFC 3339; empty = now."""
        live_from = context.live_from
        self.may_send = live_from is None or day >= _first_day(live_from, self.policy.time_zone)

    @property
    def day(self) -> int:
        """The creditor's day, as an ordinal."""
        return self._day

    @property
    def recorded(self) -> str:
        """When the fact was recorded, RFC 3339: it tells which of two words about the same thing is the later one."""
        return self.recorded_before or self.at.isoformat()

    @property
    def today(self) -> date:
        """The creditor's day."""
        return date.fromordinal(self._day)

    def get(self, row_key: str) -> Any:
        """The row as it is by now, or None."""
        return self.changes[row_key] if row_key in self.changes else self._base.get(row_key)

    def put(self, row_key: str, row: Row | None) -> None:
        """Change a row; None deletes it."""
        self.changes[row_key] = row

    @property
    def ledger(self) -> LedgerView:
        """What the debtor owes by now, and the rules' days, for ``payments.decide``."""
        policy = self.policy
        rules = policy.alerts
        return LedgerView(self.header.balances, self.get, self._day, rules.overdue_days, policy.horizon_days, self.tolerance)

    def tolerance(self, item: Item) -> Decimal:
        """How much of an invoice may stay open without anybody being late; without a rate the share alone counts."""
        rules, rate = self.policy.alerts, self.rate(item.currency)
        share: Decimal = rules.tolerance_share * item.amount
        return share if rate is None else max(share, rules.tolerance_amount / rate)

    def post(self, posting: Posting) -> None:
        """Take over what a fact did to items and balances."""
        self.changes.update(posting.rows)
        self._set_balances(posting.balances)

    def set_balance(self, currency: str, balance: Balance) -> None:
        """Replace the balance of one currency."""
        if balance != self.header.balances.get(currency):
            self._set_balances({**self.header.balances, currency: balance})

    def _set_balances(self, balances: dict[str, Balance]) -> None:
        """The debtor is scored anew if its worst days past due have changed."""
        if not self.needs_score and worst_days_past_due(balances) != worst_days_past_due(self.header.balances):
            self.needs_score = True
        self.header = replace(self.header, balances=balances)

    def set(self, **parts: Any) -> None:
        """Replace parts of the header."""
        self.header = replace(self.header, **parts)

    @property
    def score(self) -> ScoreState:
        """What the score has learned of the debtor."""
        return self.get(SCORE) or EMPTY_SCORE

    def set_score(self, score: ScoreState) -> None:
        """Replace what the score has learned of the debtor."""
        self.changes[SCORE] = score

    def rows(self, prefix: str) -> Iterator[tuple[str, Row]]:
        """All rows whose keys begin with ``prefix``, in the order of their keys. Only for what is rare: it looks at every row."""
        keys = {k for k in self._base if k.startswith(prefix)} | {k for k in self.changes if k.startswith(prefix)}
        for key in sorted(keys):
            row = self.get(key)
            if row is not None:
                yield key, row

    @property
    def cause_id(self) -> str:
        """The event's id; a deadline's follows from (customer, row, day), never from the tick that fired it."""
        if not self._cause_id:
            cause = self._cause
            self._cause_id = (
                cause.id if isinstance(cause, Event) else stable_id("wake", self.customer_id, cause.row_key, cause.day)
            )
        return self._cause_id

    def send(self, topic: str, type_: str, data: Contract, *, internal: bool = False) -> None:
        """Add an output; its id follows from the cause and its number. Before ``live_from`` nothing goes out."""
        self._number += 1
        if self.may_send or internal:
            cause, cause_id = self._cause, self.cause_id
            output_id = stable_id(type_, self.customer_id, cause_id, self._number)
            correlation_id = (isinstance(cause, Event) and cause.correlation_id) or cause_id
            self.outputs.append(
                Output(topic, self.customer_id, type_, output_id, self.at, self.at, data, cause_id, correlation_id)
            )

    # -- amounts in the policy's currency
    def rate(self, currency: str) -> Decimal | None:
        """Units of the policy's currency for one unit of another; None where no rate is known."""
        policy: PolicyPublished = self.policy
        if currency == policy.currency:
            return Decimal(1)
        rates = self.context.rates
        if rates is None or rates.base != policy.currency:
            return None
        return rates.rates.get(currency)

    @property
    def sums(self) -> Sums:
        """The balances of all currencies together, in the policy's currency."""
        balances = self.header.balances
        if balances is not self._summed:
            self._summed, self._sums = balances, self._add_up(balances)
        return self._sums

    @property
    def is_rate_missing(self) -> bool:
        """Whether the exposure is unknown because a rate is missing."""
        balances = self.header.balances
        if not balances or (len(balances) == 1 and self.policy.currency in balances):
            return False
        return self.sums.exposure is None

    @property
    def exposure_grew(self) -> bool:
        """Whether the cause, an event or other rates, has raised the exposure; false where a rate is missing."""
        before, after = self.header_before.balances, self.header.balances
        if before is after:
            cause = self._cause
            return isinstance(cause, Deadline) and cause.is_of_rates and self._grew_by_rates(cause.rates_before)
        if len(before) == len(after) == 1 and self.policy.currency in before and self.policy.currency in after:
            return after[self.policy.currency].exposure > before[self.policy.currency].exposure
        exposure_before, exposure = self._add_up(before).exposure, self.sums.exposure
        return exposure_before is not None and exposure is not None and exposure > exposure_before

    def _grew_by_rates(self, rates_before: RatesInForce | None) -> bool:
        """An exposure that could not be known before counts as grown, too: nobody has looked at it yet."""
        exposure = self.sums.exposure
        rates = {} if rates_before is None or rates_before.base != self.policy.currency else rates_before.rates
        before = self._add_up(self.header.balances, rates.get).exposure
        return exposure is not None and (before is None or exposure > before)

    def _add_up(self, balances: Mapping[str, Balance], rate_of: Callable[[str], Decimal | None] | None = None) -> Sums:
        rate_of = rate_of or self.rate
        total = NO_SUMS
        for currency, balance in balances.items():
            open_amount = balance.open_amount
            part = Sums(open_amount, open_amount - balance.unapplied, balance.overdue_net, balance.sales_90d)
            if currency != self.policy.currency:
                rate = rate_of(currency)
                if rate is None:
                    if part == NO_SUMS:
                        continue
                    return UNKNOWN_SUMS
                unit = smallest_unit(self.policy.currency)
                part = Sums(*((amount * rate).quantize(unit) for amount in part if amount is not None))
            total = part if total is NO_SUMS else Sums(*(a + b for a, b in zip(total, part, strict=True)))  # type: ignore[operator]
        return total

    @property
    def overdue_items(self) -> int:
        """The number of open invoices that are late enough for the overdue alert, over all currencies, net of unapplied cash."""
        return sum(balance.late_items for balance in self.header.balances.values())

    def balance(self, currency: str) -> Balance:
        """The balance of a currency."""
        return self.header.balances.get(currency) or Balance()
