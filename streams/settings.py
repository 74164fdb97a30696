"""The settings of a deployment: one frozen value, read from DUEWATCH_ variables and validated before anything starts."""

from __future__ import annotations

import os
import ssl
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.types import StringConstraints

from schemas.base import blame
from streams import DEFAULT_DATA
from streams.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from faust.auth import Credentials
    from pydantic import ValidationInfo
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

VARIABLE = "DUEWATCH_"
SECURITY = "security_"
MASK = "**********"
DSN_SCHEMES = ("clickhouse", "http", "https", "chdb")

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
Port = Annotated[int, Field(ge=1, le=65535)]
_Brokers = Annotated[str, StringConstraints(pattern=r"^[\w.-]+:\d{1,5}(,[\w.-]+:\d{1,5})*$", strip_whitespace=True)]
# Unknown names are errors, and no message of pydantic's may show a value: it could be a secret.
_STRICT = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class SettingsError(UsageError):
    """At least one variable is wrong; the message names each, its value (secrets masked) and what is expected."""


class Security(BaseModel):
    """How both Kafka clients, librdkafka and the one inside Faust, authenticate and verify the brokers."""

    model_config = _STRICT

    protocol: Protocol = Field("PLAINTEXT", description="one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL")
    mechanism: Mechanism | None = Field(None, description="for SASL: one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512")
    username: str | None = Field(None, description="for SASL: the user's name")
    password: SecretStr | None = Field(None, description="for SASL: the user's password")
    ca: Path | None = Field(None, description="for SSL: a PEM file with the authorities to trust; without it, the system's")
    cert: Path | None = Field(None, description="for SSL with client certificates: a PEM file")
    key: Path | None = Field(
        None, description="for SSL with client certificates: the PEM file with the certificate's private key"
    )

    @field_validator("mechanism", "username", "password")
    @classmethod
    def _required_for_sasl(cls, value: object, info: ValidationInfo) -> object:
        if value is None and "SASL" in info.data.get("protocol", ""):
            raise ValueError(f"is needed with the protocol {info.data['protocol']}")
        return value

    @field_validator("ca", "cert", "key")
    @classmethod
    def _file_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("no such file")
        return value

    @field_validator("key")
    @classmethod
    def _paired_with_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "cert" in info.data and (value is None) != (info.data["cert"] is None):
            raise ValueError("certificate and key go together")
        return value

    def for_librdkafka(self) -> dict[str, str]:
        """The properties for librdkafka; only those that are set."""
        properties = {
            "security.protocol": self.protocol,
            "sasl.mechanism": self.mechanism,
            "sasl.username": self.username,
            "sasl.password": None if self.password is None else self.password.get_secret_value(),
            "ssl.ca.location": self.ca,
            "ssl.certificate.location": self.cert,
            "ssl.key.location": self.key,
        }
        return {name: str(value) for name, value in properties.items() if value is not None}

    def for_faust(self) -> Credentials | None:
        """Faust's credentials, None for PLAINTEXT. Raises OSError (ssl.SSLError) for a file that is not a certificate or key."""
        if self.protocol == "PLAINTEXT":
            return None
        # Not at the top: this module is also read by commands that never load Faust.
        from faust.auth import SASLCredentials, SSLCredentials

        context = self._ssl_context() if self.protocol.endswith("SSL") else None
        if self.protocol == "SSL":
            return SSLCredentials(context)
        password = None if self.password is None else self.password.get_secret_value()
        return SASLCredentials(username=self.username, password=password, ssl_context=context, mechanism=self.mechanism)

    def _ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key)
        return context


def _database_of(clickhouse: object) -> str:
    """The database in the URL of a server; empty where there is none, or no URL of a server."""
    dsn = clickhouse.get_secret_value() if isinstance(clickhouse, SecretStr) else clickhouse
    if not isinstance(dsn, str) or dsn.startswith("chdb:"):
        return ""
    try:
        return urlsplit(dsn).path.strip("/")
    except ValueError:  # judged by the field's own check
        return ""


class Settings(BaseModel):
    """A deployment. The description of each setting says what it takes; it appears in errors and in ``variables()``."""

    model_config = _STRICT

    prefix: str = Field("duewatch", pattern=r"^[a-z0-9-]{0,40}$", description="at most 40 lower-case letters, digits and hyphens")
    bootstrap: _Brokers = Field("127.0.0.1:9092", description="Kafka's brokers: HOST:PORT, more of them after commas")
    partitions: int = Field(
        12, ge=1, le=1024, description="partitions of every topic keyed by customer, 1 to 1024, fixed for a prefix"
    )
    replication: int = Field(1, ge=1, le=9, description="copies of every partition, 1 to 9; 3 in production")
    security: Security = Field(default_factory=Security)
    clickhouse: SecretStr = Field(
        SecretStr("clickhouse://127.0.0.1:8123"),
        description="clickhouse://USER:PASSWORD@HOST:PORT (http:// is the same, https:// is with TLS), or chdb:///FOLDER",
    )
    database: str = Field(
        "duewatch", pattern=r"^[A-Za-z_]\w{0,63}$", description="ClickHouse's database: letters, digits, underscores"
    )
    data_dir: Path = Field(DEFAULT_DATA, description="a folder for what the worker keeps on disk")
    web_port: Port = Field(6066, description="the port of the worker's web server, 1 to 65535")
    web_bind: str = Field("127.0.0.1", min_length=1, description="the address its web server listens on; 0.0.0.0 for all")
    log_format: Literal["console", "json"] = Field("console", description="console or json")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="one of DEBUG, INFO, WARNING, ERROR")
    clock: Literal["leader", "replay"] = Field("leader", description="leader (Faust's leader ticks) or replay (the replay ticks)")
    agents: str = Field(
        "all",
        description="all, or the name of one agent: what a worker runs. Of a deployment either all workers run all, "
        "or the learner has a worker of its own, which also ticks, beside those of the debtors",
    )
    tick_seconds: float = Field(1.0, ge=0.05, le=3600, description="seconds between two ticks, 0.05 to 3600")
    core: int | None = Field(
        None,
        ge=0,
        le=4095,
        description="the number of the processor core on which a worker's Python stays, from 0, another one for each worker of a "
        "machine; not set: wherever the system puts it",
    )
    mode: Literal["live", "replay"] = Field("live", description="live or replay")
    max_slice: int = Field(2_000, ge=1, le=10_000, description="records of a slice at most, 1 to 10000")
    commits_in_flight: int = Field(4, ge=1, le=64, description="transactions at once per worker, 1 to 64")
    slices_per_second: float = Field(
        200.0, ge=1, le=10_000, description="transactions an agent begins a second at most, 1 to 10000; events gather meanwhile"
    )
    fetch_wait_ms: int = Field(
        5,
        ge=1,
        le=1000,
        description="milliseconds for which the broker gathers what a worker reads, 1 to 1000; longer costs "
        "latency, shorter the broker's time: at 5 an idle worker takes 0.06 of one of its cores",
    )
    held_records: int = Field(5_000, ge=10, le=1_000_000, description="records held of a topic-partition, 10 to 1000000")
    held_bytes: int = Field(4 << 20, ge=1 << 16, le=1 << 30, description="bytes held of a topic-partition, 65536 to 1073741824")
    session_timeout_s: float = Field(
        10.0, ge=1, le=300, description="seconds until a silent worker loses its partitions, 1 to 300"
    )
    transaction_timeout_s: float = Field(
        10.0, ge=1, le=900, description="seconds until Kafka aborts an open transaction, 1 to 900"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_database(cls, values: Any) -> Any:
        """A database in the URL is the database: writers and readers must use the same one."""
        database = _database_of(values.get("clickhouse")) if isinstance(values, dict) else ""
        if not database:
            return values
        if values.get("database", database) != database:
            raise blame("database", f"the URL of DUEWATCH_CLICKHOUSE names the database {database!r}: name one of them", database)
        return {**values, "database": database}

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("agents")
    @classmethod
    def _an_agent(cls, value: str) -> str:
        if value != "all":
            # Not at the top: the registry loads every contract, and most commands take the default.
            from agents.registry import AGENTS

            if value not in AGENTS:
                raise ValueError(f"there is no such agent, only {', '.join(AGENTS)}")
        return value

    @field_validator("clickhouse")
    @classmethod
    def _valid_dsn(cls, value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
            _ = parts.port
        except ValueError:  # whose message may hold a piece of the password
            raise ValueError("is not a valid URL (write special characters of a password as %XX)") from None
        if parts.scheme not in DSN_SCHEMES:
            raise ValueError("starts with none of clickhouse://, http://, https://, chdb://")
        if parts.scheme != "chdb" and not parts.hostname:
            raise ValueError("names no host")
        if parts.scheme == "chdb" and not (parts.path or parts.netloc):
            raise ValueError("names no folder")
        return value

    def for_librdkafka(self) -> dict[str, str]:
        """Brokers and security for any librdkafka client; the caller adds the properties of its purpose."""
        return {"bootstrap.servers": self.bootstrap, **self.security.for_librdkafka()}

    def for_faust(self) -> tuple[str, Credentials | None]:
        """Faust's `broker` and `broker_credentials`."""
        return "kafka://" + self.bootstrap.replace(",", ";"), self.security.for_faust()

    def changed(self, **changes: object) -> Self:
        """These settings with some changes, validated; what was not set stays unset. Raises pydantic.ValidationError."""
        return self.model_validate({name: getattr(self, name) for name in self.model_fields_set} | changes)

    def on_embedded_broker(self, bootstrap: str) -> Self:
        """These settings for the small broker of a laptop: 4 partitions, short sessions, and one commit at a time.

        A join takes half the session time-out there, and where two transactions write to one partition at once, a reader at
        its end misses records (both measured).
        """
        return self.changed(
            bootstrap=bootstrap, partitions=4, replication=1, security=Security(), session_timeout_s=6.0, commits_in_flight=1
        )

    def as_environment(self) -> dict[str, str]:
        """The variables that make a child process read these settings, secrets in plain text."""
        return {_variable(name): _as_text(value) for name, _, value in _rows(self) if value is not None}


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in the environment (by default that of this process), the only place where it is read.

    An empty variable counts as not set, except DUEWATCH_PREFIX. Raises SettingsError, which lists all that is wrong at once.
    """
    variables_set = _set_variables(os.environ if environment is None else environment)
    names = {name for name, _, _ in _rows(Settings())}
    errors = [_unknown_variable(name, names) for name in variables_set.keys() - names]
    values = {name: value for name, value in variables_set.items() if name in names and not name.startswith(SECURITY)}
    security = {
        name.removeprefix(SECURITY): variables_set[name] for name in variables_set.keys() & names if name.startswith(SECURITY)
    }
    try:
        settings = Settings.model_validate({**values, "security": security})
    except ValidationError as error:
        errors += [_wrong_value(detail, variables_set) for detail in error.errors(include_url=False)]
    if errors:
        raise SettingsError("settings in the environment are wrong:\n  " + "\n  ".join(sorted(errors)))
    return settings


def with_options(settings: Settings, kafka: str | None = None, prefix: str | None = None) -> Settings:
    """The settings, with the values of a command's options instead of theirs. Raises SettingsError."""
    for option, name, value in (("--kafka", "bootstrap", kafka), ("--prefix", "prefix", prefix)):
        if value is not None:
            try:
                settings = settings.changed(**{name: value})
            except ValidationError:
                expected = Settings.model_fields[name].description
                raise SettingsError(f"{option} {value!r} is not valid. Expected: {expected}") from None
    return settings


def variables() -> list[tuple[str, str, str]]:
    """Every variable with its default (empty = none) and what it takes."""
    rows = _rows(Settings())
    return [(_variable(name), "" if value is None else _masked(value), str(field.description)) for name, field, value in rows]


def _rows(settings: Settings) -> Iterator[tuple[str, FieldInfo, Any]]:
    """Name, field and value of every setting, those of `security` with their prefix."""
    for name, field in Settings.model_fields.items():
        if name != "security":
            yield name, field, getattr(settings, name)
    for name, field in Security.model_fields.items():
        yield SECURITY + name, field, getattr(settings.security, name)


def _variable(name: str) -> str:
    return VARIABLE + name.upper()


def _as_text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _masked(value: object) -> str:
    if not isinstance(value, SecretStr):
        return str(value)
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in DSN_SCHEMES:
        return MASK
    # A DSN is shown without its password and options, so that a log tells which ClickHouse it is.
    user = f"{parts.username}:{MASK}@" if parts.username else ""
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{user}{place}{parts.path}"


def _set_variables(environment: Mapping[str, str]) -> dict[str, str]:
    own = {name.removeprefix(VARIABLE).lower(): value for name, value in environment.items() if name.startswith(VARIABLE)}
    return {name: value for name, value in own.items() if value.strip() or name == "prefix"}


def _unknown_variable(name: str, names: set[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f"{_variable(name)} is not a setting. " + (f"Did you mean {_variable(near[0])}?" if near else "Remove it.")


def _wrong_value(detail: ErrorDetails, variables_set: Mapping[str, str]) -> str:
    name = "_".join(str(part) for part in detail["loc"])
    field = next(field for setting, field, _ in _rows(Settings()) if setting == name)
    secret = SecretStr in (field.annotation, *get_args(field.annotation))
    value = "not set" if name not in variables_set else MASK if secret else repr(variables_set[name])
    return f"{_variable(name)} is {value}: {detail['msg'].removeprefix('Value error, ')}. Expected: {field.description}."
