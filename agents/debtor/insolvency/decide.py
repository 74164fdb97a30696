"""The stage machine: which stage the notices of a debtor amount to."""

from __future__ import annotations

from agents.debtor.insolvency.state import Insolvency, Notice
from schemas.events.insolvency import Stage

ALARM = frozenset({"petition", "preliminary", "opened", "refused", "reorganisation", "converted"})
"""Stages in which the debtor cannot be expected to pay. A solvent winding-up is none of them."""
DEFAULTED = frozenset({"preliminary", "opened", "refused", "reorganisation", "converted"})
"""Stages that are a default. A petition is a request of somebody, not yet an outcome."""
KEPT = 20
"""Notices remembered per debtor: proceedings have a handful; the oldest go first."""


def take(insolvency: Insolvency, notice: Notice, corrects: str | None) -> Insolvency:
    """Add a notice; it replaces the one that it corrects; a cancellation retracts it and counts no more itself.

    >>> opened = take(Insolvency(), Notice("n1", "opened", True, 10), None)
    >>> opened.stage
    'opened'
    >>> take(opened, Notice("n2", "cancelled", True, 12), "n1").stage
    'none'
    """
    kept = [n for n in insolvency.notices if n.notice_id != corrects]
    kept.append(notice)
    kept.sort(key=lambda n: n.published_on)
    notices = tuple(kept[-KEPT:])
    return Insolvency(stage=_stage(notices, certain=True), possible=_stage(notices, certain=False), notices=notices)


def _stage(notices: tuple[Notice, ...], *, certain: bool) -> Stage:
    stages = [n.stage for n in notices if n.certain is certain and n.stage != "cancelled"]
    return stages[-1] if stages else "none"


def forget_possible(insolvency: Insolvency) -> Insolvency:
    """A person rejected the possible match: its notices go."""
    notices = tuple(n for n in insolvency.notices if n.certain)
    return Insolvency(stage=insolvency.stage, possible="none", notices=notices)


def confirm_possible(insolvency: Insolvency) -> Insolvency:
    """A person confirmed the possible match: it is certain from now on."""
    notices = tuple(Notice(n.notice_id, n.stage, True, n.published_on) for n in insolvency.notices)
    return Insolvency(stage=_stage(notices, certain=True), possible="none", notices=notices)


def is_alarm(stage: str) -> bool:
    """Whether this debtor can no longer be expected to pay."""
    return stage in ALARM


def is_default(stage: str) -> bool:
    """Whether this stage is a default (D8)."""
    return stage in DEFAULTED
