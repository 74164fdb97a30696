"""Dead letters are selected, shown, fixed and sent again; what is still refused, or was sent before, stays where it is."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from schemas.events.envelope import Event
from streams.cli.main import duewatch
from streams.clickhouse.query import ClickHouse
from streams.dead_letters import listing, resend
from streams.dead_letters.resend import Correction
from streams.dead_letters.selection import Selection, find
from streams.errors import UsageError, UserError
from streams.kafka.codec import decode
from streams.settings import Settings
from tests.property.support.mutations import STRUCTURED, golden

INVOICE = next(example for example in golden() if ("ce_type", b"duewatch.invoice.issued.v1") in example.headers)
HERE = ClickHouse(None, None)
LETTER_ID = "0b8f64d1-7a3e-5f6c-9d20-111111111111"


def letter(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A row of dead_letters; without changes it is a good invoice, refused by an older version of the code."""
    headers = [[name, b64encode(raw or b"").decode()] for name, raw in changes.pop("headers", INVOICE.headers)]
    body = changes.pop("value", INVOICE.value)
    return {
        "id": LETTER_ID[:-1] + str(number),
        "topic": "payments",
        "partition": 3,
        "offset": str(1742 + number),
        "reason": "amount: -5 is not above zero",
        "field": "amount",
        "key": b64encode(INVOICE.key or b"").decode(),
        "raw": b64encode(body).decode(),
        "headers": headers,
        "code_version": "1",
        "state": "open",
        "replayed_as": None,
        **changes,
    }


def with_amount(amount: Any) -> bytes:
    return orjson.dumps({**INVOICE.body(), "amount": amount})


@dataclass
class FakeClickHouse:
    """ClickHouse with these letters; the end of the topic, and what is sent, are a dictionary and a list."""

    monkeypatch: pytest.MonkeyPatch
    queries: list[str] = field(default_factory=list)
    in_the_log: dict[str, str] = field(default_factory=dict)
    sent_records: list[tuple[str, bytes | None, bytes, list[tuple[str, bytes]]]] = field(default_factory=list)

    def holds(self, *rows: dict[str, Any]) -> None:
        answer = b"\n".join(map(orjson.dumps, [list(rows[0]), *(list(row.values()) for row in rows)])) if rows else b""

        def query(_client: ClickHouse, sql: str, _output: str) -> bytes:
            self.queries.append(sql)
            return b"" if "sink_positions" in sql else answer

        self.monkeypatch.setattr(ClickHouse, "ask", query)


@pytest.fixture
def clickhouse(monkeypatch: pytest.MonkeyPatch) -> FakeClickHouse:
    clickhouse = FakeClickHouse(monkeypatch)

    def send_all(_settings: Settings, records: Iterable[Any], arrived: Callable[[], None]) -> None:
        for record in records:
            clickhouse.sent_records.append(record)
            arrived()

    monkeypatch.setattr(resend, "send_all", send_all)
    monkeypatch.setattr(resend, "_sent_already", lambda *_: clickhouse.in_the_log)
    return clickhouse


def replay(
    correction: Correction = Correction(),  # noqa: B008 - a frozen value
    selection: Selection = Selection(("payments/3/1742",)),  # noqa: B008 - a frozen value
    **options: Any,
) -> tuple[list[str], bool]:
    return resend.resend(Settings(), selection, correction, HERE, **options)


# -- choosing and showing
def test_a_dead_letter_is_shown_whole_and_its_bytes_as_they_came(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(value=b"\xff{"))
    text = listing.show_letter("payments/3/1742", HERE)
    assert isinstance(text, str)
    assert "amount: -5 is not above zero" in text
    assert "ce_id = erp-100815" in text
    assert listing.show_letter("payments/3/1742", HERE, raw=True) == b"\xff{"


@pytest.mark.parametrize("place", ["payments", "payments/x/1", "payments/1/2; drop", "a'b/1/2", LETTER_ID + "'"])
def test_a_place_that_is_none_is_told(place: str) -> None:
    with pytest.raises(UsageError, match="TOPIC/PARTITION/OFFSET"):
        find(place, HERE)


def test_what_is_not_there_is_told(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds()
    with pytest.raises(UserError, match="no dead letter at payments/3/1742"):
        find("payments/3/1742", HERE)
    with pytest.raises(UserError, match="no dead letters match"):
        replay()


def test_a_list_says_what_became_of_each(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(), letter(1, state="replayed", replayed_as="payments/3/2001"))
    first, second = listing.list_letters(Selection(), HERE, 50).splitlines()
    assert first == "payments/3/1742  amount: -5 is not above zero"
    assert second.endswith("[replayed: payments/3/2001]")


def test_of_a_record_that_lay_in_a_file_the_line_is_told(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(headers=(*INVOICE.headers, ("duewatch-origin", b"M%C3%A4rz 100%25.csv line 207"))))
    listed = listing.list_letters(Selection(), HERE, 50)
    assert listed == "payments/3/1742 (März 100%.csv line 207)  amount: -5 is not above zero"
    assert "from:    März 100%.csv line 207\n" in str(listing.show_letter("payments/3/1742", HERE))
    clickhouse.holds(letter(headers=(*INVOICE.headers, ("duewatch-origin", b"\x1b[2J\xff"))))
    assert "(\\x1b[2J\\ufffd)" in listing.list_letters(Selection(), HERE, 50)


def test_what_goes_out_again_lay_in_no_file_and_its_fault_is_not_told_any_more(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(
        letter(headers=(*INVOICE.headers, ("duewatch-origin", b"mixed.csv line 207"), ("duewatch-fault", b"broken")))
    )
    replay()
    assert [name for name, _ in clickhouse.sent_records[0][3]] == [*(name for name, _ in INVOICE.headers), "ce_replayof"]


def test_a_topic_that_is_none_is_told(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds()
    with pytest.raises(UsageError, match="'payment' is not a topic: use one of payments"):
        listing.list_letters(Selection(topic="payment"), HERE, 50)


def test_what_people_write_stays_a_text_in_the_question(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds()
    listing.list_letters(Selection((), "payments", "it's \\", "amount", "open"), HERE, 50)
    assert "positionCaseInsensitiveUTF8(reason, 'it\\'s \\\\')" in clickhouse.queries[0]
    assert "(topic = 'payments') AND (field = 'amount') AND (state = 'open')" in clickhouse.queries[0]


# -- sending again
def test_a_dead_letter_goes_out_as_it_came_with_a_header_that_says_in_whose_place(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter())
    lines, is_done = replay()
    assert is_done
    assert lines == ["payments/3/1742  unchanged", "1 sent, 0 still refused, 0 not sent again"]
    [(topic, key, value, headers)] = clickhouse.sent_records
    assert (topic, key, value) == ("payments", INVOICE.key, INVOICE.value)
    assert headers == [*INVOICE.headers, ("ce_replayof", LETTER_ID.encode()[:-1] + b"0")]


def test_of_a_replay_that_was_refused_too_only_the_last_letter_is_named(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(headers=(*INVOICE.headers, ("ce_replayof", b"an-older-one"))))
    replay()
    assert [raw for name, raw in clickhouse.sent_records[0][3] if name == "ce_replayof"] == [LETTER_ID.encode()[:-1] + b"0"]


def test_a_field_is_fixed(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(value=with_amount("-5")), letter(1, value=with_amount("-6")))
    lines, _ = replay(Correction(fields=(("amount", "12.50"),)), Selection(reason="above zero"))
    assert lines[0].endswith("fixed")
    assert [orjson.loads(value)["amount"] for _, _, value, _ in clickhouse.sent_records] == ["12.50", "12.50"]


def test_attributes_and_key_are_fixed_in_binary_mode(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter())
    replay(Correction(attributes=(("id", "erp-new"),), fields=(("customer_id", "c2"),), key="c2"))
    [(_, key, value, headers)] = clickhouse.sent_records
    event = decode("payments", key, value, headers)
    assert isinstance(event, Event)
    assert (event.id, event.customer_id) == ("erp-new", "c2")


def test_attributes_and_fields_are_fixed_in_structured_mode(clickhouse: FakeClickHouse) -> None:
    example = next(s for s in golden() if s.headers == STRUCTURED and b'"duewatch.payment.received.v1"' in (s.value or b""))
    clickhouse.holds(letter(value=example.value, headers=example.headers))
    replay(Correction(attributes=(("id", "erp-new"),), fields=(("reference", "R1"), ("amount", "99999.00"))))
    [(_, key, value, headers)] = clickhouse.sent_records
    event = decode("payments", key, value, headers)
    assert isinstance(event, Event)
    assert (event.id, str(event.data.amount)) == ("erp-new", "99999.00")  # type: ignore[attr-defined]


def test_an_element_of_a_list_is_fixed(clickhouse: FakeClickHouse) -> None:
    example = [s for s in golden() if ("ce_type", b"duewatch.payment.received.v1") in s.headers][1]
    clickhouse.holds(letter(value=example.value, headers=example.headers))
    replay(Correction(fields=(("allocations.1.amount", "1.00"),)))
    assert orjson.loads(clickhouse.sent_records[0][2])["allocations"][1]["amount"] == "1.00"


@pytest.mark.parametrize("path", ["allocations.9.amount", "allocations.x.amount", "amount.inner", "a.b.c"])
def test_a_field_that_has_no_place_is_told(clickhouse: FakeClickHouse, path: str) -> None:
    example = [s for s in golden() if ("ce_type", b"duewatch.payment.received.v1") in s.headers][1]
    clickhouse.holds(letter(value=example.value, headers=example.headers))
    with pytest.raises(UserError, match=f"has no field {path}"):
        replay(Correction(fields=((path, "1"),)))


def test_what_is_no_json_is_fixed_in_a_file(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(value=b"{broken"))
    with pytest.raises(UserError, match="--value"):
        replay(Correction(fields=(("amount", "1"),)))
    lines, is_done = replay(Correction(value=with_amount("12.50")))
    assert is_done and lines[0].endswith("fixed")


def test_one_fixed_record_stands_for_one_letter_only(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(), letter(1))
    with pytest.raises(UsageError, match="cannot replace 2"):
        replay(Correction(value=b"{}"))


def test_what_is_still_refused_stays(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(value=with_amount("-5")), letter(1))
    lines, is_done = replay()
    assert not is_done
    assert "still refused: amount: -5 is not above zero" in lines[0]
    assert lines[-1] == "1 sent, 1 still refused, 0 not sent again"
    assert len(clickhouse.sent_records) == 1


def test_what_went_out_before_stays_whether_clickhouse_or_only_the_topic_knows_it(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(
        letter(state="replayed", replayed_as="payments/3/2001"), letter(1), letter(2, state="refused again", replayed_as="x/0/1")
    )
    clickhouse.in_the_log = {LETTER_ID: "payments/3/2002"}
    lines, is_done = replay()
    assert not is_done and clickhouse.sent_records == []
    assert "replayed as payments/3/2001" in lines[0]
    assert "it is at payments/3/2002" in lines[1]
    assert lines[2].endswith("not sent: refused again as x/0/1, fix that one")
    assert lines[-1] == "0 sent, 1 still refused, 2 not sent again"


def test_a_dry_run_sends_nothing(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(value=with_amount("-5")), letter(1))
    lines, _ = replay(dry_run=True)
    assert clickhouse.sent_records == []
    assert lines[-1] == "1 would be sent, 1 still refused, 0 not sent again"


def test_what_we_write_ourselves_is_never_sent_by_hand(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(topic="training-examples"))
    lines, is_done = replay()
    assert not is_done and clickhouse.sent_records == []
    assert "not a source topic" in lines[0]


# -- the command
@pytest.mark.parametrize("text", ["amount", "=1", ":=1", "terms_days:=thirty"])
def test_a_field_that_is_set_wrongly_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="field=text"):
        resend.parse_set(text)


def test_nothing_is_replayed_that_was_not_chosen(clickhouse: FakeClickHouse) -> None:
    result = CliRunner().invoke(duewatch, ["dead-letters", "replay", "--set", "amount=1"])
    assert isinstance(result.exception, UsageError)
    assert "no dead letters are selected" in str(result.exception)


def test_the_command_fixes_and_says_what_it_did(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(value=with_amount("-5")))
    result = CliRunner().invoke(duewatch, ["dead-letters", "replay", "--reason", "above zero", "--set", "amount=12.50"])
    assert result.exit_code == 0, result.output
    assert "1 sent, 0 still refused" in result.output
    assert "(state = 'open')" in clickhouse.queries[0]


def test_the_command_fails_where_something_is_still_refused(clickhouse: FakeClickHouse) -> None:
    clickhouse.holds(letter(value=with_amount("-5")))
    assert CliRunner().invoke(duewatch, ["dead-letters", "replay", "--all", "--dry-run"]).exit_code == 1
