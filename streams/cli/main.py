"""The command ``duewatch``: its overview and its exit codes; the commands are in the modules beside it."""

# ruff: noqa: D301 - \b is how click is told to leave the lines of a paragraph alone

from __future__ import annotations

import sys

import click

from streams.cli import dead_letters, deploy, explore, inspect, reviews
from streams.errors import UserError, expected_errors

# A command imports what does its work only when it is called: `duewatch --help` answers at once, and `sql` needs no Kafka.

SECTIONS = {
    "Look at it": ("demo", "simulate", "replay", "backtest", "sql"),
    "Run it": ("topics", "migrate", "worker", "sink"),
    "Look after it": ("audit", "explain", "review", "dead-letters"),
}


class _Sections(click.Group):
    """Lists the commands by section, in the order in which one comes to need them."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in SECTIONS.items():
            rows = [(name, command.get_short_help_str(100)) for name in names if (command := self.get_command(ctx, name))]
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="duewatch")
def duewatch() -> None:
    """Watch what business customers owe: who will pay late, who may not pay at all, and what to do about it.

    Events flow through Kafka into Faust agents; scores, alerts and limit changes come out, and ClickHouse answers questions
    about all of it. On a laptop nothing needs to be installed: an embedded broker and ClickHouse are started for you.

    \b
    Start here:
      duewatch demo                                   see it work on a simulated portfolio
      duewatch replay ledger.csv --mapping FILE       see what it says about your own ledger
    """


for command in (
    *(explore.demo, explore.simulate, explore.replay, explore.backtest, explore.sql),
    *(deploy.topics, deploy.migrate, deploy.worker, deploy.sink),
    *(inspect.audit, inspect.explain, reviews.review, dead_letters.dead_letters),
):
    duewatch.add_command(command)


def main() -> None:
    """Entry point. Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 rows of a newer version, 130 stopped by Ctrl-C."""
    try:
        status = duewatch.main(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BaseException as error:
        if not isinstance(error, expected_errors()):
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code if isinstance(error, UserError) else 1)


if __name__ == "__main__":
    main()
