"""Logs: our events and those of Faust, aiokafka and librdkafka in one form, without secrets and without account numbers.

Logs go to stderr, because commands print their results to stdout. Bind context once and emit few lines:
`with structlog.contextvars.bound_contextvars(topic=..., partition=...): log.info("slice.committed", records=n)`.
"""

from __future__ import annotations

import logging.config
import re
import sys
from typing import TYPE_CHECKING, Any, Literal

import orjson
import structlog
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["console", "json"]
LIBRDKAFKA = "librdkafka"  # give its clients `logger=logging.getLogger(LIBRDKAFKA)`, or they write to stderr by themselves
SECRET = "[secret]"  # noqa: S105 - stands in place of a secret
PERSONAL = "[personal]"

_SECRET_KEY = re.compile(r"(^|[._-])(password|passwd|secret|token|api[._-]?key|authorization|dsn)s?$", re.IGNORECASE)
# Who paid whom for what does not belong in logs; these are the names of the contracts' fields.
_PERSONAL_KEYS = frozenset(
    {"account_iban", "address", "counterparty_iban", "counterparty_name", "debtor", "iban", "names", "raw", "remittance"}
)
_URL_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):[^\s/@]+@")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])")


def configure_logs(log_format: LogFormat = "console", log_level: str = "INFO") -> None:
    """Set up structlog and the standard library's logging for this process; the last call counts."""
    logging.config.dictConfig(logging_config(log_format, log_level))
    structlog.configure(
        processors=[*_COMMON, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(log_level),
        cache_logger_on_first_use=True,
    )


def logging_config(log_format: LogFormat = "console", log_level: str = "INFO") -> dict[str, Any]:
    """The standard library's configuration; also for faust.App(logging_config=...), which applies it again in its worker.

    Give Faust's worker `loglevel` and `quiet=True` too: without a level it fails, and its spinner sets the root to DEBUG.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"ours": {"()": structlog.stdlib.ProcessorFormatter, **_rendering(log_format)}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "ours"}},
        "root": {"handlers": ["stderr"], "level": log_level},
        # At INFO they log every fetch and every step of a rebalance.
        "loggers": {
            name: {"level": _at_least_warning(log_level)} for name in ("aiokafka", "kafka", "urllib3", "clickhouse_connect")
        },
    }


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Replace secrets, personal fields and account numbers, however deep they lie; runs last, so tracebacks are covered too.

    >>> redact(None, "info", {"event": "paid from DE89 3704 0044 0532 0130 00", "password": "x", "remittance": "RE 7"})
    {'event': 'paid from DE**3000', 'password': '[secret]', 'remittance': '[personal]'}
    """
    return {name: _redacted(name, value) for name, value in event_dict.items()}


def _redacted(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_KEY.search(name):
        return SECRET
    if name in _PERSONAL_KEYS:
        return PERSONAL
    return _cleaned(value)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _IBAN.sub(_masked_iban, _URL_PASSWORD.sub(r"\1:***@", value))
    if isinstance(value, bytes | bytearray):
        return f"[{len(value)} bytes]"
    if isinstance(value, dict):
        return {key: _redacted(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(inner) for inner in value]
    if value is None or isinstance(value, int | float):
        return value
    # Whatever else comes along is written as its repr, which may hold anything.
    return _cleaned(repr(value) if isinstance(value, BaseException) else str(value))


def _masked_iban(match: re.Match[str]) -> str:
    iban = re.sub("[ -]", "", match[0])
    # In lower case a digest may look like an account number: there the check digits decide.
    return f"{iban[:2]}**{iban[-4:]}" if iban.isupper() or _has_valid_check_digits(iban) else match[0]


def _has_valid_check_digits(iban: str) -> bool:
    """Whether the check digits are right (ISO 7064, MOD 97-10)."""
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


_COMMON: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def _rendering(log_format: LogFormat) -> dict[str, Any]:
    # Never with local variables, the default of both: they hold whole events.
    if log_format == "json":
        format_exception: Processor = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        render: Processor = structlog.processors.JSONRenderer(serializer=_to_json)
    else:
        format_exception = structlog.processors.format_exc_info
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    last = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, format_exception, redact, render]
    return {"foreign_pre_chain": _COMMON, "processors": last}


def _to_json(event: Mapping[str, Any], default: Callable[[Any], Any]) -> str:
    return orjson.dumps(event, default=default, option=orjson.OPT_NON_STR_KEYS).decode()


def _at_least_warning(level: str) -> str:
    return "WARNING" if level in {"DEBUG", "INFO"} else level
