"""The headers of a record that librdkafka has read, also where its sender gave one a name that is no text."""

from __future__ import annotations

from operator import methodcaller
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from confluent_kafka import Message

UNREADABLE = "duewatch-unreadable-headers"
"""Stands in place of headers of which one has a name that is no UTF-8; decoding refuses the record by it."""

# Called as a method, the library would return with an error pending, which Python tells of at some later place, or not at all.
_headers = methodcaller("headers")


def read_headers(message: Message) -> Any:
    """Names and values in their order; a name that is no UTF-8 hides all of them, and UNREADABLE tells so.

    The library fails on such a name, and hands out a list with holes the next time, on which Python crashes: it is put away.
    """
    try:
        return _headers(message) or ()
    except (SystemError, UnicodeDecodeError):
        message.set_headers([(UNREADABLE, b"the name of a header is no UTF-8")])
        return _headers(message)
