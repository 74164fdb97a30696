"""The context that decisions are made in: how it is composed and versioned, live and in a replay; and when time may move.

A context is the policy, the rates and the shared model, by value. Its version is a hash of its content, so equal contexts have
equal versions, whoever composes them.
"""

from __future__ import annotations

from datetime import datetime

from schemas.events.clock import ContextSet, Ticked
from schemas.events.models import ModelPublished
from schemas.events.policies import PolicyPublished
from schemas.events.rates import RatesPublished
from schemas.ids import content_hash

UNVERSIONED = "unversioned"
"""Stands in place of the version while a context is composed, and is hashed with the rest."""


def compose(
    base: ContextSet,
    *,
    policy: PolicyPublished | None = None,
    rates: RatesPublished | None = None,
    model: ModelPublished | None = None,
) -> ContextSet:
    """A context with what was published since ``base``; None leaves that part as it is.

    A model's step is left out: a step in which nothing was learned makes no new context.

    >>> base = compose(ContextSet(version=UNVERSIONED))
    >>> compose(base).version == base.version
    True
    >>> compose(base, policy=PolicyPublished(version="ours-2")).version == base.version
    False
    >>> compose(base, model=ModelPublished(step=7)).version == base.version
    True
    """
    content = base.model_copy(
        update={
            "version": UNVERSIONED,
            "policy": policy or base.policy,
            "rates": rates or base.rates,
            "model": (model or base.model).model_copy(update={"step": -1}),
        }
    )
    return content.model_copy(update={"version": content_hash(content.model_dump_json().encode())})


def next_time(now: datetime, last: Ticked | None) -> datetime | None:
    """The time of the next tick; None when the machine's clock is not beyond the last one: time never goes back.

    >>> from datetime import UTC, timedelta
    >>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    >>> last = Ticked(number=7, time=noon, ends={})
    >>> next_time(noon, None) == noon, next_time(noon, last), next_time(noon + timedelta(seconds=1), last) is None
    (True, None, False)
    """
    return now if last is None or now > last.time else None
