"""Send dead letters again, mended or (after an update) as they came, so that each is applied once however often that is done.

What goes out bears the header ``ce_replayof`` with the dead letter's id. So it is another record than the refused one, which
stays left out of ClickHouse's ``events``; and it is known again: in ClickHouse, and in the end of the topic that ClickHouse has
not read yet. What was sent before is passed over. Should two people do it at the same time, the event's id tells the debtor's
agent that the second is a duplicate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from schemas import cloudevents
from schemas.cloudevents import FAULT, ORIGIN, REPLAY_OF, UNREADABLE
from schemas.events.envelope import Rejection
from schemas.registry import TOPICS
from streams.dead_letters.listing import DeadLetterEntry, Selection, choose, positions
from streams.engine.restore_process import reader, to_the_end
from streams.errors import UsageError, UserError
from streams.kafka.admin import require_kafka
from streams.kafka.codec import decode
from streams.kafka.headers import read_headers
from streams.kafka.producer import send_all
from streams.kafka.topics import full_name
from streams.terminal.progress import progress_bar

if TYPE_CHECKING:
    from streams.clickhouse.query import ClickHouse
    from streams.settings import Settings

METADATA_TIMEOUT_S = 10.0
_LEFT_BEHIND = frozenset({REPLAY_OF, UNREADABLE, ORIGIN, FAULT})
"""Headers that tell of the refused record; what goes out in its place lay in no file, and its fault may be mended."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What to change before it goes out; the same for all that are chosen. ``value``: the whole record, for a single one."""

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
    """What became of one: a line for people, and the record if it is to go out."""

    line: str
    record: DeadLetterEntry | None = None
    refused: bool = False


def parse_set(text: str) -> tuple[str, Any]:
    """``field=text`` or ``field:=json``, with the names of inner fields and numbers of elements joined by dots.

    >>> parse_set("amount=12.50"), parse_set("allocations.0.amount=5.00"), parse_set("terms_days:=30")
    (('amount', '12.50'), ('allocations.0.amount', '5.00'), ('terms_days', 30))
    """
    path, sign, told = text.partition("=")
    if not sign or not path.strip(":"):
        raise UsageError(f"{text!r} sets nothing: write field=text (amount=12.50) or field:=JSON (terms_days:=30)")
    if not path.endswith(":"):
        return path, told
    try:
        return path[:-1], orjson.loads(told)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{told!r} is no JSON ({error}): write field=text, or field:=JSON with quotes around a text") from None


def parse_attribute(text: str) -> tuple[str, str]:
    """``name=text``.

    >>> parse_attribute("recordedtime=2026-03-02T09:00:00Z")
    ('recordedtime', '2026-03-02T09:00:00Z')
    """
    name, sign, told = text.partition("=")
    if not sign or not name:
        raise UsageError(f"{text!r} sets no attribute: write name=text, such as recordedtime=2026-03-02T09:00:00Z")
    return name.removeprefix("ce_"), told


def resend(
    settings: Settings, choice: Selection, mend: Correction, asked: ClickHouse, *, dry_run: bool = False
) -> tuple[list[str], bool]:
    """A line for each that was chosen, and whether all that was to go out went. Raises UserError, KafkaException.

    What is still refused by this version of the code does not go out: it would only come back.
    """
    letters = choose(choice, asked)
    if not letters:
        raise UserError("there are no such dead letters: `duewatch dead-letters list` shows them")
    if mend.value is not None and len(letters) > 1:
        raise UsageError(f"one mended record cannot stand for {len(letters)}: name the place of the one that it mends")
    open_letters = [letter for letter in letters if letter.state == "open"]
    sent = _sent_already(settings, open_letters, positions(asked))
    told = [_judge(letter, mend, sent) for letter in letters]
    going = [one.record for one in told if one.record is not None]
    if not dry_run:
        _send(settings, going)
    lines = [one.line for one in told]
    refused, before = sum(one.refused for one in told), len(told) - len(going) - sum(one.refused for one in told)
    lines.append(f"{len(going)} {'would be sent' if dry_run else 'sent'}, {refused} still refused, {before} not sent again")
    return lines, not refused


def _judge(letter: DeadLetterEntry, mend: Correction, sent: dict[str, str]) -> ResendResult:
    if letter.topic not in TOPICS or TOPICS[letter.topic].direction != "in":
        return ResendResult(
            f"{letter.place}  not sent: {letter.topic} is no source topic, nothing is sent into it by hand", refused=True
        )
    if letter.state == "refused again":
        return ResendResult(f"{letter.place}  not sent: refused again as {letter.replayed_as}, mend that one", refused=True)
    if letter.state != "open":
        return ResendResult(f"{letter.place}  not sent again: {letter.state} as {letter.replayed_as}")
    if letter.id in sent:
        return ResendResult(f"{letter.place}  not sent again: it lies at {sent[letter.id]}")
    record = mended(letter, mend)
    answer = decode(record.topic, record.key, record.value, record.headers)
    if isinstance(answer, Rejection):
        return ResendResult(f"{letter.place}  not sent, still refused: {answer.reason}", refused=True)
    return ResendResult(f"{letter.place}  {'mended' if mend else 'as it came'}", record)


def mended(letter: DeadLetterEntry, mend: Correction) -> DeadLetterEntry:
    """The record to send in its place. Raises UserError where a field is to be set and the record is no JSON object."""
    key = letter.key if mend.key is None else mend.key.encode()
    record = replace(letter, key=key, value=letter.value if mend.value is None else mend.value)
    is_structured = cloudevents.is_structured(letter.headers)
    headers = [pair for pair in letter.headers if pair[0] not in _LEFT_BEHIND]
    if is_structured and (mend.fields or mend.attributes):
        envelope = _object(record) | dict(mend.attributes)
        envelope["data"] = _changed(envelope.get("data"), mend.fields, letter.place)
        record = replace(record, value=orjson.dumps(envelope))
    else:
        new = {f"ce_{name}": told.encode() for name, told in mend.attributes}
        headers = [*(pair for pair in headers if pair[0] not in new), *new.items()]
        if mend.fields:
            record = replace(record, value=orjson.dumps(_changed(_object(record), mend.fields, letter.place)))
    return replace(record, headers=[*headers, (REPLAY_OF, letter.id.encode())])


def _object(record: DeadLetterEntry) -> dict[str, Any]:
    try:
        found = orjson.loads(record.value)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise UserError(
            f"{record.place} is no JSON object, so no field of it can be set: write it to a file"
            f" (duewatch dead-letters show {record.place} --raw), mend it there and send it with --value"
        )
    return found


def _changed(body: Any, fields: Sequence[tuple[str, Any]], place: str) -> Any:
    for path, told in fields:
        *way, last = path.split(".")
        inner = body
        try:
            for name in way:
                inner = inner[int(name)] if isinstance(inner, list) else inner[name]
            if isinstance(inner, list):
                inner[int(last)] = told
            else:
                inner[last] = told
        except (KeyError, IndexError, ValueError, TypeError):
            raise UserError(f"{place} has no place for {path}: `duewatch dead-letters show {place}` shows its fields") from None
    return body


def _send(settings: Settings, letters: Sequence[DeadLetterEntry]) -> None:
    with progress_bar("dead letters sent", len(letters)) as bar:
        send_all(settings, ((one.topic, one.key, one.value, one.headers) for one in letters), lambda: bar.advance(1))


def _sent_already(
    settings: Settings, letters: Sequence[DeadLetterEntry], held: dict[tuple[str, str, int], int]
) -> dict[str, str]:
    """Id of a dead letter -> where the record lies that was sent in its place, as far as ClickHouse does not know it yet."""
    if not letters:
        return {}
    require_kafka(settings)
    admin = AdminClient({**settings.for_librdkafka(), "log_level": 3})
    there = admin.list_topics(timeout=METADATA_TIMEOUT_S)
    names = {full_name(settings.prefix, letter.topic): letter.topic for letter in letters}
    starts = [
        TopicPartition(name, number, held.get((str(there.cluster_id), name, number), 0))
        for name in names
        if name in there.topics
        for number in there.topics[name].partitions
    ]
    wanted = {letter.id for letter in letters}
    return {of: place for of, place in _replays(settings, starts, names) if of in wanted}


def _replays(settings: Settings, starts: list[TopicPartition], names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(dead letter, place) of what was sent in the place of one, from these positions to the ends."""
    consumer = reader(settings.for_librdkafka())  # a position beyond the end is of an earlier life of the topic
    try:
        consumer.assign(starts)
        for message in to_the_end(consumer):
            for of in (told for name, told in read_headers(message) if name == REPLAY_OF and told):
                place = f"{names[str(message.topic())]}/{message.partition()}/{message.offset()}"
                yield of.decode("utf-8", "replace"), place
    finally:
        consumer.close()
