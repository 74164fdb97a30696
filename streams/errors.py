"""Failures that a person can fix: shown in one line, without a traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Looked up by name, so that a command that never loaded Kafka or ClickHouse does not load them in order to fail.
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
    """The command line or the environment is wrong."""

    exit_code = 2


def make_folder(path: Path, option: str) -> None:
    """Create the folder that an option names. Called before the work, so that nobody waits for results that cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {path} cannot be created ({error.strerror}): name another one with {option}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise UserError(f"the folder {path} is not writable: name another one with {option}, or change its permissions")


def expected_errors() -> tuple[type[BaseException], ...]:
    """The classes of errors that are not bugs of ours, among the modules that are loaded."""
    loaded = [getattr(sys.modules[module], name) for module, name in _ELSEWHERE if module in sys.modules]
    return (UserError, FileNotFoundError, PermissionError, *loaded)
