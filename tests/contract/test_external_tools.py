"""Programs that nobody here wrote read what duewatch publishes: schemas, messages, compose file, metrics.

Each of them is also given something broken, to show that it would tell.
"""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from schemas.cloudevents import STRUCTURED_HEADER
from schemas.events.envelope import Event
from schemas.generate import ASYNCAPI, EXAMPLES, GENERATED
from schemas.registry import CONTRACTS, TOPICS
from streams.kafka.codec import decode
from streams.kafka.embedded import EmbeddedBroker
from streams.kafka.topics import create_topics
from streams.metrics import NAMES, SINK_ROWS_TOTAL, SLICES_TOTAL, Metrics
from streams.process.children import free_port
from streams.settings import Settings
from tests.contract.support.tools import ROOT, run_go, run_node, run_promtool
from tests.integration.support.ledgers import as_records, tick
from tests.integration.support.portfolio import wait_for
from tests.integration.support.sinks import await_drained, invoices, produce, running_duewatch

TOPIC_OF = {event_type: topic.name for topic in TOPICS.values() for event_type in topic.contracts}
COUNT_OF_EXAMPLES = sum(1 for event_type in CONTRACTS for _ in (EXAMPLES / event_type).glob("*.json"))
LOOK_AHEAD = "^(?=.*[1-9])[0-9]+$"


# -- AsyncAPI
@pytest.mark.slow
def test_the_asyncapi_parser_and_ajv_in_draft_7_find_nothing_wrong_with_the_document() -> None:
    topics = [topic for topic in TOPICS.values() if topic.contracts]
    counts = {
        "channels": len(topics),
        "operations": sum(2 if topic.direction == "internal" else 1 for topic in topics),
        "messages": len(CONTRACTS),
        "examples": COUNT_OF_EXAMPLES,
    }
    assert json.loads(run_node("asyncapi.mjs", GENERATED / ASYNCAPI)) == {"problems": [], "counts": counts}


@pytest.mark.slow
def test_the_asyncapi_parser_tells_a_reference_to_nothing(tmp_path: Path) -> None:
    document = json.loads((GENERATED / ASYNCAPI).read_text())
    document["channels"]["payments"]["messages"]["duewatch.invoice.issued.v1"]["$ref"] = "#/components/messages/absent"
    assert "'#/components/messages/absent' does not exist" in "".join(problems_of(document, tmp_path))


@pytest.mark.slow
def test_ajv_tells_an_example_that_does_not_fit_and_a_word_that_draft_7_does_not_know(tmp_path: Path) -> None:
    document = json.loads((GENERATED / ASYNCAPI).read_text())
    components = document["components"]
    components["messages"]["duewatch.record.rejected.v1"]["examples"][-1]["payload"]["headers"] = [[1, {"x": 2}]]
    loss = components["schemas"]["duewatch.model.published.v1"]["properties"]["loss"]
    loss["prefixItems"] = loss.pop("items")
    problems = "".join(problems_of(document, tmp_path))
    assert "data/headers/0/1 must be string" in problems
    assert 'unknown keyword: "prefixItems"' in problems


def problems_of(document: dict[str, Any], folder: Path) -> list[str]:
    path = folder / ASYNCAPI
    path.write_text(json.dumps(document))
    problems: list[str] = json.loads(run_node("asyncapi.mjs", path))["problems"]
    return problems


# -- JSON Schema
@pytest.mark.slow
def test_ajv_compiles_every_schema_in_strict_mode_and_takes_every_example() -> None:
    report = json.loads(run_node("ajv.mjs", GENERATED, EXAMPLES))
    assert report == {"problems": [], "counts": {"schemas": len(CONTRACTS), "examples": COUNT_OF_EXAMPLES}}


def test_ajv_tells_an_unknown_word_and_an_example_that_does_not_fit(tmp_path: Path) -> None:
    event_type = "duewatch.rates.published.v1"
    schema = json.loads((GENERATED / f"{event_type}.json").read_text())
    shutil.copytree(EXAMPLES / event_type, tmp_path / "examples" / event_type)
    (tmp_path / "schemas").mkdir()
    for change, problem in (({"itemz": {}}, "itemz"), ({"maxProperties": 0}, "must NOT have more than 0 properties")):
        (tmp_path / "schemas" / f"{event_type}.json").write_text(json.dumps({**schema, **change}))
        report = json.loads(run_node("ajv.mjs", tmp_path / "schemas", tmp_path / "examples"))
        assert problem in report["problems"][0]


def test_go_compiles_every_pattern() -> None:
    result = run_go("pattern-check", text=json.dumps(sorted({*patterns_of_schemas(), LOOK_AHEAD})))
    assert result.returncode == 0, result.stderr
    [problem] = json.loads(result.stdout)
    assert "(?=" in problem, "of all patterns only the one that this test adds does not compile"


def patterns_of_schemas() -> Iterator[str]:
    for event_type in CONTRACTS:
        nodes: list[Any] = [json.loads((GENERATED / f"{event_type}.json").read_text())]
        while nodes:
            node = nodes.pop()
            if isinstance(node, dict):
                yield from (value for word, value in node.items() if word == "pattern" and isinstance(value, str))
                yield from node.get("patternProperties", {})
                nodes += node.values()
            elif isinstance(node, list):
                nodes += node


# -- CloudEvents
def test_every_message_of_the_javascript_sdk_is_decoded_to_the_event_that_it_was_made_of() -> None:
    messages = json.loads(run_node("cloudevents.mjs", EXAMPLES))
    assert len(messages) == 2 * COUNT_OF_EXAMPLES
    for message in messages:
        event_type, key = message["type"], message["key"]
        headers = [(name, text.encode()) for name, text in message["headers"].items()]
        event = decode(TOPIC_OF[event_type], key and key.encode(), message["value"].encode(), headers)
        where = f"{event_type}/{message['file']} in {message['mode']} mode"
        assert isinstance(event, Event), f"{where}: {event}"
        example = decode(
            TOPIC_OF[event_type],
            key and key.encode(),
            (EXAMPLES / event_type / message["file"]).read_bytes(),
            [STRUCTURED_HEADER],
        )
        assert event == example, where


# -- the compose file
def test_compose_reads_the_compose_file_as_it_is_meant() -> None:
    result = run_go("compose-check", ROOT / "docker-compose.yml")
    assert result.returncode == 0, result.stderr
    project = json.loads(result.stdout)
    assert project["name"] == "duewatch"
    assert set(project["services"]) == {"kafka", "clickhouse", "topics", "migrate", "worker", "sink", "audit"}
    mounts = {(mount["source"], mount["target"]) for mount in project["services"]["sink"]["volumes"]}
    assert mounts == {("data", "/var/lib/duewatch")}


def test_compose_tells_a_word_that_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "docker-compose.yml"
    path.write_text((ROOT / "docker-compose.yml").read_text().replace("stop_grace_period:", "stop_grace:"))
    result = run_go("compose-check", path)
    assert result.returncode == 1
    assert "stop_grace" in result.stderr


# -- metrics
def test_promtool_finds_nothing_wrong_with_any_metric_that_there_is() -> None:
    metrics = Metrics()
    for collector in vars(metrics).values():
        if hasattr(collector, "_labelnames"):
            collector.labels(*("x" for _ in collector._labelnames))
    exposition = metrics.render().decode()
    assert all(f"\n{name}" in exposition for name in NAMES)
    result = run_promtool("check", "metrics", text=exposition)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_promtool_tells_a_counter_whose_name_is_against_the_rules() -> None:
    result = run_promtool(
        "check", "metrics", text="# HELP duewatch_things Things.\n# TYPE duewatch_things counter\nduewatch_things 1\n"
    )
    assert result.returncode != 0
    assert "_total" in result.stdout + result.stderr


@dataclass(frozen=True)
class Scrapes:
    """What Prometheus gets of a deployment that has worked."""

    worker: str
    sink: str


@pytest.fixture(scope="module")
def scrapes(embedded_broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Scrapes:
    folder = tmp_path_factory.mktemp("metrics")
    settings = Settings(
        prefix=f"m{uuid4().hex[:8]}", clickhouse=f"chdb://{folder}/clickhouse", data_dir=folder, web_port=free_port()
    ).on_embedded_broker(embedded_broker.bootstrap)
    create_topics(settings)
    produce(settings, as_records(invoices(0, 200)))
    produce(settings, (tick(date(2024, 2, 5), partition) for partition in range(settings.partitions)))
    port = free_port()
    with ExitStack() as processes:
        processes.enter_context(running_duewatch(settings, "worker"))
        sink = processes.enter_context(running_duewatch(settings, "sink", "--metrics-port", str(port)))
        await_drained(settings, sink, 200)
        wait_for(lambda: SLICES_TOTAL + "{" in scraped(settings.web_port), 60)
        return Scrapes(scraped(settings.web_port), scraped(port))


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.slow
@pytest.mark.parametrize(("process", "metric"), [("worker", SLICES_TOTAL), ("sink", SINK_ROWS_TOTAL)])
def test_promtool_finds_nothing_wrong_with_what_a_running_process_serves(scrapes: Scrapes, process: str, metric: str) -> None:
    exposition: str = getattr(scrapes, process)
    assert f"\n{metric}{{" in exposition, "it has not worked yet"
    result = run_promtool("check", "metrics", text=exposition)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
