"""The table of limit rules: what changes a debtor's limit, in which order, why, and what else depends on the reason.

To add one: its function here and a row in ``RULES``, at its place in the order of precedence. If it looks at something new, a
field of ``LimitInputs`` that ``agents/debtor/views.py`` fills; if it must remember that it has acted, a flag in ``state.Limit``;
and ``is_quiet`` must not sleep through it (``tests/unit/agents/debtor/test_limits.py`` holds it against the rules).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace

from agents.debtor.limits.amounts import ZERO, amount_after_cut, band_factor, band_terms, round_to_step, target
from agents.debtor.limits.state import Limit
from schemas.events.insolvency import Stage
from schemas.events.policies import LimitRules

NO_PROCEEDING = frozenset({"none", "closed", "dismissed", "plan", "solvent_winding_up"})
"""Stages after which a debtor that was insolvent gets a limit again."""


class LimitInputs(NamedTuple):
    """What the policy looks at, in the policy's currency. ``exposure`` and ``sales_90d`` are None where a rate is missing."""

    band: str
    exposure: Decimal | None
    sales_90d: Decimal | None
    is_overdue: bool
    """Invoices are overdue as long, and amount to as much, as an overdue alert wants."""
    stage: Stage
    is_insolvent: bool
    shock: bool
    is_rising: bool = False
    """More comes in on the debtor's account than usual."""
    payments_paused: bool = False
    """Payments are not being read: what looks unpaid may be paid."""
    unpaid: Decimal | None = ZERO
    """The open part of all invoices: sales that nobody has paid yet raise no limit."""

    @property
    def paid_sales(self) -> Decimal | None:
        """Of the sales of the last 90 days what has been paid at least; None where a rate is missing."""
        if self.sales_90d is None or self.unpaid is None:
            return None
        return max(ZERO, self.sales_90d - self.unpaid)


class LimitDecision(NamedTuple):
    """The limit from now on. ``codes`` empty = nothing to announce, only flags to remember."""

    limit: Limit
    codes: tuple[str, ...] = ()


RuleFunction = Callable[[Limit, LimitInputs, LimitRules, int], LimitDecision | None]
"""(limit, inputs, rules, day) -> the limit from now on. None: the next rule may decide. The limit as it is: no other rule may."""


# -- what protects, and a person's word
def _insolvency(limit: Limit, inputs: LimitInputs, rules: LimitRules, day: int) -> LimitDecision | None:
    if inputs.is_insolvent:
        if limit.stage_acted == inputs.stage or (limit.amount == 0 and limit.stage_acted != "none"):
            return LimitDecision(limit)
        cut = replace(
            limit, amount=ZERO, terms_days=0, security=True, band="weak", hold=False, hold_until=0, override_until=0,
            follows_until=0, stage_acted=inputs.stage,
        )  # fmt: skip
        return LimitDecision(cut, ("insolvency",))
    if limit.stage_acted not in ("none", "petition") and inputs.stage in NO_PROCEEDING:
        owed = rules.opening_limit if inputs.exposure is None else inputs.exposure
        amount = round_to_step(min(rules.opening_limit, max(owed, ZERO) or rules.opening_limit), rules.round_to)
        restored = replace(
            limit, amount=amount, terms_days=rules.weak_terms_days, stage_acted="none", review=day + rules.review_days
        )
        return LimitDecision(restored, ("insolvency_over",))
    return None


def _override(limit: Limit, _inputs: LimitInputs, _rules: LimitRules, day: int) -> LimitDecision | None:
    if not limit.override_until:
        return None
    if day <= limit.override_until:
        return LimitDecision(limit)
    return LimitDecision(replace(limit, override_until=0, review=day))


# -- holds: new exposure waits for a person
def _lapse(limit: Limit, _inputs: LimitInputs, _rules: LimitRules, day: int) -> LimitDecision | None:
    if not limit.hold or day <= limit.hold_until:
        return None
    return LimitDecision(replace(limit, hold=False, hold_until=0), ("hold_lapsed",))


def _petition(limit: Limit, inputs: LimitInputs, rules: LimitRules, day: int) -> LimitDecision | None:
    if limit.hold:
        return None
    if inputs.stage == "petition" and limit.stage_acted == "none":
        return LimitDecision(replace(_hold(limit, rules, day), stage_acted="petition"), ("petition",))
    if inputs.stage in NO_PROCEEDING and limit.stage_acted == "petition":
        return LimitDecision(replace(limit, stage_acted="none"))
    return None


def _cash_flow_shock(limit: Limit, inputs: LimitInputs, rules: LimitRules, day: int) -> LimitDecision | None:
    if limit.hold or inputs.shock == limit.shock_acted:
        return None
    if inputs.shock:
        return LimitDecision(replace(_hold(limit, rules, day), shock_acted=True), ("cash_flow_shock",))
    return LimitDecision(replace(limit, shock_acted=False))


def _payments_paused(limit: Limit, inputs: LimitInputs, rules: LimitRules, day: int) -> LimitDecision | None:
    """Instead of a cut a review, once; what is still so when payments are read again is cut then."""
    if not inputs.payments_paused:
        return LimitDecision(replace(limit, paused_acted=False)) if limit.paused_acted else None
    if not (inputs.is_overdue and not limit.overdue_acted) and not _fell_to_weak(limit, inputs):
        return None
    if limit.hold or limit.paused_acted:
        return LimitDecision(limit)
    return LimitDecision(replace(_hold(limit, rules, day), paused_acted=True), ("payments_paused",))


def _rate_missing(limit: Limit, inputs: LimitInputs, rules: LimitRules, day: int) -> LimitDecision | None:
    """While nobody knows the exposure, a person looks at what would raise it."""
    is_missing = inputs.exposure is None
    if limit.hold or is_missing == limit.rate_acted:
        return None
    if is_missing:
        return LimitDecision(replace(_hold(limit, rules, day), rate_acted=True), ("rate_missing",))
    return LimitDecision(replace(limit, rate_acted=False))


def _hold(limit: Limit, rules: LimitRules, day: int) -> Limit:
    return replace(limit, hold=True, hold_until=day + rules.hold_days)


# -- cuts at once
def _overdue(limit: Limit, inputs: LimitInputs, rules: LimitRules, day: int) -> LimitDecision | None:
    if inputs.is_overdue == limit.overdue_acted:
        return None
    if inputs.is_overdue:
        return LimitDecision(replace(_cut(limit, inputs, rules, day), overdue_acted=True), ("overdue",))
    return LimitDecision(replace(limit, overdue_acted=False))


def _band_weak(limit: Limit, inputs: LimitInputs, rules: LimitRules, day: int) -> LimitDecision | None:
    if not _fell_to_weak(limit, inputs):
        return None
    return LimitDecision(replace(_cut(limit, inputs, rules, day), band="weak"), ("band_weak",))


def _fell_to_weak(limit: Limit, inputs: LimitInputs) -> bool:
    return inputs.band == "weak" and limit.band != "weak"


def _cut(limit: Limit, inputs: LimitInputs, rules: LimitRules, day: int) -> Limit:
    return replace(
        limit, amount=amount_after_cut(limit, inputs.sales_90d, rules), terms_days=min(limit.terms_days, rules.weak_terms_days),
        security=True, follows_until=0, review=day + rules.review_days,
    )  # fmt: skip


# -- the regular review; daily as long as the limit follows the sales
def _review(limit: Limit, inputs: LimitInputs, rules: LimitRules, day: int) -> LimitDecision | None:
    is_due, is_settling = day >= limit.review, day < limit.follows_until
    if not is_due and not is_settling:
        return None
    target_amount = target(inputs.sales_90d, inputs.band, rules, day - limit.opened)
    paid_target = target(inputs.paid_sales, inputs.band, rules, day - limit.opened)
    amount = limit.amount
    codes: tuple[str, ...] = ()
    if paid_target is not None and paid_target > limit.amount * (1 + rules.deadband):
        amount, codes = _raise(limit, inputs, rules, paid_target, is_settling=is_settling)
    elif target_amount is not None and is_due and not is_settling and target_amount < limit.amount * (1 - rules.deadband):
        amount, codes = _lower(limit, inputs, rules, target_amount)
    reviewed = limit if amount == limit.amount else replace(limit, amount=amount)
    if is_due:
        reviewed, terms_codes = _set_terms(reviewed, inputs, rules)
        codes += terms_codes
        reviewed = replace(reviewed, band=inputs.band, review=day + rules.review_days)
    return LimitDecision(reviewed, codes)


Resize = tuple[Decimal, tuple[str, ...]]
"""The amount from now on, and why."""


def _raise(limit: Limit, inputs: LimitInputs, rules: LimitRules, target_amount: Decimal, *, is_settling: bool) -> Resize:
    """Up by one step at most, unless the limit still follows the sales."""
    if _bars_raise(limit, inputs):
        return limit.amount, ()
    cap = round_to_step(limit.amount * rules.step_up, rules.round_to, up=True)
    amount = target_amount if is_settling or not limit.amount else min(target_amount, cap)
    return amount, ("regular_payments", "rising_cash_flow") if inputs.is_rising else ("regular_payments",)


def _bars_raise(limit: Limit, inputs: LimitInputs) -> bool:
    return limit.hold or inputs.is_overdue or inputs.shock or inputs.band == "weak"


def _lower(limit: Limit, inputs: LimitInputs, rules: LimitRules, target_amount: Decimal) -> Resize:
    """Down to what the sales are worth, but not below what the band is worth to somebody of whom nothing is known."""
    if inputs.payments_paused:
        return limit.amount, ()
    amount = max(target_amount, round_to_step(rules.opening_limit * band_factor(rules, inputs.band), rules.round_to))
    if amount >= limit.amount:
        return limit.amount, ()
    return amount, ("risk_grown" if _risk_rank(inputs.band) > _risk_rank(limit.band) else "less_business",)


def _risk_rank(band: str) -> int:
    return {"strong": 0, "medium": 1}.get(band, 2)


def _set_terms(limit: Limit, inputs: LimitInputs, rules: LimitRules) -> tuple[Limit, tuple[str, ...]]:
    """Terms and security of the band; while invoices are overdue those of the cut stay."""
    terms_days, security = band_terms(rules, inputs.band), inputs.band != "strong"
    if inputs.is_overdue or (terms_days == limit.terms_days and security == limit.security):
        return limit, ()
    return replace(limit, terms_days=terms_days, security=security), ("terms",)


# -- the table
class LimitEvidence(NamedTuple):
    """Ids that a reason may quote besides that of the cause."""

    overdue_ids: tuple[str, ...]


class LimitReason(NamedTuple):
    """Why a limit changes."""

    code: str
    text: str
    text_de: str
    policy_values: tuple[str, ...] = ()
    """The policy's values that it depends on, as paths into the policy."""
    evidence: Callable[[LimitEvidence], tuple[str, ...]] = lambda _: ()


class LimitRule(NamedTuple):
    """A rule and the reasons that it gives."""

    decide: RuleFunction
    reasons: tuple[LimitReason, ...] = ()


_FOLLOWS_SALES = (
    "limits.cover_days", "limits.strong_factor", "limits.medium_factor", "limits.weak_factor", "limits.step_up",
    "limits.deadband", "limits.round_to", "limits.review_days",
)  # fmt: skip
_CUTS = ("limits.weak_factor", "limits.weak_terms_days")

RULES: tuple[LimitRule, ...] = (
    LimitRule(
        _insolvency,
        (
            LimitReason(
                "insolvency",
                "An insolvency proceeding was published: nothing more on credit.",
                "Ein Insolvenzverfahren wurde bekannt gemacht: nichts mehr auf Ziel.",
            ),
            LimitReason(
                "insolvency_over",
                "The insolvency notice was withdrawn or the proceeding is over: back to a cautious limit.",
                "Die Insolvenzbekanntmachung wurde zurückgenommen oder das Verfahren ist beendet: "
                "zurück zu einem vorsichtigen Limit.",
                ("limits.opening_limit", "limits.round_to", "limits.weak_terms_days"),
            ),
        ),
    ),
    LimitRule(_override),
    LimitRule(
        _lapse,
        (
            LimitReason(
                "hold_lapsed",
                "Nobody answered the review in time: the hold ends, the limit stays.",
                "Niemand hat rechtzeitig auf die Prüfung geantwortet: die Sperre endet, das Limit bleibt.",
                ("limits.hold_days",),
            ),
        ),
    ),
    LimitRule(
        _petition,
        (
            LimitReason(
                "petition",
                "A petition was published: new exposure is held until somebody has looked.",
                "Ein Insolvenzantrag wurde bekannt gemacht: neues Obligo ist angehalten, bis jemand nachgesehen hat.",
                ("limits.hold_days",),
            ),
        ),
    ),
    LimitRule(
        _cash_flow_shock,
        (
            LimitReason(
                "cash_flow_shock",
                "Money coming in on the debtor's account fell suddenly: new exposure is held until somebody has looked.",
                "Der Geldeingang auf dem Konto des Debitors fiel plötzlich: "
                "neues Obligo ist angehalten, bis jemand nachgesehen hat.",
                ("alerts.shock_threshold", "alerts.shock_warm_up_weeks", "limits.hold_days"),
            ),
        ),
    ),
    LimitRule(
        _payments_paused,
        (
            LimitReason(
                "payments_paused",
                "It would be cut, but payments are not being read: new exposure is held until somebody has looked.",
                "Es würde gekürzt, aber Zahlungen werden nicht gelesen: neues Obligo ist angehalten, bis jemand nachgesehen hat.",
                (
                    "alerts.overdue_days",
                    "alerts.overdue_amount",
                    "bands.late_weak_from",
                    "bands.default_weak_from",
                    "limits.hold_days",
                ),
            ),
        ),
    ),
    LimitRule(
        _rate_missing,
        (
            LimitReason(
                "rate_missing",
                "An exchange rate is missing: the exposure is unknown, a person must look.",
                "Ein Wechselkurs fehlt: das Obligo ist unbekannt, ein Mensch muss nachsehen.",
            ),
        ),
    ),
    LimitRule(
        _overdue,
        (
            LimitReason(
                "overdue",
                "Invoices are overdue beyond the policy's patience: the limit is cut.",
                "Rechnungen sind länger überfällig, als die Richtlinie duldet: das Limit wird gekürzt.",
                ("alerts.overdue_days", "alerts.overdue_amount", *_CUTS),
                lambda ids: ids.overdue_ids,
            ),
        ),
    ),
    LimitRule(
        _band_weak,
        (
            LimitReason(
                "band_weak",
                "The risk band fell to weak: the limit is cut.",
                "Die Risikostufe ist auf schwach gefallen: das Limit wird gekürzt.",
                ("bands.late_weak_from", "bands.default_weak_from", *_CUTS),
            ),
        ),
    ),
    LimitRule(
        _review,
        (
            LimitReason(
                "regular_payments",
                "Regular payments and growing business: the limit is raised.",
                "Regelmäßige Zahlungen und wachsendes Geschäft: das Limit wird angehoben.",
                _FOLLOWS_SALES,
            ),
            LimitReason(
                "rising_cash_flow",
                "Money coming in on the debtor's account is rising.",
                "Der Geldeingang auf dem Konto des Debitors steigt.",
            ),
            LimitReason(
                "less_business",
                "The limit is far above the business of the last 90 days: it is lowered.",
                "Das Limit liegt weit über dem Geschäft der letzten 90 Tage: es wird gesenkt.",
                (*_FOLLOWS_SALES, "limits.opening_limit"),
            ),
            LimitReason(
                "risk_grown",
                "The probability of default rose: the limit is lowered.",
                "Die Ausfallwahrscheinlichkeit ist gestiegen: das Limit wird gesenkt.",
                (*_FOLLOWS_SALES, "limits.opening_limit"),
            ),
            LimitReason(
                "terms",
                "Terms follow the risk band.",
                "Die Zahlungsziele folgen der Risikostufe.",
                ("limits.strong_terms_days", "limits.terms_days", "limits.weak_terms_days"),
            ),
        ),
    ),
)
"""All rules in their order of precedence: what protects comes first; a person's override stands against all but insolvency."""

_OTHER_REASONS = (
    LimitReason(
        "opening_limit",
        "First limit of this debtor, by the policy's opening rule.",
        "Erstes Limit dieses Debitors, nach der Eröffnungsregel der Richtlinie.",
        ("limits.opening_limit", "limits.terms_days", "limits.review_days"),
    ),
    LimitReason(
        "generation",
        "The first change of a new generation: state as it is now.",
        "Die erste Änderung einer neuen Generation: der Stand, wie er jetzt ist.",
        ("action",),
    ),
    LimitReason(
        "hold_rejected",
        "A person found no reason for concern: the hold ends.",
        "Ein Mensch hat keinen Grund zur Sorge gefunden: die Sperre endet.",
    ),
    LimitReason(
        "review_confirmed",
        "A person confirmed the concern: the limit is cut.",
        "Ein Mensch hat die Sorge bestätigt: das Limit wird gekürzt.",
        _CUTS,
    ),
    LimitReason(
        "override",
        "A person set the limit until the date given.",
        "Ein Mensch hat das Limit bis zum angegebenen Tag festgesetzt.",
    ),
)
"""Of the opening and of what people decide."""
REASONS: dict[str, LimitReason] = {
    reason.code: reason for reason in (*(reason for rule in RULES for reason in rule.reasons), *_OTHER_REASONS)
}


def is_quiet(
    limit: Limit, band: str, overdue_items: int, shock: bool, stage: str, day: int, *, is_rate_missing: bool = False
) -> bool:
    """Whether no rule can have anything to say, by what costs nothing to know; so it is after most events.

    >>> is_quiet(Limit(band="strong", follows_until=90, review=120), "strong", 0, False, "none", 100)
    True
    """
    return (
        limit.follows_until <= day < limit.review
        and not (limit.hold or limit.override_until or shock or limit.shock_acted or overdue_items or limit.overdue_acted)
        and not (limit.paused_acted or limit.rate_acted or is_rate_missing)
        and stage == limit.stage_acted == "none"
        and (band != "weak" or limit.band == "weak")
    )
