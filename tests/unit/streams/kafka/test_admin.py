"""A Kafka that is not there is told at once, with its address and how to give another."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from streams.kafka.admin import KafkaAwayError, require_kafka
from streams.process.children import free_port
from streams.settings import Settings, SettingsError, with_options


@pytest.fixture
def deaf() -> Iterator[int]:
    """The port of somebody who listens and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        yield server.getsockname()[1]


def test_where_nobody_listens_that_is_told_of_all_brokers() -> None:
    bootstrap = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    with pytest.raises(KafkaAwayError, match=rf"no Kafka answers at {bootstrap} \(nothing listens there\): name it with DUEW"):
        require_kafka(Settings(bootstrap=bootstrap))


def test_where_somebody_else_listens_the_protocol_is_told(deaf: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.admin.TIMEOUT_S", 0.5)
    with pytest.raises(KafkaAwayError, match="the protocol is PLAINTEXT"):
        require_kafka(Settings(bootstrap=f"127.0.0.1:{deaf}"))


def test_a_wrong_option_is_told_with_what_it_takes() -> None:
    assert with_options(Settings(), "a:1,b:2", "ours").bootstrap == "a:1,b:2"
    assert with_options(Settings(prefix="ours")).prefix == "ours"
    with pytest.raises(SettingsError, match="--kafka 'nonsense' is not valid. Expected: Kafka's brokers: HOST:PORT"):
        with_options(Settings(), "nonsense")
    with pytest.raises(SettingsError, match="--prefix 'Ä' is not valid. Expected: at most 40"):
        with_options(Settings(), None, "Ä")
