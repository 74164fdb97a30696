"""Why a score is what it is: at most four reasons, whose contributions add up to the log-odds of being late."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from agents.debtor.scoring.default import CERTAIN
from agents.debtor.written import written
from schemas.outputs.common import Reason

if TYPE_CHECKING:
    from agents.debtor.scoring.state import Facts, Logit

FAMILIES = ("base_rate", "weekday_rhythm", "group_history", "recent_delays", "amount_pattern", "cash_flow_shock")
"""Reason codes of ``Logit.contributions``, in its order."""
TEXTS: dict[str, tuple[str, str]] = {
    "base_rate": (
        "Across all debtors, invoices are more often late than not",
        "Across all debtors, most invoices are paid in time",
    ),
    "weekday_rhythm": ("Invoices due on such a day tend to be paid late", "Invoices due on such a day tend to be paid in time"),
    "group_history": (
        "Debtors of the same group tend to pay such invoices late",
        "Debtors of the same group tend to pay such invoices in time",
    ),
    "recent_delays": ("This debtor pays later than others", "This debtor pays more punctually than others"),
    "amount_pattern": ("This debtor tends to pay such amounts late", "This debtor tends to pay such amounts in time"),
    "cash_flow_shock": (
        "The cash flow of this debtor broke suddenly",
        "The cash flow of this debtor broke, which did not delay payments so far",
    ),
    "other": ("Smaller influences together", "Smaller influences together"),
}
"""Code -> the text when it raises, and when it lowers, the probability of being late."""
MOST_REASONS = 4


def explain(forecast: Logit, labels: int, facts: Facts, lift: float = 0.0) -> tuple[Reason, ...]:
    """At most four reasons: rules first, then families by size; ``other`` holds the rest.

    Their contributions add up to the published log-odds of being late. Rules contribute 0, but for the lift by insolvency.
    """
    found = _rules(labels, facts, lift)
    contributions = forecast.contributions
    ranked = sorted([(-abs(c), i) for i, c in enumerate(contributions) if c])
    room = MOST_REASONS - len(found)
    shown = ranked if len(ranked) <= room else ranked[: room - 1]
    for _, i in shown:
        contribution, code = contributions[i], FAMILIES[i]
        evidence = facts.shock_ids if code == "cash_flow_shock" else ()
        found.append(_Reason(code=code, contribution=contribution, text=TEXTS[code][contribution < 0.0], evidence=evidence))
    if len(shown) < len(ranked):
        rest = 0.0
        for _, i in ranked[room - 1 :]:
            rest += contributions[i]
        found.append(_Reason(code="other", contribution=rest, text=TEXTS["other"][0]))
    return tuple(found)


_Reason = written(Reason)
_NEW = _Reason(code="new_debtor", text="No invoice of this debtor has come due yet: the forecast is that of its like")


def _rules(labels: int, facts: Facts, lift: float) -> list[Reason]:
    """At most three, so that there is room for what was learned."""
    found = []
    if facts.stage in CERTAIN:  # the other stages are no alarm
        text = _insolvency_text(facts.stage, facts.certain)
        found.append(_Reason(code="insolvency", contribution=lift, text=text, evidence=facts.notice_ids))
    if facts.days_past_due > 0:
        found.append(_Reason(code="overdue_now", text=_overdue_text(facts.days_past_due), evidence=facts.overdue_ids))
    if labels == 0:
        found.append(_NEW)
    return found


@lru_cache(maxsize=64)
def _insolvency_text(stage: str, certain: bool) -> str:
    return f"Insolvency notice, stage {stage.replace('_', ' ')}, {'certain' if certain else 'possible'} match"


@lru_cache(maxsize=1024)
def _overdue_text(days: int) -> str:
    return f"An open invoice is {days} {'day' if days == 1 else 'days'} past due"
