"""A Kafka record as rows of ClickHouse's tables: no I/O, no client, and no record that it cannot stand."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any, cast

import orjson
from pydantic_core import to_jsonable_python

from schemas import cloudevents
from schemas.base import Contract, format_amount, format_time
from schemas.clickhouse.tables import OUTPUT_TABLES, TABLES
from schemas.cloudevents import CONTENT_TYPE, PREFIX, REPLAY_OF, Envelope
from schemas.events import customers, payments
from schemas.events.clock import Ticked
from schemas.events.models import ModelPublished
from schemas.outputs.operations import DeadlineFailed, RecordRejected, SliceCommitted, truncate
from schemas.registry import TOPICS

Row = list[Any]
"""Values in the order of the table's columns, as JSON takes them: money and instants are strings."""
Rows = list[tuple[str, Row]]
"""(table, row)."""
Values = Mapping[str, Any]
"""Column -> value; a column that is not among them gets its default in ClickHouse."""

NO_DAY = "1970-01-01"
MEASURED = "duewatch.model.measured.v1"
EXAMPLE, CONTEXT = "duewatch.example.matured.v1", "duewatch.context.set.v1"

_OURS = frozenset({*OUTPUT_TABLES, "training-examples", "model-quality"})
"""Topics that only our own transactions write, and whose rows are their fields: to read them costs a third of judging them."""


@dataclass(frozen=True, slots=True)
class SinkRecord:
    """A record as it lies in the log; ``topic`` without its prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A record whose envelope and body are valid. What we wrote ourselves is not judged again: then ``data`` is its fields."""

    record: SinkRecord
    envelope: Envelope
    data: Contract | dict[str, Any]


def rows_of(record: SinkRecord) -> Rows:
    """The rows of a record; none where it cannot be read (the worker makes a dead letter of it) or is of no use here."""
    if record.value is None:
        return []
    parsed = _parse(record, record.value)
    if parsed is None:
        return []
    build = _BUILDERS.get(record.topic, _event)
    return list(build(parsed))


def hash_of(value: bytes) -> int:
    """64 bits of BLAKE2b of a record's value."""
    return int.from_bytes(blake2b(value, digest_size=8).digest(), "big")


def identity(
    topic: str, partition: int, key: bytes | None, headers: Sequence[tuple[str, bytes | None]], value: bytes | None
) -> int:
    """64 bits that name a record by all that it says, wherever it lies: equal when it is sent again to the same partition.

    Not the offset: the embedded broker starts over. Not the bytes alone: of two records with the same bytes one may lie in the
    wrong partition, under the wrong key, or lack a header, and only that one is a dead letter. Of a very large one as much
    counts as its dead letter keeps.
    """
    key, headers, value = truncate(key, headers, value)
    attributes = [(name, raw) for name, raw in headers if name[:3] == PREFIX or name.lower() == CONTENT_TYPE]
    # The repr of a tuple cannot be mistaken for another's, and is made in C.
    framed = repr((topic, partition, key, attributes)).encode() + value
    return int.from_bytes(blake2b(framed, digest_size=8).digest(), "big")


def _parse(record: SinkRecord, value: bytes) -> _Parsed | None:
    try:
        envelope = cloudevents.read(value, record.headers)
        contract = TOPICS[record.topic].contracts[envelope.type]
        if envelope.type == CONTEXT:
            return None  # no table holds it, and it is large: the shared model by value, once a partition
        if record.topic in _OURS:
            return _Parsed(record, envelope, _defaults(contract) | orjson.loads(envelope.body))
        return _Parsed(record, envelope, contract.model_validate_json(envelope.body))
    # Whatever a stranger wrote, it is the worker's to judge, and no reason for the sink to stop. The errors of pydantic, orjson
    # and the envelope are ValueErrors.
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


@cache
def _defaults(contract: type[Contract]) -> dict[str, Any]:
    """Fields that an older version of us did not write."""
    fields = contract.model_fields.items()
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields if not field.is_required()}
    return {name: to_jsonable_python(value) for name, value in defaults.items()}


# A portfolio's events share their times: one file, one export, one day.
@lru_cache(maxsize=4096)
def _instant(at: datetime) -> str:
    return format_time(at)


# -- what came in
def _event(parsed: _Parsed) -> Iterator[tuple[str, Row]]:
    record, envelope, data = parsed.record, parsed.envelope, parsed.data
    value = record.value or b""
    record_id = identity(record.topic, record.partition, record.key, record.headers, value)
    recorded = _instant(envelope.recorded)
    yield (
        "events_raw",
        [
            record.topic, record.partition, record.offset, envelope.id, hash_of(value), record_id, envelope.type,
            _instant(envelope.time), recorded, getattr(data, "customer_id", ""), (record.key or b"").decode("utf-8", "replace"),
            value.decode(), envelope.source, envelope.subject or "", envelope.correlation_id or "", envelope.causation_id or "",
            _replay_of(record.headers),
        ],
    )  # fmt: skip
    build = _FACTS.get(type(data))
    if build is not None:
        place = {"offset": record.offset, "record": record_id, "recorded_time": recorded}
        for table, values in build(data):
            yield table, _fact_row(table, {**data.__dict__, **values, **place})


_PLAIN: dict[type, Callable[[Any], str]] = {Decimal: format_amount, date: date.isoformat}


def _fact_row(table: str, values: Values) -> Row:
    """The values of the columns as JSON takes them."""
    row = map(values.get, TABLES[table])
    return [value if (plain := _PLAIN.get(type(value))) is None else plain(value) for value in row]


# Each of these yields the tables of a fact with the columns that are not simply the fact's field of the same name.
def _invoice(fact: payments.InvoiceIssued) -> Iterator[tuple[str, Values]]:
    yield "postings", {"entry": "invoice", "entry_id": fact.invoice_id, "number": 0, "day": fact.issued_on}


def _allocations(
    fact: payments.PaymentReceived | payments.CreditNoteIssued, entry: str, entry_id: str, day: date
) -> Iterator[tuple[str, Values]]:
    """A posting per allocation, counted from 1, and one without invoice for the rest."""
    posting = {"entry": entry, "entry_id": entry_id, "day": day, "due_on": NO_DAY}
    rest: Decimal = fact.amount
    for number, allocation in enumerate(fact.allocations, 1):
        rest -= allocation.amount
        yield "postings", {**posting, "number": number, "invoice_id": allocation.invoice_id, "amount": allocation.amount}
    if rest or not fact.allocations:
        yield "postings", {**posting, "number": 0, "invoice_id": "", "amount": rest}


def _payment(fact: payments.PaymentReceived) -> Iterator[tuple[str, Values]]:
    return _allocations(fact, "payment", fact.payment_id, fact.paid_on)


def _credit_note(fact: payments.CreditNoteIssued) -> Iterator[tuple[str, Values]]:
    return _allocations(fact, "credit_note", fact.credit_note_id, fact.issued_on)


def _payment_return(fact: payments.PaymentReturned) -> Iterator[tuple[str, Values]]:
    yield "payment_returns", {"day": fact.returned_on}
    for number, allocation in enumerate(fact.allocations, 1):
        named = {"number": number, "invoice_id": allocation.invoice_id, "amount": allocation.amount}
        yield "return_allocations", {"day": fact.returned_on, **named}


def _new_list(
    fact: payments.PaymentAllocated | payments.CreditNoteAllocated, entry: str, entry_id: str
) -> Iterator[tuple[str, Values]]:
    """A row for the list, which may be empty, and one for each of its allocations, counted from 1."""
    row = {"entry": entry, "entry_id": entry_id, "day": fact.allocated_on}
    yield "allocations", {**row, "number": 0, "invoice_id": "", "amount": Decimal(0)}
    for number, allocation in enumerate(fact.allocations, 1):
        yield "allocations", {**row, "number": number, "invoice_id": allocation.invoice_id, "amount": allocation.amount}


def _payment_list(fact: payments.PaymentAllocated) -> Iterator[tuple[str, Values]]:
    return _new_list(fact, "payment", fact.payment_id)


def _credit_note_list(fact: payments.CreditNoteAllocated) -> Iterator[tuple[str, Values]]:
    return _new_list(fact, "credit_note", fact.credit_note_id)


def _credit_note_cancellation(fact: payments.CreditNoteCancelled) -> Iterator[tuple[str, Values]]:
    yield "credit_cancellations", {"day": fact.cancelled_on}


def _amendment(fact: payments.InvoiceAmended) -> Iterator[tuple[str, Values]]:
    yield "amendments", {"day": fact.amended_on, "reference": fact.reference or ""}


def _reinstatement(fact: payments.InvoiceReinstated) -> Iterator[tuple[str, Values]]:
    yield "closures", {"kind": "reinstated", "day": fact.reinstated_on}


def _reversal(fact: payments.WriteOffReversed) -> Iterator[tuple[str, Values]]:
    yield "closures", {"kind": "reversed", "day": fact.reversed_on}


def _dispute(fact: payments.DisputeOpened) -> Iterator[tuple[str, Values]]:
    yield "disputes", {"kind": "opened", "day": fact.opened_on}


def _end_of_dispute(fact: payments.DisputeClosed) -> Iterator[tuple[str, Values]]:
    yield "disputes", {"kind": "closed", "day": fact.closed_on}


def _cancellation(fact: payments.InvoiceCancelled) -> Iterator[tuple[str, Values]]:
    yield "closures", {"kind": "cancelled", "day": fact.cancelled_on}


def _write_off(fact: payments.InvoiceWrittenOff) -> Iterator[tuple[str, Values]]:
    yield "closures", {"kind": "written_off", "day": fact.written_off_on}


def _recovery(fact: payments.RecoveryReceived) -> Iterator[tuple[str, Values]]:
    yield "recoveries", {"day": fact.recovered_on}


def _customer(_: customers.CustomerUpdated) -> Iterator[tuple[str, Values]]:
    yield "customers_raw", {}


_FACTS: dict[type, Callable[[Any], Iterator[tuple[str, Values]]]] = {
    payments.InvoiceIssued: _invoice,
    payments.PaymentReceived: _payment,
    payments.CreditNoteIssued: _credit_note,
    payments.PaymentReturned: _payment_return,
    payments.InvoiceCancelled: _cancellation,
    payments.InvoiceWrittenOff: _write_off,
    payments.RecoveryReceived: _recovery,
    payments.PaymentAllocated: _payment_list,
    payments.CreditNoteAllocated: _credit_note_list,
    payments.CreditNoteCancelled: _credit_note_cancellation,
    payments.InvoiceAmended: _amendment,
    payments.InvoiceReinstated: _reinstatement,
    payments.WriteOffReversed: _reversal,
    payments.DisputeOpened: _dispute,
    payments.DisputeClosed: _end_of_dispute,
    customers.CustomerUpdated: _customer,
}
"""Facts that have tables of their own, because the roll-ups count them."""


# -- what went out
def _row(table: str, parsed: _Parsed, **more: Any) -> Row:
    """The row of a table whose columns are the contract's fields and the envelope's."""
    record, envelope, data = parsed.record, parsed.envelope, parsed.data
    fields = data if isinstance(data, dict) else data.model_dump(mode="json")
    values = fields | {
        "id": envelope.id,
        "partition": record.partition,
        "offset": record.offset,
        "time": _instant(envelope.time),
        "recorded_time": _instant(envelope.recorded),
        "causation_id": envelope.causation_id or "",
        "correlation_id": envelope.correlation_id or "",
        **more,
    }
    # A field that an earlier version did not write is null: its column's default.
    return [values.get(column) for column in TABLES[table]]


def _output(parsed: _Parsed) -> Iterator[tuple[str, Row]]:
    table = OUTPUT_TABLES[parsed.record.topic]
    yield table, _row(table, parsed)


def _journal(parsed: _Parsed) -> Iterator[tuple[str, Row]]:
    committed = cast(SliceCommitted, parsed.data)
    yield "journal_raw", _row("journal_raw", parsed, prefix=parsed.record.prefix, agent_partition=committed.partition)


def _tick(parsed: _Parsed) -> Iterator[tuple[str, Row]]:
    if isinstance(parsed.data, Ticked):
        yield "ticks", _row("ticks", parsed, prefix=parsed.record.prefix, time=format_time(parsed.data.time))


def _model(parsed: _Parsed) -> Iterator[tuple[str, Row]]:
    if isinstance(parsed.data, ModelPublished):
        yield "models_raw", _row("models_raw", parsed, data=(parsed.record.value or b"").decode())


def _example(parsed: _Parsed) -> Iterator[tuple[str, Row]]:
    if parsed.envelope.type == EXAMPLE:
        yield "training_examples_raw", _row("training_examples_raw", parsed)


def _quality(parsed: _Parsed) -> Iterator[tuple[str, Row]]:
    table = "model_quality_raw" if parsed.envelope.type == MEASURED else "model_alerts_raw"
    yield table, _row(table, parsed)


def _dead_letter(parsed: _Parsed) -> Iterator[tuple[str, Row]]:
    letter = parsed.data
    if isinstance(letter, DeadlineFailed):
        yield "failed_deadlines_raw", _row("failed_deadlines_raw", parsed)
    if not isinstance(letter, RecordRejected):
        return  # a pause or its end: the journal says so too, and has a table
    try:
        value = base64.b64decode(letter.raw)
        key = None if letter.key is None else base64.b64decode(letter.key)
        headers: list[tuple[str, bytes | None]] = [(name, base64.b64decode(text)) for name, text in letter.headers]
    except (binascii.Error, ValueError):
        return
    yield (
        "dead_letters_raw",
        _row(
            "dead_letters_raw",
            parsed,
            partition=letter.partition,
            offset=letter.offset,
            event_id=_event_id(headers, value),
            replay_of=_replay_of(headers),
            hash=hash_of(value),
            record=identity(letter.topic, letter.partition, key, headers, value),
        ),
    )


def _replay_of(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """The id of the dead letter that this record was sent in place of, empty for all others."""
    return next(((raw or b"").decode("utf-8", "replace") for name, raw in headers if name == REPLAY_OF), "")


def _event_id(headers: Sequence[tuple[str, bytes | None]], value: bytes) -> str:
    """The CloudEvents id of a broken record, empty where it has none."""
    for name, raw in headers:
        if name == f"{PREFIX}id":
            return (raw or b"").decode("utf-8", "replace")
    try:
        envelope = json.loads(value)
    except (ValueError, RecursionError):
        return ""
    event_id = envelope.get("id") if isinstance(envelope, dict) else None
    # JSON may hold half of a surrogate pair, which is not text: no row could be written with it.
    return event_id.encode("utf-8", "replace").decode() if isinstance(event_id, str) else ""


_BUILDERS: dict[str, Callable[[_Parsed], Iterator[tuple[str, Row]]]] = {
    **dict.fromkeys(OUTPUT_TABLES, _output),
    "journal": _journal,
    "clock": _tick,
    "models": _model,
    "training-examples": _example,
    "model-quality": _quality,
    "dead-letters": _dead_letter,
}
"""Topic -> what its records become; all others are events that came in."""


def position_row(cluster_id: str, topic_id: str, topic: str, partition: int, next_offset: int, written_at: datetime) -> Row:
    """Where the sink goes on; ``topic`` with its prefix."""
    return [cluster_id, topic_id, topic, partition, next_offset, format_time(written_at)]
