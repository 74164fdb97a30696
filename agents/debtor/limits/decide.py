"""The published limit policy: what limit, terms and security a debtor gets, and when that changes; each rule is in ``rules``.

Down at once: insolvency, an overdue alert, a fall into the weak band. Held for a person: a petition, a sudden change of cash
flow. Up only at a review (every ``review_days``), by one step, and never against an open hold, an overdue alert or a proceeding;
in the first 90 days, while there is no full window of sales, the limit follows the sales without waiting for the review,
until the first cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from msgspec.structs import replace

from agents.debtor.limits.amounts import SETTLING_DAYS, ZERO, amount_after_cut, band_terms
from agents.debtor.limits.rules import RULES, LimitDecision, LimitInputs
from agents.debtor.limits.state import Limit
from schemas.base import round_amount
from schemas.events.policies import LimitRules
from schemas.ids import stable_id

_FUNCTIONS = tuple(rule.decide for rule in RULES)
MAX_DECISIONS = 8
"""Per cause. Each rule acts once per episode, so fewer follow one another; a mistake in a rule must not end in a loop."""


def decide(limit: Limit, inputs: LimitInputs, rules: LimitRules, day: int) -> LimitDecision | None:
    """The next change, or None: the first rule in their order of precedence that has one. One cause, one change.

    >>> limit = Limit(generation=1, amount=Decimal("10000.00"), band="medium", review=200)
    >>> inputs = LimitInputs("medium", Decimal(5000), Decimal(9000), True, "none", False, False)
    >>> decision = decide(limit, inputs, LimitRules(), 100)
    >>> decision.codes, decision.limit.amount
    (('overdue',), Decimal('4500.00'))
    >>> decide(decision.limit, inputs, LimitRules(), 100) is None
    True
    """
    for function in _FUNCTIONS:
        decision = function(limit, inputs, rules, day)
        if decision is not None:
            return None if decision.limit == limit else decision
    return None


def all_decisions(limit: Limit, inputs: LimitInputs, rules: LimitRules, day: int) -> Iterator[LimitDecision]:
    """All changes that are due now, one after the other.

    >>> limit = Limit(generation=1, amount=Decimal("10000.00"), band="medium", hold=True, hold_until=99, review=200)
    >>> inputs = LimitInputs("weak", Decimal(5000), Decimal(9000), False, "none", False, False)
    >>> [decision.codes for decision in all_decisions(limit, inputs, LimitRules(), 100)]
    [('hold_lapsed',), ('band_weak',)]
    """
    for _ in range(MAX_DECISIONS):
        decision = decide(limit, inputs, rules, day)
        if decision is None:
            return
        limit = decision.limit
        yield decision


def open_limit(
    action: str, generation: int, previous: Limit, inputs: LimitInputs, rules: LimitRules, currency: str, day: int
) -> LimitDecision:
    """The first change of a generation: the policy's opening limit, or the shadow limit as it stands.

    >>> inputs = LimitInputs("medium", Decimal(0), None, False, "none", False, False)
    >>> decision = open_limit("act", 1, Limit(), inputs, LimitRules(), "EUR", 100)
    >>> decision.codes, decision.limit.amount, decision.limit.terms_days
    (('opening_limit',), Decimal('10000.00'), 30)
    """
    amount = previous.amount if previous.is_open and previous.currency == currency else rules.opening_limit
    codes: tuple[str, ...] = ("generation",) if previous.is_open else ("opening_limit",)
    if inputs.is_insolvent:
        amount, codes = ZERO, (*codes, "insolvency")
    if inputs.exposure is None:
        codes = (*codes, "rate_missing")
    is_held = inputs.exposure is None and not inputs.is_insolvent
    opened = previous.opened or day
    limit = replace(
        previous.without_episodes(),
        action=action,
        generation=generation,
        amount=round_amount(amount),
        currency=currency,
        terms_days=0 if inputs.is_insolvent else band_terms(rules, inputs.band),
        security=inputs.band != "strong",
        band=inputs.band,
        opened=opened,
        follows_until=opened + SETTLING_DAYS,
        review=day + rules.review_days,
        stage_acted=inputs.stage if inputs.is_insolvent else "none",
        hold=is_held,
        hold_until=day + rules.hold_days if is_held else 0,
        rate_acted=is_held,
    )
    return LimitDecision(limit, codes)


def answer_review(limit: Limit, action: str, inputs: LimitInputs, rules: LimitRules) -> LimitDecision | None:
    """A person answered the open review: confirm cuts, reject lifts the hold; None where nothing waits for an answer.

    >>> limit = Limit(generation=1, amount=Decimal("10000.00"), hold=True, hold_until=107)
    >>> inputs = LimitInputs("medium", Decimal(0), None, False, "none", False, True)
    >>> [str(answer_review(limit, action, inputs, LimitRules()).limit.amount) for action in ("confirm", "reject")]
    ['5000.00', '10000.00']
    """
    if not limit.hold:
        return None
    released = replace(limit, hold=False, hold_until=0)
    if action == "reject":
        return LimitDecision(released, ("hold_rejected",))
    amount = amount_after_cut(limit, inputs.sales_90d, rules)
    cut = replace(released, amount=amount, security=True, terms_days=rules.weak_terms_days)
    return LimitDecision(cut, ("review_confirmed",))


def override_limit(limit: Limit, amount: Decimal, until: int) -> LimitDecision:
    """A person set the limit until the end of a day; that answers an open review too.

    >>> override_limit(Limit(generation=1, hold=True, hold_until=107), Decimal(50000), 160).limit.hold
    False
    """
    limit = replace(limit, amount=round_amount(amount), override_until=until, hold=False, hold_until=0)
    return LimitDecision(limit, ("override",))


def with_number(before: Limit, decision: LimitDecision, customer_id: str, day: int) -> Limit:
    """The limit after a decision, with the number and id that its change is announced by; nothing to announce takes no number.

    Numbers have no gaps; a new generation (or the step from observing to acting) starts at 1.

    >>> before = Limit("act", 1, sequence=7, last_id="l-7", effective=100)
    >>> after = with_number(before, LimitDecision(replace(before, hold=True), ("petition",)), "c-1", 99)
    >>> after.sequence, after.effective
    (8, 100)
    """
    limit = decision.limit
    if not decision.codes:  # decided before the number was given: it keeps what was announced last
        return replace(limit, sequence=before.sequence, last_id=before.last_id, effective=before.effective)
    sequence = 1 if is_opening(before, limit) else before.sequence + 1
    change_id = stable_id("limit", customer_id, limit.action, limit.generation, sequence)
    # Live, records may run ahead of the tick, and the debtor's day goes back with the next deadline; whoever applies the changes
    # in their order must not find a later one in force before an earlier one.
    return replace(limit, sequence=sequence, last_id=change_id, effective=max(day, before.effective))


def is_opening(before: Limit, after: Limit) -> bool:
    """Whether a change is the first of its generation or action, which follows upon none.

    >>> [is_opening(Limit("observe", 1), after) for after in (Limit("observe", 1), Limit("act", 1), Limit("observe", 2))]
    [False, True, True]
    """
    return after.generation != before.generation or after.action != before.action
