"""A person's answer to a review."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schemas.events.decisions import DecisionMade
from schemas.events.envelope import Event
from streams.kafka.codec import decode, encode_event
from streams.kafka.producer import Headers
from streams.reviews import answers
from streams.settings import Settings

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def sent_records(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Records instead of sending."""
    records: list[tuple[object, ...]] = []

    def send(_settings: Settings, topic: str, key: bytes, value: bytes, headers: Headers) -> str:
        records.append((topic, key, value, list(headers)))
        return f"duewatch-{topic}"

    monkeypatch.setattr(answers, "send", send)
    monkeypatch.setattr(answers, "deployed", lambda settings: settings)
    return records


def test_an_answer_is_an_event_that_the_worker_can_read() -> None:
    event = answers.decision("c1", "confirm", "jane", "bank confirms", NOW)
    value, headers = encode_event(event)
    read = decode("decisions", b"c1", value, headers)

    assert isinstance(read, Event)
    assert isinstance(read.data, DecisionMade)
    assert (read.data.subject, read.data.action, read.data.owner, read.data.decided_on) == (
        "review",
        "confirm",
        "jane",
        NOW.date(),
    )


def test_an_answer_goes_to_the_debtor_in_decisions(sent_records: list[tuple[object, ...]]) -> None:
    assert "duewatch-decisions" in answers.answer(Settings(), "c1", "reject", "jane", None)
    assert sent_records[0][:2] == ("decisions", b"c1")
