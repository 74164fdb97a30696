"""A ledger (CSV, a row per invoice) as events: invoices, payments and what is known of the debtors."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import orjson

from schemas.base import MAX_YEAR, MIN_YEAR, format_amount
from schemas.currencies import MINOR_UNITS
from schemas.events.envelope import DUE_YEARS
from schemas.ids import content_hash, stable_id
from schemas.registry import TOPIC_OF_TYPE
from streams.connectors.csv.mapping import Mapping
from streams.connectors.events import PROGRESS_EVERY, Progress
from streams.connectors.plausible import OUTLIER_GAP, plausible_span
from streams.connectors.records import Record, SourceError, origin_of, raw_record, record_of

# A ledger knows days, not hours: invoices go out in the morning, payments come in with the evening's statement.
_TIMES = {"customer.updated": "T07:59:59Z", "invoice.issued": "T08:00:00Z", "payment.received": "T18:00:00Z"}
_AMOUNTS = {decimals: re.compile(rf"[-+]?([0-9]+\.?|[0-9]*\.[0-9]{{1,{decimals}}}0*)") for decimals in (2, 3)}
_LONG_SILENCE = timedelta(days=30 * 366)
"""A row has two dates or three: where they agree, even years without any other are believed, but not so many."""
_ABOUT_DEBTOR = ("country", "name", "industry", "segment", "group")


class _Misfit(NamedTuple):
    """A row of more or fewer cells than the header has."""

    cells: list[str]
    expected: int


Cells = dict[str, str] | _Misfit
"""By column, or as they come where the row does not fit the header."""


@dataclass(slots=True)
class Ledger:
    """The records of a file, and counts. ``broken`` rows are among them: they are sent as they are, for the worker to reject."""

    records: list[Record] = field(default_factory=list)
    rows: int = 0
    left_out: int = 0
    """Rows that the mapping's own rules leave out."""
    broken: int = 0
    invoices: int = 0
    payments: int = 0
    customers: int = 0


class _Row(NamedTuple):
    """A row with our names for its cells; what could not be read is still text, as it came."""

    invoice_id: str
    customer_id: str
    currency: str
    amount: Decimal | str
    issued_on: date | str
    due_on: date | str
    paid_on: date | str | None
    paid_amount: Decimal | str
    about: tuple[str, ...]
    """What the row says of the debtor, in the order of _ABOUT_DEBTOR."""
    origin: bytes


class _UnreadableRow(NamedTuple):
    """A row that does not have the header's columns."""

    cells: list[str]
    fault: str
    origin: bytes


def read_ledger(path: Path, mapping: Mapping, progress: Progress | None = None) -> Ledger:
    """Each row as an invoice and, where it was paid, a payment that settles it; before a debtor's first event its master data.

    Rows that cannot be mapped are among the records, as they are. Raises SourceError when the file does not fit the mapping:
    columns missing, an encoding that is not its own, or more than half of the rows unreadable.
    """
    ledger = Ledger()
    builder = _Builder(path, mapping, ledger)
    rows: Iterable[tuple[int, Cells]] = _read_csv(path, mapping, progress)
    if not isinstance(mapping.columns.invoice_id, str):
        # Rows with equal ids are numbered: by what they say, so that the order of the file says nothing.
        rows = sorted(rows, key=lambda row: row[1].cells if isinstance(row[1], _Misfit) else list(row[1].values()))
    lines: list[tuple[int, _Row | _UnreadableRow]] = []
    for line, cells in rows:
        ledger.rows += 1
        row = builder.unpack(line, cells)
        if row is None:
            ledger.left_out += 1
        else:
            lines.append((line, row))
    first_fault = ""
    last_day = _last_day([row for _, row in lines if isinstance(row, _Row)])
    for line, any_row in lines:
        row = builder.without_typing_error(any_row, last_day)
        if fault := builder.fault_of(row):
            ledger.broken += 1
            first_fault = first_fault or f"line {line}: {fault}"
        builder.add(row, sound=fault is None)
    count = ledger.rows - ledger.left_out
    if not count:
        raise SourceError(f"{path} holds no invoice ({ledger.rows} rows, {ledger.left_out} left out by mapping {mapping.name})")
    if ledger.broken * 2 > count:
        raise SourceError(
            f"{path}: {ledger.broken} of {count} rows cannot be read with mapping {mapping.name}, first {first_fault}"
        )
    builder.finish()
    return ledger


def _read_csv(path: Path, mapping: Mapping, progress: Progress | None) -> Iterator[tuple[int, Cells]]:
    """The line on which a row begins, and its cells: an opening quote that nobody closes ends with the file."""
    size = path.stat().st_size
    try:
        with path.open("rb") as raw_file, TextIOWrapper(raw_file, encoding=mapping.encoding, newline="") as file:
            rows = csv.reader(file, delimiter=mapping.delimiter)
            header = [name.strip() for name in next(rows, [])]
            _check_columns(path, mapping, header)
            first_line = rows.line_num + 1
            for number, cells in enumerate(rows, 1):
                if progress and number % PROGRESS_EVERY == 0:
                    progress(min(raw_file.tell(), size), size)
                if cells:
                    fits = len(cells) == len(header)
                    yield first_line, dict(zip(header, cells, strict=True)) if fits else _Misfit(cells, len(header))
                first_line = rows.line_num + 1
    except (UnicodeError, LookupError) as error:
        raise SourceError(f"{path} cannot be read as {mapping.encoding} ({error}): set encoding in the mapping") from None
    except csv.Error as error:
        raise SourceError(f"{path} cannot be read as CSV: {error}. Check delimiter and quotes") from None
    if progress:
        progress(size, size)


def _check_columns(path: Path, mapping: Mapping, header: list[str]) -> None:
    duplicates = {name for name, count in Counter(header).items() if count > 1}
    columns = mapping.columns.named() | {f"leave_out[{i}]": rule.column for i, rule in enumerate(mapping.leave_out)}
    missing = [f"{column!r} (for {name})" for name, column in columns.items() if column not in header]
    if missing:
        hint = f" Is {mapping.delimiter!r} its delimiter?" if len(header) == 1 else ""
        raise SourceError(
            f"{path} has no column {', '.join(missing)}, which mapping {mapping.name} needs. "
            f"Columns found: {', '.join(header) or 'none'}.{hint}"
        )
    if ambiguous := sorted(duplicates & set(columns.values())):
        raise SourceError(f"{path} has the column {', '.join(map(repr, ambiguous))} twice: rename one")


@lru_cache(maxsize=50_000)
def _parse_day(text: str, date_format: str) -> date | None:
    try:
        # The zone does not matter: only the day is read.
        return datetime.strptime(text, date_format).date()  # noqa: DTZ007
    except ValueError:
        return None


def _decimals_of(currency: str) -> int:
    """How many decimals are read: two, or three where the currency has them. The worker judges what has none."""
    return max(2, MINOR_UNITS.get(currency, 2))


def _parse_amount(text: str, *, decimal_comma: bool, decimals: int = 2) -> Decimal | None:
    """At most so many decimals, else None.

    >>> _parse_amount("1.234,50", decimal_comma=True), _parse_amount("1,234.5", decimal_comma=False)
    (Decimal('1234.50'), Decimal('1234.5'))
    >>> _parse_amount("1234,567", decimal_comma=True), _parse_amount("1234,567", decimal_comma=True, decimals=3)
    (None, Decimal('1234.567'))
    """
    plain = text.replace(" ", "").replace("\u00a0", "").replace("'", "")
    plain = plain.replace(".", "").replace(",", ".") if decimal_comma else plain.replace(",", "")
    return Decimal(plain) if _AMOUNTS[decimals].fullmatch(plain) else None


def _last_day(rows: list[_Row]) -> date:
    """The last day on which anything happened in the ledger, without typing errors in years."""
    days, doubtful = Counter[date](), Counter[date]()
    for row in rows:
        issue_day = row.issued_on if _is_plausible(row.issued_on) else None
        due = row.due_on if _is_plausible(row.due_on) else None
        payment_day = row.paid_on if row.paid_amount and _is_plausible(row.paid_on) else None
        if issue_day:
            days[issue_day] += 1
            doubtful[issue_day] += any(issue_day - day > OUTLIER_GAP for day in (due, payment_day) if day)
        if payment_day:
            days[payment_day] += 1
            doubtful[payment_day] += any(payment_day - day > OUTLIER_GAP for day in (issue_day, due) if day)
    return plausible_span(days, doubtful, _LONG_SILENCE)[1]


def _is_plausible(value: date | str | None) -> TypeGuard[date]:
    return isinstance(value, date) and MIN_YEAR <= value.year <= MAX_YEAR


class _Builder:
    """Makes records out of rows and keeps what is known of the debtors until all rows are read."""

    def __init__(self, path: Path, mapping: Mapping, ledger: Ledger) -> None:
        self._path = path
        self._mapping = mapping
        self._ledger = ledger
        self._source = f"duewatch/ledger/{mapping.name}"
        self._digests: Counter[str] = Counter()
        self._debtors: dict[str, tuple[date, tuple[str, ...], bytes]] = {}
        self._undated: list[_Row | _UnreadableRow] = []
        self._day: date | None = None

    def unpack(self, line: int, cells: Cells) -> _Row | _UnreadableRow | None:
        """The row with our names for its cells; None where the mapping leaves it out."""
        if isinstance(cells, _Misfit):
            return _UnreadableRow(cells.cells, self._misfit(cells), origin_of(self._path, line))
        mapping, columns = self._mapping, self._mapping.columns
        for rule in mapping.leave_out:
            cell = cells[rule.column].strip()
            if rule.equals is not None and cell == rule.equals:
                return None
            if rule.from_day and (day := _parse_day(cell, mapping.date_format)) and day >= rule.from_day:
                return None
        currency = mapping.currency or cells[columns.currency or ""].strip()
        amount = self._amount(cells[columns.amount], currency)
        issued_on = self._day_of(cells[columns.issued_on])
        paid_on = self._paid_on(cells, issued_on)
        if mapping.issued_before_paid and _is_plausible(paid_on) and isinstance(issued_on, date) and issued_on >= paid_on:
            issued_on = paid_on - timedelta(days=1)
        return _Row(
            self._invoice_id(cells),
            cells[columns.customer_id].strip(),
            currency,
            amount,
            issued_on,
            self._day_of(cells[columns.due_on]),
            paid_on,
            self._amount(cells[columns.paid_amount], currency) if columns.paid_amount else amount,
            self._about(cells),
            origin_of(self._path, line),
        )

    def without_typing_error(self, row: _Row | _UnreadableRow, last_day: date) -> _Row | _UnreadableRow:
        """The row; one with a date that nobody can mean is not read at all, and says which."""
        fault = self._typing_error(row, last_day) if isinstance(row, _Row) else None
        if fault is None or isinstance(row, _UnreadableRow):
            return row
        dates = (row.issued_on, row.due_on, row.paid_on)
        cells = (row.invoice_id, row.customer_id, row.currency, row.amount, *dates, row.paid_amount, *row.about)
        return _UnreadableRow([_as_text(cell) or "" for cell in cells], fault, row.origin)

    def _typing_error(self, row: _Row, last_day: date) -> str | None:
        columns = self._mapping.columns
        paid_on, paid_column = row.paid_on if row.paid_amount else None, columns.paid_on or columns.days_to_payment
        for value, column in ((row.issued_on, columns.issued_on), (row.due_on, columns.due_on), (paid_on, paid_column)):
            if isinstance(value, date) and not _is_plausible(value):
                return f"{column} {value} is not a plausible date: correct it, and leave the cell empty where there is none"
        for value, column in ((row.issued_on, columns.issued_on), (paid_on, paid_column)):
            if isinstance(value, date) and value > last_day:
                return f"{column} {value} lies more than {OUTLIER_GAP.days} days after all else in the ledger: correct it"
        if isinstance(row.due_on, date) and isinstance(row.issued_on, date):
            span = row.due_on - row.issued_on
            if span.days > 366 * DUE_YEARS:
                return f"{columns.due_on} {row.due_on} lies more than {DUE_YEARS} years after the issue: correct it"
        return None

    def _misfit(self, row: _Misfit) -> str:
        count = len(row.cells)
        fault = f"the row has {count} field{'' if count == 1 else 's'}, {row.expected} are expected: "
        if count > row.expected:
            return fault + f"put quotes around a field that holds a {self._mapping.delimiter!r}, or take out what is too much"
        return fault + "add what is missing, with nothing in it where it is not known"

    def _invoice_id(self, cells: dict[str, str]) -> str:
        columns = self._mapping.columns.invoice_id
        if isinstance(columns, str):
            return cells[columns].strip()
        digest = content_hash("\x1f".join(cells[column].strip() for column in columns).encode())
        self._digests[digest] += 1
        return digest if self._digests[digest] == 1 else f"{digest}-{self._digests[digest]}"

    def _about(self, cells: dict[str, str]) -> tuple[str, ...]:
        mapping, columns = self._mapping, self._mapping.columns
        country = cells[columns.country].strip() if columns.country else mapping.country or ""
        group = cells[columns.group].strip() if columns.group else ""
        if group and mapping.hash_group:
            group = content_hash(group.encode())
        name, industry, segment = (
            cells[column].strip() if column else "" for column in (columns.name, columns.industry, columns.segment)
        )
        return country, name, industry, segment, group

    def _day_of(self, cell: str) -> date | str:
        text = cell.strip()
        return _parse_day(text, self._mapping.date_format) or text

    def _amount(self, cell: str, currency: str) -> Decimal | str:
        text = cell.strip()
        amount = _parse_amount(text, decimal_comma=self._mapping.decimal_comma, decimals=_decimals_of(currency))
        return text if amount is None else amount

    def _paid_on(self, cells: dict[str, str], issued_on: date | str) -> date | str | None:
        columns = self._mapping.columns
        if columns.paid_on:
            return self._day_of(cells[columns.paid_on]) or None
        if columns.days_to_payment and (text := cells[columns.days_to_payment].strip()):
            try:
                return issued_on + timedelta(days=int(text)) if isinstance(issued_on, date) else text
            except (ValueError, OverflowError):
                return text
        return None

    def fault_of(self, row: _Row | _UnreadableRow) -> str | None:
        """What is wrong with a row, so far as it concerns reading; None = nothing. The worker is the judge of the rest."""
        if isinstance(row, _UnreadableRow):
            return row.fault
        return self._fault_of_dates(row) or self._fault_of_amounts(row) or self._fault_of_ids(row)

    def _fault_of_dates(self, row: _Row) -> str | None:
        columns, date_format = self._mapping.columns, self._mapping.date_format
        paid_column = columns.paid_on or columns.days_to_payment
        for value, column in ((row.issued_on, columns.issued_on), (row.due_on, columns.due_on), (row.paid_on, paid_column)):
            if isinstance(value, str):
                return f"{column} {value!r} is not a date of the form {date_format}: correct it, or date_format in the mapping"
        return None

    def _fault_of_amounts(self, row: _Row) -> str | None:
        columns = self._mapping.columns
        for amount, column in ((row.amount, columns.amount), (row.paid_amount, columns.paid_amount)):
            if isinstance(amount, str):
                kind = f" of {row.currency} ({MINOR_UNITS[row.currency]} decimals)" if row.currency in MINOR_UNITS else ""
                return f"{column} {amount!r} is not a valid amount{kind}: correct it, or decimal_comma in the mapping"
            if column == columns.amount and amount <= 0:
                return (
                    f"{column} {amount} is not above zero, so it is not an invoice: correct it, leave such rows out of the"
                    " ledger, or send credit notes as events"
                )
        return None

    def _fault_of_ids(self, row: _Row) -> str | None:
        if row.invoice_id and row.customer_id:
            return None
        columns = self._mapping.columns
        return f"{columns.customer_id if row.invoice_id else columns.invoice_id} is empty"

    def add(self, row: _Row | _UnreadableRow, *, sound: bool) -> None:
        """Make the row's records. A row whose day cannot be read takes the place of the row before it."""
        issue_day = row.issued_on if isinstance(row, _Row) else None
        if isinstance(issue_day, date):
            self._day = issue_day
        elif self._day is None:
            self._undated.append(row)
            return
        self._place(row, self._day)
        if sound and isinstance(row, _Row):
            self._remember_debtor(row, self._day)

    def finish(self) -> None:
        """Place what came before the first readable day, and put each debtor's master data before its first event."""
        first = min((record.day for record in self._ledger.records), default=date(1970, 1, 1))
        for row in self._undated:
            self._place(row, first)
        for customer_id, (day, about, origin) in self._debtors.items():
            fields = {name: text for name, text in zip(_ABOUT_DEBTOR, about, strict=True) if text}
            if group := fields.pop("group", None):
                fields["group_id"] = group
            if self._mapping.currency:
                fields["currency"] = self._mapping.currency
            data = {"customer_id": customer_id} | fields
            self._add_event("customer.updated", customer_id, day, data, origin)
        self._ledger.customers = len(self._debtors)

    def _place(self, row: _Row | _UnreadableRow, day: date) -> None:
        if isinstance(row, _UnreadableRow):
            self._ledger.records.append(raw_record("payments", orjson.dumps(row.cells), day, row.origin, row.fault))
            return
        invoice: dict[str, Any] = {
            "customer_id": row.customer_id,
            "amount": _as_text(row.amount),
            "currency": row.currency,
            "invoice_id": row.invoice_id,
            "issued_on": _as_text(row.issued_on),
            "due_on": _as_text(row.due_on),
        }
        self._add_event("invoice.issued", row.invoice_id, day, invoice, row.origin)
        self._ledger.invoices += 1
        if row.paid_on is not None and row.paid_amount:
            self._place_payment(row, day)

    def _remember_debtor(self, row: _Row, issue_day: date) -> None:
        """Remember what the debtor's first row says of it."""
        paid_on = row.paid_on if row.paid_amount else None  # nothing paid = no payment
        known_since = min(issue_day, paid_on) if isinstance(paid_on, date) else issue_day
        if (known_since, row.about) < self._debtors.get(row.customer_id, (date.max, (), b""))[:2]:
            self._debtors[row.customer_id] = (known_since, row.about, row.origin)

    def _place_payment(self, row: _Row, issue_day: date) -> None:
        amount = _as_text(row.paid_amount)
        payment = {
            "customer_id": row.customer_id,
            "amount": amount,
            "currency": row.currency,
            "payment_id": f"payment-{row.invoice_id}",
            "paid_on": _as_text(row.paid_on),
            "allocations": [{"invoice_id": row.invoice_id, "amount": amount}],
        }
        day = row.paid_on if isinstance(row.paid_on, date) else issue_day
        self._add_event("payment.received", row.invoice_id, day, payment, row.origin)
        self._ledger.payments += 1

    def _add_event(self, kind: str, business_id: str, day: date, data: dict[str, Any], origin: bytes) -> None:
        time = day.isoformat() + _TIMES[kind]
        name = f"duewatch.{kind}.v1"
        attributes = {
            "specversion": "1.0",
            "id": stable_id(kind, self._mapping.name, business_id),
            "type": name,
            "source": self._source,
            "subject": data.get("customer_id"),
            "time": time,
            "recordedtime": time,
            "partitionkey": data.get("customer_id"),
        }
        self._ledger.records.append(record_of(TOPIC_OF_TYPE[name], attributes, data, day, origin))


def _as_text(value: Decimal | date | str | None) -> str | None:
    if isinstance(value, Decimal):
        return format_amount(value)
    return value.isoformat() if isinstance(value, date) else value
