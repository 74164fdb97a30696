"""Failures that a person can mend: told in one line, without a traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Asked for by name, so that a command which never loaded Kafka or ClickHouse does not load them to fail.
_ELSEWHERE = (
    ("streams.process.children", "ChildFailedError"),
    ("streams.kafka.embedded", "EmbeddedBrokerMissingError"),
    ("confluent_kafka", "KafkaException"),
    ("clickhouse_connect.driver.exceptions", "Error"),
    ("pydantic", "ValidationError"),
)


class UserError(Exception):
    """The message says what is wrong and what to do."""

    exit_code = 1


class UsageError(UserError):
    """It was asked for wrongly."""

    exit_code = 2


def make_folder(path: Path, option: str) -> None:
    """Make the folder that an option names: before the work, so that nobody waits for results which then have no place."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {path} cannot be made ({error.strerror}): name another one with {option}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"nothing can be written into the folder {path}: name another one with {option}, or give us the right to")


def expected_errors() -> tuple[type[BaseException], ...]:
    """Classes of failures that are no bug of ours, among the modules that are loaded."""
    found = [getattr(sys.modules[module], name) for module, name in _ELSEWHERE if module in sys.modules]
    return (UserError, FileNotFoundError, PermissionError, *found)
