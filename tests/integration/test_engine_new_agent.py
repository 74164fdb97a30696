"""An agent that is added by a row in the registry runs in a worker, gets its ticks, and is recomputed, without another line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from agents.registry import AGENTS
from schemas.events.envelope import Output
from schemas.events.models import StepEnded
from schemas.registry import TOPICS
from streams.audit.run import audit
from streams.kafka.codec import encode
from streams.kafka.producer import send_all
from streams.process.children import Child, free_port, spawn
from tests.integration.support.counting import AGENT, STATE
from tests.integration.support.portfolio import NOW, deployment, read_all, wait_for

if TYPE_CHECKING:
    from streams.kafka.embedded import EmbeddedBroker
    from streams.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
EVENTS = 7


@pytest.fixture
def settings(embedded_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A deployment to which the agent belongs."""
    monkeypatch.setitem(AGENTS, AGENT.name, AGENT)
    monkeypatch.setitem(TOPICS, STATE.name, STATE)
    return deployment(embedded_broker.bootstrap, tmp_path, commits_in_flight=1)


def worker(settings: Settings, log: Path, agents: str) -> Child:
    environment = settings.changed(web_port=free_port(), agents=agents).as_environment()
    argv = [sys.executable, "-m", "tests.integration.support.counting"]
    return spawn(argv, {**environment, "PYTHONPATH": os.fspath(ROOT)}, log, name="worker", cwd=ROOT)


def slices(settings: Settings) -> list[dict[str, Any]]:
    """What the agent has applied, by the journal."""
    journal = [orjson.loads(message.value() or b"") for message in read_all(settings, "journal")]
    return [slice_ for slice_ in journal if slice_["agent"] == AGENT.name]


def count(settings: Settings) -> bytes | None:
    return {message.key(): message.value() for message in read_all(settings, STATE.name)}.get(b"count")


def send(settings: Settings, first: int) -> None:
    """Some events on a topic that the agent reads."""
    records = []
    for number in range(first, first + EVENTS):
        ended = StepEnded(step=number, partition=0, partitions=1)
        value, headers = encode(Output("training-examples", "0", "duewatch.step.ended.v1", f"s{number}", NOW, NOW, ended))
        records.append(("training-examples", b"0", value, headers))
    send_all(settings, records)


@pytest.mark.slow
def test_it_counts_in_a_worker_of_all_agents_and_in_one_of_its_own(settings: Settings, tmp_path: Path) -> None:
    send(settings, 0)
    with worker(settings, tmp_path / "all.log", "all") as everything:
        wait_for(lambda: any(slice_["tick"] is not None for slice_ in slices(settings)), 60)
        wait_for(lambda: sum(slice_["applied"] for slice_ in slices(settings)) == EVENTS, 30)
        assert everything.stop(20) == 0
    assert count(settings) == b"%d" % EVENTS
    send(settings, EVENTS)
    logs = {name: tmp_path / f"{name}.log" for name in AGENTS}
    with (
        worker(settings, logs["debtor"], "debtor"),
        worker(settings, logs["learner"], "learner"),
        worker(settings, logs["counter"], "counter"),
    ):
        wait_for(lambda: count(settings) == b"%d" % (2 * EVENTS), 60)
        wait_for(lambda: "clock.taken_over" in logs["learner"].read_text(), 60)
    ticking = [name for name, log in logs.items() if "clock.taken_over" in log.read_text()]
    assert ticking == ["learner"], "there is one clock, however many agents read it"
    assert audit(settings, None).is_clean
