"""The sink's loop: it reads on while a batch is written, and no batch overtakes one that ClickHouse did not take."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from schemas.events import payments as p
from streams.clickhouse import client as clickhouse
from streams.clickhouse.client import DATA_ERRORS
from streams.metrics import Metrics
from streams.settings import Settings
from streams.sink import loop as sink
from streams.sink.loop import Sink
from streams.sink.start import topic_ids
from tests.integration.support.ledgers import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.clickhouse.rows import SinkRecord

PATIENCE_S = 10.0


@dataclass
class Told:
    """What the sink asks of a message."""

    one: SinkRecord
    offset_is: int

    def topic(self) -> str:
        return f"t-{self.one.topic}"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.offset_is

    def key(self) -> bytes | None:
        return self.one.key

    def value(self) -> bytes | None:
        return self.one.value

    def headers(self) -> Any:
        return self.one.headers

    def error(self) -> None:
        return None


@dataclass
class FakeConsumer:
    """One invoice a round, for ever."""

    given: int = 0
    is_lost: bool = False
    assigned: list[TopicPartition] = field(default_factory=list)

    def assign(self, places: list[TopicPartition]) -> None:
        self.assigned = places

    def consume(self, _most: int, _wait_s: float) -> list[Told]:
        day = date(2026, 1, 1)
        fact = p.InvoiceIssued(
            customer_id="C", invoice_id=f"I{self.given}", amount=Decimal(1), currency="EUR", issued_on=day, due_on=day
        )
        self.given += 1
        return [Told(record(fact, f"e{self.given}"), self.given - 1)]

    def get_watermark_offsets(self, _place: TopicPartition, *, cached: bool) -> tuple[int, int]:
        assert cached, "the broker must not be asked between two batches"
        return 0, 9

    def close(self, wait_s: float = 1.0) -> None:
        """Nothing is open."""


@dataclass
class FakeClickHouse:
    """Takes nothing while ``open`` is not set; ``refuses`` is raised instead, once it is."""

    open: threading.Event = field(default_factory=threading.Event)
    refuses: Exception | None = None
    asked: threading.Event = field(default_factory=threading.Event)
    written: list[tuple[str, list[Any]]] = field(default_factory=list)

    def raw_insert(self, table: str, *, insert_block: bytes, **_: Any) -> None:
        self.asked.set()
        assert self.open.wait(PATIENCE_S)
        if self.refuses is not None:
            raise self.refuses
        self.written += [(table.split(".")[1], orjson.loads(line)) for line in insert_block.splitlines()]

    def offsets(self) -> list[int]:
        """Of the positions that are there, in the order in which they were written."""
        return [row[4] for table, row in self.written if table == "sink_positions"]


@pytest.fixture
def client() -> FakeClickHouse:
    return FakeClickHouse()


@pytest.fixture
def made(client: FakeClickHouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    monkeypatch.setattr(sink, "BATCH_S", 0.0)
    monkeypatch.setattr(clickhouse, "RETRY_FIRST_S", 0.001)
    monkeypatch.setattr("streams.sink.writer.LAST_RETRIES_S", 0.02)
    one = Sink(Settings(prefix="t"), client, Metrics(), threading.Event())  # type: ignore[arg-type]
    one._consumer = FakeConsumer()  # type: ignore[assignment]
    one.progress.add_partition("payments", 0, 0)
    yield one
    client.open.set()
    one.close()


def _consumer(one: Sink) -> FakeConsumer:
    consumer: Any = one._consumer
    assert isinstance(consumer, FakeConsumer)
    return consumer


def _next_offset(one: Sink) -> int:
    return int(one.progress.snapshot()["topics"]["payments"]["0"]["next_offset"])


def test_it_reads_on_while_a_batch_is_written(made: Sink, client: FakeClickHouse) -> None:
    for _ in range(20):
        made.turn()
    assert client.asked.wait(PATIENCE_S)
    assert (_consumer(made).given, _next_offset(made)) == (20, 0), "written is only what ClickHouse has"
    client.open.set()
    made.flush()
    assert client.offsets() == [1, 20], "the second batch is all that came meanwhile"
    assert [row[3] for table, row in client.written if table == "events_raw"] == [f"e{n}" for n in range(1, 21)]
    assert _next_offset(made) == 20


def test_a_lost_consumer_is_replaced_by_one_that_goes_on_behind_what_is_gathered(
    made: Sink, client: FakeClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, new = _consumer(made), FakeConsumer()
    monkeypatch.setattr(made, "_new_consumer", lambda: new)
    made.progress.add_partition("models", 1, 7)
    made.turn()
    lost.is_lost = True
    made.turn()
    assert _consumer(made) is new
    assert [(one.topic, one.partition, one.offset) for one in new.assigned] == [("t-payments", 0, 2), ("t-models", 1, 7)]
    client.open.set()


def test_how_far_clickhouse_is_behind_is_told_by_topic(
    made: Sink, client: FakeClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "MEASURE_S", 0.0)
    made.progress.add_partition("payments", 1, 7)
    made.turn()
    assert 'duewatch_sink_lag{topic="payments"} 11.0' in made._metrics.render().decode(), "9 - 0 and 9 - 7"
    client.open.set()
    made.flush()
    made._measure(_consumer(made))  # type: ignore[arg-type]
    assert 'duewatch_sink_lag{topic="payments"} 10.0' in made._metrics.render().decode(), "one is written"


def test_it_waits_for_clickhouse_when_the_next_batch_is_full(
    made: Sink, client: FakeClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "BATCH_ROWS", 10)

    def read() -> None:
        for _ in range(50):
            made.turn()

    reader = threading.Thread(target=read)
    reader.start()
    assert client.asked.wait(PATIENCE_S)
    reader.join(0.2)
    # An invoice is two rows, an event and a posting: one invoice is on its way, and five more are a full batch.
    assert (reader.is_alive(), _consumer(made).given) == (True, 6)
    client.open.set()
    reader.join(PATIENCE_S)
    made.flush()
    assert (_consumer(made).given, client.offsets()[-1]) == (50, 50)


def test_a_batch_that_is_not_taken_ends_the_loop_before_the_next_is_written(made: Sink, client: FakeClickHouse) -> None:
    refusal: Any = PermissionError("no rights")
    refusal.code = min(DATA_ERRORS)  # refused for good, also in sink_refused
    client.refuses = refusal
    client.open.set()
    with pytest.raises(PermissionError):
        _turn_until_it_fails(made)
    assert (client.written, _next_offset(made)) == ([], 0)


def _turn_until_it_fails(one: Sink) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        one.turn()


class Failure:
    """What the library tells as a message: an error, here one of no topic."""

    topic = partition = offset = staticmethod(lambda: None)

    @staticmethod
    def error() -> KafkaError:
        return KafkaError(KafkaError._TRANSPORT)


def test_an_error_that_belongs_to_no_topic_does_not_end_the_sink(made: Sink, client: FakeClickHouse) -> None:
    client.open.set()
    messages: list[Any] = [Failure(), *FakeConsumer().consume(1, 0.0)]
    made._take(messages)
    made.flush()
    assert _next_offset(made) == 1


@pytest.mark.parametrize(("code", "found"), [(KafkaError.UNSUPPORTED_VERSION, {"t": ""}), (KafkaError._TIMED_OUT, None)])
def test_a_broker_that_does_not_answer_is_not_one_without_topic_ids(code: int, found: dict[str, str] | None) -> None:
    class Admin:
        def describe_topics(self, *_: Any, **__: Any) -> Any:
            raise KafkaException(KafkaError(code))

    if found is None:
        with pytest.raises(KafkaException):
            topic_ids(Admin(), ["t"])  # type: ignore[arg-type]
    else:
        assert topic_ids(Admin(), ["t"]) == found  # type: ignore[arg-type]


def test_stopped_while_clickhouse_is_away_it_says_so_and_writes_no_later_batch(made: Sink, client: FakeClickHouse) -> None:
    client.refuses = ConnectionError("away")
    client.open.set()
    for _ in range(5):
        made.turn()
    made._stop.set()
    with pytest.raises(ConnectionError):
        made.run()
    assert (client.written, _next_offset(made)) == ([], 0)
