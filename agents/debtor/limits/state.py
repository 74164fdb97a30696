"""Frozen values of a debtor's credit limit. Amounts are in the policy's currency; days are ordinals."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from schemas.events.insolvency import Stage


class Limit(msgspec.Struct, frozen=True, omit_defaults=True):
    """The limit in force (or, while only observed, the shadow limit) and what it waits for.

    ``sequence`` counts the changes of a ``generation`` of ``action`` (observe or act), without gaps. ``review`` is the day of the
    next regular review. ``hold``: no new exposure until a person answers or ``hold_until`` has passed. The flags tell which
    episode has been acted on already, so that one cause cuts once.
    """

    action: str = ""
    generation: int = 0
    sequence: int = 0
    amount: Decimal = Decimal("0.00")
    currency: str = ""
    terms_days: int = 0
    security: bool = False
    band: str = ""
    hold: bool = False
    hold_until: int = 0
    last_id: str | None = None
    opened: int = 0
    follows_until: int = 0
    """Until this day, while there is no full window of sales, the limit follows the sales; a cut ends that."""
    review: int = 0
    override_until: int = 0
    overdue_acted: bool = False
    shock_acted: bool = False
    stage_acted: Stage = "none"
    blind_acted: bool = False
    effective: int = 0
    """From this day on what was announced last is in force; the next change is so never before it."""

    @property
    def is_open(self) -> bool:
        """Whether there is a limit at all."""
        return self.generation > 0

    @property
    def wake(self) -> int:
        """The next day on which the limit needs a look; 0 = none."""
        days = [
            d
            for d in (self.review, self.hold_until + 1 if self.hold else 0, self.override_until + 1 if self.override_until else 0)
            if d
        ]
        return min(days) if days else 0
