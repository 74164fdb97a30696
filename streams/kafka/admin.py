"""Whether a Kafka answers: asked before anything waits for it, so that whoever mistyped its address knows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.errors import UserError
from streams.process.children import accepts

if TYPE_CHECKING:
    from streams.settings import Settings

CONNECT_S, TIMEOUT_S = 3.0, 10.0


class KafkaAwayError(UserError):
    """The message names the address, and how to give another."""


def require_kafka(settings: Settings) -> None:
    """Raises KafkaAwayError where no broker answers, or none lets us in."""
    places = [place.rpartition(":") for place in settings.bootstrap.split(",")]
    if not any(accepts(host, int(port), CONNECT_S) for host, _, port in places):
        raise _away(settings, "nothing listens there")  # asked first: librdkafka would wait for it to come
    try:
        AdminClient({**settings.for_librdkafka(), "log_level": 0}).list_topics(timeout=TIMEOUT_S)
    except KafkaException as error:
        raise _away(settings, f"{error.args[0].str()}; the protocol is {settings.security.protocol}") from None


def _away(settings: Settings, why: str) -> KafkaAwayError:
    return KafkaAwayError(f"no Kafka answers at {settings.bootstrap} ({why}): name it with DUEWATCH_BOOTSTRAP or --kafka")
