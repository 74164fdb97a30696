"""The stage machine: which stage the notices of a debtor amount to."""

from __future__ import annotations

from agents.debtor.insolvency.state import Insolvency, Notice
from schemas.events.insolvency import Stage

ALARM = frozenset({"petition", "preliminary", "opened", "refused", "reorganisation", "converted"})
"""Stages in which the debtor cannot be expected to pay. A solvent winding-up is none of them."""
DEFAULTED = frozenset({"preliminary", "opened", "refused", "reorganisation", "converted"})
"""Stages that are a default. A petition is somebody's request, not yet an outcome."""
MAX_NOTICES = 20
"""Notices remembered per debtor: proceedings have a handful; the oldest go first."""


def add_notice(insolvency: Insolvency, notice: Notice, corrects: str | None) -> Insolvency:
    """Add a notice; it replaces the one that it corrects; a cancellation retracts that one and does not count itself.

    >>> opened = add_notice(Insolvency(), Notice("n1", "opened", True, 10), None)
    >>> opened.stage
    'opened'
    >>> add_notice(opened, Notice("n2", "cancelled", True, 12), "n1").stage
    'none'
    """
    remaining = [n for n in insolvency.notices if n.notice_id != corrects]
    notices = tuple(sorted([*remaining, notice], key=lambda n: n.published_on)[-MAX_NOTICES:])
    return Insolvency(
        stage=_last_stage(notices, is_certain=True), possible=_last_stage(notices, is_certain=False), notices=notices
    )


def _last_stage(notices: tuple[Notice, ...], *, is_certain: bool) -> Stage:
    stages = [n.stage for n in notices if n.certain is is_certain and n.stage != "cancelled"]
    return stages[-1] if stages else "none"


def forget_possible(insolvency: Insolvency) -> Insolvency:
    """A person rejected the possible match: its notices go.

    >>> possible = add_notice(Insolvency(), Notice("n1", "opened", False, 10), None)
    >>> forget_possible(possible)
    Insolvency(stage='none', possible='none', notices=())
    """
    notices = tuple(n for n in insolvency.notices if n.certain)
    return Insolvency(stage=insolvency.stage, possible="none", notices=notices)


def confirm_possible(insolvency: Insolvency) -> Insolvency:
    """A person confirmed the possible match: it is certain from now on.

    >>> possible = add_notice(Insolvency(), Notice("n1", "opened", False, 10), None)
    >>> possible.stage, confirm_possible(possible).stage
    ('none', 'opened')
    """
    notices = tuple(Notice(n.notice_id, n.stage, True, n.published_on) for n in insolvency.notices)
    return Insolvency(stage=_last_stage(notices, is_certain=True), possible="none", notices=notices)


def is_alarm(stage: str) -> bool:
    """Whether a debtor in this stage can no longer be expected to pay.

    >>> [stage for stage in ("none", "petition", "opened", "plan", "closed") if is_alarm(stage)]
    ['petition', 'opened']
    """
    return stage in ALARM


def is_default(stage: str) -> bool:
    """Whether this stage is a default of the debtor, whatever is paid later.

    >>> [stage for stage in ("none", "petition", "opened", "plan", "closed") if is_default(stage)]
    ['opened']
    """
    return stage in DEFAULTED
