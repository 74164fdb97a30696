"""docker-compose.yml and the Dockerfile say what the code says: Docker cannot run in CI here, so they are held against it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from schemas import registry
from streams.audit.run import seconds_of
from streams.cli.main import duewatch
from streams.settings import Settings, load_settings, variables

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = {"topics", "migrate", "worker", "sink", "audit"}
ONE_SHOT = {"topics", "migrate"}
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def interpolated(value: str) -> str:
    """The value as compose makes it when no variable is set: the default in ${NAME:-default}."""
    return re.sub(r"\$\{\w+:?-?([^}]*)\}", r"\1", value)


def environment(service: str) -> dict[str, str]:
    return {name: interpolated(value) for name, value in SERVICES[service]["environment"].items()}


def settings(service: str) -> Settings:
    return load_settings(environment(service))


def published(service: str) -> list[tuple[str, str, str]]:
    """(address, port outside, port inside) of each."""
    return [tuple(port.split(":")) for port in SERVICES[service]["ports"]]


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def copied() -> list[str]:
    """The files and folders that the image is built from."""
    return [word for copy in instructions("COPY") if "--from" not in copy for word in copy.split()[:-1]]


def is_ignored(source: str) -> bool:
    """Everything is that .dockerignore does not let through."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    return not any(Path(source).match(pattern) for pattern in allowed)


def test_the_services_are_those_that_a_deployment_has() -> None:
    assert SERVICES.keys() == OURS | {"kafka", "clickhouse"}


def test_images_are_pinned_and_kafka_is_the_one_that_is_tested() -> None:
    tested = re.findall(r"<artifactId>kafka_2\.13</artifactId><version>([\d.]+)<", (ROOT / "tests/kafka/pom.xml").read_text())
    assert [SERVICES["kafka"]["image"]] == [f"apache/kafka:{version}" for version in tested]
    assert re.fullmatch(r"clickhouse/clickhouse-server:\d+\.8", SERVICES["clickhouse"]["image"]), "x.8 is the long-term line"
    assert {SERVICES[service]["image"] for service in OURS} == {f"duewatch:{PROJECT['version']}"}


@pytest.mark.parametrize("service", sorted(OURS))
def test_a_service_runs_a_command_that_exists(service: str) -> None:
    name, *options = map(interpolated, SERVICES[service]["command"])
    assert name == service
    with click.Context(duewatch) as context:
        command = duewatch.get_command(context, name)
        assert command is not None
        command.make_context(name, options)


def test_the_audit_runs_on_a_schedule_and_its_outcome_can_be_scraped() -> None:
    with click.Context(duewatch) as context:
        command = duewatch.get_command(context, "audit")
        assert command is not None
        told = command.make_context("audit", [interpolated(word) for word in SERVICES["audit"]["command"][1:]]).params
    assert seconds_of(told["every"]) == 3_600
    assert published("audit") == [("127.0.0.1", "9107", str(told["metrics_port"]))]
    assert f":{told['metrics_port']}/metrics" in SERVICES["audit"]["healthcheck"]["test"][-1]
    assert settings("audit").web_bind == "0.0.0.0"  # noqa: S104 - inside the container
    assert settings("audit").clickhouse == settings("sink").clickhouse


@pytest.mark.parametrize("service", sorted(OURS))
def test_a_service_is_told_only_what_settings_know(service: str) -> None:
    assert environment(service).keys() <= {name for name, _, _ in variables()}
    assert settings(service).log_format == "json"


def test_what_can_be_set_from_outside_has_the_defaults_of_the_code() -> None:
    defaults = {name: default for name, default, _ in variables()}
    for name, value in SERVICES["worker"]["environment"].items():
        if value.startswith(f"${{{name}"):
            assert interpolated(value) == defaults[name]


def test_workers_find_kafka_where_it_says_it_is() -> None:
    kafka = environment("kafka")
    advertised = dict(place.split("://") for place in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert settings("worker").bootstrap == advertised["INSIDE"]
    assert kafka["KAFKA_INTER_BROKER_LISTENER_NAME"] == "INSIDE"
    assert advertised["OUTSIDE"] == ":".join(published("kafka")[0][:2]) == Settings().bootstrap
    listeners = {listener.split("://")[0] for listener in kafka["KAFKA_LISTENERS"].split(",")}
    protocols = dict(entry.split(":") for entry in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert protocols.keys() == listeners
    assert protocols["INSIDE"] == settings("worker").security.protocol


def test_topics_come_from_the_registry_alone_and_one_node_can_hold_them() -> None:
    kafka = environment("kafka")
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert settings("topics").replication == 1
    copies = {name: value for name, value in kafka.items() if name.endswith(("REPLICATION_FACTOR", "MIN_ISR"))}
    assert len(copies) == 5
    assert set(copies.values()) == {"1"}
    for topic in registry.TOPICS.values():
        assert topic.broker_config().get("min.insync.replicas", "1") == "1"


def test_the_sink_finds_clickhouse_where_it_listens() -> None:
    told = settings("sink").clickhouse.get_secret_value()
    clickhouse = environment("clickhouse")
    user, password = clickhouse["CLICKHOUSE_USER"], clickhouse["CLICKHOUSE_PASSWORD"]
    assert told == f"clickhouse://{user}:{password}@clickhouse:8123"
    assert published("clickhouse")[0][2] == "8123"


def test_everything_is_published_on_this_machine_only() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_the_workers_web_server_can_be_reached() -> None:
    told = settings("worker")
    assert told.web_bind == "0.0.0.0"  # noqa: S104 - inside the container
    _, outside, inside = published("worker")[0]
    assert inside == str(told.web_port)
    assert outside.startswith(inside)
    assert f":{told.web_port}/health/live'" in SERVICES["worker"]["healthcheck"]["test"][-1]
    assert instructions("EXPOSE") == [str(told.web_port)]


def test_services_wait_for_what_they_need() -> None:
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            if needed in ONE_SHOT:
                assert how == {"condition": "service_completed_successfully"}
                assert SERVICES[needed]["restart"].startswith("on-failure")
            else:
                assert how == {"condition": "service_healthy"}
                assert "healthcheck" in SERVICES[needed]
    assert SERVICES["worker"]["depends_on"].keys() >= {"topics"}
    for service in ("sink", "audit"):
        assert SERVICES[service]["depends_on"].keys() >= {"topics", "migrate"}


def test_data_lies_in_volumes() -> None:
    for service in ("kafka", "clickhouse", *OURS):
        name, _, _ = SERVICES[service]["volumes"][0].partition(":")
        assert name in COMPOSE["volumes"]
    assert SERVICES["kafka"]["volumes"][0].endswith(environment("kafka")["KAFKA_LOG_DIRS"])


def test_containers_can_do_little() -> None:
    for service in OURS:
        assert SERVICES[service]["read_only"]
        assert SERVICES[service]["cap_drop"] == ["ALL"]
    user = instructions("USER")[-1]
    assert user != "0"
    folder = settings("worker").data_dir
    assert SERVICES["worker"]["volumes"] == [f"data:{folder}"]
    assert f"install -d -o {user} {folder}" in " ".join(instructions("RUN")), "a new volume takes its owner from the image"
    assert SERVICES["worker"]["tmpfs"] == ["/tmp"], "a tmpfs belongs to root: the compose specification knows no option for it"
    assert instructions("WORKDIR")[-1] == str(folder)


def test_the_image_has_a_python_that_the_project_takes() -> None:
    for image in instructions("FROM"):
        version = re.match(r"python:3\.(\d+)-slim", image)
        assert version
        assert version[1] in {"11", "12"}
    assert PROJECT["requires-python"] == ">=3.11,<3.13"


def test_the_image_installs_by_hash_and_from_files_that_exist() -> None:
    installed = [word for run in instructions("RUN") for word in re.findall(r"-r (\S+)", run)]
    assert installed == ["deploy/requirements.lock", "deploy/requirements-build.lock"]
    assert " ".join(instructions("RUN")).count("--require-hashes") == len(installed)
    for source in copied():
        assert (ROOT / source).exists()
        assert not is_ignored(source), f".dockerignore hides {source}"


def test_the_image_has_the_files_that_the_wheel_is_built_of() -> None:
    """Without one of them the build of the wheel fails, and with it that of the image."""
    for name in ("pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], *PACKAGES):
        assert name in copied(), f"the Dockerfile does not copy {name}"
        assert not is_ignored(name), f".dockerignore hides {name}"


def test_the_image_starts_the_command() -> None:
    assert "duewatch" in PROJECT["scripts"]
    assert instructions("ENTRYPOINT") == ['["duewatch"]']
    assert instructions("CMD") == ['["worker"]']


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock", "requirements-build.lock"])
def test_locks_are_hashed_and_name_no_host(lock: str) -> None:
    text = (ROOT / "deploy" / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE), "options such as an index belong to the machine"
    entries = re.split(r"\n(?=\w)", text.strip())
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_locks_hold_what_the_project_asks_for() -> None:
    locked = set(re.findall(r"^([\w-]+==[\w.]+)", (ROOT / "deploy/requirements.lock").read_text(), re.MULTILINE))
    everything = set(re.findall(r"^([\w-]+==[\w.]+)", (ROOT / "deploy/requirements-dev.lock").read_text(), re.MULTILINE))
    assert set(PROJECT["dependencies"]) <= locked <= everything
    assert set(PROJECT["optional-dependencies"]["embedded"]) <= everything
    assert not {entry for entry in locked if entry.startswith(("chdb", "calfkit", "pytest"))}
