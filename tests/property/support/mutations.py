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
class Sent:
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

    def with_body(self, body: Any) -> Sent:
        """Written by the standard library, which takes NaN and lone surrogates as a careless sender's does."""
        return replace(self, value=json.dumps(body).encode())


@cache
def golden() -> tuple[Sent, ...]:
    """Every inbound golden message in binary and in structured mode."""
    messages = []
    for topic in TOPICS.values():
        if topic.direction == "in":
            for name in topic.contracts:
                for path in sorted((EXAMPLES / name).glob("*.json")):
                    messages += _both_modes(topic.name, path.read_bytes())
    return tuple(messages)


def _both_modes(topic: str, text: bytes) -> list[Sent]:
    envelope = orjson.loads(text)
    key = envelope.get("partitionkey", "").encode() or None
    attributes = tuple((f"ce_{name}", str(value).encode()) for name, value in envelope.items() if name != "data")
    binary = Sent(topic, key, orjson.dumps(envelope["data"]), (*attributes, ("content-type", b"application/json")))
    return [binary, Sent(topic, key, text, STRUCTURED)]


@cache
def bad() -> tuple[Sent, ...]:
    """The golden messages that are to be refused."""
    cases = [orjson.loads(path.read_bytes()) for path in sorted((EXAMPLES / "bad").glob("*.json"))]
    return tuple(Sent(case["topic"], _key(case["key"]), _text(case), STRUCTURED) for case in cases)


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
def flip_bytes(sent: Sent, rng: Random) -> Sent:
    value = bytearray(sent.value or b"")
    for _ in range(rng.randrange(1, 6)):
        if value:
            value[rng.randrange(len(value))] = rng.randrange(256)
    return replace(sent, value=bytes(value))


def cut(sent: Sent, rng: Random) -> Sent:
    value = sent.value or b""
    return replace(sent, value=value[: rng.randrange(len(value) + 1)])


def splice(sent: Sent, rng: Random) -> Sent:
    """A run of the value twice, or of another message's."""
    value, other = sent.value or b"", rng.choice(golden()).value or b""
    at, start = rng.randrange(len(value) + 1), rng.randrange(len(other) + 1)
    return replace(sent, value=value[:at] + other[start : start + rng.randrange(1, 60)] + value[at:])


def other_encoding(sent: Sent, rng: Random) -> Sent:
    text = (sent.value or b"").decode("utf-8", "replace").replace("a", "ä")
    encoding = rng.choice(("utf-16", "utf-16-be", "utf-32", "latin-1", "utf-8-sig", "cp1252", "utf-7", "cp037"))
    return replace(sent, value=text.encode(encoding, "replace"))


def raw_bytes(sent: Sent, rng: Random) -> Sent:
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
    return replace(sent, value=rng.choice(raw))


def no_value(sent: Sent, _rng: Random) -> Sent:
    return replace(sent, value=None)


def other_key(sent: Sent, rng: Random) -> Sent:
    return replace(sent, key=rng.choice((None, b"", b"\x00", b"\xff\xfe", b"c-1\x1fi/1", b"somebody-else", b"k" * 10_000)))


def _place(body: Any, rng: Random) -> tuple[Any, Any] | None:
    """A container and a key or index in it, at any depth."""
    if isinstance(body, dict) and body:
        name = rng.choice(list(body))
    elif isinstance(body, list) and body:
        name = rng.randrange(len(body))
    else:
        return None
    return (rng.random() < 0.5 and _place(body[name], rng)) or (body, name)


def other_field(sent: Sent, rng: Random) -> Sent:
    """A field of the body (or the envelope) with a value of any kind."""
    body = sent.body()
    place = _place(body, rng)
    if place is not None:
        place[0][place[1]] = any_json(rng)
    return sent.with_body(body)


def missing_field(sent: Sent, rng: Random) -> Sent:
    body = sent.body()
    place = _place(body, rng)
    if place is not None:
        del place[0][place[1]]
    return sent.with_body(body)


def extra_field(sent: Sent, rng: Random) -> Sent:
    body = sent.body()
    place = _place(body, rng)
    if place is not None and isinstance(place[0], dict):
        place[0][rng.choice(("extra", *STRINGS))] = any_json(rng)
    return sent.with_body(body)


def duplicate_field(sent: Sent, rng: Random) -> Sent:
    """A name twice in one JSON object, with another value."""
    body = sent.body()
    if not body:
        return sent
    name = rng.choice(list(body))
    twice = json.dumps({name: rng.choice((body[name], any_json(rng)))})[1:-1]
    text = json.dumps(body)
    return replace(sent, value=(f"{{{twice}, {text[1:]}" if rng.random() < 0.5 else f"{text[:-1]}, {twice}}}").encode())


def deep(sent: Sent, rng: Random) -> Sent:
    """Nested a hundred thousand deep, or just as deep as some parsers still go."""
    body, depth = sent.body(), rng.choice((100, 130, 200, 260, 1_000, 1_030, 100_000))
    name, opening, closing = rng.choice([*body, "x"]), *rng.choice(((b"[", b"]"), (b'{"x":', b"}")))
    inner = opening * depth + b"1" + closing * depth * rng.randrange(2)
    body.pop(name, None)
    start = json.dumps(body).encode()[:-1]
    return replace(sent, value=start + (b", " if body else b"") + json.dumps(name).encode() + b": " + inner + b"}")


def huge_number(sent: Sent, rng: Random) -> Sent:
    body = sent.body()
    name = rng.choice([*body, "x"])
    number = rng.choice(
        ("1e400", "-1e400", "1" * 5_000, "1." + "0" * 5_000 + "1", "1E+2", "-0", "NaN", "Infinity", "-Infinity", "0" * 900)
    )
    body[name] = "\u0001"
    return replace(sent, value=json.dumps(body).replace('"\\u0001"', number).encode())


def large(sent: Sent, rng: Random) -> Sent:
    """A text of a megabyte in a field, or that many elements in a list."""
    body = sent.body()
    name, size = rng.choice([*body, "x"]), rng.choice((MAX_BYTES // 2, MAX_BYTES, MAX_BYTES + 1))
    body[name] = "x" * size if rng.random() < 0.7 else [0] * (size // 3)
    return sent.with_body(body)


def duplicate_header(sent: Sent, rng: Random) -> Sent:
    """A header twice, with the same or another value."""
    name, text = rng.choice(sent.headers or STRUCTURED)
    extra = (name, rng.choice((text, b"", b"other", None, text and text.upper())))
    return replace(sent, headers=(*sent.headers, extra) if rng.random() < 0.5 else (extra, *sent.headers))


def other_header(sent: Sent, rng: Random) -> Sent:
    headers = list(sent.headers or STRUCTURED)
    at = rng.randrange(len(headers))
    text: bytes | None = rng.choice((None, b"", b"\xff\xfe", b"\x00", b"a\x1fb", b"x" * 300, b"x" * MAX_BYTES, rng.randbytes(20)))
    if rng.random() < 0.5:
        text = rng.choice(STRINGS).encode("utf-8", "surrogatepass")
    headers[at] = (headers[at][0], text)
    return replace(sent, headers=tuple(headers))


def missing_header(sent: Sent, rng: Random) -> Sent:
    index = rng.randrange(len(sent.headers) + 1)
    return replace(sent, headers=tuple(pair for n, pair in enumerate(sent.headers) if n != index))


def strange_header(sent: Sent, rng: Random) -> Sent:
    name = rng.choice(
        ("", "ce_", "CE_ID", "ce_id ", "Content-Type", "ce_data", "ce_correlationid", "ce_causationid", "\x00", "ü" * 50)
    )
    text = rng.choice(
        (None, b"", b"x", b"\xff", b"a\nb\x00c", b"y" * 100_000, b"application/cloudevents-batch+json", b"text/xml")
    )
    return replace(sent, headers=(*sent.headers, (name, text)))


def many_headers(sent: Sent, rng: Random) -> Sent:
    extra = tuple((f"{rng.choice(('x', 'ce_x', 'ce_id'))}{n % 7}", b"1") for n in range(rng.choice((100, 5_000))))
    return replace(sent, headers=(*sent.headers, *extra))


def other_mode(sent: Sent, rng: Random) -> Sent:
    """The headers of one mode with the body of the other."""
    return replace(sent, headers=rng.choice(golden()).headers)


def other_topic(sent: Sent, rng: Random) -> Sent:
    return replace(sent, topic=rng.choice([topic.name for topic in TOPICS.values()]))


Mutation = Callable[[Sent, Random], Sent]
MUTATIONS: tuple[Mutation, ...] = (
    flip_bytes, cut, splice, other_encoding, raw_bytes, no_value, other_key, other_field, missing_field, extra_field,
    duplicate_field, deep, huge_number, large, duplicate_header, other_header, missing_header, strange_header, many_headers,
    other_mode, other_topic,
)  # fmt: skip
COSTLY = frozenset({deep, large, many_headers})
"""Megabytes: a few of each are enough."""

CHEAP = tuple(mutation for mutation in MUTATIONS if mutation not in COSTLY)


def mutated(rng: Random, among: tuple[Mutation, ...] = MUTATIONS) -> Sent:
    """A golden message, bent in one way, sometimes in two or three."""
    sent = rng.choice(golden())
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        sent = rng.choice(among)(sent, rng)
    return sent
