"""A door before Apache Kafka, which can take its leave as a broker does that shuts down: at a word, and as often as is wanted."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from tests.kafka.broker import KafkaBroker

METADATA, KNOWN = 3, {12, 13}
NO_LEADER = -1

Requests = dict[bytes, tuple[int, int]]
"""A request's number -> its kind and version."""


@contextmanager
def broker_behind_a_door() -> Iterator[Door]:
    """Apache Kafka, which knows itself by the door's address only."""
    with Door() as door:
        broker = KafkaBroker(settings={"advertised.listeners": f"PLAINTEXT://{door.bootstrap}"})
        door.behind = broker.bootstrap
        with broker:
            yield door


class Door:
    """A context manager, open within it. The broker ``behind`` must name it as its address."""

    def __init__(self) -> None:
        self.behind = ""
        self._loop = asyncio.new_event_loop()
        self._guests: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        """With their tasks, which nobody else holds: they would be collected as garbage."""
        self._leaving = False
        self._port = 0
        self.told = 0
        """How many were told that there are no brokers, and hung up on."""

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._server = self._loop.run_until_complete(asyncio.start_server(self._let_in, "127.0.0.1", 0))
        self._port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="door", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for task in self._guests.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def leave(self) -> None:
        """From now on who asks for metadata learns that there are no brokers, and is hung up on. Nobody is let in any more."""
        self._loop.call_soon_threadsafe(self._leave, True)

    def come_back(self) -> None:
        """Whoever was not told before is hung up on, too."""
        self._loop.call_soon_threadsafe(self._leave, False)

    def _leave(self, leaving: bool) -> None:
        self._leaving = leaving
        for guest in () if leaving else list(self._guests):
            guest.transport.abort()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._leaving:
            writer.transport.abort()
            return
        host, _, port = self.behind.rpartition(":")
        try:
            broker_reader, broker_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        self._guests[writer] = asyncio.current_task()
        requests: Requests = {}
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ask(reader, broker_writer, requests))
                tasks.create_task(self._answer(broker_reader, writer, requests))
        del self._guests[writer]
        for end in (writer, broker_writer):
            end.close()

    async def _ask(self, reader: asyncio.StreamReader, broker_writer: asyncio.StreamWriter, requests: Requests) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await _frame(reader)
                requests[request[4:8]] = struct.unpack(">hh", request[:4])
                broker_writer.write(struct.pack(">i", len(request)) + request)
        broker_writer.close()

    async def _answer(self, broker_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: Requests) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                answer = await _frame(broker_reader)
                kind, version = requests.pop(answer[:4])
                leaving = self._leaving and kind == METADATA
                if leaving:
                    assert version in KNOWN, f"Metadata answers of version {version} are not understood here"
                    answer = without_brokers(answer)
                writer.write(struct.pack(">i", len(answer)) + answer)
                if leaving:
                    self.told += 1
                    break
        writer.close()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


class _Answer:
    """Reads an answer field by field. What is read is kept in ``out``, or skipped."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at, self.out = raw, 0, bytearray()

    def take(self, size: int, *, keep: bool = True) -> bytes:
        chunk = self._raw[self._at : self._at + size]
        self._at += size
        if keep:
            self.out += chunk
        return chunk

    def count(self, *, keep: bool = True) -> int:
        """Of a compact array or text; its number is one higher, 0 where there is none."""
        value = shift = 0
        while True:
            (byte,) = self.take(1, keep=keep)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return max(0, value - 1)

    def text(self, *, keep: bool = True) -> None:
        self.take(self.count(keep=keep), keep=keep)

    def tags(self, *, keep: bool = True) -> None:
        assert self.take(1, keep=keep) == b"\0", "no broker was seen to use them"


def without_brokers(raw: bytes) -> bytes:
    """A Metadata answer of version 12 or 13 in which there are no brokers, and no partition has a leader.

    Its fields: https://kafka.apache.org/protocol#The_Messages_Metadata.
    """
    answer = _Answer(raw)
    answer.take(4)  # the request's number
    answer.tags()
    answer.take(4)  # throttled for
    for _ in range(answer.count(keep=False)):
        answer.take(4, keep=False)  # number
        answer.text(keep=False)  # host
        answer.take(4, keep=False)  # port
        answer.text(keep=False)  # rack
        answer.tags(keep=False)
    answer.out += b"\x01"  # the count of none
    answer.text()  # cluster
    answer.take(4)  # controller
    for _ in range(answer.count()):
        answer.take(2)  # error
        answer.text()  # name
        answer.take(17)  # id, whether it is internal
        for _ in range(answer.count()):
            answer.take(6)  # error, number
            answer.take(4, keep=False)
            answer.out += struct.pack(">i", NO_LEADER)
            answer.take(4)  # epoch
            for _ in range(3):
                answer.take(4 * answer.count())  # replicas, those in sync, those offline
            answer.tags()
        answer.take(4)  # operations
        answer.tags()
    return bytes(answer.out + answer.take(len(raw), keep=False))
