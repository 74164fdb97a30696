"""The headers of a record that librdkafka has read, also where its sender gave one a name that is no text."""

from __future__ import annotations

from operator import methodcaller
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from confluent_kafka import Message

UNREADABLE = "duewatch-unreadable-headers"
"""Stands in place of headers of which one has a name that is no UTF-8; decoding refuses the record by it."""

ORIGIN = "duewatch-origin"
"""Where a record was read that lay in a file, for whoever has to mend it there. No ``ce_`` header: the same record from another
place stays the same."""

FAULT = "duewatch-fault"
"""What is wrong with a record that is no event, where only its reader in a file can tell, such as a row of too few fields. It
words the rejection, and never leads to one: the same record without it is refused, too."""

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
