"""The cell model of being late: which cells an invoice activates, what they add to the log-odds, what a label does to them.

One Gaussian weight per (debtor or group, something known at issue). README.md, "Cells: a diagonal Kalman filter".
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from functools import lru_cache
from math import log, sqrt

from msgspec.structs import replace

from agents.debtor.scoring.calendar import day_class
from agents.debtor.scoring.state import BehaviourChange, Cell, Cusum, Features, ScoreState
from agents.debtor.scoring.values import CellKeys, CellReader, DebtorCells, Learned
from agents.score_model import DRIFT, NEW, NEW_KEY, SHARED_PRIORS, kalman_gain, sigmoid
from schemas.events.models import ModelPublished

VARIANCES = (1.0, 0.4, 0.2, 0.1, 0.1, 0.3, 0.1, 0.05)
"""Prior variances of the debtor's cells: calendar c, cx, cw; amounts ca, cA, cE, cxa, cwa."""
REOPENED_VARIANCES = (2.0, *(v / 2.0 for v in VARIANCES[1:]))
"""Variances at least this large after an alarm of the CUSUM: 2.0 for c, half the prior for the others."""
_VARIANCES = tuple(zip(VARIANCES, REOPENED_VARIANCES, strict=True))
FORGET = (0.995, 0.98, 0.97, 0.0, 0.985, 0.0, 0.98, 0.98)
"""Factor by which a cell's late rate shrinks at each label; 0 = the state model has no use for the rate of such a cell."""
FORGET_RECENT = (0.8, 0.7)
"""The same for the last few labels of a debtor, and of its invoices due on a kind of day."""
FORGET_DAYS = 0.98
"""The same for the histogram of days late."""
CUSUM_SLACK, CUSUM_THRESHOLD, SIBLING_CORRELATION = 0.7, 5.0, 0.2
"""CUSUM per maturity day: slack and threshold in standard deviations; correlation of one day's labels (siblings are paid
together)."""
SWEEP_DAYS, KEEP_DAYS = 180, 400
"""Twice a year, amount cells that no label touched for so many days are dropped: most exact amounts never come again."""

SHOCK_KEY = "s:shock"
_OPTIONAL_PRIORS = {key: SHARED_PRIORS[key.partition(":")[0]] for key in (NEW_KEY, SHOCK_KEY)}
"""Of the shared cells that only some invoices have; they come behind those that all have."""
_COMMON_PRIORS = tuple(SHARED_PRIORS[family] for family in ("w", "gw", "gx"))
EARLIEST = -10
"""Days late below this count as this in their mean."""
EDGES = (-8, -5, -3, -2, -1, 0)
"""Upper ends of the bins of days late, in days; the seventh is what is late."""


def cell_keys(
    due_on: date, amount: Decimal, country: str | None, group_id: str | None, *, shock: bool = False, terms_days: int = 0
) -> CellKeys:
    """The cells of an invoice, from what is known at issue; never from the issue day, which may be an estimate.

    An estimated issue date is pulled before the payment date of early payers, so it knows a little of the outcome.

    >>> cell_keys(date(2026, 3, 31), Decimal("100.00"), "DE", "retail").shared
    ('w:1', 'gw:retail:1', 'gx:retail:0')
    """
    weekday, closed = day_class(due_on, country)
    return cell_keys_of(Features(weekday, closed, group_id or "-", shock=shock), amount, terms_days)


def cell_keys_of(features: Features, amount: Decimal, terms_days: int = 0) -> CellKeys:
    """The cells of an invoice from the features kept with it and its amount: the same at its label as at its issue.

    >>> cell_keys_of(Features(1, False, "retail"), Decimal("100.00")).amounts
    ('ca:6', 'cA:30', 'cE:10000', 'cxa:0:3', 'cwa:1:3')
    """
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
    shared, rates = _shared_keys(features.group, weekday, closed, features.shock)
    if len(features.vector) > NEW and features.vector[NEW]:
        shared = (*shared, NEW_KEY)
    return CellKeys(shared, rates, _calendar_keys(weekday, closed), amounts, features, terms_days)


@lru_cache(maxsize=4096)
def unknown_invoice(group: str, shock: bool) -> CellKeys:
    """Stands for the debtor's next invoice, of which nothing is known.

    >>> unknown_invoice("retail", False).rates
    ('g:retail', '', '', '')
    """
    shared, rates = _shared_keys(group, -1, 0, shock)
    return CellKeys(shared, (rates[0], "", "", ""), ("c", "", ""), ("", "", "", "", ""), Features(-1, False, group, shock=shock))


@lru_cache(maxsize=65536)
def _shared_keys(group: str, weekday: int, closed: int, shock: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    keys = (f"w:{weekday}", f"gw:{group}:{weekday}", f"gx:{group}:{closed}")
    rates = (f"g:{group}", keys[1], keys[0], f"x:{closed}")
    return (*keys, SHOCK_KEY) if shock else keys, rates


@lru_cache(maxsize=64)
def _calendar_keys(weekday: int, closed: int) -> tuple[str, ...]:
    return "c", f"cx:{closed}", f"cw:{weekday}"


def debtor_cells(keys: CellKeys, score: ScoreState, read: CellReader) -> DebtorCells:
    """The debtor's own cells of an invoice; None where no label has touched one yet.

    >>> keys = cell_keys(date(2026, 3, 31), Decimal("100.00"), "DE", "retail")
    >>> debtor_cells(keys, ScoreState(cells={"c": Cell(0.5, 0.1, 0, 1)}), lambda key: None)[:2]
    [Cell(mean=0.5, variance=0.1, epoch=0, day=1, late=0.0, labels=0.0), None]
    """
    return [*map(score.cells.get, keys.calendar), *map(read, keys.amounts)]


def row_logit(own: DebtorCells) -> float:
    """The sum of the debtor's own cells.

    >>> row_logit([Cell(0.5, 0.1, 0, 1), None, Cell(-0.25, 0.1, 0, 1)])
    0.25
    """
    return sum([cell.mean for cell in own if cell is not None])


def shared_mean(model: ModelPublished, key: str) -> float:
    """What ``NEW_KEY`` or ``SHOCK_KEY`` adds to the log-odds, in the model in force.

    >>> shared_mean(ModelPublished(), SHOCK_KEY)
    0.5
    """
    return (model.cells.get(key) or _OPTIONAL_PRIORS[key])[0]


def cell_parts(keys: CellKeys, own: DebtorCells, model: ModelPublished, *, is_new: bool = False) -> tuple[float, ...]:
    """What the cells add to the log-odds: bias, weekday, group, debtor, amounts, cash-flow shock, a new debtor.

    ``is_new``: no label of the debtor yet, as it is scored; from then on ``keys`` say so. Means are summed as they are: damping
    them by their uncertainty costs 0.0012 log loss.

    >>> keys = cell_keys(date(2026, 3, 31), Decimal("100.00"), "DE", "retail", shock=True)
    >>> cell_parts(keys, [None] * 8, ModelPublished(bias=-1.0))
    (-1.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0)
    """
    cells, shared = model.cells, keys.shared
    w, gw, gx = [0.0 if (cell := cells.get(key)) is None else cell[0] for key in shared[:3]]
    shock = shared_mean(model, SHOCK_KEY) if len(shared) > 3 and shared[3] == SHOCK_KEY else 0.0
    new_debtor = shared_mean(model, NEW_KEY) if is_new or shared[-1] == NEW_KEY else 0.0
    c, cx, cw, ca, c_amount, exact, cxa, cwa = [0.0 if cell is None else cell.mean for cell in own]
    return model.bias, w + cx + cw, gw + gx, c, ca + c_amount + exact + cxa + cwa, shock, new_debtor


def _shared_part(keys: CellKeys, model: ModelPublished) -> tuple[float, float]:
    """Sum of means and of variances of the bias and the shared cells in force; what has no label yet has its prior."""
    z, variance, cells = model.bias, model.bias_variance, model.cells
    for i, key in enumerate(keys.shared):
        mean, v = cells.get(key) or (_COMMON_PRIORS[i] if i < 3 else _OPTIONAL_PRIORS[key])
        z += mean
        variance += v
    return z, variance


def _weights_on(day: int, epoch: int, cells: DebtorCells) -> list[tuple[float, float]]:
    """Mean and variance of the debtor's cells on ``day``: new, reopened since their last label, or drifted."""
    weights = []
    for cell, (prior, reopened) in zip(cells, _VARIANCES, strict=True):
        if cell is None:
            weights.append((0.0, prior))
            continue
        variance = cell.variance
        if epoch > cell.epoch:
            variance = max(variance, reopened)
        elif day > cell.day:
            variance += DRIFT * prior * (day - cell.day)
            variance = min(variance, prior)
        weights.append((cell.mean, variance))
    return weights


def learn_late(
    keys: CellKeys, label: int, day: int, score: ScoreState, read: CellReader, model: ModelPublished, *, days_late: int = 0
) -> Learned:
    """Learn a label that matures on ``day`` (ordinal): one joint step in which only the debtor's cells move.

    The shared part is that of the model in force; the learner moves it later by the example, which costs nothing (README.md of
    agents/learner, "What all debtors teach lives in the log"). ``days_late``: of an invoice that was settled in time, how many
    days before it was due (negative); a late one counts as 1, because "at least 1" is all that is known of it.

    >>> keys = cell_keys(date(2026, 3, 31), Decimal("100.00"), "DE", "retail")
    >>> learned = learn_late(keys, 1, 1000, ScoreState(), lambda key: None, ModelPublished())
    >>> learned.score.labels, learned.score.cells["c"].mean > 0.0, sorted(learned.cells) == sorted(keys.amounts)
    (1, True, True)
    """
    epoch = score.epoch
    cells = debtor_cells(keys, score, read)
    weights = _weights_on(day, epoch, cells)
    row_mean = row_variance = 0.0
    for m, v in weights:
        row_mean += m
        row_variance += v
    z, variance = _shared_part(keys, model)
    z += row_mean
    gain, shrink = kalman_gain(z, variance + row_variance, label)
    moved_cells = []
    for cell, (m, v), forget in zip(cells, weights, FORGET, strict=True):
        late = count = 0.0
        if forget:
            late, count = (1.0 * label, 1.0) if cell is None else (cell.late * forget + label, cell.labels * forget + 1.0)
        moved_cells.append(Cell(m + v * gain, v - v * v * shrink, epoch, day, late, count))
    calendar = keys.calendar
    own = {**score.cells, calendar[0]: moved_cells[0], calendar[1]: moved_cells[1], calendar[2]: moved_cells[2]}
    cusum, change = _update_cusum(score.cusum, day, label, sigmoid(z))
    recent = {**score.recent}
    for key, forget in zip((calendar[0], calendar[2]), FORGET_RECENT, strict=True):
        late, count = recent.get(key, (0.0, 0.0))
        recent[key] = (late * forget + label, count * forget + 1.0)
    labels, censored = score.labels + 1, 1 if label else min(days_late, 0)
    state = replace(
        score,
        cells=own,
        cusum=cusum,
        epoch=epoch if change is None else epoch + 1,
        labels=labels,
        late=score.late + label,
        recent=recent,
        days=_count_days_late(score.days, censored),
        mean_days=score.mean_days + max(0.05, 1.0 / labels) * (max(censored, EARLIEST) - score.mean_days),
        change=change or score.change,
    )
    return Learned(state, dict(zip(keys.amounts, moved_cells[3:], strict=True)), row_mean, row_variance)


def _count_days_late(days: tuple[float, ...], late: int) -> tuple[float, float, float, float, float, float, float]:
    """The histogram of days late with one more, and the others worth a little less.

    >>> _count_days_late((0.0,) * 7, -1)
    (0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    """
    bins = [share * FORGET_DAYS for share in days]
    for i, edge in enumerate(EDGES):
        if late <= edge:
            bins[i] += 1.0
            break
    else:
        bins[6] += 1.0
    return tuple(bins)  # type: ignore[return-value]


def _update_cusum(state: Cusum, day: int, label: int, q: float) -> tuple[Cusum, BehaviourChange | None]:
    """Add a residual to its maturity day; the first label of another day closes the day and may raise an alarm.

    Page's CUSUM (1954), two-sided, on the day's standardised sum of residuals.
    """
    residual, noise, labels = state.residual, state.noise, state.labels
    up, down, up_since, down_since = state.up, state.down, state.up_since, state.down_since
    change = None
    if day != state.day and labels:
        u = residual / sqrt(max(noise, 0.05) * (1.0 + SIBLING_CORRELATION * (labels - 1)))
        u = max(-3.0, min(3.0, u))
        up_since, down_since = (state.day if up == 0.0 else up_since), (state.day if down == 0.0 else down_since)
        up, down = max(0.0, up + u - CUSUM_SLACK), max(0.0, down - u - CUSUM_SLACK)
        if up > CUSUM_THRESHOLD or down > CUSUM_THRESHOLD:
            later = up > CUSUM_THRESHOLD
            change = BehaviourChange(up_since if later else down_since, day, later)
            up = down = 0.0
        residual, noise, labels = 0.0, 0.0, 0
    return Cusum(day, residual + (label - q), noise + q * (1.0 - q), labels + 1, up, down, up_since, down_since), change


def correct_late(keys: CellKeys, label: int, score: ScoreState, read: CellReader) -> tuple[ScoreState, dict[str, Cell]]:
    """Replace a label that was learned wrongly by ``label``: the mean moves by variance x change, nothing becomes surer.

    That is what changing an observation does in a Kalman filter. The last few labels forget a wrong one by themselves.

    >>> keys = cell_keys(date(2026, 3, 31), Decimal("100.00"), "DE", "retail")
    >>> wrong = ScoreState(cells={"c": Cell(0.5, 0.25, 0, 1, 1.0, 2.0)}, labels=2, late=1)
    >>> corrected, _ = correct_late(keys, 0, wrong, lambda key: None)
    >>> corrected.cells["c"].mean, corrected.late
    (0.25, 0)
    """
    change = 2.0 * label - 1.0
    cells: dict[str, Cell] = {}
    for key, cell in zip((*keys.calendar, *keys.amounts), debtor_cells(keys, score, read), strict=True):
        if cell is not None:
            late = max(0.0, min(cell.labels, cell.late + change))
            cells[key] = Cell(cell.mean + cell.variance * change, cell.variance, cell.epoch, cell.day, late, cell.labels)
    own = {**score.cells, **{key: cells.pop(key) for key in keys.calendar if key in cells}}
    late = max(0, min(score.labels, score.late + (1 if label else -1)))
    return replace(score, cells=own, late=late), cells
