"""The stage machine: which stage the notices of a debtor amount to.

A stage belongs to a proceeding; the debtor stands where the gravest of its proceedings stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from agents.debtor.insolvency.state import Insolvency, Notice
from schemas.events.insolvency import Stage

ALARM = frozenset({"petition", "preliminary", "opened", "refused", "reorganisation", "converted"})
"""Stages in which the debtor cannot be expected to pay. A solvent winding-up is none of them."""
DEFAULTED = frozenset({"preliminary", "opened", "refused", "reorganisation", "converted"})
"""Stages that are a default. A petition is somebody's request, not yet an outcome."""
ENDS = frozenset({"closed", "dismissed", "cancelled"})
"""Stages in which a proceeding is over."""
GRAVITY: tuple[Stage, ...] = (
    "none", "cancelled", "dismissed", "closed", "solvent_winding_up", "plan", "petition", "preliminary", "reorganisation",
    "refused", "converted", "opened",
)  # fmt: skip
"""From the lightest to the gravest: a debtor with several proceedings stands where the gravest of them stands."""
MAX_NOTICES = 20
"""Notices remembered per debtor: proceedings have a handful; the oldest that no stage follows from go first."""

Proceeding = tuple[str, str]
"""Register, and the proceeding within it."""


def add_notice(insolvency: Insolvency, notice: Notice, corrects: str | None) -> Insolvency:
    """Add a notice; it replaces the one that it corrects; a cancellation retracts that one and does not count itself.

    A notice of the stage ``none`` reports something that changes no stage.

    >>> opened = add_notice(Insolvency(), Notice("n1", "opened", True, 10), None)
    >>> opened.stage
    'opened'
    >>> add_notice(opened, Notice("n2", "none", True, 11), None) is opened
    True
    >>> add_notice(opened, Notice("n2", "cancelled", True, 12), "n1").stage
    'none'
    """
    remaining = [n for n in insolvency.notices if n.notice_id != corrects]
    if notice.stage != "none":
        is_retraction = notice.stage == "cancelled" and corrects is not None
        remaining.append(replace(notice, proceeding="") if is_retraction else notice)
    elif len(remaining) == len(insolvency.notices):
        return insolvency
    return _judge(remaining)


def _judge(notices: list[Notice]) -> Insolvency:
    """What notices amount to, those that are too many left out."""
    notices.sort(key=lambda n: n.published_on)
    if len(notices) > MAX_NOTICES:
        gravity = _gravity_of_last(notices)
        surplus = sorted(notices, key=lambda n: gravity.get(n.notice_id, -1))[: len(notices) - MAX_NOTICES]
        notices = [n for n in notices if n not in surplus]
    return Insolvency(
        stage=gravest_stage(n for n in notices if n.certain),
        possible=gravest_stage(n for n in notices if not n.certain),
        notices=tuple(notices),
    )


def gravest_stage(notices: Iterable[Notice]) -> Stage:
    """The gravest stage that stands over all proceedings; notices in the order of their publication.

    An end concerns its own proceeding: others go on.

    >>> first, second = Notice("n1", "opened", True, 10, "DE", "IN 1/26"), Notice("n2", "petition", True, 12, "DE", "IN 2/26")
    >>> end = Notice("n3", "dismissed", True, 20, "DE", "IN 2/26")
    >>> gravest_stage([first, second, end]), gravest_stage([second, end])
    ('opened', 'dismissed')
    """
    stages: list[Stage] = ["none", *(last.stage for last in _last_of_each(list(notices)))]
    stage = max(stages, key=GRAVITY.index)
    return "none" if stage == "cancelled" else stage


def _gravity_of_last(notices: list[Notice]) -> dict[str, int]:
    """How grave the last notice of each proceeding is, by its id: what is left out must not be what a stage follows from."""
    groups = ([n for n in notices if n.certain], [n for n in notices if not n.certain])
    return {last.notice_id: GRAVITY.index(last.stage) for group in groups for last in _last_of_each(group)}


def _last_of_each(notices: list[Notice]) -> list[Notice]:
    """The last notice of each proceeding: by it the proceeding stands where it stands.

    A notice that names no proceeding is part of each one of its register. Where it is an end, though, there must be no doubt
    which one ended: it counts only where there is but one.
    """
    # Rows of earlier versions hold notices that change nothing, too; and what retracts another has no stage.
    notices = [n for n in notices if n.stage != "none" and (n.stage != "cancelled" or n.proceeding)]
    proceedings = _proceedings(notices)
    counts = Counter(register for register, _ in proceedings)
    courses = ([n for n in notices if _concerns(n, p, is_only=counts[p[0]] == 1)] for p in proceedings)
    return [course[-1] for course in courses if course]


def _proceedings(notices: list[Notice]) -> list[Proceeding]:
    """All that are named; and one for a register, or for all, where no notice names any."""
    proceedings: list[Proceeding] = sorted({(n.register, n.proceeding) for n in notices if n.proceeding})
    for register in sorted({n.register for n in notices if not n.proceeding}, reverse=True):
        if not any(register in ("", other) for other, _ in proceedings):
            proceedings.append((register, ""))
    return proceedings


def _concerns(notice: Notice, proceeding: Proceeding, *, is_only: bool) -> bool:
    if notice.proceeding:
        return (notice.register, notice.proceeding) == proceeding
    return notice.register in ("", proceeding[0]) and (is_only or notice.stage not in ENDS)


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
    return _judge([replace(n, certain=True) for n in insolvency.notices])


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
