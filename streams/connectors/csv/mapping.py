"""How the columns of a ledger are read: by a mapping that we ship, or by a file of the user's own."""

from __future__ import annotations

import tomllib
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from schemas.base import Currency
from streams.connectors.records import SourceError


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Columns(_Strict):
    """Which column holds what. Only the first five are required; the others are read where they are named."""

    invoice_id: str | tuple[str, ...]
    """Several columns together where no single one is unique: the id is then a hash of them, numbered where rows are equal."""
    customer_id: str
    amount: str
    issued_on: str
    due_on: str
    paid_on: str | None = None
    """The day of payment; empty in a row = still open."""
    days_to_payment: str | None = None
    """Instead of ``paid_on``: days from ``issued_on`` to the payment."""
    paid_amount: str | None = None
    """Where part of an invoice may have been paid; without it a payment is the whole amount."""
    currency: str | None = None
    country: str | None = None
    name: str | None = None
    industry: str | None = None
    segment: str | None = None
    group: str | None = None
    """Whatever ties debtors together, such as the name of a parent company."""

    def named(self) -> dict[str, str]:
        """Field -> column, for each column that the mapping names."""
        columns: dict[str, str] = {}
        for field, column in self:
            if isinstance(column, str):
                columns[field] = column
            elif column is not None:
                columns |= {f"{field}[{i}]": part for i, part in enumerate(column)}
        return columns


class LeaveOut(_Strict):
    """Rows that are no part of the ledger: where ``column`` says ``equals``, or a day from ``from_day`` on."""

    column: str
    equals: str | None = None
    from_day: date | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.equals is None) == (self.from_day is None):
            raise ValueError("give one of equals and from_day")
        return self


class Mapping(_Strict):
    """A ledger's form. ``name`` is part of the ids of its events: two ledgers with the same invoice numbers need two names."""

    name: str
    columns: Columns
    currency: Currency | None = None
    """The currency of all rows, where there is no column for it."""
    country: str | None = None
    date_format: str = "%Y-%m-%d"
    """The format of dates, as Python's strptime reads it."""
    decimal_comma: bool = False
    """Amounts are written 1.234,50 instead of 1,234.50."""
    delimiter: str = ","
    encoding: str = "utf-8-sig"
    hash_group: bool = False
    """The group column holds a name: only a hash of it leaves this file."""
    issued_before_paid: bool = False
    """The issue date is an estimate: where it is not before the payment, take the day before the payment."""
    leave_out: tuple[LeaveOut, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.currency is None) == (self.columns.currency is None):
            raise ValueError('say the currency once: currency = "EUR" for all rows, or [columns] currency = the column\'s name')
        if self.columns.paid_on and self.columns.days_to_payment:
            raise ValueError("give paid_on or days_to_payment, not both")
        if len(self.delimiter) != 1:
            raise ValueError(f"delimiter {self.delimiter!r} must be one character")
        return self


def shipped_mappings() -> list[str]:
    """The names that ``load_mapping`` knows."""
    folder = files("streams.connectors.csv") / "mappings"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_mapping(name_or_file: str) -> Mapping:
    """The mapping of that name, or in that TOML file. Raises SourceError with what to fix."""
    if name_or_file in shipped_mappings():
        text = (files("streams.connectors.csv") / "mappings" / f"{name_or_file}.toml").read_text(encoding="utf-8")
    else:
        path = Path(name_or_file)
        if not path.is_file():
            raise SourceError(
                f"there is no mapping {name_or_file!r}: use {', '.join(shipped_mappings())}, "
                "or a file such as deploy/examples/mapping.toml"
            )
        text = path.read_text(encoding="utf-8")
    try:
        return Mapping.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"{name_or_file} is not valid TOML: {error}. Compare it with deploy/examples/mapping.toml") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'mapping'}: {e['msg']}" for e in error.errors())
        raise SourceError(f"{name_or_file}: {problems}. Compare it with deploy/examples/mapping.toml") from None
