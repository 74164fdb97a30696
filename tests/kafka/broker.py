"""Apache Kafka itself, as a library on the JVM: one node on free ports, with a data directory that outlives a restart.

`python -m tests.kafka.broker` starts one, prints its address and runs until Ctrl-C.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

import click

from streams.kafka.embedded import answers
from streams.process.children import Child, free_port, spawn

if TYPE_CHECKING:
    from collections.abc import Mapping

POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kafka"
START_TIMEOUT_S = 60.0

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    # One node, and few partitions of Kafka's own topics, so that it starts fast.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Tests wait for none of what production smooths out.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # After a kill -9 the node may register again only when its old registration has lapsed: 9 s by default.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}


JVM = (
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
)
"""As Kafka's own start script has it (kafka-run-class.sh): without, pauses of 30 to 60 ms were measured, every few seconds."""


class KafkaUnavailableError(RuntimeError):
    """Java, Maven or the jars are missing on this machine; the message says which."""


class KafkaBroker:
    """A single-node Apache Kafka. start() after stop() or kill() serves the same address and data again."""

    def __init__(self, directory: Path | None = None, heap: str = "768m", settings: Mapping[str, str] | None = None) -> None:
        self._own = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="duewatch-kafka-"))
        self._heap = heap
        self._port = free_port()
        self._settings = SETTINGS | dict(settings or {})
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        """Of the JVM. Raises RuntimeError when it does not run."""
        if self._child is None:
            raise RuntimeError("Kafka is not running: call start() first")
        return self._child.pid

    @property
    def log_path(self) -> Path:
        return self.directory / "kafka.log"

    def start(self) -> Self:
        """Start it and wait until it answers; nothing happens when it runs. Raises KafkaUnavailableError or ChildFailedError."""
        if self.running:
            return self
        jars = fetch_jars()
        config = self.directory / "server.properties"
        if not config.exists():
            self._format(jars, config)
        java = _java(jars, [f"-Xms{self._heap}", f"-Xmx{self._heap}", *JVM], "kafka.Kafka", str(config))
        self._child = spawn(java, log_path=self.log_path, name="Apache Kafka")
        try:
            self._child.wait_until(lambda: answers(self.bootstrap), START_TIMEOUT_S)
        except BaseException:
            self.kill()
            raise
        return self

    def _format(self, jars: Path, config: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        controller = f"127.0.0.1:{free_port()}"
        places = {
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "log.dirs": str(self.directory / "data"),
        }
        settings = places | self._settings
        config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        cluster_id = base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "A")
        quick = ["-Xmx256m", "-XX:TieredStopAtLevel=1"]
        result = _run(_java(jars, quick, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(config)))
        if result.returncode:
            config.unlink()
            raise RuntimeError(f"Kafka's storage could not be formatted:\n{result.stdout}")

    def stop(self, grace_s: float = 20.0) -> None:
        """End it gracefully; its data stays. May be repeated."""
        if self._child is not None:
            self._child.stop(grace_s)
            self._child = None

    def kill(self) -> None:
        """kill -9; its data stays as it was. May be repeated."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def remove(self) -> None:
        """Kill it and delete its data, if the directory is its own."""
        self.kill()
        if self._own:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()


def fetch_jars() -> Path:
    """The folder with Kafka's jars, filled by Maven once per version of pom.xml. Raises KafkaUnavailableError."""
    if shutil.which("java") is None:
        raise KafkaUnavailableError("java is not on the PATH: install Java 17 or later")
    jars = CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once fetch once
        if not jars.exists():
            _fetch(jars)
    return jars


def _fetch(jars: Path) -> None:
    if shutil.which("mvn") is None:
        raise KafkaUnavailableError("mvn is not on the PATH: install Maven, it fetches Apache Kafka's jars")
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        result = _run(["mvn", "-B", "-q", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={folder}/jars"])
        if result.returncode:
            raise KafkaUnavailableError(f"Maven could not fetch Apache Kafka:\n{result.stdout[-2000:]}")
        Path(folder, "jars").rename(jars)


def _java(jars: Path, options: list[str], main: str, *arguments: str) -> list[str]:
    logging = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
    return ["java", *options, *logging, "-cp", f"{jars}/*", main, *arguments]


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


@click.command(help="Run Apache Kafka until Ctrl-C; prints HOST:PORT once it answers.")
@click.option("--directory", type=click.Path(path_type=Path), help="Where its data lies and stays (default: a temporary folder).")
@click.option("--heap", default="768m", show_default=True)
def main(directory: Path | None, heap: str) -> None:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with KafkaBroker(directory, heap) as broker:
        click.echo(broker.bootstrap)
        while broker.running and not ended.wait(1.0):
            pass


if __name__ == "__main__":
    main()
