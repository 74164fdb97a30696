"""The agents of a deployment, from the registry of agents and the deployment's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from agents.brain import Brain
from agents.registry import AGENTS, Agent
from streams.engine.spec import AgentSpec

if TYPE_CHECKING:
    from streams.settings import Settings

Brains = Mapping[str, Callable[[], Brain]]
"""Agent -> what makes its brain, instead of the one in the registry."""


def agent_specs(settings: Settings, brains: Brains | None = None) -> tuple[AgentSpec, ...]:
    """All agents of a deployment, whichever worker runs them."""
    return tuple(_spec(agent, settings, (brains or {}).get(agent.name, agent.brain)) for agent in AGENTS.values())


def worker_specs(settings: Settings, brains: Brains | None = None) -> tuple[AgentSpec, ...]:
    """The agents that a worker with these settings runs."""
    return tuple(spec for spec in agent_specs(settings, brains) if settings.agents in {"all", spec.name})


def _spec(agent: Agent, settings: Settings, brain: Callable[[], Brain]) -> AgentSpec:
    replay = settings.mode == "replay"
    return AgentSpec(
        name=agent.name,
        sources=agent.sources,
        clock=agent.clock,
        state=agent.state,
        partitions=1 if agent.is_single else settings.partitions,
        order="replay" if replay and agent.sorts_replays else "arrival",
        replay=replay,
        brain=brain,
        row_format=agent.row_format,
        with_tick=agent.waits_for_ticks and not replay,
        max_slice=agent.max_slice,
    )
