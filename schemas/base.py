"""The types that all contracts share: money, currencies, dates, times, and the base model.

Amounts are decimal strings on the wire ("1234.50", never a number, never an exponent); dates of business are ISO dates;
instants are UTC. Everything here raises ``ValueError`` with a text that says how to fix it; pydantic adds the field.
"""

# ruff: noqa: TRY004 - pydantic reports a ValueError with its field; a TypeError would bypass it

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from schemas.currencies import MINOR_UNITS

_AMOUNT = re.compile(r"-?[0-9]{1,16}(\.[0-9]{1,3})?\Z")
_HUGE = re.compile(r"-?0*[1-9][0-9]{13,}(\.[0-9]{1,3})?\Z")
"""An amount of ``MAX_AMOUNT`` or more, however many digits it has: well formed, and refused for its size."""
_TOO_FINE = re.compile(r"-?[0-9]{1,16}\.[0-9]{4,}\Z")
_CENT, _MILL = Decimal("0.01"), Decimal("0.001")
_SAFE_LENGTH = 13
"""A text of so many characters is below ``MAX_AMOUNT`` whatever it says."""
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_FACTOR = re.compile(r"[0-9]{1,9}(\.[0-9]{1,12})?\Z")
# What the JSON Schema says, in the dialect of ECMA 262.
_AMOUNT_PATTERN = r"^-?[0-9]{1,13}(\.[0-9]{1,3})?$"
_NOT_NEGATIVE_PATTERN = r"^[0-9]{1,13}(\.[0-9]{1,3})?$"
_FACTOR_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,12})?$"
_ABOVE_ZERO = {"allOf": [{"pattern": "[1-9]"}]}
"""Beside the pattern, not as a look-ahead in it: the regular expressions of Go and of Rust know none."""
MAX_AMOUNT = Decimal("1e13")
"""Amounts of this size and above are refused: sums of a portfolio must fit ClickHouse's Decimal(18, 3)."""

MIN_YEAR, MAX_YEAR = 1990, 2199
"""Of a date of business: others stand for "no date" in some systems, or are typing errors."""


class Contract(BaseModel):
    """A message body: frozen; unknown fields are tolerated when read, and never written."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)


class _Added:
    """The type of ``ADDED``."""


ADDED = _Added()
"""Marks a field that joined a published contract later: ``purchase_order: Annotated[Text | None, ADDED] = None``.

While such a field holds its default it is no part of an event's content: what was sent before the field existed, and is sent
again after the update, is still the same event."""


def added_fields(contract: type[Contract]) -> dict[str, Any]:
    """The fields of a contract that are marked with ``ADDED``, with their defaults."""
    return {name: field.default for name, field in contract.model_fields.items() if ADDED in field.metadata}


def blame(field: str, reason: str, value: object = None) -> ValidationError:
    """The error of a check over several fields, naming the field to fix (pydantic would name none)."""
    error = PydanticCustomError("value_error", "{reason}", {"reason": reason})
    return ValidationError.from_exception_data("Contract", [InitErrorDetails(type=error, loc=(field,), input=value)])


_JSON_TYPES = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object", type(None): "null"}


def json_type(value: object) -> str:
    """What JSON calls the type of a value."""
    return _JSON_TYPES.get(type(value), type(value).__name__)


def parse_amount(value: Any) -> Decimal:
    """A decimal string to ``Decimal``; a ``Decimal`` passes (our own code builds contracts from values).

    >>> parse_amount("1234.50")
    Decimal('1234.50')
    """
    if isinstance(value, str):
        if not _AMOUNT.match(value):
            if _HUGE.match(value):
                raise ValueError(f"{value[:40]} is more than the largest amount, {MAX_AMOUNT:f}: correct it")
            if _TOO_FINE.match(value):
                raise ValueError(f"{value[:40]} has more decimals than any currency allows (3): correct it")
            raise ValueError(f'{value[:40]!r} is not a valid amount: send a decimal string such as "1234.50"')
        if len(value) <= _SAFE_LENGTH:
            return Decimal(value)
        value = Decimal(value)
    elif not isinstance(value, Decimal):
        raise ValueError(f'an amount is a decimal string such as "1234.50", not a JSON {json_type(value)}')
    elif not value.is_finite():
        raise ValueError(f"{value} is not a valid amount")
    amount: Decimal = value
    if abs(amount) >= MAX_AMOUNT:
        raise ValueError(f"{amount} is more than the largest amount, {MAX_AMOUNT:f}: correct it")
    return amount


def parse_positive(value: Any) -> Decimal:
    """An amount above zero."""
    amount = parse_amount(value)
    if amount <= 0:
        raise ValueError(
            f"{amount} is not above zero, and the type of an event tells its direction, never the sign: correct it. Credit notes"
            " are left out of a ledger of invoices, or sent as events of their own"
        )
    return amount


def parse_not_negative(value: Any) -> Decimal:
    """An amount of zero or more."""
    amount = parse_amount(value)
    if amount < 0:
        raise ValueError(f"{amount} is below zero")
    return amount


def format_amount(value: Decimal, separator: str = "") -> str:
    """The wire form: two decimals, and a third where there is one; never an exponent, never a minus before a zero.

    ``separator``: between groups of three digits, for people.

    >>> [format_amount(Decimal(text)) for text in ("1E+2", "12.34", "12.340", "12.345")]
    ['100.00', '12.34', '12.34', '12.345']
    """
    text = f"{value:z{separator}.3f}"
    return text[:-1] if text[-1] == "0" else text


def round_amount(value: Decimal) -> Decimal:
    """The amount that ``format_amount`` writes.

    >>> [str(round_amount(Decimal(text))) for text in ("5E+3", "12.340", "12.345")]
    ['5000.00', '12.34', '12.345']
    """
    exact = value.quantize(_MILL)
    rounded = exact.quantize(_CENT)
    return rounded if rounded == exact else exact


def parse_factor(value: Any) -> Decimal:
    """A factor or share, zero or more, as a decimal string.

    >>> parse_factor("1.25")
    Decimal('1.25')
    """
    if isinstance(value, str):
        if not _FACTOR.match(value):
            raise ValueError(f'{value[:40]!r} is not a valid factor: send a decimal string of zero or more, such as "1.25"')
        value = Decimal(value)
    elif not isinstance(value, Decimal):
        raise ValueError(f'a factor is a decimal string such as "1.25", not a JSON {json_type(value)}')
    factor: Decimal = value
    if not factor.is_finite() or factor < 0:
        raise ValueError(f"{factor} is not a valid factor: it must be zero or more")
    return factor


def parse_rate(value: Any) -> Decimal:
    """A factor above zero."""
    rate = parse_factor(value)
    if rate == 0:
        raise ValueError("a rate of 0 converts nothing: send how many units one unit is worth")
    return rate


def format_factor(value: Decimal) -> str:
    """The wire form: as many decimals as there are, never an exponent.

    >>> format_factor(Decimal("2E+1"))
    '20'
    """
    return f"{value:f}"


def parse_currency(value: Any) -> str:
    """An active ISO 4217 code."""
    if not isinstance(value, str) or value not in MINOR_UNITS:
        raise ValueError(f"{str(value)[:40]!r} is not a currency of ISO 4217: send a code such as EUR or USD")
    return value


def parse_date(value: Any) -> date:
    """An ISO date; a ``date`` passes."""
    return _date_of(value) if isinstance(value, str) else _plausible(value)


# A portfolio's events share their dates: due days, issue days, days of a bank statement.
@lru_cache(maxsize=4096)
def _date_of(text: str) -> date:
    if not _DATE.match(text):
        raise ValueError(f'{text[:40]!r} is not a valid date: send YYYY-MM-DD such as "2026-03-31"')
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f'{text!r} is not a valid date ({error}): send YYYY-MM-DD such as "2026-03-31"') from None
    return _plausible(day)


def _plausible(value: Any) -> date:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError(f'a date is a string such as "2026-03-31", not a JSON {json_type(value)}')
    if not MIN_YEAR <= value.year <= MAX_YEAR:
        raise ValueError(
            f"{value} is not a plausible business date: the year must lie between {MIN_YEAR} and {MAX_YEAR}; where there is no"
            " date, leave it out"
        )
    return value


def parse_time(value: Any) -> datetime:
    """An instant with its zone (RFC 3339) to UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f'{value[:40]!r} is not a valid time: send RFC 3339 such as "2026-03-31T14:05:00Z"') from None
    if not isinstance(value, datetime):
        raise ValueError(f'a time is a string such as "2026-03-31T14:05:00Z", not a JSON {json_type(value)}')
    if value.tzinfo is None:
        raise ValueError(f'{value.isoformat()} has no time zone: send RFC 3339 with a zone such as "2026-03-31T14:05:00Z"')
    instant = value if value.tzinfo is UTC or not 1969 <= value.year <= 2200 else value.astimezone(UTC)
    if not 1970 <= instant.year <= 2199:
        raise ValueError(f"{value.isoformat()} is not a plausible time: the year must lie between 1970 and 2199")
    return instant


def format_time(value: datetime) -> str:
    """RFC 3339 in UTC with a Z; microseconds only where there are any.

    >>> format_time(datetime(2026, 3, 31, 14, 5, tzinfo=UTC))
    '2026-03-31T14:05:00Z'
    """
    return value.isoformat()[:-6] + "Z"


def _decimal_schema(pattern: str, example: str = "1234.50", **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, **more, "examples": [example]})


_WIRE = PlainSerializer(format_amount, return_type=str, when_used="json")

Amount = Annotated[Decimal, PlainValidator(parse_amount), _WIRE, _decimal_schema(_AMOUNT_PATTERN)]
"""Money with a sign; its currency is the field ``currency`` beside it."""
PositiveAmount = Annotated[Decimal, PlainValidator(parse_positive), _WIRE, _decimal_schema(_NOT_NEGATIVE_PATTERN, **_ABOVE_ZERO)]
NotNegativeAmount = Annotated[Decimal, PlainValidator(parse_not_negative), _WIRE, _decimal_schema(_NOT_NEGATIVE_PATTERN)]
Factor = Annotated[
    Decimal,
    PlainValidator(parse_factor),
    PlainSerializer(format_factor, return_type=str, when_used="json"),
    _decimal_schema(_FACTOR_PATTERN, "1.25"),
]
"""A number without a unit, zero or more."""
Rate = Annotated[
    Decimal,
    PlainValidator(parse_rate),
    PlainSerializer(format_factor, return_type=str, when_used="json"),
    _decimal_schema(_FACTOR_PATTERN, "0.9234", **_ABOVE_ZERO),
]
"""Units of one currency for a unit of another, above zero."""
Currency = Annotated[
    str,
    StringConstraints(strict=True),
    AfterValidator(parse_currency),
    WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$"}),
]
"""ISO 4217 code of an active currency."""
BusinessDate = Annotated[
    date,
    PlainValidator(parse_date),
    # Stated although it is pydantic's own form: after a plain validator pydantic warns of every date that it writes.
    PlainSerializer(date.isoformat, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date"}),
]
"""A day in the creditor's calendar; no time zone."""
Instant = Annotated[
    datetime,
    PlainValidator(parse_time),
    PlainSerializer(format_time, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""UTC."""


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("an id contains a control character or another that cannot be seen: send it without")
    return value


Id = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=128), AfterValidator(_printable)]
"""An identifier that the sender chose: 1 to 128 characters, kept as it is."""
Label = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=128)]
"""A name that we chose ourselves (a version, a reason's code): the schema of an ``Id`` without the check of each character."""
Text = Annotated[str, StringConstraints(strict=True, max_length=2000)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


def at_most_decimals(amount: Decimal, currency: str, field: str = "amount") -> Decimal:
    """The amount. Raises ValueError that names ``field`` if it has more decimals than its currency has."""
    allowed = MINOR_UNITS[currency]
    if allowed >= 2 and amount.same_quantum(_CENT):  # as nearly every amount is written
        return amount
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > allowed and amount != round(amount, allowed):
        raise blame(field, f"{amount} has more decimals than {currency} allows ({allowed}): correct it", amount)
    return amount
