"""The deployment that is disturbed, and the faults: each a method, chosen and timed by a seed."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException

from streams.kafka.embedded import answers
from streams.kafka.producer import fenced_producer
from streams.kafka.topics import full_name
from streams.process.children import FAULT_HANDLER, Child, ChildFailedError, free_port, spawn
from tests.chaos.control import FastClock, Orders
from tests.chaos.events import TRANSACTION, Planned, transact_upstream

if TYPE_CHECKING:
    from streams.settings import Settings
    from tests.kafka.broker import KafkaBroker

ROOT = Path(__file__).absolute().parents[2]
KINDS: dict[str, int] = {
    "kill -9 a worker": 14,
    "kill -9 the sink": 9,
    "freeze a worker": 8,
    "freeze the sink": 5,
    "SIGTERM in mid-slice": 8,
    "add and remove a worker": 5,
    "a commit fails": 8,
    "a commit fails, written": 6,
    "a commit is fenced": 8,
    "a commit's answer is lost": 8,
    "abort upstream": 7,
    "kill -9 the clock's leader": 6,
    "restart the broker": 4,
    "the broker is gone": 1,
    "ClickHouse refuses inserts": 5,
    "ClickHouse cuts an insert off": 4,
    "ClickHouse's answer is lost": 4,
}
"""Kind -> weight."""
LONG = {"the broker is gone": 30.0}
"""Kinds that only a long run has room for, with the seconds that they last."""
ORDERED = {
    "a commit fails": "commit-before",
    "a commit fails, written": "commit-written",
    "a commit's answer is lost": "commit-committed",
    "SIGTERM in mid-slice": "hold",
    "ClickHouse refuses inserts": "refuse-inserts",
    "ClickHouse cuts an insert off": "cut-insert",
    "ClickHouse's answer is lost": "lose-insert",
}
"""Faults that a process suffers by an order: they have happened when the order is claimed."""
FROZEN_S, ADDED_S, HELD_S, REFUSED_S = 9.0, 10.0, 1.0, 3.0
TERM_S = 30.0
STARTS = 3


@dataclass(frozen=True, slots=True)
class Fault:
    """``at`` in seconds from the first one."""

    at: float
    kind: str


def schedule(count: int, seconds: float, seed: int) -> list[Fault]:
    """Every kind at least once where there is room, the rest by weight; evenly, with a seeded shift each."""
    chance = Random(f"faults {seed}")
    kinds = [kind for kind in KINDS if seconds >= 300 or kind not in LONG]
    selection = chance.sample(kinds, min(count, len(kinds)))
    often = [kind for kind in kinds if kind not in LONG]
    selection += chance.choices(often, [KINDS[kind] for kind in often], k=count - len(selection))
    chance.shuffle(selection)
    gap = seconds / max(count, 1)
    return [Fault((n + chance.uniform(0.0, 0.9)) * gap, kind) for n, kind in enumerate(selection)]


class Deployment:
    """Workers and a sink as processes, started again whenever they end, and the faults that they meet."""

    def __init__(self, settings: Settings, broker: KafkaBroker, folder: Path, clock: FastClock, workers: int, seed: int) -> None:
        self.settings, self.broker, self.folder, self.clock = settings, broker, folder, clock
        self.orders = Orders(folder)
        self.happened: Counter[str] = Counter()
        self.restarts: Counter[str] = Counter()
        self.transacted: Counter[str] = Counter()
        """Topic -> records that came by committed transactions upstream."""
        self.uncertain = 0
        """Records of transactions upstream whose commit gave no answer."""
        self.notes: list[str] = []
        self._chance = Random(f"victims {seed}")
        self._names = [f"worker-{n}" for n in range(workers)]
        self._ports = {name: free_port() for name in self._names}
        self._children: dict[str, Child] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(16, thread_name_prefix="fault")
        self._number = 0
        self._broker_busy = threading.Lock()
        self._upstream = threading.Lock()

    # -- processes

    def start(self) -> None:
        """Start all, and keep them running until ``stop``."""
        for name in ("sink", *self._names):
            self._spawn(name)
        self._tender = threading.Thread(target=self._tend, name="tender", daemon=True)
        self._tender.start()

    def _spawn(self, name: str) -> None:
        if name == "sink":
            argv = [sys.executable, "-m", "tests.chaos.sink", str(self.folder)]
            settings = self.settings.changed(web_port=free_port())
        else:
            clock = [str(number) for number in (self.clock.began, self.clock.speed, self.clock.lasts)]
            argv = [sys.executable, "-m", "tests.chaos.worker", str(self.folder), *clock]
            settings = self.settings.changed(web_port=self._ports.setdefault(name, free_port()))
        environment = {**settings.as_environment(), **FAULT_HANDLER, "PYTHONPATH": str(ROOT)}
        self._children[name] = spawn(argv, environment, self.folder / f"{name}.log", name=name, cwd=ROOT)

    def _tend(self) -> None:
        while not self._stopping.wait(0.3):
            with self._lock:
                for name, child in list(self._children.items()):
                    # A worker that finds no broker ends at once: none is started until there is one.
                    if not child.running and not self._stopping.is_set() and answers(self.settings.bootstrap):
                        child.kill()
                        self.restarts[name] += 1
                        self._spawn(name)

    def running(self, *, sink: bool = False) -> list[str]:
        with self._lock:
            return [name for name, child in self._children.items() if (name == "sink") is sink and child.running]

    def stop_workers(self) -> None:
        """SIGTERM; what is in flight is finished."""
        self._stopping.set()
        self._tender.join()
        for name in self.running():
            self._children[name].stop(TERM_S)

    def stop_sink(self) -> int:
        """SIGTERM; what was read is written."""
        return self._children["sink"].stop(TERM_S)

    def stuck(self) -> str:
        """What the workers were at, with the ends of their logs; they end."""
        self._stopping.set()
        self._tender.join()
        return "\n".join(f"--- {name}\n{self._children[name].stacks()}" for name in self.running())

    def end(self) -> None:
        """Kill whatever is left."""
        self._stopping.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in self._children.values():
            child.kill()

    def sink_progress(self) -> dict[str, Any]:
        """What the sink tells of itself; empty while it is away."""
        try:
            port = json.loads((self.folder / "sink.json").read_text())["port"]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5) as answer:
                return dict(json.loads(answer.read()))
        except (OSError, ValueError):
            return {}

    def _leader(self) -> str | None:
        """The worker that has the learner's partition has the clock's, too."""
        for name in self.running():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[name]}/health/ready", timeout=2) as answer:
                    if json.loads(answer.read())["partitions"].get("learner"):
                        return name
            except (OSError, ValueError):
                continue
        return None

    # -- faults

    def suffer(self, kind: str, material: list[Planned]) -> None:
        """Begin a fault; what takes time goes on beside. ``material``: records for transactions upstream."""
        self._number += 1
        if kind in ORDERED and kind != "SIGTERM in mid-slice":
            self.orders.give(ORDERED[kind], self._number, REFUSED_S)
            return
        act: dict[str, Callable[[], object]] = {
            "kill -9 a worker": lambda: self._kill(self._victim()),
            "kill -9 the sink": lambda: self._kill("sink"),
            "freeze a worker": lambda: self._freeze(self._victim()),
            "freeze the sink": lambda: self._freeze("sink"),
            "SIGTERM in mid-slice": self._terminate_in_mid_slice,
            "add and remove a worker": self._add_and_remove,
            "a commit is fenced": self._fence,
            "abort upstream": lambda: self._transact(material),
            "kill -9 the clock's leader": lambda: self._kill(self._leader() or self._victim()),
            "restart the broker": lambda: self._broker_away(0.0, graceful=True),
            "the broker is gone": lambda: self._broker_away(LONG["the broker is gone"], graceful=False),
        }
        self._pool.submit(self._guarded, kind, act[kind])

    def _guarded(self, kind: str, act: Callable[[], object]) -> None:
        try:
            happened = act()
        except (KafkaException, OSError, RuntimeError) as error:
            self.notes.append(f"{kind}: {type(error).__name__}: {error}"[:200])
        else:
            if happened is not False and kind not in ORDERED:
                self.happened[kind] += 1

    def _victim(self) -> str:
        return self._chance.choice(self.running() or self._names)

    def _kill(self, name: str) -> bool:
        with self._lock:
            child = self._children[name]
            if not child.running:
                return False
            child.signal(signal.SIGKILL)
        return True

    def _freeze(self, name: str) -> bool:
        with self._lock:
            child = self._children[name]
            if not child.running:
                return False
            child.signal(signal.SIGSTOP)
        self._stopping.wait(FROZEN_S)
        child.signal(signal.SIGCONT)
        return True

    def _terminate_in_mid_slice(self) -> None:
        before = len(self.orders.claimed())
        self.orders.give("hold", self._number, HELD_S)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for claim in self.orders.claimed()[before:]:
                if claim["kind"] == "hold":
                    self._terminate(claim["pid"])
                    return
            time.sleep(0.02)

    def _terminate(self, pid: int) -> None:
        with self._lock:
            child = next((child for child in self._children.values() if child.pid == pid), None)
        if child is not None:
            child.signal(signal.SIGTERM)

    def _add_and_remove(self) -> None:
        name = f"worker-added-{self._number}"
        with self._lock:
            self._spawn(name)
        self._stopping.wait(ADDED_S)
        with self._lock:
            child = self._children.pop(name, None)
        if child is not None:
            child.stop(TERM_S)

    def _fence(self) -> None:
        """Somebody else begins under the transactional id of a partition: the next commit there is refused."""
        number = self._chance.randrange(self.settings.partitions)
        fenced_producer(self.settings.for_librdkafka(), f"{full_name(self.settings.prefix, 'debtor')}-{number}")

    def _transact(self, material: list[Planned]) -> None:
        """A transaction upstream is aborted, then one with other records is committed: all resent, as nobody knows the future."""
        past = [planned.record for planned in material if planned.at <= self.clock.now()]
        with self._upstream:
            transact_upstream(self.settings, self._chance.choices(past, k=TRANSACTION), aborts=True)
            records = self._chance.choices(past, k=TRANSACTION)
            if transact_upstream(self.settings, records, aborts=False):
                self.transacted.update(record.topic for record in records)
            else:
                self.uncertain += TRANSACTION

    def _broker_away(self, seconds: float, *, graceful: bool) -> None:
        with self._broker_busy:
            if graceful:
                self.broker.stop()
            else:
                self.broker.kill()
            self._stopping.wait(seconds)
            self._start_broker()

    def _start_broker(self) -> None:
        """On a machine that is busy it may not be there in time: then once more. Raises ChildFailedError."""
        for _ in range(STARTS - 1):
            try:
                self.broker.start()
            except ChildFailedError as error:
                self.notes.append(f"the broker does not start: {error}"[:200])
            else:
                return
        self.broker.start()

    def calm(self) -> None:
        """No more faults: what was begun ends, the broker is there, and all run."""
        self._pool.shutdown(wait=True)
        self.orders.withdraw()
        self._start_broker()

    def faults(self) -> Counter[str]:
        """All that happened, by kind."""
        names = {order: kind for kind, order in ORDERED.items()}
        return self.happened + Counter(names[claim["kind"]] for claim in self.orders.claimed())
