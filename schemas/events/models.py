"""Topics ``training-examples`` and ``models``: what is learned of all debtors, as a log and as published numbers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import BusinessDate, Contract, Id


class ExampleMatured(Contract):
    """One label, with what the shared model needs to learn it (D7).

    ``keys`` are the shared cells that were active, ``row_logit`` and ``row_variance`` what the debtor's own cells add, as they
    were just before this label. ``target``: ``late`` (not settled at the end of the due day) or ``default``.
    """

    customer_id: Id
    example_id: Id
    invoice_id: Id
    target: Literal["late", "default"]
    label: Literal[0, 1]
    keys: tuple[str, ...]
    row_logit: float = 0.0
    row_variance: float = Field(default=0.0, ge=0.0)
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
    default_counts: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """risk class -> (defaults, labels)."""
    step: int = -1
    """The replay step whose examples it has learned; -1 live."""
