"""Create the topics of a deployment from the registry, and refuse one that is there with other partitions."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from time import monotonic, sleep
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from schemas.registry import TOPICS, Topic
from streams.errors import UserError
from streams.kafka.admin import require_kafka

if TYPE_CHECKING:
    from streams.settings import Settings

TIMEOUT_S, LEADERS_S = 30.0, 10.0


class TopicsError(UserError):
    """A topic is not as it must be; the message names it and the mend."""


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
    """Create what is missing; a line for each topic. Raises TopicsError, before anything is made, where partitions differ.

    May be repeated, and run by several at once. What is there is not changed, it may be somebody's will: the line tells in which
    settings it differs, and how to set them.
    """
    admin = AdminClient({**settings.for_librdkafka(), "log_level": 0})
    there = existing_partitions(admin)
    _check(settings, there)
    missing = [topic for topic in TOPICS.values() if full_name(settings.prefix, topic.name) not in there]
    made = _create(admin, settings, missing)
    # Someone else may have made some of them meanwhile, differently.
    _check(settings, existing_partitions(admin) if made < {topic.name for topic in missing} else {})
    if missing:
        _wait_for_leaders(admin, settings)
    others = _set_otherwise(admin, settings, [topic for topic in TOPICS.values() if topic.name not in made])
    return [
        f"{full_name(settings.prefix, topic.name)}: {partitions_of(topic, settings)} partitions, "
        + ("created" if topic.name in made else "was there" + others.get(topic.name, ""))
        for topic in TOPICS.values()
    ]


def _wait_for_leaders(admin: AdminClient, settings: Settings) -> None:
    """A broker answers before it knows who leads what it has made, and who reads at once may find nothing for half a minute."""
    deadline = monotonic() + LEADERS_S
    while not _are_led(admin, settings) and monotonic() < deadline:
        sleep(0.05)


def _are_led(admin: AdminClient, settings: Settings) -> bool:
    topics = admin.list_topics(timeout=TIMEOUT_S).topics
    led = {name: sum(one.leader >= 0 for one in topic.partitions.values()) for name, topic in topics.items()}
    return all(led.get(name) == count for name, count in _wanted(settings))


def require_topics(settings: Settings) -> None:
    """Raises TopicsError where a topic is missing or has other partitions, KafkaAwayError where no broker answers.

    A worker that took another number for granted would find good records in the wrong partitions.
    """
    require_kafka(settings)
    there = existing_partitions(AdminClient({**settings.for_librdkafka(), "log_level": 0}))
    missing = [name for name, _ in _wanted(settings) if name not in there]
    if missing:
        raise TopicsError(
            f"topics are missing on {settings.bootstrap}: {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}. Create"
            " them: duewatch topics (or is it another DUEWATCH_PREFIX?)"
        )
    _check(settings, there)


def _set_otherwise(admin: AdminClient, settings: Settings, topics: list[Topic]) -> dict[str, str]:
    """Topic -> in words, which of its settings on the broker are not as they would be made now."""
    asked = {topic.name: ConfigResource(ResourceType.TOPIC, full_name(settings.prefix, topic.name)) for topic in topics}
    answers = admin.describe_configs(list(asked.values()), request_timeout=TIMEOUT_S) if asked else {}
    told = {}
    for topic in topics:
        try:
            found = answers[asked[topic.name]].result()
        except (KafkaException, KeyError):
            continue  # the small broker does not tell, and to ask may be forbidden
        wrong = [
            f"{name}={found[name].value}, wanted {value} (kafka-configs.sh --alter --entity-type topics --entity-name"
            f" {full_name(settings.prefix, topic.name)} --add-config {name}={value})"
            for name, value in topic.broker_config().items()
            if name in found and found[name].value != value
        ]
        if wrong:
            told[topic.name] = ", but " + "; ".join(wrong)
    return told


def existing_partitions(admin: AdminClient) -> dict[str, int]:
    """Name on the broker -> number of partitions. Raises KafkaException when no broker answers."""
    topics = admin.list_topics(timeout=TIMEOUT_S).topics
    return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None and topic.partitions}


def _check(settings: Settings, there: dict[str, int]) -> None:
    wrong = [
        f"{name} has {there[name]} partitions, not {wanted}"
        for name, wanted in _wanted(settings)
        if name in there and there[name] != wanted
    ]
    if wrong:
        raise TopicsError(
            f"partitions are fixed for the life of a prefix, but {'; '.join(wrong)}: set DUEWATCH_PARTITIONS to what is there,"
            " or use another DUEWATCH_PREFIX"
        )


def _wanted(settings: Settings) -> Iterable[tuple[str, int]]:
    return ((full_name(settings.prefix, topic.name), partitions_of(topic, settings)) for topic in TOPICS.values())


def _create(admin: AdminClient, settings: Settings, topics: list[Topic]) -> set[str]:
    """The names of those that were made now."""
    if not topics:
        return set()
    asked = [
        NewTopic(
            full_name(settings.prefix, topic.name),
            partitions_of(topic, settings),
            settings.replication,
            config=topic.broker_config(),
        )
        for topic in topics
    ]
    answers = admin.create_topics(asked, operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S)
    return {topic.name for topic in topics if _was_made(answers[full_name(settings.prefix, topic.name)])}


def _was_made(answer: Future[None]) -> bool:
    try:
        answer.result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise TopicsError(f"the broker refuses to create a topic: {error.args[0].str()}") from None
    return True
