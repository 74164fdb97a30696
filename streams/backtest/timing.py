"""The processor time of the score alone: forecast and learning of every invoice, repeated with nothing else around them."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import date
from decimal import Decimal

from msgspec.structs import replace

from agents.debtor.message_structs import written
from agents.debtor.scoring import decide as scoring
from agents.debtor.scoring.state import Cell, Features, ScoreInputs, ScoreState
from agents.learner.decide import for_publication, learn_all
from agents.learner.state import Shared
from agents.score_model import sigmoid
from schemas.events.models import ExampleMatured, ModelPublished
from schemas.events.policies import Bands
from streams.backtest.history import Table

STEP_DAYS = 7
"""The shared model changes between steps, as in a replay."""
_ExampleStruct = written(ExampleMatured)


REPEATS = 7
"""The fastest of this many runs counts: whatever else the machine does can only add time."""


def microseconds(table: Table, max_invoices: int = 5_000, *, whole: bool = False) -> float | None:
    """Processor time per invoice for p_late at issue, and for learning its label in the debtor's row and in the shared model.

    ``whole``: including all else that a score says: p_default, payment dates, band and the debtor's usual invoice. Over the first
    ``max_invoices`` invoices; None where none matured. Facts beside the debtor's own invoices are left out.
    """
    costs = [_measure_once(table, max_invoices, whole=whole) for _ in range(REPEATS)]
    return min((cost for cost in costs if cost is not None), default=None)


def _measure_once(table: Table, max_invoices: int, *, whole: bool) -> float | None:
    replica = ScorerReplica(table, whole=whole)
    scored = labels = 0
    for i in table.order:
        if i < 0:
            labels += ~i < max_invoices
            if ~i < max_invoices:
                replica.learn(~i)
        elif i < max_invoices:
            replica.score(i)
            scored += 1
    return round(replica.seconds / scored * 1e6, 1) if labels else None


class ScorerReplica:
    """Debtors and learner reduced to the score, with a stopwatch."""

    def __init__(self, table: Table, *, whole: bool) -> None:
        self.seconds, self._whole = 0.0, whole
        self._table, self._model, self._shared = table, ModelPublished(), Shared()
        self._scores: dict[str, ScoreState] = defaultdict(ScoreState)
        self._cells: dict[str, dict[str, Cell]] = defaultdict(dict)
        self._features: dict[int, Features] = {}
        self._pending: list[ExampleMatured] = []
        self._step = 0
        about = table.history.customers
        self._country = {c: fact.country for c, fact in about.items()}
        self._group = {c: fact.group_id for c, fact in about.items()}
        self._bands, self._facts = Bands(), ScoreInputs()

    def score(self, i: int) -> None:
        table, customer = self._table, self._table.customers[i]
        due, amount = date.fromordinal(int(table.due[i])), Decimal(str(round(float(table.amount[i]), 2)))
        score, get = self._scores[customer], self._cells[customer].get
        start = time.process_time()
        active = scoring.active(due, amount, self._country.get(customer), self._group.get(customer))
        if self._whole:
            scored = scoring.score_invoice(active, score, self._facts, get, self._model, bands=self._bands)
            self._scores[customer] = scoring.issued(score, scored.forecast)
            features = scored.features
        else:
            forecast = scoring.late_logit(active, scoring.cells_of(active, score, get), score, self._facts, self._model)
            features = replace(active.features, x=forecast.x, p=round(sigmoid(forecast.total), 6))
        self.seconds += time.process_time() - start
        self._features[i] = features

    def learn(self, i: int) -> None:
        table, customer = self._table, self._table.customers[i]
        day = max(int(table.due[i]), int(table.issue_days[i])) + 1
        self._learn_shared(day)
        features, amount = self._features.pop(i), Decimal(str(round(float(table.amount[i]), 2)))
        score, cells, label = self._scores[customer], self._cells[customer], int(table.late[i])
        early = min(0, int(table.settled[i]) - int(table.due[i])) if table.settled[i] else 0
        start = time.process_time()
        active = scoring.activate(features, amount)
        update = scoring.learn_late(active, label, day, score, cells.get, self._model, days_late=early)
        self._scores[customer] = update.score
        cells.update(update.cells)
        example = _ExampleStruct(
            customer_id=customer,
            example_id=str(i),
            invoice_id=str(i),
            target="late",
            label=label,
            keys=active.shared,
            row_logit=update.row_logit,
            row_variance=update.row_variance,
            x=scoring.whole_numbers(features.x),
            scored_on=date.fromordinal(int(table.issue_days[i])),
            matured_on=date.fromordinal(day),
        )
        self.seconds += time.process_time() - start
        self._pending.append(example)

    def _learn_shared(self, day: int) -> None:
        if day // STEP_DAYS == self._step:
            return
        self._step = day // STEP_DAYS
        start = time.process_time()
        self._shared = learn_all(self._shared, self._pending)
        self._model = for_publication(self._shared)
        self.seconds += time.process_time() - start
        self._pending = []
