"""What every decision carries: its reasons, and the versions that made it."""

from __future__ import annotations

from typing import Literal

from schemas.base import Contract, Id, Label, Text

ReasonFamily = Literal["fragile", "delays", "exposure", "follow-up", "good", "none"]
"""The four root causes of an unpaid invoice; ``good`` for good news, ``none`` for neither."""


class Reason(Contract):
    """One reason: a fixed ``code``, words, evidence, and its signed part of the log-odds of being paid late (0 for a rule)."""

    code: Label
    contribution: float = 0.0
    text: Text
    evidence: tuple[str, ...] = ()
    """Ids of events or invoices."""
    text_de: Text | None = None
    """The text in German; null for a reason that has only an English one."""
    family: ReasonFamily = "none"


class Decided(Contract):
    """A decision on a debtor, with the policy, model and code version that made it."""

    customer_id: Id
    policy_version: Label
    model_version: Label
    code_version: Label
