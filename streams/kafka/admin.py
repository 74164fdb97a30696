"""Ask the brokers themselves: the admin client with our settings, whether a Kafka answers at all, and where the logs end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.errors import UserError
from streams.process.children import accepts

if TYPE_CHECKING:
    from streams.settings import Settings

CONNECT_S, TIMEOUT_S = 3.0, 10.0
OFFSETS_TIMEOUT_S = 10.0
SILENT, ERRORS = 0, 3
"""What librdkafka may print on standard error by itself: nothing, or what is an error."""


class KafkaAwayError(UserError):
    """No broker answers; the message names the address, and how to give another."""


def admin_client(kafka: Mapping[str, str], log_level: int = SILENT) -> AdminClient:
    """An admin client; ``kafka``: brokers and security, as ``Settings.for_librdkafka`` has them. Connects when it is used."""
    return AdminClient({**kafka, "log_level": log_level})


def require_kafka(settings: Settings) -> None:
    """Raises KafkaAwayError where no broker answers, or none lets us in.

    Asked before anything waits for Kafka, so that whoever mistyped its address is told at once.
    """
    addresses = [address.rpartition(":") for address in settings.bootstrap.split(",")]
    if not any(accepts(host, int(port), CONNECT_S) for host, _, port in addresses):
        raise _away(settings, "nothing listens there")  # asked first: librdkafka would wait for it to come
    try:
        admin_client(settings.for_librdkafka()).list_topics(timeout=TIMEOUT_S)
    except KafkaException as error:
        raise _away(settings, f"{error.args[0].str()}; the protocol is {settings.security.protocol}") from None


def _away(settings: Settings, why: str) -> KafkaAwayError:
    return KafkaAwayError(f"no Kafka answers at {settings.bootstrap} ({why}): name it with DUEWATCH_BOOTSTRAP or --kafka")


def list_offsets(admin: AdminClient, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The read-committed end of each (topic, partition): as ``read.offsets``, with one request per broker, and for a client
    that is connected already.
    """
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    requests = {TopicPartition(topic, partition): latest for topic, partition in places}
    answers = admin.list_offsets(requests, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=OFFSETS_TIMEOUT_S)
    return {(place.topic, place.partition): answer.result().offset for place, answer in answers.items()}
