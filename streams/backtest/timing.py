"""What the score alone costs: forecast and learning of every invoice again, with nothing else around them, under a clock."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import date
from decimal import Decimal

from msgspec.structs import replace

from agents.debtor.message_structs import struct_for
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.state import Cell, Features, ScoreInputs, ScoreState
from agents.learner.decide import for_publication, learn_all
from agents.learner.state import Shared
from agents.score_model import sigmoid
from schemas.events.models import ExampleMatured, ModelPublished
from schemas.events.policies import Bands
from streams.backtest.history import Table

STEP_DAYS = 7
"""The shared model moves between steps, as in a replay."""
_Example = struct_for(ExampleMatured)


REPEATS = 7
"""The best of so many runs: whatever else the machine does can only add."""


def microseconds(table: Table, most: int = 5_000, *, whole: bool = False) -> float | None:
    """Of the processor, per invoice, for p_late at issue, learning its label in the debtor's row, and in the shared model.

    ``whole``: all that a score says, so p_default, payment dates, band and the debtor's usual invoice too. Over the first
    ``most`` invoices; None where none matured. Facts beside the debtor's own invoices are left out.
    """
    found = [_once(table, most, whole=whole) for _ in range(REPEATS)]
    return min((cost for cost in found if cost is not None), default=None)


def _once(table: Table, most: int, *, whole: bool) -> float | None:
    run = _Run(table, whole=whole)
    issued = learned = 0
    for i in table.order:
        if i < 0:
            learned += ~i < most
            if ~i < most:
                run.learn(~i)
        elif i < most:
            run.score(i)
            issued += 1
    return round(run.seconds / issued * 1e6, 1) if learned else None


class _Run:
    """Debtors and learner, reduced to the score."""

    def __init__(self, table: Table, *, whole: bool) -> None:
        self.seconds, self._whole = 0.0, whole
        self._table, self._model, self._shared = table, ModelPublished(), Shared()
        self._scores: dict[str, ScoreState] = defaultdict(ScoreState)
        self._cells: dict[str, dict[str, Cell]] = defaultdict(dict)
        self._features: dict[int, Features] = {}
        self._waiting: list[ExampleMatured] = []
        self._step = 0
        about = table.history.customers
        self._country = {c: fact.country for c, fact in about.items()}
        self._group = {c: fact.group_id for c, fact in about.items()}
        self._bands, self._facts = Bands(), ScoreInputs()

    def score(self, i: int) -> None:
        table, customer = self._table, self._table.customers[i]
        due, amount = date.fromordinal(int(table.due[i])), Decimal(str(round(float(table.amount[i]), 2)))
        score, get = self._scores[customer], self._cells[customer].get
        began = time.process_time()
        active = scoring.active(due, amount, self._country.get(customer), self._group.get(customer))
        if self._whole:
            scored = scoring.score_invoice(active, score, self._facts, get, self._model, bands=self._bands)
            self._scores[customer] = scoring.issued(score, scored.forecast)
            features = scored.features
        else:
            forecast = scoring.late_logit(active, scoring.cells_of(active, score, get), score, self._facts, self._model)
            features = replace(active.features, x=forecast.x, p=round(sigmoid(forecast.total), 6))
        self.seconds += time.process_time() - began
        self._features[i] = features

    def learn(self, i: int) -> None:
        table, customer = self._table, self._table.customers[i]
        day = max(int(table.due[i]), int(table.issued[i])) + 1
        self._learn_shared(day)
        features, amount = self._features.pop(i), Decimal(str(round(float(table.amount[i]), 2)))
        score, cells, label = self._scores[customer], self._cells[customer], int(table.late[i])
        early = min(0, int(table.settled[i]) - int(table.due[i])) if table.settled[i] else 0
        began = time.process_time()
        active = scoring.activate(features, amount)
        learned = scoring.learn_late(active, label, day, score, cells.get, self._model, days_late=early)
        self._scores[customer] = learned.score
        cells.update(learned.cells)
        example = _Example(
            customer_id=customer,
            example_id=str(i),
            invoice_id=str(i),
            target="late",
            label=label,
            keys=active.shared,
            row_logit=learned.row_logit,
            row_variance=learned.row_variance,
            x=scoring.whole_numbers(features.x),
            scored_on=date.fromordinal(int(table.issued[i])),
            matured_on=date.fromordinal(day),
        )
        self.seconds += time.process_time() - began
        self._waiting.append(example)

    def _learn_shared(self, day: int) -> None:
        if day // STEP_DAYS == self._step:
            return
        self._step = day // STEP_DAYS
        began = time.process_time()
        self._shared = learn_all(self._shared, self._waiting)
        self._model = for_publication(self._shared)
        self.seconds += time.process_time() - began
        self._waiting = []
