"""A row in the registry of agents is all that the rest of duewatch needs: settings, specs, cuts, replays and views follow."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from agents.registry import AGENTS, Agent, single_agents
from schemas.events.clock import ContextSet
from schemas.registry import TOPICS
from streams.engine.agents import agent_specs, worker_specs
from streams.replay.clock import STEP_TOPICS
from streams.settings import Settings


class Counting:
    """The least that an agent of one partition needs; its brain is never made here."""


COUNTER = Agent(name="counter", brain=Counting, sources=("training-examples",))  # type: ignore[arg-type]


@pytest.fixture
def with_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third agent: a row, and its topic of rows."""
    monkeypatch.setitem(AGENTS, "counter", COUNTER)
    monkeypatch.setitem(TOPICS, "counter-state", TOPICS["learner-state"])


@pytest.mark.parametrize("agent", AGENTS.values(), ids=lambda agent: agent.name)
def test_what_an_agent_reads_has_as_many_partitions_as_its_rows(agent: Agent) -> None:
    partitions = {TOPICS[topic].partitions for topic in (*agent.sources, agent.state, agent.clock)}
    assert len(partitions) == 1
    assert all(TOPICS[topic].contracts for topic in agent.views.values())
    assert agent.step_topic is None or TOPICS[agent.step_topic].partitions == 1


@pytest.mark.parametrize("agent", AGENTS.values(), ids=lambda agent: agent.name)
def test_an_agents_brain_is_empty_when_it_is_made(agent: Agent) -> None:
    folded = agent.brain().fold((), None, ContextSet(version="none"), replay=False)
    assert (folded.rows, folded.outputs, folded.applied) == ({}, [], 0)


def test_live_and_in_a_replay_agents_run_as_their_rows_say() -> None:
    live = {spec.name: spec for spec in agent_specs(Settings(partitions=7))}
    assert {name: (spec.partitions, spec.clock, spec.state) for name, spec in live.items()} == {
        "debtor": (7, "clock", "debtor-state"),
        "learner": (1, "clock-single", "learner-state"),
    }
    assert {name: (spec.order, spec.with_tick, spec.max_slice) for name, spec in live.items()} == {
        "debtor": ("arrival", False, None),
        "learner": ("arrival", True, 500),
    }
    replay = {spec.name: spec for spec in agent_specs(Settings(mode="replay"))}
    assert {name: (spec.order, spec.replay, spec.with_tick) for name, spec in replay.items()} == {
        "debtor": ("replay", True, False),
        "learner": ("arrival", True, False),
    }
    assert STEP_TOPICS == ("models",)


def test_a_worker_runs_all_agents_or_the_one_that_its_settings_name() -> None:
    assert [spec.name for spec in worker_specs(Settings())] == ["debtor", "learner"]
    assert [spec.name for spec in worker_specs(Settings(agents="learner"))] == ["learner"]
    assert single_agents()[0].name == "learner", "whose worker ticks"
    with pytest.raises(ValidationError, match="there is no such agent, only debtor, learner"):
        Settings(agents="counter")


@pytest.mark.usefixtures("with_counter")
def test_a_row_makes_an_agent_known_to_settings_and_workers() -> None:
    settings = Settings(agents="counter", partitions=7)
    (spec,) = worker_specs(settings)
    assert (spec.name, spec.partitions, spec.topics) == ("counter", 1, ("training-examples", "clock-single"))
    assert [spec.name for spec in worker_specs(Settings())] == ["debtor", "learner", "counter"]
    assert single_agents()[0].name == "learner", "one worker ticks, however many agents of one partition there are"


def test_tests_bring_brains_of_their_own() -> None:
    specs = agent_specs(Settings(), {"learner": Counting})  # type: ignore[dict-item]
    brains = {spec.name: spec.brain() for spec in specs}
    assert [name for name, brain in brains.items() if isinstance(brain, Counting)] == ["learner"]
