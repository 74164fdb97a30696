"""Messages as a careless or hostile sender would write them: the golden examples, bent in one or more seeded ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

import orjson

from schemas.generate import EXAMPLES
from schemas.registry import TOPICS
from streams.kafka.codec import MAX_BYTES

Headers = tuple[tuple[str, bytes | None], ...]
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A record as it lies in a topic."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    def body(self) -> Any:
        """The body as JSON, {} where there is none to change."""
        try:
            body = json.loads(self.value or b"")
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}

    def with_body(self, body: Any) -> RawMessage:
        """This message with another body. The standard library writes NaN and lone surrogates, as careless senders do."""
        return replace(self, value=json.dumps(body).encode())


@cache
def golden() -> tuple[RawMessage, ...]:
    """Every inbound golden message in binary and in structured mode."""
    messages = []
    for topic in TOPICS.values():
        if topic.direction == "in":
            for name in topic.contracts:
                for path in sorted((EXAMPLES / name).glob("*.json")):
                    messages += _both_modes(topic.name, path.read_bytes())
    return tuple(messages)


def _both_modes(topic: str, text: bytes) -> list[RawMessage]:
    envelope = orjson.loads(text)
    key = envelope.get("partitionkey", "").encode() or None
    attributes = tuple((f"ce_{name}", str(value).encode()) for name, value in envelope.items() if name != "data")
    binary = RawMessage(topic, key, orjson.dumps(envelope["data"]), (*attributes, ("content-type", b"application/json")))
    return [binary, RawMessage(topic, key, text, STRUCTURED)]


@cache
def bad() -> tuple[RawMessage, ...]:
    """The golden messages that are to be refused."""
    cases = [orjson.loads(path.read_bytes()) for path in sorted((EXAMPLES / "bad").glob("*.json"))]
    return tuple(RawMessage(case["topic"], _key(case["key"]), _text(case), STRUCTURED) for case in cases)


def _key(key: str | None) -> bytes | None:
    return None if key is None else key.encode()


def _text(case: dict[str, Any]) -> bytes:
    return case["text"].encode() if "text" in case else json.dumps(case["event"]).encode()


# -- values that no sender should send
STRINGS = (
    "", " ", "\x00", "a\x1fb", "\x7f", "c-1\u2028", "\u202e", "\ufeff", "\U0001f4b8", "\ud800", "x" * 129, "x" * 5_000,
    "١٢٣.٤٥", "１２", "1e5", "1_000", "+1", "-0.00", "-0", "00012.50", "1,5", "0x10", "NaN", "Infinity", "9999999999999.99",
    "99999999999999999999", "1" * 400, ".5", "5.", "0.001", "2026-02-30", "0000-01-01", "9999-12-31", "2026-2-3",
    "２０２６-01-01", "2026-W01-1", "20260101", "1969-12-31", "2200-01-01", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:60Z", "EUR", "eur", "XXX", "JPY", "null", "true", "{}", "i/../..", "'; --",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 0.1, -0.0, 1e308, 10**18, 10**19, 2**63, -(2**63) - 1, 10**300, float("nan"), float("inf"), float("-inf"), True,
)  # fmt: skip


def nested(depth: int, opening: bytes = b"[") -> bytes:
    return opening * depth


def any_json(rng: Random, depth: int = 0) -> Any:
    kinds = 4 if depth > 3 else 6
    match rng.randrange(kinds):
        case 0:
            return rng.choice(STRINGS)
        case 1:
            return rng.choice(NUMBERS)
        case 2:
            return None
        case 3:
            return rng.choice((True, False))
        case 4:
            return [any_json(rng, depth + 1) for _ in range(rng.randrange(4))]
        case _:
            return {rng.choice(STRINGS): any_json(rng, depth + 1) for _ in range(rng.randrange(4))}


# -- ways to bend a message
def flip_bytes(message: RawMessage, rng: Random) -> RawMessage:
    value = bytearray(message.value or b"")
    for _ in range(rng.randrange(1, 6)):
        if value:
            value[rng.randrange(len(value))] = rng.randrange(256)
    return replace(message, value=bytes(value))


def cut(message: RawMessage, rng: Random) -> RawMessage:
    value = message.value or b""
    return replace(message, value=value[: rng.randrange(len(value) + 1)])


def splice(message: RawMessage, rng: Random) -> RawMessage:
    """Insert a piece of the value itself, or of another message's value."""
    value, donor = message.value or b"", rng.choice(golden()).value or b""
    at, start = rng.randrange(len(value) + 1), rng.randrange(len(donor) + 1)
    return replace(message, value=value[:at] + donor[start : start + rng.randrange(1, 60)] + value[at:])


def other_encoding(message: RawMessage, rng: Random) -> RawMessage:
    text = (message.value or b"").decode("utf-8", "replace").replace("a", "ä")
    encoding = rng.choice(("utf-16", "utf-16-be", "utf-32", "latin-1", "utf-8-sig", "cp1252", "utf-7", "cp037"))
    return replace(message, value=text.encode(encoding, "replace"))


def raw_bytes(message: RawMessage, rng: Random) -> RawMessage:
    raw = (
        b"",
        b"\x00",
        b"\xef\xbb\xbf",
        b"null",
        b"[]",
        b"{}",
        b'""',
        b"0",
        b"\xff" * 40,
        b"{" * 500,
        b'{"a":' * 500,
        rng.randbytes(80),
    )
    return replace(message, value=rng.choice(raw))


def no_value(message: RawMessage, _rng: Random) -> RawMessage:
    return replace(message, value=None)


def other_key(message: RawMessage, rng: Random) -> RawMessage:
    return replace(message, key=rng.choice((None, b"", b"\x00", b"\xff\xfe", b"c-1\x1fi/1", b"somebody-else", b"k" * 10_000)))


def _place(body: Any, rng: Random) -> tuple[Any, Any] | None:
    """A container and a key or index in it, at any depth."""
    if isinstance(body, dict) and body:
        name = rng.choice(list(body))
    elif isinstance(body, list) and body:
        name = rng.randrange(len(body))
    else:
        return None
    return (rng.random() < 0.5 and _place(body[name], rng)) or (body, name)


def other_field(message: RawMessage, rng: Random) -> RawMessage:
    """Give a field of the body (or the envelope) a value of any kind."""
    body = message.body()
    place = _place(body, rng)
    if place is not None:
        place[0][place[1]] = any_json(rng)
    return message.with_body(body)


def missing_field(message: RawMessage, rng: Random) -> RawMessage:
    body = message.body()
    place = _place(body, rng)
    if place is not None:
        del place[0][place[1]]
    return message.with_body(body)


def extra_field(message: RawMessage, rng: Random) -> RawMessage:
    body = message.body()
    place = _place(body, rng)
    if place is not None and isinstance(place[0], dict):
        place[0][rng.choice(("extra", *STRINGS))] = any_json(rng)
    return message.with_body(body)


def duplicate_field(message: RawMessage, rng: Random) -> RawMessage:
    """Put a name twice into one JSON object, with another value."""
    body = message.body()
    if not body:
        return message
    name = rng.choice(list(body))
    twice = json.dumps({name: rng.choice((body[name], any_json(rng)))})[1:-1]
    text = json.dumps(body)
    return replace(message, value=(f"{{{twice}, {text[1:]}" if rng.random() < 0.5 else f"{text[:-1]}, {twice}}}").encode())


def deep(message: RawMessage, rng: Random) -> RawMessage:
    """Nest a field a hundred thousand deep, or just as deep as some parsers still go."""
    body, depth = message.body(), rng.choice((100, 130, 200, 260, 1_000, 1_030, 100_000))
    name, opening, closing = rng.choice([*body, "x"]), *rng.choice(((b"[", b"]"), (b'{"x":', b"}")))
    inner = opening * depth + b"1" + closing * depth * rng.randrange(2)
    body.pop(name, None)
    start = json.dumps(body).encode()[:-1]
    return replace(message, value=start + (b", " if body else b"") + json.dumps(name).encode() + b": " + inner + b"}")


def huge_number(message: RawMessage, rng: Random) -> RawMessage:
    body = message.body()
    name = rng.choice([*body, "x"])
    number = rng.choice(
        ("1e400", "-1e400", "1" * 5_000, "1." + "0" * 5_000 + "1", "1E+2", "-0", "NaN", "Infinity", "-Infinity", "0" * 900)
    )
    body[name] = "\u0001"
    return replace(message, value=json.dumps(body).replace('"\\u0001"', number).encode())


def large(message: RawMessage, rng: Random) -> RawMessage:
    """Put a text of a megabyte into a field, or a list of as many bytes."""
    body = message.body()
    name, size = rng.choice([*body, "x"]), rng.choice((MAX_BYTES // 2, MAX_BYTES, MAX_BYTES + 1))
    body[name] = "x" * size if rng.random() < 0.7 else [0] * (size // 3)
    return message.with_body(body)


def duplicate_header(message: RawMessage, rng: Random) -> RawMessage:
    """Send a header twice, with the same or another value."""
    name, text = rng.choice(message.headers or STRUCTURED)
    extra = (name, rng.choice((text, b"", b"other", None, text and text.upper())))
    return replace(message, headers=(*message.headers, extra) if rng.random() < 0.5 else (extra, *message.headers))


def other_header(message: RawMessage, rng: Random) -> RawMessage:
    headers = list(message.headers or STRUCTURED)
    at = rng.randrange(len(headers))
    text: bytes | None = rng.choice((None, b"", b"\xff\xfe", b"\x00", b"a\x1fb", b"x" * 300, b"x" * MAX_BYTES, rng.randbytes(20)))
    if rng.random() < 0.5:
        text = rng.choice(STRINGS).encode("utf-8", "surrogatepass")
    headers[at] = (headers[at][0], text)
    return replace(message, headers=tuple(headers))


def missing_header(message: RawMessage, rng: Random) -> RawMessage:
    index = rng.randrange(len(message.headers) + 1)
    return replace(message, headers=tuple(pair for n, pair in enumerate(message.headers) if n != index))


def strange_header(message: RawMessage, rng: Random) -> RawMessage:
    name = rng.choice(
        ("", "ce_", "CE_ID", "ce_id ", "Content-Type", "ce_data", "ce_correlationid", "ce_causationid", "\x00", "ü" * 50)
    )
    text = rng.choice(
        (None, b"", b"x", b"\xff", b"a\nb\x00c", b"y" * 100_000, b"application/cloudevents-batch+json", b"text/xml")
    )
    return replace(message, headers=(*message.headers, (name, text)))


def many_headers(message: RawMessage, rng: Random) -> RawMessage:
    extra = tuple((f"{rng.choice(('x', 'ce_x', 'ce_id'))}{n % 7}", b"1") for n in range(rng.choice((100, 5_000))))
    return replace(message, headers=(*message.headers, *extra))


def other_mode(message: RawMessage, rng: Random) -> RawMessage:
    """Send the headers of another message with this body: often those of the other mode."""
    return replace(message, headers=rng.choice(golden()).headers)


def other_topic(message: RawMessage, rng: Random) -> RawMessage:
    return replace(message, topic=rng.choice([topic.name for topic in TOPICS.values()]))


Mutation = Callable[[RawMessage, Random], RawMessage]
MUTATIONS: tuple[Mutation, ...] = (
    flip_bytes, cut, splice, other_encoding, raw_bytes, no_value, other_key, other_field, missing_field, extra_field,
    duplicate_field, deep, huge_number, large, duplicate_header, other_header, missing_header, strange_header, many_headers,
    other_mode, other_topic,
)  # fmt: skip
COSTLY = frozenset({deep, large, many_headers})
"""Mutations that make messages of megabytes: a few of each are enough."""

CHEAP = tuple(mutation for mutation in MUTATIONS if mutation not in COSTLY)


def mutate(rng: Random, among: tuple[Mutation, ...] = MUTATIONS) -> RawMessage:
    """A golden message, bent in one way, sometimes in two or three."""
    message = rng.choice(golden())
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        message = rng.choice(among)(message, rng)
    return message
