"""The headers of a record that librdkafka has read, also where its sender gave one a name that is not text."""

from __future__ import annotations

from operator import methodcaller
from typing import TYPE_CHECKING, Any

from schemas.cloudevents import UNREADABLE

if TYPE_CHECKING:
    from confluent_kafka import Message

# Called as a method, the library would return with an error pending, which Python reports at some later place, or not at all.
_headers = methodcaller("headers")


def read_headers(message: Message) -> Any:
    """Names and values in their order; where a name is not UTF-8, the one header UNREADABLE in place of all of them.

    The library fails on such a name, and the next time hands out a list with holes, on which Python crashes: so it is replaced.
    """
    try:
        return _headers(message) or ()
    except (SystemError, UnicodeDecodeError):
        message.set_headers([(UNREADABLE, b"the name of a header is not UTF-8")])
        return _headers(message)
