"""A context that cannot be read ends the task of its partition: nobody decides by another policy than the one in force."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from schemas.events.clock import ContextSet

TYPES = b"duewatch.context."
"""What the types of all versions of a context begin with."""


class UnreadableContextError(Exception):
    """A context cannot be read: whoever went on without it would decide by another policy than the one in force."""


def is_context(headers: Iterable[tuple[str, bytes | str | None]]) -> bool:
    """Whether the headers of a record of the clock say that it is a context, of whatever version of the contract.

    >>> is_context([("ce_type", b"duewatch.context.set.v2")]), is_context([("ce_type", b"duewatch.clock.ticked.v1")])
    (True, False)
    """
    return any(name == "ce_type" and isinstance(value, bytes) and value.startswith(TYPES) for name, value in headers)


def read_context(row: bytes, holder: str) -> ContextSet:
    """The context in force, as a row of ``holder`` (agent and partition). Raises UnreadableContextError."""
    try:
        return ContextSet.model_validate_json(row)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(map(str, fault["loc"])) or "as a whole"
        raise UnreadableContextError(f"the context in force of {holder} cannot be read: {field}: {fault['msg']}") from error
