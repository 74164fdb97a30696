"""A worker process: its pages, its end, what it refuses to read, and the topics that it needs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from schemas.registry import TOPICS
from streams.kafka.embedded import EmbeddedBroker
from streams.kafka.producer import fenced_producer
from streams.kafka.topics import TopicsError, create_topics, full_name
from streams.process.children import free_port
from streams.settings import Settings
from tests.integration.support.portfolio import deployment, header, payment, read_all, toy_worker, wait_for
from tests.kafka.broker import KafkaBroker


def page(settings: Settings, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{settings.web_port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def threads_of(pid: int) -> list[tuple[str, set[int]]]:
    """Name and cores of each thread of a process; none where the system does not tell."""
    tasks = Path(f"/proc/{pid}/task")
    found = [int(task.name) for task in tasks.iterdir()] if tasks.exists() else []
    return [((tasks / str(number) / "comm").read_text(), os.sched_getaffinity(number)) for number in found]


@pytest.mark.slow
def test_a_worker_applies_committed_records_only_tells_how_it_is_and_ends_in_order(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    topic = full_name(settings.prefix, "payments")
    aborted = fenced_producer(settings.for_librdkafka(), "sender")
    aborted.begin_transaction()
    value, headers = payment(1, "c1")
    aborted.produce(topic, key="c1", value=value, headers=list(headers))
    aborted.flush()
    aborted.abort_transaction()
    plain = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random"})
    value, headers = payment(2, "c1")
    plain.produce(topic, key="c1", value=value, headers=list(headers))
    plain.produce(topic, key="c1", value=b"{", headers=list(headers))
    plain.flush()
    with toy_worker(settings, tmp_path / "w.log", own_port=False) as worker:
        wait_for(lambda: page(settings, "/health/ready")[0] == 200, 60)
        wait_for(lambda: len(read_all(settings, "dead-letters")) == 1, 30)
        wait_for(lambda: len(read_all(settings, "alerts")) == 1, 30)
        assert page(settings, "/health/live")[0] == 200
        assert 'duewatch_events_total{outcome="dead_letter",topic="payments"} 1.0' in page(settings, "/metrics")[1]
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            worker.signal(number)
        # Where it is, without values; and it goes on.
        wait_for(lambda: worker.log_tail(500).count("in execute_from_commandline") == 2, 10)
        assert worker.stop(15) == 0
    assert [header(message, "ce_causationid") for message in read_all(settings, "alerts")] == ["e2"]
    letter = orjson.loads(read_all(settings, "dead-letters")[0].value() or b"")
    assert (letter["topic"], letter["raw"]) == ("payments", "ew==")
    assert letter["offset"] in {2, 3}  # the marker of the aborted transaction may be written late
    assert "not valid JSON" in letter["reason"]


@pytest.mark.slow
def test_the_learner_may_have_a_worker_which_is_the_clock_then_and_that_of_the_debtors_stays_on_its_core(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    allowed_cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    debtors = settings.changed(agents="debtor", web_port=free_port(), core=max(allowed_cores, default=None))
    learner = settings.changed(agents="learner", web_port=free_port())
    value, headers = payment(1, "c1")
    producer = Producer({**settings.for_librdkafka(), "partitioner": "murmur2_random"})
    producer.produce(full_name(settings.prefix, "payments"), key="c1", value=value, headers=list(headers))
    producer.flush()
    with (
        toy_worker(debtors, tmp_path / "d.log", own_port=False) as debtor_worker,
        toy_worker(learner, tmp_path / "l.log", own_port=False) as other,
    ):
        wait_for(lambda: all(page(own, "/health/ready")[0] == 200 for own in (debtors, learner)), 60)
        assert all(
            cores == (allowed_cores if name.startswith("rdk:") else {max(allowed_cores)})
            for name, cores in threads_of(debtor_worker.pid)
        )
        # No context without a tick, and nothing is applied without a context.
        wait_for(lambda: len(read_all(settings, "alerts")) == 1, 30)
        assert orjson.loads(page(debtors, "/health/ready")[1])["partitions"] == {"debtor": [0, 1, 2, 3]}
        assert orjson.loads(page(learner, "/health/ready")[1])["partitions"] == {"learner": [0]}
        wait_for(
            lambda: (
                {orjson.loads(message.value() or b"")["agent"] for message in read_all(settings, "journal")}
                == {"debtor", "learner"}
            ),
            30,
        )
        assert (debtor_worker.stop(15), other.stop(15)) == (0, 0)


def test_topics_are_made_once_and_refused_where_partitions_differ(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    assert all(line.endswith("was there") for line in create_topics(settings))
    with pytest.raises(TopicsError, match=r"payments has 4 partitions, not 5"):
        create_topics(settings.changed(partitions=5))


def test_a_topic_that_is_set_otherwise_is_told_and_left_as_it_is(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    name = f"{settings.prefix}-customers"
    entry = ConfigEntry("min.compaction.lag.ms", "0", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    admin = AdminClient({**settings.for_librdkafka()})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)

    def output() -> list[str]:
        return [line for line in create_topics(settings) if not line.endswith("was there")]

    wait_for(output, 30)
    (line,) = output()
    assert line.startswith(f"{name}: 4 partitions, was there, but min.compaction.lag.ms=0, wanted 315360000000 (kafka-configs.sh")


def test_topics_are_made_on_the_small_broker_too(embedded_broker: EmbeddedBroker, tmp_path: Path) -> None:
    settings = deployment(embedded_broker.bootstrap, tmp_path)
    assert len(create_topics(settings)) == len(TOPICS)


def worker_says(settings: Settings, **changes: Any) -> tuple[int, str]:
    """Exit status and the last line of a worker that does not start."""
    environment = {**os.environ, **settings.changed(**changes).as_environment()}
    ran = subprocess.run(
        [sys.executable, "-m", "streams.cli", "worker"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stderr.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_worker_refuses_topics_that_are_not_those_of_its_settings(kafka: KafkaBroker, tmp_path: Path) -> None:
    settings = deployment(kafka.bootstrap, tmp_path)
    status, output = worker_says(settings, partitions=8)
    assert status == 1 and "payments has 4 partitions, not 8" in output and "set DUEWATCH_PARTITIONS to what is there" in output
    status, output = worker_says(settings, prefix="nowhere")
    assert status == 1 and "Create them: duewatch topics" in output
    status, output = worker_says(settings, bootstrap=f"127.0.0.1:{free_port()}")
    assert status == 1 and "no Kafka answers at" in output
