"""What the bench calls queryable: from the sending of an event, and none that was sent to warm up."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from tests.bench.parts.queryable import ONE_IN, Asker


def _asker(monkeypatch: pytest.MonkeyPatch, answers: list[list[str]]) -> Asker:
    """Sent: an event each 10 ms of the last two seconds, of which the last one counts; ``answers`` one after the other."""
    now = time.time()
    sent_at = {f"e{number}": now - 2.0 + number / 100 for number in range(200)}
    sender = SimpleNamespace(sent=sent_at, counts_from=sent_at["e100"], done=True)
    asker = Asker(0, sender)  # type: ignore[arg-type]
    monkeypatch.setattr(asker, "_ask", lambda ids: [event_id for event_id in answers.pop(0) if event_id in ids])
    return asker


def test_what_was_sent_to_warm_up_is_asked_for_and_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    asker = _asker(monkeypatch, [["e0", "e50"], ["e100"], ["e150"]])
    assert list(asker.missing()) == ["e0", f"e{ONE_IN}", "e100", "e150"]
    asker.run()
    assert (list(asker.seconds), list(asker.latencies()), asker.missing()) == (
        ["e0", "e50", "e100", "e150"],
        ["e100", "e150"],
        {},
    )
    assert asker.latencies()["e100"] >= 1.0
