"""The development ledgers, where they are, and how a test or an experiment changes one."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from pathlib import Path

import pytest

from agents.debtor.scoring.calendar import day_class

FOLDER = Path(__file__).parents[3] / "shared/data"
HIGHRADIUS, IBM, CASSANDRA = (
    FOLDER / "ledgers" / name for name in ("highradius_dev.csv", "ibm_accounts_receivable.csv", "cassandra_payables.csv")
)
Row = dict[str, str]
ENDS = "2020-03-01"
"""From this day on highradius holds late payers only."""


def needs(*paths: Path) -> pytest.MarkDecorator:
    """A mark that skips a test where the data is not there: it may not be part of the repository."""
    missing = [path.name for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: development data that is not here")


def read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Iterable[Row]) -> Path:
    lines = list(rows)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(lines[0]))
        table.writeheader()
        table.writerows(lines)
    return path


def highradius_rows() -> list[Row]:
    """Rows that the mapping would take, with the issue date that it would take, so that payments can be moved afterwards."""
    rows = []
    for row in read(HIGHRADIUS):
        if row["dup_of_earlier_row"] == "1" or row["clear_date"] >= ENDS:
            continue
        if row["est_issue_date"] >= row["clear_date"]:
            row["est_issue_date"] = str(date.fromisoformat(row["clear_date"]) - timedelta(days=1))
        rows.append(row)
    return rows


def highradius_mapping(folder: Path) -> str:
    """A mapping for ``highradius_rows``: the shipped one without the rules that these rows have been through."""
    path = folder / "moved.toml"
    path.write_text(
        'name = "highradius"\ncurrency = "USD"\ncountry = "US"\nhash_group = true\n[columns]\n'
        'invoice_id = "row_id"\ncustomer_id = "cust_number"\namount = "total_open_amount"\nissued_on = "est_issue_date"\n'
        'due_on = "due_date"\npaid_on = "clear_date"\ngroup = "customer_name_base"\n'
    )
    return str(path)


def slower(rows: Iterable[Row], affected: Callable[[str], bool], start: date, days: int) -> list[Row]:
    """From ``start`` on, the payments of the affected customers come ``days`` later, on the next day that banks are open."""
    changed_rows = []
    for row in rows:
        day = date.fromisoformat(row["clear_date"])
        if affected(row["cust_number"]) and day >= start:
            day += timedelta(days=days)
            while day_class(day, "US")[1]:
                day += timedelta(days=1)
        changed_rows.append({**row, "clear_date": str(day)})
    return changed_rows


def third(number: int) -> Callable[[str], bool]:
    """Whether a customer is in this third (0 to 2) of all, chosen by a hash."""
    return lambda customer: int(hashlib.sha1(f"drift{customer}".encode(), usedforsecurity=False).hexdigest(), 16) % 3 == number
