"""What the score remembers of one debtor: frozen values that msgspec writes into its rows as JSON and reads back.

Where an attribute has another name than the field that is stored, ``rename`` says so: rows outlive names.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct, field

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
    labels: float = 0.0


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


class BehaviourChange(Struct, frozen=True, array_like=True, gc=False):
    """The last alarm of the CUSUM: the behaviour is another since ``since``, noticed on ``day``; ``later``: it pays later now."""

    since: int
    day: int
    later: bool


class Features(Struct, frozen=True, array_like=True, gc=False):
    """What an invoice looked like when it was scored; kept with the open item, so that maturity learns exactly that.

    ``weekday``: due-day class 0..8 (``calendar.day_class``), -1 = no invoice known; ``closed``: banks are closed on the due day;
    ``risk``: the class of ``p_default`` ("" before it was scored); ``vector``: the state features, a signed byte each, in 1/32
    (base64 in JSON); ``p_late`` as published. ``interval``: after the due day, the one that ends on the day before
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
    vector: bytes = b""
    p_late: float = 0.0
    interval: int = 0
    owed: Decimal | None = None
    recovered: Decimal = ZERO
    next_deadline: int = field(default=0, name="wake")


class TypicalInvoice(Struct, frozen=True, array_like=True, gc=False):
    """What the debtor's invoices usually bring along: running means of three contributions to the log-odds, as scored at issue.

    Single invoices swing with the weekday that they are due on; the debtor's own score must not.
    """

    weekday: float = 0.0
    group: float = 0.0
    amounts: float = 0.0
    invoices: int = 0


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


class ScoreState(
    Struct,
    frozen=True,
    omit_defaults=True,
    rename={"cusum": "surprise", "recent": "lately", "hazard_counts": "after", "typical_invoice": "usual"},
):
    """What the score has learned of a debtor: a row of its own, constant in size (1 + 2 + 9 calendar cells at most).

    ``recent``: (late, labels) of the last few labels of "c" and of each "cw", decayed fast. ``days``: decayed histogram of days
    late as known at maturity (``cell_model.EDGES``); ``mean_days``: their mean, early payers at most -10, late ones 1.
    """

    cells: dict[str, Cell] = {}
    cusum: Cusum = Cusum()
    epoch: int = 0
    labels: int = 0
    late: int = 0
    swept: int = 0
    """The day on which amount cells that were not touched for long were last dropped."""
    recent: dict[str, tuple[float, float]] = {}
    days: tuple[float, float, float, float, float, float, float] = NO_DAYS
    mean_days: float = 0.0
    change: BehaviourChange | None = None
    hazard_counts: tuple[float, ...] = ()
    """(settled, open at its start) of each interval after the due day, decayed (``hazard.learn_interval``)."""
    ratings: dict[str, Rating] = {}
    """By agency."""
    note: Note | None = None
    typical_invoice: TypicalInvoice | None = None
