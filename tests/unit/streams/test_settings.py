"""Settings are read once, judged before anything starts, serve both Kafka clients alike, and never show a secret."""

from __future__ import annotations

import pickle
import ssl
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from streams import DEFAULT_DATA
from streams.clickhouse.client import ClickHouseError
from streams.clickhouse.query import query
from streams.replay.run import Target
from streams.settings import MASK, Security, Settings, SettingsError, load_settings, variables

SASL = {
    "DUEWATCH_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "DUEWATCH_SECURITY_MECHANISM": "SCRAM-SHA-512",
    "DUEWATCH_SECURITY_USERNAME": "worker",
    "DUEWATCH_SECURITY_PASSWORD": "hunter2",
}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as PEM files."""
    folder = tmp_path_factory.mktemp("certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=test",
        "-keyout",
        str(key),
        "-out",
        str(cert),
    ]
    try:
        subprocess.run(request, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not on the PATH")
    return cert, key


def refused(**environment: str) -> str:
    with pytest.raises(SettingsError) as raised:
        load_settings({f"DUEWATCH_{name}": value for name, value in environment.items()})
    return str(raised.value)


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings({})
    assert settings == Settings()
    assert (settings.prefix, settings.partitions, settings.clock, settings.mode) == ("duewatch", 12, "leader", "live")
    assert settings.web_bind == "127.0.0.1"
    assert settings.security.protocol == "PLAINTEXT"


def test_variables_are_read_by_the_names_of_the_fields() -> None:
    settings = load_settings(
        {"DUEWATCH_PARTITIONS": "6", "DUEWATCH_TICK_SECONDS": "0.5", "DUEWATCH_LOG_LEVEL": "debug", "OTHER": "x"}
    )
    assert (settings.partitions, settings.tick_seconds, settings.log_level) == (6, 0.5, "DEBUG")


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUEWATCH_MAX_SLICE", "7")
    assert load_settings().max_slice == 7


def test_an_empty_variable_counts_as_not_set_but_an_empty_prefix_is_one() -> None:
    settings = load_settings({"DUEWATCH_PREFIX": "", "DUEWATCH_PARTITIONS": " ", "DUEWATCH_SECURITY_CA": ""})
    assert (settings.prefix, settings.partitions, settings.security.ca) == ("", 12, None)


def test_a_folder_that_nobody_names_is_the_same_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert load_settings({}).data_dir == DEFAULT_DATA
    assert Target().folder == tmp_path / DEFAULT_DATA
    with pytest.raises(ClickHouseError, match=f"{DEFAULT_DATA} holds no ClickHouse data"):
        query("select 1")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load_settings({}).partitions = 3


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        pytest.param("PREFIX", "Big_Co", "lower-case letters", id="prefix with capitals"),
        pytest.param("PREFIX", "x" * 41, "at most 40", id="prefix of 41"),
        pytest.param("BOOTSTRAP", "kafka", "HOST:PORT", id="broker without port"),
        pytest.param("BOOTSTRAP", "a:1,,b:2", "HOST:PORT", id="hole in the list"),
        pytest.param("PARTITIONS", "0", "1 to 1024", id="no partitions"),
        pytest.param("PARTITIONS", "many", "1 to 1024", id="no number"),
        pytest.param("WEB_PORT", "70000", "1 to 65535", id="no port"),
        pytest.param("CLOCK", "wall", "leader", id="unknown clock"),
        pytest.param("TICK_SECONDS", "0", "0.05 to 3600", id="no time"),
        pytest.param("DATABASE", "x; DROP", "letters, digits", id="database that is none"),
        pytest.param("SECURITY_PROTOCOL", "TLS", "SASL_SSL", id="unknown protocol"),
        pytest.param("SECURITY_CA", "missing.pem", "PEM file", id="no such file"),
    ],
)
def test_an_error_names_the_variable_its_value_and_the_mend(name: str, value: str, mend: str) -> None:
    message = refused(**{name: value})
    assert f"DUEWATCH_{name} is {value!r}" in message
    assert mend in message


def test_all_errors_are_told_at_once() -> None:
    message = refused(PARTITIONS="0", CLOCK="wall", BOOTSTAP="a:1")
    assert message.count("DUEWATCH_") == 4
    assert "DUEWATCH_BOOTSTAP is not a setting. Did you mean DUEWATCH_BOOTSTRAP?" in message


@pytest.mark.parametrize("missing", ["MECHANISM", "USERNAME", "PASSWORD"])
def test_sasl_needs_mechanism_user_and_password(missing: str) -> None:
    with pytest.raises(
        SettingsError, match=f"DUEWATCH_SECURITY_{missing} is not set: is needed with the protocol SASL_PLAINTEXT"
    ):
        load_settings({name: value for name, value in SASL.items() if not name.endswith(missing)})


def test_certificate_and_key_go_together(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    assert "certificate and key go together" in refused(SECURITY_PROTOCOL="SSL", SECURITY_CERT=str(cert))
    assert "certificate and key go together" in refused(SECURITY_PROTOCOL="SSL", SECURITY_KEY=str(key))


@pytest.mark.parametrize(
    ("dsn", "problem"),
    [
        pytest.param("localhost:8123", "starts with none", id="no scheme"),
        pytest.param("https://u:hunter2@host:x", "is not a valid URL", id="no port"),
        pytest.param("clickhouse://u:hun/ter2@host", "write special characters", id="slash in the password"),
        pytest.param("clickhouse://u:hunter2@", "names no host", id="no host"),
        pytest.param("chdb://", "names no folder", id="no folder"),
    ],
)
def test_a_wrong_dsn_is_refused_without_being_shown(dsn: str, problem: str) -> None:
    message = refused(CLICKHOUSE=dsn)
    assert f"DUEWATCH_CLICKHOUSE is {MASK}: " in message
    assert problem in message
    assert "hun" not in message


@pytest.mark.parametrize(
    "dsn", ["clickhouse://ch:8123", "http://u:p%2F@ch:8443/db?compress=lz4", "chdb:///data", "chdb://memory"]
)
def test_a_right_dsn_is_kept_as_it_is(dsn: str) -> None:
    assert load_settings({"DUEWATCH_CLICKHOUSE": dsn}).clickhouse.get_secret_value() == dsn


def test_secrets_are_never_shown() -> None:
    settings = load_settings({**SASL, "DUEWATCH_CLICKHOUSE": "clickhouse://risk:hunter2@ch:8123/db?password=hunter2"})
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hunter2" not in text
    with pytest.raises(ValidationError) as raised:
        Security(protocol="SASL_SSL", password="hunter2", username=["hunter2"])
    assert "hunter2" not in str(raised.value)


def test_a_child_process_reads_the_same_settings() -> None:
    settings = load_settings({**SASL, "DUEWATCH_PREFIX": "", "DUEWATCH_BOOTSTRAP": "a:1,b:2", "DUEWATCH_CLICKHOUSE": "chdb:///x"})
    assert load_settings(settings.as_environment()) == settings
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own bytes


def test_changes_are_judged_too() -> None:
    assert Settings().changed(partitions=4).partitions == 4
    with pytest.raises(ValidationError):
        Settings().changed(partitions=0)


def test_the_embedded_broker_gets_few_partitions_and_short_sessions() -> None:
    settings = load_settings(SASL).on_embedded_broker("127.0.0.1:5")
    assert (settings.bootstrap, settings.partitions, settings.session_timeout_s) == ("127.0.0.1:5", 4, 6.0)
    assert settings.security == Security()


def test_every_variable_is_described() -> None:
    rows = {name: (default, text) for name, default, text in variables()}
    assert rows["DUEWATCH_PARTITIONS"][0] == "12"
    assert {"DUEWATCH_SECURITY_PASSWORD", "DUEWATCH_CLICKHOUSE", "DUEWATCH_CLOCK"} <= rows.keys()
    assert all(text for _, text in rows.values())


def test_plaintext_for_both_clients() -> None:
    settings = Settings(bootstrap="a:1,b:2")
    assert settings.for_librdkafka() == {"bootstrap.servers": "a:1,b:2", "security.protocol": "PLAINTEXT"}
    assert settings.for_faust() == ("kafka://a:1;b:2", None)


def test_sasl_for_both_clients() -> None:
    settings = load_settings(SASL)
    assert settings.for_librdkafka() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "worker",
        "sasl.password": "hunter2",
    }
    assert aiokafka_arguments(settings) == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "worker",
        "sasl_plain_password": "hunter2",
        "ssl_context": None,
    }


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_tls_for_both_clients(protocol: str, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    files = {"DUEWATCH_SECURITY_CA": cert, "DUEWATCH_SECURITY_CERT": cert, "DUEWATCH_SECURITY_KEY": key}
    user = SASL if protocol == "SASL_SSL" else {}
    settings = load_settings(
        {**user, **{name: str(file) for name, file in files.items()}, "DUEWATCH_SECURITY_PROTOCOL": protocol}
    )
    properties = settings.for_librdkafka()
    assert properties["security.protocol"] == protocol
    assert properties["ssl.ca.location"] == properties["ssl.certificate.location"] == str(cert)
    assert properties["ssl.key.location"] == str(key)
    arguments = aiokafka_arguments(settings)
    assert arguments["security_protocol"] == protocol
    context = arguments["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_librdkafka_takes_what_it_is_given(certificate: tuple[Path, Path]) -> None:
    from confluent_kafka import Producer

    cert, key = certificate
    settings = load_settings({**SASL, "DUEWATCH_SECURITY_PROTOCOL": "SASL_SSL", "DUEWATCH_SECURITY_CA": str(cert)})
    assert Producer({**settings.for_librdkafka(), "log_level": 0}) is not None
    mutual = settings.changed(security=Security(protocol="SSL", ca=cert, cert=cert, key=key))
    assert Producer({**mutual.for_librdkafka(), "log_level": 0}) is not None


def aiokafka_arguments(settings: Settings) -> dict[str, object]:
    """What Faust makes of the credentials for the client inside it."""
    from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

    _, credentials = settings.for_faust()
    return dict(credentials_to_aiokafka_auth(credentials))


def test_a_database_in_the_url_is_the_database() -> None:
    assert load_settings({"DUEWATCH_CLICKHOUSE": "https://u:p@ch/theirs"}).database == "theirs"
    assert load_settings({"DUEWATCH_CLICKHOUSE": "https://ch/theirs", "DUEWATCH_DATABASE": "theirs"}).database == "theirs"
    assert load_settings({"DUEWATCH_CLICKHOUSE": "chdb:///folder"}).database == "duewatch"
    with pytest.raises(SettingsError, match="DUEWATCH_DATABASE is 'ours': the URL .* names the database 'theirs': name one"):
        load_settings({"DUEWATCH_CLICKHOUSE": "https://u:p@ch/theirs", "DUEWATCH_DATABASE": "ours"})
