"""Topic ``credit-policies``: the written credit policy, versioned; the clock hands the one in force to every partition."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from schemas.base import Contract, Currency, Factor, Id, NotNegativeAmount, PositiveAmount, Probability, blame

DEFAULT_DAYS = 90


class Bands(Contract):
    """Thresholds of the bands: below ``strong_below`` strong, from ``weak_from`` weak; the worse of both probabilities counts."""

    late_strong_below: Probability = 0.60
    late_weak_from: Probability = 0.97
    default_strong_below: Probability = 0.03
    default_weak_from: Probability = 0.15
    hysteresis: Probability = 0.05
    """A band is left only when a probability passes a threshold by this much where the threshold is 0.5, elsewhere by the same
    distance in log-odds (4 x hysteresis): 0.05 turns 0.40 into 0.353 and 0.449, and 0.03 into 0.025 and 0.036."""


class LimitRules(Contract):
    """How a debtor's credit limit is set and changed. Amounts are in the policy's currency."""

    opening_limit: PositiveAmount = Decimal(10000)
    """The limit of a debtor about whom nothing is known."""
    cover_days: int = Field(default=90, ge=1, le=365)
    """The target limit covers this many days of the debtor's sales of the last 90 days."""
    strong_factor: Factor = Decimal("1.5")
    medium_factor: Factor = Decimal("1.0")
    weak_factor: Factor = Decimal("0.5")
    step_up: Factor = Decimal("1.25")
    """At most this factor per review."""
    review_days: int = Field(default=30, ge=1, le=365)
    deadband: Factor = Decimal("0.10")
    """A target closer than this share of the limit changes nothing."""
    round_to: PositiveAmount = Decimal(100)
    hold_days: int = Field(default=7, ge=1, le=90)
    """A review that nobody answers lapses after this many days."""
    terms_days: int = 30
    strong_terms_days: int = 45
    weak_terms_days: int = 14


class AlertRules(Contract):
    """When an alert is raised, and how long it stays quiet after its all-clear."""

    overdue_days: int = Field(default=30, ge=1, le=365)
    overdue_amount: NotNegativeAmount = Decimal(100)
    """Overdue invoices below this sum, in the policy's currency, raise nothing."""
    tolerance_amount: NotNegativeAmount = Decimal(5)
    """An invoice of which no more than this, or no more than ``tolerance_share`` of it, stays open makes nobody late: bank
    charges, rounding. In the policy's currency."""
    tolerance_share: Factor = Decimal("0.01")
    score_drop: Probability = 0.20
    """A rise of p_late by this much against its slow average."""
    over_limit_share: Factor = Decimal("1.00")
    cool_down_days: int = Field(default=7, ge=0, le=365)
    shock_threshold: float = Field(default=5.0, gt=0)
    """CUSUM decision interval in standard deviations (Page 1954; h = 4, k = 0.5 are the textbook's)."""
    shock_warm_up_weeks: int = Field(default=8, ge=2, le=104)


class PolicyPublished(Contract):
    """The whole policy. ``version`` is quoted by every decision that was made under it."""

    version: Id = "default-1"
    currency: Currency = "EUR"
    time_zone: str = "UTC"
    """The creditor's time zone: a deadline is the end of the day there."""
    action: Literal["observe", "act"] = "observe"
    """observe: limit changes go to ``limit-proposals`` only."""
    default_days: int = Field(default=DEFAULT_DAYS, ge=30, le=365)
    """Days past due that count as a default (CRR Art. 178). Only 90 is supported: a policy with another number is refused."""
    default_amount: NotNegativeAmount = Decimal(500)
    """Materiality of a default, in the policy's currency (CRR Art. 178: EUR 500 for non-retail)."""
    default_share: Factor = Decimal("0.01")
    """Materiality of a default, as a share of what the debtor was invoiced (CRR Art. 178: 1 %)."""
    loss_given_default: Probability = 0.60
    """Used until recoveries have taught it; common supervisory values for unsecured claims lie between 0.40 and 0.75."""
    horizon_days: int = Field(default=400, ge=90, le=4000)
    """How long a closed item is remembered, so that a resent one does not open again."""
    bands: Bands = Bands()
    limits: LimitRules = LimitRules()
    alerts: AlertRules = AlertRules()

    # Before pydantic's own limits, which stay as readers know them: a message about 30 to 365 would help nobody.
    @field_validator("default_days", mode="before")
    @classmethod
    def _is_90(cls, value: object) -> object:
        if value != DEFAULT_DAYS:
            raise ValueError(f"{str(value)[:40]!r} is not supported: a default is {DEFAULT_DAYS} days past due; leave it out")
        return value

    @model_validator(mode="after")
    def _zone_exists(self) -> Self:
        try:
            ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):
            raise blame("time_zone", f"{self.time_zone[:80]!r} is not a time zone: use a name such as Europe/Berlin") from None
        return self
