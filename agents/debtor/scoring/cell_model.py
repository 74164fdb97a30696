"""The cells model of being late (score_quality.md 3.2): which cells an invoice activates, what they say, what a label does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import lru_cache
from math import log, sqrt

from msgspec.structs import replace

from agents.debtor.scoring.calendar import day_class
from agents.debtor.scoring.state import Active, Cell, Change, Cusum, Features, Learned, ScoreState
from agents.score_model import DRIFT, NEW, NEW_KEY, SHARED_PRIORS, sigmoid, step
from schemas.events.models import ModelPublished

VARIANCES = (1.0, 0.4, 0.2, 0.1, 0.1, 0.3, 0.1, 0.05)
"""Prior variances of the debtor's cells: calendar c, cx, cw; amounts ca, cA, cE, cxa, cwa."""
REOPENED = (2.0, *(v / 2.0 for v in VARIANCES[1:]))
"""Variances at least this large after an alarm of the CUSUM: 2.0 for c, half the prior for the others."""
_VARIANCES = tuple(zip(VARIANCES, REOPENED, strict=True))
FORGET = (0.995, 0.98, 0.97, 0.0, 0.985, 0.0, 0.98, 0.98)
"""By which a cell's late rate shrinks at each label (score_quality.md 3.3); 0 = the state model has no use for it."""
LATELY = (0.8, 0.7)
"""The same for the last few labels of a debtor, and of its invoices due on a kind of day."""
CUSUM_SLACK, CUSUM_BAR, SIBLINGS = 0.7, 5.0, 0.2
"""CUSUM per maturity day: slack and bar in standard deviations; correlation of one day's labels (siblings are paid together)."""
SWEEP_DAYS, KEEP_DAYS = 180, 400
"""Twice a year, amount cells that no label touched for so many days are dropped: most exact amounts never come again."""

SHOCK_KEY = "s:shock"
_PRIORS = {key: SHARED_PRIORS[key.partition(":")[0]] for key in (NEW_KEY, SHOCK_KEY)}
"""Of the shared cells that only some invoices have; they come behind those that all have."""
_COMMON = tuple(SHARED_PRIORS[family] for family in ("w", "gw", "gx"))
EARLIEST = -10
"""Days late below this count as this in their mean."""
EDGES = (-8, -5, -3, -2, -1, 0)
"""Upper ends of the bins of days late, in days; the seventh is what is late."""

Get = Callable[[str], Cell | None]
"""The amount cell of a cell key (the row's key without ``keys.CELL_PREFIX``), or None."""
Cells = list[Cell | None]
"""The debtor's cells of an invoice: c, cx, cw, ca, cA, cE, cxa, cwa."""


def active(
    due_on: date, amount: Decimal, country: str | None, group_id: str | None, *, shock: bool = False, terms_days: int = 0
) -> Active:
    """The cells of an invoice, from what is known at issue. Never the issue day: estimated issue dates know the outcome (8.2).

    >>> active(date(2026, 3, 31), Decimal("100.00"), "DE", "retail").shared
    ('w:1', 'gw:retail:1', 'gx:retail:0')
    """
    weekday, closed = day_class(due_on, country)
    return activate(Features(weekday, closed, group_id or "-", shock=shock), amount, terms_days)


def activate(features: Features, amount: Decimal, terms_days: int = 0) -> Active:
    """The cells of an invoice that was scored before, from the features kept with it and its amount."""
    value = float(amount)
    size = log(value) if value > 1.0 else 0.0
    weekday, closed, coarse = features.weekday, int(features.closed), int(size / 1.2)
    amounts = (
        f"ca:{int(size / 0.7)}",
        f"cA:{int(size / 0.15)}",
        f"cE:{round(value * 100.0)}",  # exact: amounts are below 1e13, so cents are below 2**53
        f"cxa:{closed}:{coarse}",
        f"cwa:{weekday}:{coarse}",
    )
    shared, rates = _shared(features.group, weekday, closed, features.shock)
    if len(features.x) > NEW and features.x[NEW]:
        shared = (*shared, NEW_KEY)
    return Active(shared, rates, _calendar(weekday, closed), amounts, features, terms_days)


def shared_mean(model: ModelPublished, key: str) -> float:
    """What ``NEW_KEY`` or ``SHOCK_KEY`` adds to the log-odds, in the model in force.

    >>> shared_mean(ModelPublished(), SHOCK_KEY)
    0.5
    """
    return (model.cells.get(key) or _PRIORS[key])[0]


@lru_cache(maxsize=65536)
def _shared(group: str, weekday: int, closed: int, shock: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    keys = (f"w:{weekday}", f"gw:{group}:{weekday}", f"gx:{group}:{closed}")
    rates = (f"g:{group}", keys[1], keys[0], f"x:{closed}")
    return (*keys, SHOCK_KEY) if shock else keys, rates


@lru_cache(maxsize=64)
def _calendar(weekday: int, closed: int) -> tuple[str, ...]:
    return "c", f"cx:{closed}", f"cw:{weekday}"


def cells_of(active: Active, score: ScoreState, get: Get) -> Cells:
    """The debtor's own cells of an invoice; None where no label has touched one yet."""
    return [*map(score.cells.get, active.calendar), *map(get, active.amounts)]


@lru_cache(maxsize=4096)
def no_invoice(group: str, shock: bool) -> Active:
    """Stands for the debtor's next invoice, of which nothing is known."""
    shared, rates = _shared(group, -1, 0, shock)
    return Active(shared, (rates[0], "", "", ""), ("c", "", ""), ("", "", "", "", ""), Features(-1, False, group, shock=shock))


def cell_row(own: Cells) -> float:
    """The sum of the debtor's own cells."""
    return sum([cell.mean for cell in own if cell is not None])


def cell_parts(active: Active, own: Cells, model: ModelPublished, *, new: bool = False) -> tuple[float, ...]:
    """What the cells say, on the log-odds scale: bias, weekday, group, debtor, amounts, cash-flow shock, a new debtor.

    ``new``: no label of the debtor yet, as it is scored; from then on ``active`` says so. No damping by uncertainty: it costs
    0.0012 log loss (score_quality.md 3.2).
    """
    cells, keys = model.cells, active.shared
    w, gw, gx = [0.0 if (known := cells.get(key)) is None else known[0] for key in keys[:3]]
    shock = shared_mean(model, SHOCK_KEY) if len(keys) > 3 and keys[3] == SHOCK_KEY else 0.0
    first = shared_mean(model, NEW_KEY) if new or keys[-1] == NEW_KEY else 0.0
    c, cx, cw, ca, c_amount, exact, cxa, cwa = [0.0 if cell is None else cell.mean for cell in own]
    return model.bias, w + cx + cw, gw + gx, c, ca + c_amount + exact + cxa + cwa, shock, first


def _shared_part(active: Active, model: ModelPublished) -> tuple[float, float]:
    """Sum of means and of variances of the bias and the shared cells in force; what has no label yet has its prior."""
    z, variance, cells = model.bias, model.bias_variance, model.cells
    for i, key in enumerate(active.shared):
        mean, v = cells.get(key) or (_COMMON[i] if i < 3 else _PRIORS[key])
        z += mean
        variance += v
    return z, variance


def _as_of(day: int, epoch: int, cells: Cells) -> list[tuple[float, float]]:
    """Mean and variance of the debtor's cells on ``day``: new, reopened since their last label, or drifted."""
    found = []
    for cell, (prior, reopened) in zip(cells, _VARIANCES, strict=True):
        if cell is None:
            found.append((0.0, prior))
            continue
        variance = cell.variance
        if epoch > cell.epoch:
            variance = max(variance, reopened)
        elif day > cell.day:
            variance += DRIFT * prior * (day - cell.day)
            variance = min(variance, prior)
        found.append((cell.mean, variance))
    return found


def learn_late(
    active: Active, label: int, day: int, score: ScoreState, get: Get, model: ModelPublished, *, days_late: int = 0
) -> Learned:
    """Learn a label that matures on ``day`` (ordinal): one joint step in which only the debtor's cells move.

    The shared part is that of the model in force; the learner moves it later by the example (D7), which costs nothing (10).
    ``days_late``: of an invoice that was settled in time, how many days before it was due (negative); a late one counts as 1,
    because "at least 1" is all that is known of it (8.4).
    """
    epoch = score.epoch
    cells = cells_of(active, score, get)
    before = _as_of(day, epoch, cells)
    row = row_variance = 0.0
    for m, v in before:
        row += m
        row_variance += v
    z, variance = _shared_part(active, model)
    z += row
    gain, shrink = step(z, variance + row_variance, label)
    after = []
    for cell, (m, v), forget in zip(cells, before, FORGET, strict=True):
        late = seen = 0.0
        if forget:
            late, seen = (1.0 * label, 1.0) if cell is None else (cell.late * forget + label, cell.seen * forget + 1.0)
        after.append(Cell(m + v * gain, v - v * v * shrink, epoch, day, late, seen))
    calendar = active.calendar
    own = {**score.cells, calendar[0]: after[0], calendar[1]: after[1], calendar[2]: after[2]}
    surprise, change = _surprised(score.surprise, day, label, sigmoid(z))
    lately = {**score.lately}
    for key, forget in zip((calendar[0], calendar[2]), LATELY, strict=True):
        late, seen = lately.get(key, (0.0, 0.0))
        lately[key] = (late * forget + label, seen * forget + 1.0)
    labels, censored = score.labels + 1, 1 if label else min(days_late, 0)
    learned = replace(
        score,
        cells=own,
        surprise=surprise,
        epoch=epoch if change is None else epoch + 1,
        labels=labels,
        late=score.late + label,
        lately=lately,
        days=_counted(score.days, censored),
        mean_days=score.mean_days + max(0.05, 1.0 / labels) * (max(censored, EARLIEST) - score.mean_days),
        change=change or score.change,
    )
    return Learned(learned, dict(zip(active.amounts, after[3:], strict=True)), row, row_variance)


def _counted(days: tuple[float, ...], late: int) -> tuple[float, float, float, float, float, float, float]:
    """The histogram of days late with one more, and the others worth 2 % less."""
    bins = [share * 0.98 for share in days]
    for i, edge in enumerate(EDGES):
        if late <= edge:
            bins[i] += 1.0
            break
    else:
        bins[6] += 1.0
    return tuple(bins)  # type: ignore[return-value]


def _surprised(state: Cusum, day: int, label: int, q: float) -> tuple[Cusum, Change | None]:
    """Add a residual to its maturity day; the first label of another day closes the day and may raise an alarm.

    Page's CUSUM (1954), two-sided, on the day's standardised sum of residuals.
    """
    residual, noise, labels = state.residual, state.noise, state.labels
    up, down, up_since, down_since = state.up, state.down, state.up_since, state.down_since
    change = None
    if day != state.day and labels:
        u = residual / sqrt(max(noise, 0.05) * (1.0 + SIBLINGS * (labels - 1)))
        u = max(-3.0, min(3.0, u))
        up_since, down_since = (state.day if up == 0.0 else up_since), (state.day if down == 0.0 else down_since)
        up, down = max(0.0, up + u - CUSUM_SLACK), max(0.0, down - u - CUSUM_SLACK)
        if up > CUSUM_BAR or down > CUSUM_BAR:
            later = up > CUSUM_BAR
            change = Change(up_since if later else down_since, day, later)
            up = down = 0.0
        residual, noise, labels = 0.0, 0.0, 0
    return Cusum(day, residual + (label - q), noise + q * (1.0 - q), labels + 1, up, down, up_since, down_since), change


def correct_late(active: Active, label: int, score: ScoreState, get: Get) -> tuple[ScoreState, dict[str, Cell]]:
    """Replace a label that was learned wrongly by ``label``: the mean moves by variance x change, nothing becomes surer.

    That is what changing an observation does in a Kalman filter. The last few labels forget a wrong one by themselves.
    """
    change = 2.0 * label - 1.0
    after: dict[str, Cell] = {}
    for key, cell in zip((*active.calendar, *active.amounts), cells_of(active, score, get), strict=True):
        if cell is not None:
            late = max(0.0, min(cell.seen, cell.late + change))
            after[key] = Cell(cell.mean + cell.variance * change, cell.variance, cell.epoch, cell.day, late, cell.seen)
    own = {**score.cells, **{key: after.pop(key) for key in active.calendar if key in after}}
    late = max(0, min(score.labels, score.late + (1 if label else -1)))
    return replace(score, cells=own, late=late), after
