"""`react` under quixstreams, stateful and exactly-once; run by parts/quixstreams.py in an environment of its own.

State is quix's: RocksDB with a changelog topic, one key per row, read and written as bytes. Everything else is left as it comes.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import orjson
from quixstreams import Application  # type: ignore[import-not-found] # in an environment of its own
from quixstreams.models.serializers import BytesDeserializer, BytesSerializer  # type: ignore[import-not-found]

from schemas.events.envelope import Event
from schemas.registry import TOPIC_OF_TYPE
from streams.kafka.codec import decode, encode
from streams.process.garbage import tune_for_many_rows
from tests.bench.rules import Debtors
from tests.bench.workload import load, load_size


class OutputSerializer(BytesSerializer):  # type: ignore[misc] # the same
    """Serializes the value of an output (topic, value, headers)."""

    def __call__(self, value: Any, ctx: Any) -> Any:
        return super().__call__(value[1], ctx)


def main() -> None:
    bootstrap, folder, topics = sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(",")
    tune_for_many_rows()
    workload, size = load(folder.parent), load_size(folder.parent)
    debtors, total = Debtors(workload.context), len(workload.events)
    app = Application(
        broker_address=bootstrap,
        consumer_group=folder.name,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        state_dir=folder / "state",
        loglevel="WARNING",
    )
    source = app.topic(f"{folder.name}-events", key_deserializer="str", value_deserializer=BytesDeserializer())
    targets = {
        name: app.topic(f"{folder.name}-{name}", key_serializer="str", value_serializer=OutputSerializer()) for name in topics
    }
    result = {"events": 0, "outputs": 0, "began": 0.0, "ended": 0.0}

    def apply(value: bytes, key: str, _timestamp: int, headers: Any, state: Any) -> list[Any]:
        result["began"] = result["began"] or time.perf_counter()
        event = decode(TOPIC_OF_TYPE[dict(headers)["ce_type"].decode()], key.encode(), value, headers)
        if not isinstance(event, Event):
            raise TypeError(event.reason)

        def write(name: str, row: bytes | None) -> None:
            if row is None:
                state.delete(name)
            else:
                state.set_bytes(name, row)

        outputs = [(output.topic, *encode(output)) for output in debtors.apply(key, event, state.get_bytes, write)]
        result["events"] += 1
        result["outputs"] += len(outputs)
        if result["events"] == total or time.perf_counter() - result["began"] > size.peer_s:
            result["ended"] = result["ended"] or time.perf_counter()
            app.stop()
        return outputs

    frame = app.dataframe(source).apply(apply, stateful=True, metadata=True, expand=True)
    frame = frame.set_headers(lambda value, *_: value[2])
    frame.to_topic(lambda value, *_: targets[value[0]])
    # An application that never gets an event would wait for ever.
    timer = threading.Timer(size.peer_s + 60, app.stop)
    timer.start()
    app.run()
    timer.cancel()
    (folder / "done.json").write_bytes(orjson.dumps(result))


if __name__ == "__main__":
    main()
