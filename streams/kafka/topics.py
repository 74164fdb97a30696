"""A deployment's topics: create them from the registry, refuse one with other partitions, tell which deployments there are."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from time import monotonic, sleep
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from schemas.registry import TOPICS, Topic
from streams.errors import UserError
from streams.kafka.admin import admin_client, require_kafka

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from streams.settings import Settings

TIMEOUT_S, LEADERS_S = 30.0, 10.0


class TopicsError(UserError):
    """A topic is not as it must be; the message names it and how to fix it."""


def full_name(prefix: str, name: str) -> str:
    """A topic's name on the broker.

    >>> full_name("duewatch", "alerts"), full_name("", "alerts")
    ('duewatch-alerts', 'alerts')
    """
    return f"{prefix}-{name}" if prefix else name


def partitions_of(topic: Topic, settings: Settings) -> int:
    """How many partitions a topic has in this deployment."""
    return topic.partitions or settings.partitions


def create_topics(settings: Settings) -> list[str]:
    """Create what is missing; a line for each topic. Raises TopicsError, before anything is created, where partitions differ.

    May be repeated, and run by several at once. What is there is not changed, it may be somebody's will: the line tells in which
    settings it differs, and how to set them.
    """
    admin = admin_client(settings.for_librdkafka())
    existing = existing_partitions(admin)
    _check(settings, existing)
    missing = [topic for topic in TOPICS.values() if full_name(settings.prefix, topic.name) not in existing]
    created = _create(admin, settings, missing)
    # Someone else may have created some of them meanwhile, differently.
    _check(settings, existing_partitions(admin) if created < {topic.name for topic in missing} else {})
    if missing:
        _wait_for_leaders(admin, settings)
    differences = _config_differences(admin, settings, [topic for topic in TOPICS.values() if topic.name not in created])
    return [
        f"{full_name(settings.prefix, topic.name)}: {partitions_of(topic, settings)} partitions, "
        + ("created" if topic.name in created else "was there" + differences.get(topic.name, ""))
        for topic in TOPICS.values()
    ]


def _wait_for_leaders(admin: AdminClient, settings: Settings) -> None:
    """A broker answers before it knows who leads what it has created, and who reads then may find nothing for half a minute."""
    deadline = monotonic() + LEADERS_S
    while not _are_led(admin, settings) and monotonic() < deadline:
        sleep(0.05)


def _are_led(admin: AdminClient, settings: Settings) -> bool:
    topics = admin.list_topics(timeout=TIMEOUT_S).topics
    leaders = {name: sum(p.leader >= 0 for p in topic.partitions.values()) for name, topic in topics.items()}
    return all(leaders.get(name) == count for name, count in _expected(settings))


def require_topics(settings: Settings) -> None:
    """Raises TopicsError where a topic is missing or has other partitions, KafkaAwayError where no broker answers.

    A worker that took another number for granted would find good records in the wrong partitions.
    """
    require_kafka(settings)
    existing = existing_partitions(admin_client(settings.for_librdkafka()))
    missing = [name for name, _ in _expected(settings) if name not in existing]
    if missing:
        raise TopicsError(
            f"topics are missing on {settings.bootstrap}: {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}. Create"
            " them: duewatch topics (or is it another DUEWATCH_PREFIX?)"
        )
    _check(settings, existing)


def deployed(settings: Settings) -> Settings:
    """The settings with the number of partitions that the deployment really has. Raises UserError when there is none.

    Called first by every command that looks into a deployment: it fails at once where no broker is.
    """
    require_kafka(settings)
    existing = existing_partitions(admin_client(settings.for_librdkafka()))
    partitions = existing.get(full_name(settings.prefix, "debtor-state"))
    if partitions is None:
        prefixes = sorted(name.removesuffix("-debtor-state") for name in existing if name.endswith("-debtor-state"))
        advice = (
            f"There are: {', '.join(prefixes)}. Name one with --prefix or DUEWATCH_PREFIX"
            if prefixes
            else "Create it: duewatch topics"
        )
        raise UserError(f"there is no deployment {settings.prefix!r} on {settings.bootstrap}. {advice}")
    return settings.changed(partitions=partitions)


def _config_differences(admin: AdminClient, settings: Settings, topics: list[Topic]) -> dict[str, str]:
    """Topic -> which of its settings on the broker are not those that it would be created with now, as text."""
    resources = {topic.name: ConfigResource(ResourceType.TOPIC, full_name(settings.prefix, topic.name)) for topic in topics}
    answers = admin.describe_configs(list(resources.values()), request_timeout=TIMEOUT_S) if resources else {}
    differences = {}
    for topic in topics:
        try:
            config = answers[resources[topic.name]].result()
        except (KafkaException, KeyError):
            continue  # the small broker does not tell, and to ask may be forbidden
        wrong = [
            f"{name}={config[name].value}, wanted {value} (kafka-configs.sh --alter --entity-type topics --entity-name"
            f" {full_name(settings.prefix, topic.name)} --add-config {name}={value})"
            for name, value in topic.broker_config().items()
            if name in config and config[name].value != value
        ]
        if wrong:
            differences[topic.name] = ", but " + "; ".join(wrong)
    return differences


def existing_partitions(admin: AdminClient) -> dict[str, int]:
    """Name on the broker -> number of partitions. Raises KafkaException when no broker answers."""
    topics = admin.list_topics(timeout=TIMEOUT_S).topics
    return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None and topic.partitions}


def _check(settings: Settings, existing: dict[str, int]) -> None:
    wrong = [
        f"{name} has {existing[name]} partitions, not {expected}"
        for name, expected in _expected(settings)
        if name in existing and existing[name] != expected
    ]
    if wrong:
        raise TopicsError(
            f"partitions are fixed for the life of a prefix, but {'; '.join(wrong)}: set DUEWATCH_PARTITIONS to what is there,"
            " or use another DUEWATCH_PREFIX"
        )


def _expected(settings: Settings) -> Iterable[tuple[str, int]]:
    """Name on the broker and number of partitions of each topic of the deployment."""
    return ((full_name(settings.prefix, topic.name), partitions_of(topic, settings)) for topic in TOPICS.values())


def _create(admin: AdminClient, settings: Settings, topics: list[Topic]) -> set[str]:
    """Create topics; returns the names of those that did not exist."""
    if not topics:
        return set()
    new_topics = [
        NewTopic(
            full_name(settings.prefix, topic.name),
            partitions_of(topic, settings),
            settings.replication,
            config=topic.broker_config(),
        )
        for topic in topics
    ]
    answers = admin.create_topics(new_topics, operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S)
    return {topic.name for topic in topics if _is_created(answers[full_name(settings.prefix, topic.name)])}


def _is_created(answer: Future[None]) -> bool:
    try:
        answer.result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise TopicsError(f"the broker refuses to create a topic: {error.args[0].str()}") from None
    return True
