"""Logs come in one form, whoever wrote them, and hold neither secrets nor account numbers."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from structlog.typing import EventDict

from streams.logs import configure_logs, logging_config, redact

IBAN = "DE89370400440532013000"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def redacted(**event: Any) -> EventDict:
    return redact(None, "info", event)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param(f"paid from {IBAN}.", "paid from DE**3000.", id="in a sentence"),
        pytest.param("FR14 2004 1010 0505 0001 3M02 606", "FR**2606", id="in groups of four"),
        pytest.param("DE00-3704-0044-0532-0130-00", "DE**3000", id="mistyped, with hyphens"),
        pytest.param(IBAN.lower(), "de**3000", id="in lower case"),
        pytest.param("NO9386011117947", "NO**7947", id="the shortest there is"),
        pytest.param(f"iban={IBAN},{IBAN}", "iban=DE**3000,DE**3000", id="two of them"),
        pytest.param("de89370400440532013001aabbccdd00", "de89370400440532013001aabbccdd00", id="a digest is none"),
        pytest.param("1c9e6679-7425-40de-944b-e07fc1f90ae7", "1c9e6679-7425-40de-944b-e07fc1f90ae7", id="an id is none"),
        pytest.param("INV-2024-000123 for C0042", "INV-2024-000123 for C0042", id="invoice and customer"),
        pytest.param("clickhouse://risk:hunter2@ch:8123/db", "clickhouse://risk:***@ch:8123/db", id="password in a URL"),
        pytest.param("http://host:8123/path", "http://host:8123/path", id="a URL without one"),
    ],
)
def test_text_is_cleaned(text: str, shown: str) -> None:
    assert redacted(event=text) == {"event": shown}


def test_secret_and_personal_fields_are_replaced_however_deep() -> None:
    event = {"sasl.password": "x", "api_key": "x", "Authorization": "x", "remittance": "RE 4711", "debtor": {"names": ["Ada"]}}
    found = redacted(outer=[event], token=None)
    assert found == {
        "outer": [
            {
                "sasl.password": "[secret]",
                "api_key": "[secret]",
                "Authorization": "[secret]",
                "remittance": "[personal]",
                "debtor": "[personal]",
            }
        ],
        "token": None,
    }


def test_values_of_all_kinds_are_cleaned() -> None:
    found = redacted(
        a=ValueError(f"no account {IBAN}"), b=f"x{IBAN}".encode(), c=SecretStr("hunter2"), d=Decimal("1.50"), e=3, f=True
    )
    assert found == {
        "a": "ValueError('no account DE**3000')",
        "b": "[23 bytes]",
        "c": "**********",
        "d": "1.50",
        "e": 3,
        "f": True,
    }


@given(st.text(), st.text())
def test_no_account_number_survives_whatever_stands_around_it(before: str, after: str) -> None:
    text = redacted(event=f"{before} {IBAN} {after}")["event"]
    assert IBAN not in text


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_ours_and_foreign_lines_have_one_form(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    with structlog.contextvars.bound_contextvars(topic="payments"):
        structlog.get_logger("engine").info("slice.committed", records=3)
        logging.getLogger("faust.worker").warning("joined %s", "group")
    ours, foreign = lines(capfd)
    assert (ours["event"], ours["records"], ours["level"], ours["topic"]) == ("slice.committed", 3, "info", "payments")
    assert (foreign["event"], foreign["level"], foreign["topic"]) == ("joined group", "warning", "payments")
    assert (ours["logger"], foreign["logger"]) == ("engine", "faust.worker")
    assert ours["timestamp"].endswith("Z")


def test_tracebacks_hold_no_local_variables_and_no_account_numbers(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    password = "hunter2"
    try:
        raise ValueError(f"cannot use {IBAN}")
    except ValueError:
        structlog.get_logger().exception("record.failed")
        logging.getLogger("faust").exception("crashed")
    text = capfd.readouterr().err
    assert password not in text
    assert IBAN not in text
    assert [json.loads(line)["exception"][0]["exc_type"] for line in text.splitlines()] == ["ValueError", "ValueError"]


def test_the_console_is_cleaned_too(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("console")
    try:
        raise ValueError(f"cannot use {IBAN}")
    except ValueError:
        structlog.get_logger().exception("record.failed", password="hunter2", invoice_id="INV-1")
    text = capfd.readouterr().err
    assert "record.failed" in text
    assert "INV-1" in text
    assert "Traceback" in text
    assert IBAN not in text
    assert "hunter2" not in text


def test_the_level_holds_and_chatty_libraries_are_quieter(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "INFO")
    structlog.get_logger().debug("hidden")
    logging.getLogger("aiokafka.consumer").info("hidden")
    logging.getLogger("faust").info("shown")
    assert [line["event"] for line in lines(capfd)] == ["shown"]
    assert logging_config("json", "ERROR")["loggers"]["aiokafka"]["level"] == "ERROR"


def test_fausts_worker_applies_the_same_configuration() -> None:
    """In a process of its own: a worker replaces stdout and the root's handlers."""
    code = textwrap.dedent("""
        import faust, logging
        from faust.worker import Worker
        from streams.logs import logging_config
        app = faust.App("x", broker="kafka://127.0.0.1:1", logging_config=logging_config("json", "INFO"))
        worker = Worker(app, loglevel="INFO", quiet=True, redirect_stdouts=False)
        worker._setup_logging()
        logging.getLogger("faust.test").info("password of %s", "clickhouse://u:hunter2@h")
    """)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert found[-1]["event"] == "password of clickhouse://u:***@h"
