"""A person's answer to a review, and dead letters sent again."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

import orjson
import pytest

from schemas.events.decisions import DecisionMade
from schemas.events.envelope import Event
from streams import dead_letters, reviews
from streams.codec import decode, encode_event
from streams.errors import UsageError, UserError
from streams.settings import Settings

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def sent(monkeypatch):
    """Records instead of sending."""
    records: list[tuple[object, ...]] = []

    def send(_settings, topic, key, value, headers):
        records.append((topic, key, value, list(headers)))
        return f"duewatch-{topic}"

    monkeypatch.setattr(dead_letters, "send", send)
    monkeypatch.setattr(reviews, "send", send)
    return records


def letters(monkeypatch, *rows):
    columns = ["topic", "partition", "offset", "reason", "field", "key", "raw", "headers", "code_version"]
    answer = b"\n".join(map(orjson.dumps, [columns, *rows]))
    monkeypatch.setattr(dead_letters, "query", lambda *_: answer)


def letter(topic="payments", raw=b'{"amount": "-5"}'):
    headers = [["ce_id", b64encode(b"e1").decode()]]
    return [
        topic,
        3,
        "1742",
        "amount: -5 is not above zero",
        "amount",
        b64encode(b"c1").decode(),
        b64encode(raw).decode(),
        headers,
        "1",
    ]


def test_an_answer_is_an_event_that_the_worker_can_read():
    event = reviews.decision("c1", "confirm", "jane", "bank confirms", NOW)
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


def test_an_answer_goes_to_the_debtor_in_decisions(sent):
    assert "duewatch-decisions" in reviews.answer(Settings(), "c1", "reject", "jane", None)
    assert sent[0][:2] == ("decisions", b"c1")


def test_a_dead_letter_goes_out_again_as_it_came(sent, monkeypatch):
    letters(monkeypatch, letter())

    told = dead_letters.replay_letter(Settings(), "payments/3/1742", None, None)

    assert "as it came" in told
    assert sent == [("payments", b"c1", b'{"amount": "-5"}', [("ce_id", b"e1")])]


def test_a_mended_dead_letter_keeps_its_headers(sent, monkeypatch, tmp_path):
    letters(monkeypatch, letter())
    (tmp_path / "mended.json").write_text('{"amount": "5"}\n')

    told = dead_letters.replay_letter(Settings(), "payments/3/1742", None, None, value=tmp_path / "mended.json", key="c2")

    assert "mended" in told
    assert sent == [("payments", b"c2", b'{"amount": "5"}', [("ce_id", b"e1")])]


def test_what_we_write_ourselves_is_never_sent_by_hand(sent, monkeypatch):
    letters(monkeypatch, letter(topic="training-examples"))

    with pytest.raises(UserError, match="no source topic"):
        dead_letters.replay_letter(Settings(), "training-examples/3/1742", None, None)
    assert sent == []


def test_a_dead_letter_is_shown_whole_and_its_bytes_as_they_came(monkeypatch):
    letters(monkeypatch, letter(raw=b"\xff{"))

    shown = dead_letters.show_letter("payments/3/1742", None, None)
    assert isinstance(shown, str)
    assert "amount: -5 is not above zero" in shown
    assert "ce_id = e1" in shown
    assert dead_letters.show_letter("payments/3/1742", None, None, raw=True) == b"\xff{"


@pytest.mark.parametrize("place", ["payments", "payments/x/1", "payments/1/2; drop", "a'b/1/2"])
def test_a_place_that_is_none_is_told(place):
    with pytest.raises(UsageError, match="TOPIC/PARTITION/OFFSET"):
        dead_letters.find(place, None, None)
