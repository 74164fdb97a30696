"""What was forecast for each invoice when it was issued, what became of it, and in which order the two became known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
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
from agents.learner.monitor import COLD_LABELS
from agents.score_model import UNIT
from schemas.events.customers import CustomerUpdated
from schemas.events.envelope import Event, Output
from schemas.events.insolvency import InsolvencyMatched
from schemas.events.models import ExampleMatured
from schemas.events.payments import CreditNoteIssued, InvoiceIssued, InvoiceWrittenOff, PaymentReceived, PaymentReturned
from schemas.events.policies import DEFAULT_DAYS
from schemas.outputs.alerts import AlertChanged
from schemas.outputs.scores import ScoreComputed
from streams.backtest.statistics import Floats, Ints

COLD = COLD_LABELS
"""A debtor with fewer earlier invoices than this is cold; the learner draws the line at as many labels."""
MONTH_DAYS = 30
UNKNOWN = -1
"""The label of what has not matured yet."""


@dataclass(slots=True)
class Invoice:
    """An invoice as it was scored when it was issued, and its labels (None = not known yet)."""

    score: ScoreComputed
    earlier: int
    """Invoices of the debtor that had been scored before."""
    late: int | None = None
    default: int | None = None
    x: tuple[int, ...] = ()
    """The features that the learners got, as of the issue, in units of 1/``UNIT``."""
    risk: str = ""
    """The class of ``p_default``, as of the issue."""


@dataclass(slots=True)
class InvoiceBalance:
    """An invoice as it was issued, and when it was settled."""

    fact: InvoiceIssued
    rest: Decimal
    settled_on: date | None = None


class DebtorWarning(NamedTuple):
    """Something that called a debtor bad on a day: an alert's type, or ``weak`` for the band."""

    customer_id: str
    kind: str
    day: int


@dataclass(slots=True)
class History:
    """What is recorded while a backtest runs: every event that comes in, every output that goes out."""

    invoices: dict[tuple[str, str], Invoice] = field(default_factory=dict)
    """(customer, invoice) -> invoice, in the order of issue."""
    order: list[int] = field(default_factory=list)
    """What happened one after the other: i = invoice i was scored, ~i = its label (late or not) matured."""
    customers: dict[str, CustomerUpdated] = field(default_factory=dict)
    first_day: date = date.max
    last_day: date = date.min
    warnings: list[DebtorWarning] = field(default_factory=list)
    debtors: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Customer -> the days (ordinals) on which its own score went out, and its p_default."""
    bad_days: dict[str, int] = field(default_factory=dict)
    """Customer -> the first day on which it was insolvent or had an invoice written off."""
    balances: dict[tuple[str, str], InvoiceBalance] = field(default_factory=dict)
    """(customer, invoice) -> what is open of it by the events alone, computed apart from the brain that is judged."""
    _allocations: dict[tuple[str, str], list[tuple[str, Decimal]]] = field(default_factory=dict)
    _numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    _scored_invoices: Counter[str] = field(default_factory=Counter)
    _invoices_with_risk: int = 0

    # -- what comes in
    def on_event(self, event: Event) -> None:
        """Record amounts, dates and master data of an event."""
        day = event.recorded.date()
        self.first_day, self.last_day = min(self.first_day, day), max(self.last_day, day)
        match event.data:
            case InvoiceIssued() as fact:
                self.balances.setdefault((fact.customer_id, fact.invoice_id), InvoiceBalance(fact, fact.amount))
            case PaymentReceived() as fact:
                self._allocations[fact.customer_id, fact.payment_id] = [(a.invoice_id, a.amount) for a in fact.allocations]
                self._settle(fact, fact.paid_on)
            case CustomerUpdated() as fact:
                self.customers[fact.customer_id] = fact
            case CreditNoteIssued() as fact:
                self._settle(fact, fact.issued_on)
            case PaymentReturned() as fact:
                self._reopen(fact)
            case InvoiceWrittenOff() as fact:
                self._note_bad_day(fact.customer_id, fact.written_off_on)
            case InsolvencyMatched(match="certain") as fact if fact.stage in STAGE_FLOORS:
                self._note_bad_day(fact.customer_id, fact.published_on)

    def _settle(self, fact: PaymentReceived | CreditNoteIssued, day: date) -> None:
        for allocation in fact.allocations:
            balance = self.balances.get((fact.customer_id, allocation.invoice_id))
            if balance is not None:
                balance.rest -= allocation.amount
                if balance.rest <= 0 and balance.settled_on is None:
                    balance.settled_on = day

    def _reopen(self, fact: PaymentReturned) -> None:
        """Undo the payment, last allocations first: what it settled is open again."""
        left = fact.amount
        allocations = self._allocations.get((fact.customer_id, fact.payment_id), [])
        while left > 0 and allocations:
            invoice_id, amount = allocations.pop()
            balance = self.balances.get((fact.customer_id, invoice_id))
            if balance is not None:
                balance.rest += min(left, amount)
                if balance.rest > 0:
                    balance.settled_on = None
            left -= amount

    def _note_bad_day(self, customer_id: str, day: date) -> None:
        self.bad_days[customer_id] = min(self.bad_days.get(customer_id, day.toordinal()), day.toordinal())

    # -- what goes out
    def on_output(self, output: Output) -> None:
        """The first score of an invoice is its prediction; a later label of the same invoice corrects the one before."""
        data = output.data
        if isinstance(data, ScoreComputed):
            if data.invoice_id is not None:
                self._note_prediction(data, (data.customer_id, data.invoice_id))
                return
            day = data.scored_at.toordinal()
            self.debtors.setdefault(data.customer_id, []).append((day, data.p_default))
            if data.band == "weak":
                self.warnings.append(DebtorWarning(data.customer_id, "weak", day))
        elif isinstance(data, AlertChanged) and data.state == "raised":
            self.warnings.append(DebtorWarning(data.customer_id, data.alert_type, data.raised_at.toordinal()))
        elif isinstance(data, ExampleMatured):
            self._note_label(data, (data.customer_id, data.invoice_id))

    def _note_prediction(self, score: ScoreComputed, key: tuple[str, str]) -> None:
        if key not in self.invoices:
            number = self._numbers[key] = len(self.invoices)
            self.invoices[key] = Invoice(score, self._scored_invoices[score.customer_id])
            self._scored_invoices[score.customer_id] += 1
            self.order.append(number)

    def _note_label(self, example: ExampleMatured, key: tuple[str, str]) -> None:
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

    def on_state(self, rows: Mapping[str, bytes]) -> None:
        """After each step: record the risk classes of the invoices scored in it, which only the debtors' rows hold."""
        for key, invoice in islice(self.invoices.items(), self._invoices_with_risk, None):
            row = rows.get(state_key(key[0], features_key(key[1])))
            if row is not None:
                invoice.risk = msgspec.json.decode(row, type=Features).risk
        self._invoices_with_risk = len(self.invoices)

    def table(self) -> Table:
        """The invoices as columns, one row per invoice in the order of issue."""
        return Table(self)


class Table:
    """The columns of a history. Labels are 0, 1 or ``UNKNOWN``; days are ordinals, 0 = never or unknown."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.invoices = list(history.invoices.values())
        self.order = history.order
        self.customers = [invoice.score.customer_id for invoice in self.invoices]
        self._balances = [history.balances.get(key) for key in history.invoices]

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
        """The probability of more than 30 days late; NaN where the score has none."""
        return self._forecast("p_late_30")

    @cached_property
    def expected_paid(self) -> Floats:
        """The expected day of payment as an ordinal; NaN where the score has none."""
        return self._forecast("expected_paid_on")

    @cached_property
    def expected_from(self) -> Floats:
        return self._forecast("paid_from")

    @cached_property
    def expected_to(self) -> Floats:
        return self._forecast("paid_to")

    def _forecast(self, name: str) -> Floats:
        return np.array([_number(getattr(invoice.score, name, None)) for invoice in self.invoices], dtype=np.float64)

    @cached_property
    def cold(self) -> NDArray[np.bool_]:
        return np.array([invoice.earlier < COLD for invoice in self.invoices], dtype=np.bool_)

    @cached_property
    def earlier(self) -> Ints:
        return np.array([invoice.earlier for invoice in self.invoices], dtype=np.int_)

    @cached_property
    def amount(self) -> Floats:
        return np.array([0.0 if b is None else float(b.fact.amount) for b in self._balances], dtype=np.float64)

    @cached_property
    def issue_days(self) -> Ints:
        return np.array([invoice.score.scored_at.toordinal() for invoice in self.invoices], dtype=np.int_)

    @cached_property
    def due(self) -> Ints:
        return np.array([_ordinal(invoice.score.due_date) for invoice in self.invoices], dtype=np.int_)

    @cached_property
    def settled(self) -> Ints:
        return np.array([0 if b is None else _ordinal(b.settled_on) for b in self._balances], dtype=np.int_)

    @cached_property
    def weeks(self) -> Ints:
        """The blocks of a bootstrap: invoices of one week of issue share what happened in it."""
        return self.issue_days // 7

    @cached_property
    def siblings(self) -> Ints:
        """A number per debtor and due day: such invoices are paid together, and are not so many independent outcomes."""
        names = [f"{due}|{customer}" for due, customer in zip(self.due, self.customers, strict=True)]
        return np.unique(np.array(names), return_inverse=True)[1]

    @cached_property
    def default(self) -> Ints:
        """Labels of default of every invoice, also of those paid in time, which are judged after the same delay."""
        labels = _labels(invoice.default for invoice in self.invoices)
        matured = self.due + DEFAULT_DAYS <= self.history.last_day.toordinal()
        return np.where((labels == UNKNOWN) & (self.late == 0) & matured, 0, labels)

    @cached_property
    def late_30(self) -> Ints:
        """Labels of being unsettled 30 days after the due day, of the invoices for which these days are over."""
        end = self.due + MONTH_DAYS
        late = (self.settled == 0) | (self.settled > end)
        return np.where(end < self.history.last_day.toordinal(), late.astype(np.int_), UNKNOWN)

    @cached_property
    def raw(self) -> Floats:
        """What a tree gets besides the learners' features: size, class and day of the due date, the debtor by number."""
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
        """A field of the debtor's master data, empty where it is unknown."""
        values = {c: str(getattr(about, field_name) or "") for c, about in self.history.customers.items()}
        return np.array([values.get(customer, "") for customer in self.customers], dtype=np.str_)


def burn_in_for(invoices: int) -> int:
    """How many invoices are not judged, because the scores start from nothing and a booster has not had its first fit.

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
