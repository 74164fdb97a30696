"""Topics ``training-examples`` and ``models``: what is learned of all debtors, as a log and as published numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import BusinessDate, Contract, Id, Probability

Target = Literal["late", "default", "paid_after_due", "loss"]
Scorer = Literal["hedge", "late_rate"]
"""Which scorer is in force: cells and state model, hedged; or, where they fail, the debtor's smoothed late rate."""


class ExampleMatured(Contract):
    """One label, with what the shared model needs to learn it.

    ``target``: ``late`` (not settled at the end of the due day); ``default``; ``paid_after_due`` (settled in ``interval`` after
    the due day, of those still open at its start); ``loss`` (``share`` of a defaulted amount that never came).
    The other fields are as they were just before this label: ``keys`` are the shared cells that were active, ``row_logit`` and
    ``row_variance`` what the debtor's own cells add, ``row_late`` of its ``row_labels`` labels were late.
    """

    customer_id: Id
    example_id: Id
    invoice_id: Id
    target: Target
    label: Literal[0, 1]
    keys: tuple[str, ...]
    row_logit: float = 0.0
    row_variance: float = Field(default=0.0, ge=0.0)
    row_labels: int = Field(default=0, ge=0)
    row_late: int = Field(default=0, ge=0)
    x: tuple[Annotated[int, Field(ge=-127, le=127)], ...] = ()
    """The state features as they were when the invoice was issued, in units of 1/32 (``agents.score_model.FEATURES``)."""
    p: Probability | None = None
    """``p_late`` as it was published when the invoice was issued."""
    interval: int = Field(default=0, ge=0)
    share: Probability | None = None
    corrects: Id | None = None
    """The example whose label was wrong: a payment was returned, or became known only later. ``label`` is the right one."""
    scored_on: BusinessDate
    matured_on: BusinessDate


class StepEnded(Contract):
    """In a replay: this partition has applied the tick of ``step`` and sent all its examples (the learner waits for all)."""

    step: int
    partition: int
    partitions: int


class ModelPublished(Contract):
    """The shared model: small enough to read, and to hand out by value."""

    version: Id = "prior-0"
    """``KIND-N``: N examples learned, so equal logs give equal versions."""
    examples: int = 0
    bias: float = 0.0
    bias_variance: float = 1.0
    cells: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """key -> (mean, variance) on the log-odds scale."""
    weights: tuple[float, ...] = ()
    """Weights of the state features; empty = the prior ones."""
    hedge: float = 0.0
    """By how much the cells were better than the state model of late, in decayed log loss; 0 = both count half."""
    rates: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """key -> (decayed late, decayed labels): of all, of a group, of a kind of due day; after due: (settled, open)."""
    default_counts: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """risk class -> (defaults, labels)."""
    loss: tuple[float, float] = (0.0, 0.0)
    """(sum of lost shares, defaults): the loss given default that recoveries taught."""
    scorer: Scorer = "hedge"
    step: int = -1
    """The replay step whose examples it has learned; -1 live."""
