"""What a score is computed from and what comes out: frozen values that pass between the functions of the score, never stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct

from agents.debtor.scoring.state import BehaviourChange, Cell, Features, ScoreState
from schemas.events.insolvency import Stage
from schemas.events.models import Scorer
from schemas.outputs.scores import Band

CellReader = Callable[[str], Cell | None]
"""The amount cell of a cell key (the row's key without ``state.ROW_PREFIX``), or None."""
DebtorCells = list[Cell | None]
"""The debtor's cells of an invoice, in the order c, cx, cw, ca, cA, cE, cxa, cwa; None where no label has touched one yet."""


class CellKeys(Struct, frozen=True, gc=False):
    """The keys of the cells that an invoice activates, each in a fixed order (sums are added in this order, bit for bit)."""

    shared: tuple[str, ...]
    """Keys into ``ModelPublished.cells``: w, gw, gx; s with a cash-flow shock, n without a label of the debtor."""
    rates: tuple[str, ...]
    """Keys into ``ModelPublished.rates``: g, gw, w, x."""
    calendar: tuple[str, ...]
    """Keys into ``ScoreState.cells``: c, cx, cw."""
    amounts: tuple[str, ...]
    """Keys of rows of their own: ca, cA, cE, cxa, cwa."""
    features: Features
    terms_days: int = 0
    """Agreed terms of the invoice where the ledger states them, 0 = it does not; never due less issue day, which may be an
    estimate that knows the outcome."""


class ScoreInputs(Struct, frozen=True):
    """What other domains know of the debtor now. The ids become the evidence of reasons.

    ``day``: today's ordinal, 0 = not known. ``days_past_due``: of its oldest open overdue invoice, 0 = none; ``overdue_share`` of
    what is open; ``bank``: enough account movements to judge its cash flow; ``falling``: its inflow, half the way to a shock;
    ``cushion``: what the account holds when it holds little, in weeks of usual inflow, None = not known;
    ``certain``: the insolvency notice matches by
    identifiers, not by name only; ``terms_days``: usual terms, 0 = not known; ``rating`` and ``note``: what others say of it,
    from -2 (as good as can be) to 2, 0 = nothing.
    """

    days_past_due: int = 0
    shock: bool = False
    bank: bool = False
    stage: Stage = "none"
    certain: bool = False
    overdue_ids: tuple[str, ...] = ()
    shock_ids: tuple[str, ...] = ()
    notice_ids: tuple[str, ...] = ()
    day: int = 0
    overdue_share: float = 0.0
    terms_days: int = 0
    rating: float = 0.0
    note: float = 0.0
    rating_ids: tuple[str, ...] = ()
    note_ids: tuple[str, ...] = ()
    falling: bool = False
    cushion: float | None = None


class ReasonInputs(NamedTuple):
    """What the reasons of a score need besides its contributions."""

    inputs: ScoreInputs
    labels: int
    change: BehaviourChange | None
    scorer: Scorer


class Logit(Struct, frozen=True, gc=False):
    """Log-odds of being late: ``total``, and one contribution per code of ``reasons.CODES`` that add up to it.

    ``row_logit``: what the debtor's own cells add to the cells model; ``vector``: the state features.
    """

    total: float
    row_logit: float
    contributions: tuple[float, ...]
    vector: bytes = b""


class Learned(Struct, frozen=True):
    """The debtor after a label: state, changed amount cells by cell key, and its part of the forecast just before the label."""

    score: ScoreState
    cells: dict[str, Cell]
    row_logit: float
    row_variance: float


class Scored(Struct, frozen=True):
    """A score. Probabilities are rounded to 6 decimals; ``ready`` is false when nothing is known of the debtor itself.

    ``lift`` is what a certain insolvency adds to the log-odds of ``forecast``. Its reasons are worked out only when it goes out
    (``reasons.explain_score``): most scores of a debtor are not news.
    """

    p_late: float
    p_default: float
    ready: bool
    band: Band
    features: Features
    forecast: Logit
    reason_inputs: ReasonInputs
    lift: float
    p_late_30: float
    payment_days: tuple[int, int, int] | None = None
    """When it is expected to be paid, against the due day (``hazard.PaymentDays``); None of a debtor."""
