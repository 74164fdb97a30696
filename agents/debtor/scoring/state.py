"""What the score remembers of one debtor, and what it is told: frozen values that msgspec turns into JSON and back."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct, field

from agents.debtor.scoring.reasons import ReasonInputs, Told, explain
from schemas.events.insolvency import Stage
from schemas.outputs.scores import Band

ZERO = Decimal("0.00")


class Cell(Struct, frozen=True, array_like=True, gc=False):
    """One Gaussian weight on the log-odds scale, and the late rate of the same invoices (decayed late, decayed labels).

    ``day``: date ordinal of its last label; ``epoch``: of the debtor, then.
    """

    mean: float
    variance: float
    epoch: int
    day: int
    late: float = 0.0
    seen: float = 0.0


class Cusum(Struct, frozen=True, array_like=True, gc=False):
    """Two-sided CUSUM of standardised residuals per maturity day. The day that is still open: its residuals, noise and labels.

    ``up_since``, ``down_since``: the day on which the sum last left zero, Page's estimate of when a change began.
    """

    day: int = 0
    residual: float = 0.0
    noise: float = 0.0
    labels: int = 0
    up: float = 0.0
    down: float = 0.0
    up_since: int = 0
    down_since: int = 0


class Change(Struct, frozen=True, array_like=True, gc=False):
    """The last alarm of the CUSUM: the behaviour is another since ``since``, noticed on ``day``; ``later``: it pays later now."""

    since: int
    day: int
    later: bool


class Features(Struct, frozen=True, array_like=True, gc=False):
    """What an invoice looked like when it was scored; kept with the open item, so that maturity learns exactly that.

    ``weekday``: due-day class 0..8 (``calendar.day_class``), -1 = no invoice known; ``closed``: banks are closed on the due day;
    ``risk``: the class of ``p_default`` ("" before it was scored); ``x``: the state features, a signed byte each, in 1/32
    (base64 in JSON); ``p``: p_late as published. ``interval``: after the due day, the one that ends on the day before
    ``next_deadline`` (``hazard.INTERVALS``). ``owed``: at default, until it is known what of it came after all; ``recovered``:
    after a write-off.
    """

    weekday: int
    closed: bool
    group: str
    amount: Decimal | None = None
    """Only in rows of an earlier version: the invoice's own row has it."""
    shock: bool = False
    risk: str = ""
    x: bytes = b""
    p: float = 0.0
    interval: int = 0
    owed: Decimal | None = None
    recovered: Decimal = ZERO
    next_deadline: int = field(default=0, name="wake")


class Active(Struct, frozen=True, gc=False):
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
    """Agreed terms of the invoice, where they were told (never due less issue day: that may be an estimate, 8.2); 0 = not."""


class TypicalInvoice(Struct, frozen=True, array_like=True, gc=False):
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


class Rating(Struct, frozen=True, array_like=True, gc=False):
    """What an agency says: ``risk`` from -2 (best) to 2, until the day ``until``; ``id`` is its evidence."""

    risk: float
    until: int
    id: str


class Note(Struct, frozen=True, array_like=True, gc=False):
    """What somebody who knows the debtor said on ``day``: ``risk`` -1 (good), 0 or 1."""

    risk: float
    day: int
    id: str


NO_DAYS = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class ScoreState(Struct, frozen=True, omit_defaults=True):
    """What the score has learned of a debtor: a row of its own, constant in size (1 + 2 + 9 calendar cells at most).

    ``lately``: (late, labels) of the last few labels of "c" and of each "cw", decayed fast. ``days``: decayed histogram of days
    late as known at maturity (``dense.EDGES``); ``mean_days``: their mean, early payers at most -10, late ones 1.
    """

    cells: dict[str, Cell] = {}
    surprise: Cusum = Cusum()
    epoch: int = 0
    labels: int = 0
    late: int = 0
    swept: int = 0
    """The day on which amount cells that were not touched for long were last dropped."""
    lately: dict[str, tuple[float, float]] = {}
    days: tuple[float, float, float, float, float, float, float] = NO_DAYS
    mean_days: float = 0.0
    change: Change | None = None
    after: tuple[float, ...] = ()
    """(settled, open at its start) of each interval after the due day, decayed (``hazard.learn_interval``)."""
    ratings: dict[str, Rating] = {}
    """By agency."""
    note: Note | None = None
    usual: TypicalInvoice | None = None


class ScoreInputs(Struct, frozen=True):
    """What other domains know of the debtor now. The ids become the evidence of reasons.

    ``day``: today's ordinal, 0 = not told. ``days_past_due``: of its oldest open overdue invoice, 0 = none; ``overdue_share`` of
    what is open; ``bank``: enough account movements to judge its cash flow; ``falling``: its inflow, half the way to a shock;
    ``cushion``: what the account holds when it holds little, in weeks of usual inflow, None = not known;
    ``certain``: the insolvency notice matches by
    identifiers, not by name only; ``terms_days``: usual terms, 0 = not told; ``rating`` and ``note``: what others say of it,
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


class Logit(Struct, frozen=True, gc=False):
    """Log-odds of being late: ``total``, and one contribution per code of ``reasons.CODES`` that add up to it.

    ``row``: what the debtor's own cells add to the cells model; ``x``: the state features.
    """

    total: float
    row: float
    contributions: tuple[float, ...]
    x: bytes = b""


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
    because: ReasonInputs
    lift: float
    p_late_30: float
    days: tuple[int, int, int] | None = None
    """When it is expected to be paid, against the due day (``hazard.Days``); None of a debtor."""

    @property
    def told(self) -> Told:
        """Put into words when asked: most scores of a debtor are not news and never go out."""
        return explain(self.forecast.contributions, self.because, self.lift)
