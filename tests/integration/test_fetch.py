"""The fetcher on both brokers: what arrives for an owner begins where it was opened, and follows without a gap or a stranger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import Producer

from streams.engine.fetcher import Arrival, Fetcher
from streams.kafka import consumer
from streams.kafka.topics import full_name
from streams.settings import Settings
from tests.integration.support.portfolio import deployment
from tests.kafka.door import Door, broker_behind_a_door

COUNT = 20_000


class Owner:
    """Collects what arrives for it."""

    def __init__(self, position: int) -> None:
        self.expected = position
        self.records = 0
        self.closed = False


class Crowd:
    """Owners that come and go on one place."""

    def __init__(self) -> None:
        self.failed: list[Exception] = []
        self.wrong: list[str] = []

    def arrived(self, arrivals: list[Arrival]) -> None:
        for owner, topic, records, after, _size in arrivals:
            assert isinstance(owner, Owner)
            for record in records:
                if record.offset != owner.expected or topic != "payments":
                    self.wrong.append(f"{topic}: {record.offset}, expected {owner.expected}")
                owner.expected = record.offset + 1
            owner.records += len(records)
            assert after == owner.expected

    def fail(self, _owner: object | None, error: Exception) -> None:
        self.failed.append(error)


@pytest.fixture(params=["kafka", "embedded_broker"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    settings = deployment(request.getfixturevalue(request.param).bootstrap, tmp_path)
    producer = Producer({**settings.for_librdkafka(), "queue.buffering.max.messages": 2 * COUNT})
    for number in range(COUNT):
        producer.produce(full_name(settings.prefix, "payments"), key="c", value=b"%d" % number, partition=0)
    producer.flush()
    return settings


async def until(holds: Callable[..., object]) -> None:
    for _ in range(3000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to hold in time")


@pytest.mark.slow
def test_each_owner_gets_its_own_from_where_it_was_opened(settings: Settings) -> None:
    async def run() -> None:
        crowd, chance, name = Crowd(), Random(1), full_name(settings.prefix, "payments")
        fetcher = Fetcher(settings.for_librdkafka(), crowd.arrived, crowd.fail, asyncio.get_running_loop())
        try:
            for turn in range(40):
                owner = Owner(chance.randrange(COUNT))
                fetcher.open(owner, {(name, 0): owner.expected}, {name: "payments"})
                if turn % 3:
                    await until(lambda owner=owner: owner.records)
                if turn % 4 == 0:
                    fetcher.close(owner)
            last = Owner(100)
            fetcher.open(last, {(name, 0): 100}, {name: "payments"})
            await until(lambda: last.expected == COUNT)
            fetcher.lags({(name, 0): 0})
            await until(lambda: fetcher.lags({(name, 0): COUNT - 5}) == {(name, 0): 5})
        finally:
            await asyncio.get_running_loop().run_in_executor(None, fetcher.end)
        assert (crowd.wrong, crowd.failed) == ([], [])

    asyncio.run(run())


@pytest.mark.slow
def test_what_is_paused_rests_until_it_is_resumed_and_misses_nothing(settings: Settings) -> None:
    async def run() -> None:
        crowd, name = Crowd(), full_name(settings.prefix, "payments")
        fetcher = Fetcher(settings.for_librdkafka(), crowd.arrived, crowd.fail, asyncio.get_running_loop())
        try:
            owner = Owner(0)
            fetcher.open(owner, {(name, 0): 0}, {name: "payments"}, paused=[(name, 0)])
            await asyncio.sleep(1)
            assert owner.records == 0
            while owner.expected < COUNT:
                count_before = owner.records
                fetcher.resume(owner, (name, 0))
                await until(lambda count_before=count_before: owner.records > count_before)
                fetcher.pause(owner, (name, 0))
                await asyncio.sleep(0.3)
        finally:
            await asyncio.get_running_loop().run_in_executor(None, fetcher.end)
        assert (crowd.wrong, crowd.failed, owner.records) == ([], [], COUNT)

    asyncio.run(run())


@pytest.mark.kafka
@pytest.mark.slow
def test_after_a_broker_took_its_leave_all_is_read_on_and_what_is_paused_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a new consumer one in three would never read again: `python -m tests.experiments.lost`."""
    monkeypatch.setattr(consumer, "KEPT_S", 1.0)

    async def run(door: Door) -> None:
        settings = deployment(door.bootstrap, tmp_path)
        crowd, place, resting = Crowd(), *((full_name(settings.prefix, "payments"), partition) for partition in range(2))
        kafka = settings.for_librdkafka() | {"topic.metadata.refresh.interval.ms": "300"}
        loop = asyncio.get_running_loop()
        fetchers = [Fetcher(kafka, crowd.arrived, crowd.fail, loop) for _ in range(6)]
        owners, waiting = [Owner(0) for _ in fetchers], [Owner(0) for _ in fetchers]
        for fetcher, owner, still in zip(fetchers, owners, waiting, strict=True):
            fetcher.open(owner, {place: 0}, {place[0]: "payments"})
            fetcher.open(still, {resting: 0}, {place[0]: "payments"}, paused=[resting])
        try:
            for turn in range(1, 4):
                _send(settings, place, resting)
                await until(lambda turn=turn: all(owner.records == turn for owner in owners))
                await asyncio.sleep(2)  # one that was made meanwhile may be given up, too
                door.leave()
                await until(lambda turn=turn: door.told >= turn * len(fetchers))
                door.come_back()
            assert not any(still.records for still in waiting)
            for fetcher, still in zip(fetchers, waiting, strict=True):
                fetcher.resume(still, resting)
            await until(lambda: all(still.records == turn for still in waiting))
        finally:
            for fetcher in fetchers:
                await loop.run_in_executor(None, fetcher.end)
        assert (crowd.wrong, crowd.failed) == ([], [])

    with broker_behind_a_door() as door:
        asyncio.run(run(door))


def _send(settings: Settings, *places: tuple[str, int]) -> None:
    producer = Producer(settings.for_librdkafka())
    for topic, partition in places:
        producer.produce(topic, b"one", partition=partition)
    assert producer.flush(20) == 0


@pytest.mark.slow
@pytest.mark.parametrize("settings", ["kafka"], indirect=True)  # the small broker keeps everything, and waits for what comes
def test_records_that_are_gone_are_told_and_not_passed_over(settings: Settings) -> None:
    async def run() -> None:
        crowd, name = Crowd(), full_name(settings.prefix, "payments")
        fetcher = Fetcher(settings.for_librdkafka(), crowd.arrived, crowd.fail, asyncio.get_running_loop())
        try:
            fetcher.open(Owner(0), {(name, 0): COUNT + 1000}, {name: "payments"})
            await until(lambda: crowd.failed)
        finally:
            await asyncio.get_running_loop().run_in_executor(None, fetcher.end)

    asyncio.run(run())
