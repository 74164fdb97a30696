"""Tables for people: as wide as the terminal, or of a fixed width in a file."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 140


def plain_console() -> Console:
    """Standard output; without a terminal ``PLAIN_WIDTH`` columns."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def table_of(title: str, *columns: str, left: int = 1) -> Table:
    """An empty table; the first ``left`` columns are words, the others numbers."""
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right")
    return table


def print_line(console: Console, line: str) -> None:
    """Print a line as it is, neither wrapped nor coloured, so that it can be copied."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def share(value: float | None) -> str:
    """A share in per cent.

    >>> share(0.256), share(None)
    ('26 %', '-')
    """
    return "-" if value is None else f"{100 * value:.0f} %"
