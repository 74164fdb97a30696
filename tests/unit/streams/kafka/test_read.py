"""A reader hands out all that is there and ends; one that gets nothing says so, and keeps nobody waiting for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from streams.kafka import read
from streams.kafka.read import POLL_S, records, to_the_end


class Told:
    """A record, or what the library says in the place of one."""

    def __init__(self, value: str, topic: str = "t", partition: int = 0, code: int | None = None) -> None:
        self._value, self._topic, self._partition, self._code = value, topic, partition, code

    def error(self) -> KafkaError | None:
        return None if self._code is None else KafkaError(self._code)

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def key(self) -> bytes | None:
        return self._value.encode() or None

    def value(self) -> bytes:
        return b"of " + self._value.encode()


def end(topic: str = "t", partition: int = 0) -> Told:
    return Told("", topic, partition, KafkaError._PARTITION_EOF)


def consumer_of(*batches: list[Told], places: tuple[tuple[str, int], ...] = (("t", 0),)) -> Any:
    """Gives these batches, then nothing."""
    left = list(batches)
    return SimpleNamespace(
        assign=lambda _: None,
        assignment=lambda: [SimpleNamespace(topic=topic, partition=partition) for topic, partition in places],
        consume=lambda _count, _timeout: left.pop(0) if left else [],
        close=left.clear,
    )


def values(consumer: Any) -> list[bytes | None]:
    return [message.value() for message in to_the_end(cast("Consumer", consumer))]


def test_all_records_come_until_every_partition_has_ended() -> None:
    batches: list[list[Told]] = [
        [Told("a")],
        [end()],
        [Told("b", partition=1)],
        [],
        [Told("c"), end(partition=1), Told("d")],
        [Told("e")],
    ]
    assert values(consumer_of(*batches, places=(("t", 0), ("t", 1)))) == [b"of a", b"of b", b"of c", b"of d"]
    assert values(consumer_of([Told("a")], places=())) == []


def test_a_reader_that_gets_nothing_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "SILENCE_S", 4.5 * POLL_S)
    places = tuple((topic, partition) for topic in ("t", "u") for partition in range(3))
    with pytest.raises(KafkaException, match=r"no end of t/0, t/2, u/0 and 2 more came .*: is the broker there\?") as raised:
        values(consumer_of([end(partition=1)], places=places))
    assert raised.value.args[0].code() == KafkaError._TIMED_OUT


def test_silence_begins_anew_with_every_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "SILENCE_S", 4.5 * POLL_S)
    still: list[list[Told]] = [[], [], [], []]
    assert values(consumer_of(*still, [Told("a")], *still, [Told("b"), end()])) == [b"of a", b"of b"]


def test_what_is_no_end_is_an_error() -> None:
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        values(consumer_of([Told("", code=KafkaError.TOPIC_AUTHORIZATION_FAILED), end()]))


def test_rows_are_read_with_and_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "reader", lambda _kafka, **_: consumer_of([Told("k"), Told(""), end()]))
    assert list(records({}, "t", 0)) == [("k", b"of k"), ("", b"of ")]
