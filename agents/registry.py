"""Which agents there are, and all that the rest of duewatch must know of each. Adding an agent is a row here.

Worker, settings, clock, replay, recomputation and audit are wired from it (streams/engine/README.md, "How to add an agent"). A
brain, and what it imports, is loaded only when one is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agents.brain import Brain
from agents.debtor.keys import ROW_VERSION
from schemas.registry import DEBTOR_SOURCES, TOPICS


@dataclass(frozen=True, slots=True)
class Agent:
    """What an agent is, in whatever deployment it runs. Topics are without prefix, and declared in ``schemas.registry``."""

    name: str
    brain: Callable[[], Brain]
    """Makes the empty memory of one partition."""
    sources: tuple[str, ...]
    """The topics that it reads, besides the clock: all with as many partitions as its state topic."""
    row_format: int = 1
    """Of the rows that the brain writes. Raised whenever code from before would not keep what is in them: it then refuses their
    partitions ("Rows have a format" in the engine's README)."""
    views: Mapping[str, str] = field(default_factory=dict)
    """ClickHouse view -> the topic that it is filled from: what the audit compares with a recomputation of this agent."""
    sorts_replays: bool = False
    """A step of a replay is folded as a whole, in the order that the brain gives it. Otherwise records are applied as they arrive
    there, too, and the brain tells the end of a step by itself."""
    step_topic: str | None = None
    """Where it says that it has applied a step of a replay, by a record with the ``step``'s number: a replay waits for it."""
    waits_for_ticks: bool = False
    """Live, records wait for the next tick unless a slice is full: for outputs that nobody reads before a tick."""
    max_slice: int | None = None
    """Records of a slice at most, where an event costs so much that the deployment's number would keep others waiting."""

    @property
    def state(self) -> str:
        """The topic of its rows; with a partition for each of its own."""
        return f"{self.name}-state"

    @property
    def is_single(self) -> bool:
        """Whether it has one partition in every deployment, not one for each of the debtors' partitions."""
        return TOPICS[self.state].partitions == 1

    @property
    def clock(self) -> str:
        """The topic of its ticks."""
        return "clock-single" if self.is_single else "clock"


def _debtor() -> Brain:
    from agents.debtor.brain import DebtorBrain

    return DebtorBrain()


def _learner() -> Brain:
    from agents.learner.brain import LearnerBrain
    from agents.learner.river_models import Challenger, Drift, LiveChallenger, LiveDrift

    # River takes a second to load: while the partition is taken over, not under the first label, when everybody's slices wait.
    LiveChallenger(Challenger())
    LiveDrift(Drift())
    return LearnerBrain()


_ALL = (
    Agent(
        name="debtor",
        brain=_debtor,
        sources=DEBTOR_SOURCES,
        row_format=ROW_VERSION,
        views={
            "scores": "scores",
            "alerts": "alerts",
            "limit_changes": "limit-changes",
            "limit_proposals": "limit-proposals",
            "training_examples": "training-examples",
            "failed_deadlines": "dead-letters",
        },
        sorts_replays=True,
    ),
    Agent(
        name="learner",
        brain=_learner,
        sources=("training-examples",),
        # ``models`` is compacted: the sink need not have seen each.
        views={"model_quality": "model-quality", "model_alerts": "model-quality"},
        step_topic="models",
        waits_for_ticks=True,  # models go out with ticks, and each slice writes the whole of one
        max_slice=500,  # an example costs several times what an event does, and meanwhile the debtors of this worker wait
    ),
)

AGENTS: dict[str, Agent] = {agent.name: agent for agent in _ALL}
"""Name -> agent, in the order in which a worker starts them."""


def single_agents() -> tuple[Agent, ...]:
    """The agents of one partition. The worker that has the first of them is the one that ticks."""
    return tuple(agent for agent in AGENTS.values() if agent.is_single)
