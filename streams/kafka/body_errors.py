"""What is wrong with an event's body, in one sentence that says how to fix it: pydantic's errors in our words."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.base import json_type
from schemas.events.envelope import RejectedError

WORDS = {
    "missing": "is missing: send it",
    "string_too_short": "is empty: fill it in",  # no field asks for more than one character
    "string_too_long": "has {length} characters: send at most {max_length}",
    "string_type": "is a JSON {type}: send a string",
    "int_type": "is a JSON {type}: send a whole number",
    "int_parsing": "is {input}, which is not a number: send a whole number",
    "int_from_float": "is {input}, which has decimals: send a whole number",
    "float_type": "is a JSON {type}: send a number",
    "float_parsing": "is {input}, which is not a number: send one",
    "bool_type": "is a JSON {type}: send true or false",
    "tuple_type": "is a JSON {type}: send an array",
    "dict_type": "is a JSON {type}: send an object",
    "model_type": "is a JSON {type}: send an object",
    "too_long": "has {length} entries: send at most {max_length}",
    "literal_error": "is {input}, which is unknown here: send {expected}",
    "greater_than_equal": "is {input}, which is too small: send at least {ge}",
    "less_than_equal": "is {input}, which is too large: send at most {le}",
}
"""Type of pydantic's error -> what follows the name of the field."""


def rejection_of(error: ValidationError) -> RejectedError:
    """The first of pydantic's errors as a rejection: the field, what is wrong, and what was sent."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"])) or None
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return RejectedError(f"the body is not valid JSON ({message}): send a JSON object in UTF-8")
    if words := _words_for(first):
        return RejectedError(f"the field {field} {words}" if field else f"the body {words}", field)
    if field is None:
        return RejectedError(f"the body does not fit: {message}")
    received_text = "" if first["type"] == "value_error" else f" (got {first['input']!r:.80})"
    return RejectedError(f"{field}: {message}{received_text}", field)


def _words_for(error: ErrorDetails) -> str | None:
    """None = an error that is not one of the common ones."""
    words, value = WORDS.get(error["type"]), error["input"]
    if words is None:
        return None
    length = len(value) if isinstance(value, str | list) else None
    return words.format_map(error.get("ctx", {}) | {"input": f"{value!r:.80}", "type": json_type(value), "length": length})
