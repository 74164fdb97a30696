"""What was said of each invoice when it was issued, what came of it, and in which order the two became known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.debtor.keys import features_key, state_key
from agents.debtor.scoring.calendar import day_class
from agents.debtor.scoring.default import STAGE_FLOORS, levels
from agents.debtor.scoring.state import Features
from agents.score_model import UNIT
from schemas.events.customers import CustomerUpdated
from schemas.events.envelope import Event, Output
from schemas.events.insolvency import InsolvencyMatched
from schemas.events.models import ExampleMatured
from schemas.events.payments import CreditNoteIssued, InvoiceIssued, InvoiceWrittenOff, PaymentReceived, PaymentReturned
from schemas.outputs.alerts import AlertChanged
from schemas.outputs.scores import ScoreComputed
from streams.backtest.statistics import Floats, Ints

COLD = 5
"""A debtor with fewer earlier invoices than this is cold."""
DEFAULT_DAYS = 90
"""Days past due after which an invoice that was paid in time, and so never defaulted, is judged: the same delay for all (D8)."""
MONTH_DAYS = 30
UNKNOWN = -1
"""The label of what has not matured yet."""


@dataclass(slots=True)
class Invoice:
    """An invoice as it was scored when it was issued, and what came of it (None = not known yet)."""

    score: ScoreComputed
    earlier: int
    """Invoices of the debtor that had been scored before."""
    late: int | None = None
    default: int | None = None
    x: tuple[int, ...] = ()
    """The features that the learners got, as of the issue, in 1/``UNIT``."""
    risk: str = ""
    """The class of ``p_default``, as of the issue."""


@dataclass(slots=True)
class _Open:
    """An invoice as told, and when it was settled."""

    told: InvoiceIssued
    rest: Decimal
    settled_on: date | None = None


class Warned(NamedTuple):
    """Something that called a debtor bad on a day: an alert's type, or ``weak`` for the band."""

    customer_id: str
    kind: str
    day: int


@dataclass(slots=True)
class History:
    """Gathered while a backtest runs: ``hear`` every event that comes in, ``see`` every output that goes out."""

    invoices: dict[tuple[str, str], Invoice] = field(default_factory=dict)
    """(customer, invoice) -> invoice, in the order of issue."""
    order: list[int] = field(default_factory=list)
    """What happened one after the other: i = invoice i was scored, ~i = its label (late or not) matured."""
    customers: dict[str, CustomerUpdated] = field(default_factory=dict)
    first_day: date = date.max
    last_day: date = date.min
    warnings: list[Warned] = field(default_factory=list)
    debtors: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Customer -> the days (ordinals) on which its own score went out, and its p_default."""
    bad_days: dict[str, int] = field(default_factory=dict)
    """Customer -> the first day on which it was insolvent or had an invoice written off."""
    _open: dict[tuple[str, str], _Open] = field(default_factory=dict)
    _allocated: dict[tuple[str, str], list[tuple[str, Decimal]]] = field(default_factory=dict)
    _numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    _seen: Counter[str] = field(default_factory=Counter)
    _looked: int = 0

    # -- what comes in
    def hear(self, event: Event) -> None:
        """Amounts, dates and master data; when an invoice was settled is reckoned here, apart from the brain that is judged."""
        day = event.recorded.date()
        self.first_day, self.last_day = min(self.first_day, day), max(self.last_day, day)
        told = _HEARD.get(type(event.data))
        if told is not None:
            told(self, event.data)

    def _customer(self, fact: CustomerUpdated) -> None:
        self.customers[fact.customer_id] = fact

    def _issued(self, fact: InvoiceIssued) -> None:
        self._open.setdefault((fact.customer_id, fact.invoice_id), _Open(fact, fact.amount))

    def _paid(self, fact: PaymentReceived) -> None:
        self._allocated[fact.customer_id, fact.payment_id] = [(a.invoice_id, a.amount) for a in fact.allocations]
        self._settle(fact, fact.paid_on)

    def _credited(self, fact: CreditNoteIssued) -> None:
        self._settle(fact, fact.issued_on)

    def _settle(self, fact: PaymentReceived | CreditNoteIssued, day: date) -> None:
        for allocation in fact.allocations:
            item = self._open.get((fact.customer_id, allocation.invoice_id))
            if item is not None:
                item.rest -= allocation.amount
                if item.rest <= 0 and item.settled_on is None:
                    item.settled_on = day

    def _returned(self, fact: PaymentReturned) -> None:
        """The payment is undone, last allocations first: what it settled is open again."""
        left = fact.amount
        allocated = self._allocated.get((fact.customer_id, fact.payment_id), [])
        while left > 0 and allocated:
            invoice_id, amount = allocated.pop()
            item = self._open.get((fact.customer_id, invoice_id))
            if item is not None:
                item.rest += min(left, amount)
                if item.rest > 0:
                    item.settled_on = None
            left -= amount

    def _written_off(self, fact: InvoiceWrittenOff) -> None:
        self._bad(fact.customer_id, fact.written_off_on)

    def _insolvent(self, fact: InsolvencyMatched) -> None:
        if fact.stage in STAGE_FLOORS and fact.match == "certain":
            self._bad(fact.customer_id, fact.published_on)

    def _bad(self, customer_id: str, day: date) -> None:
        self.bad_days[customer_id] = min(self.bad_days.get(customer_id, day.toordinal()), day.toordinal())

    # -- what goes out
    def see(self, output: Output) -> None:
        """The first score of an invoice is its prediction; a later label of the same invoice corrects the one before."""
        data = output.data
        if isinstance(data, ScoreComputed):
            if data.invoice_id is not None:
                self._scored(data, (data.customer_id, data.invoice_id))
                return
            day = data.scored_at.toordinal()
            self.debtors.setdefault(data.customer_id, []).append((day, data.p_default))
            if data.band == "weak":
                self.warnings.append(Warned(data.customer_id, "weak", day))
        elif isinstance(data, AlertChanged) and data.state == "raised":
            self.warnings.append(Warned(data.customer_id, data.alert_type, data.raised_at.toordinal()))
        elif isinstance(data, ExampleMatured):
            self._matured(data, (data.customer_id, data.invoice_id))

    def _scored(self, score: ScoreComputed, key: tuple[str, str]) -> None:
        if key not in self.invoices:
            number = self._numbers[key] = len(self.invoices)
            self.invoices[key] = Invoice(score, self._seen[score.customer_id])
            self._seen[score.customer_id] += 1
            self.order.append(number)

    def _matured(self, example: ExampleMatured, key: tuple[str, str]) -> None:
        invoice = self.invoices.get(key)
        if invoice is None:
            return
        if example.target == "late":
            if invoice.late is None:
                self.order.append(~self._numbers[key])
                invoice.x = example.x
            invoice.late = example.label
        elif example.target == "default":
            invoice.default = example.label

    def look(self, rows: Mapping[str, bytes]) -> None:
        """After each step: the risk classes of the invoices scored in it, which only their rows tell."""
        for key, invoice in islice(self.invoices.items(), self._looked, None):
            row = rows.get(state_key(key[0], features_key(key[1])))
            if row is not None:
                invoice.risk = msgspec.json.decode(row, type=Features).risk
        self._looked = len(self.invoices)

    def table(self) -> Table:
        """As columns, one row per invoice in the order of issue."""
        return Table(self)


_HEARD: dict[type, Callable[[History, Any], None]] = {
    CustomerUpdated: History._customer,  # noqa: SLF001 - its own methods, by the type of the fact
    InvoiceIssued: History._issued,  # noqa: SLF001
    PaymentReceived: History._paid,  # noqa: SLF001
    CreditNoteIssued: History._credited,  # noqa: SLF001
    PaymentReturned: History._returned,  # noqa: SLF001
    InvoiceWrittenOff: History._written_off,  # noqa: SLF001
    InsolvencyMatched: History._insolvent,  # noqa: SLF001
}


class Table:
    """The columns of a history. Labels are 0, 1 or ``UNKNOWN``; days are ordinals, 0 = never or not told."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.invoices = list(history.invoices.values())
        self.order = history.order
        self.customers = [invoice.score.customer_id for invoice in self.invoices]
        self._items = [history._open.get(key) for key in history.invoices]  # noqa: SLF001 - the same module's

    def __len__(self) -> int:
        return len(self.invoices)

    @cached_property
    def late(self) -> Ints:
        return _labels(invoice.late for invoice in self.invoices)

    @cached_property
    def p_late(self) -> Floats:
        return np.array([invoice.score.p_late for invoice in self.invoices], dtype=np.float64)

    @cached_property
    def p_default(self) -> Floats:
        return np.array([invoice.score.p_default for invoice in self.invoices], dtype=np.float64)

    @cached_property
    def p_late_30(self) -> Floats:
        """More than 30 days late; NaN where it is not said."""
        return self._said("p_late_30")

    @cached_property
    def expected_paid(self) -> Floats:
        """The expected day of payment as an ordinal, NaN where it is not said."""
        return self._said("expected_paid_on")

    @cached_property
    def expected_from(self) -> Floats:
        return self._said("paid_from")

    @cached_property
    def expected_to(self) -> Floats:
        return self._said("paid_to")

    def _said(self, name: str) -> Floats:
        return np.array([_number(getattr(invoice.score, name, None)) for invoice in self.invoices], dtype=np.float64)

    @cached_property
    def cold(self) -> NDArray[np.bool_]:
        return np.array([invoice.earlier < COLD for invoice in self.invoices], dtype=np.bool_)

    @cached_property
    def earlier(self) -> Ints:
        return np.array([invoice.earlier for invoice in self.invoices], dtype=np.int_)

    @cached_property
    def amount(self) -> Floats:
        return np.array([0.0 if item is None else float(item.told.amount) for item in self._items], dtype=np.float64)

    @cached_property
    def issued(self) -> Ints:
        return np.array([invoice.score.scored_at.toordinal() for invoice in self.invoices], dtype=np.int_)

    @cached_property
    def due(self) -> Ints:
        return np.array([_ordinal(invoice.score.due_date) for invoice in self.invoices], dtype=np.int_)

    @cached_property
    def settled(self) -> Ints:
        return np.array([0 if item is None else _ordinal(item.settled_on) for item in self._items], dtype=np.int_)

    @cached_property
    def weeks(self) -> Ints:
        """The block of a bootstrap: invoices of one week of issue share what happened in it."""
        return self.issued // 7

    @cached_property
    def siblings(self) -> Ints:
        """A number per debtor and due day: such invoices are paid together, and are not so many independent outcomes."""
        told = [f"{due}|{customer}" for due, customer in zip(self.due, self.customers, strict=True)]
        return np.unique(np.array(told), return_inverse=True)[1]

    @cached_property
    def default(self) -> Ints:
        """Of every invoice, not of the late ones only: paid in time is no default, judged after the same delay as the others."""
        labels = _labels(invoice.default for invoice in self.invoices)
        over = self.due + DEFAULT_DAYS <= self.history.last_day.toordinal()
        return np.where((labels == UNKNOWN) & (self.late == 0) & over, 0, labels)

    @cached_property
    def late_30(self) -> Ints:
        """Not settled 30 days after the due day, of those for which these days are over."""
        end = self.due + MONTH_DAYS
        late = (self.settled == 0) | (self.settled > end)
        return np.where(end < self.history.last_day.toordinal(), late.astype(np.int_), UNKNOWN)

    @cached_property
    def raw(self) -> Floats:
        """What a tree gets beside the learners' features: size, class and day of the due date, the debtor by number."""
        codes: dict[str, int] = defaultdict(lambda: len(codes))
        rows = []
        for customer, amount, due in zip(self.customers, self.amount, self.due, strict=True):
            day = date.fromordinal(int(due))
            about = self.history.customers.get(customer)
            kind, _ = day_class(day, None if about is None else about.country)
            rows.append((float(np.log(max(amount, 1.0))), float(kind), float(day.day), float(codes[customer])))
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    @cached_property
    def x(self) -> Floats:
        """The learners' features, zeros where an invoice has not matured (and so is not judged); no columns if there are none."""
        width = max((len(invoice.x) for invoice in self.invoices), default=0)
        x = np.zeros((len(self), width))
        for row, invoice in zip(x, self.invoices, strict=True):
            if len(invoice.x) == width:
                row[:] = invoice.x
        return x / UNIT

    @cached_property
    def risk(self) -> Floats:
        """What each level of an invoice's risk class was assumed to be worth (more is riskier); zeros where it is unknown."""
        rows = [[odds for _, odds in levels(invoice.risk)] for invoice in self.invoices]
        width = max(map(len, rows), default=0)
        return np.array([row or [0.0] * width for row in rows], dtype=np.float64).reshape(len(rows), width)

    def segment(self, field_name: str) -> NDArray[np.str_]:
        """A field of the debtor's master data, empty where it is not told."""
        told = {c: str(getattr(about, field_name) or "") for c, about in self.history.customers.items()}
        return np.array([told.get(customer, "") for customer in self.customers], dtype=np.str_)


def burn_in_for(invoices: int) -> int:
    """Invoices left out of the judgement because the scores began from nothing, and a booster has not had its first fit.

    A sixth, at least 1,100 and at most 3,000, but never more than half: something must be left to judge.

    >>> [burn_in_for(n) for n in (500, 2_466, 8_753, 22_229)]
    [250, 1100, 1500, 3000]
    """
    return min(3_000, max(1_100, round(invoices / 600) * 100), invoices // 2)


def _labels(values: Any) -> Ints:
    return np.array([UNKNOWN if value is None else value for value in values], dtype=np.int_)


def _number(value: float | date | None) -> float:
    if value is None:
        return float("nan")
    return float(value.toordinal()) if isinstance(value, date) else float(value)


def _ordinal(day: date | None) -> int:
    return 0 if day is None else day.toordinal()
