"""What a Kafka record says, as rows of ClickHouse's tables: no I/O, no client, and no record that it cannot stand."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from schemas.base import Contract, format_time, parse_time
from schemas.events import customers, payments
from schemas.events.clock import Ticked
from schemas.events.models import ModelPublished
from schemas.outputs.operations import DeadlineFailed, RecordRejected, SliceCommitted, kept
from schemas.registry import TOPICS

Row = list[Any]
"""Values in the order of the table's columns, as JSON takes them: money and instants are strings."""
Rows = list[tuple[str, Row]]
"""(table, row)."""

_ENVELOPE = ("id", "partition", "offset", "time", "recorded_time")
_CAUSES = ("causation_id", "correlation_id")
_VERSIONS = ("policy_version", "model_version", "code_version")
_LIMIT = (
    *_ENVELOPE, *_CAUSES,
    "customer_id", "limit_change_id", "generation", "sequence", "previous_limit", "new_limit", "currency", "terms_days",
    "security_required", "hold", "effective_from", "expires_on", "reasons", "evidence", "supersedes",
    *_VERSIONS,
)  # fmt: skip

TABLES: dict[str, tuple[str, ...]] = {
    "events_raw": (
        "topic", "partition", "offset", "id", "hash", "record", "type", "time", "recorded_time", "customer_id", "key", "data",
        "source", "subject", "correlation_id", "causation_id", "replay_of",
    ),
    "dead_letters_raw": (
        "id", "time", "recorded_time", "topic", "partition", "offset", "reason", "field", "raw", "key", "headers", "recorded_at",
        "code_version", "event_id", "replay_of", "hash", "record",
    ),
    "failed_deadlines_raw": (
        *_ENVELOPE,
        "customer_id", "kind", "row", "due_on", "try_again_on", "error", "recommended_action", "code_version",
    ),
    "postings": (
        "customer_id", "currency", "invoice_id", "entry", "entry_id", "number", "day", "due_on", "amount", "record",
        "recorded_time",
    ),
    "closures": ("customer_id", "invoice_id", "kind", "day", "record", "recorded_time"),
    "payment_returns": ("customer_id", "currency", "payment_id", "return_id", "day", "amount", "record", "recorded_time"),
    "recoveries": ("customer_id", "currency", "invoice_id", "recovery_id", "day", "amount", "record", "recorded_time"),
    "allocations": (
        "customer_id", "currency", "entry", "entry_id", "allocation_id", "number", "invoice_id", "day", "amount", "record",
        "recorded_time",
    ),
    "return_allocations": (
        "customer_id", "currency", "payment_id", "return_id", "number", "invoice_id", "day", "amount", "record", "recorded_time",
    ),
    "amendments": (
        "customer_id", "invoice_id", "amendment_id", "day", "due_on", "reference", "record", "recorded_time",
    ),
    "disputes": ("customer_id", "invoice_id", "dispute_id", "kind", "day", "record", "recorded_time"),
    "credit_cancellations": ("customer_id", "credit_note_id", "day", "record", "recorded_time"),
    "customers_raw": (
        "customer_id", "country", "industry", "segment", "terms_days", "parent_id", "group_id", "currency", "insured_limit",
        "security_held", "offset", "record", "recorded_time",
    ),
    "ticks": ("prefix", "partition", "number", "time", "step", "last"),
    "scores_raw": (
        *_ENVELOPE, *_CAUSES,
        "customer_id", "invoice_id", "p_late", "p_default", "ready", "expected_loss", "currency", "band", "reasons", "log_odds",
        "lift", "p_late_30", "expected_paid_on", "paid_from", "paid_to", "loss_given_default", "scorer", "would_change",
        "due_date", "scored_at",
        *_VERSIONS,
    ),
    "alerts_raw": (
        *_ENVELOPE, *_CAUSES,
        "customer_id", "alert_id", "state", "alert_type", "severity", "fingerprint", "raised_at", "cleared_at", "exposure",
        "currency", "reasons", "evidence", "recommended_action",
        *_VERSIONS,
    ),
    "limit_changes_raw": _LIMIT,
    "limit_proposals_raw": _LIMIT,
    "journal_raw": (
        *_ENVELOPE,
        "prefix", "agent", "agent_partition", "number", "runs", "order", "tick", "tick_offset", "context_version", "code_version",
        "applied", "duplicates", "rejected", "outputs", "paused",
    ),
    "model_quality_raw": (
        *_ENVELOPE,
        "target", "segment", "scorer", "in_force", "day", "window_days", "labels", "positives", "auc", "log_loss", "brier", "ece",
        "model_version", "code_version",
    ),
    "model_alerts_raw": (
        *_ENVELOPE,
        "alert_type", "target", "in_force", "day", "window_days", "labels", "log_loss", "late_rate_log_loss", "text",
        "recommended_action", "model_version", "code_version",
    ),
    "models_raw": (*_ENVELOPE, "version", "examples", "step", "data"),
    "training_examples_raw": (
        *_ENVELOPE,
        "customer_id", "example_id", "invoice_id", "target", "label", "keys", "row_logit", "row_variance", "scored_on",
        "matured_on",
    ),
    "sink_positions": ("cluster_id", "topic_id", "topic", "partition", "next_offset", "written_at"),
    "sink_refused": ("table", "row", "error", "refused_at"),
}  # fmt: skip
"""Table -> its columns in the order of the rows."""

OUTPUT_TABLES = {
    "scores": "scores_raw",
    "alerts": "alerts_raw",
    "limit-changes": "limit_changes_raw",
    "limit-proposals": "limit_proposals_raw",
}
"""Topics whose contract is the table's row."""

TOPICS_READ: tuple[str, ...] = (
    *(topic.name for topic in TOPICS.values() if topic.direction != "internal" and topic.name != "current-limits"),
    "clock",
    "models",
    "training-examples",
)
"""What the sink reads. ``current-limits`` says nothing that ``limit-changes`` does not."""

NO_DAY = "1970-01-01"
MEASURED = "duewatch.model.measured.v1"
EXAMPLE, CONTEXT = "duewatch.example.matured.v1", "duewatch.context.set.v1"

REPLAY_OF = "ce_replayof"
"""The header of a record that was sent in place of a dead letter: that letter's id."""

_OURS = frozenset({*OUTPUT_TABLES, "training-examples", "model-quality"})
"""Topics that only our own transactions write, and whose rows are their fields: to read them costs a third of judging them."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it lay in the log; ``topic`` without its prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class _Read:
    """A record whose envelope and body are as its contract says. What we wrote ourselves is not judged again: its ``fields``."""

    record: Record
    attributes: dict[str, str]
    time: str
    recorded: str
    data: Contract | None
    fields: dict[str, Any] | None = None


def rows_of(record: Record, loads: Callable[[bytes], Any] = json.loads) -> Rows:
    """The rows of a record; none where it cannot be read (the worker makes a dead letter of it) or is of no use here."""
    if record.value is None:
        return []
    read = _read(record, loads)
    if read is None:
        return []
    build = _BUILDERS.get(record.topic, _event)
    return list(build(read))


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
    key, headers, value = kept(key, headers, value)
    told = [(name, raw) for name, raw in headers if name[:3] == "ce_" or name.lower() == "content-type"]
    # The repr of a tuple cannot be mistaken for another's, and is made in C.
    framed = repr((topic, partition, key, told)).encode() + value
    return int.from_bytes(blake2b(framed, digest_size=8).digest(), "big")


def _read(record: Record, loads: Callable[[bytes], Any]) -> _Read | None:
    try:
        attributes, body = _split(record, loads)
        contract = TOPICS[record.topic].contracts[attributes["type"]]
        time, recorded = _instant(attributes["time"]), _instant(attributes["recordedtime"])
        if not attributes["id"]:
            return None
        if attributes["type"] == CONTEXT:
            return None  # no table holds it, and it is large: the shared model by value, once a partition
        if record.topic in _OURS:
            return _Read(record, attributes, time, recorded, None, _defaults(contract) | loads(body))
        return _Read(record, attributes, time, recorded, contract.model_validate_json(body))
    # Whatever a stranger wrote, it is the worker's to judge, and no reason for the sink to stop.
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


@cache
def _defaults(contract: type[Contract]) -> dict[str, Any]:
    """Fields that an older version of us did not write."""
    fields = contract.model_fields.items()
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields if not field.is_required()}
    return {name: to_jsonable_python(value) for name, value in defaults.items()}


def _split(record: Record, loads: Callable[[bytes], Any]) -> tuple[dict[str, str], bytes]:
    attributes: dict[str, str] = {}
    content_type = b""
    for name, raw in record.headers:
        if name.startswith("ce_"):
            attributes[name[3:]] = (raw or b"").decode()
        elif name.lower() == "content-type":
            content_type = raw or b""
    value = record.value or b""
    if not content_type.lower().startswith(b"application/cloudevents"):
        return attributes, value
    envelope = loads(value)
    attributes = {name: text for name, text in envelope.items() if name != "data" and isinstance(text, str)}
    return attributes, json.dumps(envelope["data"]).encode()


# A portfolio's events share their times: one file, one export, one day.
@lru_cache(maxsize=4096)
def _instant(text: str) -> str:
    return format_time(parse_time(text))


def _event(read: _Read) -> Iterator[tuple[str, Row]]:
    record, attributes = read.record, read.attributes
    value = record.value or b""
    named = identity(record.topic, record.partition, record.key, record.headers, value)
    yield (
        "events_raw",
        [
            record.topic, record.partition, record.offset, attributes["id"], hash_of(value), named, attributes["type"],
            read.time, read.recorded, getattr(read.data, "customer_id", ""), (record.key or b"").decode("utf-8", "replace"),
            value.decode(), attributes.get("source", ""), attributes.get("subject", ""),
            attributes.get("correlationid", ""), attributes.get("causationid", ""), _replay_of(record.headers),
        ],
    )  # fmt: skip
    facts = _FACTS.get(type(read.data)) if read.data is not None else None
    if facts is not None:
        for table, row in facts(read.data):
            yield table, [*row, *([record.offset] if table == "customers_raw" else ()), named, read.recorded]


def _invoice(fact: payments.InvoiceIssued) -> Iterator[tuple[str, Row]]:
    invoice = fact.invoice_id
    yield (
        "postings",
        [
            fact.customer_id,
            fact.currency,
            invoice,
            "invoice",
            invoice,
            0,
            str(fact.issued_on),
            str(fact.due_on),
            f"{fact.amount:f}",
        ],
    )


def _allocated(
    fact: payments.PaymentReceived | payments.CreditNoteIssued, entry: str, entry_id: str, day: str
) -> Iterator[tuple[str, Row]]:
    """A posting per allocation, counted from 1, and one without invoice for the rest."""
    rest: Decimal = fact.amount
    for number, allocation in enumerate(fact.allocations, 1):
        rest -= allocation.amount
        amount = f"{allocation.amount:f}"
        yield "postings", [fact.customer_id, fact.currency, allocation.invoice_id, entry, entry_id, number, day, NO_DAY, amount]
    if rest or not fact.allocations:
        yield "postings", [fact.customer_id, fact.currency, "", entry, entry_id, 0, day, NO_DAY, f"{rest:f}"]


def _payment(fact: payments.PaymentReceived) -> Iterator[tuple[str, Row]]:
    return _allocated(fact, "payment", fact.payment_id, str(fact.paid_on))


def _credit_note(fact: payments.CreditNoteIssued) -> Iterator[tuple[str, Row]]:
    return _allocated(fact, "credit_note", fact.credit_note_id, str(fact.issued_on))


def _return(fact: payments.PaymentReturned) -> Iterator[tuple[str, Row]]:
    ids, day = [fact.customer_id, fact.currency, fact.payment_id, fact.return_id], str(fact.returned_on)
    yield "payment_returns", [*ids, day, f"{fact.amount:f}"]
    for number, allocation in enumerate(fact.allocations, 1):
        yield "return_allocations", [*ids, number, allocation.invoice_id, day, f"{allocation.amount:f}"]


def _replaced_list(
    fact: payments.PaymentAllocated | payments.CreditNoteAllocated, entry: str, entry_id: str
) -> Iterator[tuple[str, Row]]:
    """A row for the list, which may be empty, and one for each allocation, counted from 1."""
    ids, day = [fact.customer_id, fact.currency, entry, entry_id, fact.allocation_id], str(fact.allocated_on)
    yield "allocations", [*ids, 0, "", day, "0"]
    for number, allocation in enumerate(fact.allocations, 1):
        yield "allocations", [*ids, number, allocation.invoice_id, day, f"{allocation.amount:f}"]


def _payment_allocated(fact: payments.PaymentAllocated) -> Iterator[tuple[str, Row]]:
    return _replaced_list(fact, "payment", fact.payment_id)


def _credit_note_allocated(fact: payments.CreditNoteAllocated) -> Iterator[tuple[str, Row]]:
    return _replaced_list(fact, "credit_note", fact.credit_note_id)


def _credit_note_cancelled(fact: payments.CreditNoteCancelled) -> Iterator[tuple[str, Row]]:
    yield "credit_cancellations", [fact.customer_id, fact.credit_note_id, str(fact.cancelled_on)]


def _amended(fact: payments.InvoiceAmended) -> Iterator[tuple[str, Row]]:
    due_on = None if fact.due_on is None else str(fact.due_on)
    ids = [fact.customer_id, fact.invoice_id, fact.amendment_id]
    yield "amendments", [*ids, str(fact.amended_on), due_on, fact.reference or ""]


def _reinstated(fact: payments.InvoiceReinstated) -> Iterator[tuple[str, Row]]:
    yield "closures", [fact.customer_id, fact.invoice_id, "reinstated", str(fact.reinstated_on)]


def _write_off_reversed(fact: payments.WriteOffReversed) -> Iterator[tuple[str, Row]]:
    yield "closures", [fact.customer_id, fact.invoice_id, "reversed", str(fact.reversed_on)]


def _dispute_opened(fact: payments.DisputeOpened) -> Iterator[tuple[str, Row]]:
    yield "disputes", [fact.customer_id, fact.invoice_id, fact.dispute_id, "opened", str(fact.opened_on)]


def _dispute_closed(fact: payments.DisputeClosed) -> Iterator[tuple[str, Row]]:
    yield "disputes", [fact.customer_id, fact.invoice_id, fact.dispute_id, "closed", str(fact.closed_on)]


def _cancelled(fact: payments.InvoiceCancelled) -> Iterator[tuple[str, Row]]:
    yield "closures", [fact.customer_id, fact.invoice_id, "cancelled", str(fact.cancelled_on)]


def _written_off(fact: payments.InvoiceWrittenOff) -> Iterator[tuple[str, Row]]:
    yield "closures", [fact.customer_id, fact.invoice_id, "written_off", str(fact.written_off_on)]


def _recovery(fact: payments.RecoveryReceived) -> Iterator[tuple[str, Row]]:
    amount = f"{fact.amount:f}"
    yield "recoveries", [fact.customer_id, fact.currency, fact.invoice_id, fact.recovery_id, str(fact.recovered_on), amount]


def _customer(fact: customers.CustomerUpdated) -> Iterator[tuple[str, Row]]:
    texts = [text or "" for text in (fact.country, fact.industry, fact.segment)]
    ids = [text or "" for text in (fact.parent_id, fact.group_id, fact.currency)]
    amounts = [None if amount is None else f"{amount:f}" for amount in (fact.insured_limit, fact.security_held)]
    yield "customers_raw", [fact.customer_id, *texts, fact.terms_days, *ids, *amounts]


_FACTS: dict[type[Contract], Callable[[Any], Iterator[tuple[str, Row]]]] = {
    payments.InvoiceIssued: _invoice,
    payments.PaymentReceived: _payment,
    payments.CreditNoteIssued: _credit_note,
    payments.PaymentReturned: _return,
    payments.InvoiceCancelled: _cancelled,
    payments.InvoiceWrittenOff: _written_off,
    payments.RecoveryReceived: _recovery,
    payments.PaymentAllocated: _payment_allocated,
    payments.CreditNoteAllocated: _credit_note_allocated,
    payments.CreditNoteCancelled: _credit_note_cancelled,
    payments.InvoiceAmended: _amended,
    payments.InvoiceReinstated: _reinstated,
    payments.WriteOffReversed: _write_off_reversed,
    payments.DisputeOpened: _dispute_opened,
    payments.DisputeClosed: _dispute_closed,
    customers.CustomerUpdated: _customer,
}
"""Facts that the roll-ups count; the record's identity and recorded time follow their columns."""


def _fields(read: _Read, table: str, **more: Any) -> Row:
    """The row of a table whose columns are the contract's fields and the envelope's."""
    record, attributes = read.record, read.attributes
    told = read.fields if read.data is None else read.data.model_dump(mode="json")
    values = (told or {}) | {
        "id": attributes["id"],
        "offset": record.offset,
        "time": read.time,
        "recorded_time": read.recorded,
        "causation_id": attributes.get("causationid", ""),
        "correlation_id": attributes.get("correlationid", ""),
    }
    values |= {"partition": record.partition} | more
    # A field that an earlier version did not write is null: its column's default.
    return [values.get(column) for column in TABLES[table]]


def _output(read: _Read) -> Iterator[tuple[str, Row]]:
    table = OUTPUT_TABLES[read.record.topic]
    yield table, _fields(read, table)


def _journal(read: _Read) -> Iterator[tuple[str, Row]]:
    committed = cast(SliceCommitted, read.data)
    yield "journal_raw", _fields(read, "journal_raw", prefix=read.record.prefix, agent_partition=committed.partition)


def _tick(read: _Read) -> Iterator[tuple[str, Row]]:
    if isinstance(read.data, Ticked):
        tick, record = read.data, read.record
        yield "ticks", [record.prefix, record.partition, tick.number, format_time(tick.time), tick.step, tick.last]


def _model(read: _Read) -> Iterator[tuple[str, Row]]:
    if isinstance(read.data, ModelPublished):
        yield "models_raw", _fields(read, "models_raw", data=(read.record.value or b"").decode())


def _example(read: _Read) -> Iterator[tuple[str, Row]]:
    if read.attributes["type"] == EXAMPLE:
        yield "training_examples_raw", _fields(read, "training_examples_raw")


def _quality(read: _Read) -> Iterator[tuple[str, Row]]:
    table = "model_quality_raw" if read.attributes["type"] == MEASURED else "model_alerts_raw"
    yield table, _fields(read, table)


def _dead_letter(read: _Read) -> Iterator[tuple[str, Row]]:
    letter = read.data
    if isinstance(letter, DeadlineFailed):
        yield "failed_deadlines_raw", _fields(read, "failed_deadlines_raw")
    if not isinstance(letter, RecordRejected):
        return  # a pause or its end: the journal says so too, and has a table
    try:
        value = base64.b64decode(letter.raw)
        key = None if letter.key is None else base64.b64decode(letter.key)
        headers: list[tuple[str, bytes | None]] = [(name, base64.b64decode(text)) for name, text in letter.headers]
    except (binascii.Error, ValueError):
        return
    origin = {"partition": letter.partition, "offset": letter.offset, "event_id": _event_id(headers, value)}
    origin["replay_of"] = _replay_of(headers)
    named = identity(letter.topic, letter.partition, key, headers, value)
    yield "dead_letters_raw", _fields(read, "dead_letters_raw", **origin, hash=hash_of(value), record=named)


def _replay_of(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """The id of the dead letter that this record was sent in place of, empty for all others."""
    return next(((raw or b"").decode("utf-8", "replace") for name, raw in headers if name == REPLAY_OF), "")


def _event_id(headers: Sequence[tuple[str, bytes | None]], value: bytes) -> str:
    """The CloudEvents id of a broken record, empty where it has none."""
    for name, raw in headers:
        if name == "ce_id":
            return (raw or b"").decode("utf-8", "replace")
    try:
        envelope = json.loads(value)
    except (ValueError, RecursionError):
        return ""
    found = envelope.get("id") if isinstance(envelope, dict) else None
    # JSON may hold half of a surrogate pair, which is no text: no row could be written with it.
    return found.encode("utf-8", "replace").decode() if isinstance(found, str) else ""


_BUILDERS: dict[str, Callable[[_Read], Iterator[tuple[str, Row]]]] = {
    **dict.fromkeys(OUTPUT_TABLES, _output),
    "journal": _journal,
    "clock": _tick,
    "models": _model,
    "training-examples": _example,
    "model-quality": _quality,
    "dead-letters": _dead_letter,
}


def position_row(cluster_id: str, topic_id: str, topic: str, partition: int, next_offset: int, written_at: datetime) -> Row:
    """Where the sink goes on; ``topic`` with its prefix."""
    return [cluster_id, topic_id, topic, partition, next_offset, format_time(written_at)]
