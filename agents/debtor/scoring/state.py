"""What the score remembers of one debtor, and what it is told: frozen values that msgspec turns into JSON and back."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from agents.debtor.scoring.reasons import explain
from schemas.events.insolvency import Stage
from schemas.outputs.common import Reason
from schemas.outputs.scores import Band

ROW_PREFIX = "x/"
"""An amount cell is a row of its own; its key is this prefix and the cell's key."""


class Cell(Struct, frozen=True, array_like=True, gc=False):
    """One Gaussian weight on the log-odds scale. ``day``: date ordinal of its last label; ``epoch``: of the debtor, then."""

    mean: float
    variance: float
    epoch: int
    day: int


class Surprise(Struct, frozen=True, array_like=True, gc=False):
    """Two-sided CUSUM of standardised residuals per maturity day. The day that is still open: its residuals, noise and labels."""

    day: int = 0
    residual: float = 0.0
    noise: float = 0.0
    labels: int = 0
    up: float = 0.0
    down: float = 0.0


class Features(Struct, frozen=True, array_like=True):
    """What an invoice looked like when it was scored; kept with the open item, so that maturity learns exactly that.

    ``weekday``: due-day class 0..8 (``calendar.day_class``), -1 = no invoice known; ``closed``: banks are closed on the due day;
    ``risk``: the class of ``p_default`` ("" before it was scored).
    """

    weekday: int
    closed: bool
    group: str
    amount: Decimal
    shock: bool = False
    risk: str = ""


class Active(Struct, frozen=True, gc=False):
    """The keys of the cells that an invoice activates, each in a fixed order (sums are added in this order, bit for bit)."""

    shared: tuple[str, ...]
    """Keys into ``ModelPublished.cells``: w, gw, gx, and s when there is a cash-flow shock."""
    calendar: tuple[str, ...]
    """Keys into ``ScoreState.cells``: c, cx, cw."""
    amounts: tuple[str, ...]
    """Keys of rows of their own: ca, cA, cE, cxa, cwa."""
    features: Features


class Usual(Struct, frozen=True, array_like=True, gc=False):
    """What the debtor's invoices usually bring along: running means of three contributions to the log-odds, as scored at issue.

    Single invoices swing with the weekday that they are due on; the debtor's own score must not.
    """

    weekday: float
    group: float
    amounts: float
    invoices: int


class LastScore(Struct, frozen=True):
    """The debtor's score as it was last published on ``day``; ``average`` is the slow average of p_late up to that day."""

    p_late: float
    p_default: float
    band: Band
    ready: bool
    day: int
    average: float


class ScoreState(Struct, frozen=True, omit_defaults=True):
    """What the debtor's header row holds for the score; constant in size (1 + 2 + 9 calendar cells at most)."""

    cells: dict[str, Cell] = {}
    surprise: Surprise = Surprise()
    epoch: int = 0
    labels: int = 0
    usual: Usual | None = None
    last: LastScore | None = None


class Facts(Struct, frozen=True):
    """What other domains know of the debtor now. The ids become the evidence of reasons.

    ``days_past_due``: of its oldest open overdue invoice, 0 = none; ``bank``: enough account movements to judge its cash flow;
    ``certain``: the insolvency notice matches by identifiers, not by name only.
    """

    days_past_due: int = 0
    shock: bool = False
    bank: bool = False
    stage: Stage = "none"
    certain: bool = False
    overdue_ids: tuple[str, ...] = ()
    shock_ids: tuple[str, ...] = ()
    notice_ids: tuple[str, ...] = ()


class Logit(Struct, frozen=True, gc=False):
    """Log-odds of being late: ``total``, the debtor's own part of it, and one contribution per family (``decide.FAMILIES``)."""

    total: float
    row: float
    contributions: tuple[float, ...]


class Learned(Struct, frozen=True):
    """The debtor after a label: state, changed amount cells by cell key, and its part of the forecast just before the label."""

    score: ScoreState
    cells: dict[str, Cell]
    row_logit: float
    row_variance: float


class Scored(Struct, frozen=True):
    """A score. Probabilities are rounded to 6 decimals; ``ready`` is false when nothing is known of the debtor itself.

    ``lift`` is what a certain insolvency adds to the log-odds of ``forecast``; ``labels`` counts what had matured.
    """

    p_late: float
    p_default: float
    ready: bool
    band: Band
    features: Features
    forecast: Logit
    labels: int
    facts: Facts
    lift: float

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Put into words when asked: most scores of a debtor are not news and never go out."""
        return explain(self.forecast, self.labels, self.facts, self.lift)
