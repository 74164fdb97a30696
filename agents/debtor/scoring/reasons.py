"""Why a score is what it is: at most five reasons, whose contributions add up to the published log-odds of being late."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import NamedTuple

from agents.debtor.german import STAGES_DE
from agents.debtor.message_structs import struct_for
from agents.debtor.scoring.default import STAGE_FLOORS
from agents.debtor.scoring.values import ReasonInputs, Scored, ScoreInputs
from schemas.events.insolvency import Stage
from schemas.outputs.common import Reason, ReasonFamily

_Reason = struct_for(Reason)


CODES = (
    "base_rate", "weekday_rhythm", "group_history", "recent_delays", "amount_pattern", "cash_flow_shock", "overdue_now", "terms",
    "rating", "note", "first_invoices",
)  # fmt: skip
"""Reason codes of ``Logit.contributions``, in its order."""

_TEXTS: dict[str, tuple[ReasonFamily, tuple[str, str], tuple[str, str]]] = {
    "base_rate": (
        "none",
        (
            "Where every forecast starts, before anything of this debtor, raises the probability",
            "Der Ausgangspunkt jeder Prognose, noch ohne etwas von diesem Debitor, erhöht die Wahrscheinlichkeit",
        ),
        (
            "Where every forecast starts, before anything of this debtor, lowers the probability",
            "Der Ausgangspunkt jeder Prognose, noch ohne etwas von diesem Debitor, senkt die Wahrscheinlichkeit",
        ),
    ),
    "weekday_rhythm": (
        "follow-up",
        (
            "Invoices due on such a day tend to be paid late",
            "An einem solchen Tag fällige Rechnungen werden eher zu spät gezahlt",
        ),
        (
            "Invoices due on such a day tend to be paid in time",
            "An einem solchen Tag fällige Rechnungen werden eher pünktlich gezahlt",
        ),
    ),
    "group_history": (
        "fragile",
        (
            "Debtors of the same group tend to pay such invoices late",
            "Debitoren derselben Gruppe zahlen solche Rechnungen eher zu spät",
        ),
        (
            "Debtors of the same group tend to pay such invoices in time",
            "Debitoren derselben Gruppe zahlen solche Rechnungen eher pünktlich",
        ),
    ),
    "recent_delays": (
        "delays",
        ("This debtor pays later than others", "Dieser Debitor zahlt später als andere"),
        ("This debtor pays more punctually than others", "Dieser Debitor zahlt pünktlicher als andere"),
    ),
    "amount_pattern": (
        "exposure",
        ("This debtor tends to pay such amounts late", "Dieser Debitor zahlt solche Beträge eher zu spät"),
        ("This debtor tends to pay such amounts in time", "Dieser Debitor zahlt solche Beträge eher pünktlich"),
    ),
    "cash_flow_shock": (
        "fragile",
        ("The cash flow of this debtor broke suddenly", "Der Zahlungsstrom dieses Debitors ist plötzlich eingebrochen"),
        (
            "The cash flow of this debtor is steady, or its break did not delay payments so far",
            "Der Zahlungsstrom dieses Debitors ist stetig, oder sein Bruch hat bisher nichts verzögert",
        ),
    ),
    "overdue_now": (
        "delays",
        ("Invoices are overdue now", "Zurzeit sind Rechnungen überfällig"),
        ("Little or nothing is overdue now", "Zurzeit ist wenig oder nichts überfällig"),
    ),
    "terms": (
        "follow-up",
        ("Such terms of payment tend to be missed", "Solche Zahlungsziele werden eher verfehlt"),
        ("Such terms of payment tend to be kept", "Solche Zahlungsziele werden eher eingehalten"),
    ),
    "rating": (
        "fragile",
        ("An external rating speaks against this debtor", "Eine externe Bewertung spricht gegen diesen Debitor"),
        ("An external rating speaks for this debtor", "Eine externe Bewertung spricht für diesen Debitor"),
    ),
    "note": (
        "fragile",
        ("A note of the sales team speaks against this debtor", "Eine Notiz des Vertriebs spricht gegen diesen Debitor"),
        ("A note of the sales team speaks for this debtor", "Eine Notiz des Vertriebs spricht für diesen Debitor"),
    ),
    "first_invoices": (
        "none",
        (
            "First invoices of debtors tend to be paid late",
            "Erste Rechnungen von Debitoren werden eher zu spät gezahlt",
        ),
        (
            "First invoices of debtors tend to be paid in time",
            "Erste Rechnungen von Debitoren werden eher pünktlich gezahlt",
        ),
    ),
    "other": (
        "none",
        ("Smaller influences together", "Kleinere Einflüsse zusammen"),
        ("Smaller influences together", "Kleinere Einflüsse zusammen"),
    ),
}
"""Code -> family, and the texts (English, German) when it raises, and when it lowers, the probability of being late.

``base_rate`` is the model's constants, not the rate of late invoices: it may raise where most invoices are paid in time."""
MAX_REASONS = 5
DIGITS = 6
"""Contributions and the published log-odds are rounded to so many decimals, before they are added up."""
CHANGE_IS_NEWS_DAYS = 90
"""How long a change of behaviour remains a reason."""

_EVIDENCE = {"cash_flow_shock": "shock_ids", "overdue_now": "overdue_ids", "rating": "rating_ids", "note": "note_ids"}
_NEW = _Reason(
    code="new_debtor",
    text="No invoice of this debtor has come due yet: the forecast is that of its like",
    text_de="Noch war keine Rechnung dieses Debitors fällig: die Prognose ist die von seinesgleichen",
)
_THIN = _Reason(
    code="thin_cushion",
    text="The account holds less than a week of its usual inflow when it holds little: a default is more likely",
    text_de="Das Konto hält in schwachen Wochen weniger als einen üblichen Wochenzufluss: ein Ausfall ist wahrscheinlicher",
    family="fragile",
)
THIN_WEEKS = 1.0
_FALLBACK = _Reason(
    code="late_rate_only",
    text="The learned model was worse than the plain late rate of the debtor, which counts until it has recovered",
    text_de="Das gelernte Modell war schlechter als die schlichte Verspätungsquote des Debitors; bis es besser ist, zählt diese",
)


class Explanation(NamedTuple):
    """The reasons of a score. Their contributions, but that of an insolvency (the lift), add up to ``log_odds``."""

    reasons: tuple[Reason, ...]
    log_odds: float
    """The published one, linear: of being late, before the lift."""


def explain_score(scored: Scored) -> Explanation:
    """Why a score is what it is.

    >>> from agents.debtor.scoring.decide import score_debtor
    >>> from agents.debtor.scoring.state import ScoreState
    >>> from schemas.events.models import ModelPublished
    >>> from schemas.events.policies import Bands
    >>> scored = score_debtor(ScoreState(), None, ScoreInputs(), ModelPublished(), bands=Bands())
    >>> [reason.code for reason in explain_score(scored).reasons]
    ['new_debtor']
    """
    return explain(scored.forecast.contributions, scored.reason_inputs, scored.lift)


def explain(contributions: tuple[float, ...], reason_inputs: ReasonInputs, lift: float = 0.0) -> Explanation:
    """At most five reasons: rules first, then what was learned, by size; ``other`` holds the rest.

    >>> parts = (-0.5, 2.0, *(0.0,) * (len(CODES) - 2))
    >>> [(r.code, r.contribution) for r in explain(parts, ReasonInputs(ScoreInputs(), 9, None, "hedge")).reasons]
    [('weekday_rhythm', 2.0), ('base_rate', -0.5)]
    """
    reasons = _rule_reasons(reason_inputs, lift)
    values = [round(c, DIGITS) if c else 0.0 for c in contributions]
    ranking = sorted([(-abs(c), i) for i, c in enumerate(values) if c])
    room = MAX_REASONS - len(reasons)
    top = ranking if len(ranking) <= room else ranking[: room - 1]
    for _, i in top:
        reasons.append(_reason(CODES[i], values[i], reason_inputs.inputs))
    if len(top) < len(ranking):
        rest = round(sum([values[i] for _, i in ranking[len(top) :]]), DIGITS)
        reasons.append(_reason("other", rest, reason_inputs.inputs))
    return Explanation(tuple(reasons), round(sum(values), DIGITS))


def _reason(code: str, contribution: float, inputs: ScoreInputs) -> Reason:
    family, more, less = _TEXTS[code]
    text, text_de = less if contribution < 0.0 else more
    evidence: tuple[str, ...] = getattr(inputs, _EVIDENCE[code]) if code in _EVIDENCE else ()
    if code == "overdue_now" and inputs.days_past_due > 0:
        text, text_de = _overdue_text(inputs.days_past_due, contribution < 0.0)
    return _Reason(
        code=code,
        contribution=contribution,
        text=text,
        evidence=evidence,
        text_de=text_de,
        family=family if contribution >= 0.0 else "good",
    )


def _rule_reasons(reason_inputs: ReasonInputs, lift: float) -> list[Reason]:
    """At most four reasons that rules give, so that there is room for what was learned."""
    inputs, change = reason_inputs.inputs, reason_inputs.change
    reasons: list[Reason] = []
    if inputs.stage in STAGE_FLOORS:  # the other stages are no alarm
        text, text_de = _insolvency_text(inputs.stage, inputs.certain)
        contribution = round(lift, DIGITS)
        reasons.append(
            _Reason(
                code="insolvency",
                contribution=contribution,
                text=text,
                evidence=inputs.notice_ids,
                text_de=text_de,
                family="fragile",
            )
        )
    if reason_inputs.scorer == "late_rate":
        reasons.append(_FALLBACK)
    if change is not None and inputs.day - change.day <= CHANGE_IS_NEWS_DAYS:
        text, text_de = _change_text(change.since, change.later)
        family: ReasonFamily = "delays" if change.later else "good"
        reasons.append(_Reason(code="behaviour_changed", text=text, text_de=text_de, family=family))
    elif reason_inputs.labels == 0:
        reasons.append(_NEW)
    if inputs.cushion is not None and inputs.cushion < THIN_WEEKS:
        reasons.append(_THIN)
    return reasons


@lru_cache(maxsize=64)
def _insolvency_text(stage: Stage, certain: bool) -> tuple[str, str]:
    name = stage.replace("_", " ")
    return (
        f"Insolvency notice, stage {name}, {'certain' if certain else 'possible'} match",
        f"Insolvenzbekanntmachung, Stand: {STAGES_DE[stage]}, {'sicherer' if certain else 'möglicher'} Treffer",
    )


@lru_cache(maxsize=1024)
def _overdue_text(days: int, lowers: bool) -> tuple[str, str]:
    """``lowers``: a few days may speak for a debtor, as they are less than what its like show; then they must not be an alarm."""
    text = f"An open invoice is at least {days} {'day' if days == 1 else 'days'} past due"
    text_de = f"Eine offene Rechnung ist seit mindestens {days} {'Tag' if days == 1 else 'Tagen'} überfällig"
    if lowers:
        text += ", which for this debtor says little or even lowers the probability"
        text_de += "; das besagt bei diesem Debitor wenig oder senkt die Wahrscheinlichkeit sogar"
    return text, text_de


@lru_cache(maxsize=1024)
def _change_text(since: int, later: bool) -> tuple[str, str]:
    day = date.fromordinal(since)
    how, wie = ("later", "später") if later else ("more punctually", "pünktlicher")
    return (
        f"The behaviour changed: it pays {how} than expected since {day}",
        f"Das Verhalten hat sich geändert: Zahlungen kommen seit {day} {wie} als erwartet",
    )
