"""The probability of default: that of being late, a smoothed online rate per risk class, and rules for certain insolvency."""

from __future__ import annotations

from functools import lru_cache

from agents.debtor.scoring.model_cache import per_model
from agents.debtor.scoring.values import ScoreInputs
from schemas.events.insolvency import Stage
from schemas.events.models import ModelPublished

BASE_RATE = 0.01
"""P(default | late) before any label, so that with nothing known (p_late 0.5) p_default is 0.005. An assumption: some 1.5 % of
small firms default in a year, and an invoice runs that risk for a third of one (its terms, then 90 days)."""
PARENT_DEFAULTS = 20.0
"""Defaults that a class's parent is worth within it, and ``BASE_RATE`` among all: 2,000 labels where 1 % default, 100 where 20 %
do. A number of labels for all alike (1,000) kept the assumed odds of rare, risky classes for years: on a ledger of 8,489 invoices
(cassandra) the mean p_default was 3.2 times the rate of defaults, with this 1.7 times (log loss 0.168, now 0.128). On six
simulated portfolios of 800 debtors log loss fell by 2 to 4 %."""
OVERDUE_CLASSES = ((0, "none", 1.0), (14, "1-14", 1.5), (30, "15-30", 2.7), (60, "31-60", 6.0), (90, "61-90", 11.0))
"""(days past due up to, name, odds against none before any label). Half the ratios of the provision matrix in IFRS 9, example 12
(0.3 % current, 1.6 % 1-30, 3.6 % 31-60, 6.6 % 61-90, 10.6 % over 90): that is of all receivables and this of late ones, and who
is overdue is about twice as often late again, which ``p_late`` says already. 1-14 lies between its neighbours."""
OVERDUE_LONGER = (">90", 17.5)
CASH_ODDS = {"shock": 4.0, "falling": 2.0, "steady": 0.8}
"""Inflow of the account; odds against a debtor without bank data, before any label: an assumption."""
CUSHIONS = ((0.0, "overdrawn", 3.0), (1.0, "thin", 2.0), (2.0, "short", 1.4), (4.0, "enough", 1.0))
"""(weeks of usual inflow below, name, odds before any label): what the account holds when it holds little. Half of the small
firms hold no more than 27 days of outflow on average, a quarter no more than 13 (JPMorgan Chase Institute, 2016). Assumed."""
AMPLE_CUSHION = ("ample", 0.7)
RATING_BAR, POOR_ODDS, GOOD_ODDS = 0.5, 2.5, 0.5
"""A rating of this much (``assessments.rating_risk``) puts a new debtor into a class of its own; the odds are assumed."""
SUSPECTED_ODDS = 5.0
"""The same for an alarming insolvency notice that is not certain, or a stage that fixes no probability."""

STAGE_FLOORS: dict[Stage, float] = {
    "opened": 0.99,
    "refused": 0.99,
    "preliminary": 0.99,
    "converted": 0.99,
    "reorganisation": 0.99,
    "petition": 0.50,
    "plan": 0.25,
}
"""Stage of a certain match -> the lowest p_default. Bankruptcy or similar protection is a default by itself (CRR Art. 178(3)(e),
(f)); 0.99 leaves room for a wrong notice. A petition may come from one creditor and be dismissed, a plan may hold: assumed."""


def risk_class(inputs: ScoreInputs, labels: int) -> str:
    """The finest class of ``p_default``, from what is known at scoring; its parents are its prefixes.

    >>> risk_class(ScoreInputs(days_past_due=40, shock=True), labels=9)
    'all|31-60|shock|untold|clear|known'
    """
    cash = cash_class(inputs.bank, inputs.shock, inputs.falling, inputs.cushion)
    stage = "clear" if inputs.stage not in STAGE_FLOORS else inputs.stage if inputs.certain else "suspected"
    return f"all|{_overdue_class(inputs.days_past_due)}|{cash}|{stage}|{'known' if labels >= 5 else _rating_class(inputs.rating)}"


def cash_class(has_bank: bool, shock: bool, falling: bool, cushion: float | None) -> str:
    """What the account says, as two levels of a risk class: its inflow, and what it holds (in weeks of usual inflow).

    >>> cash_class(True, False, False, 0.4), cash_class(False, False, False, None)
    ('steady|thin', 'unseen|untold')
    """
    inflow = "shock" if shock else "falling" if falling else "steady" if has_bank else "unseen"
    return f"{inflow}|{_cushion_class(cushion)}"


def _cushion_class(weeks: float | None) -> str:
    if weeks is None:
        return "untold"
    for below, name, _ in CUSHIONS:
        if weeks < below:
            return name
    return AMPLE_CUSHION[0]


def _rating_class(rating: float) -> str:
    """The class of a debtor without labels of its own, of which ratings are all there is."""
    return "new-poor" if rating >= RATING_BAR else "new-good" if rating <= -RATING_BAR else "new"


def _overdue_class(days: int) -> str:
    for up_to, name, _ in OVERDUE_CLASSES:
        if days <= up_to:
            return name
    return OVERDUE_LONGER[0]


def default_example_keys(risk: str, *, late: bool) -> tuple[str, ...]:
    """The keys of a ``default`` example: an invoice paid in time says nothing of P(default | late), so it has none.

    >>> default_example_keys("all|none", late=True), default_example_keys("all|none", late=False)
    (('all', 'all|none'), ())
    """
    return class_keys(risk) if late else ()


@lru_cache(maxsize=4096)
def class_keys(risk: str) -> tuple[str, ...]:
    """A risk class and its parents, coarse to fine: keys of ``ModelPublished.default_counts``.

    >>> class_keys("all|none|shock")
    ('all', 'all|none', 'all|none|shock')
    """
    parts = risk.split("|")
    return tuple("|".join(parts[: i + 1]) for i in range(len(parts)))


_ODDS = {
    "new-poor": POOR_ODDS,
    "new-good": GOOD_ODDS,
    **{name: odds for _, name, odds in OVERDUE_CLASSES},
    OVERDUE_LONGER[0]: OVERDUE_LONGER[1],
    **CASH_ODDS,
    **{name: odds for _, name, odds in CUSHIONS},
    AMPLE_CUSHION[0]: AMPLE_CUSHION[1],
    "suspected": SUSPECTED_ODDS,
    "petition": SUSPECTED_ODDS,
    "plan": SUSPECTED_ODDS,
}


@lru_cache(maxsize=4096)
def levels(risk: str) -> tuple[tuple[str, float], ...]:
    """(key, odds against the parent before any label) of every level below the root.

    >>> levels("all|31-60|shock")
    (('all|31-60', 6.0), ('all|31-60|shock', 4.0))
    """
    return tuple((key, _ODDS.get(key.rpartition("|")[2], 1.0)) for key in class_keys(risk)[1:])


@per_model
def class_rate(model: ModelPublished, risk: str) -> float:
    """P(default | late) of the class, smoothed towards its parent and so on up to ``BASE_RATE``.

    >>> round(class_rate(ModelPublished(), "all|none"), 6), round(class_rate(ModelPublished(), "all|31-60"), 6)
    (0.01, 0.057143)
    """
    counts = model.default_counts
    defaults, labels = counts.get("all", (0.0, 0.0))
    rate = (defaults + PARENT_DEFAULTS) / (labels + PARENT_DEFAULTS / BASE_RATE)
    for key, odds in levels(risk):
        if odds != 1.0:
            rate = rate * odds / (1.0 - rate + rate * odds)
        of_class = counts.get(key)
        if of_class is not None:
            rate = (of_class[0] + PARENT_DEFAULTS) / (of_class[1] + PARENT_DEFAULTS / rate)
    return rate


def p_default(p_late: float, risk: str, inputs: ScoreInputs, model: ModelPublished) -> float:
    """Probability of 90 days past due, write-off or insolvency: P(late) x P(default | late), or what a certain stage says.

    Who defaults was late first, and the product served better than a model of its own (README.md, "After the due day: hazards in
    risk sets"). Defined for whatever is known.

    >>> p_default(0.5, "all|none", ScoreInputs(), ModelPublished())
    0.005
    >>> p_default(0.5, "all|none", ScoreInputs(stage="opened", certain=True), ModelPublished())
    0.99
    """
    return max(p_late * class_rate(model, risk), p_default_floor(inputs))


def p_default_floor(inputs: ScoreInputs) -> float:
    """The lowest ``p_default`` while a certain insolvency is open; 0 without one.

    >>> p_default_floor(ScoreInputs(stage="petition", certain=True)), p_default_floor(ScoreInputs(stage="petition"))
    (0.5, 0.0)
    """
    return STAGE_FLOORS.get(inputs.stage, 0.0) if inputs.certain else 0.0
