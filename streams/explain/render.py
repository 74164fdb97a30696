"""An explanation for people: section by section, on a terminal or in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import date
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agents.version import CODE_VERSION
from streams.explain.describe import as_dict
from streams.explain.reproduce import Explained
from streams.recompute.difference import shown

WIDTH_OF_A_PIPE = 120
DAYS = range(date(1990, 1, 1).toordinal(), date(2200, 1, 1).toordinal())
"""Numbers of this size in a row are days."""


def readable(value: Any) -> str:
    """A value of a row in words; ordinals of days as days.

    >>> readable(738000), readable("12.00"), readable(True)
    ('2021-07-29', '12.00', 'true')
    """
    if isinstance(value, int) and not isinstance(value, bool) and value in DAYS:
        return date.fromordinal(value).isoformat()
    return shown(value)


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(path, leaf) of a JSON object; lists stay whole.

    >>> dict(flat({"a": {"b": 1}, "c": [2]}))
    {'a.b': 1, 'c': [2]}
    """
    if isinstance(value, dict):
        for key, part in value.items():
            yield from flat(part, f"{name}.{key}" if name else key)
    else:
        yield name, value


def as_text(made: Explained, console: Console) -> None:
    """Print it, a section after the other."""
    told = as_dict(made)
    decision = told["decision"]
    console.print(Text(f"{told['type']} of {told['customer_id']}", style="bold"))
    console.print(Text(f"{told['id']}, in {told['place']}"))
    _section(
        console,
        "Decision",
        [(k, readable(v)) for k, v in decision.items() if k not in {"reasons", "customer_id"} and v is not None],
    )
    if "cause" not in told:
        _verdict(console, made)
        return
    cause, slice_ = told["cause"], told["slice"]
    if cause["kind"] == "event":
        rows = [("type", cause["type"]), ("id", cause["id"]), ("place", cause["place"] or "-"), ("recorded", cause["recorded"])]
        rows += [(k, readable(v)) for k, v in cause["data"].items() if v is not None]
        _section(console, "Cause: an event", rows)
    else:
        _section(console, "Cause: a deadline", [("of", cause["row"]), ("day", readable(cause["day"])), ("id", cause["id"])])
    before = {k: v for k, v in told["before"].items() if k != "rows"}
    header = {k: v for k, v in before.pop("header", {}).items() if k not in {"score", "version"}}
    rows = [("rows", ", ".join(f"{n} {kind}" for kind, n in told["before"]["rows"].items()) or "nothing was known")]
    rows += [(k, readable(v)) for k, v in flat(header)]
    rows += [(f"{row}: {k}", readable(v)) for row, value in before.items() for k, v in flat(value)]
    _section(console, "State before", rows)
    table = _table("row", "field", "before", "after")
    for one in told["after"]:
        if not one["field"].startswith("score.cells"):
            table.add_row(one["row"], one["field"], readable(one["before"]), readable(one["after"]))
    _titled(console, "State after: what changed", table)
    _section(
        console, "What the rule looked at", [(k, readable(v)) for k, v in flat(told["looked_at"]) if not k.startswith("cells")]
    )
    table = _table("code", "contribution", "why")
    for one in told["contributions"]:
        table.add_row(one["code"], f"{one['contribution']:+.3f}", one["text"])
    _titled(console, "Contributions to the log-odds of being late", table)
    rule = told["rule"]
    rows = [(r["code"], r["text"]) for r in rule["reasons"]]
    rows += [("policy", rule["policy_version"]), ("model", rule["model_version"]), *rule["parameters"].items()]
    _section(console, "Rule", rows)
    if slice_ is not None:
        _section(
            console,
            "Slice",
            [("journal", f"partition {slice_['partition']}, number {slice_['number']}, {slice_['order']}"),
             ("tick", f"{slice_['tick']}, {slice_['time']}"), ("context", slice_["context_version"]),
             ("code", slice_["code_version"])],
        )  # fmt: skip
    _verdict(console, made)


def _verdict(console: Console, made: Explained) -> None:
    again = "not made again" if made.seen is None else "the same" if not made.differs else "different"
    if not made.code_is_ours:
        others = ", ".join(sorted(made.versions - {CODE_VERSION}))
        line = Text(f"Decided by version {others} of the code; this is {CODE_VERSION}. Nothing is asserted. ", style="yellow")
        line.append(f"Made by this version it is {again}.")
    elif made.is_equal:
        how = (
            "equal bit for bit, id, headers and value"
            if made.emitted.record
            else "from ClickHouse's events, equal in every column"
        )
        line = Text(f"Made again: {how}.", style="green")
    elif made.seen is None:
        line = Text("Made again: this decision does not come out of the debtor's events.", style="red")
    else:
        line = Text("Made again: it differs from what went out.", style="red")
    console.print()
    console.print(line)
    if made.differs:
        table = _table("field", "went out", "made now")
        for name, went_out, now in made.differs:
            table.add_row(name, shown(went_out), shown(now))
        console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", header_style="dim")
    return table


def _titled(console: Console, title: str, table: Table) -> None:
    if table.row_count:
        console.print()
        console.print(Text(title, style="bold"))
        console.print(table)


def _section(console: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    table = Table(box=None, pad_edge=False, show_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    _titled(console, title, table)


def rendered(made: Explained) -> str:
    """In colours on a terminal, plain and at a fixed width in a pipe."""
    is_terminal = sys.stdout.isatty()
    buffer = StringIO()
    as_text(
        made, Console(file=buffer, force_terminal=is_terminal, width=None if is_terminal else WIDTH_OF_A_PIPE, highlight=False)
    )
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().splitlines())
