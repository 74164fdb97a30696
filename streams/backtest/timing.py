"""The processor time of the score alone: forecast and learning of every invoice, repeated with nothing else around them."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import date
from decimal import Decimal

from msgspec.structs import replace

from agents.debtor.message_structs import struct_for
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.cell_model import cell_keys, cell_keys_of, debtor_cells, learn_late
from agents.debtor.scoring.state import Cell, Features, ScoreState
from agents.debtor.scoring.state_model import whole_numbers
from agents.debtor.scoring.values import ScoreInputs
from agents.learner.decide import learn_all, to_published
from agents.learner.state import SharedModel
from agents.score_model import sigmoid
from schemas.events.models import ExampleMatured, ModelPublished
from schemas.events.policies import Bands
from streams.backtest.history import Table

STEP_DAYS = 7
"""The shared model moves between steps, as in a replay."""
REPEATS = 7
"""The best of so many runs: whatever else the machine does can only add."""
_Example = struct_for(ExampleMatured)


def microseconds(table: Table, max_invoices: int = 5_000, *, whole: bool = False) -> float | None:
    """Processor time per invoice, for p_late at issue, learning its label in the debtor's row, and in the shared model.

    ``whole``: all that a score says, so p_default, payment dates and band, and the debtor's typical invoice too. Over the first
    ``max_invoices``; None where none of them matured. Inputs beside the debtor's own invoices are left out.
    """
    costs = [_time_once(table, max_invoices, whole=whole) for _ in range(REPEATS)]
    return min((cost for cost in costs if cost is not None), default=None)


def _time_once(table: Table, max_invoices: int, *, whole: bool) -> float | None:
    replica = ScorerReplica(table, whole=whole)
    scores = labels = 0
    for i in table.order:
        if i < 0:
            labels += ~i < max_invoices
            if ~i < max_invoices:
                replica.learn(~i)
        elif i < max_invoices:
            replica.score(i)
            scores += 1
    return round(replica.seconds / scores * 1e6, 1) if labels else None


class ScorerReplica:
    """Debtors and learner reduced to the score, with a stopwatch."""

    def __init__(self, table: Table, *, whole: bool) -> None:
        self.seconds, self._whole = 0.0, whole
        self._table, self._model, self._shared = table, ModelPublished(), SharedModel()
        self._scores: dict[str, ScoreState] = defaultdict(ScoreState)
        self._cells: dict[str, dict[str, Cell]] = defaultdict(dict)
        self._features: dict[int, Features] = {}
        self._examples: list[ExampleMatured] = []
        self._step = 0
        customers = table.history.customers
        self._country = {c: fact.country for c, fact in customers.items()}
        self._group = {c: fact.group_id for c, fact in customers.items()}
        self._bands, self._inputs = Bands(), ScoreInputs()

    def score(self, i: int) -> None:
        """Score an invoice as it is issued."""
        table, customer = self._table, self._table.customers[i]
        due, amount = date.fromordinal(int(table.due[i])), Decimal(str(round(float(table.amount[i]), 2)))
        score, read = self._scores[customer], self._cells[customer].get
        start = time.process_time()
        keys = cell_keys(due, amount, self._country.get(customer), self._group.get(customer))
        if self._whole:
            scored = scoring.score_invoice(keys, score, self._inputs, read, self._model, bands=self._bands)
            self._scores[customer] = scoring.record_issue(score, scored.forecast)
            features = scored.features
        else:
            forecast = scoring.late_logit(keys, debtor_cells(keys, score, read), score, self._inputs, self._model)
            features = replace(keys.features, vector=forecast.vector, p_late=round(sigmoid(forecast.total), 6))
        self.seconds += time.process_time() - start
        self._features[i] = features

    def learn(self, i: int) -> None:
        """Learn an invoice's label in its debtor's row, and keep the example for the shared model."""
        table, customer = self._table, self._table.customers[i]
        day = max(int(table.due[i]), int(table.issue_days[i])) + 1
        self._learn_shared(day)
        features, amount = self._features.pop(i), Decimal(str(round(float(table.amount[i]), 2)))
        score, cells, label = self._scores[customer], self._cells[customer], int(table.late[i])
        days_late = min(0, int(table.settled[i]) - int(table.due[i])) if table.settled[i] else 0
        start = time.process_time()
        keys = cell_keys_of(features, amount)
        result = learn_late(keys, label, day, score, cells.get, self._model, days_late=days_late)
        self._scores[customer] = result.score
        cells.update(result.cells)
        example = _Example(
            customer_id=customer,
            example_id=str(i),
            invoice_id=str(i),
            target="late",
            label=label,
            keys=keys.shared,
            row_logit=result.row_logit,
            row_variance=result.row_variance,
            x=whole_numbers(features.vector),
            scored_on=date.fromordinal(int(table.issue_days[i])),
            matured_on=date.fromordinal(day),
        )
        self.seconds += time.process_time() - start
        self._examples.append(example)

    def _learn_shared(self, day: int) -> None:
        if day // STEP_DAYS == self._step:
            return
        self._step = day // STEP_DAYS
        start = time.process_time()
        self._shared = learn_all(self._shared, self._examples)
        self._model = to_published(self._shared)
        self.seconds += time.process_time() - start
        self._examples = []
