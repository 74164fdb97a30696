"""The table of alert types: when each is raised, what it says, what a person should do, and what else depends on the type.

To add one: its rule and its words here, a row in ``ALERT_TYPES``, its code in the contract (``schemas/outputs/alerts.py``); if it
looks at something new, a field of ``AlertInputs`` that ``agents/debtor/views.py`` fills, and ``may_alert`` there must not pass it
by. A type that goes keeps its row, with a rule that is never the case, until the last of its alerts has been cleared.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from agents.debtor.german import STAGES_DE, german
from schemas.base import format_amount
from schemas.events.insolvency import Stage
from schemas.events.policies import AlertRules
from schemas.outputs.alerts import AlertType, Severity

CLEAR_SHARE = Decimal("0.95")
"""An over-limit alert is cleared when the exposure is back below this share of the limit: no flutter at the edge."""

Words = tuple[str, str]
"""English, German."""
CAUSE_GONE: Words = ("Its cause is gone.", "Der Grund ist entfallen.")
"""What every type says when it is cleared."""


class AlertInputs(NamedTuple):
    """What the alert rules look at; amounts in the policy's currency, None where a rate is missing."""

    exposure: Decimal | None
    limit: Decimal | None
    exposure_grew: bool
    """By the event or deadline that is being applied."""
    overdue_items: int
    overdue_amount: Decimal | None
    p_late: float
    p_late_slow: float
    """Its average over the last months, 1 where there is none yet: nothing is far above it."""
    ready: bool
    shock: bool
    stage_alarm: bool
    possible_alarm: bool
    payments_paused: bool = False
    """Payments are not being read: what looks overdue may be paid; the limit's review asks a person."""


class AlertDetails(NamedTuple):
    """What only the words and the evidence need: collected for an alert that goes out, not at every look."""

    currency: str
    """The policy's."""
    overdue_ids: tuple[str, ...]
    notice_ids: tuple[str, ...]
    stage: Stage
    possible_stage: Stage
    last_inflow: Decimal
    expected_inflow: Decimal
    account_currency: str


# -- rules: the severity to raise, or None; an open alert may stay on easier terms than it is raised on
def _overdue(inputs: AlertInputs, rules: AlertRules, is_open: bool) -> Severity | None:
    if not is_overdue(inputs.overdue_items, inputs.overdue_amount, rules):
        return None
    return "warning" if is_open or not inputs.payments_paused else None


def is_overdue(items: int, amount: Decimal | None, rules: AlertRules) -> bool:
    """Whether invoices are overdue beyond what the policy tolerates; where a rate is missing, any amount is.

    >>> [is_overdue(1, amount, AlertRules(overdue_amount=Decimal(100))) for amount in (Decimal(99), Decimal(100), None)]
    [False, True, True]
    """
    return items > 0 and (amount is None or amount >= rules.overdue_amount)


def _score_drop(inputs: AlertInputs, rules: AlertRules, is_open: bool) -> Severity | None:
    least_drop = rules.score_drop / 2 if is_open else rules.score_drop
    return "warning" if inputs.ready and inputs.p_late - inputs.p_late_slow >= least_drop else None


def _over_limit(inputs: AlertInputs, rules: AlertRules, is_open: bool) -> Severity | None:
    # A limit that was cut is below the exposure by intent: only an exposure that grows above the limit is news.
    if inputs.exposure is None or inputs.limit is None or inputs.exposure <= 0 or not (is_open or inputs.exposure_grew):
        return None
    edge = inputs.limit * rules.over_limit_share
    return "warning" if inputs.exposure > (edge * CLEAR_SHARE if is_open else edge) else None


def _cash_flow_shock(inputs: AlertInputs, _rules: AlertRules, _is_open: bool) -> Severity | None:
    return "critical" if inputs.shock else None


def _insolvency(inputs: AlertInputs, _rules: AlertRules, _is_open: bool) -> Severity | None:
    if inputs.stage_alarm:
        return "critical"
    return "warning" if inputs.possible_alarm else None


# -- words; the same ones go out over and over, so they are put together once
@lru_cache(maxsize=1024)
def overdue_words(count: int, days: int, amount: Decimal | None, currency: str) -> Words:
    """Invoices past the policy's patience, and all that is overdue.

    >>> overdue_words(2, 15, Decimal("1234.50"), "EUR")[1]
    '2 Rechnung(en) seit 15 Tagen oder länger überfällig; insgesamt überfällig: 1.234,50 EUR.'
    """
    text, text_de = _money(amount, currency)
    return (
        f"{count} invoice(s) overdue for {days} days or more; {text} overdue in all.",
        f"{count} Rechnung(en) seit {days} Tagen oder länger überfällig; insgesamt überfällig: {text_de}.",
    )


@lru_cache(maxsize=1024)
def score_drop_words(p_late: float, usual: float) -> Words:
    """The probability of late payment is far above its slow average.

    >>> score_drop_words(0.62, 0.3)[0]
    'Probability of late payment 62%, usually 30%.'
    """
    return (
        f"Probability of late payment {p_late:.0%}, usually {usual:.0%}.",
        f"Wahrscheinlichkeit verspäteter Zahlung {100 * p_late:.0f} %, sonst {100 * usual:.0f} %.",
    )


@lru_cache(maxsize=1024)
def over_limit_words(exposure: Decimal | None, limit: Decimal | None, currency: str) -> Words:
    """More is owed than the limit allows.

    >>> over_limit_words(Decimal(1200), Decimal(1000), "EUR")[0]
    'Exposure 1,200.00 EUR is above the limit of 1,000.00 EUR.'
    """
    (text, text_de), (limit_text, limit_de) = _money(exposure, currency), _money(limit, currency)
    return f"Exposure {text} is above the limit of {limit_text}.", f"Das Obligo ({text_de}) liegt über dem Limit ({limit_de})."


@lru_cache(maxsize=1024)
def cash_flow_shock_words(inflow: Decimal, expected: Decimal, currency: str) -> Words:
    """Far less came in than in a usual week.

    >>> cash_flow_shock_words(Decimal(100), Decimal(1000), "EUR")[0]
    'Inflow of the last week 100.00 EUR; a usual week brings 1,000.00 EUR.'
    """
    (text, text_de), (expected_text, expected_de) = _money(inflow, currency), _money(expected, currency)
    return (
        f"Inflow of the last week {text}; a usual week brings {expected_text}.",
        f"Eingang der letzten Woche {text_de}; eine übliche Woche bringt {expected_de}.",
    )


@lru_cache(maxsize=64)
def insolvency_words(stage: Stage, *, is_certain: bool) -> Words:
    """A notice in an alarming stage.

    >>> insolvency_words("opened", is_certain=True)[0]
    'Insolvency notice: opened.'
    """
    text, text_de = f"Insolvency notice: {stage.replace('_', ' ')}", f"Insolvenzbekanntmachung: {STAGES_DE[stage]}"
    if is_certain:
        return f"{text}.", f"{text_de}."
    return (
        f"{text}; the match is not certain, a person must confirm it.",
        f"{text_de}; der Treffer ist nicht sicher, ein Mensch muss ihn bestätigen.",
    )


def _money(amount: Decimal | None, currency: str) -> Words:
    if amount is None:
        return "an unknown amount (a rate is missing)", "ein unbekannter Betrag (ein Kurs fehlt)"
    text = format_amount(amount, ",")
    return f"{text} {currency}", f"{german(text)} {currency}"


# -- the table
class AlertDefinition(NamedTuple):
    """One type of alert."""

    code: AlertType
    rule: Callable[[AlertInputs, AlertRules, bool], Severity | None]
    """(inputs, rules, whether this alert is open) -> the severity to raise or keep it with, None = it is not the case."""
    words: Callable[[AlertInputs, AlertDetails, AlertRules], Words]
    action: str
    """The next step, for the person who gets the alert."""
    policy_values: tuple[str, ...]
    """The policy's values that it depends on, as paths into the policy."""
    evidence: Callable[[AlertDetails], tuple[str, ...]] = lambda _: ()
    """Ids besides that of the cause."""
    is_early_warning: bool = False
    """It calls a debtor bad before an invoice or a limit does: a backtest measures how early."""
    is_urgent: bool = False
    """No cool-down holds it back."""


ALERT_TYPES: tuple[AlertDefinition, ...] = (
    AlertDefinition(
        code="overdue",
        rule=_overdue,
        words=lambda i, d, rules: overdue_words(i.overdue_items, rules.overdue_days, i.overdue_amount, d.currency),
        action="Call the debtor: is there a dispute, a missing document, a payment plan to agree? Stop deliveries on account.",
        policy_values=("alerts.overdue_days", "alerts.overdue_amount", "alerts.cool_down_days"),
        evidence=lambda d: d.overdue_ids,
    ),
    AlertDefinition(
        code="score_drop",
        rule=_score_drop,
        words=lambda i, _d, _r: score_drop_words(i.p_late, i.p_late_slow),
        action="Look at the reasons; ask for current figures or a part payment before the next delivery.",
        policy_values=("alerts.score_drop", "alerts.cool_down_days"),
        is_early_warning=True,
    ),
    AlertDefinition(
        code="over_limit",
        rule=_over_limit,
        words=lambda i, d, _r: over_limit_words(i.exposure, i.limit, d.currency),
        action="Hold new orders on account until a payment comes in or the limit is reviewed.",
        policy_values=("alerts.over_limit_share", "alerts.cool_down_days"),
    ),
    AlertDefinition(
        code="cash_flow_shock",
        rule=_cash_flow_shock,
        words=lambda _i, d, _r: cash_flow_shock_words(d.last_inflow, d.expected_inflow, d.account_currency),
        action="Review at once: confirm to cut the limit, reject to lift the hold. It lapses by itself.",
        policy_values=("alerts.shock_threshold", "alerts.shock_warm_up_weeks", "alerts.cool_down_days"),
        is_early_warning=True,
    ),
    AlertDefinition(
        code="insolvency",
        rule=_insolvency,
        words=lambda i, d, _r: insolvency_words(d.stage if i.stage_alarm else d.possible_stage, is_certain=i.stage_alarm),
        action="Stop deliveries and dunning, secure retained goods, file the claim with the administrator in time.",
        policy_values=(),
        evidence=lambda d: d.notice_ids,
        is_early_warning=True,
        is_urgent=True,
    ),
)
"""All types, in the order in which alerts of one cause go out."""
BY_CODE: dict[str, AlertDefinition] = {definition.code: definition for definition in ALERT_TYPES}
EARLY_WARNINGS: tuple[AlertType, ...] = tuple(d.code for d in ALERT_TYPES if d.is_early_warning)
EARLY_WARNING_DAYS = 180
"""A warning longer than this before a default was a warning of something else: by this the backtest and the demo judge alerts."""
