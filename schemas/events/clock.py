"""Topics ``clock`` and ``clock-single``: ticks, the context that decisions are made in, by value, and resumptions of sources."""

from __future__ import annotations

from pydantic import Field, field_validator

from schemas.base import Contract, Id, Instant, Label, Text
from schemas.events.models import ModelPublished
from schemas.events.policies import PolicyPublished
from schemas.events.rates import RatesPublished


class Ticked(Contract):
    """Time is ``time`` when the positions have reached ``ends`` (topic without prefix -> offset) of this partition.

    ``step`` counts the steps of a replay and is -1 live. ``announced`` are the ``ends`` of the next step of a replay, so that
    a replay that is continued knows what has been sent already.
    """

    number: int
    time: Instant
    ends: dict[str, int]
    step: int = -1
    announced: dict[str, int] = Field(default_factory=dict)
    last: bool = False


class SourceResumed(Contract):
    """A person lets this partition resume a source topic that it had paused: a record among the partition's ticks."""

    topic: Id
    """Without prefix."""
    owner: Label
    """Who resumes it."""
    reason: Text | None = None


class ContextSet(Contract):
    """What decisions depend on besides the debtor: the same for all partitions, in force from this record on."""

    version: Id
    policy: PolicyPublished = PolicyPublished()
    rates: RatesPublished | None = None
    model: ModelPublished = ModelPublished()
    live_from: Instant | None = None
    """Before this day state is folded and nothing goes out; then an opening limit per debtor. None = live from the start."""
    generation: int = 1
    """The generation of limit changes: a rebuild by new code starts a new one."""

    @field_validator("policy", mode="before")
    @classmethod
    def _as_it_acted(cls, policy: object) -> object:
        """A context from before other ``default_days`` were refused must be read for ever, and always meant the usual ones."""
        return {k: v for k, v in policy.items() if k != "default_days"} if isinstance(policy, dict) else policy
