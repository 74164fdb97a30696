"""Properties of the shared types: amounts, dates, times, ids; and no JSON value crashes a contract."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.base import (
    MAX_AMOUNT,
    at_most_decimals,
    format_amount,
    format_factor,
    format_time,
    parse_amount,
    parse_currency,
    parse_date,
    parse_factor,
    parse_time,
    round_amount,
)
from schemas.currencies import MINOR_UNITS
from schemas.events.clock import ContextSet
from schemas.events.policies import PolicyPublished
from schemas.ids import NAMESPACE, content_hash, stable_id
from schemas.registry import CONTRACTS

MILLS = st.integers(-(10**16) + 1, 10**16 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(MILLS)
def test_amount_comes_back_equal_and_never_with_an_exponent(mills: int) -> None:
    amount = Decimal(mills).scaleb(-3)
    text = format_amount(amount)
    assert parse_amount(text) == amount
    assert "E" not in text.upper()
    assert format_amount(parse_amount(text)) == text
    assert len(text.partition(".")[2]) == (3 if mills % 10 else 2)
    assert str(round_amount(amount)) == text or amount == 0


@given(st.decimals(-MAX_AMOUNT + 1, MAX_AMOUNT - 1, allow_nan=False))
def test_whatever_the_decimal_its_wire_form_is_an_amount(value: Decimal) -> None:
    assert abs(parse_amount(format_amount(value)) - value) <= Decimal("0.0005")
    assert round_amount(value) == parse_amount(format_amount(value))


@pytest.mark.parametrize("text", ["-0.0001", "-0", "-0.00", "-0.000"])
def test_zero_has_no_sign(text: str) -> None:
    assert format_amount(Decimal(text)) == "0.00"


@given(st.decimals(0, 10**9 - 1, places=12))
def test_factor_comes_back_equal(value: Decimal) -> None:
    assert parse_factor(format_factor(value)) == value


def _answer_of(parse: Callable[[Any], Any], value: Any) -> Any:
    """What it makes of the value, or the text of its ValueError; any other error is a crash."""
    try:
        return parse(value)
    except ValueError as error:
        return str(error)


@given(st.text(max_size=30) | st.from_regex(r"-?[0-9.]{1,18}", fullmatch=True))
def test_a_text_is_an_amount_of_at_most_three_decimals_or_refused(text: str) -> None:
    amount = _answer_of(parse_amount, text)
    assert isinstance(amount, str) or amount == round(amount, 3)


def test_more_decimals_than_any_currency_has_are_told() -> None:
    with pytest.raises(ValueError, match=r"^-12\.3456 has more decimals than any currency allows \(3\): correct it$"):
        parse_amount("-12.3456")


@pytest.mark.parametrize("text", ["１２.50", "1_000", " 1", "1\n", "+1", ".5", "1.", "0x1", "Infinity", "1e3", ""])
def test_what_python_would_take_for_a_number_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid amount"):
        parse_amount(text)


@pytest.mark.parametrize("text", ["10000000000000", "-10000000000000.00", "99999999999999999999.99", "0" + "9" * 100_000])
def test_an_amount_that_is_too_large_is_told_so_however_many_digits_it_has(text: str) -> None:
    with pytest.raises(ValueError, match=r"^-?[0-9.]{1,40} is more than the largest amount, 10000000000000: correct it$"):
        parse_amount(text)


@given(st.sampled_from(sorted(MINOR_UNITS)), MILLS)
@example("KWD", 12_345)
@example("KWD", 12_340)
@example("EUR", 12_340)
@example("EUR", 12_345)
@example("JPY", 12_000)
@example("JPY", 12_340)
def test_an_amount_has_at_most_the_decimals_of_its_currency(currency: str, mills: int) -> None:
    amount, decimals = Decimal(mills).scaleb(-3), MINOR_UNITS[currency]
    if mills % 10 ** (3 - decimals):
        with pytest.raises(
            ValidationError, match=rf"{amount} has more decimals than {currency} allows \({decimals}\): correct it"
        ):
            at_most_decimals(amount, currency)
    else:
        assert at_most_decimals(amount, currency) == amount


@given(st.dates(date(1990, 1, 1), date(2199, 12, 31)))
def test_date_comes_back_equal(day: date) -> None:
    assert parse_date(day.isoformat()) == day


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30",
        "2026-W03-1",
        "20260112",
        "2026-1-12",
        "2026-01-12T00:00:00",
        "1989-12-31",
        "2200-01-01",
        "0001-01-01",
        "9999-12-31",
    ],
)
def test_what_is_no_date_of_business_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a (valid|plausible business) date"):
        parse_date(text)


@example(datetime(1970, 1, 1), 1)  # noqa: DTZ001 - its zone is the other argument
@given(st.datetimes(), st.integers(-14 * 60, 14 * 60))
@example(datetime(1970, 1, 1), 1)  # noqa: DTZ001 - its zone comes in the test
def test_an_instant_is_the_same_in_every_zone_or_refused(naive: datetime, minutes: int) -> None:
    local = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    instant = _answer_of(parse_time, local.isoformat())
    if isinstance(instant, str):
        assert "not a plausible time" in instant or "beyond the calendar" in instant
    else:
        assert instant == local
        assert instant.tzinfo is UTC
        assert parse_time(format_time(instant)) == instant
        assert format_time(instant).endswith("Z")


def test_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        parse_time(datetime(2026, 3, 31, 14, 5).isoformat())  # noqa: DTZ001 - a time without a zone is the point


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.integers()))
def test_id_is_the_uuid5_of_the_standard_library(parts: list[int | str]) -> None:
    assert stable_id(*parts) == str(uuid.uuid5(NAMESPACE, "\x1f".join(map(str, parts))))


def test_ids_never_change() -> None:
    assert stable_id("alert", "c-1", "overdue", 1) == "3a3d5512-e4d7-5e39-bb0e-18d6cd87b4d9"
    assert content_hash(b"duewatch") == "ac4aaebb4e35862a"


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=4, unique=True))
def test_id_depends_on_the_order_of_its_parts(parts: list[str]) -> None:
    assert len(parts) == 1 or stable_id(*parts) != stable_id(*reversed(parts))


@given(JSON)
def test_no_json_value_crashes_the_shared_types(value: Any) -> None:
    for parse in (parse_amount, parse_currency, parse_date, parse_time, parse_factor):
        assert len(str(_answer_of(parse, value))) < 300


@given(st.data())
def test_no_json_value_crashes_a_contract(data: st.DataObject) -> None:
    contract = CONTRACTS[data.draw(st.sampled_from(sorted(CONTRACTS)))]
    body = data.draw(st.fixed_dictionaries(dict.fromkeys(contract.model_fields, JSON)))
    assert _answer_of(contract.model_validate, body)


def test_a_context_from_before_other_default_days_were_refused_is_still_read() -> None:
    """It is in logs and state rows: a worker that could not read it could not take its partition over."""
    context = ContextSet(version="c-1", policy=PolicyPublished(version="2026-02"))
    old = context.model_dump(mode="json")
    old["policy"]["default_days"] = 60
    assert ContextSet.model_validate(old) == context
    with pytest.raises(ValidationError, match="'60' is not supported: a default is 90 days past due"):
        PolicyPublished.model_validate(old["policy"])
