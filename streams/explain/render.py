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
from streams.explain.reproduce import Reproduction
from streams.recompute.difference import display

WIDTH_OF_A_PIPE = 120
DAYS = range(date(1990, 1, 1).toordinal(), date(2200, 1, 1).toordinal())
"""Numbers of this size in a row are days."""

Lines = list[tuple[str, str]]
"""Names and values, a line each."""


def readable(value: Any) -> str:
    """A value of a row as people read it; ordinals of days as days.

    >>> readable(738000), readable("12.00"), readable(True)
    ('2021-07-29', '12.00', 'true')
    """
    if isinstance(value, int) and not isinstance(value, bool) and value in DAYS:
        return date.fromordinal(value).isoformat()
    return display(value)


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(path, leaf) of a JSON object; lists stay whole.

    >>> dict(flatten({"a": {"b": 1}, "c": [2]}))
    {'a.b': 1, 'c': [2]}
    """
    if isinstance(value, dict):
        for key, part in value.items():
            yield from flatten(part, f"{name}.{key}" if name else key)
    else:
        yield name, value


def render(reproduction: Reproduction) -> str:
    """The explanation as text: in colours on a terminal, plain and at a fixed width in a pipe."""
    is_terminal = sys.stdout.isatty()
    buffer = StringIO()
    width = None if is_terminal else WIDTH_OF_A_PIPE
    print_explanation(reproduction, Console(file=buffer, force_terminal=is_terminal, width=width, highlight=False))
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().splitlines())


def print_explanation(reproduction: Reproduction, console: Console) -> None:
    """Print it, one section after the other."""
    explanation = as_dict(reproduction)
    _print_decision(console, explanation)
    if "cause" in explanation:  # else it could not be recomputed
        _print_cause(console, explanation["cause"])
        _print_state(console, explanation["before"], explanation["after"])
        _print_rule_inputs(console, explanation["looked_at"], explanation["contributions"])
        _print_rule(console, explanation["rule"])
        _print_slice(console, explanation["slice"])
    _print_verdict(console, reproduction)


def _print_decision(console: Console, explanation: dict[str, Any]) -> None:
    console.print(Text(f"{explanation['type']} of {explanation['customer_id']}", style="bold"))
    console.print(Text(f"{explanation['id']}, in {explanation['place']}"))
    fields = explanation["decision"].items()
    lines = [(k, readable(v)) for k, v in fields if k not in {"reasons", "customer_id"} and v is not None]
    _print_section(console, "Decision", lines)


def _print_cause(console: Console, cause: dict[str, Any]) -> None:
    if cause["kind"] == "event":
        lines = [("type", cause["type"]), ("id", cause["id"]), ("place", cause["place"] or "-"), ("recorded", cause["recorded"])]
        lines += [(k, readable(v)) for k, v in cause["data"].items() if v is not None]
        _print_section(console, "Cause: an event", lines)
    else:
        lines = [("of", cause["row"]), ("day", readable(cause["day"])), ("id", cause["id"])]
        _print_section(console, "Cause: a deadline", lines)


def _print_state(console: Console, before: dict[str, Any], after: list[dict[str, Any]]) -> None:
    rows = {name: row for name, row in before.items() if name not in {"rows", "header"}}
    header = {k: v for k, v in before.get("header", {}).items() if k not in {"score", "version"}}
    lines = [("rows", ", ".join(f"{n} {kind}" for kind, n in before["rows"].items()) or "nothing was known")]
    lines += [(k, readable(v)) for k, v in flatten(header)]
    lines += [(f"{name}: {k}", readable(v)) for name, row in rows.items() for k, v in flatten(row)]
    _print_section(console, "State before", lines)
    table = _table("row", "field", "before", "after")
    for change in after:
        if not change["field"].startswith("score.cells"):
            table.add_row(change["row"], change["field"], readable(change["before"]), readable(change["after"]))
    _print_table(console, "State after: what changed", table)


def _print_rule_inputs(console: Console, inputs: dict[str, Any], contributions: list[dict[str, Any]]) -> None:
    lines = [(k, readable(v)) for k, v in flatten(inputs) if not k.startswith("cells")]
    _print_section(console, "What the rule looked at", lines)
    table = _table("code", "contribution", "why")
    for reason in contributions:
        table.add_row(reason["code"], f"{reason['contribution']:+.3f}", reason["text"])
    _print_table(console, "Contributions to the log-odds of being late", table)


def _print_rule(console: Console, rule: dict[str, Any]) -> None:
    lines: Lines = [(reason["code"], reason["text"]) for reason in rule["reasons"]]
    lines += [("policy", rule["policy_version"]), ("model", rule["model_version"]), *rule["parameters"].items()]
    _print_section(console, "Rule", lines)


def _print_slice(console: Console, slice_: dict[str, Any] | None) -> None:
    if slice_ is None:
        return
    lines = [
        ("journal", f"partition {slice_['partition']}, number {slice_['number']}, {slice_['order']}"),
        ("tick", f"{slice_['tick']}, {slice_['time']}"),
        ("context", slice_["context_version"]),
        ("code", slice_["code_version"]),
    ]
    _print_section(console, "Slice", lines)


def _print_verdict(console: Console, reproduction: Reproduction) -> None:
    console.print()
    console.print(_verdict(reproduction))
    if reproduction.differences:
        table = _table("field", "published", "recomputed")
        for name, before, after in reproduction.differences:
            table.add_row(name, display(before), display(after))
        console.print(table)


def _verdict(reproduction: Reproduction) -> Text:
    if not reproduction.is_own_code:
        other_versions = ", ".join(sorted(reproduction.versions - {CODE_VERSION}))
        result = "does not appear" if reproduction.recorded is None else "differs" if reproduction.differences else "is the same"
        line = Text(f"Version {other_versions} of the code made this decision; this is version {CODE_VERSION}. ", style="yellow")
        return line.append(f"Recomputed with this version it {result}, which proves nothing either way.")
    if reproduction.is_equal:
        from_log = reproduction.publication.record is not None
        what = "equal bit for bit (id, headers and value)" if from_log else "equal in every column that ClickHouse holds"
        return Text(f"Recomputed: {what}.", style="green")
    if reproduction.recorded is None:
        return Text("Recomputed: the debtor's events do not lead to this decision.", style="red")
    return Text("Recomputed: it differs from what was published.", style="red")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", header_style="dim")
    return table


def _print_table(console: Console, title: str, table: Table) -> None:
    if table.row_count:
        console.print()
        console.print(Text(title, style="bold"))
        console.print(table)


def _print_section(console: Console, title: str, lines: Iterable[tuple[str, str]]) -> None:
    table = Table(box=None, pad_edge=False, show_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(Text(name), Text(value))
    _print_table(console, title, table)
