"""The published limit policy: what limit, terms and security a debtor gets, and when that changes.

Down at once: insolvency, an overdue alert, a fall into the weak band. Held for a person: a petition, a sudden change of cash
flow. Up only at a review (every ``review_days``), by one step, and never against an open hold, an overdue alert or a proceeding;
in the first 90 days, while there is no full window of sales, the limit follows the sales without waiting for the review,
until the first cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import NamedTuple

from msgspec.structs import replace

from agents.debtor.limits.state import Limit
from schemas.events.insolvency import Stage
from schemas.events.policies import LimitRules

ZERO = Decimal("0.00")
SETTLING_DAYS = 90
LEAST_WINDOW = 30
"""Days of sales that a target is computed from at the least: one big first invoice is no run rate."""

TEXTS: dict[str, tuple[str, str]] = {
    "opening_limit": (
        "First limit of this debtor, by the policy's opening rule.",
        "Erstes Limit dieses Debitors, nach der Eröffnungsregel der Richtlinie.",
    ),
    "insolvency": (
        "An insolvency proceeding was published: nothing more on credit.",
        "Ein Insolvenzverfahren wurde bekannt gemacht: nichts mehr auf Ziel.",
    ),
    "insolvency_over": (
        "The insolvency notice was withdrawn or the proceeding is over: back to a cautious limit.",
        "Die Insolvenzbekanntmachung wurde zurückgenommen oder das Verfahren ist beendet: zurück zu einem vorsichtigen Limit.",
    ),
    "payments_paused": (
        "It would be cut, but payments are not being read: new exposure is held until somebody has looked.",
        "Es würde gekürzt, aber Zahlungen werden nicht gelesen: neues Obligo ist angehalten, bis jemand nachgesehen hat.",
    ),
    "petition": (
        "A petition was published: new exposure is held until somebody has looked.",
        "Ein Insolvenzantrag wurde bekannt gemacht: neues Obligo ist angehalten, bis jemand nachgesehen hat.",
    ),
    "overdue": (
        "Invoices are overdue beyond the policy's patience: the limit is cut.",
        "Rechnungen sind länger überfällig, als die Richtlinie duldet: das Limit wird gekürzt.",
    ),
    "band_weak": (
        "The risk band fell to weak: the limit is cut.",
        "Die Risikostufe ist auf schwach gefallen: das Limit wird gekürzt.",
    ),
    "cash_flow_shock": (
        "Money coming in on the debtor's account fell suddenly: new exposure is held until somebody has looked.",
        "Der Geldeingang auf dem Konto des Debitors fiel plötzlich: neues Obligo ist angehalten, bis jemand nachgesehen hat.",
    ),
    "hold_lapsed": (
        "Nobody answered the review in time: the hold ends, the limit stays.",
        "Niemand hat rechtzeitig auf die Prüfung geantwortet: die Sperre endet, das Limit bleibt.",
    ),
    "hold_rejected": (
        "A person found no reason for concern: the hold ends.",
        "Ein Mensch hat keinen Grund zur Sorge gefunden: die Sperre endet.",
    ),
    "review_confirmed": (
        "A person confirmed the concern: the limit is cut.",
        "Ein Mensch hat die Sorge bestätigt: das Limit wird gekürzt.",
    ),
    "override": (
        "A person set the limit until the date given.",
        "Ein Mensch hat das Limit bis zum angegebenen Tag festgesetzt.",
    ),
    "override_ended": (
        "The override has expired: the policy decides again.",
        "Die Festsetzung ist abgelaufen: die Richtlinie entscheidet wieder.",
    ),
    "regular_payments": (
        "Regular payments and growing business: the limit is raised.",
        "Regelmäßige Zahlungen und wachsendes Geschäft: das Limit wird angehoben.",
    ),
    "rising_cash_flow": (
        "Money coming in on the debtor's account is rising.",
        "Der Geldeingang auf dem Konto des Debitors steigt.",
    ),
    "less_business": (
        "The limit is far above the business of the last 90 days: it is lowered.",
        "Das Limit liegt weit über dem Geschäft der letzten 90 Tage: es wird gesenkt.",
    ),
    "risk_grown": (
        "The probability of default rose: the limit is lowered.",
        "Die Ausfallwahrscheinlichkeit ist gestiegen: das Limit wird gesenkt.",
    ),
    "terms": (
        "Terms follow the risk band.",
        "Die Zahlungsziele folgen der Risikostufe.",
    ),
    "rate_missing": (
        "An exchange rate is missing: the exposure is unknown, a person must look.",
        "Ein Wechselkurs fehlt: das Obligo ist unbekannt, ein Mensch muss nachsehen.",
    ),
    "generation": (
        "The first change of a new generation: state as it is now.",
        "Die erste Änderung einer neuen Generation: der Stand, wie er jetzt ist.",
    ),
}
"""Reason code -> words (English, German)."""


class LimitInputs(NamedTuple):
    """What the policy looks at, in the policy's currency. ``exposure`` and ``sales_90d`` are None where a rate is missing."""

    band: str
    exposure: Decimal | None
    sales_90d: Decimal | None
    overdue: bool
    stage: Stage
    insolvent: bool
    shock: bool
    rising: bool = False
    blind: bool = False
    """Payments are not read for now (D10): what looks unpaid may be paid."""


class Change(NamedTuple):
    """The limit as it is from now on. ``codes`` empty = nothing to announce, only flags to remember."""

    limit: Limit
    codes: tuple[str, ...] = ()


def factor(rules: LimitRules, band: str) -> Decimal:
    """How much of the sales to cover a band is worth."""
    return {"strong": rules.strong_factor, "medium": rules.medium_factor}.get(band, rules.weak_factor)


def terms(rules: LimitRules, band: str) -> int:
    """Days to pay that a band earns."""
    return {"strong": rules.strong_terms_days, "medium": rules.terms_days}.get(band, rules.weak_terms_days)


def rounded(amount: Decimal, step: Decimal, *, up: bool = False) -> Decimal:
    """To whole steps, down unless told otherwise.

    >>> rounded(Decimal("1234.56"), Decimal(100))
    Decimal('1200.00')
    """
    return ((amount / step).to_integral_value(ROUND_UP if up else ROUND_DOWN) * step).quantize(ZERO)


def target(standing: LimitInputs, rules: LimitRules, age_days: int) -> Decimal | None:
    """The limit that covers ``cover_days`` of the sales of the last 90 days; None where there were none or a rate is missing."""
    if not standing.sales_90d:
        return None
    window = min(SETTLING_DAYS, max(LEAST_WINDOW, age_days + 1))
    return rounded(standing.sales_90d / window * rules.cover_days * factor(rules, standing.band), rules.round_to)


def open_limit(
    action: str, generation: int, previous: Limit, standing: LimitInputs, rules: LimitRules, currency: str, day: int
) -> Change:
    """The first change of a generation: the policy's opening limit, or the shadow limit as it stands."""
    amount = previous.amount if previous.is_open and previous.currency == currency else rules.opening_limit
    codes: tuple[str, ...] = ("generation",) if previous.is_open else ("opening_limit",)
    weak_terms = standing.insolvent
    if standing.insolvent:
        amount, codes = ZERO, (*codes, "insolvency")
    limit = Limit(
        action=action,
        generation=generation,
        amount=amount.quantize(ZERO),
        currency=currency,
        terms_days=0 if weak_terms else terms(rules, standing.band),
        security=standing.band != "strong",
        band=standing.band,
        opened=previous.opened or day,
        follows_until=(previous.opened or day) + SETTLING_DAYS,
        review=day + rules.review_days,
        stage_acted=standing.stage if standing.insolvent else "none",
    )
    return Change(limit, codes if standing.exposure is not None else (*codes, "rate_missing"))


def decide(limit: Limit, standing: LimitInputs, rules: LimitRules, day: int) -> Change | None:
    """The next change, or None. Call it again until it answers None: one cause, one change.

    The order of the rules is the order of precedence: what protects comes first, a person's override stands against all but
    insolvency.
    """
    for rule in (_insolvency, _override, _held, _blind, _overdue, _fallen, _review):
        change = rule(limit, standing, rules, day)
        if change is not None:
            return None if change.limit == limit else change
    return None


def is_quiet(limit: Limit, band: str, overdue_items: int, shock: bool, stage: str, day: int) -> bool:
    """Whether no rule can have anything to say, by what costs nothing to know; so it is after most events.

    >>> is_quiet(Limit(band="strong", follows_until=90, review=120), "strong", 0, False, "none", 100)
    True
    """
    return (
        limit.follows_until <= day < limit.review
        and not (limit.hold or limit.override_until or shock or limit.shock_acted or overdue_items or limit.overdue_acted)
        and not limit.blind_acted
        and stage == limit.stage_acted == "none"
        and (band != "weak" or limit.band == "weak")
    )


def _cut(limit: Limit, standing: LimitInputs, rules: LimitRules, share: Decimal) -> Decimal:
    """What is left after a cut: at most ``share`` of the limit, and at most what the weak band is worth."""
    cap = rounded(limit.amount * share, rules.round_to)
    wanted = target(standing._replace(band="weak"), rules, SETTLING_DAYS)
    return min(limit.amount, cap if wanted is None else max(min(cap, wanted), ZERO))


def _insolvency(limit: Limit, standing: LimitInputs, rules: LimitRules, day: int) -> Change | None:
    if standing.insolvent:
        if limit.stage_acted == standing.stage or (limit.amount == 0 and limit.stage_acted != "none"):
            return Change(limit)  # nothing else may move it
        cut = replace(
            limit, amount=ZERO, terms_days=0, security=True, band="weak", hold=False, hold_until=0, override_until=0,
            follows_until=0, stage_acted=standing.stage,
        )  # fmt: skip
        return Change(cut, ("insolvency",))
    if limit.stage_acted not in ("none", "petition") and standing.stage in (
        "none",
        "closed",
        "dismissed",
        "plan",
        "solvent_winding_up",
    ):
        owed = rules.opening_limit if standing.exposure is None else standing.exposure
        amount = rounded(min(rules.opening_limit, max(owed, ZERO) or rules.opening_limit), rules.round_to)
        back = replace(limit, amount=amount, terms_days=rules.weak_terms_days, stage_acted="none", review=day + rules.review_days)
        return Change(back, ("insolvency_over",))
    return None


def _override(limit: Limit, _standing: LimitInputs, _rules: LimitRules, day: int) -> Change | None:
    if not limit.override_until:
        return None
    if day <= limit.override_until:
        return Change(limit)
    return Change(replace(limit, override_until=0, review=day), ())


def _held(limit: Limit, standing: LimitInputs, rules: LimitRules, day: int) -> Change | None:
    if limit.hold:
        if day > limit.hold_until:
            return Change(replace(limit, hold=False, hold_until=0), ("hold_lapsed",))
        return None
    until = day + rules.hold_days
    if standing.stage == "petition" and limit.stage_acted == "none":
        return Change(replace(limit, hold=True, hold_until=until, stage_acted="petition"), ("petition",))
    if standing.stage == "none" and limit.stage_acted == "petition":
        return Change(replace(limit, stage_acted="none"))
    if standing.shock and not limit.shock_acted:
        return Change(replace(limit, hold=True, hold_until=until, shock_acted=True), ("cash_flow_shock",))
    if limit.shock_acted and not standing.shock:
        return Change(replace(limit, shock_acted=False))
    return None


def _blind(limit: Limit, standing: LimitInputs, rules: LimitRules, day: int) -> Change | None:
    """Instead of a cut a review, once; what is still so when payments are read again is cut then."""
    if not standing.blind:
        return Change(replace(limit, blind_acted=False)) if limit.blind_acted else None
    if not ((standing.overdue and not limit.overdue_acted) or (standing.band == "weak" and limit.band != "weak")):
        return None
    if limit.hold or limit.blind_acted:
        return Change(limit)
    return Change(replace(limit, hold=True, hold_until=day + rules.hold_days, blind_acted=True), ("payments_paused",))


def _overdue(limit: Limit, standing: LimitInputs, rules: LimitRules, day: int) -> Change | None:
    if standing.overdue and not limit.overdue_acted:
        amount = _cut(limit, standing, rules, rules.weak_factor)
        cut = replace(
            limit, amount=amount, terms_days=min(limit.terms_days, rules.weak_terms_days), security=True, overdue_acted=True,
            follows_until=0, review=day + rules.review_days,
        )  # fmt: skip
        return Change(cut, ("overdue",))
    if limit.overdue_acted and not standing.overdue:
        return Change(replace(limit, overdue_acted=False))
    return None


def _fallen(limit: Limit, standing: LimitInputs, rules: LimitRules, day: int) -> Change | None:
    if standing.band != "weak" or limit.band == "weak":
        return None
    cut = replace(
        limit, amount=_cut(limit, standing, rules, rules.weak_factor), terms_days=min(limit.terms_days, rules.weak_terms_days),
        security=True, band="weak", follows_until=0, review=day + rules.review_days,
    )  # fmt: skip
    return Change(cut, ("band_weak",))


def _review(limit: Limit, standing: LimitInputs, rules: LimitRules, day: int) -> Change | None:
    settling = day < limit.follows_until
    due = day >= limit.review
    if not due and not settling:
        return None
    wanted = target(standing, rules, day - limit.opened)
    next_review = replace(limit, review=day + rules.review_days) if due else limit
    band = standing.band if due else limit.band
    codes: list[str] = []
    amount = limit.amount
    if wanted is not None:
        if wanted > amount * (1 + rules.deadband) and not (
            limit.hold or standing.overdue or standing.shock or standing.band == "weak"
        ):
            floor = rounded(amount * rules.step_up, rules.round_to, up=True)
            amount = wanted if settling or not amount else min(wanted, floor)
            codes += ["regular_payments"] + (["rising_cash_flow"] if standing.rising else [])
        elif due and not settling and not standing.blind and wanted < amount * (1 - rules.deadband):
            codes.append("risk_grown" if _rank(standing.band) > _rank(limit.band) else "less_business")
            amount = max(wanted, rounded(rules.opening_limit * factor(rules, standing.band), rules.round_to))
            if amount >= limit.amount:
                codes, amount = [], limit.amount
    if due and (terms(rules, band) != limit.terms_days or (band != "strong") != limit.security) and not standing.overdue:
        next_review = replace(next_review, terms_days=terms(rules, band), security=band != "strong")
        codes.append("terms")
    return Change(replace(next_review, amount=amount, band=band), tuple(codes))


def _rank(band: str) -> int:
    return {"strong": 0, "medium": 1}.get(band, 2)


def answered(limit: Limit, action: str, standing: LimitInputs, rules: LimitRules) -> Change | None:
    """A person answered the open review: confirm cuts, reject lifts the hold."""
    if not limit.hold:
        return None
    freed = replace(limit, hold=False, hold_until=0)
    if action == "reject":
        return Change(freed, ("hold_rejected",))
    cut = replace(freed, amount=_cut(limit, standing, rules, rules.weak_factor), security=True, terms_days=rules.weak_terms_days)
    return Change(cut, ("review_confirmed",))


def overridden(limit: Limit, amount: Decimal, until: int) -> Change:
    """A person set the limit until the end of a day."""
    return Change(replace(limit, amount=amount.quantize(ZERO), override_until=until, hold=False, hold_until=0), ("override",))


def all_changes(limit: Limit, standing: LimitInputs, rules: LimitRules, day: int) -> Iterator[Change]:
    """All changes that are due now, one after the other. Bounded: each rule acts once per episode."""
    for _ in range(8):
        change = decide(limit, standing, rules, day)
        if change is None:
            return
        limit = change.limit
        yield change
