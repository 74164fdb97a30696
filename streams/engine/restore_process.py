"""Read a partition's rows back, read-committed, to its end: here, or in a process of its own.

That process (`python -m streams.engine.restore_process`) gets its order on standard input and answers on standard output; it ends
with its answer, or at once when its standard input is closed: by the worker, or by the kernel when there is no worker any more.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pkgutil import resolve_name
from threading import Lock, Thread
from typing import IO, cast

import confluent_kafka
import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streams.engine.keys import ENGINE_PREFIX, is_engine_key
from streams.kafka.consumer import Consumer

PROGRAM = ("-m", __name__)
BATCH = 5_000
POLL_S = 0.05
"""``consume`` waits for a full batch or its time-out, also at the end: a long one would delay every take-over."""
SILENCE_S = 10.0
"""A reader that gets nothing for so long is given up. Its broker is away; or there is nothing that librdkafka knows of to wait
for: a reader as old as its topics got nothing of three out of four partitions until it was closed, once in 311 (measured)."""
WATERMARK_S = 10.0

Prepare = Callable[[Iterable[tuple[str, bytes | None]]], bytes]


class ReadingFailedError(RuntimeError):
    """The process that was to read has failed; the message holds the end of what it said."""


class RestoredRows(msgspec.Struct):
    """A partition's rows: the engine's ``own``, and the brain's as they are (``rows``) or ``prepared``."""

    own: dict[str, bytes]
    rows: dict[str, bytes] = {}
    prepared: bytes | None = None


class RestoreRequest(msgspec.Struct):
    """What the process is to read. ``prepare``: MODULE:NAME."""

    kafka: dict[str, str]
    topic: str
    partition: int
    prepare: str


def reader(kafka: Mapping[str, str], **more: str | int) -> Consumer:
    """A read-committed consumer outside any group; ``more``: properties of librdkafka, with underscores for dots."""
    return Consumer(
        {
            **kafka,
            "group.id": "duewatch-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            **{name.replace("_", "."): value for name, value in more.items()},
        }
    )


def count_of(kafka: Mapping[str, str], topic: str, partition: int) -> int:
    """How many records a partition holds at most: offsets between its ends. Raises KafkaException."""
    consumer = reader(kafka)
    try:
        first, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=WATERMARK_S)
    finally:
        consumer.close()
    return end - first


def to_the_end(consumer: confluent_kafka.Consumer) -> Iterator[Message]:
    """All records of the partitions that a ``reader`` is assigned, to their present ends, each partition's in their order.

    Raises KafkaException, also when nothing comes for SILENCE_S: with what is missing, and the code _TIMED_OUT.
    """
    missing = {(place.topic, place.partition) for place in consumer.assignment()}
    silent_s = 0.0
    while missing:
        found = consumer.consume(BATCH, POLL_S)
        # Counted, not taken from a clock: a process that was frozen has not listened.
        silent_s = 0.0 if found else silent_s + POLL_S
        if silent_s > SILENCE_S:
            raise _silence(missing)
        for message in found:
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - that is how the library spells it
                missing.discard((str(message.topic()), int(message.partition() or 0)))
            else:
                raise KafkaException(error)


def _silence(missing: Collection[tuple[str, int]]) -> KafkaException:
    names = ", ".join(f"{topic}/{partition}" for topic, partition in sorted(missing)[:3])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    reason = f"no record and no end of {names}{more} came within {SILENCE_S:.0f} s: is the broker there? Else try again"
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, reason))  # noqa: SLF001 - that is how the library spells it


def records(kafka: Mapping[str, str], topic: str, partition: int) -> Iterator[tuple[str, bytes | None]]:
    """Key and value (None = deleted) of all records up to the partition's end, in their order. Raises KafkaException."""
    # One partition with everything in it: large answers, and enough of them ahead of what Python takes. When its queue is full,
    # librdkafka looks again after a second, if it is not told otherwise.
    consumer = reader(
        kafka,
        fetch_message_max_bytes=16 << 20,
        queued_min_messages=1_000_000,
        queued_max_messages_kbytes=64 << 10,
        fetch_queue_backoff_ms=10,
    )
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        for message in to_the_end(consumer):
            key = message.key()
            yield "" if key is None else key.decode(), message.value()
    finally:
        consumer.close()


def read_rows(kafka: Mapping[str, str], topic: str, partition: int) -> dict[str, bytes]:
    """The last value of each key, to the partition's end; deleted ones are left out. Raises KafkaException."""
    rows: dict[str, bytes] = {}
    for key, value in records(kafka, topic, partition):
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
    return rows


def read(kafka: Mapping[str, str], topic: str, partition: int, prepare: Prepare | None) -> RestoredRows:
    """Read in this process; with ``prepare`` the brain's rows are prepared. Raises KafkaException."""
    if prepare is None:
        rows = read_rows(kafka, topic, partition)
        return RestoredRows({key: rows.pop(key) for key in [key for key in rows if is_engine_key(key)]}, rows)
    own: dict[str, bytes] = {}
    prepared = prepare(_theirs(records(kafka, topic, partition), own))
    return RestoredRows(own, prepared=prepared)


def _theirs(read: Iterable[tuple[str, bytes | None]], own: dict[str, bytes]) -> Iterator[tuple[str, bytes | None]]:
    """What is the brain's; what is the engine's goes into ``own``, which deletes none of its rows."""
    for record in read:
        if record[0][:1] != ENGINE_PREFIX:  # ``is_engine_key`` without its call: there are millions
            yield record
        elif record[1] is not None:
            own[record[0]] = record[1]


class RestoreProcesses:
    """The processes that read for one engine, one for each partition. Any thread may call."""

    def __init__(self) -> None:
        self._children: set[subprocess.Popen[bytes]] = set()
        self._changing, self._ended = Lock(), False

    def read(self, kafka: Mapping[str, str], topic: str, partition: int, prepare: Prepare) -> RestoredRows:
        """Read in a process of its own; ``prepare`` is a function of a module. Raises ReadingFailedError."""
        order = RestoreRequest(dict(kafka), topic, partition, f"{prepare.__module__}:{prepare.__qualname__}")
        with tempfile.TemporaryFile() as said, self._begun(said) as child:
            with suppress(BrokenPipeError):  # then its status tells
                cast("IO[bytes]", child.stdin).write(msgspec.json.encode(order) + b"\n")
            answer = cast("IO[bytes]", child.stdout).read()
            status = child.wait()
            with self._changing:
                self._children.discard(child)
            if status:
                said.seek(0)
                told = said.read().decode(errors="replace").strip()[-500:]
                raise ReadingFailedError(f"{' '.join(PROGRAM)} for {topic} {partition} {_how(status)}: {told}")
        return msgspec.msgpack.decode(answer, type=RestoredRows)

    def _begun(self, said: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._changing:
            if self._ended:
                raise ReadingFailedError("the worker stops: nothing is read any more")
            child = subprocess.Popen(
                [sys.executable, *PROGRAM], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
            )
            self._children.add(child)
            return child

    def end(self) -> None:
        """The worker stops: those that read are killed, and none begins any more."""
        with self._changing:
            self._ended = True
            for child in self._children:
                child.kill()


def _how(status: int) -> str:
    """How a process ended.

    >>> _how(1), _how(-9)
    ('ended with status 1', 'was killed by SIGKILL (as the kernel does when memory runs out)')
    """
    if status >= 0:
        return f"ended with status {status}"
    number = signal.Signals(-status)
    return f"was killed by {number.name}" + (" (as the kernel does when memory runs out)" if number is signal.SIGKILL else "")


def main() -> None:
    """Answer one order, and be gone: nothing is collected, nothing taken apart at the end."""
    gc.disable()
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=RestoreRequest)
    Thread(target=_end_with_the_worker, daemon=True).start()
    found = read(order.kafka, order.topic, order.partition, resolve_name(order.prepare))
    sys.stdout.buffer.write(msgspec.msgpack.encode(found))
    sys.stdout.buffer.flush()
    os._exit(0)


def _end_with_the_worker() -> None:
    # Not by sys.stdin, whose lock would still be held when the interpreter ends.
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    main()
