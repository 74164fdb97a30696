"""Topics that were made may be read at once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from schemas.registry import TOPICS
from streams.kafka import topics
from streams.kafka.topics import full_name, partitions_of
from streams.settings import Settings


class Admin:
    """A broker that knows all leaders with the third answer; until then one partition has none."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.asked = settings, 0

    def list_topics(self, timeout: float) -> SimpleNamespace:
        assert timeout == topics.TIMEOUT_S
        self.asked += 1
        answer = {}
        for topic in TOPICS.values():
            leaders = [1] * partitions_of(topic, self.settings)
            if self.asked < 3 and topic.name == "journal":
                leaders[-1] = -1
            partitions = {number: SimpleNamespace(leader=leader) for number, leader in enumerate(leaders)}
            answer[full_name(self.settings.prefix, topic.name)] = SimpleNamespace(partitions=partitions)
        return SimpleNamespace(topics=answer)


@pytest.fixture
def admin() -> Admin:
    return Admin(Settings(partitions=4))


def test_who_makes_topics_waits_until_each_partition_is_led(admin: Admin) -> None:
    topics._wait_for_leaders(admin, admin.settings)  # type: ignore[arg-type]
    assert admin.asked == 3


def test_a_partition_that_no_broker_can_lead_is_not_waited_for_for_ever(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "LEADERS_S", 0.0)
    topics._wait_for_leaders(admin, admin.settings)  # type: ignore[arg-type]
    assert admin.asked == 1
