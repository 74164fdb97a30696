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
"""From this day on highradius holds late payers only (data's README)."""


def needs(*paths: Path) -> pytest.MarkDecorator:
    """Skip where the data is not there: it may not be part of the repository."""
    missing = [path.name for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: development data that is not here")


def read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Iterable[Row]) -> Path:
    found = list(rows)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(found[0]))
        table.writeheader()
        table.writerows(found)
    return path


def highradius_rows() -> list[Row]:
    """Those that the mapping would take, with the issue date that it would take, so that payments can be moved afterwards."""
    found = []
    for row in read(HIGHRADIUS):
        if row["dup_of_earlier_row"] == "1" or row["clear_date"] >= ENDS:
            continue
        if row["est_issue_date"] >= row["clear_date"]:
            row["est_issue_date"] = str(date.fromisoformat(row["clear_date"]) - timedelta(days=1))
        found.append(row)
    return found


def highradius_mapping(folder: Path) -> str:
    """For the rows above: the shipped one without the rules that they have been through."""
    path = folder / "moved.toml"
    path.write_text(
        'name = "highradius"\ncurrency = "USD"\ncountry = "US"\nhash_group = true\n[columns]\n'
        'invoice_id = "row_id"\ncustomer_id = "cust_number"\namount = "total_open_amount"\nissued_on = "est_issue_date"\n'
        'due_on = "due_date"\npaid_on = "clear_date"\ngroup = "customer_name_base"\n'
    )
    return str(path)


def slower(rows: Iterable[Row], affected: Callable[[str], bool], start: date, days: int) -> list[Row]:
    """From ``start`` on, the payments of the affected customers come ``days`` later, on the next day that banks are open."""
    found = []
    for row in rows:
        paid = date.fromisoformat(row["clear_date"])
        if affected(row["cust_number"]) and paid >= start:
            paid += timedelta(days=days)
            while day_class(paid, "US")[1]:
                paid += timedelta(days=1)
        found.append({**row, "clear_date": str(paid)})
    return found


def third(number: int) -> Callable[[str], bool]:
    """A third of the customers, by a hash: those of the regime change in agents/debtor/scoring/README.md."""
    return lambda customer: int(hashlib.sha1(f"drift{customer}".encode(), usedforsecurity=False).hexdigest(), 16) % 3 == number
