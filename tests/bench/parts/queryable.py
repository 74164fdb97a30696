"""From `produce` of an event until ClickHouse answers with it: the sink runs beside broker and worker.

One event in fifty is asked for, in `events_raw`, where the sink writes: the view over it only leaves out what was sent twice.
"""

from __future__ import annotations

import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.bench import kafka
from tests.bench.figures import percentile
from tests.bench.parts.latency import SETTLE_S, WARM_UP_S, Sender, Traffic, send_policy
from tests.bench.parts.pipeline import running_sink_of, sink_rows
from tests.bench.workload import load, load_size

ONE_IN, ASK_EVERY_S, LAST_S = 50, 0.05, 10.0


def measure(folder: Path) -> dict[str, Any]:
    workload, size = load(folder), load_size(folder)
    broker = kafka.broker(folder)
    settings = kafka.deployment(broker.bootstrap, folder, "queryable", clock="leader")
    send_policy(settings, workload)
    traffic = Traffic(workload, int(size.rate * (size.other_latency_s + WARM_UP_S)))
    kafka.send(settings, traffic.before)
    with (
        kafka.workers(settings, folder) as workers,
        kafka.journal(settings) as journal,
        running_sink_of(settings, folder / "queryable-sink") as (_, port),
    ):
        workers.start("debtor", "learner")
        journal.wait_for(len(traffic.before), workers)
        while sink_rows(port) < len(traffic.before):
            time.sleep(0.2)
        time.sleep(SETTLE_S)
        sender = Sender(settings, traffic, size.rate)
        asker = Asker(port, sender)
        # Before the warm-up, too: whoever only begins to ask after it finds what has been there for long, and calls that slow.
        asker.start()
        sender.send(int(size.rate * WARM_UP_S))
        sender.send(len(traffic.during))
        asker.join(LAST_S)
    ms = [1000 * seconds for seconds in asker.latencies().values()]
    return {
        "queryable_p50_ms": round(percentile(ms, 0.5)),
        "queryable_p99_ms": round(percentile(ms, 0.99)),
        "queryable_asked": len(ms),
        "queryable_missing": len(asker.missing()),
    }


class Asker(threading.Thread):
    """Asks for the events that it has not seen yet, until all are there; ``seconds``: event id -> seconds that it took."""

    def __init__(self, port: int, sender: Sender) -> None:
        super().__init__(daemon=True)
        self._url = f"http://127.0.0.1:{port}/?format=TabSeparated"
        self._sender = sender
        self.seconds: dict[str, float] = {}

    def missing(self) -> dict[str, float]:
        """Sampled events that have been sent and not been found yet, with when they were sent."""
        sent_at = list(self._sender.sent.items())
        return {event_id: at for event_id, at in sent_at[::ONE_IN] if event_id not in self.seconds}

    def latencies(self) -> dict[str, float]:
        """Seconds until each event was found, of those sent after the warm-up."""
        sent_at, counts_from = self._sender.sent, self._sender.counts_from
        return {event_id: seconds for event_id, seconds in self.seconds.items() if sent_at[event_id] >= counts_from}

    def run(self) -> None:
        last = 0.0
        while not last or time.time() - last < LAST_S:
            missing = self.missing()
            if self._sender.done:
                last = last or time.time()
                if not missing:
                    return
            if missing:
                for event_id in self._ask(list(missing)):
                    self.seconds[event_id] = time.time() - missing[event_id]
            time.sleep(ASK_EVERY_S)

    def _ask(self, ids: list[str]) -> list[str]:
        quoted = ",".join(f"'{event_id}'" for event_id in ids)  # ids of our own making: hexadecimal digits and hyphens
        sql = f"SELECT DISTINCT id FROM events_raw WHERE id IN ({quoted})"  # noqa: S608 - see above
        request = urllib.request.Request(self._url, data=sql.encode(), method="POST")  # noqa: S310 - our own sink
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
            return str(answer.read().decode()).split()
