"""Send dead letters again, fixed or (after an update) unchanged, so that each is applied once however often that is done.

A record that is sent has the header ``ce_replayof`` with the dead letter's id. So it is another record than the rejected one,
which stays left out of ClickHouse's ``events``; and it is recognised later: in ClickHouse, and in the end of the topic that
ClickHouse has not read yet. What was sent before is left out. Should two people do it at the same time, the event's id tells the
debtor's agent that the second is a duplicate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import TopicPartition

from schemas import cloudevents
from schemas.cloudevents import FAULT, ORIGIN, REPLAY_OF, UNREADABLE
from schemas.events.envelope import Rejection
from schemas.registry import TOPICS
from streams.dead_letters.selection import DeadLetterEntry, Selection, select, sink_positions
from streams.errors import UsageError, UserError
from streams.kafka.admin import ERRORS, admin_client, require_kafka
from streams.kafka.codec import decode
from streams.kafka.headers import read_headers
from streams.kafka.producer import send_all
from streams.kafka.read import reader, to_the_end
from streams.kafka.topics import full_name
from streams.terminal.progress import progress_bar

if TYPE_CHECKING:
    from streams.clickhouse.query import ClickHouse
    from streams.settings import Settings

METADATA_TIMEOUT_S = 10.0
_DROPPED_HEADERS = frozenset({REPLAY_OF, UNREADABLE, ORIGIN, FAULT})
"""Headers about the rejected record; the one that is sent in its place lay in no file, and its fault may be fixed."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What to change before records are sent; the same for all selected ones. ``value``: the whole record, for a single one."""

    fields: tuple[tuple[str, Any], ...] = ()
    """(path such as ``allocations.0.amount``, JSON value)."""
    attributes: tuple[tuple[str, str], ...] = ()
    """(CloudEvents attribute, text)."""
    key: str | None = None
    value: bytes | None = None

    def __bool__(self) -> bool:
        return self != Correction()


@dataclass(frozen=True, slots=True)
class ResendResult:
    """What becomes of one dead letter: a line for people, and the record if it is to be sent."""

    line: str
    record: DeadLetterEntry | None = None
    rejected: bool = False


def parse_set(text: str) -> tuple[str, Any]:
    """``field=text`` or ``field:=json``, with the names of inner fields and numbers of elements joined by dots.

    >>> parse_set("amount=12.50"), parse_set("allocations.0.amount=5.00"), parse_set("terms_days:=30")
    (('amount', '12.50'), ('allocations.0.amount', '5.00'), ('terms_days', 30))
    """
    path, sign, value = text.partition("=")
    if not sign or not path.strip(":"):
        raise UsageError(f"{text!r} does not set a field: write field=text (amount=12.50) or field:=JSON (terms_days:=30)")
    if not path.endswith(":"):
        return path, value
    try:
        return path[:-1], orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"{value!r} is not valid JSON ({error}): write field=text, or field:=JSON with quotes around a text"
        ) from None


def parse_attribute(text: str) -> tuple[str, str]:
    """``name=text``, with or without the prefix that headers have.

    >>> parse_attribute("recordedtime=2026-03-02T09:00:00Z")
    ('recordedtime', '2026-03-02T09:00:00Z')
    """
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageError(f"{text!r} does not set an attribute: write name=text, such as recordedtime=2026-03-02T09:00:00Z")
    return name.removeprefix("ce_"), value


def resend(
    settings: Settings, selection: Selection, correction: Correction, clickhouse: ClickHouse, *, dry_run: bool = False
) -> tuple[list[str], bool]:
    """A line for each selected one, and whether all were sent that had to be. Raises UserError, KafkaException.

    What this version of the code would still reject is not sent: it would only come back.
    """
    letters = select(selection, clickhouse)
    if not letters:
        raise UserError("no dead letters match: `duewatch dead-letters list` shows them all")
    if correction.value is not None and len(letters) > 1:
        raise UsageError(f"--value is one record and cannot replace {len(letters)}: name the place of the one that it fixes")
    open_letters = [letter for letter in letters if letter.state == "open"]
    places = _sent_already(settings, open_letters, sink_positions(clickhouse))
    results = [_judge(letter, correction, places) for letter in letters]
    records = [result.record for result in results if result.record is not None]
    if not dry_run:
        _send(settings, records)
    rejected = sum(result.rejected for result in results)
    unsent_count = len(results) - len(records) - rejected
    total = f"{len(records)} {'would be sent' if dry_run else 'sent'}, {rejected} still refused, {unsent_count} not sent again"
    return [*(result.line for result in results), total], not rejected


def _judge(letter: DeadLetterEntry, correction: Correction, places: dict[str, str]) -> ResendResult:
    """``places``: id of a dead letter -> where the record is that was sent in its place."""
    if letter.topic not in TOPICS or TOPICS[letter.topic].direction != "in":
        reason = f"{letter.topic} is not a source topic, and only source topics take records from people"
        return ResendResult(f"{letter.place}  not sent: {reason}", rejected=True)
    if letter.state == "refused again":
        return ResendResult(f"{letter.place}  not sent: refused again as {letter.replayed_as}, fix that one", rejected=True)
    if letter.state != "open":
        return ResendResult(f"{letter.place}  not sent again: {letter.state} as {letter.replayed_as}")
    if letter.id in places:
        return ResendResult(f"{letter.place}  not sent again: it is at {places[letter.id]}")
    record = corrected(letter, correction)
    event = decode(record.topic, record.key, record.value, record.headers)
    if isinstance(event, Rejection):
        return ResendResult(f"{letter.place}  not sent, still refused: {event.reason}", rejected=True)
    return ResendResult(f"{letter.place}  {'fixed' if correction else 'unchanged'}", record)


def corrected(letter: DeadLetterEntry, correction: Correction) -> DeadLetterEntry:
    """The record to send in its place. Raises UserError where a field is to be set and the record is not a JSON object."""
    key = letter.key if correction.key is None else correction.key.encode()
    record = replace(letter, key=key, value=letter.value if correction.value is None else correction.value)
    is_structured = cloudevents.is_structured(letter.headers)
    headers = [header for header in letter.headers if header[0] not in _DROPPED_HEADERS]
    if is_structured and (correction.fields or correction.attributes):
        envelope = _parse_object(record) | dict(correction.attributes)
        envelope["data"] = _set_fields(envelope.get("data"), correction.fields, letter.place)
        record = replace(record, value=orjson.dumps(envelope))
    else:
        new = {f"ce_{name}": text.encode() for name, text in correction.attributes}
        headers = [*(header for header in headers if header[0] not in new), *new.items()]
        if correction.fields:
            record = replace(record, value=orjson.dumps(_set_fields(_parse_object(record), correction.fields, letter.place)))
    return replace(record, headers=[*headers, (REPLAY_OF, letter.id.encode())])


def _parse_object(record: DeadLetterEntry) -> dict[str, Any]:
    try:
        value = orjson.loads(record.value)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise UserError(
            f"{record.place} is not a JSON object, so none of its fields can be set: write it to a file"
            f" (duewatch dead-letters show {record.place} --raw), fix it there and send it with --value"
        )
    return value


def _set_fields(body: Any, fields: Sequence[tuple[str, Any]], place: str) -> Any:
    for path, value in fields:
        *parents, last = path.split(".")
        inner = body
        try:
            for name in parents:
                inner = inner[int(name)] if isinstance(inner, list) else inner[name]
            if isinstance(inner, list):
                inner[int(last)] = value
            else:
                inner[last] = value
        except (KeyError, IndexError, ValueError, TypeError):
            raise UserError(f"{place} has no field {path}: `duewatch dead-letters show {place}` shows its fields") from None
    return body


def _send(settings: Settings, records: Sequence[DeadLetterEntry]) -> None:
    with progress_bar("dead letters sent", len(records)) as bar:
        send_all(settings, ((r.topic, r.key, r.value, r.headers) for r in records), lambda: bar.advance(1))


def _sent_already(
    settings: Settings, letters: Sequence[DeadLetterEntry], positions: dict[tuple[str, str, int], int]
) -> dict[str, str]:
    """Id of a dead letter -> where the record is that was sent in its place, as far as ClickHouse does not know it yet."""
    if not letters:
        return {}
    require_kafka(settings)
    metadata = admin_client(settings.for_librdkafka(), ERRORS).list_topics(timeout=METADATA_TIMEOUT_S)
    names = {full_name(settings.prefix, letter.topic): letter.topic for letter in letters}
    starts = [
        TopicPartition(name, number, positions.get((str(metadata.cluster_id), name, number), 0))
        for name in names
        if name in metadata.topics
        for number in metadata.topics[name].partitions
    ]
    ids = {letter.id for letter in letters}
    return {letter_id: place for letter_id, place in _read_resent(settings, starts, names) if letter_id in ids}


def _read_resent(settings: Settings, starts: list[TopicPartition], names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(id of a dead letter, place) of what was sent in the place of one, from these positions to the ends."""
    consumer = reader(settings.for_librdkafka())  # a position beyond the end is of an earlier life of the topic
    try:
        consumer.assign(starts)
        for message in to_the_end(consumer):
            for letter_id in (raw for name, raw in read_headers(message) if name == REPLAY_OF and raw):
                place = f"{names[str(message.topic())]}/{message.partition()}/{message.offset()}"
                yield letter_id.decode("utf-8", "replace"), place
    finally:
        consumer.close()
