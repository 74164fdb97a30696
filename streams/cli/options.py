"""Options and arguments that several commands share, and the settings that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams import DEFAULT_DATA

if TYPE_CHECKING:
    from streams.clickhouse.query import ClickHouse
    from streams.settings import Settings

DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _day(_ctx: click.Context, _param: click.Parameter, value: str | None) -> date | None:
    try:
        return None if value is None else date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a valid date: write YYYY-MM-DD such as 2026-03-31") from None


def options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


sources_option = options(
    click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)),
    click.option(
        "--mapping", metavar="NAME_OR_FILE", help="How to read a CSV: highradius, ibm, cassandra, or a file of your own."
    ),
    click.option("--until", metavar="DAY", callback=_day, help="Stop at the end of this day (YYYY-MM-DD)."),
    click.option("--policy", type=FILE, help="A credit policy as JSON; fields that it leaves out keep their defaults."),
)
kafka_option = click.option("--kafka", metavar="HOST:PORT", help="Use this Kafka instead of the embedded broker.")
clickhouse_option = click.option(
    "--clickhouse", metavar="URL", help="Use this ClickHouse, such as clickhouse://user:password@host:8123."
)
sink_clickhouse_option = click.option(
    "--clickhouse",
    metavar="URL",
    help="ClickHouse of the deployment, such as clickhouse://user:password@host:8123.  [default: DUEWATCH_CLICKHOUSE and"
    " DUEWATCH_DATABASE]",
)
data_option = click.option("--data", metavar="DIR", type=DIRECTORY, help="Folder of the embedded ClickHouse and the logs.")

query_options = options(
    click.option(
        "--data", metavar="DIR", type=DIRECTORY, help="Query the ClickHouse in this folder: of a demo, a replay, or a sink."
    ),
    click.option(
        "--clickhouse",
        metavar="URL",
        help="Query this one, such as clickhouse://user:password@host:8123. Without --data and --clickhouse, the one in"
        " DUEWATCH_CLICKHOUSE and DUEWATCH_DATABASE; where neither is set, the one in DUEWATCH_DATA_DIR"
        f" [default: {DEFAULT_DATA}].",
    ),
)


def from_environment() -> Settings:
    from streams.settings import load_settings

    return load_settings()


def deployment(kafka: str | None, prefix: str | None) -> Settings:
    """The settings of the environment, with the values of the options instead of theirs. Raises SettingsError."""
    from streams.settings import with_options

    return with_options(from_environment(), kafka, prefix)


def queried_clickhouse(data: Path | None, clickhouse: str | None) -> ClickHouse:
    """The ClickHouse that ``query_options`` mean. Raises SettingsError."""
    from streams.clickhouse.query import ClickHouse, clickhouse_or_leftover

    if data is not None or clickhouse is not None:
        return ClickHouse(data, clickhouse)  # an option needs no environment, which may be that of another deployment
    return clickhouse_or_leftover(from_environment(), None, None)


deployment_options = options(
    click.option("--kafka", metavar="HOST:PORT", help="Kafka of the deployment.  [default: DUEWATCH_BOOTSTRAP]"),
    click.option("--prefix", help="Prefix of its topics.  [default: DUEWATCH_PREFIX]"),
)


class Configured(click.Command):
    """A command that is configured by the environment: its help lists the variables, which are only then read."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click passes it
        from streams.settings import variables

        with formatter.section("Settings, from the environment"):
            formatter.write_dl([(name, f"{about}  [{value}]" if value else about) for name, value, about in variables()])
