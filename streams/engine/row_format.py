"""In which format an agent's rows are, and that an older worker refuses the rows of a newer one.

Why: "Rows have a format" in the README.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from agents.version import CODE_VERSION
from streams.engine.keys import POSITIONS
from streams.engine.spec import AgentSpec
from streams.errors import UserError
from streams.kafka.read import last_values
from streams.kafka.topics import full_name

if TYPE_CHECKING:
    from streams.settings import Settings

UNSTATED = 0
"""The format of rows whose positions state none: they were written before there were formats."""
MARK_FOR_UNSTATED = {"tick": {"number": 0, "time": "a newer duewatch wrote this: update me", "step": -1}}
"""Written beside the positions, for code from before there were formats (0.3.1 and earlier): it asks for no format, but it reads
this as the time of the last tick, cannot, and so takes nothing over; its log quotes the text."""


class NewerFormatError(UserError):
    """The rows of a partition are of a format that this version does not know: a newer worker wrote them."""

    exit_code = 3


def require_format(positions: Mapping[str, Any], row_format: int, holder: str) -> None:
    """Refuse the row POSITIONS (as JSON) of a newer format than ``row_format``; ``holder``: whose it is. Raises NewerFormatError.

    >>> require_format({}, 1, "debtor 3"), require_format({"format": 1}, 1, "debtor 3")
    (None, None)
    >>> require_format({"format": 2, "code_version": "9.0"}, 1, "debtor 3")
    Traceback (most recent call last):
    ...
    streams.engine.row_format.NewerFormatError: the rows of debtor 3 are of format 2, written by duewatch 9.0; ...
    """
    written_format = positions.get("format", UNSTATED)
    if written_format > row_format:
        raise NewerFormatError(
            f"the rows of {holder} are of format {written_format}, written by duewatch {positions.get('code_version')}; duewatch"
            f" {CODE_VERSION} knows them up to format {row_format} and would drop what is new: start that version or a later one"
            ' instead (deploy/README.md, "Update and roll back")'
        )


def require_known_rows(settings: Settings, specs: Iterable[AgentSpec], partition: int | None = None) -> None:
    """Refuse to work where a newer version has written rows; ``partition``: look at no other. Raises NewerFormatError.

    A worker that is started again after it refused a partition ends here, before it joins the group and disturbs the others.
    """
    for spec in specs:
        topic = full_name(settings.prefix, spec.state)
        places = [(topic, number) for number in (range(spec.partitions) if partition is None else (partition,))]
        for (_, number), value in last_values(settings.for_librdkafka(), places, POSITIONS).items():
            require_format(orjson.loads(value), spec.row_format, f"{spec.name} {number}")
