"""Real parts for tests, started once per run: Apache Kafka on the JVM, and the small broker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

from streams.kafka.embedded import EmbeddedBroker
from tests.kafka.broker import KafkaBroker, KafkaUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

# A test that asks for a fixture gets its marker, so that `-m "not kafka"` never starts what it means to avoid.
MARKERS = {"kafka": "kafka", "embedded_broker": "embedded"}

# Two slow cores must not fail a property; in CI the same examples come every time.
hypothesis.settings.register_profile("duewatch", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("duewatch")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in set(getattr(item, "fixturenames", ())) & MARKERS.keys():
            item.add_marker(MARKERS[fixture])


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the DUEWATCH_ variables of the shell that started it."""
    for name in [name for name in os.environ if name.startswith("DUEWATCH_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """Apache Kafka, one node; a test may stop(), kill() and start() it again, and leaves it running."""
    broker = KafkaBroker()
    try:
        broker.start()
    except KafkaUnavailableError as error:
        broker.remove()
        if "CI" in os.environ:
            pytest.fail(f"in CI the tests against Apache Kafka must run, and it cannot start: {error}")
        pytest.skip(f"Apache Kafka cannot start here: {error}")
    yield broker
    broker.remove()


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """The small in-memory broker. Name topics per test: it is shared."""
    with EmbeddedBroker() as broker:
        yield broker
