"""The profile of a simulated debtor: industry, habits of paying and fate, all drawn before its first invoice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

from schemas.ids import stable_id
from streams.simulate.days import START

FateKind = Literal["sound", "dips", "winds_up", "breaks", "cloaks"]
PayRun = Literal["any day", "weekly", "twice a month"]


class Industry(NamedTuple):
    weight: float
    insolvencies: float
    """Yearly, per 10,000 firms; Germany 2025 for transport, hospitality, construction, for the others a guess near the mean."""
    season: tuple[float, ...]
    """Factors of sales by month."""
    words: tuple[str, ...]


INDUSTRIES = {
    "transport": Industry(
        0.12, 133, (0.90, 0.90, 1.00, 1.00, 1.00, 1.00, 0.95, 0.95, 1.05, 1.10, 1.15, 1.00), ("Logistik", "Spedition", "Cargo")
    ),
    "hospitality": Industry(
        0.10,
        108,
        (0.65, 0.70, 0.85, 1.00, 1.20, 1.25, 1.30, 1.30, 1.10, 0.95, 0.80, 0.90),
        ("Gastro", "Hotelbetriebe", "Catering"),
    ),
    "construction": Industry(
        0.15, 104, (0.55, 0.60, 0.95, 1.10, 1.15, 1.20, 1.15, 1.10, 1.20, 1.15, 1.05, 0.80), ("Bau", "Hochbau", "Ausbau")
    ),
    "retail": Industry(
        0.15, 75, (0.80, 0.80, 0.90, 0.95, 0.95, 0.95, 0.90, 0.90, 1.00, 1.10, 1.45, 1.30), ("Handel", "Markt", "Vertrieb")
    ),
    "wholesale": Industry(
        0.16, 60, (0.95, 0.95, 1.05, 1.0, 1.0, 1.0, 0.95, 0.9, 1.05, 1.1, 1.1, 0.95), ("Grosshandel", "Import", "Kontor")
    ),
    "manufacturing": Industry(
        0.20, 55, (1.00, 1.00, 1.10, 1.00, 1.00, 1.05, 0.95, 0.75, 1.10, 1.10, 1.10, 0.85), ("Technik", "Metallbau", "Werkzeuge")
    ),
    "services": Industry(
        0.12, 70, (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.85, 1.05, 1.1, 1.1, 1.0), ("Service", "Beratung", "Systeme")
    ),
}
_MEAN_INSOLVENCIES = sum(i.weight * i.insolvencies for i in INDUSTRIES.values())


class Segment(NamedTuple):
    weight: float
    invoices_a_month: float
    amount: float
    """Median, EUR."""
    risk: float


SEGMENTS = {
    "small": Segment(0.58, 1.5, 1_100, 1.15),
    "medium": Segment(0.32, 2.6, 3_400, 0.9),
    "large": Segment(0.10, 5.0, 8_500, 0.6),
}


class Habit(NamedTuple):
    weight: float
    mean: float
    """Days from the due day to when the debtor means to pay."""
    spread: float
    risk: float


# Weights give about half of all invoices late: 47 % in Western Europe (Atradius 2025), 57 % in Germany.
HABITS = {
    "early": Habit(0.10, -9, 3, 0.5),
    "prompt": Habit(0.25, -2, 2, 0.6),
    "at due": Habit(0.21, 0, 3, 0.8),
    "direct debit": Habit(0.12, 0, 0, 1.0),
    "slow": Habit(0.15, 11, 5, 1.2),
    "very slow": Habit(0.06, 27, 8, 1.5),
    "erratic": Habit(0.07, 5, 14, 1.9),
    "waits for the reminder": Habit(0.04, 9, 3, 1.5),
}

# Defaults that show within the year, per debtor: far above the some 0.7 % a year that German firms fail at (24,064 insolvencies
# in 2025), because a portfolio of a thousand must hold enough of them to say anything about lead times. About 30 to 35 of
# 1,000 in a year; of those who stop paying in the last weeks some show later than that.
BREAKS_A_YEAR = 0.036
CLOAKS_SHARE = 0.2
"""Share of breaking debtors that pay on time until they stop."""
FILES_SHARE = 0.75
"""Share of breaking debtors for whom proceedings are filed; the others just never pay."""
DIPS_A_YEAR = 0.07
WINDS_UP_A_YEAR = 0.006
PAY_RUNS: tuple[PayRun, ...] = ("any day", "weekly", "twice a month")
_DAYS_AHEAD: dict[PayRun, float] = {"any day": 0, "weekly": 2.5, "twice a month": 6}
"""Days by which punctual debtors allow for the wait until their next pay run: half of what would make them punctual."""
CONSENT_SHARE = 0.4
"""Share of debtors whose bank account is read."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a debtor. Days are ordinals; None = never."""

    kind: FateKind
    cash_breaks: int | None = None
    cash_recovers: int | None = None
    stops_paying: int | None = None
    filed: int | None = None
    depth: float = 0.0
    """Share of the inflow that is lost at the bottom."""
    stretch: float = 0.0
    """Days by which payments are later than the habit, at the bottom."""


@dataclass(frozen=True, slots=True)
class Profile:
    customer_id: str
    name: str
    country: str
    industry: str
    segment: str
    habit: str
    group_id: str | None
    terms_days: int
    begins: int
    ends: int
    """The last day of the portfolio."""
    invoices_a_day: float
    amount: float
    mean_delay: float
    spread: float
    pay_run: PayRun
    pay_weekday: int
    threshold: float
    """Invoices above this amount wait for a second signature."""
    habit_changes: int | None
    habit_shift: float
    partial_payer: bool
    prepays: bool
    insured_limit: int | None
    iban: str
    consent: bool
    inflow_a_week: float
    fate: Fate

    @property
    def direct_debit(self) -> bool:
        return self.habit == "direct debit"


def _pick(rng: Random, weights: dict[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def draw_profile(seed: int, index: int, days: int) -> Profile:
    """Draw the profile of one debtor, from random numbers of its own: no debtor changes another."""
    rng = Random(f"{seed}/{index}/profile")
    industry = _pick(rng, {name: i.weight for name, i in INDUSTRIES.items()})
    segment = _pick(rng, {name: s.weight for name, s in SEGMENTS.items()})
    habit = _pick(rng, {name: h.weight for name, h in HABITS.items()})
    size = math.exp(rng.gauss(0, 0.55))
    begins = START + (0 if rng.random() < 0.85 else rng.randrange(max(1, int(days * 0.8))))
    ends = START + days - 1
    rate = SEGMENTS[segment].invoices_a_month / 30.4 * math.exp(rng.gauss(0, 0.4))
    amount = SEGMENTS[segment].amount * size
    fate = _draw_fate(rng, begins, ends, INDUSTRIES[industry].insolvencies / _MEAN_INSOLVENCIES * SEGMENTS[segment].risk, habit)
    changes = rng.random() < 0.12
    pay_run: PayRun = rng.choices(PAY_RUNS, (0.35, 0.45, 0.2))[0]
    insured = rng.random() < 0.3
    return Profile(
        customer_id=f"C-{stable_id('simulated debtor', seed, index)[:13]}",
        name=_name(rng, industry),
        country=_pick(rng, {"DE": 0.82, "AT": 0.10, "NL": 0.08}),
        industry=industry,
        segment=segment,
        habit=habit,
        group_id=f"G-{stable_id('simulated group', seed, rng.randrange(40))[:13]}" if rng.random() < 0.12 else None,
        terms_days=rng.choice((14, 14, 30, 30, 30, 30, 45, 60) if segment != "small" else (8, 14, 14, 30, 30, 30)),
        begins=begins,
        ends=ends,
        invoices_a_day=rate,
        amount=amount,
        mean_delay=HABITS[habit].mean + rng.gauss(0, 2.5) - (_DAYS_AHEAD[pay_run] if HABITS[habit].mean <= 0 else 0),
        spread=HABITS[habit].spread * math.exp(rng.gauss(0, 0.3)),
        pay_run=pay_run,
        pay_weekday=rng.choices(range(5), (0.1, 0.25, 0.2, 0.35, 0.1))[0],
        threshold=amount * rng.uniform(1.8, 3.5) if rng.random() < 0.35 else math.inf,
        habit_changes=rng.randrange(begins, ends + 1) if changes else None,
        habit_shift=rng.choice((-5, 4, 7, 11)) * rng.uniform(0.7, 1.3),
        partial_payer=rng.random() < 0.15,
        prepays=rng.random() < 0.03,
        insured_limit=int(amount * rng.uniform(2, 8) / 1000) * 1000 + 1000 if insured else None,
        iban=f"DE{rng.randrange(10**20):020}",
        consent=rng.random() < CONSENT_SHARE,
        inflow_a_week=amount * rate * 7 * rng.uniform(6, 25),
        fate=fate,
    )


def _draw_fate(rng: Random, begins: int, ends: int, risk: float, habit: str) -> Fate:
    years = max(0, ends - begins) / 365
    risk *= HABITS[habit].risk / 0.93  # the mean of the habits' risks
    if rng.random() < 1 - math.exp(-BREAKS_A_YEAR * risk * years):
        return _draw_break(rng, begins, ends)
    if rng.random() < 1 - math.exp(-DIPS_A_YEAR * years):
        breaks = _day(rng, begins + 30, ends)
        hurts = rng.random() < 0.5
        return Fate(
            "dips",
            cash_breaks=breaks,
            cash_recovers=breaks + rng.randint(21, 56),
            depth=rng.uniform(0.35, 0.65),
            stretch=rng.uniform(4, 14) if hurts else 0,
        )
    if rng.random() < 1 - math.exp(-WINDS_UP_A_YEAR * years):
        return Fate("winds_up", filed=_day(rng, begins + 60, ends))
    return Fate("sound")


def _draw_break(rng: Random, begins: int, ends: int) -> Fate:
    """Cash breaks 4 to 12 weeks before the filing, or before the last payment where nobody files; payments end in between."""
    filed = rng.random() < FILES_SHARE
    last = _day(rng, begins + 45, ends)
    lead = rng.randint(28, 84)
    if rng.random() < CLOAKS_SHARE:
        # On time until the end. On the account of every second one it can be seen, if late.
        breaks = last - rng.randint(14, 28) if rng.random() < 0.5 else None
        return Fate(
            "cloaks", breaks, stops_paying=last, filed=last + rng.randint(3, 20) if filed else None, depth=rng.uniform(0.4, 0.7)
        )
    breaks = max(begins, last - lead)
    stops = breaks + int((last - breaks) * rng.uniform(0.55, 0.95)) if filed else last
    return Fate(
        "breaks",
        cash_breaks=breaks,
        stops_paying=stops,
        filed=last if filed else None,
        depth=rng.uniform(0.35, 0.75),
        stretch=rng.uniform(8, 35),
    )


def _day(rng: Random, first: int, last: int) -> int:
    return rng.randint(min(first, last), last)


_NAME_STARTS = (
    "Nord",
    "Süd",
    "West",
    "Ost",
    "Rhein",
    "Main",
    "Elbe",
    "Alpen",
    "Hanse",
    "Stern",
    "Linden",
    "Berg",
    "Falken",
    "Adler",
    "Delta",
    "Neckar",
)
_NAME_ENDS = ("werk", "tal", "feld", "hof", "stein", "land", "brück", "au", "mark", "hafen", "gau", "wald")


def _name(rng: Random, industry: str) -> str:
    words = rng.choice(INDUSTRIES[industry].words)
    form = rng.choice(("GmbH", "GmbH", "GmbH & Co. KG", "AG", "e. K."))
    return f"{rng.choice(_NAME_STARTS)}{rng.choice(_NAME_ENDS)} {words} {form}"
