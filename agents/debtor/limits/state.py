"""Frozen values of a debtor's credit limit. Amounts are in the policy's currency; days are ordinals."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec.structs import replace

from schemas.events.insolvency import Stage


class Limit(msgspec.Struct, frozen=True, omit_defaults=True):
    """The limit in force (or, while only observed, the shadow limit) and what it waits for.

    ``sequence`` counts the changes of a ``generation`` of ``action`` (observe or act), without gaps. ``review`` is the day of the
    next regular review. ``hold``: no new exposure until a person answers or ``hold_until`` has passed. The ``*_acted`` flags tell
    which episode has been acted on already, so that one cause cuts once.
    """

    action: str = ""
    generation: int = 0
    sequence: int = 0
    amount: Decimal = Decimal("0.00")
    currency: str = ""
    terms_days: int = 0
    security: bool = False
    """Whether security is required."""
    band: str = ""
    """The risk band that it was last set for."""
    hold: bool = False
    hold_until: int = 0
    last_id: str | None = None
    """Of the change that was announced last."""
    opened: int = 0
    follows_until: int = 0
    """Until this day, while there is no full window of sales, the limit follows the sales; a cut ends that."""
    review: int = 0
    override_until: int = 0
    overdue_acted: bool = False
    shock_acted: bool = False
    stage_acted: Stage = "none"
    paused_acted: bool = msgspec.field(name="blind_acted", default=False)
    """A cut was held back, and a person asked, because payments are not being read."""
    rate_acted: bool = False
    """A person was asked, because the exposure is unknown while a rate is missing."""
    effective: int = 0
    """From this day on what was announced last is in force; the next change is so never before it."""

    @property
    def is_open(self) -> bool:
        """Whether there is a limit at all."""
        return self.generation > 0

    @property
    def next_deadline(self) -> int:
        """The next day on which something falls due: a review, or the end of a hold or an override; 0 = none."""
        days = (self.review, self.hold_until + 1 if self.hold else 0, self.override_until + 1 if self.override_until else 0)
        return min((day for day in days if day), default=0)

    def without_episodes(self) -> Limit:
        """What a new generation starts from: nothing has been acted on yet; all that is no episode's is remembered."""
        return replace(
            self,
            hold=False,
            hold_until=0,
            override_until=0,
            overdue_acted=False,
            shock_acted=False,
            stage_acted="none",
            paused_acted=False,
            rate_acted=False,
        )
