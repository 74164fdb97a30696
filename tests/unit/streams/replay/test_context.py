"""The context of a replay."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import orjson
import pytest

from agents.clock.context import compose
from schemas.events.models import ModelPublished
from streams.connectors.records import Record, record_of
from streams.errors import UsageError
from streams.replay.context import replay_context, unstated_currency, with_published

DAY = date(2024, 3, 4)


def record(topic: str, kind: str, **data: object) -> Record:
    at = "2024-03-04T10:00:00Z"
    attributes = {"specversion": "1.0", "id": "e1", "type": kind, "source": "t", "time": at, "recordedtime": at}
    return record_of(topic, attributes, data, DAY)


def invoice(currency: str) -> Record:
    return record("payments", "duewatch.invoice.issued.v1", currency=currency)


def test_a_replay_acts_from_the_start_in_the_currency_of_most_invoices() -> None:
    context = replay_context([invoice("USD"), invoice("EUR"), invoice("USD"), invoice("nonsense")])

    assert (context.policy.action, context.policy.currency, context.live_from) == ("act", "USD", None)


def rates(base: str, **worth: str) -> Record:
    return record("rates", "duewatch.rates.published.v1", base=base, valid_from="2024-03-01", rates=worth)


def test_a_policy_reckons_in_the_currency_into_which_the_rates_convert_most_invoices() -> None:
    assert replay_context([invoice("JPY"), rates("EUR", JPY="0.006")]).policy.currency == "EUR"
    assert replay_context([invoice("JPY"), rates("EUR", USD="0.92")]).policy.currency == "JPY"


def test_amounts_that_are_taken_to_be_in_an_unusual_currency_are_told(tmp_path: Path) -> None:
    note = unstated_currency(replay_context([invoice("JPY")]), None)
    assert note is not None and "a first limit of 10000" in note and "in JPY, the currency of most invoices" in note
    currency_stated, silent = tmp_path / "currency_stated.json", tmp_path / "silent.json"
    currency_stated.write_text('{"version": "ours-1", "currency": "JPY"}')
    silent.write_text('{"version": "ours-1", "default_amount": "80000"}')
    assert unstated_currency(replay_context([invoice("JPY")], currency_stated), currency_stated) is None
    assert "defaults from 80000" in (unstated_currency(replay_context([invoice("JPY")], silent), silent) or "")
    assert unstated_currency(replay_context([invoice("EUR")]), None) is None


def test_a_policy_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"version": "ours-1", "currency": "GBP", "limits": {"opening_limit": "500"}}')

    policy = replay_context([invoice("USD")], file).policy

    assert (policy.version, policy.currency, str(policy.limits.opening_limit), policy.action) == ("ours-1", "GBP", "500", "act")


@pytest.mark.parametrize("text", ["no json", "[]", '{"currency": "XXL"}', '{"time_zone": "Moon/Sea"}', '{"default_days": 60}'])
def test_a_policy_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.json"
    file.write_text(text)

    with pytest.raises(UsageError, match=r"policy\.json"):
        replay_context([], file)


def test_equal_contexts_have_equal_versions_and_a_step_without_examples_makes_no_new_one() -> None:
    context = replay_context([])
    learned = compose(context, model=ModelPublished(version="cells-7", examples=7, step=3))

    assert replay_context([]).version == context.version != learned.version
    assert compose(learned, model=ModelPublished(version="cells-7", examples=7, step=4)).version == learned.version


def test_rates_and_policies_among_the_sources_are_in_force_in_their_step() -> None:
    context = replay_context([])
    rates = record("rates", "duewatch.rates.published.v1", base="EUR", valid_from="2024-03-01", rates={"USD": "0.92"})
    policy = record("credit-policies", "duewatch.policy.published.v1", version="ours-2", action="observe")

    changed = with_published(context, [invoice("EUR"), rates, policy])

    assert changed.rates is not None
    assert orjson.loads(changed.rates.model_dump_json())["rates"] == {"USD": "0.92"}
    assert (changed.policy.version, changed.policy.action) == ("ours-2", "act")
    assert with_published(context, [invoice("EUR")]) is context
